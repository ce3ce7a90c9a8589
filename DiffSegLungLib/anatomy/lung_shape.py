"""Lungs on the coarse grid: which air is lung, right and left, and the solid shape of each."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.geometry import bounding_box
from ..threads import in_threads
from .shapes import (
    COARSE_MM,
    VOXEL_ML,
    Mask,
    closed,
    components,
    dilated,
    distance_mm,
    eroded,
    flooded,
    opened,
)
from .thorax import Chest

RIGHT, LEFT = 1, 2
SMALLEST_LUNG_ML = 30.0
"""Both lungs of a newborn hold more."""

SMALLEST_PIECE_ML, WHOLE_MM = 20.0, 100.0
"""Of lung apart from the rest; in proportion less where fewer mm from top to bottom are in view."""

VESSEL_ML = 5.0
"""A hole that the end of the scan opens, and no larger, is a vessel, not a dome of the diaphragm."""

CLOSING_MM = 10.0
SIGHT_MM, ENCLOSING_DIRECTIONS = 60.0, 20
CONTRAST_HU = 140.0
CUT_SHARE, CUT_SHARE_NARROW = 0.2, 0.8
"""A lone lung is cut on one side where so many more of its rows than on the other end at the border."""

NARROW_MM, VESSEL_HU, INNER_MM = 200.0, -500.0, 5.0
"""Of 255 crops of 60 to 110 mm through twelve scans, the vessels deeper than 5 mm tell the side of 236; bones
that of six in ten. With the whole chest in view the bones tell it always."""

GAS_RANGE_HU = (-960.0, -890.0)
GAS_WALL_SHARE, LUNG_AROUND_SHARE = 0.35, 0.5
"""Of what lies 5 to 10 mm from a pocket of gas, at least so much is soft tissue; of what lies 2.5 to 5 mm
from it, less than the other is air. Measured in twelve scans and their crops: stomach and colon have 0.20 to
0.37 of air there, the darkest part of a lung has 0.64 and more, wherever a wall or the field cuts it."""

AIR_AROUND_HU = -700.0


def aerated_lung(chest: Chest, airway: Mask, enlarged: float = 1.0) -> Mask:
    """Air inside the body that is lung: neither airway nor gas in stomach and bowel.

    Args:
        chest: the chest.
        airway: lumen of trachea and main bronchi.
        enlarged: how many times as large as it is the chest is looked at.

    Raises:
        InputError: code ``no-lungs``, there is less than 30 ml of it.
    """
    air = (chest.hu < chest.threshold) & ~chest.exterior & ~dilated(airway, COARSE_MM)
    gas_hu = gas_level(chest)
    air &= ~_free_gas(chest, air, gas_hu)
    labels, counts = components(opened(air, 1.5 * COARSE_MM))
    largest = counts[1:].max(initial=0)
    keep = np.zeros(len(counts), bool)
    height_mm = np.count_nonzero(chest.field.any(axis=(1, 2))) * COARSE_MM
    smallest = SMALLEST_PIECE_ML * min(1.0, height_mm / WHOLE_MM)
    for label in range(1, len(counts)):
        if counts[label] * VOXEL_ML >= smallest:
            part = labels == label
            values = chest.hu[part]
            is_lung = np.percentile(values, 80) > gas_hu and np.percentile(values, 40) < -550
            # A small piece apart from the lungs may be bowel, whose gas is darker than lung in its middle.
            if is_lung and counts[label] < 0.2 * largest:
                inner = chest.hu[eroded(part, 2 * COARSE_MM)]
                is_lung = not inner.size or np.median(inner) > gas_hu + 20
            keep[label] = is_lung
    core = keep[labels]
    aerated = dilated(core, 2 * COARSE_MM) & air if core.any() else core
    own_ml = VOXEL_ML / enlarged**3
    if aerated.sum() * own_ml < SMALLEST_LUNG_ML:
        within, around = (int(m.sum()) * own_ml for m in (air, chest.exterior & chest.field))
        raise InputError(
            "no-lungs",
            f"Only {aerated.sum() * own_ml:.0f} ml of aerated lung were found in this CT; it shows "
            f"{within:.0f} ml of air inside the body and {around:.0f} ml around it.",
            f"A chest CT with at least {SMALLEST_LUNG_ML:.0f} ml of lung is needed; if this is one, give a "
            "mask of its lungs (--lungs).",
        )
    return np.asarray(aerated)


def lung_sides(chest: Chest, lungs: Mask, airway: Mask) -> NDArray[np.uint8]:
    """Label aerated lung 1 (right) or 2 (left); lungs that touch are parted along the brightest ridge."""
    for shrink_mm in (0.0, 2.5, 5.0, 7.5, 10.0, 15.0):
        core = eroded(lungs, shrink_mm) if shrink_mm else lungs
        markers = _two_lungs(core)
        if markers is not None:
            break
    else:
        return lungs.astype(np.uint8) * np.uint8(_single_side(chest, lungs, airway))
    return flooded(chest.hu, markers, lungs)


def _two_lungs(core: Mask) -> NDArray[np.uint8] | None:
    """Markers 1 and 2 if the parts of a mask lie in two groups, right and left; None if they do not."""
    labels, counts = components(core)
    if len(counts) < 3:
        return None
    large = np.flatnonzero(counts > 0.02 * core.sum())
    large = large[large > 0]
    x = np.arange(core.shape[2])
    centre = {n: float(np.average(x, weights=(labels == n).sum(axis=(0, 1)))) * COARSE_MM for n in large}
    main = max(large, key=lambda n: counts[n])
    far = [n for n in large if abs(centre[n] - centre[main]) > 60.0]
    if not far:
        return None
    other = max(far, key=lambda n: counts[n])
    if counts[other] < 0.05 * counts[main]:
        return None
    right, left = sorted((main, other), key=lambda n: centre[n])
    markers = np.zeros(core.shape, np.uint8)
    for n in large:
        nearer_right = abs(centre[n] - centre[right]) <= abs(centre[n] - centre[left])
        markers[labels == n] = RIGHT if nearer_right else LEFT
    return markers


def _single_side(chest: Chest, lungs: Mask, airway: Mask) -> int:
    """Which lung a lone lung is: airway, spine and contrast-filled heart lie on its medial side.

    In a narrow field of view the large vessels lie there, and a strip of lung that it cuts on one side alone
    is cut on the medial one.
    """
    x = np.arange(lungs.shape[2])
    narrow = is_narrow(chest)
    if narrow or not airway.any():
        rows = lungs.any(axis=2)
        first, last = lungs.argmax(axis=2)[rows], x[-1] - lungs[:, :, ::-1].argmax(axis=2)[rows]
        field, each = np.pad(chest.field[rows], ((0, 0), (1, 1))), np.arange(len(first))
        cut_right, cut_left = (~field[each, n] for n in (first, last + 2))
        if abs(cut_right.mean() - cut_left.mean()) > (CUT_SHARE_NARROW if narrow else CUT_SHARE):
            return LEFT if cut_right.mean() > cut_left.mean() else RIGHT
    if narrow:
        inner = eroded(solid_lung(lungs), INNER_MM)
        vessels = inner & (chest.hu > VESSEL_HU)
        vessels &= ~opened(vessels, INNER_MM)  # what is thicker is consolidation
        if vessels.any():
            return RIGHT if _middle(inner) < _middle(vessels) else LEFT
    landmark = airway if airway.any() else opened((chest.hu > 150) & chest.field, 2 * COARSE_MM)
    if not landmark.any():
        landmark = chest.body
    return RIGHT if _middle(lungs) < _middle(landmark) else LEFT


def is_narrow(chest: Chest) -> bool:
    """Whether the field of view is narrower than :data:`NARROW_MM`, so that one lung fills it."""
    return bool(np.ptp(np.flatnonzero(chest.field.any(axis=(0, 1)))) * COARSE_MM < NARROW_MM)


def _middle(mask: Mask) -> float:
    """The mean column of a mask."""
    return float(np.average(np.arange(mask.shape[2]), weights=mask.sum(axis=(0, 1))))


def solid_lung(lung: Mask) -> Mask:
    """One lung with its vessels, nodules and small dense parts filled."""
    from scipy.ndimage import binary_fill_holes

    if not lung.any():
        return lung
    box = bounding_box(lung, 6)
    solid = np.zeros_like(lung)
    solid[box] = binary_fill_holes(closed(lung[box], CLOSING_MM))
    labels, counts = components(~np.pad(solid[box], ((0, 0), (1, 1), (1, 1))))
    vessels = counts * VOXEL_ML < VESSEL_ML
    vessels[0] = False
    solid[box] |= vessels[labels][:, 1:-1, 1:-1]
    return solid


def enclosed_tissue(chest: Chest, lung: Mask) -> Mask:
    """Dense tissue that sees its own lung in most directions: a mass at the hilum that one lung surrounds.

    Heart, great vessels and a dome of the diaphragm see lung in little more than half of the 26 directions.

    Args:
        chest: the chest.
        lung: bool coarse (z, y, x), one solid lung.
    """
    found = np.zeros_like(lung)
    if not lung.any():
        return found
    box = bounding_box(lung, 2)
    seen = np.zeros(lung[box].shape, np.uint8)
    for direction in product((-1, 0, 1), repeat=3):
        if any(direction):
            seen += seen_along(lung[box], direction, SIGHT_MM)
    tissue = (chest.hu[box] < CONTRAST_HU) & ~chest.exterior[box] & ~lung[box]
    found[box] = opened(tissue & (seen >= ENCLOSING_DIRECTIONS), COARSE_MM)
    return found


def seen_along(mask: Mask, direction: tuple[int, ...], reach_mm: float) -> Mask:
    """Voxels from which a coarse mask (z, y, x) is met within so many mm against a direction of the grid."""
    reach = int(reach_mm / (COARSE_MM * np.linalg.norm(direction)))
    seen, covered = mask, 1
    while covered < reach:
        step = min(covered, reach - covered)
        moved = np.zeros_like(seen)
        into = tuple(
            slice(max(0, step * d), n + min(0, step * d)) for d, n in zip(direction, seen.shape, strict=True)
        )
        out_of = tuple(
            slice(max(0, -step * d), n + min(0, -step * d))
            for d, n in zip(direction, seen.shape, strict=True)
        )
        if all(s.stop > s.start for s in into):
            moved[into] = seen[out_of]
        seen = seen | moved
        covered += step
    return seen


def nearest_side(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every voxel takes the label of the nearest labelled one."""
    right, left = in_threads(lambda side: distance_mm(labels == side), (RIGHT, LEFT))
    return np.where(right <= left, RIGHT, LEFT).astype(np.uint8)


def gas_level(chest: Chest) -> float:
    """Below this a coarse voxel may be pure gas: 55 HU above the darkest air in the body."""
    air = chest.hu[(chest.hu < chest.threshold) & ~chest.exterior]
    return float(np.clip(np.percentile(air, 0.5) + 55.0, *GAS_RANGE_HU)) if air.size else GAS_RANGE_HU[1]


def _free_gas(chest: Chest, air: Mask, gas_hu: float) -> Mask:
    """Gas in stomach and bowel: pockets of pure gas that border on soft tissue, not on aerated lung.

    Where only a thin wall parts such a pocket from lung, the border is the brightest ridge between them.
    """
    gas = opened((chest.hu < gas_hu) & air, 2 * COARSE_MM)
    labels, counts = components(gas)
    free = np.zeros(air.shape, bool)
    for label in np.flatnonzero(counts * VOXEL_ML >= 5.0):
        if label == 0:
            continue
        part = labels == label
        near = bounding_box(part, 5)
        away, hu, seen = distance_mm(part[near]), chest.hu[near], chest.field[near]
        shell = hu[(away > 2 * COARSE_MM) & (away <= 4 * COARSE_MM) & seen]
        rim = hu[(away > COARSE_MM) & (away <= 2 * COARSE_MM) & seen]
        walled = shell.size and (shell > -300).mean() > GAS_WALL_SHARE
        in_lung = rim.size and (rim < AIR_AROUND_HU).mean() > LUNG_AROUND_SHARE
        if np.std(chest.hu[part]) < 30 and walled and not in_lung:
            lung = opened(air & (chest.hu > gas_hu + 10) & ~dilated(part, 10.0), 2 * COARSE_MM)
            markers = np.where(part, 1, np.where(lung, 2, 0)).astype(np.uint8)
            box = bounding_box(part, round(30.0 / COARSE_MM))
            free[box] |= flooded(chest.hu[box], markers[box], air[box]) == 1
    return free
