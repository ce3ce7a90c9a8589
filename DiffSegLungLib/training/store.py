"""Training CT prepared once: canonical volumes in memory-mapped arrays, resumable, no identifiers inside."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..canonical import CELL, SPACING_ZYX, Canonical, working_volume
from ..cases import find_cases
from ..ct import CT, Geometry
from ..dicomfiles import is_dicom_file
from ..errors import Cancelled, DiffSegLungError, InputError
from ..lungs import air_offset, segment_lungs
from .aside import write_aside
from .cohort import Candidate

_VOLUME = re.compile(r"\.(nii|nii\.gz|nrrd|nhdr|mha|mhd)$", re.IGNORECASE)
_KERNEL = re.compile(r"[_-](b\d{2}[a-z]?|soft|lung|body|bone|standard|sharp|smooth|chest)$", re.IGNORECASE)
_LEAST_LUNG_ML = 100.0


@dataclass(frozen=True)
class PreparedVolume:
    """One CT in the store: int16 HU and lung mask on the canonical grid, opened when first used.

    Attributes:
        folder: where ``hu.npy``, ``lungs.npy`` and ``meta.json`` lie.
        fingerprint: SHA-256 of the source's voxels, shortened; says which CT without naming a patient.
        patient: group that must stay on one side of a split.
        name: file name of the source.
    """

    folder: Path
    fingerprint: str
    patient: str
    name: str

    def open(self) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """The two arrays (z, y, x), memory-mapped read-only."""
        hu = np.load(self.folder / "hu.npy", mmap_mode="r", allow_pickle=False)
        lungs = np.load(self.folder / "lungs.npy", mmap_mode="r", allow_pickle=False)
        return hu, lungs


def as_canonical(volume: PreparedVolume) -> Canonical:
    """A prepared volume as the pipeline knows it; its place in the world and its sides are not kept."""
    hu, lungs = volume.open()
    z, y, x = hu.shape
    return Canonical(
        hu=hu.astype(np.float32),
        lungs=np.array(lungs),
        side=lungs.astype(np.uint8),
        geometry=Geometry((x, y, z), SPACING_ZYX[::-1], (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)),
    )


def prepare_store(
    sources: list[Path],
    store: Path,
    *,
    report: Callable[[str], None] = lambda _: None,
    looked_at: Callable[[list[Candidate], int], None] = lambda *_: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[list[PreparedVolume], list[Candidate]]:
    """Segment, calibrate and resample every CT once; what an earlier call finished is kept.

    Args:
        sources: CT files, DICOM folders, or folders that are searched for both.
        store: folder of the prepared volumes, one sub-folder a CT.
        report: called with one line for every CT.
        looked_at: called after every CT with all that were looked at so far, and how many CT there are.
        cancelled: asked before every CT; what is finished stays.

    Returns:
        Usable volumes in a stable order, and the refused files with their reasons.
    """
    store.mkdir(parents=True, exist_ok=True)
    paths = find_volumes(sources)
    patients = read_patients(sources)
    groups = _groups(paths)
    usable: list[PreparedVolume] = []
    seen: list[Candidate] = []
    for path in paths:
        if cancelled():
            raise Cancelled("preparation")
        patient = patients.get(path.name) or groups[path]
        try:
            volume, lung_ml = _prepare(path, store, patient)
            _refuse_twin(volume, usable)
        except DiffSegLungError as error:
            seen.append(Candidate(path.name, patient, False, error.message))
            report(f"{path.name}: not used. {error.message}")
        else:
            usable.append(volume)
            seen.append(Candidate(path.name, patient, True, lung_ml=lung_ml, store=volume.folder.name))
            report(f"{path.name}: ready, patient group {volume.patient}")
        looked_at(seen, len(paths))
    return sorted(usable, key=lambda v: v.name), [one for one in seen if not one.usable]


def prepared_before(store: Path, cohort: list[Candidate]) -> list[PreparedVolume] | None:
    """The usable volumes of an earlier preparation, in the order it gave them; None where one has gone."""
    volumes = []
    for one in cohort:
        if not one.usable:
            continue
        meta = _meta(store / one.store)
        if not meta:
            return None
        volumes.append(PreparedVolume(store / one.store, meta["fingerprint"], one.patient, one.file))
    return sorted(volumes, key=lambda v: v.name)


def find_volumes(sources: list[Path]) -> list[Path]:
    """CT files and DICOM folders under ``sources``, in a stable order."""
    for source in sources:
        if not source.exists():
            raise InputError(
                "no-such-path",
                f"The training folder {source} does not exist.",
                "Name a folder with CT volumes.",
            )
    try:
        return sorted(case.path for case in find_cases(sources))
    except InputError as error:
        if error.code != "no-cases":
            raise
        return []


def patient_of(path: Path) -> str:
    """Patient group from a file name: reconstructions that differ only by their kernel belong together."""
    stem = _VOLUME.sub("", path.name)
    while _KERNEL.search(stem):
        stem = _KERNEL.sub("", stem)
    return _digest(stem.lower())


def read_patients(sources: list[Path]) -> dict[str, str]:
    """Patient groups from a ``patients.csv`` (columns ``file``, ``patient``) beside the volumes, if any."""
    groups: dict[str, str] = {}
    for source in sources:
        listing = (source if source.is_dir() else source.parent) / "patients.csv"
        if not listing.is_file():
            continue
        with listing.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if row.get("file") and row.get("patient"):
                    groups[Path(row["file"]).name] = _digest(row["patient"])
    return groups


def _groups(paths: list[Path]) -> dict[Path, str]:
    """Patient group of every CT: by DICOM's PatientID, else its name; by its folder where all names agree."""
    groups = {path: _patient_in_dicom(path) or patient_of(path) for path in paths}
    if len(set(groups.values())) > 1:
        return groups
    return {path: _digest(str(path.parent.resolve())) for path in paths}


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
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _refuse_twin(volume: PreparedVolume, others: list[PreparedVolume]) -> None:
    """The same voxels on both sides of a split would make a training look better than it is."""
    twin = next((v for v in others if v.fingerprint == volume.fingerprint), None)
    if twin is not None:
        raise InputError("same-ct", f"It is the same CT as {twin.name}.", "One of them is enough.")


def _meta(folder: Path) -> dict[str, Any]:
    """What is known of a prepared CT; empty where it is not there."""
    try:
        return dict(json.loads((folder / "meta.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _prepare(path: Path, store: Path, patient: str) -> tuple[PreparedVolume, float]:
    """A CT in the store, and the volume of its lungs in ml."""
    # The key only finds earlier work again; the fingerprint in the metadata identifies the voxels.
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError("unreadable", f"It cannot be read ({error.strerror or error}).") from error
    key = hashlib.sha256(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    folder, refusal = store / key, store / f"{key}.refused.json"
    meta = _meta(folder)
    if not meta and refusal.is_file():
        raise InputError(**json.loads(refusal.read_text(encoding="utf-8")))
    if not meta:
        try:
            meta = _made(path, folder)
        except InputError as error:
            told = {"code": error.code, "message": error.message, "hint": error.hint}
            write_aside(refusal, json.dumps(told).encode())
            raise
    return PreparedVolume(folder, str(meta["fingerprint"]), patient, path.name), float(meta["lung_ml"])


def _made(path: Path, folder: Path) -> dict[str, Any]:
    """Prepare a CT into a folder that appears whole or not at all; what is known of it."""
    ct = CT.read(path)
    lungs = segment_lungs(ct)
    offset = air_offset(ct, lungs)
    canonical = working_volume(ct, lungs, shift_hu=offset.shift_hu)
    lung_ml = float(lungs.mask.sum()) * ct.geometry.voxel_ml
    if lung_ml < _LEAST_LUNG_ML or min(canonical.cell_shape) < 2:
        raise InputError(
            "too-little-lung", f"It shows only {lung_ml:.0f} ml of lung.", "At least 100 ml are needed."
        )
    meta = {
        "fingerprint": hashlib.sha256(np.ascontiguousarray(ct.hu).tobytes()).hexdigest()[:16],
        "air_shift_hu": offset.shift_hu,
        "lung_ml": round(lung_ml, 1),
        "shape": list(canonical.hu.shape),
        "cell": list(CELL),
    }
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    np.save(aside / "hu.npy", np.round(np.clip(canonical.hu, -1100, 1500)).astype(np.int16))
    np.save(aside / "lungs.npy", canonical.lungs)
    (aside / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    aside.replace(folder)
    return meta
