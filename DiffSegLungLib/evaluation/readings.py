"""Readings of real slices, square by square: the file ``regions/regions.json`` of a data folder.

``{"ct/FILE": {"SLICE": [[y0, y1, x0, x1, CODE, [READING, ...]], ...]}}``: FILE from the folder that holds
``regions/``; SLICE counts from 0 along the file's third axis; ``y0:y1, x0:x1`` are voxels of that slice as
numpy counts them after SimpleITK has read it; CODE is what the readers agreed on, READING what each one said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..classes import BY_ID, CAVITY, CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from ..errors import InputError

READINGS = Path("regions") / "regions.json"

CODES: dict[str, int] = {
    "H": HEALTHY,
    "E": EMPHYSEMA,
    "G": GROUND_GLASS,
    "F": FIBROSIS,
    "C": CONSOLIDATION,
    "K": CAVITY,
}
"""What is scored, and the class that it stands for."""

SICK = tuple(code for code in CODES if code != "H")

NOT_SCORED = ("V", "N", "U")
"""Large vessel or hilum; no lung; no agreement."""

_FORM = "See docs/command-line.md for the form of the file."
_FIELDS = 6


def describe_code(code: str) -> str:
    """A code with the tissue that it stands for, e.g. ``G ground glass``."""
    return f"{code} {BY_ID[CODES[code]].name.lower()}"


@dataclass(frozen=True)
class Square:
    """A square of a slice, and what was read in it.

    Attributes:
        rows: first voxel along y, and the one after the last.
        columns: the same along x.
        code: a key of :data:`CODES`, or one of :data:`NOT_SCORED`.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    code: str

    @property
    def where(self) -> tuple[slice, slice]:
        """The square's part of an array (y, x)."""
        return slice(*self.rows), slice(*self.columns)


@dataclass(frozen=True)
class ReadCT:
    """A CT of which slices were read.

    Attributes:
        volume: file or DICOM folder.
        slices: the squares of every slice that was read, by its number along the file's third axis.
    """

    volume: Path
    slices: Mapping[int, tuple[Square, ...]]

    def require_within(self, shape: tuple[int, ...]) -> None:
        """Refuse squares that the CT does not have.

        Args:
            shape: of the CT, (z, y, x).

        Raises:
            InputError: code ``bad-readings``.
        """
        for number, squares in self.slices.items():
            if number >= shape[0]:
                raise _bad(f"names slice {number} of {self.volume.name}, which has {shape[0]}")
            for square in squares:
                if square.rows[1] > shape[1] or square.columns[1] > shape[2]:
                    box = [*square.rows, *square.columns]
                    raise _bad(
                        f"has the square {box} in slice {number} of {self.volume.name}, whose slices have "
                        f"{shape[1]} x {shape[2]} voxels (y, x)"
                    )


def find_readings(sources: Sequence[Path]) -> list[ReadCT]:
    """The CT at or below the sources of which there are readings, in the order of their files.

    Readings lie in ``regions/regions.json`` in the source's folder or the one above.

    Args:
        sources: CT files, or folders.

    Raises:
        InputError: a source is missing; readings are not in the form, or name a CT that is missing.
    """
    found: dict[Path, ReadCT] = {}
    for source in (source.absolute() for source in sources):
        if not source.exists():
            raise InputError("no-such-file", f"There is nothing named {source.name}.", "Check the path.")
        folders = (source, source.parent) if source.is_dir() else (source.parent, source.parent.parent)
        for folder in folders:
            if (folder / READINGS).is_file():
                for read in _read(folder):
                    if read.volume.is_relative_to(source):
                        found.setdefault(read.volume, read)
                break
    return list(found.values())


def no_readings(sources: Sequence[Path]) -> InputError:
    """What a user reads who asks for readings where there are none."""
    names = ", ".join(source.name or str(source) for source in sources)
    hint = "Name with --data the folder that holds regions/regions.json and the CT. " + _FORM
    return InputError("no-readings", f"There are no readings of CT in {names} ({READINGS.as_posix()}).", hint)


def _read(folder: Path) -> Iterator[ReadCT]:
    try:
        text = (folder / READINGS).read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        raise _bad(f"cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise _bad("is no JSON") from error
    if not isinstance(content, dict) or not content:
        raise _bad("holds no mapping of CT to slices")
    for name, slices in content.items():
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or name != place.as_posix():
            raise _bad(f"names {name!a:.80}, which is no plain path within the folder")
        volume = folder / name
        if not volume.exists():
            raise _bad(f"names {name}, which is not there")
        if not isinstance(slices, dict):
            raise _bad(f"gives no mapping of slices to squares for {name}")
        read = {_number(key, name): _squares(key, slices[key], name) for key in slices}
        if not any(read.values()):
            raise _bad(f"gives no square of {name}")
        yield ReadCT(volume, read)


def _number(key: str, name: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) < 10 and str(int(key)) == key):
        raise _bad(f"calls a slice of {name} {key!a:.80}, which is no plain number from 0")
    return int(key)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different: of two alike, one would be lost."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _bad(f"names {twice!a:.80} twice")
    return content


def _squares(key: str, squares: Any, name: str) -> tuple[Square, ...]:
    if not isinstance(squares, list):
        raise _bad(f"gives no list of squares for slice {key} of {name}")
    return tuple(_square(entry, f"in slice {key} of {name}") for entry in squares)


def _square(entry: Any, place: str) -> Square:
    whole = isinstance(entry, list) and len(entry) == _FIELDS and isinstance(entry[5], list)
    if not whole or not all(type(number) is int for number in entry[:4]):
        raise _bad(f"has a square {place} that is not [y0, y1, x0, x1, CODE, [READING, ...]]")
    y0, y1, x0, x1, code, _ = entry
    if not (0 <= y0 < y1 and 0 <= x0 < x1):
        raise _bad(f"has the empty or negative square {entry[:4]} {place}")
    if code not in (*CODES, *NOT_SCORED):
        raise _bad(f"has the unknown code {code!r} {place}; codes are {', '.join((*CODES, *NOT_SCORED))}")
    return Square((y0, y1), (x0, x1), code)


def _bad(seen: str) -> InputError:
    return InputError("bad-readings", f"The file {READINGS.as_posix()} {seen}.", _FORM)
