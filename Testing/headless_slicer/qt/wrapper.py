"""Objects and classes of PySide6 as PythonQt shows them to a script inside Slicer.

What a script meets in Slicer, and therefore here (PythonQt: PythonQtInstanceWrapper.cpp,
PythonQtStdDecorators.cpp):

- a Qt property is an attribute, read and set; `button.text()` is a TypeError because `button.text` is a
  str;
- a property that cannot take a value, an unknown attribute, a method or signal that is assigned to:
  AttributeError;
- new attributes on a plain wrapper are refused, on an instance of a Python subclass they are allowed;
- dynamic properties and named children are attributes too (`widget.childName`), `name` is `objectName`;
- wrapper classes are flat: `isinstance(qt.QPushButton(), qt.QWidget)` is False, `inherits("QWidget")` is
  True;
- of a class that PythonQt has no hand-made wrapper for (all of ctk and qMRML) only properties, slots,
  signals and Q_INVOKABLE methods exist; stand-ins mark those with `invokable`;
- one C++ object has one wrapper as long as somebody holds it; a destroyed object raises ValueError and is
  false;
- every Qt list arrives as a tuple;
- no keyword arguments; wrong arguments raise ValueError.

Stricter than PythonQt: pathlib paths are refused wherever a Qt function wants a string.
"""

from __future__ import annotations

import enum
import inspect
import os
import sys
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from .members import has_member
from .properties import read_property, write_property
from .values import EnumValue

Replacement = Callable[..., Any]

_wrappers: weakref.WeakValueDictionary[int, InstanceWrapper] = weakref.WeakValueDictionary()
_classes: dict[type, ClassWrapper] = {}
#: Functions that must not do in a test what they do on a desktop, by class and name (see dialogs.py).
replacements: dict[str, dict[str, Replacement]] = {}
#: What answers `object.name` before Qt's own members do (see signals): a value, or None to pass.
special_members: list[Callable[[InstanceWrapper, Any, str], Any]] = []
#: Exceptions raised by connected functions since the last `errors.clear()`.
errors: list[BaseException] = []


def wrapper_class(pyside: type) -> ClassWrapper:
    """The script's class for a PySide6 class or a stand-in; always the same one."""
    if pyside not in _classes:
        _classes[pyside] = ClassWrapper(pyside.__name__, (InstanceWrapper,), {"_pyside": pyside})
    return _classes[pyside]


def wrap(value: Any) -> Any:
    """A PySide6 value as the script sees it; everything that is not Qt's passes unchanged."""
    if isinstance(value, enum.Enum):
        return EnumValue(value)
    if type(value) in (list, tuple):
        return tuple(wrap(item) for item in value)
    if isinstance(value, shiboken6.Object):
        return _wrapped_object(value)
    return value


def _wrapped_object(value: Any) -> InstanceWrapper:
    facade = getattr(value, "_facade", None)  # set on instances of Python subclasses
    if facade is not None:
        return facade
    if isinstance(value, QtCore.QObject):
        address = shiboken6.getCppPointer(value)[0]
        known = _wrappers.get(address)
        if known is not None and shiboken6.isValid(known._obj):
            return known
    wrapper = object.__new__(wrapper_class(type(value)))
    object.__setattr__(wrapper, "_obj", value)
    if isinstance(value, QtCore.QObject):
        _wrappers[address] = wrapper
    return wrapper


def unwrap(value: Any) -> Any:
    """The PySide6 value behind what the script passes to a Qt function."""
    if isinstance(value, InstanceWrapper):
        return living(value, "use")
    if isinstance(value, EnumValue):
        return value.member
    if isinstance(value, ClassWrapper):
        return value._pyside
    if type(value) in (list, tuple):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, os.PathLike):
        raise ValueError(f"PythonQt does not convert {type(value).__name__} to a string: {value!r}")
    if isinstance(value, types.FunctionType | types.MethodType):
        return guarded(value)
    return value


def guarded(function: Callable) -> Callable:
    """`function` called with wrapped arguments, as many as it takes, its exception kept and printed."""
    limit = _argument_limit(function)

    def call(*args: Any) -> Any:
        try:
            return unwrap(function(*[wrap(argument) for argument in args[:limit]]))
        except Exception as error:
            errors.append(error)
            traceback.print_exc(file=sys.stderr)
            return None

    return call


def _argument_limit(function: Callable) -> int | None:
    """How many arguments a Python function or method takes (defaults included); None: as many as come."""
    bound = isinstance(function, types.MethodType)
    plain = function.__func__ if bound else function
    if not isinstance(plain, types.FunctionType) or plain.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return plain.__code__.co_argcount - bound


def living(wrapper: InstanceWrapper, purpose: str) -> Any:
    """The PySide6 object of a wrapper; ValueError if Qt has destroyed it or it was never made."""
    obj = wrapper.__dict__.get("_obj")
    if obj is None or not shiboken6.isValid(obj):
        raise ValueError(f"Trying to {purpose} on a destroyed {type(wrapper).__name__} object")
    return obj


def _replacement(cls: type, name: str) -> Replacement | None:
    for base in cls.__mro__:
        found = replacements.get(base.__name__, {}).get(name)
        if found is not None:
            return found
    return None


class BoundMethod:
    """A Qt method or slot of one object, or a static function of a class (then `obj` is None)."""

    def __init__(self, name: str, function: Callable, owner: Any) -> None:
        self.__name__, self._function, self._owner = name, function, owner

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if keywords:
            raise TypeError(f"{self.__name__}() takes no keyword arguments")
        if isinstance(self._owner, InstanceWrapper):
            living(self._owner, f"call '{self.__name__}'")
        if getattr(self._function, "takes_wrapped", False):
            return self._function(*args)
        try:
            return wrap(self._function(*[unwrap(argument) for argument in args]))
        except TypeError as error:
            if isinstance(self._function, types.MethodType | types.FunctionType):
                raise
            raise ValueError(
                f"Could not find matching overload for given arguments: {args}\n{error}"
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundMethod) and (self._owner, self.__name__) == (
            other._owner,
            other.__name__,
        )

    def __hash__(self) -> int:
        return hash((id(self._owner), self.__name__))


def _wrapped_function(function: Callable, *first: Any) -> Callable:
    """A replacement, called with the script's own (wrapped) arguments."""

    def call(*args: Any) -> Any:
        return function(*first, *args)

    call.takes_wrapped = True
    return call


class ClassWrapper(type):
    """Class of the script's Qt classes; finds enums, static functions, unbound methods in PySide6."""

    _pyside: type

    def __getattr__(cls, name: str) -> Any:
        pyside = cls._pyside
        if pyside is None or not has_member(pyside, name):
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        replaced = _replacement(pyside, name)
        if replaced is not None:
            return BoundMethod(name, _wrapped_function(replaced), cls)
        attribute = getattr(pyside, name)
        if isinstance(attribute, enum.Enum):
            return EnumValue(attribute)
        if isinstance(attribute, int):
            return attribute
        if isinstance(attribute, type) or not callable(attribute):
            raise AttributeError(
                f"type object '{cls.__name__}' has no attribute '{name}' (scoped enums do not exist)"
            )
        return BoundMethod(name, attribute, cls)

    def __setattr__(cls, name: str, value: Any) -> None:
        if "_pyside" in cls.__dict__:
            raise AttributeError(f"'{name}' can not be set on the class {cls.__name__}")
        super().__setattr__(name, value)


class InstanceWrapper(metaclass=ClassWrapper):
    """One Qt object or value, as seen by a script."""

    _pyside: type = None

    def __init__(self, *args: Any) -> None:
        cls = type(self)
        pyside = cls._pyside
        subclassed = "_pyside" not in cls.__dict__
        if subclassed:
            pyside = _with_overrides(cls)
        try:
            obj = pyside(*[unwrap(argument) for argument in args])
        except (TypeError, NotImplementedError) as error:
            raise ValueError(
                f"Could not find matching overload for given arguments: {args}\n{error}"
            ) from error
        object.__setattr__(self, "_obj", obj)
        if isinstance(obj, QtCore.QObject):
            _wrappers[shiboken6.getCppPointer(obj)[0]] = self
        if subclassed:
            obj._facade = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        obj = living(self, f"read '{name}'")
        known, value = read_property(obj, name)
        if known:
            return wrap(value)
        own = own_methods.get(name)
        if own is not None and isinstance(obj, QtCore.QObject):
            return BoundMethod(name, _wrapped_function(own, self), self)
        member = "exec" if name == "exec_" else name
        if has_member(type(obj), member):
            return self._member(obj, member)
        if name in ("className", "inherits", "delete"):
            return BoundMethod(name, _wrapped_function(own_methods[name], self), self)
        if isinstance(obj, QtCore.QObject):
            for child in obj.children():
                if child.objectName() == name:
                    return wrap(child)
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def _member(self, obj: Any, name: str) -> Any:
        replaced = _replacement(type(obj), name)
        if replaced is not None:
            return BoundMethod(name, _wrapped_function(replaced, self), self)
        for special in special_members:
            found = special(self, obj, name)
            if found is not None:
                return found
        attribute = getattr(obj, name)
        if isinstance(attribute, enum.Enum):
            return EnumValue(attribute)
        if isinstance(attribute, type) or not callable(attribute):
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        return BoundMethod(name, attribute, self)

    def __setattr__(self, name: str, value: Any) -> None:
        obj = self.__dict__.get("_obj")
        kind = type(self).__name__
        if obj is None:  # a Python subclass before it has called the constructor of its base
            object.__setattr__(self, name, value)
            return
        if not shiboken6.isValid(obj):
            raise AttributeError(f"Trying to set property '{name}' on a destroyed {kind} object")
        plain = value if isinstance(value, int | float | str | os.PathLike) else unwrap(value)
        if write_property(kind, obj, name, plain):
            return
        if has_member(type(obj), name) or name in own_methods:
            raise AttributeError(f"Slot or signal '{name}' can not be overwritten on {kind} object")
        if "_pyside" not in type(self).__dict__:
            object.__setattr__(self, name, value)
            return
        raise AttributeError(
            f"'{name}' does not exist on {kind} and creating new attributes on C++ objects is not allowed"
        )

    def __bool__(self) -> bool:
        obj = self.__dict__.get("_obj")
        return obj is not None and shiboken6.isValid(obj)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InstanceWrapper):
            return NotImplemented
        mine, theirs = self.__dict__.get("_obj"), other.__dict__.get("_obj")
        if isinstance(mine, QtCore.QObject) or isinstance(theirs, QtCore.QObject):
            return self is other
        return type(mine) is type(theirs) and mine == theirs

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        obj = self.__dict__.get("_obj")
        if isinstance(obj, QtCore.QObject) and shiboken6.isValid(obj):
            return f"{type(self).__name__} ({type(obj).__name__} at: {shiboken6.getCppPointer(obj)[0]:#x})"
        return f"{type(self).__name__} ({obj!r})"


def _with_overrides(cls: ClassWrapper) -> type:
    """A PySide6 subclass whose virtual functions call those that the script's Python subclass defines."""
    if cls not in _classes:
        base = cls._pyside
        overrides = {}
        for name in dir(cls):
            defining = next(c for c in cls.__mro__ if name in c.__dict__)
            own = isinstance(defining, ClassWrapper) and "_pyside" not in defining.__dict__
            if own and not name.startswith("__") and callable(getattr(base, name, None)):
                overrides[name] = _override(name)
        _classes[cls] = type(base)(cls.__name__, (base,), overrides)
    return _classes[cls]


def _override(name: str) -> Callable:
    def call(self: Any, *args: Any) -> Any:
        facade = getattr(self, "_facade", None)
        if facade is None:  # Qt calls virtual functions while the object is still being made
            return getattr(super(type(self), self), name)(*args)
        return unwrap(getattr(facade, name)(*[wrap(argument) for argument in args]))

    return call


def _descendants(parent: Any) -> list[Any]:
    children = parent.children()
    return list(children) + [found for child in children for found in _descendants(child)]


def _find_children(
    wrapper: InstanceWrapper, kind: Any, name: str | None = None
) -> tuple[InstanceWrapper, ...]:
    """Descendants of a class (or class name) and, if given, an object name."""
    wanted = (
        kind
        if isinstance(kind, str)
        else type(kind).__name__
        if isinstance(kind, InstanceWrapper)
        else kind.__name__
    )
    found = [
        child for child in _descendants(living(wrapper, "call 'findChildren'")) if inherits(child, wanted)
    ]
    return tuple(wrap(child) for child in found if name is None or child.objectName() == name)


def inherits(obj: Any, class_name: str) -> bool:
    """Whether a PySide6 object is of a class with this (C++) name."""
    return any(base.__name__ == class_name for base in type(obj).__mro__)


def _find_child(wrapper: InstanceWrapper, kind: Any, name: str | None = None) -> InstanceWrapper | None:
    return next(iter(_find_children(wrapper, kind, name)), None)


own_methods: dict[str, Replacement] = {
    "findChild": _find_child,
    "findChildren": _find_children,
    "className": lambda wrapper: type(wrapper).__name__,
    "inherits": lambda wrapper, name: inherits(wrapper._obj, name),
    "delete": lambda wrapper: shiboken6.delete(wrapper._obj),
}
