"""Random fields and random geometry in millimetres, so that a texture does not change with the voxel size.

Cubic spline noise, balls and branching tubes; the lobules are in ``lobules.py``. The mathematics of the
families that measure, ``textures_c.py`` and ``textures_d.py``, is kept from both training and tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

# The mean over positions of the sum of squared cubic B-spline weights, per axis: 151/315.
_SPLINE_POWER = 151.0 / 315.0


@dataclass(frozen=True)
class Grid:
    """Sample positions of a rectilinear grid in millimetres, one 1D array per axis (z, y, x)."""

    z: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of samples along (z, y, x)."""
        return len(self.z), len(self.y), len(self.x)

    @property
    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The three coordinate arrays in the order (z, y, x)."""
        return self.z, self.y, self.x

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring samples along (z, y, x); 1 where an axis has a single sample."""
        z, y, x = (float(a[1] - a[0]) if len(a) > 1 else 1.0 for a in self.axes)
        return z, y, x

    def open(self) -> tuple[Field, Field, Field]:
        """The coordinates as three float32 arrays that broadcast to the grid."""
        z, y, x = (a.astype(np.float32) for a in self.axes)
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def points(self) -> NDArray[np.float64]:
        """All positions, (n, 3) in the order z, y, x."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, 3)


def smoothstep(value: NDArray[np.floating]) -> Field:
    """Cubic ramp from 0 (value <= -1) over 0.5 (value 0) to 1 (value >= 1)."""
    t = np.clip(value * np.float32(0.5) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _spline_weights(axis: NDArray[np.float64], scale_mm: float, offset: float) -> Field:
    """Cubic B-spline basis at the samples of one axis: (samples, knots) float32, rows sum to one."""
    t = (axis - axis[0]) / scale_mm + offset
    knot = np.floor(t).astype(int)
    u = t - knot
    pieces = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    weights = np.zeros((len(axis), int(knot.max()) + 4), np.float32)
    for shift, piece in enumerate(pieces):
        weights[np.arange(len(axis)), knot + shift] = piece / 6
    return weights


def spline_field(grid: Grid, scale_mm: float, rng: np.random.Generator) -> Field:
    """Smooth Gaussian field: white noise on knots ``scale_mm`` apart, cubic B-spline between.

    Returns:
        (z, y, x) float32, mean 0, variance 1.
    """
    wz, wy, wx = (_spline_weights(axis, scale_mm, rng.uniform()) for axis in grid.axes)
    knots = rng.standard_normal((wz.shape[1], wy.shape[1], wx.shape[1]), dtype=np.float32)
    field = np.tensordot(wz, knots, axes=1)
    field = np.matmul(wy, field)
    field = np.matmul(field, wx.T)
    return np.asarray(field * np.float32(_SPLINE_POWER**-1.5), np.float32)


def ball_depth(
    grid: Grid, centres: NDArray[np.float64], radii: NDArray[np.float64], *, reach_mm: float = 2.0
) -> Field:
    """Depth in mm below the surface of a union of balls (negative outside): a Boolean model.

    Args:
        grid: where to evaluate.
        centres: (n, 3) mm, order z, y, x.
        radii: (n,) mm.
        reach_mm: how far outside the balls the depth is exact; beyond it stays at ``-reach_mm``.

    Returns:
        (z, y, x) float32.
    """
    depth = np.full(grid.shape, -reach_mm, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        box = tuple(
            slice(*np.searchsorted(axis, (c - radius - reach_mm, c + radius + reach_mm)))
            for axis, c in zip(grid.axes, centre, strict=True)
        )
        z, y, x = (axis[s] - c for axis, s, c in zip(grid.axes, box, centre, strict=True))
        squared = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2
        depth[box] = np.maximum(depth[box], (radius - np.sqrt(squared)).astype(np.float32))
    return depth


def branches(
    start: NDArray[np.float64],
    heading: NDArray[np.float64],
    length_mm: float,
    radius_mm: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A wandering tube that forks until its length is used up, as a chain of balls.

    Args:
        start: (3,) mm, order z, y, x.
        heading: (3,) direction, any length.
        length_mm: from the root to the tips.
        radius_mm: at the root; each fork narrows it.

    Returns:
        Centres (n, 3) in mm and radii (n,) in mm.
    """
    centres: list[NDArray[np.float64]] = []
    radii: list[float] = []
    stack = [(start, heading / (np.linalg.norm(heading) + 1e-9), length_mm, radius_mm)]
    while stack:
        point, way, left, radius = stack.pop()
        segment = left * rng.uniform(0.35, 0.6) if left > 8 else left
        travelled = 0.0
        while travelled < segment:
            way = way + rng.normal(0, 0.12, 3)
            way /= np.linalg.norm(way)
            point = point + way * radius
            travelled += radius
            centres.append(point)
            radii.append(radius)
        if left > 8:
            turn = np.cross(way, rng.standard_normal(3))
            turn /= np.linalg.norm(turn) + 1e-9
            for sign in (-1, 1):
                stack.append((point, way + sign * turn * rng.uniform(0.4, 0.8), left - segment, radius * 0.8))
    return np.array(centres).reshape(-1, 3), np.array(radii)
