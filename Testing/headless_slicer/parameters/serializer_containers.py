"""How `slicer.parameterNodeWrapper` keeps lists, tuples, dictionaries and unions in a parameter node.

Names in the node are Slicer's: `name.len` and `name.0`… for lists, `name.0`… for tuples, and
`name.<alternative>` for unions. What is read from a list or dictionary writes itself back when it is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping, MutableSequence
from typing import Any

from .serializers import NoValue, Serializer


class Tuple(Serializer):
    def __init__(self, elements: list[Serializer]) -> None:
        super().__init__()
        self._elements = elements
        self.cached = all(element.cached for element in elements)

    def default(self) -> tuple[Any, ...]:
        return tuple(element.default() for element in self._elements)

    def is_in(self, node: Any, name: str) -> bool:
        return self._elements[0].is_in(node, f"{name}.0")

    def write(self, node: Any, name: str, value: Any) -> None:
        values = tuple(value)
        if len(values) != len(self._elements):
            raise ValueError(f"Expected {len(self._elements)} values, got {len(values)}")
        for index, (element, item) in enumerate(zip(self._elements, values, strict=True)):
            element.store(node, f"{name}.{index}", item)

    def read(self, node: Any, name: str) -> tuple[Any, ...]:
        return tuple(element.read(node, f"{name}.{index}") for index, element in enumerate(self._elements))

    def remove(self, node: Any, name: str) -> None:
        for index, element in enumerate(self._elements):
            element.remove(node, f"{name}.{index}")


class List(Serializer):
    def __init__(self, element: Serializer) -> None:
        super().__init__()
        self._element = element
        self.cached = element.cached

    def default(self) -> list[Any]:
        return []

    def is_in(self, node: Any, name: str) -> bool:
        return super().is_in(node, f"{name}.len")

    def write(self, node: Any, name: str, value: Iterable[Any]) -> None:
        items = list(value)
        for item in items:  # all are judged before the first is written: no half-written list
            self._element.validate(item)
        previous = self._length(node, name)
        for index, item in enumerate(items):
            self._element.store(node, f"{name}.{index}", item)
        for index in range(len(items), previous):
            self._element.remove(node, f"{name}.{index}")
        node.SetParameter(f"{name}.len", str(len(items)))

    def read(self, node: Any, name: str) -> BoundList:
        items = [self._element.read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return BoundList(items, lambda values: self.store(node, name, values))

    def remove(self, node: Any, name: str) -> None:
        for index in range(self._length(node, name)):
            self._element.remove(node, f"{name}.{index}")
        super().remove(node, f"{name}.len")

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.is_in(node, name) else 0


class Dict(Serializer):
    """A dictionary, kept as a list of (key, value) so that the order stays."""

    def __init__(self, key: Serializer, value: Serializer) -> None:
        super().__init__()
        self._pairs = List(Tuple([key, value]))
        self.cached = self._pairs.cached

    def default(self) -> dict[Any, Any]:
        return {}

    def is_in(self, node: Any, name: str) -> bool:
        return self._pairs.is_in(node, name)

    def write(self, node: Any, name: str, value: dict[Any, Any]) -> None:
        self._pairs.store(node, name, value.items())

    def read(self, node: Any, name: str) -> BoundDict:
        return BoundDict(dict(self._pairs.read(node, name)), lambda values: self.store(node, name, values))

    def remove(self, node: Any, name: str) -> None:
        self._pairs.remove(node, name)


class Union(Serializer):
    """The first alternative that takes the value; which one is part of the parameter's name in the node."""

    def __init__(self, alternatives: list[Serializer]) -> None:
        super().__init__()
        self._alternatives = alternatives
        self.cached = all(alternative.cached for alternative in alternatives)

    def default(self) -> Any:
        optional = len(self._alternatives) == 2 and isinstance(self._alternatives[1], NoValue)
        return None if optional else self._alternatives[0].default()

    def is_in(self, node: Any, name: str) -> bool:
        return any(choice.is_in(node, f"{name}.{index}") for index, choice in enumerate(self._alternatives))

    def write(self, node: Any, name: str, value: Any) -> None:
        taker = next(
            (index for index, choice in enumerate(self._alternatives) if choice.accepts(value)), None
        )
        if taker is None:
            raise TypeError(f"Unable to write value {value!r} of type {type(value)}")
        self.remove(node, name)
        self._alternatives[taker].store(node, f"{name}.{taker}", value)

    def read(self, node: Any, name: str) -> Any:
        for index, choice in enumerate(self._alternatives):
            if choice.is_in(node, f"{name}.{index}"):
                return choice.read(node, f"{name}.{index}")
        raise ValueError(f"Parameter {name} is not in the node")

    def remove(self, node: Any, name: str) -> None:
        for index, choice in enumerate(self._alternatives):
            choice.remove(node, f"{name}.{index}")


class BoundList(MutableSequence[Any]):
    """A list that writes itself back to its parameter node whenever it is changed."""

    def __init__(self, items: list[Any], save: Callable[[list[Any]], None]) -> None:
        self._items, self._save = items, save

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._change(lambda items: items.__setitem__(index, value))

    def __delitem__(self, index: Any) -> None:
        self._change(lambda items: items.__delitem__(index))

    def insert(self, index: int, value: Any) -> None:
        self._change(lambda items: items.insert(index, value))

    def __eq__(self, other: object) -> bool:
        return self._items == (other._items if isinstance(other, BoundList) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"BoundList({self._items})"

    def _change(self, change: Callable[[list[Any]], Any]) -> None:
        items = list(self._items)
        change(items)
        self._save(items)  # raises where a value is refused: then nothing changed
        self._items = items


class BoundDict(MutableMapping[Any, Any]):
    """A dictionary that writes itself back to its parameter node whenever it is changed."""

    def __init__(self, items: dict[Any, Any], save: Callable[[dict[Any, Any]], None]) -> None:
        self._items, self._save = items, save

    def __getitem__(self, key: Any) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __setitem__(self, key: Any, value: Any) -> None:
        items = {**self._items, key: value}
        self._save(items)
        self._items = items

    def __delitem__(self, key: Any) -> None:
        items = {name: value for name, value in self._items.items() if name != key}
        self._save(items)
        self._items = items

    def __eq__(self, other: object) -> bool:
        return self._items == (other._items if isinstance(other, BoundDict) else other)

    __hash__ = None  # type: ignore[assignment]
