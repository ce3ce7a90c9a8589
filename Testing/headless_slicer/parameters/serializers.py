"""How `slicer.parameterNodeWrapper` keeps single values in a vtkMRMLScriptedModuleNode.

The layout in the node is Slicer's, so a scene saved by one is read by the other: text parameters, and node
references under the parameter's name. Lists, tuples, dictionaries and unions: serializer_containers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from slicer.util import NodeModify

from .validators import FloatRange, IsInstance, NotNone, Validator


class Serializer:
    """Reads and writes one type. `validators` run before each write; `cached`: reads may return the same
    object.
    """

    cached = True

    def __init__(self, validators: Iterable[Validator] = ()) -> None:
        self.validators = list(validators)

    def validate(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)

    def store(self, node: Any, name: str, value: Any) -> None:
        """Validates, then writes; the only way values get into the node."""
        self.validate(value)
        with NodeModify(node):
            self.write(node, name, value)

    def default(self) -> Any:
        raise NotImplementedError

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        raise NotImplementedError

    def read(self, node: Any, name: str) -> Any:
        raise NotImplementedError

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)

    def accepts(self, value: Any) -> bool:
        try:
            self.validate(value)
        except (TypeError, ValueError):
            return False
        return True


class Text(Serializer):
    """A value that is one text parameter: `to_text` and `from_text` convert."""

    def __init__(
        self,
        types: type | tuple[type, ...],
        default: Any,
        to_text: Callable[[Any], str],
        from_text: Callable[[str], Any],
    ) -> None:
        super().__init__([NotNone(), IsInstance(types)])
        self._default, self._to_text, self._from_text = default, to_text, from_text

    def default(self) -> Any:
        return self._default

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, self._to_text(value))

    def read(self, node: Any, name: str) -> Any:
        return self._from_text(node.GetParameter(name))


class NoValue(Serializer):
    """None, as one alternative of a union."""

    def default(self) -> None:
        return None

    def validate(self, value: Any) -> None:
        if value is not None:
            raise ValueError("Value must be None")

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "True")

    def read(self, node: Any, name: str) -> None:
        return None


class Node(Serializer):
    """A MRML node: a node reference, plus an empty text parameter that says that the value (maybe None) was
    set.
    """

    def __init__(self, node_class: type) -> None:
        super().__init__([IsInstance(node_class)])

    def default(self) -> None:
        return None

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        super().remove(node, name)
        node.RemoveNodeReferenceIDs(name)


class Range(Serializer):
    def __init__(self) -> None:
        super().__init__([NotNone(), IsInstance(FloatRange)])

    def default(self) -> FloatRange:
        return FloatRange(0.0, 1.0)

    def is_in(self, node: Any, name: str) -> bool:
        return super().is_in(node, f"{name}._minimum")

    def write(self, node: Any, name: str, value: FloatRange) -> None:
        node.SetParameter(f"{name}._minimum", str(value.minimum))
        node.SetParameter(f"{name}._maximum", str(value.maximum))

    def read(self, node: Any, name: str) -> FloatRange:
        return FloatRange(
            float(node.GetParameter(f"{name}._minimum")), float(node.GetParameter(f"{name}._maximum"))
        )

    def remove(self, node: Any, name: str) -> None:
        for part in ("_minimum", "_maximum"):
            super().remove(node, f"{name}.{part}")
