"""What the panel needs of its logic and of its widgets, as types: whatever has these methods will do.

The panel starts work and never waits for it, so every method that works gives the running task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import qt
import slicer

from ..scene.parameters import DiffSegLungParameters
from ..steps.estimate import Estimate
from ..steps.generate_steps import GenerateRequest
from ..training.runs import TrainingRun
from ..training.training_steps import TrainingData, TrainingPlan
from ..work.tasks import Task


class Widgets(Protocol):
    """The widgets of a ``.ui`` file by name, as ``slicer.util.childWidgetVariables`` gives them."""

    def __getattr__(self, name: str) -> qt.QWidget: ...


class Segmenting(Protocol):
    """What Apply and the test of a device need."""

    task: Task | None

    @property
    def isBusy(self) -> bool: ...

    def segment(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        *,
        outputSegmentation: slicer.vtkMRMLSegmentationNode | None,
        lungs: slicer.vtkMRMLSegmentationNode | None,
        lungsSegmentID: str,
        bundle: str,
        preset: str,
        device: str,
        settings: Mapping[str, Any],
        replaceEdited: bool,
        waitForCompletion: Literal[False],
    ) -> Task: ...

    def testDevice(self, device: str, *, bundle: str, waitForCompletion: Literal[False]) -> Task: ...

    def stop(self) -> None: ...


class Estimating(Protocol):
    """What the Model section needs."""

    def estimate(self, inputVolume: slicer.vtkMRMLScalarVolumeNode, preset: str, device: str) -> Estimate: ...


class Generating(Protocol):
    """What the Generate section needs."""

    def generate(self, request: GenerateRequest, *, waitForCompletion: Literal[False]) -> Task: ...


class Training(Protocol):
    """What the Train section needs to train."""

    def checkScans(
        self, data: TrainingData, run: TrainingRun, *, waitForCompletion: Literal[False]
    ) -> Task: ...

    def train(
        self,
        data: TrainingData,
        plan: TrainingPlan,
        *,
        run: TrainingRun | None,
        waitForCompletion: Literal[False],
    ) -> Task: ...

    def resumeTraining(self, run: TrainingRun, *, waitForCompletion: Literal[False]) -> Task: ...

    def finishTraining(self, run: TrainingRun, *, waitForCompletion: Literal[False]) -> Task: ...


class Comparing(Training, Protocol):
    """What the Train section needs in all: beside training, to compare the result with its parent."""

    def compareModels(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        bundles: tuple[str, str],
        *,
        preset: str,
        device: str,
        waitForCompletion: Literal[False],
    ) -> Task: ...


class PanelLogic(Segmenting, Estimating, Generating, Comparing, Protocol):
    """What the whole panel needs; :class:`~DiffSegLungPanel.logic.DiffSegLungLogic` has it."""

    def getParameterNode(self) -> DiffSegLungParameters: ...
