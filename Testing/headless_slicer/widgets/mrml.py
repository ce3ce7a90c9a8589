"""Stand-ins for qMRML widgets that watch the real scene: qMRMLWidget and qMRMLNodeComboBox.

Properties, slots and signals are those of Slicer's public headers (Libs/MRML/Widgets); `currentNode()` is
a method and `currentNodeID` a property there, so they are here.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, ClassVar

import shiboken6
import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from ..qt.members import invokable


class Observations:
    """VTK observers of one widget; they end with the widget and never keep it alive."""

    def __init__(self, widget: QtWidgets.QWidget) -> None:
        self._widget = weakref.ref(widget)
        self._tags: list[tuple[Any, int]] = []

    def observe(self, vtk_object: Any, events: Iterable[int], method: str) -> None:
        """Call `widget.method()` after each of the events."""

        def call(*_: Any) -> None:
            widget = self._widget()
            if widget is None or not shiboken6.isValid(widget):
                self.clear()
            else:
                getattr(widget, method)()

        self._tags += [(vtk_object, vtk_object.AddObserver(event, call)) for event in events]

    def clear(self) -> None:
        tags, self._tags = self._tags, []
        for vtk_object, tag in tags:
            vtk_object.RemoveObserver(tag)


class SceneWidget(QtWidgets.QWidget):
    """What qMRMLWidget gives all widgets: a scene and `mrmlSceneChanged`."""

    scene_changed = Signal(object)
    CPP_SIGNALS: ClassVar = {"mrmlSceneChanged(vtkMRMLScene*)": "scene_changed"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    @invokable
    def mrmlScene(self) -> Any:
        return self._scene

    @invokable
    def setMRMLScene(self, scene: Any) -> None:
        checked_vtk(scene, "vtkMRMLScene")
        if scene is self._scene:
            return
        self._scene = scene
        self._scene_set()
        self.scene_changed.emit(scene)

    def _scene_set(self) -> None:
        """Called after the scene has changed."""


def checked_vtk(value: Any, class_name: str) -> Any:
    """`value` if it is None or of the VTK class; PythonQt's ValueError otherwise."""
    if value is not None and not (hasattr(value, "IsA") and value.IsA(class_name)):
        raise ValueError(f"Could not find matching overload: {value!r} is not a {class_name}")
    return value


class qMRMLWidget(SceneWidget):
    """The root widget of a module's .ui file."""


def flag(name: str, default: bool, after: str | None = None) -> Property:
    """A bool property kept in a Python attribute; `after` is a method to call when it was set."""
    return kept(bool, name, default, after)


def kept(kind: Any, name: str, default: Any, after: str | None = None) -> Property:
    """A property kept in the attribute `_<name>`."""
    attribute = f"_{name}"

    def write(self: Any, value: Any) -> None:
        setattr(self, attribute, value)
        if after is not None:
            getattr(self, after)()

    return Property(kind, lambda self: getattr(self, attribute, default), write)


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

    nodeTypes = kept("QStringList", "nodeTypes", [], "_update")
    hideChildNodeTypes = kept("QStringList", "hideChildNodeTypes", [], "_update")
    showHidden = flag("showHidden", False, "_update")
    showChildNodeTypes = flag("showChildNodeTypes", True, "_update")
    noneEnabled = flag("noneEnabled", False, "_update")
    noneDisplay = kept(str, "noneDisplay", "None", "_update")
    addEnabled = flag("addEnabled", True, "_update")
    removeEnabled = flag("removeEnabled", True, "_update")
    renameEnabled = flag("renameEnabled", False, "_update")
    editEnabled = flag("editEnabled", False, "_update")
    selectNodeUponCreation = flag("selectNodeUponCreation", True)
    baseName = kept(str, "baseName", "")
    interactionNodeSingletonTag = kept(str, "interactionNodeSingletonTag", "Singleton")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._current, self._name, self._ids = "", "", []
        self._attributes: dict[tuple[str, str], Any] = {}
        self._scene_observers, self._node_observers = Observations(self), Observations(self)
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._box.setMinimumContentsLength(12)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._requested = ""  # chosen before there was a scene
        self.setEnabled(False)
        self._box.activated.connect(self._chosen)

    def _scene_set(self) -> None:
        self._scene_observers.clear()
        self.setEnabled(self._scene is not None)  # as in Slicer, whatever the .ui file says
        if self._scene is not None:
            scene = slicer.vtkMRMLScene
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
            self._scene_observers.observe(self._scene, events, "_update")
        self._update()
        requested, self._requested = self._requested, ""
        if requested in self._ids:
            self._select(requested)

    def _candidates(self) -> list[Any]:
        """All nodes of the types, hidden ones too."""
        if self._scene is None:
            return []
        every = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        return [node for node in every if any(self._is_of(node, kind) for kind in self.nodeTypes)]

    def _is_of(self, node: Any, kind: str) -> bool:
        of_kind = node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind
        if not of_kind or any(node.IsA(hidden) for hidden in self.hideChildNodeTypes):
            return False
        wanted = [(key[1], value) for key, value in self._attributes.items() if key[0] == kind]
        return all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
            for name, value in wanted
        )

    def _update(self) -> None:
        """List the scene's nodes anew; if the current one is gone choose what Slicer chooses, and tell."""
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        candidates = self._candidates()
        self._node_observers.clear()
        for node in candidates:
            self._node_observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_update")
        nodes = [
            n
            for n in candidates
            if self.showHidden or not n.GetHideFromEditors() or n.GetID() == self._current
        ]
        nodes = [n for n in nodes if self.showHidden or not n.GetHideFromEditors()]
        before, self._ids = self._ids, [node.GetID() for node in nodes]
        self._fill(nodes)
        for identifier in self._ids:
            if identifier not in before:
                self.node_added.emit(self._scene.GetNodeByID(identifier))
        if self._current not in self._ids:
            self._select("" if self.noneEnabled or not self._ids else self._neighbour(before))
        self._show_current()

    def _neighbour(self, before: list[str]) -> str:
        """What a QComboBox makes current when the current node is gone: the one that took its place."""
        place = before.index(self._current) if self._current in before else 0
        return self._ids[min(place, len(self._ids) - 1)]

    def _fill(self, nodes: list[Any]) -> None:
        self._box.blockSignals(True)
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        for node in nodes:
            self._box.addItem(node.GetName() or "", node.GetID())
        kind = self._type_label()
        actions = [
            (self.editEnabled, "Edit current " + kind, "editCurrentNode"),
            (self.renameEnabled, "Rename current " + kind, "renameCurrentNode"),
            (self.addEnabled, "Create new " + kind, "addNode"),
            (self.removeEnabled, "Delete current " + kind, "removeCurrentNode"),
        ]
        self._first_action = self._box.count()
        for enabled, text, method in actions:
            if enabled and self._scene is not None:
                self._box.addItem(text, method)
        self._box.setPlaceholderText(f"Select a {kind}")
        self._box.blockSignals(False)

    def _type_label(self) -> str:
        kind = self.nodeTypes[0] if self.nodeTypes else ""
        node = self._scene.CreateNodeByClass(kind) if self._scene is not None and kind else None
        if node is None:
            return "Node"
        node.UnRegister(None)
        label = getattr(node, "GetTypeDisplayName", node.GetNodeTagName)()
        return label or node.GetNodeTagName()

    def _show_current(self) -> None:
        self._box.blockSignals(True)
        position = self._box.findData(self._current) if self._current or self.noneEnabled else -1
        self._box.setCurrentIndex(position)
        self._box.blockSignals(False)
        node = self.currentNode()
        name = node.GetName() or "" if node is not None else ""
        if node is not None and name != self._name:
            self._name = name
            self.currentNodeRenamed.emit(name)

    def _select(self, identifier: str) -> None:
        if identifier == self._current:
            return
        self._current = identifier
        node = self.currentNode()
        self._name = node.GetName() or "" if node is not None else ""
        self._show_current()
        self.node_changed.emit(node)
        self.validity_changed.emit(node is not None)
        self.currentNodeIDChanged.emit(identifier)

    def _chosen(self, index: int) -> None:
        """The user chose an item of the list."""
        if index < self._first_action:
            self._select(self._box.itemData(index))
            self.node_activated.emit(self.currentNode())
        else:
            method = self._box.itemData(index)
            self._show_current()
            getattr(self, method)()

    @invokable
    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    @invokable
    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            self._set_current_id(node)
            return
        checked_vtk(node, "vtkMRMLNode")
        self._set_current_id(node.GetID() if node is not None and node.GetID() else "")

    def _set_current_id(self, identifier: str) -> None:
        if self._scene is None:
            self._requested = identifier
        self._select(identifier if identifier in self._ids else "")
        self._show_current()

    currentNodeID = Property(str, lambda self: self._current, _set_current_id)

    @invokable
    def setCurrentNodeID(self, identifier: str) -> None:
        self._set_current_id(identifier)

    @invokable
    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self._ids[index] if 0 <= index < len(self._ids) else "")

    @invokable
    def nodeCount(self) -> int:
        return len(self._ids)

    @invokable
    def nodeFromIndex(self, index: int) -> Any:
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    @invokable
    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes[node_type, name] = value
        self._update()

    @invokable
    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes.pop((node_type, name), None)
        self._update()

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

    @invokable
    def removeCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            self.node_about_to_be_removed.emit(node)
            self._scene.RemoveNode(node)

    @invokable
    def renameCurrentNode(self) -> None:
        from ..qt.dialogs import dialogs

        node = self.currentNode()
        name = dialogs.ask("qMRMLNodeComboBox.rename", (node.GetName(),), "") if node is not None else ""
        if name:
            node.SetName(name)

    @invokable
    def editCurrentNode(self) -> None:
        """In Slicer opens the module that edits the node; nothing here."""
