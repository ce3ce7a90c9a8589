"""Stand-in for Slicer's table view on a real vtkMRMLTableNode."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from ..qt.members import invokable
from .mrml import Observations, checked_vtk, flag


class _TableModel(QtCore.QAbstractTableModel):
    """The cells of a vtkMRMLTableNode."""

    def __init__(self, view: qMRMLTableView) -> None:
        super().__init__(view)
        self._view = view

    def _size(self) -> tuple[int, int]:
        node = self._view.mrmlTableNode()
        rows, columns = (node.GetNumberOfRows(), node.GetNumberOfColumns()) if node is not None else (0, 0)
        return (columns, rows) if self._view.transposed else (rows, columns)

    def rowCount(self, parent: Any = None) -> int:
        return self._size()[0]

    def columnCount(self, parent: Any = None) -> int:
        return self._size()[1]

    def data(self, index: QtCore.QModelIndex, role: int = QtCore.Qt.ItemDataRole.DisplayRole) -> Any:
        node = self._view.mrmlTableNode()
        row, column = (
            (index.column(), index.row()) if self._view.transposed else (index.row(), index.column())
        )
        if role in (QtCore.Qt.ItemDataRole.DisplayRole, QtCore.Qt.ItemDataRole.EditRole):
            return node.GetCellText(row, column)
        if role == QtCore.Qt.ItemDataRole.TextAlignmentRole and not self._is_text(node, column):
            return QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
        return None

    def _is_text(self, node: Any, column: int) -> bool:
        return isinstance(node.GetTable().GetColumn(column), vtk.vtkStringArray)

    def headerData(self, section: int, orientation: QtCore.Qt.Orientation, role: int = 0) -> Any:
        if role != QtCore.Qt.ItemDataRole.DisplayRole:
            return None
        names_along = (
            QtCore.Qt.Orientation.Vertical if self._view.transposed else QtCore.Qt.Orientation.Horizontal
        )
        return (
            self._view.mrmlTableNode().GetColumnName(section) if orientation == names_along else section + 1
        )

    def flags(self, index: QtCore.QModelIndex) -> QtCore.Qt.ItemFlag:
        editable = QtCore.Qt.ItemFlag.ItemIsEditable if not self._view.mrmlTableNode().GetLocked() else 0
        return super().flags(index) | editable if editable else super().flags(index)

    def setData(
        self, index: QtCore.QModelIndex, value: Any, role: int = QtCore.Qt.ItemDataRole.EditRole
    ) -> bool:
        row, column = (
            (index.column(), index.row()) if self._view.transposed else (index.row(), index.column())
        )
        return bool(self._view.mrmlTableNode().SetCellText(row, column, str(value)))


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
        self.setModel(_TableModel(self))
        self.verticalHeader().setDefaultSectionSize(24)
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
            events = slicer.vtkMRMLScene
            self._scene_observers.observe(scene, (events.NodeRemovedEvent,), "_check_node")
            self._scene_observers.observe(scene, (events.EndBatchProcessEvent,), "_end_processing")
        self.scene_changed.emit(scene)

    def _check_node(self) -> None:
        if self._node is not None and self._node.GetScene() is None:
            self.setMRMLTableNode(None)

    def _end_processing(self) -> None:
        """As in Slicer: a view with a scene but without a view node is emptied by every load and close."""
        if self._view_node is None:
            self.setMRMLTableNode(None)
        else:
            self._follow_view()

    @invokable
    def mrmlTableNode(self) -> Any:
        return self._node

    @invokable
    def setMRMLTableNode(self, node: Any) -> None:
        checked_vtk(node, "vtkMRMLTableNode")
        self._observers.clear()
        self._node = node
        if node is not None:
            self._observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_update")
        self._update()

    @invokable
    def mrmlTableViewNode(self) -> Any:
        return self._view_node

    @invokable
    def setMRMLTableViewNode(self, node: Any) -> None:
        self._view_node = checked_vtk(node, "vtkMRMLTableViewNode")
        if node is not None:
            self._observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_follow_view")
            self._follow_view()

    def _follow_view(self) -> None:
        if self._view_node.GetTableNode() is not self._node:
            self.setMRMLTableNode(self._view_node.GetTableNode())

    def _update(self) -> None:
        self.model().beginResetModel()
        self.model().endResetModel()

    @invokable
    def copySelection(self) -> None:
        """The selected cells as text with tabs on the clipboard."""
        rows: dict[int, list[str]] = {}
        for index in sorted(self.selectedIndexes(), key=lambda i: (i.row(), i.column())):
            rows.setdefault(index.row(), []).append(str(index.data()))
        QtWidgets.QApplication.clipboard().setText("\n".join("\t".join(row) for row in rows.values()))
