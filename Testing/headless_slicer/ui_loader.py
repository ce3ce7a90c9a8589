"""Loads a Slicer .ui file with the stand-ins in place of Slicer's custom widgets.

Stricter than Slicer, because a mistake in a .ui file is otherwise silent: an unknown widget class, a
property that the widget does not have (Qt makes it a dynamic one), a connection whose signal or slot does
not exist all raise UiError.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from .qt.signals import connect
from .qt.wrapper import InstanceWrapper, wrap, wrapper_class


class UiError(RuntimeError):
    """A .ui file that Slicer could not load, or not as its author meant it."""


def stand_ins() -> dict[str, type]:
    """All custom widget classes there are stand-ins for, by their C++ name."""
    from .stand_ins import CTK_WIDGETS, MRML_WIDGETS

    return {**CTK_WIDGETS, **MRML_WIDGETS}


class _Loader(QtUiTools.QUiLoader):
    """Makes stand-ins, and keeps them in Python as long as Qt has them."""

    def __init__(self, unknown: list[str]) -> None:
        super().__init__()
        self._unknown, self._stand_ins = unknown, stand_ins()

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        kind = self._stand_ins.get(class_name)
        if kind is not None:
            widget = kind(parent)
            widget.setObjectName(name)
            return widget
        if class_name in self.availableWidgets():
            return super().createWidget(class_name, parent, name)
        self._unknown.append(f"{class_name} ({name})")
        widget = QtWidgets.QWidget(parent)
        widget.setObjectName(name)
        return widget


def load_ui(path: str | Path) -> InstanceWrapper:
    """The widget of a .ui file, wrapped.

    Raises UiError where the file is not XML, or names a class, property, signal or slot that does not exist.
    """
    try:
        tree = ET.parse(path)
    except ET.ParseError as error:
        raise UiError(f"{path}: {error}") from error
    return _built(tree.getroot(), str(path))


def _built(root: ET.Element, where: str) -> InstanceWrapper:
    connections = _taken(root, "connections")
    special = _taken_properties(root)
    buffer = QtCore.QBuffer()
    buffer.setData(ET.tostring(root))
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    unknown: list[str] = []
    loader = _Loader(unknown)
    widget = loader.load(buffer)
    if unknown:
        raise UiError(f"{where}: no such widget class: {', '.join(unknown)}")
    if widget is None:
        raise UiError(f"{where}: {loader.errorString()}")
    wrapped = wrap(widget)
    _check_properties(root, widget, where)
    for name, key, value in special:
        setattr(_named(wrapped, name, where), key, value)
    for connection in connections.findall("connection") if connections is not None else []:
        _connect({part.tag: part.text for part in connection}, wrapped, where)
    return wrapped


def _taken(root: ET.Element, tag: str) -> ET.Element | None:
    """Take an element out of the file: what Qt's loader would do with it, without a word if it fails."""
    element = root.find(tag)
    if element is not None:
        root.remove(element)
    return element


def _taken_properties(root: ET.Element) -> list[tuple[str, str, int]]:
    """Enum and flag properties of stand-ins (ctkPathLineEdit::Files), which Qt's loader cannot translate."""
    known, taken = stand_ins(), []
    for widget in root.iter("widget"):
        kind = known.get(widget.get("class", ""))
        for element in list(widget.findall("property")) if kind is not None else []:
            value = element.find("set") if element.find("set") is not None else element.find("enum")
            if value is None or not (value.text or "").startswith(f"{kind.__name__}::"):
                continue
            flags = [getattr(wrapper_class(kind), key.split("::")[-1]) for key in value.text.split("|")]
            taken.append((widget.get("name"), element.get("name"), sum(int(each) for each in flags)))
            widget.remove(element)
    return taken


def _named(root: InstanceWrapper, name: str, where: str) -> InstanceWrapper:
    found = root if root.objectName == name else root.findChild("QObject", name)
    if found is None:
        raise UiError(f"{where}: no object is called {name}")
    return found


def _check_properties(root: ET.Element, widget: QtWidgets.QWidget, where: str) -> None:
    """Every property in the file is the widget's own, or says itself that it is dynamic (stdset="0")."""
    for element in root.iter("widget"):
        name = element.get("name")
        found = widget if widget.objectName() == name else widget.findChild(QtWidgets.QWidget, name)
        if found is None:
            raise UiError(f"{where}: {element.get('class')} {name} was not made")
        for each in element.findall("property"):
            own = (
                each.get("stdset") == "0" or each.get("name") == "buddy"
            )  # Qt's loader resolves buddies itself
            if not own and found.metaObject().indexOfProperty(each.get("name")) < 0:
                raise UiError(f"{where}: {element.get('class')} {name} has no property {each.get('name')}")


def _connect(parts: dict[str, str], root: InstanceWrapper, where: str) -> None:
    sender, receiver = (_named(root, parts[key], where) for key in ("sender", "receiver"))
    try:
        connect(sender, parts["signal"], receiver, parts["slot"])
    except ValueError as error:
        raise UiError(f"{where}: {error}") from error


class QUiLoader:
    """`qt.QUiLoader`, as far as slicer.util.loadUI uses it."""

    def load(self, device: InstanceWrapper, parent: InstanceWrapper | None = None) -> InstanceWrapper:
        widget = load_ui(device.fileName())
        if parent is not None:
            widget.setParent(parent)
        return widget
