"""Regions of the lungs: sides, thirds of equal volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..io.ct import Geometry
from ..threads import in_threads, shares
from .lung_shape import LEFT, RIGHT

STEP_MM = 0.01


THIRDS = 3


def regions_of(side: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Regions of both lungs, each cut into thirds of its volume by two axial planes of the patient.

    Args:
        side: uint8 (z, y, x), 0 outside, 1 right and 2 left lung; the regions take its place.
        geometry: their grid; it may be oblique.

    Returns:
        uint8 (z, y, x): 1..3 upper, middle, lower third of the right lung, 4..6 of the left, 0 outside.
    """
    steps = geometry.matrix[2]
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in side.shape[::-1]], indexing="ij"), axis=-1) @ steps
    k, j, i = (np.arange(n, dtype=np.float32) for n in side.shape)
    in_plane = (steps[1] * j[:, None] + steps[0] * i - corners.min()).astype(np.float32)
    length = int(np.ptp(corners) / STEP_MM) + 2

    # Counted by height, slice by slice: the heights of all voxels of a large CT would not fit.
    def counted(slab: slice) -> NDArray[np.int64]:
        count = np.zeros((2, length), np.int64)
        for z, plane in zip(k[slab], side[slab], strict=True):
            for i, lung in enumerate((RIGHT, LEFT)):
                count[i] += np.bincount(_height(in_plane, steps[2] * z, plane == lung), minlength=length)
        return count

    def cut(slab: slice) -> None:
        for z, plane in zip(k[slab], side[slab], strict=True):
            for lung in (LEFT, RIGHT):  # the regions of the left lung are no side's number
                lower, upper = borders[lung]
                here = plane == lung
                height = _height(in_plane, steps[2] * z, here)
                third = np.where(height > upper, 1, np.where(height > lower, 2, 3))
                plane[here] = (lung - 1) * THIRDS + third

    total = np.sum(in_threads(counted, shares(len(side))), axis=0)
    borders = {
        lung: np.searchsorted(np.cumsum(count), [count.sum() / 3, count.sum() * 2 / 3])
        for lung, count in zip((RIGHT, LEFT), total, strict=True)
    }
    in_threads(cut, shares(len(side)))
    return side


def _height(in_plane: NDArray[np.float32], level: float, where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Height of some voxels of a slice above the lowest one, in steps of :data:`STEP_MM`."""
    return np.asarray(np.rint((in_plane[where] + np.float32(level)) / np.float32(STEP_MM)), np.int64)


def side_of(regions: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lung of every region: 1 right, 2 left, 0 outside; any shape."""
    return (regions + np.uint8(THIRDS - 1)) // np.uint8(THIRDS)


def third_of(regions: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The third of every region: 1 upper, 2 middle, 3 lower, 0 outside; any shape."""
    return regions - np.uint8(THIRDS) * (regions > THIRDS)
