"""Honeycombed lung: cysts of 3 to 10 mm in dense walls, too small to be found as aerated lung.

Averaged over 12.5 mm such lung is far darker than any tissue, like the bowel's contents. It is lung where it
lies between lung and ribs and holds no pure gas: in the bowel there is always a bubble that fills a voxel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dense_lung import share_at_ribs
from .lung_shape import gas_level
from .shapes import COARSE_MM, VOXEL_ML, Mask, components, dilated, opened
from .thorax import Chest

AVERAGED, POROUS_HU = 5, -250.0
"""Voxels a side; about half-way between honeycombs (-370 to -510 HU in the mean) and the chest wall."""

THIN_MM, LEAST_ML = 3.75, 3.0
AIRWAY_MM = 10.0

AERATED_SHARE, GAS_SHARE = 0.2, 0.03
"""Of honeycombs in three patients 33 to 54 % of the voxels are aerated, at most 0.2 % pure gas; of bowel in
fifteen 7 to 54 %. Where no voxel is aerated, lung is hazy, which :func:`dense_lung` knows better."""

TOUCHING_SHARE, AT_RIBS_SHARE = 0.04, 0.35
"""So much of a piece lies next to lung, and behind so many of its rays are ribs: of honeycombs 6 to 18 % and
0.43 to 1, of a stomach full of food and a hilum 0."""


def honeycombs(chest: Chest, sides: NDArray[np.uint8], airway: Mask) -> Mask:
    """Porous tissue between lung and ribs.

    Args:
        chest: the chest.
        sides: uint8 coarse (z, y, x), what was found of the lungs, solid: 1 right, 2 left, 0 outside.
        airway: lumen of trachea and main bronchi.

    Returns:
        bool coarse (z, y, x), disjoint from the lungs.
    """
    from scipy.ndimage import uniform_filter

    inside = ~chest.exterior
    within = uniform_filter(inside.astype(np.float32), AVERAGED).clip(0.05)
    mean = uniform_filter(np.where(inside, chest.hu.clip(-1000.0, 100.0), np.float32(0)), AVERAGED) / within
    porous = opened((mean < POROUS_HU) & inside & (sides == 0) & ~dilated(airway, AIRWAY_MM), THIN_MM)
    labels, counts = components(porous)
    counts[0] = 0

    def share(mask: Mask) -> NDArray[np.float64]:
        return np.asarray(np.bincount(labels[mask], minlength=len(counts)) / counts.clip(1))

    keep = (counts * VOXEL_ML >= LEAST_ML) & (share(chest.hu < gas_level(chest)) < GAS_SHARE)
    keep &= share(chest.hu < chest.threshold) >= AERATED_SHARE
    keep &= share(dilated(sides > 0, COARSE_MM)) >= TOUCHING_SHARE
    for number in np.flatnonzero(keep):
        keep[number] = share_at_ribs(chest, sides, labels == number) >= AT_RIBS_SHARE
    return np.asarray(keep[labels])
