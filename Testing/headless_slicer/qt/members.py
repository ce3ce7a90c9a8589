"""Which members of a PySide6 class scripts see: all of Qt's; of a stand-in what the C++ class would show."""

from __future__ import annotations

import enum
from collections.abc import Callable

from PySide6 import QtCore


def invokable(function: Callable) -> Callable:
    """Mark a stand-in's method as a slot or Q_INVOKABLE, i.e. visible to a script."""
    function.is_invokable = True
    return function


def is_own(cls: type) -> bool:
    """Whether a class of an object's MRO is Python's (a stand-in), not Qt's."""
    return not cls.__module__.startswith(("PySide6", "Shiboken", "shiboken6")) and cls is not object


def has_member(cls: type, name: str) -> bool:
    """Whether scripts see `name` on this PySide6 class: all of Qt's, of a stand-in what it declares."""
    if name.startswith("_"):
        return False
    for base in cls.__mro__:
        if name in base.__dict__:
            attribute = base.__dict__[name]
            if not is_own(base) or getattr(attribute, "is_invokable", False):
                return base is not object
            if isinstance(attribute, int) or (
                isinstance(attribute, QtCore.Signal) and name not in cpp_signals(cls).values()
            ):
                return True  # an enum value of a stand-in, or a signal under its own name
    if isinstance(
        getattr(cls, name, None), enum.Enum
    ):  # unscoped: PySide6 finds it, but in no class's __dict__
        return True
    return any(name == known.split("(")[0] for known in cpp_signals(cls))


def cpp_signals(cls: type) -> dict[str, str]:
    """C++ signature → attribute, for a stand-in's signals whose arguments PySide6 cannot name (nodes)."""
    return {
        key: name
        for base in reversed(cls.__mro__)
        for key, name in base.__dict__.get("CPP_SIGNALS", {}).items()
    }
