"""Texture of lung tissue on the canonical grid: energy of the finest structure, and ridges (lines).

Both answer to noise as well as to structure. Noise adds to either in the same amount everywhere, so the
scan's own healthy parenchyma tells how much of it to take away (:mod:`.statistics`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

MOST_FINE_HU = 200.0
MOST_RIDGE_HU = 80.0


def fine_energy(hu: Field, smooth: Field, voxels: NDArray[np.int64]) -> Field:
    """Squared difference of the CT and its smoothed self, HU², cut at :data:`MOST_FINE_HU` squared.

    Args:
        hu: (z, y, x) CT in HU.
        smooth: (z, y, x) :func:`.statistics.smoothed` of it.
        voxels: (m,) flat indices at which to measure.

    Returns:
        (m,) float32.
    """
    difference = hu.ravel()[voxels] - smooth.ravel()[voxels]
    return np.asarray(np.minimum(difference**2, MOST_FINE_HU**2), np.float32)


def ridges(smooth: Field, voxels: NDArray[np.int64]) -> Field:
    """How much of a bright line or sheet runs through a voxel in the axial plane: -λ, HU/mm².

    λ is the lower eigenvalue of the Hessian in the plane, taken over 4 mm; cut to 0..:data:`MOST_RIDGE_HU`.

    Args:
        smooth: (z, y, x) smoothed CT in HU, with a margin of two voxels around ``voxels``.
        voxels: (m,) flat indices at which to measure.

    Returns:
        (m,) float32.
    """
    flat, row = smooth.ravel(), smooth.shape[2]

    def at(offset: int) -> Field:
        return flat.take(voxels + offset, mode="clip")

    twice = 2 * at(0)
    yy = (at(2 * row) + at(-2 * row) - twice) / 4
    xx = (at(2) + at(-2) - twice) / 4
    yx = (at(row + 1) + at(-row - 1) - at(row - 1) - at(1 - row)) / 4
    lower = (yy + xx) / 2 - np.hypot((yy - xx) / 2, yx)
    return np.asarray(np.clip(-lower, 0, MOST_RIDGE_HU), np.float32)
