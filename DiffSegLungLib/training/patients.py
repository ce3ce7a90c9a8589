"""Which CT of a cohort are of the same patient: those must stay on one side of a split."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import re
import unicodedata
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..io.dicom_headers import is_dicom_file

_VOLUME = re.compile(r"\.(nii|nii\.gz|nrrd|nhdr|mha|mhd)$", re.IGNORECASE)
_KERNEL = re.compile(r"[_-](b\d{2}[a-z]?|soft|lung|body|bone|standard|sharp|smooth|chest)$", re.IGNORECASE)


def patient_of(path: Path) -> str:
    """Patient group from a file name: reconstructions that differ only by their kernel belong together."""
    stem = _VOLUME.sub("", path.name)
    while _KERNEL.search(stem):
        stem = _KERNEL.sub("", stem)
    return _digest(stem.lower())


def read_patients(sources: list[Path], paths: list[Path]) -> dict[Path, str]:
    """Patient groups from a ``patients.csv`` (columns ``file``, ``patient``) beside the volumes, if any.

    Args:
        sources: where to look for it.
        paths: the CT; a line names one by its path below the list's folder, or all of a name by that alone.

    Raises:
        InputError: it is not text, lacks a column, gives a file two patients, or names none of the CT below
            its folder.
    """
    groups: dict[Path, str] = {}
    for home in dict.fromkeys(source if source.is_dir() else source.parent for source in sources):
        if not (home / "patients.csv").is_file():
            continue
        rows = _patients_in(home / "patients.csv")
        here = [path for path in paths if path.is_relative_to(home.absolute())]
        listed: dict[Path, str] = {}
        for path in here:
            patient = rows.get(_composed(_below(home, path)), rows.get(_composed(path.name)))
            listed |= {path: _digest(patient)} if patient else {}
        if here and not listed:
            raise _bad_patients(
                home / "patients.csv",
                f"names none of the {len(here)} CT there",
                f"Its column 'file' holds their paths below that folder, such as {_below(home, here[0])}.",
            )
        groups |= listed
    return groups


def _below(home: Path, path: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(home.absolute()).as_posix())


def _composed(path: str | PurePosixPath) -> PurePosixPath:
    """A path by which to look it up: a Mac may store ü as two characters, a spreadsheet writes one."""
    return PurePosixPath(unicodedata.normalize("NFC", str(path)))


def _patients_in(listing: Path) -> dict[PurePosixPath, str]:
    """Patient by file; spreadsheets write a byte order mark, and some of them semicolons."""
    try:
        text = listing.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
        rows = [{str(k).strip().lower(): v for k, v in row.items()} for row in lines]
        columns = {name.strip().lower() for name in lines.fieldnames or ()}
    except (OSError, ValueError, csv.Error) as error:
        raise _bad_patients(listing, "cannot be read as a table of text") from error
    if not {"file", "patient"} <= columns:
        raise _bad_patients(listing, "lacks the column 'file' or 'patient'")
    named = ((str(row["file"] or "").strip(), str(row["patient"] or "").strip()) for row in rows)
    patients: dict[PurePosixPath, str] = {}
    for file, patient in named:
        path = _composed(file.replace("\\", "/"))
        if file and patient and patients.setdefault(path, patient) != patient:
            raise _bad_patients(listing, f"gives {path.name} two patients", "Leave one line for each CT.")
    return patients


def _bad_patients(
    listing: Path, what: str, advice: str = "Save it as CSV in UTF-8, with a line of column names."
) -> InputError:
    return InputError("bad-patients", f"The list {listing.name} in {listing.parent.name} {what}.", advice)


def patient_groups(paths: list[Path]) -> dict[Path, str]:
    """Patient group of every CT: by DICOM's PatientID, else its name; by its folder where names recur.

    A name that occurs in several folders (``p1/baseline.nrrd``, ``p2/baseline.nrrd``) is no patient's.
    """
    groups = {path: _patient_in_dicom(path) for path in paths}
    by_name = {path: patient_of(path) for path, patient in groups.items() if not patient}
    by_folder = {path: _digest(str(path.parent.resolve())) for path in by_name}
    places = {(name, by_folder[path]) for path, name in by_name.items()}
    return groups | (by_folder if len(places) > len(set(by_name.values())) else by_name)


def numbered(groups: dict[Path, str]) -> dict[Path, str]:
    """The same groups as numbers that tell nothing of a patient.

    They are in the order of the groups, which decides who is held out.
    """
    ordered = sorted(set(groups.values()))
    width = len(str(len(ordered)))
    numbers = {group: f"{number:0{width}}" for number, group in enumerate(ordered, 1)}
    return {path: numbers[group] for path, group in groups.items()}


def _patient_in_dicom(path: Path) -> str:
    """Digest of the PatientID of the first DICOM file in a folder; empty for a volume file, or without it."""
    if not path.is_dir():
        return ""
    import pydicom

    with contextlib.suppress(Exception):  # damaged in one of many ways: reading it as a CT will say in which
        first = next(f for f in sorted(path.rglob("*")) if f.is_file() and is_dicom_file(f))
        header = pydicom.dcmread(first, stop_before_pixels=True, specific_tags=["PatientID"], force=True)
        patient = str(header.get("PatientID") or "").strip()
        return _digest(f"PatientID {patient}") if patient else ""
    return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
