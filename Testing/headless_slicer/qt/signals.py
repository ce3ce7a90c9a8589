"""Signals as PythonQt connects them: by signature text or as attribute, arguments cut to what the function
takes.

Stricter than PythonQt: connecting to a signal that does not exist raises ValueError; PythonQt prints the
same words as a warning and returns False, which a test would not notice. As in PythonQt, an exception in a
connected function is printed and goes no further (see `wrapper.guarded`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from .members import cpp_signals
from .wrapper import InstanceWrapper, guarded, living, own_methods, special_members, unwrap

_connections: dict[int, list[tuple[str, Any, Callable]]] = {}  # address → (signature, function, Qt handler)
_known: dict[tuple[type, str, int], dict[str, None]] = {}  # signatures in order of declaration


def _signatures(obj: QtCore.QObject) -> dict[str, None]:
    """All signals of an object: a stand-in's declared ones first, then those of the Qt meta-object.

    Read once for every class: a tenth of a second of every panel would go by in nothing else.
    """
    meta = obj.metaObject()
    key = type(obj), meta.className(), meta.methodCount()  # connecting may add methods to an object's own
    if key not in _known:
        methods = [meta.method(index) for index in range(meta.methodCount())]
        signals = [m for m in methods if m.methodType() == QtCore.QMetaMethod.MethodType.Signal]
        texts = [m.methodSignature().data().decode() for m in signals]
        _known[key] = dict.fromkeys([*cpp_signals(type(obj)), *(t for t in texts if "PyObject" not in t)])
    return _known[key]


def signature_of(obj: Any, name: str) -> str | None:
    """The signature that `obj.name` stands for, the first declared of several; None if it is no signal."""
    if not isinstance(obj, QtCore.QObject):
        return None
    return next((signature for signature in _signatures(obj) if signature.split("(")[0] == name), None)


def _checked(wrapper: InstanceWrapper, text: str, call: str) -> str:
    signature = QtCore.QMetaObject.normalizedSignature(text.lstrip("2")).data().decode()
    if signature not in _signatures(living(wrapper, call)):
        raise ValueError(
            f"PythonQt: QObject::{call}() signal '{text}' does not exist on {type(wrapper).__name__}"
        )
    return signature


def connect(wrapper: InstanceWrapper, signal: str, target: Any, slot: str | None = None) -> bool:
    """`obj.connect("clicked(bool)", function)` or `obj.connect("clicked()", receiver, "close()")`."""
    signature = _checked(wrapper, signal, "connect")
    if slot is not None:
        target = slot_of(target, slot)
    return _attach(wrapper, signature, target)


def disconnect(wrapper: InstanceWrapper, signal: str, target: Any = None, slot: str | None = None) -> bool:
    """The reverse of `connect`; without a function all of the script's connections to the signal."""
    signature = _checked(wrapper, signal, "disconnect")
    if slot is not None:
        target = slot_of(target, slot)
    return _detach(wrapper, signature, target)


def slot_of(receiver: InstanceWrapper, slot: str) -> Callable:
    """A receiver's slot by its signature text, taking exactly the arguments that the text names."""
    name, arguments = slot.lstrip("1").rstrip(")").split("(")
    count = len(arguments.split(",")) if arguments else 0
    try:
        function = getattr(receiver, name)
    except AttributeError as error:
        raise ValueError(f"QObject::connect: No such slot {type(receiver).__name__}::{slot}") from error

    class Slot:
        def __call__(self, *args: Any) -> Any:
            return function(*args[:count])

        def __eq__(self, other: object) -> bool:
            return getattr(other, "key", None) == self.key

        __hash__ = None
        key = (receiver, slot)

    return Slot()


def _attach(wrapper: InstanceWrapper, signature: str, target: Any) -> bool:
    if not callable(target):
        raise ValueError(f"connect() needs a callable, not {type(target).__name__}")
    obj = living(wrapper, "connect")
    address = shiboken6.getCppPointer(obj)[0]
    handler = guarded(target)
    if address not in _connections:
        _connections[address] = []
        obj.destroyed.connect(lambda *_: _connections.pop(address, None))
    _connections[address].append((signature, target, handler))
    attribute = cpp_signals(type(obj)).get(signature)
    if attribute is not None:
        getattr(obj, attribute).connect(handler)
        return True
    return bool(QtCore.QObject.connect(obj, QtCore.SIGNAL(signature), handler))


def _detach(wrapper: InstanceWrapper, signature: str, target: Any) -> bool:
    obj = living(wrapper, "disconnect")
    kept = _connections.get(shiboken6.getCppPointer(obj)[0], [])
    found = [entry for entry in kept if entry[0] == signature and (target is None or entry[1] == target)]
    for entry in found if target is None else found[:1]:
        kept.remove(entry)
        attribute = cpp_signals(type(obj)).get(signature)
        if attribute is not None:
            getattr(obj, attribute).disconnect(entry[2])
        else:
            QtCore.QObject.disconnect(obj, QtCore.SIGNAL(signature), entry[2])
    return bool(found)


class SignalFunction:
    """`button.clicked`: connect, disconnect, emit; calling it emits, as in PythonQt."""

    def __init__(self, wrapper: InstanceWrapper, signature: str) -> None:
        self._wrapper, self._signature = wrapper, signature

    def connect(self, target: Any) -> bool:
        return _attach(self._wrapper, self._signature, target)

    def disconnect(self, target: Any = None) -> bool:
        return _detach(self._wrapper, self._signature, target)

    def emit(self, *args: Any) -> None:
        obj = living(self._wrapper, "emit")
        attribute = cpp_signals(type(obj)).get(self._signature, self._signature.split("(")[0])
        getattr(obj, attribute).emit(*[unwrap(argument) for argument in args])

    __call__ = emit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SignalFunction) and (self._wrapper, self._signature) == (
            other._wrapper,
            other._signature,
        )

    def __hash__(self) -> int:
        return hash((id(self._wrapper), self._signature))


def _signal_function(wrapper: InstanceWrapper, obj: Any, name: str) -> SignalFunction | None:
    signature = signature_of(obj, name)
    return None if signature is None else SignalFunction(wrapper, signature)


own_methods |= {"connect": connect, "disconnect": disconnect}
special_members.append(_signal_function)
