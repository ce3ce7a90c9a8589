"""How readily lung is called diseased: of the result shown, at once, and of the next run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.segmentation.evidence import POINTS

from ..scene.evidence import sensitivityOf
from ..scene.parameters import DiffSegLungParameters
from ..scene.redraw import forget, redrawResult
from ..scene.result_nodes import CREATED
from ..work.tasks import Task
from .contract import Widgets
from .run_pane import announced

SETTLE_MS = 30
"""Pause after the last move before anything is drawn: a dragged slider moves a hundred times a second."""

PAUSE_MS, BUSY_S = 4, 0.015
"""Between two steps, and how long they may go on: a hand is on the slider."""

ALIKE = 0.005
"""Sensitivities closer than that are the same on the slider."""


class SensitivityPane:
    """One control for the result shown and for the next run; it shows the sensitivity of the result.

    Args:
        ui: the panel's widgets.
        scene: where the results are.
        onChanged: called when a redrawing has ended, or a script draws the result anew.
    """

    def __init__(self, ui: Widgets, scene: slicer.vtkMRMLScene, onChanged: Callable[[], None]) -> None:
        self._ui, self._scene, self._onChanged = ui, scene, onChanged
        self._parameters: DiffSegLungParameters | None = None
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._seen: tuple[str, str, float | None] | None = None
        self._refused: tuple[object, float] | None = None
        self._task: Task | None = None
        self._wanted: float | None = None
        self._observed: tuple[slicer.vtkMRMLSegmentationNode, int] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.connect("timeout()", self._redraw)
        self._later = qt.QTimer()
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.connect("timeout()", self._onLater)
        self._points = {
            POINTS["cautious"]: ui.cautiousButton,
            POINTS["balanced"]: ui.balancedButton,
            POINTS["sensitive"]: ui.sensitiveButton,
        }
        for value, button in self._points.items():
            button.connect("clicked(bool)", partial(self._onPoint, value))

    @property
    def isBusy(self) -> bool:
        """Whether a result is being drawn anew, or is about to be."""
        return self._wanted is not None

    def update(
        self,
        node: slicer.vtkMRMLSegmentationNode | None,
        parameters: DiffSegLungParameters | None,
        *,
        idle: bool,
    ) -> None:
        """Follow the result that is shown, and the value that is set.

        Args:
            node: the result, None where none is shown.
            parameters: what is set.
            idle: whether no other task is running, a script's included, which may fill this result.
        """
        self._observe(node)
        self._node, self._parameters = node, parameters
        present = sensitivityOf(node) if node is not None else None
        seen = (node.GetID(), node.GetAttribute(CREATED) or "", present) if node is not None else None
        if self._isShowing(seen):
            self._seen = seen  # the classes are there already, the tables follow
        elif seen != self._seen and parameters is not None:
            self._seen = seen
            self._refused = None
            self._stop()
            if present is not None:
                parameters.sensitivity = present
        if parameters is None or present is None or not idle:
            self._stop()
        else:
            self._follow(parameters.sensitivity, present)
        if parameters is None:
            self._later.stop()
        if node is None:
            forget()
        self._show(idle=idle, usable=node is None or present is not None)

    def _isShowing(self, seen: tuple[str, str, float | None] | None) -> bool:
        """Whether a running redrawing has put its classes there, but not its tables yet."""
        return self._task is not None and self._seen is not None and seen == (*self._seen[:2], self._wanted)

    def _follow(self, value: float, present: float) -> None:
        """Draw what is wanted and not there yet; whatever was wanted before is dropped."""
        if value == self._wanted:
            return
        if abs(value - present) < ALIKE:
            self._stop()
            self._refused = None
        elif self._refused == (self._seen, value):
            self._stop()
        else:
            self._stop()
            self._refused, self._wanted = None, value
            self._timer.start()

    def _observe(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Hear when a script draws the result at another sensitivity."""
        if self._observed is not None:
            former, observer = self._observed
            if former is node:
                return
            former.RemoveObserver(observer)
        self._observed = None
        if node is not None:
            self._observed = node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onNodeModified)

    def _onNodeModified(self, _caller: vtk.vtkObject, _event: str) -> None:
        node, seen = self._node, self._seen
        if self._task is None and node is not None and seen is not None and sensitivityOf(node) != seen[2]:
            self._onChanged()

    def _onLater(self) -> None:
        self._onChanged()

    def _stop(self) -> None:
        """Drop what is wanted; classes that are shown already get their tables first, at once."""
        wanted, self._wanted = self._wanted, None
        self._timer.stop()
        task, self._task = self._task, None
        if task is not None:
            task.finished.disconnect(self._onFinished)
            task.abort()
            if self._node is not None and sensitivityOf(self._node) == wanted:
                self._later.start()  # whoever stops it may have read the tables before

    def _redraw(self) -> None:
        if self._node is None or self._wanted is None or not self._scene.IsNodePresent(self._node):
            self._stop()
            return
        steps = redrawResult(self._scene, self._node, self._wanted)
        self._task = Task(announced(_("Drawing the classes anew"), steps, BUSY_S), PAUSE_MS)
        self._task.finished.connect(self._onFinished)
        self._task.start()

    def _onFinished(self, task: Task) -> None:
        value, self._task, self._wanted = self._wanted, None, None
        note = ""
        if task.error is not None and value is not None:
            self._refused = (self._seen, value)
            note = f"{task.error.message} {task.error.hint}".strip()
        elif self._node is not None and self._seen is not None:
            self._seen = (*self._seen[:2], value)
        self._ui.sensitivityNoteLabel.text = note
        self._onChanged()

    def _show(self, *, idle: bool, usable: bool) -> None:
        ui = self._ui
        self._showPoints()
        ui.sensitivityWidget.enabled = idle and self._parameters is not None
        if not usable:
            ui.sensitivityNoteLabel.text = _(
                "This result came without the evidence that another sensitivity needs. "
                "What is set here counts for the next run."
            )
        elif self._refused is None:
            ui.sensitivityNoteLabel.text = ""
        ui.sensitivityNoteLabel.visible = bool(ui.sensitivityNoteLabel.text)

    def _showPoints(self) -> None:
        value = self._parameters.sensitivity if self._parameters is not None else None
        for point, button in self._points.items():
            button.checked = value == point

    def _onPoint(self, value: float, _checked: bool = False) -> None:
        if self._parameters is not None:
            self._parameters.sensitivity = value
            self._showPoints()  # a click on the point that holds already would uncheck it
