"""The rows of qMRMLNodeComboBox's stand-in: None, the scene's nodes of some types, the entries of the menu.

Rows come and go as in Slicer: a node's row goes *before* the node (priority -10, after observers of the usual
priority); scene close and import take all nodes' rows away in one go and put them back one by one.
"""

from __future__ import annotations

from typing import Any

from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Qt

from .mrml import Observations, SceneWidget, flag, kept

ID = Qt.ItemDataRole.UserRole
NONE, ACTION = " none", " action"  # in place of a node's id
METHOD = Qt.ItemDataRole.UserRole + 1


class ComboBox(QtWidgets.QComboBox):
    """Writes a hint where nothing is chosen, as ctkComboBox; Qt's placeholder changes what is chosen."""

    hint = ""

    def initStyleOption(self, option: QtWidgets.QStyleOptionComboBox) -> None:
        super().initStyleOption(option)
        if self.currentIndex() < 0:
            option.currentText = self.hint


class NodeRows(SceneWidget):
    """A combo box over an item model: the scene's item, and under it all that can be chosen."""

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

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._attributes: dict[tuple[str, str], Any] = {}
        self._scene_observers, self._node_observers = Observations(self), Observations(self)
        self._observed: set[str] = set()
        self._actions: list[tuple[str, str]] = []
        self._items = QtGui.QStandardItemModel(self)
        self._box = ComboBox(self)
        self._box.setModel(self._items)

    def _follow_scene(self) -> None:
        """Make the rows of another scene and follow what happens there."""
        self._scene_observers.clear()
        if self._scene is None:
            self._items.removeRows(0, self._items.rowCount())
            self._actions = []
        elif self._root() is None:
            self._items.appendRow([QtGui.QStandardItem("Scene")])
        self._rebuild()
        if self._scene is not None:
            events, observers = self._scene, self._scene_observers
            observers.observe_nodes(self._scene, events.NodeAddedEvent, "_node_added", 10.0)
            observers.observe_nodes(self._scene, events.NodeAboutToBeRemovedEvent, "_node_leaves", -10.0)
            observers.observe(self._scene, (events.EndCloseEvent, events.EndImportEvent), "_rebuild")

    def _root(self) -> QtGui.QStandardItem | None:
        return self._items.item(0)

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
        ids = [root.child(row).data(ID) for row in range(rows)]
        first = 1 if ids[:1] == [NONE] else 0
        return range(first, rows - ids.count(ACTION))

    def _row_of(self, identifier: str) -> int:
        root = self._root()
        return next((r for r in self._node_rows() if root.child(r).data(ID) == identifier), -1)

    def _insert(self, node: Any) -> None:
        if self._root() is None or not self._shows(node) or self._row_of(node.GetID()) >= 0:
            return
        item = QtGui.QStandardItem(node.GetName() or "")
        item.setData(node.GetID(), ID)
        order = [other.GetID() for other in self._nodes()]
        before = order[: order.index(node.GetID())]
        rows = self._node_rows()
        place = rows.start + sum(self._root().child(row).data(ID) in before for row in rows)
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
        shown = root.child(0).text() if root.rowCount() and root.child(0).data(ID) == NONE else None
        if shown == (self.noneDisplay if self.noneEnabled else None):
            return
        if shown is not None:
            root.removeRow(0)
        if self.noneEnabled:
            item = QtGui.QStandardItem(self.noneDisplay)
            item.setData(NONE, ID)
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
            item.setData(ACTION, ID)
            item.setData(method, METHOD)
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
