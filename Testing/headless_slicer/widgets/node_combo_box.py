"""Stand-in for qMRMLNodeComboBox: a real QComboBox over a real item model of the scene's nodes.

Which row is current after rows came or went is Qt's decision, in Slicer and here: when the row of the current
node goes, the combo box takes a neighbour, with None only where there is no other; an empty one, without None
or menu entries, makes the first row that comes current. `currentNode()` is a method and `currentNodeID` a
property, as in Libs/MRML/Widgets.
"""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtWidgets
from PySide6.QtCore import Property, QModelIndex, Signal

from ..qt.members import invokable
from .mrml import checked_vtk, flag, kept
from .node_rows import ACTION, ID, METHOD, NONE, NodeRows


class qMRMLNodeComboBox(NodeRows):
    """Combo box of the scene's nodes of some types, hidden ones left out; follows close and import."""

    node_changed = Signal(object)
    validity_changed = Signal(bool)
    currentNodeIDChanged = Signal(str)
    node_activated = Signal(object)
    node_added = Signal(object)
    node_added_by_user = Signal(object)
    node_about_to_be_removed = Signal(object)
    currentNodeRenamed = Signal(str)
    CPP_SIGNALS: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "node_changed",
        "currentNodeChanged(bool)": "validity_changed",
        "nodeActivated(vtkMRMLNode*)": "node_activated",
        "nodeAdded(vtkMRMLNode*)": "node_added",
        "nodeAddedByUserAction(vtkMRMLNode*)": "node_added_by_user",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "node_about_to_be_removed",
    }

    selectNodeUponCreation = flag("selectNodeUponCreation", True)
    baseName = kept(str, "baseName", "")
    interactionNodeSingletonTag = kept(str, "interactionNodeSingletonTag", "Singleton")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._switching = False
        self._requested = ""  # chosen before there was a scene
        self._box.setSizeAdjustPolicy(
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._box.setMinimumContentsLength(12)
        self._items.rowsInserted.connect(self._tell_added)
        self._items.rowsAboutToBeRemoved.connect(self._tell_removed)
        self._items.rowsRemoved.connect(self._after_removal)  # Qt's own answer came first
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self.setFocusProxy(self._box)
        self.setEnabled(False)
        self._box.currentIndexChanged.connect(self._tell_current)
        self._box.activated.connect(self._chosen)

    def _scene_set(self) -> None:
        had_nodes, before = self.nodeCount() > 0, self._id_at(self._box.currentIndex())
        self._switching = True
        self._follow_scene()
        self._switching = False
        self._show_none()
        self._show_actions()
        self._box.setRootModelIndex(self._items.index(0, 0))
        self._set_current_id(before if had_nodes else self._requested or self.currentNodeID)
        self._requested = ""
        self.setEnabled(self._scene is not None)  # as in Slicer, whatever the .ui file says

    def _id_at(self, row: int) -> str:
        root = self._root()
        item = root.child(row) if root is not None and row >= 0 else None
        identifier = item.data(ID) if item is not None else ""
        return "" if identifier in (NONE, ACTION) else identifier

    def _node_at(self, row: int) -> Any:
        identifier = self._id_at(row)
        return self._scene.GetNodeByID(identifier) if self._scene is not None and identifier else None

    def _tell_current(self, _row: int) -> None:
        if self._switching:
            return
        row = self._box.currentIndex()
        node = self._node_at(row)
        if node is None and row != (0 if self.noneEnabled else -1):  # an entry of the menu
            last = self.nodeFromIndex(self.nodeCount() - 1)
            if last is not None:
                self.setCurrentNode(last)
            return
        self.node_changed.emit(node)
        self.validity_changed.emit(node is not None)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _tell_added(self, parent: QModelIndex, first: int, last: int) -> None:
        for row in range(first, last + 1) if parent.isValid() else ():
            node = self._node_at(row)
            if node is not None:
                self.node_added.emit(node)

    def _tell_removed(self, parent: QModelIndex, first: int, last: int) -> None:
        for row in range(first, last + 1) if parent.isValid() else ():
            node = self._node_at(row)
            if node is not None:
                self.node_about_to_be_removed.emit(node)

    def _after_removal(self, *_: Any) -> None:
        if self.currentNode() is None:
            self._set_current_id("")

    def _chosen(self, row: int) -> None:
        """The user chose an item of the list."""
        item = self._root().child(row)
        if item.data(ID) == ACTION:
            method, *kind = item.data(METHOD).split()
            getattr(self, method)(*kind)
        else:
            self.node_activated.emit(self._node_at(row))

    def _set_current_id(self, identifier: str) -> None:
        if self._scene is None:
            self._requested = identifier
        row, root = self._row_of(identifier), self._items.index(0, 0)
        if row < 0:
            self._box.setRootModelIndex(root)
            none = self._items.index(0, 0, root)
            self._box.view().setCurrentIndex(none if self.noneEnabled else root)
            self._box.setCurrentIndex(0 if self.noneEnabled else -1)
            return
        index = self._items.index(row, 0, root)
        if self._box.view().currentIndex() != index:  # Slicer asks the list, not the box
            self._box.view().setCurrentIndex(index)
            self._box.setCurrentIndex(row)

    @invokable
    def currentNode(self) -> Any:
        return self._node_at(self._box.currentIndex())

    @invokable
    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            self._set_current_id(node)
            return
        checked_vtk(node, "vtkMRMLNode")
        self._set_current_id(node.GetID() if node is not None and node.GetID() else "")

    currentNodeID = Property(
        str, lambda self: self._id_at(self._box.currentIndex()), lambda self, v: self._set_current_id(v)
    )

    @invokable
    def setCurrentNodeID(self, identifier: str) -> None:
        self._set_current_id(identifier)

    @invokable
    def setCurrentNodeIndex(self, index: int) -> None:
        index = index if index < self.nodeCount() else -1
        self._box.setCurrentIndex(index + 1 if self.noneEnabled else index)

    @invokable
    def nodeCount(self) -> int:
        return len(self._node_rows()) if self._scene is not None else 0

    @invokable
    def nodeFromIndex(self, index: int) -> Any:
        return self._node_at(index + 1 if self.noneEnabled else index)

    @invokable
    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes[node_type, name] = value
        self._filter()

    @invokable
    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes.pop((node_type, name), None)
        self._filter()

    @invokable
    def addNode(self, node_type: str = "") -> Any:
        """A new node of the (first) type, named after `baseName`, selected if selectNodeUponCreation."""
        kind = node_type or (self.nodeTypes[0] if self.nodeTypes else "")
        if self._scene is None or kind not in self.nodeTypes:
            return None
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or node.GetNodeTagName()))
        for (of_kind, name), value in self._attributes.items():
            if of_kind == kind:
                node.SetAttribute(name, value if value is not None else "")
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.node_added_by_user.emit(node)
        return node

    def createNodeAs(self, node_type: str) -> None:
        """As addNode, with a name that the user is asked for."""
        name = self._ask_name("")
        node = self.addNode(node_type) if name else None
        if node is not None:
            node.SetName(name)
            self.setCurrentNode(node)

    @invokable
    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    @invokable
    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        name = self._ask_name(node.GetName()) if node is not None else ""
        if name:
            node.SetName(name)
            self.currentNodeRenamed.emit(name)

    def _ask_name(self, before: str) -> str:
        from ..qt.dialogs import dialogs

        return dialogs.ask("qMRMLNodeComboBox.rename", (before,), "")

    @invokable
    def editCurrentNode(self) -> None:
        """In Slicer opens the module that edits the node; nothing here."""
