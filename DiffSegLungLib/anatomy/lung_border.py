"""From the coarse grid back to the CT's: borders of the lungs at full resolution, and their thirds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.ct import CT, Geometry
from ..io.geometry import bounding_box, to_image
from ..io.padding import AIR as PADDED_AIR
from ..threads import in_threads, slabs
from .lung_shape import LEFT, RIGHT
from .shapes import COARSE_MM, Mask, dilated, distance_mm, opened, squared_steps
from .thorax import Chest

SLAB = 16
"""Slices at a time: a large CT never has a float copy."""

SQUARES = ((1, 5, 5), (5, 1, 5), (5, 5, 1))


def lungs_at_full_resolution(
    ct: CT, chest: Chest, solid: NDArray[np.uint8], aerated: Mask, airway: Mask
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Carry coarse lungs to the CT's grid and draw their border to aerated tissue there.

    Args:
        ct: the CT.
        chest: its coarse form.
        solid: uint8 coarse (z, y, x), 0 outside, 1 right and 2 left lung.
        aerated: bool coarse, the aerated part.
        airway: bool coarse, lumen of trachea and main bronchi.

    Returns:
        the side of every voxel of the CT (0 outside the lungs) and the lumen of the airway.
    """
    # What lies farther from lung and airway than this margin has no say on any voxel near them.
    around = bounding_box((solid > 0) | airway, 6)
    coarse = chest.geometry.crop(around)
    depth = -distance_mm(solid[around] > 0)
    # Dense lung has no border in HU: there the coarse surface counts, interpolated.
    dense = opened((solid > 0) & ~aerated, COARSE_MM)[around]
    from_dense = distance_mm(dense)
    code = _nearer_side(solid[around])
    code[dilated(airway, COARSE_MM)[around]] = 4
    # Beyond the ends of the scan nothing is seen either.
    unseen = dilated(np.pad(~chest.field, 2, constant_values=True), 2 * COARSE_MM)[2:-2, 2:-2, 2:-2][around]
    side = np.zeros(ct.hu.shape, np.uint8)
    lumen = np.zeros(ct.hu.shape, bool)
    axis = ct.geometry.craniocaudal
    box = _box_of((solid > 0) | airway, chest.geometry, ct.geometry)
    first, end = box[axis].start, box[axis].stop

    def one(planes: slice) -> None:
        sides = [*box[:axis], planes, *box[axis + 1 :]]
        slab = (sides[0], sides[1], sides[2])
        grid = ct.geometry.crop(slab)
        inside = sampled(depth, coarse, grid, "linear")
        label = sampled(code, coarse, grid, "nearest")
        air = ct.hu[slab] < chest.threshold
        near_airway = label == 4
        felt = _felt(coarse, grid)
        padding = np.zeros(air.shape, bool)
        if unseen[felt].any():
            padding = ct.hu[slab] == PADDED_AIR
        if padding.any():
            padding &= sampled(unseen, coarse, grid, "nearest") > 0
        if padding.any():
            padding &= _in_squares(ct.hu[slab] == PADDED_AIR)
        air &= ~padding
        part = (inside > COARSE_MM) | (air & (inside > -COARSE_MM))
        if (from_dense[felt] < 2 * COARSE_MM).any():
            part |= (sampled(from_dense, coarse, grid, "linear") < COARSE_MM) & (inside > 0)
        planes_of = [np.moveaxis(a, axis, 0) for a in (part, inside, closed_across(part, axis))]
        for plane, within, whole in zip(*planes_of, strict=True):
            np.copyto(plane, True, where=(_filled(plane) | whole) & (within > 0))
        part &= ~padding
        side[slab] = label * (part & ~near_airway)
        # Pages of memory that nothing is written to are never taken: the airway fills few of them.
        np.copyto(lumen[slab], True, where=near_airway & air)

    in_threads(one, slabs(first, end, SLAB))
    return side, lumen


def _in_squares(flat: Mask) -> Mask:
    """What padding became, beside a lung that the field of view cuts: squares of 5 x 5 voxels alike."""
    from scipy.ndimage import binary_opening

    return np.asarray(np.logical_or.reduce([binary_opening(flat, np.ones(s, bool)) for s in SQUARES]))


def _nearer_side(sides: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every coarse voxel near the lungs takes the side of the nearer lung; those far away count as right."""
    limit = 25
    right, left = squared_steps(sides == RIGHT, limit), squared_steps(sides == LEFT, limit)
    return np.where(right <= left, RIGHT, LEFT).astype(np.uint8)


def closed_across(mask: Mask, axis: int) -> Mask:
    """Each section across an axis closed by a diamond of two voxels; beyond its border the mask is empty.

    What ``binary_closing(section, iterations=2)`` of scipy gives, a whole slab at a time.
    """
    across = [a for a in range(mask.ndim) if a != axis]
    for step in (np.logical_or, np.logical_or, np.logical_and, np.logical_and):
        before, mask = mask, mask.copy()
        for a in across:
            old, new = np.moveaxis(before, a, 0), np.moveaxis(mask, a, 0)
            step(new[1:], old[:-1], out=new[1:])
            step(new[:-1], old[1:], out=new[:-1])
            if step is np.logical_and:
                new[[0, -1]] = False
    return mask


def _felt(source: Geometry, target: Geometry) -> tuple[slice, slice, slice]:
    """The box of the source's voxels that samples on a part of the CT's grid may ask for."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in target.shape], indexing="ij"), axis=-1)
    at = source.index(target.world(corners)).reshape(-1, 3)
    last = np.array(source.shape) - 1
    low = np.clip(np.floor(at.min(axis=0)).astype(int) - 1, 0, last)
    high = np.clip(np.ceil(at.max(axis=0)).astype(int) + 1, 0, last)
    z, y, x = (slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
    return z, y, x


def _filled(plane: Mask) -> Mask:
    """A section with its holes, which no path of edge neighbours joins to the outside."""
    from scipy.ndimage import label

    labels, count = label(np.pad(~plane, 1, constant_values=True))
    return np.asarray(labels[1:-1, 1:-1] != 1) if count > 1 else plane


def _box_of(mask: Mask, source: Geometry, target: Geometry) -> tuple[slice, slice, slice]:
    """The box of the target's voxels that may lie within two coarse voxels of a coarse mask."""
    used = bounding_box(mask, 2)
    corners = np.stack(np.meshgrid(*[(s.start - 0.5, s.stop - 0.5) for s in used], indexing="ij"), axis=-1)
    index = target.index(source.world(corners)).reshape(-1, 3)
    low, high = np.floor(index.min(axis=0)).astype(int), np.ceil(index.max(axis=0)).astype(int) + 1
    z, y, x = (slice(max(0, a), max(1, min(n, b))) for a, b, n in zip(low, high, target.shape, strict=True))
    return z, y, x


def sampled(array: NDArray[Any], source: Geometry, target: Geometry, order: str) -> NDArray[Any]:
    """Sample a coarse array on part of the CT's grid; beyond its ends the nearest value counts."""
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(target.size)
    resampler.SetOutputSpacing(target.spacing)
    resampler.SetOutputOrigin(target.origin)
    resampler.SetOutputDirection(target.direction)
    resampler.SetInterpolator(sitk.sitkLinear if order == "linear" else sitk.sitkNearestNeighbor)
    resampler.SetUseNearestNeighborExtrapolator(True)
    sampled: NDArray[Any] = sitk.GetArrayFromImage(resampler.Execute(to_image(array, source)))
    return sampled
