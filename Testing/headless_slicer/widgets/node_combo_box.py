"""Stand-in for qMRMLNodeComboBox: a real QComboBox over a real item model of the scene's nodes.

Which row is current after rows came or went is Qt's decision, in Slicer and here. So the rows come and go as
in Slicer: a node's row goes *before* the node (priority -10, after observers of the usual priority) and the
combo box takes a neighbour, with None only where there is no other; scene close and import take all rows away
and put them back, and a combo box without None or menu entries then makes the first one current.
`currentNode()` is a method and `currentNodeID` a property, as in Libs/MRML/Widgets.
"""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, QModelIndex, Qt, Signal

from ..qt.members import invokable
from .mrml import Observations, SceneWidget, checked_vtk, flag, kept

_ID = Qt.ItemDataRole.UserRole
_NONE, _ACTION = " none", " action"  # in place of a node's id
_METHOD = Qt.ItemDataRole.UserRole + 1


class _Box(QtWidgets.QComboBox):
    """Writes a hint where nothing is chosen, as ctkComboBox; Qt's placeholder changes what is chosen."""

    hint = ""

    def initStyleOption(self, option: QtWidgets.QStyleOptionComboBox) -> None:
        super().initStyleOption(option)
        if self.currentIndex() < 0:
            option.currentText = self.hint


class qMRMLNodeComboBox(SceneWidget):
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

    nodeTypes = kept("QStringList", "nodeTypes", [], "_types_set")
    hideChildNodeTypes = kept("QStringList", "hideChildNodeTypes", [], "_filter")
    showHidden = flag("showHidden", False, "_filter")
    showChildNodeTypes = flag("showChildNodeTypes", True, "_filter")
    noneEnabled = flag("noneEnabled", False, "_show_none")
    noneDisplay = kept(str, "noneDisplay", "None", "_show_none")
    addEnabled = flag("addEnabled", True, "_show_actions")
    removeEnabled = flag("removeEnabled", True, "_show_actions")
    renameEnabled = flag("renameEnabled", False, "_show_actions")
    editEnabled = flag("editEnabled", False, "_show_actions")
    selectNodeUponCreation = flag("selectNodeUponCreation", True)
    baseName = kept(str, "baseName", "")
    interactionNodeSingletonTag = kept(str, "interactionNodeSingletonTag", "Singleton")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._attributes: dict[tuple[str, str], Any] = {}
        self._scene_observers, self._node_observers = Observations(self), Observations(self)
        self._observed: set[str] = set()
        self._switching = False
        self._requested = ""  # chosen before there was a scene
        self._actions: list[tuple[str, str]] = []
        self._items = QtGui.QStandardItemModel(self)
        self._box = _Box(self)
        self._box.setSizeAdjustPolicy(
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._box.setMinimumContentsLength(12)
        self._box.setModel(self._items)  # before the connections below: Qt's own answer comes first
        self._items.rowsInserted.connect(self._tell_added)
        self._items.rowsAboutToBeRemoved.connect(self._tell_removed)
        self._items.rowsRemoved.connect(self._after_removal)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self.setFocusProxy(self._box)
        self.setEnabled(False)
        self._box.currentIndexChanged.connect(self._tell_current)
        self._box.activated.connect(self._chosen)

    # The rows: the scene's item, and under it None, the nodes, the menu's entries

    def _root(self) -> QtGui.QStandardItem | None:
        return self._items.item(0)

    def _scene_set(self) -> None:
        self._scene_observers.clear()
        had_nodes, before = self.nodeCount() > 0, self._id_at(self._box.currentIndex())
        self._switching = True
        if self._scene is None:
            self._items.removeRows(0, self._items.rowCount())
            self._actions = []
        elif self._root() is None:
            self._items.appendRow([QtGui.QStandardItem("Scene")])
        self._rebuild()
        self._switching = False
        if self._scene is not None:
            events = self._scene
            for event, method, priority in (
                (events.NodeAddedEvent, "_node_added", 10.0),
                (events.NodeAboutToBeRemovedEvent, "_node_leaves", -10.0),
            ):
                self._scene_observers.observe_nodes(self._scene, event, method, priority)
            self._scene_observers.observe(
                self._scene, (events.EndCloseEvent, events.EndImportEvent), "_rebuild"
            )
        self._show_none()
        self._show_actions()
        self._box.setRootModelIndex(self._items.index(0, 0))
        self._set_current_id(before if had_nodes else self._requested or self.currentNodeID)
        self._requested = ""
        self.setEnabled(self._scene is not None)  # as in Slicer, whatever the .ui file says

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        return [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]

    def _rebuild(self) -> None:
        """All nodes' rows anew, in one go away and one by one back."""
        self._node_observers.clear()
        self._observed.clear()
        root = self._root()
        rows = self._node_rows()
        if len(rows):
            root.removeRows(rows.start, len(rows))
        for node in self._nodes():
            self._insert(node)

    def _filter(self) -> None:
        """Rows go and come after a change of what is shown."""
        for node in self._nodes():
            if not self._shows(node):
                self._remove(node)
        for node in self._nodes():
            self._insert(node)

    def _types_set(self) -> None:
        self._filter()
        self._show_actions()

    def _is_of(self, node: Any, kind: str) -> bool:
        of_kind = node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind
        return of_kind and not any(node.IsA(hidden) for hidden in self.hideChildNodeTypes)

    def _has_attributes(self, node: Any, kind: str) -> bool:
        wanted = [(key[1], value) for key, value in self._attributes.items() if key[0] == kind]
        return all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
            for name, value in wanted
        )

    def _shows(self, node: Any) -> bool:
        """Whether a node has a row; one that might have one later is watched, a hidden one is not."""
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        kinds = [kind for kind in self.nodeTypes if self._is_of(node, kind)]
        if kinds and node.GetID() not in self._observed:
            self._observed.add(node.GetID())
            self._node_observers.observe_modified(node, "_node_modified")
        return any(self._has_attributes(node, kind) for kind in kinds)

    def _node_rows(self) -> range:
        root = self._root()
        rows = root.rowCount() if root is not None else 0
        ids = [root.child(row).data(_ID) for row in range(rows)]
        first = 1 if ids[:1] == [_NONE] else 0
        return range(first, rows - ids.count(_ACTION))

    def _row_of(self, identifier: str) -> int:
        root = self._root()
        return next((r for r in self._node_rows() if root.child(r).data(_ID) == identifier), -1)

    def _insert(self, node: Any) -> None:
        if self._root() is None or not self._shows(node) or self._row_of(node.GetID()) >= 0:
            return
        item = QtGui.QStandardItem(node.GetName() or "")
        item.setData(node.GetID(), _ID)
        order = [other.GetID() for other in self._nodes()]
        before = order[: order.index(node.GetID())]
        rows = self._node_rows()
        place = rows.start + sum(self._root().child(row).data(_ID) in before for row in rows)
        self._root().insertRow(place, [item])

    def _remove(self, node: Any) -> None:
        row = self._row_of(node.GetID())
        if row >= 0:
            self._root().removeRow(row)

    def _node_added(self, node: Any) -> None:
        if not self._scene.IsImporting():  # ids are not final before the import is complete
            self._insert(node)

    def _node_leaves(self, node: Any) -> None:
        if not self._scene.IsClosing():
            self._remove(node)
            self._observed.discard(node.GetID())

    def _node_modified(self, node: Any) -> None:
        if self._scene is None or self._scene.IsClosing() or self._scene.IsImporting():
            return
        if node.GetScene() is None or not self._shows(node):
            self._remove(node)
            return
        self._insert(node)
        item = self._root().child(self._row_of(node.GetID()))
        if item.text() != (node.GetName() or ""):
            item.setText(node.GetName() or "")

    def _show_none(self) -> None:
        root = self._root()
        if root is None:
            return
        shown = root.child(0).text() if root.rowCount() and root.child(0).data(_ID) == _NONE else None
        if shown == (self.noneDisplay if self.noneEnabled else None):
            return
        if shown is not None:
            root.removeRow(0)
        if self.noneEnabled:
            item = QtGui.QStandardItem(self.noneDisplay)
            item.setData(_NONE, _ID)
            root.insertRow(0, [item])

    def _show_actions(self) -> None:
        root = self._root()
        if root is None:
            return
        wanted = self._wanted_actions() if self._scene is not None else []
        kind = self._label(self.nodeTypes[0] if self.nodeTypes else "")
        self._box.hint = f"Select a {kind}"
        if wanted == self._actions:
            return
        current, first = self._box.currentIndex(), self._node_rows().stop
        while root.rowCount() > first:
            root.removeRow(first)
        for text, method in wanted:
            item = QtGui.QStandardItem(text)
            item.setData(_ACTION, _ID)
            item.setData(method, _METHOD)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)
            root.appendRow([item])
        self._actions = wanted
        self._box.setCurrentIndex(current)

    def _wanted_actions(self) -> list[tuple[str, str]]:
        """Text and method of the entries under the nodes; the first is a separator."""
        one = self._label(self.nodeTypes[0] if len(self.nodeTypes) == 1 else "")
        actions = [(f"Rename current {one}", "renameCurrentNode")] if self.renameEnabled else []
        actions += [(f"Edit current {one}", "editCurrentNode")] if self.editEnabled else []
        for kind in self.nodeTypes if self.addEnabled else ():
            actions.append((f"Create new {self._label(kind)}", f"addNode {kind}"))
            if self.renameEnabled:
                actions.append((f"Create new {self._label(kind)} as...", f"createNodeAs {kind}"))
        actions += [(f"Delete current {one}", "removeCurrentNode")] if self.removeEnabled else []
        return [("", ""), *actions] if actions else []

    def _label(self, kind: str) -> str:
        return (self._scene.GetTypeDisplayNameByClassName(kind) if self._scene is not None else "") or "node"

    # What is current

    def _id_at(self, row: int) -> str:
        root = self._root()
        item = root.child(row) if root is not None and row >= 0 else None
        identifier = item.data(_ID) if item is not None else ""
        return "" if identifier in (_NONE, _ACTION) else identifier

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
        if item.data(_ID) == _ACTION:
            method, *kind = item.data(_METHOD).split()
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
