"""Stand-in for Slicer's table view on a real vtkMRMLTableNode."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from ..qt.members import invokable
from .mrml import Observations, checked_vtk, flag

_NARROWEST = 60  # pixels of a column, as Slicer sets it


class _TableModel(QtGui.QStandardItemModel):
    """The cells of a vtkMRMLTableNode as Slicer shows them: VTK's text, to the left, the unit in the head."""

    def __init__(self, view: qMRMLTableView) -> None:
        super().__init__(view)
        self._transposed = False
        self._node: Any = None
        self._working = False
        self.itemChanged.connect(self._edited)

    def show(self, node: Any, transposed: bool) -> None:
        """Show a node, which may be None; cells that are there already keep what was set on them."""
        self._working, self._node, self._transposed = True, node, transposed
        rows = node.GetNumberOfRows() if node is not None else 0
        columns = node.GetNumberOfColumns() if node is not None else 0
        first = 1 if columns and node.GetUseFirstColumnAsRowHeader() else 0
        self._first = first
        names = [] if columns and node.GetUseColumnTitleAsColumnHeader() else [None]
        size = (rows + len(names), columns - first) if columns else (0, 0)
        self.setRowCount(size[1] if transposed else size[0])
        self.setColumnCount(size[0] if transposed else size[1])
        along, across = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        if transposed:
            along, across = across, along
        for column in range(first, columns):
            head = self._title(node, column) if not names else chr(ord("A") + column - first)
            self.setHeaderData(column - first, along, head)
            for row in range(-len(names), rows):
                item = self._cell(row + len(names), column - first)
                item.setText(node.GetCellText(row, column) if row >= 0 else node.GetColumnName(column))
                editable = Qt.ItemFlag.ItemIsEditable
                item.setFlags(item.flags() & ~editable if node.GetLocked() else item.flags() | editable)
                item.setToolTip(node.GetColumnDescription(node.GetColumnName(column)))
        for row in range(-len(names), rows if columns else 0):
            text = node.GetCellText(row, 0) if first and row >= 0 else str(row + len(names) + 1)
            self.setHeaderData(row + len(names), across, text)
        self._working = False

    def _title(self, node: Any, column: int) -> str:
        """The column's title, or its name where it has none; then the unit."""
        name = node.GetColumnName(column)
        unit = node.GetColumnUnitLabel(name)
        return (node.GetColumnTitle(name) or name) + (f" [{unit}]" if unit else "")

    def _cell(self, row: int, column: int) -> QtGui.QStandardItem:
        place = (column, row) if self._transposed else (row, column)
        item = self.item(*place)
        if item is None:
            item = QtGui.QStandardItem()
            self.setItem(*place, item)
        return item

    def _edited(self, item: QtGui.QStandardItem) -> None:
        """The user wrote into a cell."""
        if self._working or self._node is None:
            return
        row, column = (item.column(), item.row()) if self._transposed else (item.row(), item.column())
        row -= 0 if self._node.GetUseColumnTitleAsColumnHeader() else 1
        if row < 0:
            self._node.RenameColumn(column + self._first, item.text())
        elif self._node.GetCellText(row, column + self._first) != item.text():
            self._node.SetCellText(row, column + self._first, item.text())


class qMRMLTableView(QtWidgets.QTableView):
    """A table node's cells; follows its changes."""

    scene_changed = Signal(object)
    selection_changed = Signal()
    CPP_SIGNALS: ClassVar = {
        "mrmlSceneChanged(vtkMRMLScene*)": "scene_changed",
        "selectionChanged()": "selection_changed",
    }

    transposed = flag("transposed", False, "_update")
    firstRowLocked = flag("firstRowLocked", False)
    firstColumnLocked = flag("firstColumnLocked", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene, self._node, self._view_node = None, None, None
        self._observers, self._scene_observers = Observations(self), Observations(self)
        self._view_observers = Observations(self)
        self._cells = _TableModel(self)
        self._sorted = QtCore.QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self._cells)
        self.setModel(self._sorted)
        self.verticalHeader().setDefaultSectionSize(24)
        self.horizontalHeader().setStretchLastSection(False)
        self.selectionModel().selectionChanged.connect(lambda *_: self.selection_changed.emit())

    @invokable
    def mrmlScene(self) -> Any:
        return self._scene

    @invokable
    def setMRMLScene(self, scene: Any) -> None:
        checked_vtk(scene, "vtkMRMLScene")
        if scene is self._scene:
            return
        self._scene_observers.clear()
        self._scene = scene
        if scene is not None:
            events = (slicer.vtkMRMLScene.EndBatchProcessEvent,)
            self._scene_observers.observe(scene, events, "_follow_view")
        self.scene_changed.emit(scene)

    @invokable
    def tableModel(self) -> QtGui.QStandardItemModel:
        return self._cells

    @invokable
    def sortFilterProxyModel(self) -> QtCore.QSortFilterProxyModel:
        return self._sorted

    @invokable
    def mrmlTableNode(self) -> Any:
        return self._node

    @invokable
    def setMRMLTableNode(self, node: Any) -> None:
        """Show a node from now on, also when it has left the scene: the view holds it."""
        checked_vtk(node, "vtkMRMLTableNode")
        self._observers.clear()
        self._node = node
        if node is not None:
            self._observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_update")
        self._update()
        self.horizontalHeader().setMinimumSectionSize(_NARROWEST)
        self.resizeColumnsToContents()
        self.selection_changed.emit()

    @invokable
    def mrmlTableViewNode(self) -> Any:
        return self._view_node

    @invokable
    def setMRMLTableViewNode(self, node: Any) -> None:
        self._view_observers.clear()
        self._view_node = checked_vtk(node, "vtkMRMLTableViewNode")
        if node is not None:
            self._view_observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_follow_view")
        self._follow_view()

    def _follow_view(self) -> None:
        """A view without a view node shows what it was given, whatever is loaded or closed."""
        if self._view_node is None:
            return
        inside = self._scene is not None and self._view_node.GetScene() is self._scene
        self.setMRMLTableNode(self._view_node.GetTableNode() if inside else None)

    def _update(self) -> None:
        self._cells.show(self._node, self.transposed)

    @invokable
    def copySelection(self) -> None:
        """The selected cells as text with tabs on the clipboard."""
        rows: dict[int, list[str]] = {}
        for index in sorted(self.selectedIndexes(), key=lambda i: (i.row(), i.column())):
            rows.setdefault(index.row(), []).append(str(index.data()))
        QtWidgets.QApplication.clipboard().setText("\n".join("\t".join(row) for row in rows.values()))
