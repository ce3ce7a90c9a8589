"""What is unusual about lungs that were found: cut by the field of view, one only, small, all dense."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .lung_shape import is_narrow
from .missing_lung import Missing
from .shapes import COARSE_MM, VOXEL_ML, Mask
from .thorax import Chest

SIDES = {1: "right", 2: "left"}
LONE_SHARE = 0.03
SMALL_ML = 500.0
EXPIRATION_HU = -700.0
"""Median of a lung in full inspiration: -900 to -800 HU; breathing freely: down to -730 HU."""

CUT_CM2 = 10.0
STEP_ML, TAKEN_STEP_ML, LEAST_POROUS_ML = 50.0, 10.0, 20.0


def unusual_lungs(
    chest: Chest,
    sides: NDArray[np.uint8],
    aerated: Mask,
    missing: Missing,
    *,
    porous: Mask,
    enlarged: float = 1.0,
) -> tuple[str, ...]:
    """Notes for the user on lungs that were found, one sentence each.

    Args:
        chest: the chest.
        sides: uint8 coarse (z, y, x), 0 outside, 1 right and 2 left lung, solid.
        aerated: bool coarse, the aerated part.
        missing: what was taken for lung or left out by the shape of the chest alone.
        porous: bool coarse, what was taken for honeycombed lung.
        enlarged: how many times as large as it is the chest was looked at.
    """
    notes = []
    volumes = {side: float((sides == side).sum() * VOXEL_ML) / enlarged**3 for side in SIDES}
    total = sum(volumes.values())
    for side, name in SIDES.items():
        if volumes[side] < LONE_SHARE * total:
            guess = " In so narrow a field of view that may be wrong."
            notes.append(
                f"Only one lung was found; it was taken for the {SIDES[3 - side]} one, not the {name}."
                f"{guess if is_narrow(chest) else ''}"
            )
    if total < SMALL_ML:
        notes.append(f"The lungs hold only {total:.0f} ml: those of a child, or a part of an adult's.")
    places = _cut_at(chest.field, sides > 0)
    if places:
        notes.append(
            f"The field of view cuts the lungs {' and '.join(places)}: only the part it shows is measured."
        )
    for piece in missing.taken:
        notes.append(
            f"About {_rounded(piece.ml / enlarged**3, TAKEN_STEP_ML):.0f} ml of tissue on mediastinum or "
            f"diaphragm, at the {piece.part} of the {SIDES[piece.side]} lung, was taken for diseased lung; "
            "vessels, lymph nodes or diaphragm may be part of it. If so, erase them, or take any "
            "segmentation as lungs (--lungs)."
        )
    for side, name in SIDES.items():
        ml = float((porous & (sides == side)).sum() * VOXEL_ML) / enlarged**3
        if ml >= LEAST_POROUS_ML:
            notes.append(
                f"About {_rounded(ml, TAKEN_STEP_ML):.0f} ml between the {name} lung and the ribs were taken "
                "for honeycombed lung; bowel may be part of it. If so, erase it, or take any segmentation as "
                "lungs (--lungs)."
            )
    for piece in missing.left_out:
        notes.append(
            f"About {_rounded(piece.ml / enlarged**3, STEP_ML):.0f} ml at the {piece.part} of the "
            f"{SIDES[piece.side]} lung may be diseased lung that was left out, or fluid; if it is lung, draw "
            "it, or take any segmentation as lungs (--lungs)."
        )
    middle = float(np.median(chest.hu[aerated])) if aerated.any() else -1000.0
    if middle > EXPIRATION_HU:
        notes.append(
            f"Aerated lung reads {middle:.0f} HU in the median: a scan in deep expiration, or "
            "lungs diseased throughout."
        )
    return tuple(notes)


def _rounded(ml: float, step_ml: float) -> float:
    """A volume in whole steps, at least one."""
    return max(1, round(ml / step_ml)) * step_ml


def _cut_at(field: Mask, lungs: Mask) -> list[str]:
    """Where more than :data:`CUT_CM2` of lung lies on the border of the field of view."""
    from scipy.ndimage import shift

    wide, within = np.pad(field, 2), np.pad(lungs, 2)
    places = []
    for name, steps in (
        ("at the top", ((-1, 0, 0),)),
        ("at the bottom", ((1, 0, 0),)),
        ("at the sides", ((0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))),
    ):
        # Two voxels deep: the coarse grid and the CT's do not end at the same place.
        cut = sum(int((within & ~shift(wide, [2 * s for s in step], order=0)).sum()) / 2 for step in steps)
        if cut * COARSE_MM**2 / 100 > CUT_CM2:
            places.append(name)
    return places
