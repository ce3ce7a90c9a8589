"""Two model cards side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MISSING = "not stated"
_FIRST = ("sha256", "architecture", "schedule", "patch", "training", "data", "population", "tissues")
_IN_THE_NAME = ("id", "version")
_SHORT_LIST = 4
_WIDEST_COLUMN = 30


@dataclass(frozen=True)
class Difference:
    """One entry in which two cards differ.

    Attributes:
        entry: where it stands on the card, such as ``training settings batch``.
        first: what the first card says there.
        second: what the second one says.
    """

    entry: str
    first: str
    second: str


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[list[Difference], list[str]]:
    """What two cards say differently, and which of their parts are the same.

    Returns:
        The differences: weights, architecture, training, data and population first; and the names of the
        card's parts that are equal.
    """
    known = [key for key in _FIRST if key in first or key in second]
    others = [key for key in dict.fromkeys((*first, *second)) if key not in (*_FIRST, *_IN_THE_NAME)]
    differences: list[Difference] = []
    same = []
    for key in (*known, *others):
        found = list(_differences(key, first.get(key), second.get(key)))
        differences += found
        same += [] if found else [_plain(key)]
    return differences, same


def comparison_text(names: tuple[str, str], differences: list[Difference], same: list[str]) -> str:
    """A comparison as text: short differences as a table, long ones below each other."""
    lines = []
    short = [d for d in differences if max(len(d.first), len(d.second)) <= _WIDEST_COLUMN]
    if short:
        rows = [Difference("", *names), *short]
        entry, column = (max(len(row.entry) for row in rows), max(len(row.first) for row in rows))
        lines += [f"{r.entry:<{entry}}  {r.first:<{column}}  {r.second}".rstrip() for r in rows]
    width = max(map(len, names)) + 1
    for difference in differences:
        if difference not in short:
            lines += ["", difference.entry]
            lines += [
                f"  {f'{name}:':<{width}} {text}"
                for name, text in zip(names, (difference.first, difference.second), strict=True)
            ]
    if same:
        lines += ["", f"the same: {', '.join(same)}"]
    return "\n".join(lines).strip("\n")


def _differences(entry: str, first: Any, second: Any) -> Iterator[Difference]:
    if isinstance(first, Mapping) or isinstance(second, Mapping):
        one, other = (part if isinstance(part, Mapping) else {} for part in (first, second))
        for key in dict.fromkeys((*one, *other)):
            yield from _differences(f"{entry} {key}", one.get(key), other.get(key))
    elif first != second:
        yield Difference(_plain(entry), _text(first, second), _text(second, first))


def _text(value: Any, other: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, list) and len(value) > _SHORT_LIST:
        shared = other if isinstance(other, list) else []
        own = sum(item not in shared for item in value)
        return f"{len(value)} entries, {own} only here"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def _plain(entry: str) -> str:
    return "weights (SHA-256)" if entry == "sha256" else entry.replace("_", " ")
