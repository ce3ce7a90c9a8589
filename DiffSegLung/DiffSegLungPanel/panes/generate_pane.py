"""The Generate section: synthetic CT in the shape of lungs of the scene; loaded when it is first opened."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from ..models import shownName
from ..scene.parameters import DiffSegLungParameters
from ..scene.results import resultsOf
from ..steps.generate_steps import SYNTHETIC, GenerateRequest
from ..work.tasks import Task
from .actions import Actions
from .contract import Generating, Widgets
from .message_line import MessageLine
from .ui_files import loadInto


class GeneratePane:
    """Asks for samples and shows the first of them.

    Args:
        ui: the panel's widgets.
        scene: the scene.
        logic: does the work.
        messages: says how it went.
        actions: starts it.
        parameters: of the panel, None while the scene is closed.
        makeRoom: starts a run; asks first where a training is under way.
        onUpdate: shows the whole panel anew.
    """

    def __init__(
        self,
        ui: Widgets,
        scene: slicer.vtkMRMLScene,
        logic: Generating,
        messages: MessageLine,
        actions: Actions,
        *,
        parameters: Callable[[], DiffSegLungParameters | None],
        makeRoom: Callable[[Callable[[], None]], None],
        onUpdate: Callable[[], None],
    ) -> None:
        self._panel, self._scene, self._logic = ui, scene, logic
        self._messages, self._actions = messages, actions
        self._parameters, self._makeRoom, self._onUpdate = parameters, makeRoom, onUpdate
        self._segmentIDs: list[str] = []
        self._updating = False
        self.ui: Widgets | None = None
        ui.generateCollapsibleButton.connect("contentsCollapsed(bool)", self._onCollapsed)

    def update(self, *, idle: bool) -> None:
        """Show what can be drawn; nothing while another run is under way."""
        if self.ui is None or self._updating or self._panel.generateCollapsibleButton.collapsed:
            return
        self._updating = True
        try:
            self._showSegments(self.ui)
            parameters = self._parameters()
            self.ui.generateModelNameLabel.text = shownName(parameters.bundle) if parameters else ""
            problem = self._problem()
            self.ui.generateProblemLabel.text = problem
            self.ui.generateProblemLabel.visible = bool(problem) and idle
            self.ui.generateButton.enabled = idle and not problem
        finally:
            self._updating = False

    def _onCollapsed(self, collapsed: bool) -> None:
        if collapsed:
            return
        if self.ui is None:
            self.ui = loadInto(self._panel.generateCollapsibleButton, "DiffSegLungGenerate.ui", self._scene)
            self._chooseFirst(self.ui)
            self.ui.generateLungsSelector.connect("currentNodeChanged(bool)", self._onLungsChosen)
            self.ui.generateVolumeSelector.connect("currentNodeChanged(bool)", self._onChosen)
            self.ui.generateButton.connect("clicked(bool)", self._onGenerate)
        self._onUpdate()

    @property
    def _opened(self) -> Widgets:
        """The section's widgets, for what only they can start."""
        assert self.ui is not None
        return self.ui

    def _chooseFirst(self, ui: Widgets) -> None:
        """Start from what the panel works on: the current result, or the lungs that the user gave."""
        parameters = self._parameters()
        if parameters is None:
            return
        lungs = parameters.outputSegmentation or parameters.lungsSegmentation
        ui.generateLungsSelector.setCurrentNode(lungs)
        reference = resultsOf(lungs).volume if lungs is not None else None
        ui.generateVolumeSelector.setCurrentNode(reference or parameters.inputVolume)

    def _onLungsChosen(self, _valid: bool) -> None:
        """Lungs that know their CT bring it along."""
        ui = self._opened
        lungs = ui.generateLungsSelector.currentNode()
        volume = resultsOf(lungs).volume if lungs is not None else None
        if volume is not None:
            ui.generateVolumeSelector.setCurrentNode(volume)
        self._onUpdate()

    def _onChosen(self, _valid: bool) -> None:
        self._onUpdate()

    def _showSegments(self, ui: Widgets) -> None:
        lungs = ui.generateLungsSelector.currentNode()
        names, self._segmentIDs = [_("All segments")], [""]
        if lungs is not None:
            segments = lungs.GetSegmentation()
            self._segmentIDs += list(segments.GetSegmentIDs())
            names += [segments.GetSegment(segmentID).GetName() for segmentID in segments.GetSegmentIDs()]
        combo = ui.generateSegmentComboBox
        if [combo.itemText(i) for i in range(combo.count)] != names:
            combo.clear()
            combo.addItems(names)
            parameters = self._parameters()
            chosen = ""
            if parameters is not None and parameters.lungsSegmentation is lungs:
                chosen = parameters.lungsSegmentID
            combo.currentIndex = self._segmentIDs.index(chosen) if chosen in self._segmentIDs else 0

    def _request(self) -> GenerateRequest:
        ui, parameters = self._opened, self._parameters()
        assert parameters is not None, "nothing is asked for while the scene is closed"
        return GenerateRequest(
            lungs=ui.generateLungsSelector.currentNode(),
            volume=ui.generateVolumeSelector.currentNode(),
            segmentID=self._segmentIDs[max(0, ui.generateSegmentComboBox.currentIndex)],
            keepOutside=ui.generateOutsideCheckBox.checked,
            count=ui.generateCountSpinBox.value,
            steps=ui.generateStepsSpinBox.value,
            start=ui.generateStartSpinBox.value,
            seed=ui.generateSeedSpinBox.value,
            bundle=parameters.bundle,
            device=parameters.device.value,
        )

    def _problem(self) -> str:
        if self._parameters() is None:
            return _("The scene is being closed.")
        try:
            self._request().check()
        except DiffSegLungError as error:
            return f"{error.message} {error.hint}".strip()
        return ""

    def _onGenerate(self, _checked: bool = False) -> None:
        with slicer.util.tryWithErrorDisplay(_("The samples could not be drawn.")):
            self._messages.clear()
            self._makeRoom(lambda: self._actions.withPackages(self._generate))

    def _generate(self) -> None:
        try:
            task = self._logic.generate(self._request(), waitForCompletion=False)
        except DiffSegLungError as error:
            self._messages.error(error)
            return
        self._actions.start(task, self._onDone)

    def _onDone(self, task: Task) -> None:
        if self._messages.succeeded(task, _("Cancelled. No sample was loaded.")):
            first = task.result[0]
            slicer.util.setSliceViewerLayers(background=first)
            self._messages.success(
                _("{count} synthetic CT drawn by {model}: no scans of anyone. Shown: “{name}”.").format(
                    count=len(task.result), model=first.GetAttribute(SYNTHETIC), name=first.GetName()
                )
            )
        self._onUpdate()
