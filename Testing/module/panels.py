"""The panel on the headless host: built as the module builds it, its questions answered by the test."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrml_scenes
import numpy as np
import psutil
import slicer
from DiffSegLungPanel.logic import DiffSegLungLogic
from DiffSegLungPanel.panes.dialogs import Answer, Dialogs, Room
from DiffSegLungPanel.scene.results import importResults
from DiffSegLungPanel.steps.install import Installer
from DiffSegLungPanel.steps.request import Request
from DiffSegLungPanel.steps.segmentation_steps import requireNodes
from DiffSegLungPanel.widget import Panel
from DiffSegLungPanel.work.tasks import TaskProgress
from small_volume import QUICK

MODULE = Path(__file__).resolve().parents[2] / "DiffSegLung"


class QuickLogic(DiffSegLungLogic):
    """The module's logic with a real worker, under settings that take seconds."""

    def segment(self, inputVolume: Any, *, settings: Any = None, **options: Any) -> Any:
        return super().segment(inputVolume, settings={**settings, **QUICK}, **options)


class StepLogic(DiffSegLungLogic):
    """The module's logic with prepared output instead of a worker: what the panel shows, without the wait.

    Attributes:
        asked: the arguments of the latest call.
        cleanedUp: whether the steps of the latest run could tidy up.
    """

    def segment(self, inputVolume: Any, **options: Any) -> Any:
        self.asked = options
        waiting = options.pop("waitForCompletion")
        request = Request(inputVolume, **options)
        request.check()
        self.cleanedUp = False
        return self._run(self._steps(request), waiting)

    def _steps(self, request: Request) -> Any:
        try:
            with tempfile.TemporaryDirectory() as folder:
                for step in range(20):
                    yield TaskProgress("Finding the lungs", step / 20, 20.0 - step)
                    requireNodes(self.scene, request)
                labels = mrml_scenes.lung_labels(slicer.util.arrayFromVolume(request.inputVolume).shape)
                written = mrml_scenes.write_worker_output(
                    Path(folder), request.inputVolume, labels, sensitivity=request.config().sensitivity
                )
                target = request.outputSegmentation
                return mrml_scenes.finish(
                    importResults(self.scene, request.inputVolume, written, target=target)
                )
        finally:
            self.cleanedUp = True


class Answers(Dialogs):
    """A user who answers; `questions` holds what was asked."""

    def __init__(self) -> None:
        self.answer, self.install, self.model, self.file = Answer.cancel, False, "", None
        self.room, self.pause, self.discard = Room.cancel, False, False
        self.sure = False
        self.questions: list[str] = []

    def replaceOrNew(self, question: str) -> Answer:
        self.questions.append(question)
        return self.answer

    def confirmInstall(self, text: str, details: str) -> bool:
        self.questions.append(text)
        return self.install

    def makeRoom(self, question: str) -> Room:
        self.questions.append(question)
        return self.room

    def pauseAfterClose(self, question: str) -> bool:
        self.questions.append(question)
        return self.pause

    def confirmDiscard(self, question: str) -> bool:
        self.questions.append(question)
        return self.discard

    def openModel(self, folder: str) -> str:
        self.questions.append(folder)
        return self.model

    def saveFile(self, title: str, suggestion: str, pattern: str) -> Path | None:
        self.questions.append(suggestion)
        return self.file

    def confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.sure


def _children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


class Desk:
    """A user at the panel: `ui` by name, `panel`, `dialogs` and `logic`."""

    def __init__(self, host: Any, logic: DiffSegLungLogic | None = None) -> None:
        self.host = host
        self.root = slicer.util.loadUI(str(MODULE / "Resources" / "UI" / "DiffSegLung.ui"))
        self.root.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.root)
        self.dialogs, self.logic = Answers(), logic or StepLogic()
        self.panel = Panel(
            self.ui, self.logic, slicer.mrmlScene, self.root, dialogs=self.dialogs, installer=Installer()
        )
        self.panel.enter()
        self._elder = set(_children())

    def workers(self) -> list[psutil.Process]:
        """Processes that came since the panel was opened; earlier tests may have left some: a pool does."""
        return [process for process in _children() if process not in self._elder]

    @property
    def parameters(self) -> Any:
        return self.panel.parameters

    def choose(self, combo: Any, text: str) -> None:
        """The user picks an entry of a plain combo box."""
        index = [combo.itemText(i) for i in range(combo.count)].index(text)
        combo.currentIndex = index
        combo.activated(index)

    def wait(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        begin = time.monotonic()
        while not condition():
            self.host.process_events(10)
            assert time.monotonic() - begin < timeout_s, (self.panel.messages.text, self.panel.run.state)

    def finish_run(self) -> None:
        self.wait(lambda: self.panel.run.state.value == "idle")


def add_result(folder: Path, name: str = "CT") -> tuple[Any, Any]:
    """A CT and its finished segmentation, as a run would have made it."""
    labels = mrml_scenes.lung_labels()
    ct = mrml_scenes.add_ct(slicer.mrmlScene, mrml_scenes.lung_hu(labels), name=name)
    written = mrml_scenes.write_worker_output(folder / name, ct, labels)
    return ct, mrml_scenes.finish(importResults(slicer.mrmlScene, ct, written))


def paint(segmentation: Any, segment: str, ct: Any, box: tuple[slice, slice, slice]) -> None:
    """What the Segment Editor does when a user paints a class over whatever was there."""
    inside = np.zeros(slicer.util.arrayFromVolume(ct).shape, bool)
    inside[box] = True
    for other in segmentation.GetSegmentation().GetSegmentIDs():
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, other, ct).astype(bool)
        painted = voxels | inside if other == segment else voxels & ~inside
        if (painted != voxels).any():
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                painted.astype(np.uint8), segmentation, other, ct
            )
