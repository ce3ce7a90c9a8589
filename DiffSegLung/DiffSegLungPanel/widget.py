"""The panel: its sections put together, and its life with the scene."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from DiffSegLungLib.errors import DiffSegLungError

from .models import shownName
from .panes.actions import Actions
from .panes.advanced_pane import AdvancedPane
from .panes.contract import PanelLogic, Widgets
from .panes.dialogs import Dialogs
from .panes.generate_pane import GeneratePane
from .panes.input_pane import InputPane
from .panes.message_line import MessageLine
from .panes.model_manager import ModelManager
from .panes.model_pane import ModelPane
from .panes.refine_pane import RefinePane
from .panes.results_pane import ResultsPane
from .panes.run_pane import RunPane, RunState
from .panes.selectors import Selectors
from .panes.sensitivity_pane import SensitivityPane
from .panes.training.section import TrainingSection
from .panes.uncertainty_pane import UncertaintyPane
from .scene.input_info import describeInput
from .scene.parameters import DiffSegLungParameters
from .scene.results import resultsOf
from .steps.install import Installer
from .steps.request import Request
from .work.tasks import Task

MODIFIED = vtk.vtkCommand.ModifiedEvent

AFTER_SELECTORS = -20.0
"""Priority of observers that need the node selectors' lists as they are after an event."""


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
        ui: Widgets,
        logic: PanelLogic,
        scene: slicer.vtkMRMLScene,
        parent: qt.QWidget,
        *,
        dialogs: Dialogs | None = None,
        installer: Installer | None = None,
    ) -> None:
        super().__init__()
        self.ui, self._logic, self._scene = ui, logic, scene
        dialogs = dialogs or Dialogs(parent)
        self.parameters: DiffSegLungParameters | None = None
        self._guiTag: int | None = None
        self._selectors = Selectors(parent)
        self._entered = False
        self._updating = False
        self._closed = False
        self._awaited: Task | None = None
        self._seenInput: str | None = None
        self.messages = MessageLine(ui)
        self.input = InputPane(ui, self.update)
        self.model = ModelPane(ui, logic, dialogs)
        self.advanced = AdvancedPane(ui)
        self.uncertainty = UncertaintyPane(ui, scene)
        self.sensitivity = SensitivityPane(ui, scene, self._onRedrawn)
        self.refine = RefinePane(ui, scene, self._onRefreshed)
        ui.refineCollapsibleButton.connect("contentsCollapsed(bool)", self._onRefineCollapsed)
        self.run = RunPane(ui, self._onApply, self.update)
        self.actions = Actions(
            logic,
            self.run,
            self.messages,
            dialogs,
            installer or Installer(),
            request=self.request,
            onSegmented=self._onSegmented,
        )
        self.results = ResultsPane(ui, scene, self.messages, dialogs, self.actions.start)
        self.training = TrainingSection(
            ui,
            scene,
            logic,
            self.messages,
            dialogs=dialogs,
            actions=self.actions,
            onUpdate=self.update,
            useModel=self._onUseModel,
            options=self._modelOptions,
            log=self.run.log,
            onCompared=self._onSegmented,
        )
        ui.testDeviceButton.connect("clicked(bool)", self.actions.testDevice)
        self.manager = ModelManager(
            ui,
            scene,
            self.messages,
            dialogs,
            self.actions,
            chosen=lambda: self.parameters.bundle if self.parameters is not None else None,
            choose=self._chooseModel,
            onUpdate=self.update,
        )
        self.generate = GeneratePane(
            ui,
            scene,
            logic,
            self.messages,
            self.actions,
            parameters=lambda: self.parameters,
            makeRoom=self.training.makeRoom,
            onUpdate=self.update,
        )
        slicer.app.connect("aboutToQuit()", self._onAboutToQuit)
        self.addObserver(scene, scene.StartCloseEvent, self._onStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneClosed)
        self.addObserver(scene, scene.StartImportEvent, self._onStartImport)
        self.addObserver(scene, scene.EndImportEvent, self._onImported, priority=AFTER_SELECTORS)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeLeaves)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self._useParameterNode()

    def enter(self) -> None:
        """The module was opened; the scene may have been another one meanwhile."""
        self._entered = True
        self._useParameterNode()
        self.refine.enter()
        self.training.announce()

    def exit(self) -> None:
        """Another module was opened; a run goes on."""
        self._entered = False
        self.refine.exit()

    def cleanup(self) -> None:
        """The panel goes away: stop what runs, let go of the scene."""
        slicer.app.disconnect("aboutToQuit()", self._onAboutToQuit)
        self._close()

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
            idle = self.run.state is RunState.idle
            self._followScript(idle)
            free = idle and not self._logic.isBusy
            self.sensitivity.update(self.results.node, parameters, idle=free)
            self.refine.update(self.results.node, paused=not free, redrawn=self.sensitivity.isBusy)
            self.run.setProblem(self._problem())
            self.ui.testDeviceButton.enabled = idle and parameters is not None and self.model.card is not None
            self.ui.exportReportButton.enabled = idle
            self.manager.update(idle=idle)
            self.generate.update(idle=idle)
            self._showWhether3D(idle)
        finally:
            self._updating = False
        self.training.update(idle=idle)

    def _followScript(self, idle: bool) -> None:
        """Look again when a task that a script has started ends."""
        task = self._logic.task
        if idle and task is not None and task.isRunning and task is not self._awaited:
            self._awaited = task
            task.finished.connect(self._onScriptFinished)

    def _onScriptFinished(self, _task: Task) -> None:
        self._awaited = None
        if not self._closed:
            self.update()

    def _showWhether3D(self, idle: bool) -> None:
        """Surfaces would be computed anew at every stroke of the brush: none while the editor is open."""
        refining = self.results.node is not None and not self.ui.refineCollapsibleButton.collapsed
        self.ui.show3DButton.enabled = idle and not refining
        self.ui.show3DButton.toolTip = (
            _("Close Refine first: surfaces would slow down every stroke of the brush")
            if refining
            else _("Show the findings as surfaces in the 3D view, inside translucent lungs")
        )

    def _useParameterNode(self) -> None:
        """Take the scene's parameter node, which is another one after the scene was closed or loaded."""
        node = self._logic.getParameterNode()
        if self.parameters is None or node.parameterNode is not self.parameters.parameterNode:
            self._setParameters(node)
        else:
            self._chooseFirstInput(self.parameters)
            # Every control reads its parameter again; binding anew would keep the former binding alive.
            self.parameters.parameterNode.Modified()

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
        if volume is None or (output is not None and resultsOf(output).volume is volume):
            return
        mine = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", self._scene)
            if resultsOf(node).volume is volume and resultsOf(node).classTable is not None
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
            self.request(replaceEdited=True).check()
        except DiffSegLungError as error:
            return f"{error.message} {error.hint}".strip()
        return ""

    def request(self, *, replaceEdited: bool = False) -> Request:
        """What the user has chosen."""
        parameters = self.parameters
        assert parameters is not None, "nothing is asked for while the scene is closed"
        return Request(
            inputVolume=parameters.inputVolume,
            outputSegmentation=parameters.outputSegmentation,
            lungs=parameters.lungsSegmentation,
            lungsSegmentID=parameters.lungsSegmentID if parameters.lungsSegmentation is not None else "",
            bundle=parameters.bundle,
            preset=parameters.preset.value,
            device=parameters.device.value,
            settings={**self.advanced.settings, "sensitivity": parameters.sensitivity},
            replaceEdited=replaceEdited,
        )

    def _onSegmented(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """A new result: choose it, and bring it in front of the user."""
        self.model.remember()
        if self.parameters is not None:  # not in the middle of an import
            self.parameters.outputSegmentation = node
        self.results.show(node)
        self.ui.resultsCollapsibleButton.collapsed = False

    def _onRefineCollapsed(self, _collapsed: bool) -> None:
        self.update()

    def _chooseModel(self, bundle: str) -> None:
        if self.parameters is not None:
            self.parameters.bundle = bundle
        self.update()

    def _modelOptions(self) -> dict[str, str]:
        """Preset and device as chosen in the Model section; nothing while the scene is being closed."""
        parameters = self.parameters
        if parameters is None:
            return {}
        return {"preset": parameters.preset.value, "device": parameters.device.value}

    def _onUseModel(self, bundle: str) -> None:
        if self.parameters is not None:
            self.parameters.bundle = bundle
            self.ui.modelCollapsibleButton.collapsed = False
            self.messages.success(_("“{name}” is chosen under Model.").format(name=shownName(bundle)))

    def _onApply(self) -> None:
        self.training.makeRoom(self.actions.apply)

    def _onRedrawn(self) -> None:
        self.update()

    def _onRefreshed(self) -> None:
        self.results.refresh()
        self.input.update(self.parameters)

    def _onParametersModified(self, _caller: vtk.vtkObject, _event: str) -> None:
        self.update()

    def _onNodeRemoved(self, _caller: vtk.vtkObject, _event: str) -> None:
        if not self._scene.IsBatchProcessing():
            self.update()

    def _onStartClose(self, _caller: vtk.vtkObject, _event: str) -> None:
        running = self.actions.stop()
        self._setParameters(None)
        if running:
            self.messages.info(_("The scene was closed, so the run was stopped."))
        else:
            self.messages.clear()

    def _onSceneChanged(self, _caller: vtk.vtkObject, _event: str) -> None:
        if self._entered:
            self._useParameterNode()

    def _onSceneClosed(self, caller: vtk.vtkObject, event: str) -> None:
        self._onSceneChanged(caller, event)
        self.training.onSceneClosed()

    def _onStartImport(self, _caller: vtk.vtkObject, _event: str) -> None:
        """Untie the controls: an import empties the selectors and fills them with a choice of their own.

        Written into the parameters, that choice would replace the one made, and the one that the scene brings
        (Slicer's issue 7492).
        """
        self._setParameters(None)
        self._selectors.remember()

    def _onImported(self, _caller: vtk.vtkObject, _event: str) -> None:
        self._selectors.restore(self._scene)
        self._useParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeLeaves(self, _caller: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if not self._scene.IsClosing() and node.IsA("vtkMRMLDisplayableNode"):
            self._selectors.release(node)

    def _onAboutToQuit(self) -> None:
        self._close()

    def _close(self) -> None:
        """Once only: when Slicer has quit and unloads the module, the widgets may be gone already."""
        if self._closed:
            return
        self._closed = True
        self.actions.stop()
        self.sensitivity.update(None, None, idle=True)
        self.training.close()
        self._setParameters(None)
        self.removeObservers()


def _idOf(node: slicer.vtkMRMLNode | None) -> str | None:
    return node.GetID() if node is not None else None
