"""The lungs of a chest CT: one solid mask that keeps dense disease inside, its sides, thirds and airway."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.ct import CT, Geometry, resample
from ..io.geometry import Box, bounding_box
from ..io.padding import AIR
from ..talk import SILENT, Talk
from ..threads import in_threads
from .airways import airway_lumen
from .dense_lung import dense_lung
from .honeycombs import honeycombs
from .lung_border import lungs_at_full_resolution, sampled
from .lung_shape import (
    LEFT,
    RIGHT,
    aerated_lung,
    enclosed_tissue,
    is_narrow,
    lung_sides,
    nearest_side,
    solid_lung,
)
from .missing_lung import missing_lung
from .regions import regions_of, side_of, third_of
from .shapes import COARSE_MM, dilated
from .thorax import Chest, chest_of, with_cut_lungs
from .unusual import unusual_lungs

__all__ = ["Lungs", "lungs_from_mask", "segment_lungs"]

TISSUE_HU, LEAST_CM2, ROOM_HU = -300.0, 20.0, -900.0
"""A slice with less tissue than a newborn's chest, nine tenths of which are darker than lung with vessels,
shows air and at most the table; padding is left out."""

MORE_THAN = 1.05
"""In a narrow field of view lung may be open to two sides and more, and found only if it is looked for."""

CHILD_MM, CHILD_ML, CHILD_SCALE = 230.0, 400.0, 2.0
"""A narrower field of view with fewer ml of lung than these may show a child."""


@dataclass(frozen=True)
class Lungs:
    """Lungs and their regions on the CT's own grid.

    Attributes:
        regions: uint8 (z, y, x), both lungs, solid (vessels and disease inside), without trachea and main
            bronchi: 1..3 upper, middle, lower third of the right lung's volume, 4..6 of the left (the
            patient's), 0 outside. All else is read from it: a large CT has no room for one map of each.
        airway: bool (z, y, x), lumen of trachea and main bronchi; empty where none is seen.
        notes: what the user should know about them, one sentence each.
    """

    regions: NDArray[np.uint8]
    airway: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Both lungs, bool (z, y, x), made anew."""
        return self.regions > 0

    @property
    def side(self) -> NDArray[np.uint8]:
        """Uint8 (z, y, x), 0 outside, 1 right lung, 2 left lung, made anew."""
        return side_of(self.regions)

    @property
    def third(self) -> NDArray[np.uint8]:
        """Uint8 (z, y, x), 0 outside, 1 upper, 2 middle, 3 lower third of its lung, made anew."""
        return third_of(self.regions)


def segment_lungs(ct: CT, talk: Talk = SILENT) -> Lungs:
    """Find the lungs of a CT, whole or cropped, one side or both, in any orientation, of adults and children.

    Shapes are found on cubes of 2.5 mm in the patient's own axes; the border to aerated lung is then drawn at
    the CT's resolution, half-way between the HU of lung and of soft tissue. All sizes are an adult's: the
    chest of a child is looked at as if it were twice as large.

    Args:
        ct: the CT.
        talk: progress; asked whether to stop between steps.

    Raises:
        InputError: code ``no-lungs``, there is less than 30 ml of aerated lung in the field of view.
        Cancelled: asked to stop.
    """
    scanned = _scanned(ct)
    if ct.geometry.crop(scanned).size != ct.geometry.size:
        inner = segment_lungs(replace(ct, hu=ct.hu[scanned], geometry=ct.geometry.crop(scanned)), talk)
        return replace(
            inner, regions=_set_into(inner.regions, ct, scanned), airway=_set_into(inner.airway, ct, scanned)
        )
    best = _tried(ct, talk.part(0.0, 0.9))
    again = talk.part(0.9, 1.0)
    if _may_be_a_child(ct.geometry) and (best is None or _ml(best, ct) < CHILD_ML):
        enlarged = _tried(ct, again, CHILD_SCALE)
        least_ml = 0.9 * _ml(best, ct) if best else 0.0
        if enlarged and least_ml < _ml(enlarged, ct) < CHILD_ML:
            best = enlarged
    if best is None:
        return _search(ct, again, cut=True)
    if is_narrow(chest_of(ct)):
        more = _tried(ct, again, cut=True)
        if more and _ml(more, ct) > MORE_THAN * _ml(best, ct):
            best = more
    return best


def _scanned(ct: CT) -> Box:
    """The part between the first and the last slice that shows more than air or padding.

    Beside slices of those, lung that a scan cuts looks like room.
    """
    axis = ct.geometry.craniocaudal
    slices = np.moveaxis(ct.hu, axis, 0)
    voxel_cm2 = ct.geometry.voxel_ml * 10.0 / ct.geometry.spacing_zyx[axis]

    def shown(one: NDArray[Any]) -> bool:
        if np.count_nonzero(one > TISSUE_HU) * voxel_cm2 >= LEAST_CM2:
            return True
        measured = one[one != AIR]
        return measured.size > 0 and bool(np.percentile(measured, 90) > ROOM_HU)

    first = next((k for k in range(len(slices)) if shown(slices[k])), 0)
    last = next((k for k in reversed(range(first, len(slices))) if shown(slices[k])), len(slices) - 1)
    box = [slice(None)] * 3
    box[axis] = slice(first, last + 1)
    return box[0], box[1], box[2]


def _set_into(part: NDArray[Any], ct: CT, box: Box) -> NDArray[Any]:
    """A map of a box as one of the whole CT, 0 outside the box."""
    whole = np.zeros(ct.hu.shape, part.dtype)
    whole[box] = part
    return whole


def _tried(ct: CT, talk: Talk, enlarged: float = 1.0, *, cut: bool = False) -> Lungs | None:
    try:
        return _search(ct, talk, enlarged, cut=cut)
    except InputError:
        return None


def _ml(lungs: Lungs, ct: CT) -> float:
    return float(np.count_nonzero(lungs.regions) * ct.geometry.voxel_ml)


def _may_be_a_child(geometry: Geometry) -> bool:
    """Whether the field of view is too narrow for the whole chest of an adult."""
    corners = np.stack(np.meshgrid(*[(0, n) for n in geometry.shape], indexing="ij"), axis=-1)
    return float(np.ptp(geometry.world(corners.reshape(-1, 3))[:, 0])) < CHILD_MM


def _search(ct: CT, talk: Talk, enlarged: float = 1.0, *, cut: bool = False) -> Lungs:
    """Find lungs as if the voxels were so many times as large, and also lung that the field of view cuts."""
    seen = ct
    if enlarged != 1.0:
        i, j, k = (enlarged * s for s in ct.geometry.spacing)
        seen = replace(ct, geometry=replace(ct.geometry, spacing=(i, j, k)))
    chest = with_cut_lungs(chest_of(seen)) if cut else chest_of(seen)
    talk.advance(0.2)
    airway = airway_lumen(chest)
    talk.advance(0.25)
    aerated = aerated_lung(chest, airway, enlarged)
    talk.advance(0.45)
    sides = lung_sides(chest, aerated, airway)
    talk.advance(0.6)
    solid = np.zeros(chest.hu.shape, np.uint8)
    for side, shape in zip(
        (RIGHT, LEFT), in_threads(partial(_filled, chest, sides), (RIGHT, LEFT)), strict=True
    ):
        solid[shape & (solid == 0)] = side
    solid[chest.exterior | dilated(airway, COARSE_MM)] = 0
    porous = honeycombs(chest, solid, airway)
    solid = _joined(solid, porous)
    dense = dense_lung(chest, solid) & ~dilated(airway, COARSE_MM)
    solid = _joined(solid, dense)
    missing = missing_lung(chest, solid)
    lung_after_all = (missing.sides > 0) & ~dilated(airway, COARSE_MM)
    solid[lung_after_all] = missing.sides[lung_after_all]
    talk.advance(0.75)
    labels, lumen = lungs_at_full_resolution(seen, chest, solid, aerated, airway)
    talk.advance(0.95)
    notes = unusual_lungs(chest, solid, aerated, missing, porous=porous, enlarged=enlarged)
    return Lungs(regions_of(labels, ct.geometry), lumen, notes)


def _joined(sides: NDArray[np.uint8], more: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Lungs with more of them, each voxel of it on the side of the nearer lung."""
    if more.any():
        box = bounding_box((sides > 0) | more)
        sides = sides.copy()
        sides[box][more[box]] = nearest_side(sides[box])[more[box]]
    return sides


def _filled(chest: Chest, sides: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """One lung with all that it encloses."""
    shape = solid_lung(sides == side)
    return shape | enclosed_tissue(chest, shape)


def lungs_from_mask(ct: CT, mask: NDArray[np.bool_]) -> Lungs:
    """Take the user's lung mask as it is and add sides, thirds and (where it can be seen) the airway.

    Args:
        ct: the CT.
        mask: bool (z, y, x) on the CT's grid.

    Raises:
        InputError: the mask is empty or not on the CT's grid.
    """
    if mask.shape != ct.hu.shape:
        raise InputError(
            "mask-grid",
            f"The lung mask has {mask.shape} voxels and the CT {ct.hu.shape}.",
            "Give a mask on the CT's own grid.",
        )
    if not mask.any():
        raise InputError("empty-mask", "The lung mask is empty.", "Give a mask that marks the lungs.")
    chest = chest_of(ct)
    airway = airway_lumen(chest)
    soft = resample(
        mask.astype(np.uint8) * np.uint8(200), ct.geometry, chest.geometry, order="linear", fill=0
    )
    sides = lung_sides(chest, soft >= 100, airway)
    nearest = nearest_side(sides)
    # The mask may reach beyond the field of view that the coarse chest covers.
    side = sampled(nearest, chest.geometry, ct.geometry, "nearest") * mask
    lumen = resample(airway, chest.geometry, ct.geometry, order="nearest", fill=0) & ~mask
    return Lungs(regions_of(side, ct.geometry), lumen)
