"""The panel: its sections put together, and its life with the scene."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from DiffSegLungLib.errors import DiffSegLungError

from . import segmentation
from .advancedpane import AdvancedPane
from .dialogs import Answer, Dialogs
from .inputinfo import describeInput
from .inputpane import InputPane
from .install import Installer
from .messageline import MessageLine
from .modelpane import ModelPane
from .parameters import DiffSegLungParameters
from .refinepane import RefinePane
from .request import Request
from .results import resultsOf
from .resultspane import ResultsPane
from .runpane import RunPane, RunState
from .segments import classSegments
from .tasks import Task
from .uncertaintypane import UncertaintyPane
from .wording import durationText

MODIFIED = vtk.vtkCommand.ModifiedEvent


class Panel(VTKObservationMixin):
    """Everything the user sees of the module.

    Args:
        ui: the widgets of ``DiffSegLung.ui`` by name.
        logic: does the work.
        scene: the scene to work in.
        parent: the widget that holds the panel; dialogues belong to it.
        dialogs: asks the user.
        installer: installs what the worker needs.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        scene: slicer.vtkMRMLScene,
        parent: qt.QWidget,
        *,
        dialogs: Dialogs | None = None,
        installer: Installer | None = None,
    ) -> None:
        super().__init__()
        self.ui, self._logic, self._scene = ui, logic, scene
        self._dialogs = dialogs or Dialogs(parent)
        self._installer = installer or Installer()
        self.parameters: DiffSegLungParameters | None = None
        self._guiTag: int | None = None
        self._entered = False
        self._updating = False
        self._seenInput: str | None = None
        self._started = 0.0
        self._task: Task | None = None
        self.messages = MessageLine(ui)
        self.input = InputPane(ui, self.update)
        self.model = ModelPane(ui, logic, self._dialogs)
        self.advanced = AdvancedPane(ui)
        self.results = ResultsPane(ui, scene, self.messages, self._dialogs, self._startTask)
        self.uncertainty = UncertaintyPane(ui, scene)
        self.refine = RefinePane(ui, scene, self._onRefreshed)
        self.run = RunPane(ui, self.apply, self.update)
        ui.testDeviceButton.connect("clicked(bool)", self.testDevice)
        slicer.app.connect("aboutToQuit()", self.cleanup)
        self.addObserver(scene, scene.StartCloseEvent, self._onStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneChanged)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self._useParameterNode()

    def enter(self) -> None:
        """The module was opened."""
        self._entered = True
        self._useParameterNode()
        self.refine.enter()

    def exit(self) -> None:
        """Another module was opened; a run goes on."""
        self._entered = False
        self.refine.exit()

    def cleanup(self) -> None:
        """The panel goes away: stop what runs, let go of the scene."""
        slicer.app.disconnect("aboutToQuit()", self.cleanup)
        self._stop()
        self._setParameters(None)
        self.removeObservers()

    def apply(self) -> None:
        """Segment with what is chosen; asks before it installs or replaces anything."""
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be started.")):
            self.messages.clear()
            self._withPackages(self._segment)

    def testDevice(self, _checked: bool = False) -> None:
        """Run the model once on the chosen device."""
        with slicer.util.tryWithErrorDisplay(_("The device could not be tested.")):
            self.messages.clear()
            self._withPackages(self._testDevice)

    def update(self) -> None:
        """Show the state of the scene and of the parameters."""
        if self._updating:
            return
        self._updating = True
        try:
            parameters = self.parameters
            self._followInput()
            self.input.update(parameters)
            self.model.update(parameters, inputUsable=self.input.problem is None)
            self.advanced.update(parameters, self.model.card)
            self.results.update(parameters)
            self.uncertainty.update(self.results.node, parameters)
            self.refine.update(self.results.node)
            self.run.setProblem(self._problem())
            idle = self.run.state is RunState.idle
            self.ui.testDeviceButton.enabled = idle and parameters is not None and self.model.card is not None
            self.ui.exportReportButton.enabled = idle
        finally:
            self._updating = False

    def _useParameterNode(self) -> None:
        """Take the scene's parameter node, which is another one after the scene was closed or loaded."""
        node = self._logic.getParameterNode()
        if self.parameters is None or node.parameterNode is not self.parameters.parameterNode:
            self._setParameters(node)
        else:
            self.update()

    def _setParameters(self, parameters: DiffSegLungParameters | None) -> None:
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, MODIFIED, self._onParametersModified)
        self.parameters = parameters
        self._seenInput = None
        if parameters is not None:
            self._chooseFirstInput(parameters)
            self._seenInput = _idOf(parameters.inputVolume)
            self._guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters.parameterNode, MODIFIED, self._onParametersModified)
        self.update()

    def _chooseFirstInput(self, parameters: DiffSegLungParameters) -> None:
        """With nothing chosen, start from the first volume that could be segmented."""
        if parameters.inputVolume is not None:
            return
        for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", self._scene):
            if not volume.GetHideFromEditors() and describeInput(volume).error is None:
                parameters.inputVolume = volume
                return

    def _followInput(self) -> None:
        """When another CT is chosen, its own latest result becomes the output, or a new one."""
        parameters = self.parameters
        if parameters is None or _idOf(parameters.inputVolume) == self._seenInput:
            return
        self._seenInput = _idOf(parameters.inputVolume)
        volume, output = parameters.inputVolume, parameters.outputSegmentation
        if volume is None or (output is not None and _ctOf(output) is volume):
            return
        mine = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", self._scene)
            if _ctOf(node) is volume and resultsOf(node).classTable is not None
        ]
        parameters.outputSegmentation = mine[-1] if mine else None

    def _problem(self) -> str:
        """Why Apply cannot be pressed: the first thing that is wrong, as a sentence."""
        parameters = self.parameters
        if parameters is None:
            return _("The scene is being closed.")
        if parameters.inputVolume is None:
            return _("Choose a chest CT to begin.")
        if self.input.problem is not None:
            return _("This CT cannot be segmented; see under Input.")
        for error in (self.model.problem, self.advanced.problem):
            if error is not None:
                return f"{error.message} {error.hint}".strip()
        try:
            self._request(replaceEdited=True).check()
        except DiffSegLungError as error:
            return f"{error.message} {error.hint}".strip()
        return ""

    def _request(self, *, replaceEdited: bool) -> Request:
        parameters = self.parameters
        return Request(
            inputVolume=parameters.inputVolume,
            outputSegmentation=parameters.outputSegmentation,
            lungs=parameters.lungsSegmentation,
            lungsSegmentID=parameters.lungsSegmentID if parameters.lungsSegmentation is not None else "",
            bundle=parameters.bundle,
            preset=parameters.preset.value,
            device=parameters.device.value,
            settings=self.advanced.settings,
            replaceEdited=replaceEdited,
        )

    def _withPackages(self, then: Callable[[], None]) -> None:
        """Go on at once, or after what is missing was installed with the user's consent."""
        missing = self._installer.missing()
        if not missing:
            then()
            return
        if not self._dialogs.confirmInstall(self._installer.question(missing), "\n".join(missing)):
            self.messages.info(_("Nothing was installed. DiffSegLung cannot run without these packages."))
            return

        def onInstalled(task: Task) -> None:
            if task.error is None:
                then()
            elif task.wasCancelled:
                self.messages.info(_("The installation was cancelled. What is installed already stays."))
            else:
                self.messages.error(task.error)

        self._startTask(Task(self._installer.steps(missing)), onInstalled)

    def _segment(self) -> None:
        answer = self._mayReplace()
        if answer is Answer.cancel:
            return
        if answer is Answer.makeNew:
            self.parameters.outputSegmentation = None
        request = self._request(replaceEdited=answer is Answer.replace)
        self.refine.pause()
        try:
            task = self._logic.segment(
                request.inputVolume,
                outputSegmentation=request.outputSegmentation,
                lungs=request.lungs,
                lungsSegmentID=request.lungsSegmentID,
                bundle=request.bundle,
                preset=request.preset,
                device=request.device,
                settings=request.settings,
                replaceEdited=request.replaceEdited,
                waitForCompletion=False,
            )
        except DiffSegLungError as error:
            self.messages.error(error)
            return
        self.model.remember()
        self.run.clearLog()
        self._follow(task, self._onSegmented)

    def _mayReplace(self) -> Answer | None:
        """Ask before work of the user, or the result of another CT, is replaced; None where there is none."""
        output = self.parameters.outputSegmentation
        if output is None or not classSegments(output):
            return None
        name = output.GetName()
        if segmentation.isEdited(output):
            question = _("“{name}” was edited by hand. Replace it, or make a new segmentation?")
        elif _ctOf(output) is not self.parameters.inputVolume:
            question = _("“{name}” belongs to another CT. Replace it, or make a new segmentation?")
        else:
            return None
        return self._dialogs.replaceOrNew(question.format(name=name))

    def _testDevice(self) -> None:
        try:
            task = self._logic.testDevice(
                self.parameters.device.value, bundle=self.parameters.bundle, waitForCompletion=False
            )
        except DiffSegLungError as error:
            self.messages.error(error)
            return
        self._follow(task, self._onDeviceTested)

    def _follow(self, task: Task, onDone: Callable[[Task], None]) -> None:
        """Show a task that the logic has started."""
        self._started = time.monotonic()
        self._task = task
        self.run.follow(task, onDone)

    def _startTask(self, task: Task, onDone: Callable[[Task], None]) -> None:
        """Start a task of the panel's own."""
        self._follow(task, onDone)
        task.start()

    def _onSegmented(self, task: Task) -> None:
        if task.wasCancelled:
            self.messages.info(_("Cancelled. Nothing was changed."))
        elif task.error is not None:
            self.messages.error(task.error)
        else:
            self.parameters.outputSegmentation = task.result
            self.results.show(task.result)
            self.ui.resultsCollapsibleButton.collapsed = False
            took, name = durationText(time.monotonic() - self._started), task.result.GetName()
            self.messages.success(
                _("Finished in {time}. The result is in “{name}”.").format(time=took, name=name)
            )
        self.update()

    def _onDeviceTested(self, task: Task) -> None:
        if task.wasCancelled:
            self.messages.info(_("The test was cancelled."))
        elif task.error is not None:
            self.messages.error(task.error)
        else:
            self.messages.success(str(task.result))

    def _onRefreshed(self) -> None:
        self.results.refresh()
        self.input.update(self.parameters)

    def _onParametersModified(self, _caller: Any, _event: Any) -> None:
        self.update()

    def _onNodeRemoved(self, _caller: Any, _event: Any) -> None:
        if not self._scene.IsBatchProcessing():
            self.update()

    def _onStartClose(self, _caller: Any, _event: Any) -> None:
        running = self.run.state is not RunState.idle
        self._stop()
        self._setParameters(None)
        if running:
            self.messages.info(_("The scene was closed, so the run was stopped."))
        else:
            self.messages.clear()

    def _onSceneChanged(self, _caller: Any, _event: Any) -> None:
        if self._entered:
            self._useParameterNode()

    def _stop(self) -> None:
        """End whatever runs, without a word."""
        self.run.release()
        self.refine.pause()
        if self._task is not None:
            self._task.abort()


def _idOf(node: slicer.vtkMRMLNode | None) -> str | None:
    return node.GetID() if node is not None else None


def _ctOf(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLNode | None:
    """The CT that a segmentation was made on."""
    return node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
