"""A training beside everything else: segmentations, a closed scene, a closed Slicer, other Slicers."""

from __future__ import annotations

import json
import os
import shutil

import psutil
import pytest
import slicer
from DiffSegLungPanel.panes.dialogs import Room
from DiffSegLungPanel.training.runs import knownRuns
from panels import Desk, StepLogic
from training_desk import NAME, activity, pause, texts, train, train_until, training_nodes, wait_idle

from DiffSegLungLib.io.owners import identity


class HeldLogic(StepLogic):
    """Segments in steps; the result comes only when the test lets it."""

    held = True

    def _steps(self, request):
        while self.held:
            yield None
        return (yield from super()._steps(request))


@pytest.mark.parametrize("room", list(Room))
def test_another_ct_is_segmented_during_a_training(opened, use_trainer, room):
    use_trainer(pause_s=0.05, lines=200)
    desk = opened()
    train_until(desk, 40)
    desk.dialogs.room = room
    desk.ui.applyButton.click()
    if room is Room.cancel:
        assert activity(desk) == "training" and desk.panel.run.state.value == "idle"
        return
    desk.wait(lambda: desk.panel.run.state.value != "idle")
    assert activity(desk) == ("idle" if room is Room.pause else "training")
    desk.finish_run()
    desk.wait(lambda: activity(desk) == "training")
    assert desk.parameters.outputSegmentation is not None
    assert len(knownRuns()) == 1


@pytest.fixture
def between(opened, use_trainer):
    """A panel whose training is paused while a CT is segmented; with what ends the segmentation."""
    use_trainer(pause_s=0.05, lines=200)
    logic = HeldLogic()
    desk = opened(3, logic)
    train_until(desk, 40)
    desk.dialogs.room = Room.pause
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.panel.run.state.value != "idle")

    def end_segmentation() -> None:
        logic.held = False
        desk.finish_run()

    return desk, end_segmentation


def test_a_training_discarded_during_a_segmentation_stays_away(between, use_trainer):
    desk, end_segmentation = between
    desk.dialogs.discard = True
    desk.train.discardTrainingButton.click()
    end_segmentation()
    assert activity(desk) == "idle" and knownRuns() == []
    assert desk.panel.messages.kind == "success", desk.panel.messages.text
    use_trainer()
    train(desk)
    assert desk.panel.messages.text.startswith("Training finished")


def test_a_training_whose_folder_vanishes_during_a_segmentation_blocks_no_other(between, use_trainer):
    desk, end_segmentation = between
    shutil.rmtree(desk.training.pane.run.folder)
    end_segmentation()
    assert activity(desk) == "idle"
    train(desk)  # resumes what is no more
    assert desk.panel.messages.kind == "error"
    assert desk.training.pane.run is None
    use_trainer()
    train(desk)
    assert desk.panel.messages.text.startswith("Training finished")


def test_another_training_begun_during_a_segmentation_is_the_one_that_goes_on(between):
    desk, end_segmentation = between
    first = desk.training.pane.run
    step = first.step
    desk.choose(desk.train.trainRunComboBox, "New training")
    train_until(desk, 20)
    second = desk.training.pane.run
    end_segmentation()
    assert desk.training.pane.run == second != first
    assert desk.train.trainRunComboBox.currentText == f"{NAME}, running"
    desk.train.stopTrainingButton.click()
    wait_idle(desk)
    assert second.isFinished and not first.isFinished and first.step == step
    desk.panel.update()
    assert activity(desk) == "idle"


def test_scans_checked_during_a_segmentation_do_not_keep_the_training_paused(between, use_trainer):
    desk, end_segmentation = between
    first = desk.training.pane.run
    desk.choose(desk.train.trainRunComboBox, "New training")
    use_trainer(pause_s=0.5)
    desk.train.checkScansButton.click()
    end_segmentation()
    desk.wait(lambda: activity(desk) == "training")
    assert desk.training.pane.run == first


def test_a_segmentation_that_is_not_started_after_all_resumes_the_training(opened, use_trainer):
    use_trainer(pause_s=0.05, lines=200)
    desk = opened()
    train_until(desk, 40)
    desk.dialogs.room, before = Room.pause, desk.training.pane._task
    desk.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(desk.parameters.inputVolume)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Doe Jane 1"))
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Doe Jane 2"))
    desk.wait(lambda: desk.training.pane._task not in (None, before))
    assert activity(desk) == "training" and desk.panel.run.state.value == "idle"


@pytest.mark.parametrize("pause", [False, True])
def test_closing_the_scene_asks_and_loses_nothing(opened, use_trainer, pause):
    use_trainer(pause_s=0.05, lines=40)
    desk = opened()
    train_until(desk, 100)
    desk.host.testing, desk.dialogs.pause = False, pause
    desk.host.close_scene()
    assert len(training_nodes()) == 9  # the curve goes on in the new scene
    desk.wait(lambda: bool(desk.dialogs.questions))
    assert "the training goes on without it" in desk.dialogs.questions[-1]
    wait_idle(desk)
    if pause:
        assert desk.panel.messages.text.startswith("Paused at step ")
        train(desk)
    assert desk.panel.messages.kind == "success"
    assert texts(desk, 0) == ["Doe Jane 0", "Doe Jane 1", "Doe Jane 2"]
    steps = [entry["step"] for entry in desk.training.pane.run.entries()]
    assert steps == list(range(0, 801, 20))


def test_closing_the_scene_before_the_scans_are_written_is_said(opened):
    desk = opened()
    desk.train.startTrainingButton.click()
    desk.host.close_scene()
    wait_idle(desk)
    assert (
        desk.panel.messages.kind == "error"
        and "was deleted before it was written" in desk.panel.messages.text
    )
    assert desk.training.pane.run is None


def test_a_training_is_found_again_after_slicer_was_closed(opened, use_trainer):
    use_trainer(pause_s=0.05, lines=40)
    desk = opened()
    train_until(desk, 100)
    desk.host.app.emit("aboutToQuit")
    run = desk.training.pane.run
    step = run.step
    assert step < 800 and not run.isFinished
    slicer.mrmlScene.Clear(False)
    again = opened(0)
    assert f"{NAME}, step {step}" in again.panel.messages.text
    assert again.training.pane.run.folder == run.folder
    assert again.train.startTrainingButton.text == "Resume"
    assert texts(again, 0) == ["CT 1", "CT 2", "CT 3"]
    train(again)
    assert again.panel.messages.kind == "success"
    steps = [entry["step"] for entry in again.training.pane.run.entries()]
    assert steps == list(range(0, 801, 20))


def test_an_unfinished_training_is_announced(opened, use_trainer, host):
    use_trainer(pause_s=0.05, lines=40)
    desk = opened()
    train_until(desk, 60)
    desk.panel.cleanup()
    step = desk.training.pane.run.step
    other = Desk(host)
    assert other.panel.messages.text == (
        f"A training is unfinished ({NAME}, step {step}). Open Train to resume it."
    )
    other.panel.cleanup()


def test_a_training_of_another_slicer_is_left_alone(opened):
    desk = opened()
    train(desk)
    run = desk.training.pane.run
    (run.folder / "result.json").unlink()
    (run.folder / "slicer.json").write_text(json.dumps(identity(psutil.Process(os.getppid()))))
    desk.training.pane.update()
    assert desk.train.trainProblemLabel.text == "Another Slicer works on this training."
    for name in ("start", "pause", "stop", "discard"):
        assert not getattr(desk.train, f"{name}TrainingButton").enabled, name


def test_a_training_of_another_computer_is_taken_over_only_after_asking(opened, use_trainer):
    use_trainer(pause_s=0.05, lines=30)
    desk = opened()
    train_until(desk, 40)
    pause(desk)
    run = desk.training.pane.run
    owner, step = run.folder / "slicer.json", run.step
    owner.write_text(json.dumps({"pid": 1, "begun": 1, "host": "ward-7"}))
    desk.training.pane.update()
    held = "Slicer on the computer ward-7 has held this training since "
    assert desk.train.trainProblemLabel.text.startswith(held)
    for name in ("start", "stop", "discard"):
        getattr(desk.train, f"{name}TrainingButton").click()
        question = desk.dialogs.questions.pop()
        assert question.startswith(held) and question.endswith("Take it over?")
        assert not desk.dialogs.questions
        assert activity(desk) == "idle" and owner.exists() and run.step == step
    desk.dialogs.sure = True
    train(desk)
    assert desk.panel.messages.kind == "success" and run.isFinished and not owner.exists()
