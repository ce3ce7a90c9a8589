"""Training: patches are pure functions, a killed run is the same run, the gradient goes where it should."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from warm_python import WarmPopen

from DiffSegLungLib.errors import Cancelled, DiffSegLungError, InputError
from DiffSegLungLib.talk import Talk
from DiffSegLungLib.training.dataset import PatchDataset, PatchSettings, split_by_patient
from DiffSegLungLib.training.ranks import Ranks
from DiffSegLungLib.training.run_folder import RunFolder
from DiffSegLungLib.training.settings import TrainingSettings
from DiffSegLungLib.training.store import PreparedVolume
from DiffSegLungLib.training.trainer import Trainer

TINY = TrainingSettings(
    steps=60, base=8, attention_heads=2, patch=(8, 32, 32), batch=2, stage_two=20, full_weight=30,
    validate_every=20, workers=0, precision="fp32", learning_rate=1e-3, checkpoint_minutes=99.0,
)  # fmt: skip
KILLED = replace(TINY, checkpoint_minutes=0.0)
"""A checkpoint after every step, for a run that is killed; writing them takes as long as the training."""


def volume(folder: Path, name: str, patient: str, seed: int) -> PreparedVolume:
    """A prepared volume of smooth random lung."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = rng.normal(-850, 120, (6, 8, 8))
    hu = np.kron(coarse, np.ones((4, 8, 8))) + rng.normal(0, 20, (24, 64, 64))
    lungs = np.zeros(hu.shape, bool)
    lungs[2:-2, 6:-6, 6:-6] = True
    np.save(folder / "hu.npy", hu.astype(np.int16))
    np.save(folder / "lungs.npy", lungs)
    return PreparedVolume(folder, name, patient, name)


@pytest.fixture
def volumes(tmp_path: Path) -> list[PreparedVolume]:
    return [volume(tmp_path / f"v{i}", f"v{i}", f"p{i % 3}", i) for i in range(4)]


def trainer(
    volumes: list[PreparedVolume], run: Path, settings: TrainingSettings = TINY, ranks: Ranks | None = None
) -> Trainer:
    train, held_out = split_by_patient(volumes, 0.3, 0)
    patches = PatchSettings(settings.patch, 0.3)
    return Trainer(
        settings,
        PatchDataset(train, patches),
        PatchDataset(held_out, replace(patches, seed=1)),
        RunFolder(run),
        torch.device("cpu"),
        ranks=ranks,
    )


def test_a_patch_depends_on_its_number_alone(volumes: list[PreparedVolume]) -> None:
    settings = PatchSettings((8, 32, 32), seed=3)
    one, two = PatchDataset(volumes, settings), PatchDataset(volumes, settings)
    for number in (7, 0, 7):
        assert torch.equal(one[number]["hu"], two[number]["hu"])
    assert not torch.equal(one[0]["hu"], one[1]["hu"])
    assert float(one[5]["lungs"].float().mean()) >= 0.25


def test_patches_may_read_as_if_taken_otherwise(volumes: list[PreparedVolume]) -> None:
    plain = PatchSettings((8, 32, 32), lesion_probability=0.0, seed=3)
    as_it_is, otherwise = (
        PatchDataset(volumes, replace(plain, acquisition_probability=p)) for p in (0.0, 1.0)
    )
    changed = [not torch.equal(as_it_is[n]["hu"], otherwise[n]["hu"]) for n in range(4)]
    assert all(changed)


def test_no_patient_stands_on_both_sides(volumes: list[PreparedVolume]) -> None:
    train, held_out = split_by_patient(volumes, 0.3, 0)
    assert held_out
    assert {v.patient for v in train}.isdisjoint(v.patient for v in held_out)
    assert split_by_patient(volumes[:1], 0.3, 0) == (volumes[:1], [])


@pytest.fixture
def claimed(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A run that a living process has claimed, and that process."""
    code = f"""
import time
from pathlib import Path
from DiffSegLungLib.training.run_folder import RunFolder
RunFolder(Path({str(tmp_path / "run")!r})).claim()
print("claimed", flush=True)
time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        yield tmp_path / "run", other
    finally:
        other.kill()
        other.wait()


def test_two_processes_do_not_share_a_run(claimed: tuple[Path, subprocess.Popen[str]]) -> None:
    run, other = claimed
    with pytest.raises(InputError, match=f"process \\({other.pid}\\) is training"):
        RunFolder(run).claim()
    other.kill()
    other.wait()
    for _ in range(2):
        RunFolder(run).claim()


def test_a_copy_of_a_run_is_free_and_the_run_itself_is_not_wherever_it_moves(
    claimed: tuple[Path, subprocess.Popen[str]],
) -> None:
    run, _ = claimed
    copy, moved = (run.with_name(name) for name in ("copy", "moved"))
    shutil.copytree(run, copy)
    RunFolder(copy).claim()
    run.rename(moved)
    moved.with_name("link").symlink_to(moved)
    for place in (moved, moved.with_name("link")):
        with pytest.raises(InputError, match="is training"):
            RunFolder(place).claim()
    owner = moved / "owner.json"
    said = json.loads(owner.read_text())
    owner.write_text(json.dumps({name: said[name] for name in ("pid", "begun", "host")}))  # as it once was
    with pytest.raises(InputError, match="is training"):
        RunFolder(moved).claim()


def test_loss_falls_and_the_second_stage_teaches(volumes: list[PreparedVolume], tmp_path: Path) -> None:
    settings = replace(TINY, steps=160, soft_bandwidth=0.0, learning_rate=2e-3)
    learner = trainer(volumes, tmp_path / "run", settings)
    learner.fit()
    entries = learner.run_folder.entries()
    assert [e["step"] for e in entries] == list(range(20, 161, 20))
    assert entries[-1]["noise"] < 0.85 * entries[0]["noise"]
    assert "contrast" not in entries[0]
    assert entries[-1]["contrast"] < entries[1]["contrast"]


@pytest.mark.parametrize("detach", [False, True])
def test_distillation_reaches_the_encoder_unless_detached(
    volumes: list[PreparedVolume], tmp_path: Path, detach: bool
) -> None:
    run = trainer(volumes, tmp_path / "run", replace(TINY, detach=detach))
    batch = next(run._batches(0, 1))
    stems, heads = [], []
    for weight in (0.0, 1.0):
        run.learner.gradients(batch, 0, weight)
        stems.append(run.student.network.stem.weight.grad)
        heads.append(run.student.head.project.weight.grad)
    assert torch.equal(*stems) is detach
    assert heads[0] is None
    assert float(heads[1].abs().sum()) > 0


@pytest.mark.parametrize("cooldown", [0.0, 0.6])
def test_interrupted_run_ends_like_the_unbroken_one(
    volumes: list[PreparedVolume], tmp_path: Path, cooldown: float
) -> None:
    settings = replace(TINY, steps=40, stage_two=10, full_weight=15, cooldown=cooldown)
    unbroken = trainer(volumes, tmp_path / "unbroken", settings)
    unbroken.fit()
    asked = iter([False] * 27 + [True])  # after the first line of the log, amid the cooldown
    with pytest.raises(Cancelled):
        trainer(volumes, tmp_path / "broken", settings).fit(talk=Talk(cancelled=lambda: next(asked, True)))
    resumed = trainer(volumes, tmp_path / "broken", settings)
    resumed.fit()
    for name, value in unbroken.student.state_dict().items():
        torch.testing.assert_close(resumed.student.state_dict()[name], value, rtol=0, atol=0)
    curves = [
        [{k: v for k, v in e.items() if k != "seconds"} for e in t.run_folder.entries()]
        for t in (unbroken, resumed)
    ]
    assert curves[0] == curves[1]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums have one order, in this process as in another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_run_resumes_to_the_same_curve(volumes: list[PreparedVolume], tmp_path: Path) -> None:
    """SIGKILL in the middle, twice; the log of the survivor equals that of a run that nobody touched."""
    script = tmp_path / "train.py"
    script.write_text(
        f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import torch
from test_training import KILLED, trainer, volume
torch.set_num_threads(1)
here = Path({str(tmp_path)!r})
volumes = [volume(here / f"v{{i}}", f"v{{i}}", f"p{{i % 3}}", i) for i in range(4)]
trainer(volumes, here / "killed", KILLED).fit()
"""
    )
    trainer(volumes, tmp_path / "unbroken").fit()
    for kill_at in (1, 2):
        process = WarmPopen([sys.executable, str(script)])
        log = tmp_path / "killed" / "log.jsonl"
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) >= kill_at):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    trainer(volumes, tmp_path / "killed").fit()
    curves = []
    for run in ("unbroken", "killed"):
        entries = [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        curves.append([{k: v for k, v in e.items() if k != "seconds"} for e in entries])
    assert [e["step"] for e in curves[0]] == [20, 40, 60]
    assert curves[0] == curves[1]
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == ["checkpoint.pt", "log.jsonl"]


def test_run_cannot_go_on_with_other_settings(volumes: list[PreparedVolume], tmp_path: Path) -> None:
    learner = trainer(volumes, tmp_path / "run", replace(TINY, steps=5))
    learner.run_folder.agree_on(learner.settings)
    learner.fit()
    learner.run_folder.agree_on(replace(TINY, steps=50))
    with pytest.raises(InputError, match="learning_rate"):
        learner.run_folder.agree_on(replace(TINY, learning_rate=0.5))


@pytest.mark.parametrize("value", [float("nan"), 1e5])
def test_no_model_is_made_of_weights_that_are_not_finite(
    volumes: list[PreparedVolume], tmp_path: Path, value: float
) -> None:
    """100,000 is no number of 16 bits, as which a bundle stores it."""
    learner = trainer(volumes, tmp_path / "run")
    learner.bundle({})
    next(learner.learner.average.module.parameters()).data[0] = value
    with pytest.raises(DiffSegLungError, match="not finite numbers: no model is written"):
        learner.bundle({})


def test_weight_of_the_distillation_follows_the_papers_ramp() -> None:
    settings = TrainingSettings()
    assert [settings.contrast_weight_at(s) for s in (0, 4999, 6000, 7000, 20_000)] == [0, 0, 0.15, 0.3, 0.3]


def test_learning_rate_falls_over_the_last_steps() -> None:
    kept, falling = TrainingSettings(steps=100), TrainingSettings(steps=100, cooldown=0.2)
    assert {kept.learning_rate_at(s) for s in (0, 99, 100)} == {1e-4}
    assert [falling.learning_rate_at(s) for s in (0, 80, 90, 100, 130)] == [1e-4, 1e-4, 5e-5, 0.0, 0.0]


def test_the_optimiser_takes_the_learning_rate_of_the_step(
    volumes: list[PreparedVolume], tmp_path: Path
) -> None:
    """Adam's first step is as long as its rate, whatever the gradient."""
    moved = []
    for cooldown in (0.0, 1.0):
        trained = trainer(volumes, tmp_path / str(cooldown), replace(TINY, steps=2, cooldown=cooldown))
        trained.fit()
        weight = trained.student.network.out.bias.detach()
        moved.append(float(weight.abs().max()))
    assert moved[0] == pytest.approx(2 * TINY.learning_rate, rel=0.1)
    assert moved[1] == pytest.approx(1.5 * TINY.learning_rate, rel=0.1)


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in (
        {"steps": 0},
        {"ema": 1.0},
        {"stage_two": 10, "full_weight": 5},
        {"temperature": 0.0},
        {"cooldown": 2.0},
        {"seed": 2**63},
        {"seed": -(10**400)},
        {"clip": float("inf")},
        {"soft_bandwidth": float("nan")},
    ):
        with pytest.raises(InputError):
            TrainingSettings(**wrong)
    with pytest.raises(InputError, match="16 mm blocks"):
        PatchDataset([PreparedVolume(Path(), "", "", "")], PatchSettings((10, 32, 32)))
