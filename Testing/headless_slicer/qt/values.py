"""Values between PySide6 and a script written for PythonQt: enums as integers, property types."""

from __future__ import annotations

import enum
import numbers
from typing import Any


class EnumValue(int):
    """A Qt enum value or flag combination: an int, as in PythonQt, that still knows its PySide6 member."""

    member: enum.Enum

    def __new__(cls, member: enum.Enum) -> EnumValue:
        value = int.__new__(cls, member.value)
        value.member = member
        return value

    def _combined(self, other: int, operator: str) -> int:
        if not isinstance(self.member, enum.Flag):
            return getattr(int, operator)(self, int(other))
        kind = type(self.member)
        if isinstance(other, EnumValue) and not isinstance(other.member, kind):
            return getattr(int, operator)(self, int(other))
        return EnumValue(kind(getattr(int, operator)(self, int(other))))

    def __or__(self, other: int) -> int:
        return self._combined(other, "__or__")

    def __and__(self, other: int) -> int:
        return self._combined(other, "__and__")

    def __xor__(self, other: int) -> int:
        return self._combined(other, "__xor__")

    __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

    def __invert__(self) -> int:
        return EnumValue(~self.member) if isinstance(self.member, enum.Flag) else ~int(self)

    def __repr__(self) -> str:
        return f"{self.member.name or ''} ({int(self)})"

    __str__ = __repr__


_INTEGERS = ("int", "uint", "qlonglong", "qulonglong", "short", "ushort", "long", "ulong")


def converted(value: Any, type_name: str) -> Any:
    """`value` as a property of the C++ type `type_name` takes it.

    The rules are those of PythonQt's conversion to a typed QVariant (numbers among each other, anything
    printable to a string); stricter in one place: None and arbitrary objects are not printed into a string.

    Raises TypeError where PythonQt finds no conversion, e.g. a node or None for a bool.
    """
    if type_name == "QString":
        if isinstance(value, str | numbers.Real) or hasattr(value, "__fspath__"):
            return str(value)
    elif type_name == "bool":
        if isinstance(value, numbers.Real):
            return bool(value)
    elif type_name in _INTEGERS:
        if isinstance(value, numbers.Real):
            return int(value)
    elif type_name in ("double", "float"):
        if isinstance(value, numbers.Real):
            return float(value)
    elif type_name == "QStringList":
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return list(value)
    elif value is not None or type_name == "QVariant":
        return value
    raise TypeError(type_name)
