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
from .dicom_kinds import what_instead
from .image_file import ARCHIVES, FORMATS, is_volume_file
from .own_files import CARD, OUTPUT_FILES, RAW_FILES, SAMPLE

_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]')
"""What some file system or program does not take, undecodable bytes of a name included."""

_FORMULA = ("=", "+", "-", "@")
"""A spreadsheet would run a name that begins so, and a command would take ``-o`` for an option."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|summary\.csv)(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices, and the one that the batch itself writes."""

_LONGEST = 120
"""Bytes of a name; file systems take 255, of which the hidden folder of a run needs some."""

_MOST_REASONS = 10
_NEVER_A_CT = (".seg.nrrd", ".seg.nhdr")
_ARCHIVE = "It is a packed archive: unpack it to have the CT in it segmented."
_LINK = "It is a link to a folder, which is not followed: name that folder itself."
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


@dataclass(frozen=True)
class PassedOver:
    """A folder or an archive that is no case.

    Attributes:
        name: as of a case, unique among all.
        reason: one sentence.
    """

    name: str
    reason: str


def find_cases(
    sources: Sequence[Path], *, leave_out: Path | None = None, going_on: Callable[[], None] = lambda: None
) -> list[Case]:
    """Every CT at or below the sources; see :func:`search`."""
    return search(sources, leave_out=leave_out, going_on=going_on)[0]


def search(
    sources: Sequence[Path], *, leave_out: Path | None = None, going_on: Callable[[], None] = lambda: None
) -> tuple[list[Case], list[PassedOver]]:
    """Every CT at or below the sources, and every folder and archive that is none, in a stable order.

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
    passed: dict[Path, tuple[Path, PurePosixPath]] = {}
    reasons: dict[Path, str] = {}
    for source in sources:
        if not source.exists():
            raise InputError("no-such-file", f"There is nothing named {source.name}.", "Check the path.")
        root = source.absolute()
        inside, others = ([root], {}) if root.is_file() else _search(root, leave_out, going_on)
        for path in inside:
            found.setdefault(path, (root, PurePosixPath(path.relative_to(root).as_posix())))
        for path in sorted(others):
            passed.setdefault(path, (root, PurePosixPath(path.relative_to(root).as_posix())))
        reasons |= others
    passed = {path: place for path, place in passed.items() if path not in found}
    names = _names([(root, below, path) for path, (root, below) in found.items()], ())
    others_names = _names([(root, below, path) for path, (root, below) in passed.items()], names)
    left = [PassedOver(name, reasons[path]) for name, path in zip(others_names, passed, strict=True)]
    if not found:
        raise _no_cases(sources, left)
    return [Case(name, path) for name, path in zip(names, found, strict=True)], left


def _no_cases(sources: Sequence[Path], left: Sequence[PassedOver]) -> InputError:
    said = [f"{one.name}: {one.reason}" for one in left[:_MOST_REASONS]]
    if len(left) == 1 and [left[0].name] == [s.name for s in sources]:
        said = [left[0].reason]
    if len(left) > _MOST_REASONS:
        said.append(f"And {len(left) - _MOST_REASONS} more.")
    return InputError(
        "no-cases",
        " ".join([f"There is no CT in {', '.join(s.name or str(s) for s in sources)}.", *said]),
        "Give NIfTI, NRRD or MetaImage files, or folders of DICOM files.",
    )


def _search(
    root: Path, leave_out: Path | None, going_on: Callable[[], None]
) -> tuple[list[Path], dict[Path, str]]:
    """Cases below a folder, sorted by their path; and why other folders and archives are none."""
    cases: list[Path] = []
    others: dict[Path, str] = {}
    idle: dict[Path, str] = {}
    left_out = None if leave_out is None else leave_out.resolve()

    def unreadable(error: OSError) -> None:
        cases.append(Path(error.filename))

    for folder, below, files in os.walk(root, onerror=unreadable):
        going_on()
        place = Path(folder)
        if place != root and place.resolve() == left_out:
            below.clear()
            continue
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in _SYSTEM)
        made = _made_here(files)
        seen = [name for name in files if not name.startswith(".") and name not in made]
        cases += [place / name for name in seen if _may_be_ct(name)]
        packed = [n for n in seen if n.lower().endswith(ARCHIVES) and not is_volume_file(Path(n))]
        others |= {place / name: _ARCHIVE for name in packed}
        others |= {place / name: _LINK for name in below if (place / name).is_symlink()}
        instead = _instead_of_ct(place)
        if instead is None:
            cases.append(place)
            others |= {
                part: f"It is read together with {place.name}, which holds slices of its own."
                for part in _with_files(place)
            }
            below.clear()
        elif instead:
            others[place] = f"It holds no CT but {instead}."
        elif seen or made or not below:
            idle[place] = _idle(seen, made)
    busy = {above for path in (*cases, *others) for above in (path, *path.parents)}
    others |= {place: reason for place, reason in idle.items() if place not in busy}
    return sorted(cases), others


def _instead_of_ct(folder: Path) -> str | None:
    """See :func:`what_instead`; None as well where only reading it as a case can say what is wrong."""
    try:
        return what_instead(folder)
    except (InputError, OSError):
        return None


def _with_files(folder: Path) -> list[Path]:
    """The folders below one that hold visible files."""
    return [
        Path(place)
        for place, _, files in os.walk(folder)
        if Path(place) != folder and any(not name.startswith(".") for name in files)
    ]


def _idle(seen: Sequence[str], made: Sequence[str]) -> str:
    """Why a folder without volumes and without DICOM is no case."""
    if made:
        return "It holds results or synthetic CT of this program."
    if not seen:
        return "It is empty."
    kinds = sorted({Path(name).suffix.lower() or "no suffix" for name in seen})
    return f"It holds no CT but {len(seen)} other files ({', '.join(kinds[:5])})."


def _may_be_ct(name: str) -> bool:
    return is_volume_file(Path(name)) and not name.lower().endswith(_NEVER_A_CT)


def _made_here(files: Sequence[str]) -> Sequence[str]:
    """Those files of a folder that are results, or samples: synthetic CT are nobody's."""
    if "result.json" in files and not {"labels.nii.gz", "labels.mhd"}.isdisjoint(files):
        return (*OUTPUT_FILES, *RAW_FILES)
    return [name for name in files if SAMPLE.fullmatch(name)] if CARD in files else ()


def _names(places: Sequence[tuple[Path, PurePosixPath, Path]], others: Iterable[str]) -> list[str]:
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
    taken = {name.casefold() for name in others}
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
