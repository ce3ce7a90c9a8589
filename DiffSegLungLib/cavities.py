"""Cavities: gas within the lung that a dense wall encloses. A rule of topology, no texture is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .thorax import bounding_box

Mask = NDArray[np.bool_]
Spacing = Sequence[float]

GAS_HU = -900.0
GAS_TOLERANCE_HU = 30.0
"""The lumen's median may lie this much above, for noise and blur in small cavities."""

OPEN_HU = -500.0
"""Below this a voxel does not close the lumen: half-way between aerated lung and tissue, so that a wall of
one voxel closes it."""

WALL_HU = -200.0
DENSE_HU = -400.0

LUMEN_RADIUS_MM = 2.5
"""Least radius of a ball that fits into the lumen; bronchi within consolidation are thinner."""

BRANCHING = 10.0
"""Largest ratio of the lumen's volume to that of the largest ball in it; a branching tube has more."""

CLOSED, WALLED = 0.85, 0.8
WALL_MM = (2.0, 10.0)
"""Thinner walls belong to bullae and cysts (below 2 mm, Fleischner Society 2024); of a thicker one, which may
be a whole mass or lobe, this much counts."""

NECK_MM = 2.0
REACH_MM = 4.0


def find_cavities(hu: NDArray[np.float32], lungs: Mask, spacing_zyx: Spacing) -> Mask:
    """Mark cavities: lumen and wall, as a radiologist measures them.

    A cavity is gas (median below -900 HU) that tissue closes on all sides but for a narrow neck (an eroded
    bronchus), behind a wall above -200 HU that is at least 2 mm thick. Marked are the lumen and its wall as
    far as it is dense, 10 mm at most. Not marked are bullae and cysts (thin walls), bronchi (tubes) and
    whatever borders on the outside of the lungs without a wall (trachea, stomach in a bad mask).

    Args:
        hu: float32 (z, y, x), the CT in HU.
        lungs: bool (z, y, x), solid lungs.
        spacing_zyx: mm between voxels; meant for the canonical 2 × 1 × 1 mm.

    Returns:
        bool (z, y, x), within ``lungs``.
    """
    from scipy.ndimage import find_objects, label

    cavities = np.zeros(hu.shape, bool)
    if not lungs.any():
        return cavities
    box = bounding_box(lungs, 2)
    inside, values = lungs[box], hu[box]
    open_air = inside & (values < OPEN_HU)
    # Necks are cut by an erosion, which the lumen gets back below.
    labels, count = label(_distance_mm(~open_air, spacing_zyx) > NECK_MM)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    means = np.bincount(labels.ravel(), values.ravel(), minlength=count + 1) / np.maximum(sizes, 1)
    margin = [int(np.ceil((WALL_MM[1] + REACH_MM) / s)) for s in spacing_zyx]
    for number, part in enumerate(find_objects(labels), start=1):
        if means[number] > GAS_HU + GAS_TOLERANCE_HU or sizes[number] > 0.5 * open_air.sum():
            continue
        around = tuple(
            slice(max(0, s.start - m), min(n, s.stop + m))
            for s, m, n in zip(part, margin, labels.shape, strict=True)
        )
        core = labels[around] == number
        cavities[box][around] |= _cavity(core, values[around], inside[around], open_air[around], spacing_zyx)
    return cavities


def _cavity(core: Mask, hu: NDArray[np.float32], lungs: Mask, open_air: Mask, spacing_zyx: Spacing) -> Mask:
    """Lumen and wall around one core of gas; empty if it is no cavity."""
    nothing = np.zeros(core.shape, bool)
    lumen = (_distance_mm(core, spacing_zyx) <= NECK_MM + max(spacing_zyx) / 2) & open_air
    voxel_mm3 = float(np.prod(spacing_zyx))
    radius = float(_distance_mm(~np.pad(lumen, 1), spacing_zyx).max())
    if radius < LUMEN_RADIUS_MM or lumen.sum() * voxel_mm3 > BRANCHING * 4 / 3 * np.pi * radius**3:
        return nothing
    if np.median(hu[lumen]) > GAS_HU + GAS_TOLERANCE_HU:
        return nothing

    away = _distance_mm(lumen, spacing_zyx)
    shell = (away > 0) & (away <= max(spacing_zyx))
    closed = shell & ~open_air & lungs
    if closed.sum() < CLOSED * shell.sum():
        return nothing
    brightest = _brightest(np.where(lungs, hu, -1000.0), REACH_MM, spacing_zyx)
    if (brightest[shell] > WALL_HU).mean() < WALLED:
        return nothing
    thickness = _wall_mm(away, lungs & (hu > DENSE_HU), lungs)
    if thickness < WALL_MM[0]:
        return nothing
    return np.asarray(lumen | ((away <= thickness) & lungs & (hu > OPEN_HU)))


def _wall_mm(away: NDArray[np.float32], dense: Mask, lungs: Mask) -> float:
    """How far from the lumen most of the tissue is dense, mm."""
    for outer in np.arange(1.0, WALL_MM[1] + 0.5, 1.0):
        ring = (away > outer - 1.0) & (away <= outer) & lungs
        share = dense[ring].mean() if ring.any() else 1.0
        if share < 0.5:
            return float(outer - 1.0 + share)
    return WALL_MM[1]


def _brightest(hu: NDArray[Any], mm: float, spacing_zyx: Spacing) -> NDArray[Any]:
    """Largest HU within a box of the given reach."""
    from scipy.ndimage import maximum_filter

    return np.asarray(maximum_filter(hu, size=[2 * max(1, round(mm / s)) + 1 for s in spacing_zyx]))


def _distance_mm(mask: Mask, spacing_zyx: Spacing) -> NDArray[np.float32]:
    """Distance to a mask in mm, 0 inside."""
    import SimpleITK as sitk

    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    image.SetSpacing([float(s) for s in spacing_zyx[::-1]])
    signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    distance: NDArray[np.float32] = np.maximum(sitk.GetArrayViewFromImage(signed), np.float32(0))
    return distance
