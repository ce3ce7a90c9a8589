"""Small files of a training as they are: what is missing, half written or damaged counts as not there."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

Stamp = tuple[int, int]
"""Changes with a file: time in ns and size; (0, 0) where there is none."""


def stampOf(path: Path) -> Stamp:
    """The stamp of a file."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


def mappingOf(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    content = _content(path, stampOf(path))
    return content if isinstance(content, dict) else {}


def listOf(path: Path) -> list[Any]:
    """The list in a JSON file."""
    content = _content(path, stampOf(path))
    return content if isinstance(content, list) else []


def linesOf(path: Path) -> list[dict[str, Any]]:
    """The lines of a training's log that are whole, in order; all have a step."""
    return list(_lines(path, stampOf(path)))


def numbersOf(content: Any) -> dict[str, float]:
    """The finite numbers of an object, by name."""
    items = content.items() if isinstance(content, dict) else ()
    return {str(k): float(v) for k, v in items if isinstance(v, (int, float)) and math.isfinite(v)}


def wholeOf(value: Any) -> int:
    """A whole number, 0 where it is none."""
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0


@lru_cache(maxsize=256)
def _content(path: Path, _stamp: Stamp) -> Any:
    """A file's JSON; read anew only when it has changed."""
    try:
        return _parsed(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


@lru_cache(maxsize=256)
def _lines(path: Path, _stamp: Stamp) -> tuple[dict[str, Any], ...]:
    """A log's lines; read anew only when it has changed."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found = (_parsed(line) for line in lines)
    return tuple(e for e in found if isinstance(e, dict) and isinstance(e.get("step"), (int, float)))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
