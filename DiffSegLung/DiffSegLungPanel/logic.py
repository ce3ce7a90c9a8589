"""What the module can do, for the panel, scripts and the Python console: one and the same functions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.report.quantify import Quantities

from .scene import results
from .scene.parameters import DiffSegLungParameters
from .scene.redraw import redrawResult
from .steps.batch_steps import VolumeOutcome, folderSteps, volumesSteps
from .steps.compare_steps import Comparison, compareSteps
from .steps.estimate import Estimate, estimate, updatedScale
from .steps.generate_steps import GenerateRequest, generateSteps
from .steps.request import Request
from .steps.segmentation_steps import segmentationSteps
from .training.runs import TrainingOutcome, TrainingRun, newRun
from .training.training_steps import (
    TrainingData,
    TrainingPlan,
    checkSteps,
    finishSteps,
    resumeSteps,
    trainSteps,
)
from .work.tasks import Steps, Task
from .work.temporary import temporaryFolder
from .work.worker import workerSteps

SCALE_SETTING = "DiffSegLung/secondsScale"
"""Application setting: how much slower this computer is than the one the estimate was made on."""


class DiffSegLungLogic(ScriptedLoadableModuleLogic):
    """Segmentation of lung pathology in the scene; one task runs at a time, and beside it one training.

    Args:
        scene: the scene to work in; the application's own when not given.
    """

    def __init__(self, scene: slicer.vtkMRMLScene | None = None) -> None:
        super().__init__()
        self.scene = scene if scene is not None else slicer.mrmlScene
        self.task: Task | None = None
        self.training: Task | None = None

    def getParameterNode(self) -> DiffSegLungParameters:
        """The module's parameters in the scene."""
        return DiffSegLungParameters(super().getParameterNode())

    @property
    def isBusy(self) -> bool:
        """Whether a task is running."""
        return self.task is not None and self.task.isRunning

    def segment(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        *,
        outputSegmentation: slicer.vtkMRMLSegmentationNode | None = None,
        lungs: slicer.vtkMRMLSegmentationNode | None = None,
        lungsSegmentID: str = "",
        bundle: str = "default",
        preset: str = "balanced",
        device: str = "auto",
        settings: Mapping[str, Any] | None = None,
        replaceEdited: bool = False,
        waitForCompletion: bool = True,
    ) -> slicer.vtkMRMLSegmentationNode | Task:
        """Segment a chest CT; the arguments are those of :class:`.request.Request`.

        Args:
            waitForCompletion: return when it is done; otherwise return at once with the running task.

        Returns:
            The segmentation node with its results attached, or the task.

        Raises:
            DiffSegLungError: the request cannot be met, or another task is running; while waiting also
                whatever stops the run.
        """
        request = Request(
            inputVolume,
            outputSegmentation,
            lungs,
            lungsSegmentID,
            bundle,
            preset,
            device,
            settings or {},
            replaceEdited,
        )
        request.check()
        return self._run(self._timed(request), waitForCompletion)

    def segmentVolumes(
        self,
        inputVolumes: Sequence[slicer.vtkMRMLScalarVolumeNode],
        *,
        bundle: str = "default",
        preset: str = "balanced",
        device: str = "auto",
        settings: Mapping[str, Any] | None = None,
        waitForCompletion: bool = True,
    ) -> list[VolumeOutcome] | Task:
        """Segment several volumes of the scene, one after the other; one that fails does not stop the rest.

        Returns:
            One :class:`.batch_steps.VolumeOutcome` a volume, or the task.
        """
        requests = [
            Request(volume, bundle=bundle, preset=preset, device=device, settings=settings or {})
            for volume in inputVolumes
        ]
        return self._run(volumesSteps(self.scene, requests), waitForCompletion)

    def segmentFolder(
        self,
        folder: str | Path,
        outputFolder: str | Path,
        *,
        bundle: str = "default",
        preset: str = "balanced",
        device: str = "auto",
        settings: Mapping[str, Any] | None = None,
        jobs: int = 1,
        overwrite: bool = False,
        waitForCompletion: bool = True,
    ) -> Path | Task:
        """Segment every CT below a folder, without loading any into the scene.

        Every CT runs in a process of its own; what is finished is skipped when the same call is made again.

        Args:
            folder: CT files, or folders of DICOM series.
            outputFolder: receives a folder of results for every CT, and ``summary.csv``.
            jobs: how many CT to work on at a time.
            overwrite: replace results that come from other settings, another model or another CT.

        Returns:
            The path of ``summary.csv``, or the task.
        """
        config = Config.from_mapping({"preset": preset, "device": device, **(settings or {})})
        options = [f"--bundle={bundle}", "--jobs", str(jobs), *(["--overwrite"] if overwrite else [])]
        return self._run(
            folderSteps(Path(folder), Path(outputFolder), options, config.to_json()), waitForCompletion
        )

    def generate(
        self, request: GenerateRequest, *, waitForCompletion: bool = True
    ) -> list[slicer.vtkMRMLScalarVolumeNode] | Task:
        """Draw synthetic CT in the shape of lungs; they come into the scene together, or not at all.

        Returns:
            The volumes, which say in name, description and attribute that they are no scans; or the task.
        """
        request.check()
        return self._run(generateSteps(self.scene, request), waitForCompletion)

    def testDevice(
        self, device: str, *, bundle: str = "default", waitForCompletion: bool = True
    ) -> str | Task:
        """Run the model once on a device; the result is a sentence that says how it went."""
        return self._run(_deviceSteps(device, bundle), waitForCompletion)

    def estimate(self, inputVolume: slicer.vtkMRMLScalarVolumeNode, preset: str, device: str) -> Estimate:
        """Seconds and memory that a run on this CT will take on this computer."""
        dimensions = inputVolume.GetImageData().GetDimensions()
        voxels = dimensions[0] * dimensions[1] * dimensions[2]
        return estimate(voxels, preset, device, scale=_scale())

    def compareModels(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        bundles: tuple[str, str],
        *,
        preset: str = "balanced",
        device: str = "auto",
        settings: Mapping[str, Any] | None = None,
        waitForCompletion: bool = True,
    ) -> Comparison | Task:
        """Segment a CT with two models; both results, and a table of both, come into the scene."""
        steps = compareSteps(
            self.scene, inputVolume, bundles, preset=preset, device=device, settings=settings
        )
        return self._run(steps, waitForCompletion)

    def checkScans(
        self, data: TrainingData, run: TrainingRun, *, waitForCompletion: bool = True
    ) -> Task | None:
        """Find out which CT can be trained on; the answer is in ``run.scans()``."""
        return self._train(run, checkSteps(self.scene, run, data), waitForCompletion)

    def train(
        self,
        data: TrainingData,
        plan: TrainingPlan,
        *,
        run: TrainingRun | None = None,
        waitForCompletion: bool = True,
    ) -> TrainingOutcome | Task:
        """Tune a model to one's own CT; segmentations can run meanwhile.

        Args:
            data: a folder, or volumes of the scene.
            plan: parent, name and budget.
            run: where the scans were checked, else a new one.
            waitForCompletion: return when it is done; otherwise return at once with the running task.

        Raises:
            DiffSegLungError: the request cannot be met, or another training is running; while waiting also
                whatever stops the training. What was learned by then is kept: :meth:`resumeTraining`.
        """
        data.check()
        self._requireNoTraining()
        run = run or newRun()
        return self._train(run, trainSteps(self.scene, run, data, plan), waitForCompletion)

    def resumeTraining(self, run: TrainingRun, *, waitForCompletion: bool = True) -> TrainingOutcome | Task:
        """Go on with a training that was paused, or that a closed Slicer left."""
        return self._train(run, resumeSteps(run), waitForCompletion)

    def finishTraining(self, run: TrainingRun, *, waitForCompletion: bool = True) -> TrainingOutcome | Task:
        """Make the model of what a paused training has learned by now."""
        return self._train(run, finishSteps(run), waitForCompletion)

    def refresh(
        self, segmentation: slicer.vtkMRMLSegmentationNode, *, waitForCompletion: bool = True
    ) -> Quantities | Task:
        """Measure a segmentation anew, after edits; its tables and charts change in place."""
        return self._run(results.refreshResults(self.scene, segmentation), waitForCompletion)

    def setSensitivity(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        sensitivity: float,
        *,
        waitForCompletion: bool = True,
    ) -> Quantities | Task:
        """Draw the classes of a finished result at another sensitivity, as a run with it would have.

        Tables, charts and provenance follow; what was edited by hand stays (:func:`.redraw.redrawResult`).

        Args:
            segmentation: the result.
            sensitivity: 0..1; 0.25 is cautious, 0.5 balanced, 0.75 sensitive.
            waitForCompletion: return when it is done; otherwise return at once with the running task.

        Raises:
            DiffSegLungError: a sensitivity out of range, a result without evidence or with every finding
                edited, or another task is running.
        """
        return self._run(redrawResult(self.scene, segmentation, sensitivity), waitForCompletion)

    def stop(self) -> None:
        """End whatever runs, at once, leaving nothing behind; a training goes on."""
        if self.task is not None:
            self.task.abort()

    def _run(self, steps: Steps, waitForCompletion: bool) -> Any:
        if self.isBusy:
            raise DiffSegLungError(
                "busy", _("DiffSegLung is working already."), _("Wait until it is done, or cancel it.")
            )
        self.task = Task(steps)
        if waitForCompletion:
            return self.task.wait()
        self.task.start()
        return self.task

    def _train(self, run: TrainingRun, steps: Steps, waitForCompletion: bool) -> Any:
        self._requireNoTraining()
        self.training = Task(_owned(run, steps))
        if waitForCompletion:
            return self.training.wait()
        self.training.start()
        return self.training

    def _requireNoTraining(self) -> None:
        if self.training is not None and self.training.isRunning:
            raise DiffSegLungError(
                "busy", _("A training is running already."), _("Wait until it is done, or pause it.")
            )

    def _timed(self, request: Request) -> Steps:
        """The steps of a segmentation; what they took corrects the next estimate."""
        expected = self.estimate(request.inputVolume, request.preset, request.device)
        begin = time.monotonic()
        node = yield from segmentationSteps(self.scene, request)
        scale = updatedScale(_scale(), expected.seconds, time.monotonic() - begin)
        slicer.app.userSettings().setValue(SCALE_SETTING, scale)
        return node


def _owned(run: TrainingRun, steps: Steps) -> Steps:
    """The same steps, while this Slicer has the training to itself."""
    run.claim()
    try:
        return (yield from steps)
    finally:
        if run.entries():
            run.forgetScans()  # what was prepared of them is enough from now on
        run.release()


def _scale() -> float:
    return slicer.util.settingsValue(SCALE_SETTING, 1.0, converter=float)


def _deviceSteps(device: str, bundle: str) -> Steps:
    with temporaryFolder() as folder:
        return (yield from workerSteps(["device", f"--device={device}", f"--bundle={bundle}"], folder))
