"""Regions of the lungs: sides, thirds of equal volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..io.ct import Geometry
from .lung_shape import LEFT, RIGHT

STEP_MM = 0.01


def thirds_of(side: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Cut each lung by two axial planes of the patient: 1 upper, 2 middle, 3 lower third of its volume.

    Args:
        side: uint8 (z, y, x), 0 outside, 1 right and 2 left lung.
        geometry: their grid; it may be oblique.

    Returns:
        uint8 (z, y, x), 0 outside the lungs.
    """
    third = np.zeros_like(side)
    steps = geometry.matrix[2]
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in side.shape[::-1]], indexing="ij"), axis=-1) @ steps
    k, j, i = (np.arange(n, dtype=np.float32) for n in side.shape)
    in_plane = (steps[1] * j[:, None] + steps[0] * i - corners.min()).astype(np.float32)
    length = int(np.ptp(corners) / STEP_MM) + 2
    for lung in (RIGHT, LEFT):
        # Counted by height, slice by slice: the heights of all voxels of a large CT would not fit.
        count = np.zeros(length, np.int64)
        for z, plane in zip(k, side, strict=True):
            count += np.bincount(_height(in_plane, steps[2] * z, plane == lung), minlength=length)
        lower, upper = np.searchsorted(np.cumsum(count), [count.sum() / 3, count.sum() * 2 / 3])
        for z, plane, part in zip(k, side, third, strict=True):
            height = _height(in_plane, steps[2] * z, plane == lung)
            part[plane == lung] = np.where(height > upper, 1, np.where(height > lower, 2, 3))
    return third


def _height(in_plane: NDArray[np.float32], level: float, where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Height of some voxels of a slice above the lowest one, in steps of :data:`STEP_MM`."""
    return np.asarray(np.rint((in_plane[where] + np.float32(level)) / np.float32(STEP_MM)), np.int64)


def region_map(side: NDArray[np.uint8], third: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sides and thirds in one label map: 1..3 right upper, middle, lower; 4..6 left; 0 outside.

    Args:
        side: (z, y, x), 1 right, 2 left lung, 0 outside.
        third: (z, y, x), 1 upper, 2 middle, 3 lower third wherever ``side`` > 0.
    """
    # In one lung only, every third could be missing: its voxels then stay in the upper one, and none is lost.
    inner = np.maximum(third, 1)
    return np.where(side > 0, (np.maximum(side, 1) - 1) * np.uint8(3) + inner, 0).astype(np.uint8)
