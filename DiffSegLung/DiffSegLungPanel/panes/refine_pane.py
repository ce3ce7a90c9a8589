"""The Refine section: Slicer's Segment Editor inside the panel, and numbers that follow every edit."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..scene import results
from ..scene.evidence import drawnAs
from ..scene.segmentation import EditWatcher
from ..scene.segments import editedNames
from ..scene.surfaces import hideIn3D
from ..wording import listText
from ..work.tasks import Task
from .contract import Widgets
from .run_pane import announced

EDITOR_TAG = "DiffSegLung"
"""Singleton tag of the panel's own editor node: the Segment Editor module keeps its own state."""

PREPARED = "DiffSegLung.prepared"
"""Attribute of the editor node whose masking was set once; what the user changes afterwards stays."""

SETTLE_MS = 200
"""Pause after the last edit before the numbers are computed anew."""


class RefinePane:
    """Edits one segmentation, and keeps its tables true.

    Args:
        ui: the panel's widgets.
        scene: where the editor node lives.
        onRefreshed: called when the tables have followed an edit.
    """

    def __init__(self, ui: Widgets, scene: slicer.vtkMRMLScene, onRefreshed: Callable[[], None]) -> None:
        self._ui, self._scene, self._onRefreshed = ui, scene, onRefreshed
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._watcher: EditWatcher | None = None
        self._observer = 0
        self._drawn: tuple[str, float | None] | None = None
        self._task: Task | None = None
        self._entered = self._active = self._paused = self._stale = self._redrawn = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.connect("timeout()", self._refresh)
        ui.refineHintLabel.text = _(
            "Paint a class over another one. To take a finding away, paint “Healthy lung” over it. "
            "Nothing outside the lungs is touched, and the tables follow."
        )
        ui.refineCollapsibleButton.connect("contentsCollapsed(bool)", self._onCollapsed)
        self._showEdited()

    def enter(self) -> None:
        """The module was opened: the editor may listen to the views again."""
        self._entered = True
        self._activate()

    def exit(self) -> None:
        """The module was left: no effect stays active in the views."""
        self._entered = False
        self._activate()

    def _stop(self) -> None:
        self._timer.stop()
        task, self._task = self._task, None
        if task is not None:
            task.finished.disconnect(self._onTaskFinished)
            task.abort()

    def update(
        self,
        node: slicer.vtkMRMLSegmentationNode | None,
        *,
        paused: bool = False,
        redrawn: bool = False,
    ) -> None:
        """Edit this segmentation from now on; None edits nothing.

        Args:
            node: the segmentation.
            paused: another task is running, which may fill this segmentation: edits are measured after it.
            redrawn: the sensitivity was moved, and the tables follow.
        """
        if node is not self._node:
            self._stop()
            self._stale = False
            if self._watcher is not None and self._node is not None:
                self._watcher.stop()
                self._node.RemoveObserver(self._observer)
            self._deactivate()
            self._ui.segmentEditor.setSegmentationNode(None)
            self._node = node
            self._watcher = EditWatcher(node, self._onEdited) if node is not None else None
            if node is not None:
                self._drawn = drawnAs(node)
                self._observer = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onNodeModified)
        self._paused, self._redrawn = paused or redrawn, redrawn
        if self._paused:
            self._stop()
        elif self._stale and self._task is None:
            self._timer.start()
        self._ui.refineCollapsibleButton.enabled = node is not None
        self._activate()
        self._showEdited()

    def _activate(self) -> None:
        """The editor works while the user can see it, and only then."""
        wanted = self._entered and not self._ui.refineCollapsibleButton.collapsed
        if self._node is None or not wanted:
            self._deactivate()
        elif not self._active:
            self._active = True
            hideIn3D(self._node)
            editor = self._ui.segmentEditor
            editor.setMRMLSegmentEditorNode(self._editorNode())
            editor.setSegmentationNode(self._node)
            editor.setSourceVolumeNode(
                self._node.GetNodeReference(self._node.GetReferenceImageGeometryReferenceRole())
            )
            editor.setupViewObservations()
            editor.installKeyboardShortcuts()

    def _deactivate(self) -> None:
        if not self._active:
            return
        self._active = False
        editor = self._ui.segmentEditor
        editor.setActiveEffect(None)
        editor.uninstallKeyboardShortcuts()
        editor.removeViewObservations()

    def _editorNode(self) -> slicer.vtkMRMLSegmentEditorNode:
        """The panel's editor node; painting is allowed where there is a class, which is inside the lungs."""
        node = self._scene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(EDITOR_TAG)
            node = self._scene.AddNode(node)
        if node.GetAttribute(PREPARED) is None:  # new, or reset by closing the scene, which keeps singletons
            node.SetAttribute(PREPARED, "1")
            node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)
            node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
        return node

    def _onNodeModified(self, node: slicer.vtkMRMLSegmentationNode, _event: str) -> None:
        """Undo ends where all classes are drawn anew: it would take away the strokes that were kept then."""
        drawn = drawnAs(node)
        if drawn != self._drawn:
            self._drawn = drawn
            self._ui.segmentEditor.undoEnabled = True  # which forgets the states that are kept

    def _onCollapsed(self, _collapsed: bool) -> None:
        self._activate()

    def _onEdited(self) -> None:
        """Many times a second while painting: wait until the hand rests."""
        self._stop()
        self._stale = True
        if not self._paused:
            self._timer.start()
        self._ui.editedLabel.text = _("The tables are being updated…")
        self._showEdited()

    def _refresh(self) -> None:
        if self._node is None or not self._scene.IsNodePresent(self._node):
            return
        self._task = Task(announced(_("Measuring"), results.refreshResults(self._scene, self._node)))
        self._task.finished.connect(self._onTaskFinished)
        self._task.start()

    def _onTaskFinished(self, task: Task) -> None:
        self._task = None
        self._stale = False
        self._showEdited()
        if task.error is not None:
            self._ui.editedLabel.text = f"{task.error.message} {task.error.hint}".strip()
        self._onRefreshed()

    def _showEdited(self) -> None:
        # The tables are not those of the edit, or of the sensitivity, yet.
        self._ui.exportCsvButton.enabled = not self._stale and not self._redrawn
        if self._stale:
            return
        names = editedNames(self._node) if self._node is not None else []
        self._ui.editedLabel.text = (
            _("Edited: {names}").format(names=listText([f"“{name}”" for name in names]))
            if names
            else _("Not edited so far.")
        )
        self._ui.editedLabel.visible = self._node is not None
