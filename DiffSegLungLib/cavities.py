"""Cavities: gas within the lung that a dense wall encloses. A rule of topology, no texture is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .thorax import bounding_box

Mask = NDArray[np.bool_]
Spacing = Sequence[float]

GAS_HU = -900.0
GAS_TOLERANCE_HU = 60.0
"""The lumen's median may lie this much above, for noise and blur in small cavities."""

OPEN_HU = -500.0
"""Below this a voxel does not close the lumen: half-way between aerated lung and tissue, so that a wall of
one voxel closes it."""

WALL_HU = -200.0
DENSE_HU = -400.0

LUMEN_RADIUS_MM = 2.5
"""Least radius of a ball that fits into the lumen; bronchi within consolidation are thinner."""

CLUSTER, NEAR_MM, CYST_RADIUS_MM = 2, 8.0, 6.0
"""Smaller lumina with so many others so near are cysts of honeycombing (3 to 10 mm across, in clusters)."""

BRANCHING = 10.0
"""Largest ratio of the lumen's volume to that of the largest ball in it; a branching tube has more."""

CLOSED, WALLED, WITHIN_LUNG = 0.8, 0.7, 0.6
"""Least shares of the lumen's surface: closed by tissue, behind a dense wall, off the lungs' border."""

WALL_MM = (2.0, 10.0)
"""Thinner walls belong to bullae and cysts (below 2 mm, Fleischner Society 2024); of a thicker one, which may
be a whole mass or lobe, this much counts."""

NECK_MM = 2.0
REACH_MM = 4.0


@dataclass(frozen=True)
class _Patch:
    """Surroundings of one core of gas: arrays (z, y, x) of one shape."""

    cores: NDArray[Any]
    hu: NDArray[np.float32]
    lungs: Mask
    open_air: Mask
    spacing_zyx: Spacing


def find_cavities(hu: NDArray[np.float32], lungs: Mask, spacing_zyx: Spacing) -> Mask:
    """Mark cavities: lumen and wall, as a radiologist measures them.

    A cavity is gas (median below -900 HU) that tissue closes on all sides but for a narrow neck (an eroded
    bronchus), behind a wall above -200 HU that is at least 2 mm thick. Marked are the lumen and its wall as
    far as it is dense, 10 mm at most. Not marked are bullae and cysts (thin walls), honeycombing (clusters of
    small cysts), bronchi (tubes) and whatever borders on the outside of the lungs without a wall (trachea,
    stomach in a bad mask).

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
    cores, count = label(_distance_mm(~open_air, spacing_zyx) > NECK_MM)
    sizes = np.bincount(cores.ravel(), minlength=count + 1)
    means = np.bincount(cores.ravel(), values.ravel(), minlength=count + 1) / np.maximum(sizes, 1)
    # What holds most of the air is the lung's own, however low its HU.
    gas = (means <= GAS_HU + GAS_TOLERANCE_HU) & (sizes <= 0.5 * open_air.sum())
    margin = [int(np.ceil((WALL_MM[1] + REACH_MM) / s)) for s in spacing_zyx]
    for number, part in enumerate(find_objects(cores), start=1):
        if not gas[number]:
            continue
        around = tuple(
            slice(max(0, s.start - m), min(n, s.stop + m))
            for s, m, n in zip(part, margin, cores.shape, strict=True)
        )
        patch = _Patch(cores[around], values[around], inside[around], open_air[around], spacing_zyx)
        cavities[box][around] |= _cavity(patch, number)
    return cavities


def _cavity(patch: _Patch, number: int) -> Mask:
    """Lumen and wall around one core of gas; empty if it is no cavity."""
    from scipy.ndimage import binary_dilation

    reach = round(2 * NECK_MM / min(patch.spacing_zyx))
    lumen = binary_dilation(patch.cores == number, iterations=reach, mask=patch.open_air)
    radius = float(_distance_mm(~np.pad(lumen, 1), patch.spacing_zyx).max())
    volume_mm3 = float(lumen.sum() * np.prod(patch.spacing_zyx))
    round_enough = volume_mm3 <= BRANCHING * 4 / 3 * np.pi * radius**3
    is_gas = np.median(patch.hu[lumen]) <= GAS_HU + GAS_TOLERANCE_HU
    if radius >= LUMEN_RADIUS_MM and round_enough and is_gas and _is_closed(patch, lumen):
        away = _distance_mm(lumen, patch.spacing_zyx)
        thickness = _wall_mm(away, patch.lungs & (patch.hu > DENSE_HU), patch.lungs)
        honeycombing = radius < CYST_RADIUS_MM and _closed_neighbours(patch, number, away) >= CLUSTER
        if thickness >= WALL_MM[0] and not honeycombing:
            return np.asarray(lumen | ((away <= thickness) & patch.lungs & (patch.hu > OPEN_HU)))
    return np.zeros(lumen.shape, bool)


def _is_closed(patch: _Patch, lumen: Mask) -> bool:
    """Whether tissue closes a lumen, a dense wall lies behind its surface, and it keeps to the lung."""
    from scipy.ndimage import binary_dilation

    shell = binary_dilation(lumen) & ~lumen
    brightest = _brightest(patch.hu, REACH_MM, patch.spacing_zyx)
    return bool(
        (patch.hu[shell] > OPEN_HU).mean() >= CLOSED
        and (brightest[shell] > WALL_HU).mean() >= WALLED
        and patch.lungs[shell].mean() >= WITHIN_LUNG
    )


def _closed_neighbours(patch: _Patch, number: int, away: NDArray[np.float32]) -> int:
    """How many other closed pockets of gas lie within :data:`NEAR_MM` of a lumen."""
    from scipy.ndimage import binary_dilation

    count = 0
    for other in np.unique(patch.cores[(away > 0) & (away <= NEAR_MM)]):
        if other in (0, number):
            continue
        core = patch.cores == other
        # The core lacks its eroded border; two voxels farther out lies what closes it.
        shell = binary_dilation(core, iterations=4) & ~binary_dilation(core, iterations=2)
        gas = np.median(patch.hu[core]) < GAS_HU + GAS_TOLERANCE_HU
        count += bool(gas and core.sum() >= 5 and (patch.hu[shell] > OPEN_HU).mean() > 0.5)
    return count


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
