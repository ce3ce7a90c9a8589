"""Balls, tubes and plates of known size in a cylinder of lung, blurred and noisy as on the canonical grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]
SPACING = (2.0, 1.0, 1.0)
SHAPE = (60, 130, 150)
CENTRE = (60.0, 65.0, 75.0)
"""mm in the order (z, y, x)."""

POSITION = tuple(np.meshgrid(*[np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)], indexing="ij"))
LUNGS = ((POSITION[1] - CENTRE[1]) / 60) ** 2 + ((POSITION[2] - CENTRE[2]) / 70) ** 2 < 1


def ball(radius: float, centre: Sequence[float] = CENTRE) -> Array:
    """Share of every voxel within a ball."""
    away = np.sqrt(sum((p - c) ** 2 for p, c in zip(POSITION, centre, strict=True)))
    return np.clip(radius - away + 0.5, 0, 1)


def tube(radius: float, direction: Sequence[float]) -> Array:
    """Share of every voxel within an endless tube through the centre."""
    along = np.asarray(direction, float) / np.linalg.norm(direction)
    offset = [p - c for p, c in zip(POSITION, CENTRE, strict=True)]
    t = sum(o * a for o, a in zip(offset, along, strict=True))
    away = np.sqrt(sum((o - t * a) ** 2 for o, a in zip(offset, along, strict=True)))
    return np.clip(radius - away + 0.5, 0, 1)


def plate(thickness: float) -> Array:
    """Share of every voxel within a coronal plate through the centre."""
    return np.clip(thickness / 2 - np.abs(POSITION[1] - CENTRE[1]) + 0.5, 0, 1)


def scene(
    *parts: tuple[Array, float], lung_hu: float = -860.0, noise_hu: float = 25.0
) -> NDArray[np.float32]:
    """HU of a lung with parts painted over it in order, blurred by 0.8 mm, within a wall of 40 HU."""
    hu = np.full(SHAPE, lung_hu)
    for share, value in parts:
        hu = hu * (1 - share) + value * share
    hu = gaussian_filter(hu, (0.4, 0.8, 0.8)) + _noise() * noise_hu
    hu[~LUNGS] = 40
    return hu.astype(np.float32)


@cache
def _noise() -> Array:
    noise = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), (0, 0.6, 0.6))
    noise /= noise.std()
    noise.flags.writeable = False
    return noise
