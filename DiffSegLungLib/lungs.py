"""The lungs of a chest CT: one solid mask that keeps dense disease inside, its sides, thirds and airway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .airoffset import AirOffset, air_offset
from .airways import airway_lumen
from .ct import CT, Geometry, resample
from .errors import InputError
from .ribcage import dense_lung
from .thorax import (
    COARSE_MM,
    VOXEL_ML,
    Chest,
    Mask,
    bounding_box,
    chest_of,
    closed,
    components,
    dilated,
    distance_mm,
    eroded,
    opened,
)

__all__ = ["AirOffset", "Lungs", "air_offset", "lungs_from_mask", "segment_lungs"]

RIGHT, LEFT = 1, 2
SMALLEST_LUNG_ML = 200.0


@dataclass(frozen=True)
class Lungs:
    """Lungs and their regions on the CT's own grid.

    Attributes:
        mask: bool (z, y, x), both lungs, solid (vessels and disease inside), no trachea nor main bronchi.
        side: uint8 (z, y, x), 0 outside, 1 right lung, 2 left lung (the patient's).
        airway: bool (z, y, x), lumen of trachea and main bronchi; empty where none is seen.
        third: uint8 (z, y, x), 0 outside, 1 upper, 2 middle, 3 lower third of each lung's volume.
    """

    mask: NDArray[np.bool_]
    side: NDArray[np.uint8]
    airway: NDArray[np.bool_]
    third: NDArray[np.uint8]


def segment_lungs(ct: CT) -> Lungs:
    """Find the lungs of a CT, whole or cropped, one side or both, in any orientation.

    Shapes are found on cubes of 2.5 mm in the patient's own axes; the border to aerated lung is then drawn at
    the CT's resolution, half-way between the HU of lung and of soft tissue.

    Raises:
        InputError: code ``no-lungs``, there is less than 200 ml of aerated lung in the field of view.
    """
    chest = chest_of(ct)
    airway = airway_lumen(chest)
    aerated = _aerated_lung(chest, airway)
    sides = _sides(chest, aerated, airway)
    solid = np.zeros(chest.hu.shape, np.uint8)
    for side in (RIGHT, LEFT):
        solid[_solid(sides == side) & (solid == 0)] = side
    solid[chest.exterior | dilated(airway, COARSE_MM)] = 0
    dense = dense_lung(chest, solid) & ~dilated(airway, COARSE_MM)
    solid[dense] = _nearest_label(solid)[dense]
    return _refined(ct, chest, solid, aerated, airway)


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
    sides = _sides(chest, soft >= 100, airway)
    nearest = _nearest_label(sides)
    side = resample(nearest, chest.geometry, ct.geometry, order="nearest", fill=0) * mask
    lumen = resample(airway, chest.geometry, ct.geometry, order="nearest", fill=0) & ~mask
    return Lungs(mask.astype(bool), side, lumen, _thirds(side, ct.geometry))


def _aerated_lung(chest: Chest, airway: Mask) -> Mask:
    """Air inside the body that is lung: neither airway nor gas in stomach and bowel."""
    air = (chest.hu < chest.threshold) & ~chest.exterior & ~dilated(airway, COARSE_MM)
    air &= ~_free_gas(chest, air)
    labels, counts = components(opened(air, 1.5 * COARSE_MM))
    keep = np.zeros(len(counts), bool)
    for label in range(1, len(counts)):
        if counts[label] * VOXEL_ML >= 20.0:
            values = chest.hu[labels == label]
            keep[label] = np.percentile(values, 80) > -940 and np.percentile(values, 40) < -550
    core = keep[labels]
    aerated = dilated(core, 2 * COARSE_MM) & air if core.any() else core
    if aerated.sum() * VOXEL_ML < SMALLEST_LUNG_ML:
        raise InputError(
            "no-lungs",
            f"Only {aerated.sum() * VOXEL_ML:.0f} ml of aerated lung were found in this CT.",
            f"A chest CT that shows at least {SMALLEST_LUNG_ML:.0f} ml of lung is needed.",
        )
    return np.asarray(aerated)


def _free_gas(chest: Chest, air: Mask) -> Mask:
    """Gas in stomach and bowel: pockets of pure gas that mostly border on soft tissue, unlike bullae.

    Where only a thin wall parts such a pocket from lung, the border is the brightest ridge between them.
    """
    gas = opened((chest.hu < -940) & air, 2 * COARSE_MM)
    labels, counts = components(gas)
    free = np.zeros(air.shape, bool)
    for label in np.flatnonzero(counts * VOXEL_ML >= 5.0):
        if label == 0:
            continue
        part = labels == label
        away = distance_mm(part)
        shell = chest.hu[(away > 2 * COARSE_MM) & (away <= 4 * COARSE_MM) & chest.field]
        if np.std(chest.hu[part]) < 30 and (shell > -300).mean() > 0.45:
            lung = opened(air & (chest.hu > -930) & (away > 10.0), 2 * COARSE_MM)
            markers = np.where(part, 1, np.where(lung, 2, 0)).astype(np.uint8)
            box = bounding_box(away <= 30.0)
            free[box] |= _flooded(chest.hu[box], markers[box], air[box]) == 1
    return free


def _flooded(hu: NDArray[np.float32], markers: NDArray[np.uint8], air: Mask) -> NDArray[np.uint8]:
    """Markers grown through air until they meet on the brightest ridge between them; 0 outside the air."""
    import SimpleITK as sitk

    relief = np.where(air, hu, np.float32(3000.0))
    flooded = sitk.MorphologicalWatershedFromMarkers(
        sitk.GetImageFromArray(relief), sitk.GetImageFromArray(markers), False, False
    )
    grown: NDArray[np.uint8] = sitk.GetArrayFromImage(flooded)
    return grown * air


def _sides(chest: Chest, lungs: Mask, airway: Mask) -> NDArray[np.uint8]:
    """Label aerated lung 1 (right) or 2 (left); lungs that touch are parted along the brightest ridge."""
    for shrink_mm in (0.0, 2.5, 5.0, 7.5, 10.0, 15.0):
        core = eroded(lungs, shrink_mm) if shrink_mm else lungs
        markers = _two_lungs(core)
        if markers is not None:
            break
    else:
        return lungs.astype(np.uint8) * np.uint8(_single_side(chest, lungs, airway))
    return _flooded(chest.hu, markers, lungs)


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
    """Which lung a lone lung is: airway, spine and contrast-filled heart lie on its medial side."""
    x = np.arange(lungs.shape[2])
    landmark = airway if airway.any() else opened((chest.hu > 150) & chest.field, 2 * COARSE_MM)
    if not landmark.any():
        landmark = chest.body
    own = np.average(x, weights=lungs.sum(axis=(0, 1)))
    middle = np.average(x, weights=landmark.sum(axis=(0, 1)))
    return RIGHT if own < middle else LEFT


def _solid(lung: Mask) -> Mask:
    """One lung with its vessels, nodules and small dense parts filled."""
    from scipy.ndimage import binary_fill_holes

    if not lung.any():
        return lung
    box = bounding_box(lung, 6)
    solid = np.zeros_like(lung)
    solid[box] = binary_fill_holes(closed(lung[box], 10.0))
    return solid


def _refined(ct: CT, chest: Chest, solid: NDArray[np.uint8], aerated: Mask, airway: Mask) -> Lungs:
    """Carry coarse lungs to the CT's grid and draw their border to aerated tissue there."""
    from scipy.ndimage import binary_closing, binary_fill_holes

    depth = -distance_mm(solid > 0)
    # Dense lung has no border in HU: there the coarse surface counts, interpolated.
    from_dense = distance_mm(opened((solid > 0) & ~aerated, COARSE_MM))
    code = _nearest_label(solid)
    code[dilated(airway, COARSE_MM)] = 4
    mask = np.zeros(ct.hu.shape, bool)
    side = np.zeros(ct.hu.shape, np.uint8)
    lumen = np.zeros(ct.hu.shape, bool)
    axis = 2 - int(np.argmax(np.abs(np.reshape(ct.geometry.direction, (3, 3))[2])))  # craniocaudal
    for start in range(0, mask.shape[axis], 16):
        box = [slice(0, n) for n in ct.geometry.shape]
        box[axis] = slice(start, min(start + 16, mask.shape[axis]))
        slab = (box[0], box[1], box[2])
        grid = ct.geometry.crop(slab)
        inside = _at(depth, chest.geometry, grid, "linear")
        label = _at(code, chest.geometry, grid, "nearest")
        air = ct.hu[slab] < chest.threshold
        near_airway = label == 4
        near_dense = _at(from_dense, chest.geometry, grid, "linear") < COARSE_MM
        part = (inside > COARSE_MM) | (air & (inside > -COARSE_MM)) | (near_dense & (inside > 0))
        for plane, within in zip(np.moveaxis(part, axis, 0), np.moveaxis(inside, axis, 0), strict=True):
            whole = binary_fill_holes(plane) | binary_closing(plane, iterations=2)
            np.copyto(plane, True, where=whole & (within > 0))
        mask[slab] = part & ~near_airway
        side[slab] = label & 3
        lumen[slab] = near_airway & (ct.hu[slab] < chest.threshold)
    side *= mask
    return Lungs(mask, side, lumen & ~mask, _thirds(side, ct.geometry))


def _at(array: NDArray[Any], source: Geometry, target: Geometry, order: str) -> NDArray[Any]:
    """Sample a coarse array on part of the CT's grid; beyond its ends the nearest value counts."""
    import SimpleITK as sitk

    from .geometry import to_image

    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(target.size)
    resampler.SetOutputSpacing(target.spacing)
    resampler.SetOutputOrigin(target.origin)
    resampler.SetOutputDirection(target.direction)
    resampler.SetInterpolator(sitk.sitkLinear if order == "linear" else sitk.sitkNearestNeighbor)
    resampler.SetUseNearestNeighborExtrapolator(True)
    sampled: NDArray[Any] = sitk.GetArrayFromImage(resampler.Execute(to_image(array, source)))
    return sampled


def _nearest_label(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every voxel takes the label of the nearest labelled one."""
    right, left = distance_mm(labels == RIGHT), distance_mm(labels == LEFT)
    return np.where(right <= left, RIGHT, LEFT).astype(np.uint8)


def _thirds(side: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Cut each lung by two axial planes (of the patient) into upper, middle and lower third of its volume."""
    third = np.zeros_like(side)
    steps = geometry.matrix[2]
    k, j, i = (np.arange(n, dtype=np.float32) for n in side.shape)
    for lung in (RIGHT, LEFT):
        if not (side == lung).any():
            continue
        box = bounding_box(side == lung)
        inside = side[box] == lung
        height = (
            np.float32(steps[2]) * k[box[0], None, None]
            + np.float32(steps[1]) * j[box[1], None]
            + np.float32(steps[0]) * i[box[2]]
        )
        lower, upper = np.quantile(height[inside], [1 / 3, 2 / 3])
        part = np.where(height > upper, 1, np.where(height > lower, 2, 3)).astype(np.uint8)
        third[box][inside] = part[inside]
    return third
