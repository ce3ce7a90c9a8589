"""Branching vessels and airways that fill a lung, and how much of every voxel they take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..lesions.textures import Field, Grid, ball_depth

Points = NDArray[np.float64]

# Murray's law has exponent 3; measured pulmonary arteries branch with 2.7 or so (Huang et al. 1996).
_BRANCHING_EXPONENT = 2.7


@dataclass(frozen=True)
class Tree:
    """Straight tubes.

    Attributes:
        start: (n, 3) mm, order z, y, x.
        end: (n, 3) mm.
        radius: (n,) mm.
    """

    start: Points
    end: Points
    radius: NDArray[np.float64]

    def swollen(self, factor: float, extra_mm: float) -> Tree:
        """The same tubes, the radius ``factor`` times larger plus ``extra_mm``: an airway with its wall."""
        return Tree(self.start, self.end, self.radius * factor + extra_mm)


def grow(root: Points, supplied: Points, leaf_radius_mm: float, rng: np.random.Generator) -> Tree:
    """A tree from the root that ends in every supplied point, after Tawhai et al. (J Appl Physiol 2004).

    A branch heads for the centre of the points that it supplies, part of the way; there the points are
    parted at right angles to their longest extent. A branch that supplies n points has radius leaf *
    n^(1/2.7).

    Args:
        root: (3,) mm, order z, y, x.
        supplied: (n, 3) mm, at least one point.
        leaf_radius_mm: radius of the last branches.
        rng: source of the wandering of the branches.
    """
    starts: list[Points] = []
    ends: list[Points] = []
    counts: list[int] = []
    stack: list[tuple[Points, Points]] = [(root, supplied)]
    while stack:
        here, points = stack.pop()
        centre = points.mean(axis=0)
        if len(points) == 1:
            there = centre
        else:
            there = here + rng.uniform(0.35, 0.5) * (centre - here)
            there = there + rng.normal(0, 0.06, 3) * np.linalg.norm(there - here)
            _, axes = np.linalg.eigh(np.cov(points.T) + 1e-6 * np.eye(3))
            along = (points - centre) @ axes[:, 2]
            first = along > np.median(along)
            if first.all() or not first.any():
                first = np.arange(len(points)) % 2 == 0
            stack += [(there, points[first]), (there, points[~first])]
        starts.append(here)
        ends.append(there)
        counts.append(len(points))
    radius = leaf_radius_mm * np.array(counts, float) ** (1 / _BRANCHING_EXPONENT)
    return Tree(np.array(starts), np.array(ends), radius)


def occupancy(tree: Tree, grid: Grid) -> Field:
    """Share of every voxel inside the tubes, 0..1, with partial volume for tubes thinner than a voxel.

    Thick tubes are chains of balls with an edge one voxel wide; thin ones spread their volume over the
    eight nearest voxels.

    Returns:
        (z, y, x) float32.
    """
    voxel = float(np.prod(grid.spacing)) ** (1 / 3)
    thick = tree.radius > 0.9 * voxel
    centres, radii, _ = _samples(tree, thick, voxel)
    share = np.clip(
        ball_depth(grid, centres, radii, reach_mm=voxel) / np.float32(voxel) + np.float32(0.5), 0, 1
    )
    centres, radii, step = _samples(tree, ~thick, voxel)
    share += _splat(centres, np.pi * radii**2 * step / voxel**3, grid)
    return np.asarray(np.minimum(share, 1), np.float32)


def _samples(
    tree: Tree, chosen: NDArray[np.bool_], voxel: float
) -> tuple[Points, NDArray[np.float64], NDArray[np.float64]]:
    """Points along the chosen tubes, with radius and the length that each stands for."""
    start, end, radius = tree.start[chosen], tree.end[chosen], tree.radius[chosen]
    length = np.linalg.norm(end - start, axis=1)
    count = np.maximum(1, np.ceil(length / (0.5 * np.maximum(radius, voxel)))).astype(int)
    tube = np.repeat(np.arange(len(count)), count)
    nth = np.arange(len(tube)) - np.repeat(np.cumsum(count) - count, count)
    way = ((nth + 0.5) / count[tube])[:, None]
    return start[tube] + way * (end - start)[tube], radius[tube], (length / count)[tube]


def _splat(points: Points, amount: NDArray[np.float64], grid: Grid) -> Field:
    """Distribute amounts over the eight voxels round each point by trilinear weights."""
    position = np.stack(
        [
            (points[:, a] - axis[0]) / s
            for a, (axis, s) in enumerate(zip(grid.axes, grid.spacing, strict=True))
        ]
    )
    low = np.floor(position).astype(int)
    part = position - low
    total = np.zeros(int(np.prod(grid.shape)))
    shape = np.array(grid.shape)[:, None]
    for corner in np.ndindex(2, 2, 2):
        index = low + np.array(corner)[:, None]
        weight = np.prod(np.where(np.array(corner)[:, None] == 1, part, 1 - part), axis=0) * amount
        ok = ((index >= 0) & (index < shape)).all(axis=0)
        flat = np.ravel_multi_index(tuple(index[:, ok]), grid.shape)
        total += np.bincount(flat, weight[ok], minlength=total.size)
    return total.astype(np.float32).reshape(grid.shape)
