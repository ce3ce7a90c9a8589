"""Training CT prepared once: canonical volumes in memory-mapped arrays, resumable, no identifiers inside."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy.air_offset import air_offset
from ..anatomy.lungs import segment_lungs
from ..errors import DiffSegLungError, InputError, not_written
from ..grid.canonical import CELL, SPACING_ZYX, Canonical, working_volume
from ..grid.cells import Lattices
from ..io.cohort import find_cases
from ..io.ct import CT, Geometry
from ..io.refusals import shown_name
from ..io.whole_file import writing
from ..talk import SILENT, Talk
from .candidates import Candidate
from .patients import numbered, patient_groups, patient_of, read_patients

_LEAST_LUNG_ML = 100.0
_LARGEST = 1024**2
"""Bytes of a JSON file in the store."""


@dataclass(frozen=True)
class PreparedVolume:
    """One CT in the store: int16 HU and lung mask on the canonical grid, opened when first used.

    Attributes:
        folder: where ``hu.npy``, ``lungs.npy`` and ``meta.json`` lie.
        fingerprint: SHA-256 of the source's voxels, shortened; says which CT without naming a patient.
        patient: group that must stay on one side of a split; a number.
        name: file name of the source.
        notes: what the user should know about how it was read, such as which of several series was taken.
    """

    folder: Path
    fingerprint: str
    patient: str
    name: str
    notes: tuple[str, ...] = ()

    def open(self) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """The two arrays (z, y, x), memory-mapped read-only.

        Raises:
            InputError: they are damaged.
        """
        try:
            return _arrays(self.folder)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                "store-damaged",
                f"The prepared CT of {self.name} is damaged.",
                f"Remove {self.folder}, and give the command with its CT again.",
            ) from error


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
    by_name: bool = False,
    looked_at: Callable[[list[Candidate]], None] = lambda _: None,
    talk: Talk = SILENT,
) -> tuple[list[PreparedVolume], list[Candidate]]:
    """Segment, calibrate and resample every CT once; what an earlier call finished is kept.

    Args:
        sources: CT files, DICOM folders, or folders that are searched for both.
        store: folder of the prepared volumes, one sub-folder a CT.
        by_name: tell patients apart by file names alone and let a CT count twice, as the first version did:
            a run that it began must not get another split.
        looked_at: called after every CT with all that were looked at so far.
        talk: progress; asked whether to stop before every CT; what is finished stays.

    Returns:
        Usable volumes in a stable order, and the refused files with their reasons.

    Raises:
        InputError: a source or a list of patients cannot be used, or the store cannot be written.
        Cancelled: asked to stop.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(store, error) from error
    paths = find_volumes(sources)
    groups = {path: patient_of(path) for path in paths} if by_name else patient_groups(paths)
    groups = numbered(groups | read_patients(sources, paths))
    usable: list[PreparedVolume] = []
    seen: list[Candidate] = []
    for path in paths:
        talk.check()
        patient = groups[path]
        try:
            volume, lung_ml = _prepare(path, store, patient)
            if not by_name:
                _refuse_twin(volume, usable)
        except DiffSegLungError as error:
            if error.code == "not-written":
                raise
            seen.append(Candidate(shown_name(path), patient, False, error.message))
        else:
            usable.append(volume)
            kept, fingerprint = volume.folder.name, volume.fingerprint
            seen.append(Candidate(path.name, patient, True, "", lung_ml, kept, fingerprint))
        looked_at(seen)
        talk.advance(len(seen) / len(paths))
    return sorted(usable, key=lambda v: v.name), [one for one in seen if not one.usable]


def prepared_before(
    store: Path, cohort: list[Candidate], sources: Sequence[Path], talk: Talk = SILENT
) -> list[PreparedVolume]:
    """The usable volumes of an earlier preparation, in the order it gave them; damaged ones are made again.

    Args:
        store: folder of the prepared volumes.
        cohort: what the earlier preparation came to.
        sources: where its CT were; those that have gone are not missed while nothing is damaged.
        talk: asked whether to stop before a CT is prepared again.

    Raises:
        InputError: a prepared CT is damaged, and what it was made from is not there any more.
        Cancelled: asked to stop.
    """
    usable = [one for one in cohort if one.usable]
    damaged = [one for one in usable if not _is_whole(store, one)]
    paths = find_volumes([source for source in sources if source.exists()]) if damaged else []
    for one in damaged:
        talk.check()
        _prepare_again(one, paths, store)
    return sorted((_volume(store, one) for one in usable), key=lambda v: v.name)


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


def _refuse_twin(volume: PreparedVolume, others: list[PreparedVolume]) -> None:
    """The same voxels on both sides of a split would make a training look better than it is."""
    twin = next((v for v in others if v.fingerprint == volume.fingerprint), None)
    if twin is not None:
        raise InputError("same-ct", f"It is the same CT as {twin.name}.", "One of them is enough.")


def _arrays(folder: Path) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """HU and lungs (z, y, x) of a prepared CT, memory-mapped read-only.

    Raises:
        OSError, ValueError, EOFError: they are damaged.
    """
    hu = np.load(folder / "hu.npy", mmap_mode="r", allow_pickle=False)
    lungs = np.load(folder / "lungs.npy", mmap_mode="r", allow_pickle=False)
    if (hu.dtype, lungs.dtype, hu.ndim, hu.shape) != (np.int16, np.bool_, 3, lungs.shape):
        raise ValueError("not the arrays of a prepared CT")
    return hu, lungs


def _meta(folder: Path) -> dict[str, Any]:
    """What is known of a prepared CT; empty where it is not there, or any of its files is damaged."""
    meta = _mapping(folder / "meta.json")
    known = isinstance(meta.get("fingerprint"), str) and isinstance(meta.get("lung_ml"), (int, float))
    if known and isinstance(meta.get("notes", []), list):
        with contextlib.suppress(OSError, ValueError, EOFError):
            _arrays(folder)
            return meta
    return {}


def _mapping(path: Path) -> dict[str, Any]:
    """What a small JSON file in the store says; empty where that is nothing."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if path.is_file() and path.stat().st_size <= _LARGEST:
            content = json.loads(path.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
    return {}


def _volume(store: Path, one: Candidate) -> PreparedVolume:
    """A CT of an earlier preparation, without a fingerprint where it is damaged."""
    folder = store / one.store
    return PreparedVolume(folder, _meta(folder).get("fingerprint", ""), one.patient, one.file)


def _is_whole(store: Path, one: Candidate) -> bool:
    found = _volume(store, one).fingerprint
    return bool(found) and one.fingerprint in ("", found)


def _prepare_again(one: Candidate, paths: list[Path], store: Path) -> None:
    """Replace a damaged prepared CT, from the very CT that it was made from: another would change a split."""
    for path in paths:
        if path.name != one.file or (not one.fingerprint and _key(path) != one.store):
            continue
        with contextlib.suppress(DiffSegLungError):
            ct = CT.read(path)
            if one.fingerprint in ("", _fingerprint(ct)):
                canonical, meta = _seen(ct)
                break
    else:
        raise InputError(
            "store-damaged",
            f"The prepared CT of {one.file} is damaged, and the CT it was made from is not there any more.",
            "Put that CT back where it was, or begin the training anew in another folder.",
        )
    _keep(canonical, meta, store / one.store)


def _key(path: Path) -> str:
    """Name in the store: only finds earlier work again; the fingerprint identifies the voxels.

    Raises:
        InputError: the CT cannot be read.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError("unreadable", f"It cannot be read ({error.strerror or error}).") from error
    seen = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    return hashlib.sha256(seen.encode(errors="surrogateescape")).hexdigest()[:16]


def _fingerprint(ct: CT) -> str:
    return hashlib.sha256(np.ascontiguousarray(ct.hu).tobytes()).hexdigest()[:16]


def _prepare(path: Path, store: Path, patient: str) -> tuple[PreparedVolume, float]:
    """A CT in the store, and the volume of its lungs in ml."""
    key = _key(path)
    folder, refusal = store / key, store / f"{key}.refused.json"
    meta = _meta(folder)
    told = {} if meta else _mapping(refusal)
    if told.keys() == {"code", "message", "hint"}:
        raise InputError(*(str(told[name]) for name in ("code", "message", "hint")))
    if not meta:
        ct = CT.read(path)  # one that cannot be read is tried anew the next time
        try:
            canonical, meta = _seen(ct)
        except InputError as error:
            told = {"code": error.code, "message": error.message, "hint": error.hint}
            with writing(refusal) as aside:
                aside.write_bytes(json.dumps(told).encode())
            raise
        _keep(canonical, meta, folder)
    notes = tuple(map(str, meta.get("notes", ())))  # earlier versions kept none
    return PreparedVolume(folder, str(meta["fingerprint"]), patient, path.name, notes), float(meta["lung_ml"])


def _seen(ct: CT) -> tuple[Canonical, dict[str, Any]]:
    """A CT as it is trained on, and what is known of it."""
    lungs = segment_lungs(ct)
    offset = air_offset(ct, lungs)
    canonical = working_volume(ct, lungs, shift_hu=offset.shift_hu)
    lung_ml = float(lungs.mask.sum()) * ct.geometry.voxel_ml
    if lung_ml < _LEAST_LUNG_ML or min(canonical.cell_shape) < 2:
        raise InputError(
            "too-little-lung", f"It shows only {lung_ml:.0f} ml of lung.", "At least 100 ml are needed."
        )
    Lattices.over(canonical.lungs)  # else the population could not be fitted, hours later
    meta = {
        "fingerprint": _fingerprint(ct),
        "air_shift_hu": offset.shift_hu,
        "lung_ml": round(lung_ml, 1),
        "shape": list(canonical.hu.shape),
        "cell": list(CELL),
        "notes": [note for note in ct.notes if ct.source not in note],  # the store holds no names
    }
    return canonical, meta


def _keep(canonical: Canonical, meta: dict[str, Any], folder: Path) -> None:
    """Write a prepared CT into a folder that appears whole or not at all, in place of a damaged one."""
    with writing(folder) as aside:
        aside.mkdir()
        np.save(aside / "hu.npy", np.round(np.clip(canonical.hu, -1100, 1500)).astype(np.int16))
        np.save(aside / "lungs.npy", canonical.lungs)
        (aside / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
