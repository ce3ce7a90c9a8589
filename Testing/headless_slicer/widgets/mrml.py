"""What all qMRML stand-ins share: a scene, VTK observers that end with the widget, kept properties.

Properties, slots and signals are those of Slicer's public headers (Libs/MRML/Widgets).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, ClassVar

import shiboken6
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

        self._tags += [
            (vtk_object, vtk_object.AddObserver(event, lambda *_: self._pass_on(method))) for event in events
        ]

    def observe_nodes(self, scene: Any, event: int, method: str, priority: float) -> None:
        """Call `widget.method(node)` for the node that a scene's event is about."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def call(_scene: Any, _event: str, node: Any) -> None:
            self._pass_on(method, node)

        self._tags.append((scene, scene.AddObserver(event, call, priority)))

    def observe_modified(self, node: Any, method: str) -> None:
        """Call `widget.method(node)` after every change of a node."""
        tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._pass_on(method, node))
        self._tags.append((node, tag))

    def _pass_on(self, method: str, *arguments: Any) -> None:
        widget = self._widget()
        if widget is None or not shiboken6.isValid(widget):
            self.clear()
        else:
            getattr(widget, method)(*arguments)

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
