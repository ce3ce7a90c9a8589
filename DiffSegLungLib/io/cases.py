"""The CT of a cohort: which files and folders are cases, and what each one is called."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import InputError
from .dicom_headers import headers, is_dicom_file
from .image_file import FORMATS, is_volume_file
from .own_files import CARD, OUTPUT_FILES, SAMPLE

_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]')
"""What some file system or program does not take, undecodable bytes of a name included."""

_FORMULA = ("=", "+", "-", "@")
"""A spreadsheet would run a name that begins so, and a command would take ``-o`` for an option."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|summary\.csv)(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices, and the one that the batch itself writes."""

_LONGEST = 120
"""Bytes of a name; file systems take 255, of which the hidden folder of a run needs some."""

_NEVER_A_CT = (".seg.nrrd", ".seg.nhdr")
_SYSTEM = ("lost+found", "System Volume Information", "$RECYCLE.BIN")


@dataclass(frozen=True)
class Case:
    """One CT of a cohort.

    Attributes:
        name: unique in the cohort, fit for a folder's name; made of file and folder names, never of tags.
        path: a file, or a folder of DICOM files.
    """

    name: str
    path: Path


def find_cases(
    sources: Sequence[Path], *, leave_out: Path | None = None, going_on: Callable[[], None] = lambda: None
) -> list[Case]:
    """Every CT at or below the sources, in a stable order.

    A folder is searched: each NIfTI, NRRD or MetaImage file is a case, and so is each folder with DICOM CT in
    it, with all that lies below. Hidden files, segmentations, results and the samples of ``generate`` are
    passed over. A file that is named itself is always a case, and so is a folder that cannot be read: its run
    will say so.

    Args:
        sources: files and folders.
        leave_out: a folder below a source that is not searched, such as that of the results.
        going_on: called for every folder; may raise to stop.

    Raises:
        InputError: a source does not exist, or there is no case at all.
    """
    found: dict[Path, tuple[Path, PurePosixPath]] = {}
    for source in sources:
        if not source.exists():
            raise InputError("no-such-file", f"There is nothing named {source.name}.", "Check the path.")
        root = source.absolute()
        inside = [root] if root.is_file() else _search(root, leave_out, going_on)
        for path in inside:
            found.setdefault(path, (root, PurePosixPath(path.relative_to(root).as_posix())))
    if not found:
        raise InputError(
            "no-cases",
            f"There is no CT in {', '.join(s.name or str(s) for s in sources)}.",
            "Give NIfTI, NRRD or MetaImage files, or folders of DICOM files.",
        )
    names = _names([(root, below, path) for path, (root, below) in found.items()])
    return [Case(name, path) for name, path in zip(names, found, strict=True)]


def _search(root: Path, leave_out: Path | None, going_on: Callable[[], None]) -> list[Path]:
    """Cases below a folder, sorted by their path."""
    cases: list[Path] = []
    left_out = None if leave_out is None else leave_out.resolve()

    def unreadable(error: OSError) -> None:
        cases.append(Path(error.filename))

    for folder, below, files in os.walk(root, onerror=unreadable):
        going_on()
        place = Path(folder)
        if place != root and place.resolve() == left_out:
            below.clear()
            continue
        made = _made_here(files)
        seen = [name for name in files if not name.startswith(".") and name not in made]
        cases += [place / name for name in seen if _may_be_ct(name)]
        if _holds_dicom_ct(place, seen):
            cases.append(place)
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in _SYSTEM)
    return sorted(cases)


def _may_be_ct(name: str) -> bool:
    return is_volume_file(Path(name)) and not name.lower().endswith(_NEVER_A_CT)


def _made_here(files: Sequence[str]) -> Iterable[str]:
    """Those files of a folder that are results, or samples: synthetic CT are nobody's."""
    if {"result.json", "labels.nii.gz"} <= set(files):
        return OUTPUT_FILES
    return [name for name in files if SAMPLE.fullmatch(name)] if CARD in files else ()


def _holds_dicom_ct(folder: Path, files: Iterable[str]) -> bool:
    """Whether any file right in the folder is a DICOM CT slice."""
    names = (name for name in files if not is_volume_file(Path(name)) and name.upper() != "DICOMDIR")
    try:
        if not any(is_dicom_file(folder / name) for name in names if (folder / name).is_file()):
            return False
        return any(one.modality == "CT" for one in headers(folder, deep=False))
    except (InputError, OSError):
        return True  # reading it as a case will say what is wrong


def _names(places: Sequence[tuple[Path, PurePosixPath, Path]]) -> list[str]:
    """A name for each (source, path below it, path): the path joined, and more where that is not unique.

    A name depends on its own path alone wherever that tells it apart, so that a cohort which grows keeps its
    names.
    """
    spelled: list[Callable[[Path, PurePosixPath, Path], str]] = [
        lambda root, below, path: _joined(below, path) or _joined(PurePosixPath(root.name), path),
        lambda root, below, path: _joined(PurePosixPath(root.name) / below, path),
        lambda root, below, path: _safe("_".join((root.name, *below.parts))),
    ]
    names = [spelled[0](*place) for place in places]
    for spell in spelled[1:]:
        count = Counter(name.casefold() for name in names)
        names = [
            spell(*place) if count[name.casefold()] > 1 else name
            for name, place in zip(names, places, strict=True)
        ]
    taken: set[str] = set()
    for position, name in enumerate(names):
        unique, number = name, 2
        while unique.casefold() in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique.casefold())
        names[position] = unique
    return names


def _joined(below: PurePosixPath, path: Path) -> str:
    """The parts of a path in one name, without a volume file's suffix."""
    name = "_".join(below.parts)
    if not path.is_dir():
        for suffix in sorted(FORMATS, key=len, reverse=True):
            if name.lower().endswith(suffix):
                name = name[: -len(suffix)]
                break
    return _safe(name) if name else ""


def _safe(name: str) -> str:
    """What every file system takes as a folder's name, and does not hide."""
    safe = _FORBIDDEN.sub("_", name).strip(". ") or "case"
    if safe.startswith(_FORMULA) or _RESERVED.match(safe):
        safe = f"_{safe}"
    if len(safe.encode()) > _LONGEST:
        digest = hashlib.sha256(safe.encode()).hexdigest()[:8]
        safe = f"{safe.encode()[: _LONGEST - 9].decode(errors='ignore')}_{digest}"
    return safe
