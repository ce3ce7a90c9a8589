"""The lung mask: does it hold what is lung, diseased lung above all, and nothing outside the ribs?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy.lungs import segment_lungs
from ..errors import InputError
from ..io.ct import CT, Geometry, read_mask, resample
from ..io.image_file import read_volume
from .known_truth import LabelledCase
from .metrics import dice
from .outside_ribs import outside_ribs_ml
from .readings import SICK, ReadCT

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MaskCase:
    """A CT and what is known of its lungs.

    Attributes:
        volume: file or DICOM folder.
        lungs: a mask of all the lung that the CT shows, drawn by someone.
        contours: label maps of disease.
        read: the squares that were read in it.
    """

    volume: Path
    lungs: Path | None = None
    contours: tuple[Path, ...] = ()
    read: ReadCT | None = None


def measure_lungs(case: MaskCase) -> dict[str, Any]:
    """Find the lungs of a CT and say what they hold, as plain values.

    Raises:
        InputError: CT, mask or contours cannot be read, or the CT has no such slice or square.
    """
    ct = CT.read(case.volume)
    if case.read is not None:
        case.read.require_within(ct.hu.shape)
    measured, found = _found(ct)
    if case.lungs is not None:
        measured |= _overlap(read_mask(case.lungs, ct.geometry), found)
    measured["contours"] = [c for path in case.contours for c in _covered(path, found, ct.geometry)]
    measured["squares"] = [] if case.read is None else list(_covered_squares(case.read, found))
    return measured


def measure_generated(case: LabelledCase) -> dict[str, Any]:
    """The same of a generated chest, whose lungs are known."""
    measured, found = _found(case.ct)
    return {**measured, **_overlap(case.truth > 0, found), "contours": [], "squares": []}


def _found(ct: CT) -> tuple[dict[str, Any], Mask]:
    begin = time.monotonic()
    mask = segment_lungs(ct).mask
    taken = time.monotonic() - begin
    measured = {
        "seconds": taken,
        "lung_ml": float(np.count_nonzero(mask) * ct.geometry.voxel_ml),
        "outside_ribs_ml": outside_ribs_ml(ct, mask),
        "dice": None,
        "inside": None,
    }
    return measured, mask


def _overlap(truth: Mask, found: Mask) -> dict[str, float]:
    return {"dice": dice(truth, found), "inside": _share(found[truth])}


def _covered(path: Path, found: Mask, geometry: Geometry) -> Iterator[dict[str, Any]]:
    """How much of every label of a file lies in the mask."""
    labels, own, _ = read_volume(path)
    if labels.ndim > 3 or labels.dtype.kind not in "iub":
        raise InputError(
            "bad-contours", f"The contours {path.name} are no whole numbers.", "Give a map of labels 1, 2, …"
        )
    if not own.same_grid(geometry):
        labels = resample(labels, own, geometry, order="nearest", fill=0)
    for label in np.unique(labels[labels > 0]):
        inside = found[labels == label]
        yield {
            "contour": f"{path.name.split('.')[0]}, label {label}",
            "ml": float(inside.size * geometry.voxel_ml),
            "inside": _share(inside),
        }


def _covered_squares(read: ReadCT, found: Mask) -> Iterator[dict[str, Any]]:
    for number, squares in read.slices.items():
        for square in squares:
            if square.code in SICK:
                covered = round(_share(found[number][square.where]), 4)
                yield {"slice": number, "code": square.code, "covered": covered}


def _share(inside: Mask) -> float:
    return float(inside.mean()) if inside.size else float("nan")
