"""The plan of the house: which rooms there are, and that no room imports from a room above it.

This table is the one place where the plan stands. Lazy imports and those for types count like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LIBRARY = (
    "door",  # python -m DiffSegLungLib
    "commands",  # the command line, one file a command
    "evaluation/ablation",  # what each part of the method is worth
    "evaluation/fidelity",  # how far generated CT are from real ones
    "evaluation",  # suites, harness, metrics, tables
    "evaluation/rivals",  # the methods that DiffSegLung is compared with
    "evaluation/held_out",  # lesion families that only measure
    "training",  # trainings, fine-tuning, the population mixture
    "segmentation",  # a CT's way to labels; the pipeline
    "generation",  # CT drawn from the diffusion model
    "model",  # network, schedule, heads, mixture, bundle, library of models
    "grid",  # canonical grid, cells, tiles
    "anatomy",  # lungs, vessels, airways, cavities, regions
    "report",  # tables, page, pictures
    "running",  # session, child process, output folder
    "phantom",  # a generated chest
    "lesions",  # synthetic disease, family a
    "io",  # reading and writing images
    "radiomics",  # the teacher's 34 numbers
    "ground",  # what every room may use
)
"""Rooms of DiffSegLungLib, top floor first; its files in no room are the ground, but for the door."""

PANEL = ("door", "panes/training", "panes", "steps", "training", "scene", "work", "ground")
"""Rooms of DiffSegLungPanel, top floor first."""

HOST = ("door", "widgets", "qt", "parameters")
"""Rooms of the tests' headless Slicer, top floor first."""

_DOORS = {"__main__.py", "widget.py", "logic.py"}

HOUSES = {
    "DiffSegLungLib": (ROOT / "DiffSegLungLib", LIBRARY),
    "DiffSegLungPanel": (ROOT / "DiffSegLung" / "DiffSegLungPanel", PANEL),
    "headless_slicer": (ROOT / "Testing" / "headless_slicer", HOST),
}

houses = pytest.mark.parametrize("house", HOUSES)


def room_of(file: Path, home: Path, rooms: tuple[str, ...]) -> str:
    """The room of a file of a house."""
    folder = file.parent.relative_to(home).as_posix()
    if folder != ".":
        return folder
    return "ground" if "ground" in rooms and file.name not in _DOORS else "door"


def imports(home: Path) -> Iterator[tuple[Path, Path]]:
    """Every (importing file, imported file) of a house, wherever in its code the import stands."""
    for file in sorted(home.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    target = _target(file, home, node, alias.name)
                    if target is not None and target != file:
                        yield file, target


def _target(file: Path, home: Path, node: ast.ImportFrom, name: str) -> Path | None:
    """The file of the house that ``from ... import name`` names; None for other packages."""
    if node.level:
        base = file.parents[node.level - 1]
    elif (node.module or "").split(".")[0] == home.name:
        base = home.parent
    else:
        return None
    place = base.joinpath(*(node.module or "").split("."))
    candidates = (place / f"{name}.py", place / name / "__init__.py", place.with_suffix(".py"))
    return next((c for c in (*candidates, place / "__init__.py") if c.is_file()), None)


@houses
def test_every_folder_is_a_room_of_the_plan_and_every_room_is_there(house: str) -> None:
    home, rooms = HOUSES[house]
    seen = {room_of(file, home, rooms) for file in home.rglob("*.py")}
    assert seen == set(rooms)


@houses
def test_no_room_imports_from_a_room_above_it(house: str) -> None:
    home, rooms = HOUSES[house]
    floor = {room: number for number, room in enumerate(rooms)}
    upward = [
        f"{file.relative_to(home)} -> {target.relative_to(home)}"
        for file, target in imports(home)
        if floor[room_of(target, home, rooms)] < floor[room_of(file, home, rooms)]
    ]
    assert not upward


@houses
def test_no_file_imports_itself_round_a_circle(house: str) -> None:
    home, _ = HOUSES[house]
    below: dict[Path, set[Path]] = {}
    for file, target in imports(home):
        below.setdefault(file, set()).add(target)
    try:
        tuple(TopologicalSorter(below).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(str(f.relative_to(home)) for f in error.args[1])) from None


def test_the_library_knows_nothing_of_slicer() -> None:
    home, _ = HOUSES["DiffSegLungLib"]
    seen = set()
    for file in home.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            seen |= {name.split(".")[0] for name in names}
    assert not seen & {"slicer", "vtk", "qt", "ctk", "PySide6", "DiffSegLungPanel"}
