"""Stand-in for Slicer's embedded segment editor, on a real vtkMRMLSegmentEditorNode.

It has the selectors, the segment table, a button for each effect, the masking as the node says and a real
history for undo, but no effects: what an effect does to a segmentation, a test does to the node, after
`saveStateForUndo()` as an effect has it. `activeEffect()` is therefore always None.
"""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Signal

from ..qt.members import invokable
from .mrml import Observations, SceneWidget, checked_vtk, flag, kept
from .node_combo_box import qMRMLNodeComboBox
from .segments import qMRMLSegmentsTableView, segments_of

_EFFECTS = (
    "Threshold",
    "Paint",
    "Draw",
    "Erase",
    "Level tracing",
    "Grow from seeds",
    "Fill between slices",
    "Margin",
    "Hollow",
    "Smoothing",
    "Scissors",
    "Islands",
    "Logical operators",
    "Mask volume",
)


class qMRMLSegmentEditorWidget(SceneWidget):
    """The segment editor's frame: selectors, segment table, a button for each effect, masking."""

    currentSegmentIDChanged = Signal(str)
    source_changed = Signal(object)
    segmentation_changed = Signal(object)
    CPP_SIGNALS: ClassVar = {
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)": "source_changed",
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)": "segmentation_changed",
    }

    segmentationNodeSelectorVisible = flag("segmentationNodeSelectorVisible", True, "_update")
    sourceVolumeNodeSelectorVisible = flag("sourceVolumeNodeSelectorVisible", True, "_update")
    autoShowSourceVolumeNode = flag("autoShowSourceVolumeNode", True)
    switchToSegmentationsButtonVisible = flag("switchToSegmentationsButtonVisible", True)
    undoEnabled = flag("undoEnabled", True, "_undo_enabled")
    maximumNumberOfUndoStates = kept(int, "maximumNumberOfUndoStates", 10, "_undo_limited")
    readOnly = flag("readOnly", False, "_update")
    effectColumnCount = kept(int, "effectColumnCount", 2, "_update")
    unorderedEffectsVisible = flag("unorderedEffectsVisible", True, "_update")
    defaultTerminologyEntrySettingsKey = kept(str, "defaultTerminologyEntrySettingsKey", "")
    defaultTerminologyEntry = kept(str, "defaultTerminologyEntry", "")
    jumpToSelectedSegmentEnabled = flag("jumpToSelectedSegmentEnabled", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._history = slicer.vtkSegmentationHistory()
        self._order: list[str] = []
        self._last: tuple[Any, Any, str] = (None, None, "")
        self._observers, self._scene_observers = Observations(self), Observations(self)
        self._selectors = []
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        form = QtWidgets.QFormLayout()
        box.addLayout(form)
        kinds = (
            ("Segmentation:", "vtkMRMLSegmentationNode", False),
            ("Source volume:", "vtkMRMLScalarVolumeNode", True),
        )
        for text, kind, optional in kinds:
            selector = qMRMLNodeComboBox(self)
            selector.nodeTypes, selector.noneEnabled, selector.renameEnabled = [kind], optional, True
            selector.addEnabled = not optional
            label = QtWidgets.QLabel(text, self)
            form.addRow(label, selector)
            self._selectors.append((label, selector))
        self._selectors[0][1].node_changed.connect(self.setSegmentationNode)
        self._selectors[1][1].node_changed.connect(self.setSourceVolumeNode)
        self._table = qMRMLSegmentsTableView(self)
        self._table.setMinimumHeight(150)
        self._table.selectionChanged.connect(lambda *_: self._row_chosen())
        box.addWidget(self._table)
        self._grid = QtWidgets.QGridLayout()
        self._grid.setSpacing(2)
        box.addLayout(self._grid)
        self._masking = QtWidgets.QLabel(self)
        box.addWidget(self._masking)
        self._working = False
        self._update()

    def _scene_set(self) -> None:
        self._scene_observers.clear()
        for widget in (self._table, *(selector for _, selector in self._selectors)):
            widget.setMRMLScene(self._scene)
        if self._scene is not None:
            scene = slicer.vtkMRMLScene
            self._scene_observers.observe(self._scene, (scene.EndCloseEvent,), "_update")
            self._scene_observers.observe(self._scene, (scene.EndBatchProcessEvent,), "_batch_ended")

    def _batch_ended(self) -> None:
        """What the selectors show then is edited; after an import that is no longer what was."""
        if self._node is not None:
            self.setSegmentationNode(self._selectors[0][1].currentNode())
            self.setSourceVolumeNode(self._selectors[1][1].currentNode())
        self._update()

    @invokable
    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    @invokable
    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        checked_vtk(node, "vtkMRMLSegmentEditorNode")
        self._observers.clear()
        self._node = node
        if node is not None:
            self._observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_update")
        self._update()

    @invokable
    def updateWidgetFromMRML(self) -> None:
        self._update()

    @invokable
    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode() if self._node is not None else None

    @invokable
    def segmentationNodeID(self) -> str:
        node = self.segmentationNode()
        return node.GetID() if node is not None else ""

    @invokable
    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    @invokable
    def sourceVolumeNodeID(self) -> str:
        node = self.sourceVolumeNode()
        return node.GetID() if node is not None else ""

    @invokable
    def setSegmentationNode(self, node: Any) -> None:
        checked_vtk(node, "vtkMRMLNode")
        if self._node is not None and node is not self.segmentationNode():
            self._node.SetAndObserveSegmentationNode(node)
            found = segments_of(node)
            self._node.SetSelectedSegmentID(found[0][0] if found else "")
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            if node is not None:  # Slicer chooses the reference volume, also if there is none
                node.CreateDefaultDisplayNodes()
                self._node.SetAndObserveSourceVolumeNode(node.GetNodeReference(role))
        self._update()

    @invokable
    def setSegmentationNodeID(self, identifier: str) -> None:
        self.setSegmentationNode(self._scene.GetNodeByID(identifier))

    @invokable
    def setSourceVolumeNode(self, node: Any) -> None:
        checked_vtk(node, "vtkMRMLNode")
        if self._node is not None and node is not self.sourceVolumeNode():
            self._node.SetAndObserveSourceVolumeNode(node)
        self._update()

    @invokable
    def setSourceVolumeNodeID(self, identifier: str) -> None:
        self.setSourceVolumeNode(self._scene.GetNodeByID(identifier))

    @invokable
    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    @invokable
    def setCurrentSegmentID(self, identifier: str) -> None:
        if self._node is not None:
            self._node.SetSelectedSegmentID(identifier)

    @invokable
    def availableEffectNames(self) -> list[str]:
        return list(_EFFECTS)

    @invokable
    def setEffectNameOrder(self, names: list[str]) -> None:
        self._order = list(names)
        self._update()

    @invokable
    def effectNameOrder(self) -> list[str]:
        return self._order

    @invokable
    def effectCount(self) -> int:
        return len(self._effects())

    @invokable
    def activeEffect(self) -> None:
        """No effects here: always None."""

    @invokable
    def setActiveEffect(self, effect: Any) -> None:
        """Only None can be given here: no effect is active."""
        checked_vtk(effect, "qSlicerSegmentEditorAbstractEffect")
        self.setActiveEffectByName("")

    @invokable
    def setActiveEffectByName(self, name: str) -> None:
        if self._node is not None:
            self._node.SetActiveEffectName(name)

    @invokable
    def saveStateForUndo(self) -> None:
        self._history.SaveState()

    @invokable
    def undo(self) -> None:
        if self._history.IsRestorePreviousStateAvailable():
            self._history.RestorePreviousState()

    @invokable
    def redo(self) -> None:
        if self._history.IsRestoreNextStateAvailable():
            self._history.RestoreNextState()

    def _undo_enabled(self) -> None:
        if self.undoEnabled:  # Slicer forgets the states when undo is enabled, also when it was before
            self._history.RemoveAllStates()

    def _undo_limited(self) -> None:
        self._history.SetMaximumNumberOfStates(self.maximumNumberOfUndoStates)

    @invokable
    def setupViewObservations(self) -> None:
        self._views_observed = True

    @invokable
    def removeViewObservations(self) -> None:
        self._views_observed = False

    @invokable
    def installKeyboardShortcuts(self, parent: Any = None) -> None:
        """Nothing to install: there are no effects."""

    @invokable
    def uninstallKeyboardShortcuts(self) -> None:
        """See installKeyboardShortcuts."""

    def _effects(self) -> list[str]:
        ordered = [name for name in self._order if name in _EFFECTS]
        return ordered + [n for n in _EFFECTS if n not in ordered and self.unorderedEffectsVisible]

    def _row_chosen(self) -> None:
        selected = self._table.selectedSegmentIDs()
        if not self._working and self._node is not None and selected:
            self._node.SetSelectedSegmentID(selected[0])

    def _update(self) -> None:
        if self._working:
            return
        self._working = True
        nodes = (self.segmentationNode(), self.sourceVolumeNode())
        visible = (self.segmentationNodeSelectorVisible, self.sourceVolumeNodeSelectorVisible)
        for (label, selector), node, shown in zip(self._selectors, nodes, visible, strict=True):
            selector.setCurrentNode(node)
            for widget in (label, selector):
                widget.setVisible(shown)
        if self._table.segmentationNode() is not nodes[0]:
            self._table.setSegmentationNode(nodes[0])
        self._history.SetSegmentation(nodes[0].GetSegmentation() if nodes[0] is not None else None)
        self._table.setSelectedSegmentIDs([self.currentSegmentID()])
        self._show_effects()
        self._show_masking()
        self._working = False
        before, self._last = self._last, (*nodes, self.currentSegmentID())
        if before[0] is not nodes[0]:
            self.segmentation_changed.emit(nodes[0])
        if before[1] is not nodes[1]:
            self.source_changed.emit(nodes[1])
        if before[2] != self._last[2]:
            self.currentSegmentIDChanged.emit(self._last[2])

    def _show_effects(self) -> None:
        wanted = (self._effects(), self.effectColumnCount)
        if getattr(self, "_shown_effects", None) == wanted:
            return
        self._shown_effects = wanted
        while self._grid.count():
            button = self._grid.takeAt(0).widget()
            button.hide()
            button.deleteLater()
        for number, name in enumerate(wanted[0]):
            button = QtWidgets.QToolButton(self)
            button.setText(name)
            button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
            self._grid.addWidget(button, number // self.effectColumnCount, number % self.effectColumnCount)

    def _show_masking(self) -> None:
        node = self._node
        mode = (
            slicer.vtkMRMLSegmentationNode.ConvertMaskModeToString(node.GetMaskMode())
            if node is not None
            else ""
        )
        segment = node.GetMaskSegmentID() or "" if node is not None else ""
        self._masking.setText(f"Masking: {mode} {segment}".strip())
