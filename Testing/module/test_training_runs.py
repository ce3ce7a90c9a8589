"""Trainings on disk as the panel reads them, in whatever state their files are; their curves as nodes."""

from __future__ import annotations

import datetime
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import slicer
from DiffSegLungPanel.logic import DiffSegLungLogic
from DiffSegLungPanel.panes.training.plot import LOSS, RETRIEVAL, TrainingPlot
from DiffSegLungPanel.panes.training.view import runTitle, verdict
from DiffSegLungPanel.places import trainingsFolder
from DiffSegLungPanel.training.runs import (
    Scan,
    TrainingOutcome,
    TrainingRun,
    knownRuns,
    newRun,
)
from DiffSegLungPanel.training.training_estimate import SETTING, estimateText, learnFrom
from DiffSegLungPanel.training.training_steps import TrainingData, TrainingPlan
from small_volume import add_chest
from smallchest import chest
from swift_trainer import swift_trainer

from DiffSegLungLib.errors import DiffSegLungError, InputError
from DiffSegLungLib.io.owners import identity
from DiffSegLungLib.model.archive import Packed
from DiffSegLungLib.model.library import Library

BEFORE = {"validation_noise": 0.2, "retrieval_top1": 0.3, "retrieval_top5": 0.5, "retrieval_chance": 0.002}
DEAD = {"pid": 2**22 + 1, "begun": 1, "host": socket.gethostname()}
SPOILT = ["", "{", "[1, 2]", '"x"', "7", "[" * 100_000, '{"model": 3}', "\x00\xff"]


@pytest.fixture
def run(tmp_path: Path) -> TrainingRun:
    return TrainingRun(tmp_path)


def begun(name: str = "mine") -> TrainingRun:
    made = newRun()
    (made.folder / "request.json").write_text(json.dumps({"name": name, "parent": "default"}))
    return made


def test_trainings_are_beside_the_models(own_models: Path):
    assert trainingsFolder() == own_models.parent / "trainings"
    folder = newRun().folder
    assert folder.parent == trainingsFolder()
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700


def test_two_trainings_begun_at_once_have_two_folders():
    assert len({newRun().folder for _ in range(3)}) == 3


@pytest.mark.parametrize("text", SPOILT)
@pytest.mark.parametrize("name", ["request.json", "cohort.json", "log.jsonl", "result.json", "slicer.json"])
def test_spoilt_files_count_as_not_there(run, name, text):
    (run.folder / name).write_text(text, encoding="utf-8")
    assert run.scans() == [] and run.entries() == [] and run.outcome() is None
    assert not run.isElsewhere and (run.step, run.steps, run.seconds) == (0, 0, 0.0)
    assert "step 0" in runTitle(run, running=False)


def test_a_line_of_the_log_that_is_cut_off_is_left_out(run):
    log = run.folder / "log.jsonl"
    log.write_text('{"step": 20, "seconds": 4.5}\n{"step": 40, "noi')
    assert [entry["step"] for entry in run.entries()] == [20]
    log.write_text('{"step": 20}\n{"step": 40, "noise": 0.2, "seconds": 9}\n')
    assert run.step == 40 and run.seconds == 9


def test_a_log_that_is_cut_back_by_a_resumed_training_is_followed(run):
    log = run.folder / "log.jsonl"
    log.write_text("".join(f'{{"step": {step}}}\n' for step in (0, 20, 40)))
    stamp = run.stamp()
    assert run.step == 40
    log.write_text('{"step": 0}\n')
    assert run.step == 0 and run.stamp() != stamp


def test_scans_say_why_they_cannot_be_used_and_have_no_raw_names(run):
    entries = [
        {"file": "case 7.nii.gz", "patient": "x", "usable": True, "reason": "", "lung_ml": 4200.5},
        {"file": "ct-012.mhd", "usable": False, "reason": "It shows only 12 ml of lung.", "lung_ml": None},
        {"file": "series", "usable": True, "lung_ml": math.inf},
    ]
    (run.folder / "cohort.json").write_text(json.dumps(entries))
    first, second, third = run.scans()
    assert first == Scan("case 7.nii.gz", True, "", 4200.5) and first.name == "case 7"
    assert (second.name, second.usable, second.reason) == ("CT 12", False, "It shows only 12 ml of lung.")
    assert third.lungMl is None and third.name == "series"
    run.names["ct-012.mhd"] = "Thorax"
    assert run.nameOf(second) == "Thorax" and run.nameOf(first) == "case 7"


def test_a_training_belongs_to_one_slicer_at_a_time():
    run = begun()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (run.folder / "slicer.json").write_text(json.dumps(identity(psutil.Process(other.pid))))
        assert run.isElsewhere
        with pytest.raises(InputError, match="Another Slicer"):
            run.claim()
    finally:
        other.communicate(b"\n")
    assert not run.isElsewhere
    run.claim()
    run.release()
    assert not (run.folder / "slicer.json").exists()


def test_a_training_held_by_another_computer_can_be_taken_over():
    run = begun()
    owner = run.folder / "slicer.json"
    owner.write_text(json.dumps(DEAD | {"host": "ward-7"}))
    os.utime(owner, (0, 0))
    since = datetime.datetime.fromtimestamp(0).strftime("%Y-%m-%d %H:%M")
    with pytest.raises(InputError) as refused:
        run.claim()
    assert refused.value.message == f"Slicer on the computer ward-7 has held this training since {since}."
    assert refused.value.hint == f"Pause it there; where that Slicer is gone, delete {owner}."
    run.release()
    assert run.isAfar, "only its own claim is given up"
    run.takeOver()
    assert not run.isElsewhere
    run.claim()
    assert run.isMine


def test_checks_of_a_dead_slicer_are_removed_and_trainings_are_not():
    draft, mine, training = newRun(), newRun(), begun()
    for run in (draft, training):
        (run.folder / "slicer.json").write_text(json.dumps(DEAD))
    assert knownRuns() == [training]
    assert not draft.folder.exists() and mine.folder.exists()


@pytest.mark.parametrize(
    ("owner", "elsewhere"),
    [
        ({"host": "ward-7"}, True),
        ({"host": "ward-7", "pid": os.getpid()}, True),
        ({"pid": os.getppid()}, False),  # the number is another program's by now
        ({"pid": os.getpid()}, False),
        ({"host": None}, False),
    ],
)
def test_only_a_slicer_of_this_computer_that_is_certainly_dead_counts_as_gone(owner, elsewhere):
    draft = newRun()
    (draft.folder / "slicer.json").write_text(json.dumps(DEAD | owner))
    assert knownRuns() == [] and draft.folder.exists()
    assert draft.isElsewhere == elsewhere and not draft.isMine


def test_where_nobody_can_tell_who_lives_nothing_is_removed(monkeypatch):
    draft = newRun()
    (draft.folder / "slicer.json").write_text(json.dumps(DEAD))
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert knownRuns() == [] and draft.folder.exists()


def outcome(**after: float) -> TrainingOutcome:
    return TrainingOutcome("mine 1", "built-in", 100, 200, BEFORE, {**BEFORE, **after})


@pytest.mark.parametrize(
    ("ended", "better", "said"),
    [
        (
            outcome(validation_noise=0.18),
            True,
            "noise prediction: better; tissue found again at once: the same",
        ),
        (outcome(retrieval_top5=0.55, validation_noise=0.3), True, "noise prediction: worse"),
        (outcome(validation_noise=0.1999), False, "is no better than its parent"),
        (outcome(retrieval_top1=0.2), False, "at once: worse"),
        (TrainingOutcome("built-in", "built-in", 0, 300, BEFORE, BEFORE), False, "so no model was made"),
        (TrainingOutcome("mine 1", "built-in", 50, 50), True, "No patient was held out"),
    ],
)
def test_the_end_is_told_in_one_sentence(ended, better, said):
    found, text = verdict(ended)
    assert found is better and said in text and text.startswith("Training finished")


def test_curves_are_nodes_on_tables_and_gone_when_they_are_not_wanted(scene):
    plot = TrainingPlot(scene)
    begin = scene.GetNumberOfNodes()
    plot.fill([{"step": 0, **BEFORE}])
    assert plot.chart(LOSS).GetNumberOfPlotSeriesNodes() == 1  # nothing trained yet: no empty line
    plot.fill([{"step": 0, **BEFORE}, *({"step": s, "noise": 0.2 - s / 1e4} for s in (20, 40, 60))])
    assert scene.GetNumberOfNodes() == begin + 9
    series = plot.chart(LOSS).GetNthPlotSeriesNode(0)
    table = series.GetTableNode().GetTable()
    steps, noise = (table.GetColumnByName(n) for n in (series.GetXColumnName(), series.GetYColumnName()))
    assert [steps.GetValue(row) for row in range(3)] == [20, 40, 60]
    assert noise.GetValue(2) == pytest.approx(0.194)
    low, high = plot.chart(LOSS).GetYAxisRange()
    assert low < 0.194 and high > 0.2
    assert plot.chart(RETRIEVAL).GetNumberOfPlotSeriesNodes() == 3
    plot.show(RETRIEVAL)
    plot.remove()
    assert plot.chart(LOSS) is None
    left = [scene.GetNthNode(n).GetName() or "" for n in range(scene.GetNumberOfNodes())]
    assert not [name for name in left if "raining" in name or "Tissue" in name]


def test_the_curve_is_not_saved_with_the_scene(scene, host, tmp_path):
    TrainingPlot(scene).fill([{"step": 0, **BEFORE}, {"step": 20, "noise": 0.2}])
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    host.close_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert slicer.util.getNodesByClass("vtkMRMLPlotChartNode") == []


def test_the_estimate_learns(host, run):
    before = estimateText("default", "cpu", 3, None, 1000)
    (run.folder / "settings.json").write_text(json.dumps({"base": 32, "batch": 4, "patch": [16, 64, 64]}))
    (run.folder / "log.jsonl").write_text('{"step": 20, "seconds": 200}\n')
    (run.folder / "request.json").write_text(json.dumps({"name": "mine", "device": "cpu"}))
    learnFrom(run)  # too short to tell
    assert estimateText("default", "cpu", 3, None, 1000) == before
    (run.folder / "log.jsonl").write_text('{"step": 400, "seconds": 4000}\n')
    learnFrom(run)
    assert estimateText("default", "cpu", 3, None, 1000) == "About 2.8 h in all"
    assert estimateText("default", "cpu", 0, 60.0, None) == "About 360 steps, plus preparation"
    slicer.app.userSettings().setValue(f"{SETTING}/cpu", "nan")
    assert estimateText("default", "cpu", 3, None, 1000) == before


def test_a_training_teaches_the_estimate_of_its_own_device(host, run):
    before = estimateText("default", "auto", 3, None, 1000), estimateText("default", "cuda", 3, None, 1000)
    (run.folder / "settings.json").write_text(json.dumps({"base": 32, "batch": 4, "patch": [16, 64, 64]}))
    (run.folder / "log.jsonl").write_text('{"step": 400, "seconds": 4000}\n')
    (run.folder / "request.json").write_text(json.dumps({"name": "mine", "device": "cuda"}))
    learnFrom(run)
    assert estimateText("default", "cuda", 3, None, 1000) == "About 2.8 h in all" != before[1]
    assert estimateText("default", "auto", 3, None, 1000) == before[0]


@pytest.mark.parametrize(
    ("settings", "time"),
    [({"batch": 64}, 1), ({"base": 64, "batch": 1}, 4), ({"base": math.inf}, 1), ({"base": 10**400}, 1)],
)
def test_the_estimate_goes_by_the_batch_of_the_panels_trainings(host, own_models, settings, time):
    built_in = Library().read("built-in")
    training = {"settings": built_in.card["training"]["settings"] | settings}
    own_models.mkdir(parents=True)
    card = built_in.card | {"id": "own", "version": "3", "training": training}
    Packed(card, b"x").write(own_models / "own 3.zip")
    expected = estimateText("built-in", "cpu", 0, None, 10_000 * time)
    assert estimateText("own 3", "cpu", 0, None, 10_000) == expected


# The same from the Python console


@pytest.fixture
def volumes(host, tmp_path, monkeypatch) -> tuple:
    program = swift_trainer(tmp_path)
    monkeypatch.setattr("DiffSegLungPanel.work.worker.pythonExecutable", lambda: program)
    return tuple(add_chest(f"CT {number}", chest(seed=number)) for number in range(3))


def test_a_script_trains_in_one_call(volumes):
    ended = DiffSegLungLogic().train(TrainingData(volumes=volumes), TrainingPlan("default", "mine", steps=60))
    assert (ended.model, ended.steps) == ("mine 1", 60)
    (run,) = knownRuns()
    assert run.isFinished and not (run.folder / "slicer.json").exists()
    assert not (run.folder / "scans").exists()


def test_a_training_that_was_stopped_is_resumed_by_a_script(volumes):
    logic = DiffSegLungLogic()
    plan = TrainingPlan("default", "mine", minutes=30.0)
    task = logic.train(TrainingData(volumes=volumes), plan, waitForCompletion=False)
    with pytest.raises(DiffSegLungError) as refused:
        logic.train(TrainingData(volumes=volumes), plan)
    assert refused.value.code == "busy"
    while not (knownRuns() and knownRuns()[0].step > 100):
        slicer.app.processEvents()
    task.cancel()
    while task.isRunning:
        slicer.app.processEvents()
    assert task.wasCancelled
    (run,) = knownRuns()
    assert run.minutes == 30.0
    assert logic.resumeTraining(run).model == "mine 1"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (TrainingData(folder=Path("/nowhere/at/all")), "no-such-path"),
        (TrainingData(), "too-few-volumes"),
    ],
)
def test_a_script_hears_what_is_missing(host, data, code):
    with pytest.raises(InputError) as refused:
        DiffSegLungLogic().train(data, TrainingPlan("default", "mine"))
    assert refused.value.code == code
    assert not trainingsFolder().exists()
