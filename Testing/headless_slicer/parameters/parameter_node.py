"""`slicer.parameterNodeWrapper`: a typed view of a vtkMRMLScriptedModuleNode, with connection to widgets.

`@parameterNodeWrapper` turns a class body of type hints into a class whose instances read and write the
parameter node they are made with. The node is real, so parameters take part in save, load, undo and scene
close as in Slicer.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import vtk
from slicer.util import NodeModify

from . import validators
from .parameter_pack import ParameterInfo, data_type, isParameterPack, members_of, parameterPack

PROPERTY = "SlicerParameterName"

LEAVES_OBSERVERS = False
"""Whether `disconnectGui` leaves its observer on the node, as Slicer 5.10 does; a test sets it."""


class _Parameter:
    """One parameter of one node. Where its type allows, the value is kept and read anew when the node
    changes.
    """

    def __init__(self, info: ParameterInfo, node: Any, prefix: str) -> None:
        self.info, self._node, self._name = info, node, f"{prefix}{info.basename}"
        self._writing = False
        if not info.serializer.is_in(node, self._name):
            info.serializer.store(node, self._name, info.make_default())
        self.cached = info.serializer.cached
        self._value = info.serializer.read(node, self._name) if self.cached else None
        if self.cached:
            me = weakref.ref(self)  # the observer must not keep this object alive
            self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _refresh(me()))
            weakref.finalize(self, node.RemoveObserver, self._tag).atexit = False

    def refresh(self) -> None:
        if not self._writing:
            self._value = self._read_from_node()

    def read(self) -> Any:
        return self._value if self.cached else self._read_from_node()

    def write(self, value: Any) -> None:
        self._writing = True
        try:
            with NodeModify(self._node):
                self.info.serializer.store(self._node, self._name, value)
                if self.cached:  # before observers of the node are told, who may read
                    self._value = self._read_from_node()
        finally:
            self._writing = False

    def _read_from_node(self) -> Any:
        # A parameter can be gone: scene close resets singleton nodes. Then it is its default again.
        if not self.info.serializer.is_in(self._node, self._name):
            self.info.serializer.store(self._node, self._name, self.info.make_default())
        return self.info.serializer.read(self._node, self._name)


def _refresh(parameter: _Parameter | None) -> None:
    if parameter is not None:
        parameter.refresh()


class _Wrapper:
    """What every wrapper class can do besides its parameters; method names are Slicer's."""

    allParameters: ClassVar[dict[str, ParameterInfo]]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._connections: dict[int, dict[str, Any]] = {}
        self._observers: dict[int, int] = {}
        self._next_tag = 0
        self._writing_gui = False
        self._parameters = {
            name: _Parameter(info, parameterNode, prefix or "") for name, info in self.allParameters.items()
        }

    def getValue(self, name: str) -> Any:
        data_type(type(self), name)
        top, _, rest = name.partition(".")
        value = self._parameters[top].read()
        return value.getValue(rest) if rest else value

    def setValue(self, name: str, value: Any) -> None:
        data_type(type(self), name)
        top, _, rest = name.partition(".")
        if rest:
            self._parameters[top].read().setValue(rest, value)
        else:
            self._parameters[top].write(value)

    def default(self, name: str) -> validators.Default:
        data_type(type(self), name)
        return validators.Default(self.allParameters[name].make_default())

    def isCached(self, name: str) -> bool:
        data_type(type(self), name)
        return self._parameters[name].cached

    @classmethod
    def dataType(cls, name: str) -> Any:
        return data_type(cls, name)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified: int) -> int:
        return self.parameterNode.EndModify(was_modified)

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        """Ties every widget of `gui` (a widget, or childWidgetVariables) that names a parameter to it."""
        return self.connectParametersToGui(dict(_named_widgets(gui)))

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Ties widgets to parameters by {parameter name: widget}. Raises ValueError for a name that does not
        exist.
        """
        from . import gui_connector

        for name in mapping:
            data_type(type(self), name)
        connectors = {
            name: gui_connector.connector_for(widget, data_type(type(self), name))
            for name, widget in mapping.items()
        }
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._connections[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._gui_listener(name, connector))
        self._observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui())
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Unties. Slicer 5.10 leaves its observer (which keeps this object alive), 5.12 removes it."""
        for connector in self._connections.pop(tag, {}).values():
            connector.onChanged(None)
        observer = self._observers.pop(tag, None)
        if observer is not None and not LEAVES_OBSERVERS:
            self.RemoveObserver(observer)

    def _gui_listener(self, name: str, connector: Any) -> Callable[[], None]:
        def changed() -> None:
            if not self._writing_gui:
                with NodeModify(self):
                    self.setValue(name, connector.read())

        return changed

    def _update_gui(self) -> None:
        if self._writing_gui:
            return
        self._writing_gui = True
        try:
            with NodeModify(self):
                for connectors in list(self._connections.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._writing_gui = False


def _named_widgets(gui: Any) -> Iterator[tuple[str, Any]]:
    """(parameter name, widget) of the widgets that carry the dynamic property SlicerParameterName."""
    import qt

    is_widget = getattr(gui, "isWidgetType", lambda: False)()
    for widget in gui.findChildren(qt.QWidget) if is_widget else vars(gui).values():
        name = widget.property(PROPERTY)
        if name:
            yield name, widget


def parameterNodeWrapper(class_: type | None = None) -> Any:
    """Class decorator: see the module's text. Raises where a type cannot be stored or a name is reserved."""
    return _make_wrapper if class_ is None else _make_wrapper(class_)


def isParameterNodeWrapper(obj: Any) -> bool:
    return isinstance(obj, _Wrapper) or (isinstance(obj, type) and issubclass(obj, _Wrapper))


def _make_wrapper(class_: type) -> type:
    members = members_of(class_)
    for name in members:
        if hasattr(_Wrapper, name) or name == "parameterNode":
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    own = {name: value for name, value in vars(class_).items() if name not in ("__dict__", "__weakref__")}
    own.update({name: _wrapper_property(name) for name in members})
    own["allParameters"] = members
    own.pop("__init__", None)  # Slicer replaces a constructor of the class body
    bases = tuple(base for base in class_.__bases__ if base is not object)
    return type(class_.__name__, (*bases, _Wrapper), own)


def _wrapper_property(name: str) -> property:
    return property(
        lambda self: self._parameters[name].read(), lambda self, value: self._parameters[name].write(value)
    )


def findChildWidgetForParameter(widget: Any, name: str) -> Any:
    """The child widget that carries this parameter's name, or None."""
    return dict(_named_widgets(widget)).get(name)


def make_module() -> types.ModuleType:
    """The module that `import slicer.parameterNodeWrapper` finds."""
    module = types.ModuleType("slicer.parameterNodeWrapper", __doc__)
    public = [
        parameterNodeWrapper,
        parameterPack,
        isParameterNodeWrapper,
        isParameterPack,
        findChildWidgetForParameter,
    ]
    public += [getattr(validators, name) for name in _VALIDATORS]
    for item in public:
        setattr(module, item.__name__, item)
    module.SlicerParameterNamePropertyName = PROPERTY  # type: ignore[attr-defined]
    return module


_VALIDATORS = [
    "Validator",
    "NotNone",
    "IsInstance",
    "WithinRange",
    "Minimum",
    "Maximum",
    "Choice",
    "Exclude",
    "RangeBounds",
    "Default",
    "FloatRange",
]
