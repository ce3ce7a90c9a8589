"""Widgets as `connectGui` of Slicer's parameter nodes reads and writes them.

`connector_for(widget, datatype)` follows slicer.parameterNodeWrapper.guiConnectors: the pairs of widget
class and type below are all that Slicer has, the class must match exactly (a subclass, e.g. ctkCheckBox,
does not), validators set a widget's range, and a combo box is emptied and filled with the choices:
`str(choice)`, or the names (or `label()`) of an enum. QPlainTextEdit, ctkComboBox, ctkDoubleSpinBox,
ctkCollapsibleButton and qMRMLSegmentSelectorWidget have no connector in Slicer; connecting them raises
RuntimeError.
"""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

INF = float("inf")
_PATHS = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)


class Connector:
    """One widget tied to one type: `read`, `write`, and `onChanged(callback or None)`."""

    def __init__(
        self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]
    ) -> None:
        self._widget, self._signal, self.read, self.write = widget, signal, read, write
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call `callback()` after the widget has changed; None ends that."""
        had, self._callback = self._callback is not None, callback
        signal = getattr(self._widget, self._signal)
        if callback is None and had:
            signal.disconnect(self._changed)
        elif callback is not None and not had:
            signal.connect(self._changed)

    def widget(self) -> Any:
        return self._widget

    def _changed(self) -> None:
        if self._callback is not None:
            self._callback()


def connector_for(widget: Any, datatype: Any) -> Connector:
    """The connector of a widget (wrapped) for a type, possibly Annotated.

    Raises RuntimeError where Slicer has none, or where it needs an annotation (Choice; a range for a slider).
    """
    plain, extras = _split(datatype)
    kind = type(widget).__name__
    if plain is bool and kind in ("QCheckBox", "QPushButton"):
        if kind == "QPushButton":
            widget.checkable = True
        return _property_connector(widget, "checked", "stateChanged" if kind == "QCheckBox" else "toggled")
    if plain is int and kind in ("QSlider", "QSpinBox"):
        _set_range(widget, extras, -(2**31), 2**31 - 1, kind == "QSlider")
        return _property_connector(widget, "value", "valueChanged")
    if plain is float and kind in ("QDoubleSpinBox", "ctkSliderWidget"):
        _set_range(widget, extras, -INF, INF, kind == "ctkSliderWidget")
        return _property_connector(widget, "value", "valueChanged")
    if kind == "QComboBox" and (plain in (int, float, str, bool) or _is(plain, enum.Enum)):
        return _combo_connector(widget, plain, extras)
    if plain is str and kind == "QLineEdit":
        return _property_connector(widget, "text", "textChanged")
    if plain is str and kind == "QTextEdit":
        return Connector(widget, "textChanged", widget.toPlainText, widget.setPlainText)
    if plain in _PATHS and kind in ("ctkPathLineEdit", "ctkDirectoryButton"):
        name, signal = (
            ("currentPath", "currentPathChanged")
            if kind == "ctkPathLineEdit"
            else ("directory", "directoryChanged")
        )
        return Connector(
            widget,
            signal,
            lambda: plain(getattr(widget, name)),
            lambda value: setattr(widget, name, str(value)),
        )
    nodes = _node_types(plain)
    if nodes and kind == "qMRMLNodeComboBox":
        widget.nodeTypes = nodes
        return Connector(
            widget,
            "currentNodeChanged",
            widget.currentNode,
            widget.setCurrentNode,
        )
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'"
    )


def _split(datatype: Any) -> tuple[Any, dict[str, Any]]:
    """(type without annotations, annotations by the name of their class)."""
    if typing.get_origin(datatype) is typing.Annotated:
        plain, *extras = typing.get_args(datatype)
        return plain, {type(extra).__name__: extra for extra in extras}
    return datatype, {}


def _is(plain: Any, base: type) -> bool:
    return isinstance(plain, type) and issubclass(plain, base)


def _node_types(plain: Any) -> list[str]:
    """Names of the vtkMRML classes of a node type or a union of them; empty if it is neither."""
    parts = [part for part in typing.get_args(plain) if part is not type(None)] or [plain]
    names = [getattr(part, "__name__", "") for part in parts]
    return names if all(name.startswith("vtkMRML") for name in names) else []


def _property_connector(widget: Any, name: str, signal: str) -> Connector:
    return Connector(
        widget, signal, lambda: getattr(widget, name), lambda value: setattr(widget, name, value)
    )


def _set_range(widget: Any, extras: dict[str, Any], lowest: float, highest: float, must: bool) -> None:
    """Decimals, single step and range from the annotations; `must`: a slider needs both ends."""
    if "Decimals" in extras:
        widget.decimals = extras["Decimals"].value
    if "SingleStep" in extras:
        widget.singleStep = extras["SingleStep"].value
    within = extras.get("WithinRange")
    low = within.minimum if within else extras["Minimum"].minimum if "Minimum" in extras else None
    high = within.maximum if within else extras["Maximum"].maximum if "Maximum" in extras else None
    if must and (low is None or high is None):
        raise RuntimeError(
            f"Cannot have a connection to {type(widget).__name__} where the type is unbounded."
        )
    widget.minimum = lowest if low is None else low
    widget.maximum = highest if high is None else high


def _combo_connector(widget: Any, plain: Any, extras: dict[str, Any]) -> Connector:
    if _is(plain, enum.Enum):
        values = list(plain)
        label = getattr(plain, "label", None)
        texts = [label(value) if label else value.name for value in values]
    else:
        if "Choice" not in extras:
            raise RuntimeError("A combo box needs the Choice annotation.")
        values = list(extras["Choice"].choices)
        texts = [str(value) for value in values]
    widget.clear()
    for text in texts:
        widget.addItem(text)

    def write(value: Any) -> None:
        if value not in values:
            raise ValueError(f"Unable to find value {value} in choices {values}")
        widget.currentIndex = values.index(value)

    return Connector(widget, "currentIndexChanged", lambda: values[widget.currentIndex], write)
