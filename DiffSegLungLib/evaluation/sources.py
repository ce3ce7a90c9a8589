"""Which code the numbers of a case depend on, so that only what a change touches is measured again."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_LIBRARY = Path(__file__).resolve().parents[1]

# Imported on the way, but only to show or to write down: a change there changes no number.
_SHOWING = (
    "commands/batch_summary.py",
    "report/charts.py",
    "report/page.py",
    "report/pictures.py",
    "report/png.py",
    "report/style.py",
    "running/output_folder.py",
)


def source_digest(start: str = "evaluation/suites.py") -> str:
    """SHA-256 of the code that a file of the library imports, directly or not; comments do not count.

    Args:
        start: path of the file in the library.
    """
    digest = hashlib.sha256()
    for path in sorted(imported(_LIBRARY / start)):
        name = path.relative_to(_LIBRARY).as_posix()
        if name not in _SHOWING:
            digest.update(f"{name} {ast.dump(_parsed(path))}".encode())
    return digest.hexdigest()


def imported(start: Path) -> set[Path]:
    """A file of a package and all files of the package that it imports relatively, anywhere in its code."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path)
    return found


def _imports(path: Path) -> list[Path]:
    files = []
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            home = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            # ``from .module import name`` and ``from . import module`` look alike.
            files += [home.with_suffix(".py"), home / "__init__.py"]
            files += [(home / alias.name).with_suffix(".py") for alias in node.names]
    return [file for file in files if file.is_file()]


def _parsed(path: Path) -> ast.Module:
    return _parse(path, path.stat().st_mtime_ns)


@cache
def _parse(path: Path, _modified_ns: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
