"""`slicer.parameterNodeWrapper.parameterPack`: a typed group of parameters, such as the settings of one step.

A pack that was read from a parameter node writes each change back to the node; a pack made by its constructor
is a plain value. As in Slicer, the pack read is the same one until its node is modified; one read before that
does not follow.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slicer.util import NodeModify

from .serializer_types import serializer_for, split_type
from .serializers import Serializer
from .validators import IsInstance, NotNone, split_annotations


@dataclass(frozen=True)
class ParameterInfo:
    """One member: its name, its serializer, a function that makes its default, the type as written."""

    basename: str
    serializer: Serializer
    make_default: Callable[[], Any]
    unalteredType: Any


def members_of(class_: type) -> dict[str, ParameterInfo]:
    """The typed members of a class body, each with its serializer and default. Raises TypeError or
    ValueError.
    """
    members = {}
    for name, annotated in typing.get_type_hints(class_, include_extras=True).items():
        serializer = serializer_for(annotated)
        _, annotation_default, _ = split_annotations(split_type(annotated)[1])
        if hasattr(class_, name):
            make_default = _constant(getattr(class_, name))
        elif annotation_default is not None:
            make_default = _generator(annotation_default)
        else:
            make_default = serializer.default
        members[name] = ParameterInfo(name, serializer, make_default, annotated)
    return members


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _generator(default: Any) -> Callable[[], Any]:
    return lambda: default.value


class PackSerializer(Serializer):
    """Keeps a pack as `name.member`, one entry per member."""

    def __init__(self, pack: type) -> None:
        super().__init__([NotNone(), IsInstance(pack)])
        self._pack = pack

    @property
    def cached(self) -> bool:
        """A pack is kept until its node is modified, where all its members can be kept."""
        return all(info.serializer.cached for info in self._members().values())

    def default(self) -> Any:
        return self._pack()

    def _members(self) -> dict[str, ParameterInfo]:
        return self._pack.allParameters  # type: ignore[attr-defined]

    def is_in(self, node: Any, name: str) -> bool:
        first = next(iter(self._members().values()))
        return first.serializer.is_in(node, f"{name}.{first.basename}")

    def write(self, node: Any, name: str, value: Any) -> None:
        with NodeModify(node):  # one change: nobody reads a pack that is half written
            for member, info in self._members().items():
                info.serializer.store(node, f"{name}.{member}", getattr(value, member))

    def read(self, node: Any, name: str) -> Any:
        pack = self._pack.__new__(self._pack)
        object.__setattr__(pack, "_values", self._values(node, name))
        object.__setattr__(pack, "_write_back", lambda changed: self._save(node, name, changed))
        return pack

    def _values(self, node: Any, name: str) -> dict[str, Any]:
        return {m: info.serializer.read(node, f"{name}.{m}") for m, info in self._members().items()}

    def _save(self, node: Any, name: str, pack: Any) -> None:
        self.store(node, name, pack)
        # Read back, so that a list or a pack that was just put in is one that writes itself back, too.
        object.__setattr__(pack, "_values", self._values(node, name))

    def remove(self, node: Any, name: str) -> None:
        for member, info in self._members().items():
            info.serializer.remove(node, f"{name}.{member}")


def parameterPack(class_: type | None = None) -> Any:
    """Class decorator: members become validated properties; the constructor takes them by order or name."""
    return _make_pack if class_ is None else _make_pack(class_)


def isParameterPack(obj: Any) -> bool:
    return hasattr(obj, "pack_serializer")


def _make_pack(class_: Any) -> Any:
    members = members_of(class_)
    if not members:
        raise ValueError("Unable to find any members in parameterPack")
    for name, info in members.items():
        try:
            info.serializer.validate(info.make_default())
        except (TypeError, ValueError) as error:
            raise ValueError(f"The default of '{name}' fails the validation checks: {error}") from error
        setattr(class_, name, _member_property(name))
    given_init = class_.__dict__.get("__init__")

    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "_write_back", None)
        object.__setattr__(self, "_values", {name: info.make_default() for name, info in members.items()})
        if given_init is not None:
            given_init(self, *args, **kwargs)
        else:
            _assign(self, list(members), args, kwargs)

    class_.__init__ = initialise
    class_.__setattr__ = _no_new_attributes
    class_.allParameters = members
    class_.pack_serializer = classmethod(PackSerializer)
    class_.getValue = _get_value
    class_.setValue = _set_value
    class_.dataType = staticmethod(lambda name: data_type(class_, name))
    class_.__hash__ = None
    for method, function in {"__eq__": _equal, "__str__": _text, "__repr__": _text}.items():
        if method not in class_.__dict__:
            setattr(class_, method, function)
    return class_


def _member_property(name: str) -> property:
    def read(self: Any) -> Any:
        return self._values[name]

    def write(self: Any, value: Any) -> None:
        self.allParameters[name].serializer.validate(value)
        self._values[name] = value
        if self._write_back is not None:
            self._write_back(self)

    return property(read, write)


def _assign(pack: Any, names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if len(args) > len(names):
        raise TypeError(f"__init__() takes at most {len(names)} arguments ({len(args)} given)")
    given = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise TypeError(f"__init__() got an unexpected keyword argument '{name}'")
        if name in given:
            raise TypeError(f"__init__() got multiple values for argument '{name}'")
        given[name] = value
    for name, value in given.items():
        setattr(pack, name, value)


def _no_new_attributes(self: Any, name: str, value: Any) -> None:
    if self.__dict__.get("_write_back") is not None and not hasattr(self, name):
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}' and takes no new ones")
    object.__setattr__(self, name, value)


def _equal(self: Any, other: Any) -> bool:
    return type(self) is type(other) and self._values == other._values


def _text(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


def _get_value(self: Any, name: str) -> Any:
    top, _, rest = name.partition(".")
    _check_member(type(self), top)
    return getattr(self, top).getValue(rest) if rest else getattr(self, top)


def _set_value(self: Any, name: str, value: Any) -> None:
    top, _, rest = name.partition(".")
    _check_member(type(self), top)
    if not rest:
        setattr(self, top, value)
        return
    inner = getattr(self, top)
    inner.setValue(rest, value)
    if self._write_back is not None:
        self._write_back(self)


def _check_member(class_: Any, name: str) -> None:
    if name not in class_.allParameters:
        raise ValueError(f"{class_.__name__} has no member '{name}'; it has {list(class_.allParameters)}")


def data_type(class_: Any, name: str) -> Any:
    """The type hint of a (dotted) parameter name of a pack or wrapper class. Raises ValueError for a wrong
    name.
    """
    top, _, rest = name.partition(".")
    _check_member(class_, top)
    annotated = class_.allParameters[top].unalteredType
    if not rest:
        return annotated
    inner, _ = split_type(annotated)
    if not isParameterPack(inner):
        raise ValueError(f"{top} is not a parameter pack but is asked for '{rest}'")
    return data_type(inner, rest)
