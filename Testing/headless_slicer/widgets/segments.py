"""Stand-ins for widgets of Slicer's Segmentations module: segment selector and segment table.

They show and change real nodes: the segmentation and its display node.
"""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from ..qt.members import invokable
from .mrml import Observations, SceneWidget, checked_vtk, flag, kept
from .node_combo_box import qMRMLNodeComboBox

_SEGMENTATION = slicer.vtkSegmentation
_CHANGES = (
    _SEGMENTATION.SegmentAdded,
    _SEGMENTATION.SegmentRemoved,
    _SEGMENTATION.SegmentModified,
    _SEGMENTATION.SegmentsOrderModified,
)


def segments_of(node: Any) -> list[tuple[str, Any]]:
    """(id, vtkSegment) of a segmentation node's segments, in their order."""
    segmentation = node.GetSegmentation() if node is not None else None
    if segmentation is None:
        return []
    ids = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]
    return [(identifier, segmentation.GetSegment(identifier)) for identifier in ids]


class qMRMLSegmentSelectorWidget(SceneWidget):
    """A segmentation and one of its segments."""

    node_changed = Signal(object)
    validity_changed = Signal(bool)
    currentSegmentChanged = Signal(str)
    CPP_SIGNALS: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "node_changed",
        "currentNodeChanged(bool)": "validity_changed",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._segment, self._observers = "", Observations(self)
        self._nodes = qMRMLNodeComboBox(self)
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.addEnabled = self._nodes.removeEnabled = False
        self._segments = QtWidgets.QComboBox(self)
        self._layout = QtWidgets.QBoxLayout(QtWidgets.QBoxLayout.Direction.TopToBottom, self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self._nodes)
        self._layout.addWidget(self._segments)
        self.setFocusProxy(self._nodes)
        self._nodes.node_changed.connect(self._node_chosen)
        self._segments.activated.connect(lambda index: self._select(self._segments.itemData(index)))
        self._update()

    def _scene_set(self) -> None:
        self._nodes.setMRMLScene(self._scene)

    def _node_chosen(self, node: Any) -> None:
        self._observers.clear()
        if node is not None and node.GetSegmentation() is not None:
            self._observers.observe(node.GetSegmentation(), _CHANGES, "_update")
        self._update()
        self.node_changed.emit(node)
        self.validity_changed.emit(node is not None)

    def _update(self) -> None:
        found = segments_of(self.currentNode())
        self._segments.blockSignals(True)
        self._segments.clear()
        for identifier, segment in found:
            self._segments.addItem(segment.GetName(), identifier)
        self._segments.setEnabled(bool(found))
        self._segments.blockSignals(False)
        ids = [identifier for identifier, _ in found]
        self._select(self._segment if self._segment in ids else (ids[0] if ids else ""))

    def _select(self, identifier: str) -> None:
        changed, self._segment = identifier != self._segment, identifier
        self._segments.setCurrentIndex(self._segments.findData(identifier))
        if changed:
            self.currentSegmentChanged.emit(identifier)

    def _set_none_enabled(self, enabled: bool) -> None:
        self._nodes.noneEnabled = enabled

    def _set_horizontal(self, horizontal: bool) -> None:
        directions = QtWidgets.QBoxLayout.Direction
        self._layout.setDirection(directions.LeftToRight if horizontal else directions.TopToBottom)

    noneEnabled = Property(bool, lambda self: self._nodes.noneEnabled, _set_none_enabled)
    editEnabled = flag("editEnabled", False)
    multiSelection = flag("multiSelection", False)
    selectNodeUponCreation = flag("selectNodeUponCreation", True)
    horizontalLayout = Property(
        bool,
        lambda self: self._layout.direction() == QtWidgets.QBoxLayout.Direction.LeftToRight,
        _set_horizontal,
    )
    segmentationNodeSelectorVisible = Property(
        bool, lambda self: not self._nodes.isHidden(), lambda self, visible: self._nodes.setVisible(visible)
    )

    @invokable
    def currentNode(self) -> Any:
        return self._nodes.currentNode()

    @invokable
    def currentNodeID(self) -> str:
        return self._nodes.currentNodeID

    @invokable
    def currentSegmentID(self) -> str:
        return self._segment

    @invokable
    def setCurrentNode(self, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    @invokable
    def setCurrentNodeID(self, identifier: str) -> None:
        self._nodes.setCurrentNodeID(identifier)

    @invokable
    def setCurrentSegmentID(self, identifier: str) -> None:
        if self._segments.findData(identifier) >= 0:
            self._select(identifier)


class qMRMLSegmentsTableView(SceneWidget):
    """The segments of a segmentation: visibility, colour, opacity, name.

    `readOnly` takes the edit triggers away and no more: as in Slicer, a double click on a name or a colour
    opens the terminology all the same (the name in 5.12 only), and so does one click on a colour, a button in
    5.12.
    """

    selectionChanged = Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    segmentAboutToBeModified = Signal(str)

    _COLUMNS: ClassVar = ("visibility", "color", "opacity", "name")

    selectionMode = kept(int, "selectionMode", 3)
    headerVisible = flag("headerVisible", True, "_update")
    visibilityColumnVisible = flag("visibilityColumnVisible", True, "_update")
    colorColumnVisible = flag("colorColumnVisible", True, "_update")
    opacityColumnVisible = flag("opacityColumnVisible", True, "_update")
    statusColumnVisible = flag("statusColumnVisible", False)
    layerColumnVisible = flag("layerColumnVisible", False)
    readOnly = flag("readOnly", False, "_update")
    filterBarVisible = flag("filterBarVisible", False)
    jumpToSelectedSegmentEnabled = flag("jumpToSelectedSegmentEnabled", False)
    textFilter = kept(str, "textFilter", "", "_update")
    segmentCount = Property(int, lambda self: self._table.rowCount())

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observers, self._scene_observers = Observations(self), Observations(self)
        self._table = QtWidgets.QTableWidget(0, len(self._COLUMNS), self)
        self._table.setHorizontalHeaderLabels(["", "", "Opacity", "Name"])
        self._table.verticalHeader().hide()
        self._table.verticalHeader().setDefaultSectionSize(24)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        header = self._table.horizontalHeader()
        header.setStretchLastSection(True)
        header.setHighlightSections(False)
        for column, width in enumerate((28, 34, 60)):
            header.resizeSection(column, width)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._table)
        self.setFocusProxy(self._table)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)
        self._table.itemChanged.connect(self._edited)
        self._table.doubleClicked.connect(lambda index: self._open_terminology(index.row(), index.column()))
        self._update()

    def _scene_set(self) -> None:
        self._scene_observers.clear()
        if self._scene is not None:
            self._scene_observers.observe(self._scene, (slicer.vtkMRMLScene.NodeRemovedEvent,), "_check_node")
        self.setSegmentationNode(None)

    def _check_node(self) -> None:
        if self._node is not None and self._node.GetScene() is None:
            self.setSegmentationNode(None)

    @invokable
    def segmentationNode(self) -> Any:
        return self._node

    @invokable
    def setSegmentationNode(self, node: Any) -> None:
        checked_vtk(node, "vtkMRMLSegmentationNode")
        self._observers.clear()
        self._node = node
        if node is not None:
            self._observers.observe(
                node, (node.DisplayModifiedEvent, vtk.vtkCommand.ModifiedEvent), "_update"
            )
            self._observers.observe(node.GetSegmentation(), _CHANGES, "_update")
        self._update()

    def _update(self) -> None:
        shown = [
            (identifier, segment)
            for identifier, segment in segments_of(self._node)
            if self.textFilter.lower() in segment.GetName().lower()
        ]
        selected = self.selectedSegmentIDs()
        self._table.blockSignals(True)
        self._table.setRowCount(len(shown))
        for row, (identifier, segment) in enumerate(shown):
            self._fill(row, identifier, segment)
        triggers = QtWidgets.QAbstractItemView.EditTrigger
        self._table.setEditTriggers(triggers.NoEditTriggers if self.readOnly else triggers.EditKeyPressed)
        self._table.horizontalHeader().setVisible(self.headerVisible)
        for column, name in enumerate(self._COLUMNS[:3]):
            self._table.setColumnHidden(column, not getattr(self, f"{name}ColumnVisible"))
        self._table.blockSignals(False)
        self.setSelectedSegmentIDs(selected)

    def _fill(self, row: int, identifier: str, segment: Any) -> None:
        display = self._node.GetDisplayNode()
        items = [QtWidgets.QTableWidgetItem() for _ in self._COLUMNS]
        visible = display is not None and display.GetSegmentVisibility(identifier)
        items[0].setCheckState(QtCore.Qt.CheckState.Checked if visible else QtCore.Qt.CheckState.Unchecked)
        swatch = QtGui.QPixmap(16, 16)
        swatch.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
        items[2].setText(f"{display.GetSegmentOpacity3D(identifier):.2f}" if display is not None else "")
        items[3].setText(segment.GetName())
        items[3].setData(QtCore.Qt.ItemDataRole.UserRole, identifier)
        for column in (1, 2):
            items[column].setFlags(items[column].flags() & ~QtCore.Qt.ItemFlag.ItemIsEditable)
        for column, item in enumerate(items):
            self._table.setItem(row, column, item)
        button = self._table.cellWidget(row, 1)
        if button is None:
            button = QtWidgets.QToolButton(self._table)
            button.setAutoRaise(True)
            button.clicked.connect(lambda: self._open_terminology(row, 1))
            self._table.setCellWidget(row, 1, button)
        button.setIcon(QtGui.QIcon(swatch))

    def _open_terminology(self, row: int, column: int) -> None:
        from ..qt.dialogs import dialogs

        if column in (1, 3):
            dialogs.ask("qSlicerTerminologySelectorDialog", (self.segmentIDForRow(row),), None)

    def _edited(self, item: QtWidgets.QTableWidgetItem) -> None:
        """The user ticked a visibility or wrote a name."""
        identifier = self.segmentIDForRow(item.row())
        if item.column() == 0:
            shown = item.checkState() == QtCore.Qt.CheckState.Checked
            self._node.GetDisplayNode().SetSegmentVisibility(identifier, shown)
        elif item.column() == 3:
            self.segmentAboutToBeModified.emit(identifier)
            self._node.GetSegmentation().GetSegment(identifier).SetName(item.text())

    @invokable
    def tableWidget(self) -> QtWidgets.QTableView:
        return self._table

    @invokable
    def segmentIDForRow(self, row: int) -> str:
        item = self._table.item(row, 3)
        return item.data(QtCore.Qt.ItemDataRole.UserRole) if item is not None else ""

    @invokable
    def rowForSegmentID(self, identifier: str) -> int:
        ids = self.displayedSegmentIDs()
        return ids.index(identifier) if identifier in ids else -1

    @invokable
    def displayedSegmentIDs(self) -> list[str]:
        return [self.segmentIDForRow(row) for row in range(self._table.rowCount())]

    @invokable
    def selectedSegmentIDs(self) -> list[str]:
        rows = sorted({index.row() for index in self._table.selectedIndexes()})
        return [self.segmentIDForRow(row) for row in rows]

    @invokable
    def setSelectedSegmentIDs(self, identifiers: list[str]) -> None:
        wanted = [self.rowForSegmentID(each) for each in identifiers]
        selection = QtCore.QItemSelection()
        model = self._table.model()
        for row in wanted:
            if row >= 0:
                selection.select(model.index(row, 0), model.index(row, len(self._COLUMNS) - 1))
        self._table.selectionModel().select(
            selection, QtCore.QItemSelectionModel.SelectionFlag.ClearAndSelect
        )

    @invokable
    def clearSelection(self) -> None:
        self._table.clearSelection()
