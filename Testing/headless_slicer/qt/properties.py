"""Qt properties, static and dynamic, read and written by name as PythonQt does."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore

from .values import converted


def read_property(obj: Any, name: str) -> tuple[bool, Any]:
    """(whether there is such a static or dynamic property, its PySide6 value)."""
    if not isinstance(obj, QtCore.QObject):
        return False, None
    meta = _meta_property(obj, name)
    if meta is None:
        dynamic = name.encode() in [bytes(key) for key in obj.dynamicPropertyNames()]
        return dynamic, obj.property(name) if dynamic else None
    return True, _enum_value(obj, meta.name()) if meta.isEnumType() else meta.read(obj)


def write_property(kind: str, obj: Any, name: str, value: Any) -> bool:
    """Set a property of an object of the class called `kind`; False if there is no such property.

    Raises AttributeError in PythonQt's words if the property is read-only or does not take the value.
    """
    if not isinstance(obj, QtCore.QObject):
        return False
    meta = _meta_property(obj, name)
    if meta is None:
        known = name.encode() in [bytes(key) for key in obj.dynamicPropertyNames()]
        if known:
            obj.setProperty(name, value)
        return known
    if not meta.isWritable():
        raise AttributeError(f"Property '{name}' of {kind} object is not writable")
    try:
        if meta.isEnumType():
            setter = getattr(obj, f"set{_capital(meta.name())}")
            setter(type(_enum_value(obj, meta.name()))(int(value)))
            accepted = True
        else:
            accepted = meta.write(obj, converted(value, meta.typeName()))
    except (TypeError, ValueError, RuntimeError):
        accepted = False
    if not accepted:
        raise AttributeError(
            f"Property '{name}' of type '{meta.typeName()}' does not accept an object of type "
            f"{type(value).__name__} ({value!r})"
        )
    return True


def _meta_property(obj: QtCore.QObject, name: str) -> QtCore.QMetaProperty | None:
    meta = obj.metaObject()
    index = meta.indexOfProperty(name)
    if index < 0 and name == "name":  # PythonQt's short form
        index = meta.indexOfProperty("objectName")
    return meta.property(index) if index >= 0 else None


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _enum_value(obj: QtCore.QObject, name: str) -> Any:
    """An enum property by its getter: PySide6 has no converter from the meta-object's value."""
    getters = (name, f"is{_capital(name)}", f"has{_capital(name)}")
    return next(getattr(obj, method) for method in getters if hasattr(obj, method))()
