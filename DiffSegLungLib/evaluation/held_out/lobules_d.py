"""Secondary lobules, meshes and stacked cysts of family "d": cells of power (Laguerre) diagrams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...lesions.textures import Field, Grid, smoothstep

Points = NDArray[np.float32]

# Random numbers that the faces of a diagram share out among them.
_DRAWS = 4096
_MARGIN_MM = 5.0


def swayed(points: Points, scale_mm: float, by_mm: float, rng: np.random.Generator) -> Points:
    """Points displaced by two crossing sine waves a coordinate, so that flat faces curve."""
    turn = rng.standard_normal((2, 3, 3))
    turn *= 2 * np.pi / scale_mm / np.linalg.norm(turn, axis=2, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, (2, 1, 3))
    shift = sum(np.sin(points @ t.T.astype(np.float32) + p) for t, p in zip(turn, phase, strict=True))
    return np.asarray(points + np.float32(0.7 * by_mm) * shift, np.float32)


@dataclass(frozen=True)
class Cells:
    """The cells of a power (Laguerre) diagram that points lie in, and the faces around them.

    Attributes:
        seeds: (m, 3) mm.
        cell: (n,) number of the cell.
        faces_mm: (n, k) distance to the planes between the cell and its k nearest ones; the first is the
            nearest seed's, which is not always the nearest plane.
        chance: (n, k) 0..1, random, one number a face.
    """

    seeds: Points
    cell: NDArray[np.intp]
    faces_mm: NDArray[np.float32]
    chance: NDArray[np.float32]

    @cached_property
    def near_mm(self) -> NDArray[np.float32]:
        """(n,) distance to the nearest face."""
        return np.asarray(self.faces_mm.min(axis=1), np.float32)

    @property
    def count(self) -> int:
        """How many cells."""
        return len(self.seeds)

    def mean(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean in each cell of a value a point; (m,), 0 where a cell has no point."""
        size = np.maximum(np.bincount(self.cell, minlength=self.count), 1)
        return np.asarray(np.bincount(self.cell, values, self.count) / size, np.float64)

    def rounded_mm(self, corner_mm: float) -> NDArray[np.float32]:
        """(n,) depth in a cell whose corners are rounded: a smooth minimum over its faces."""
        least = self.near_mm[:, None]
        total = np.exp((least - self.faces_mm) / np.float32(corner_mm)).sum(axis=1)
        return np.asarray(self.near_mm - np.float32(corner_mm) * np.log(total), np.float32)


def power_cells(
    points: Points, seeds: Points, rng: np.random.Generator, *, contrast_mm: float = 0.0, faces: int = 1
) -> Cells:
    """The power diagram of weighted seeds, at some points.

    The power distance |p - s|^2 - w is a distance in four dimensions, to the seed lifted by
    sqrt(largest w - w), so that a k-d tree finds the nearest exactly.

    Args:
        points: (n, 3) mm.
        seeds: (m, 3) mm, at least two.
        rng: source of every random choice.
        contrast_mm: square root of the largest weight; larger weights make larger cells.
        faces: how many faces of the own cell to look at.
    """
    from scipy.spatial import cKDTree

    lift = contrast_mm * np.sqrt(rng.uniform(0, 1, len(seeds)))
    tree = cKDTree(np.column_stack([seeds, lift]))
    k = min(faces + 1, len(seeds))
    away, which = (
        np.asarray(found) for found in tree.query(np.column_stack([points, np.zeros(len(points))]), k=k)
    )
    own, others = which[:, :1], which[:, 1:]
    apart = np.maximum(np.linalg.norm(seeds[others] - seeds[own], axis=2), 1e-3)
    planes = (away[:, 1:] ** 2 - away[:, :1] ** 2) / (2 * apart)
    pair = np.minimum(own, others) * 73856093 ^ np.maximum(own, others) * 19349663
    chance = rng.uniform(0, 1, _DRAWS).astype(np.float32)[pair % _DRAWS]
    return Cells(seeds, own[:, 0], planes.astype(np.float32), chance)


def shaken_lattice(points: Points, gap_mm: float, rng: np.random.Generator, *, shake: float = 0.2) -> Points:
    """A turned face-centred cubic lattice round some points, neighbours ``gap_mm`` apart, each shaken.

    Args:
        points: (n, 3) mm, which it covers with a margin.
        gap_mm: of neighbours before shaking.
        rng: source of every random choice.
        shake: standard deviation of each coordinate as a share of the gap.
    """
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(3), np.zeros(3))
    middle, reach = (low + high) / 2, float(np.linalg.norm(high - low)) / 2 + 1.5 * gap_mm
    edge = gap_mm * 2**0.5
    steps = np.arange(-np.ceil(reach / edge), np.ceil(reach / edge) + 1)
    corner = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    base = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    lattice = ((corner[:, None] + base).reshape(-1, 3) + rng.uniform(-0.5, 0.5, 3)) * edge
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    lattice = lattice @ rotation + middle
    inside = np.all((lattice > low - 1.2 * gap_mm) & (lattice < high + 1.2 * gap_mm), axis=1)
    kept = lattice[inside]
    return np.asarray(kept + rng.normal(0, shake * gap_mm, kept.shape), np.float32)


def layered_seeds(
    points: Points,
    from_wall_mm: NDArray[np.floating],
    sizes_mm: tuple[float, float],
    rng: np.random.Generator,
) -> Points:
    """Seeds that keep their distance, in layers parallel to a wall as far as they fit.

    Args:
        points: (n, 3) mm, where seeds may lie.
        from_wall_mm: (n,) mm, distance of the points from the wall.
        sizes_mm: smallest and largest distance between seeds; the mean is the pitch of the layers.
        rng: source of every random choice.
    """
    from scipy.spatial import cKDTree

    pitch = 0.85 * (sizes_mm[0] + sizes_mm[1]) / 2
    most = min(len(points), 6000)
    pick = rng.choice(len(points), most, replace=False)
    off = np.abs(from_wall_mm[pick] / pitch % 1 - 0.5) + rng.uniform(0, 0.15, most)
    candidates = points[pick[np.argsort(off)]]
    gaps = rng.uniform(*sizes_mm, most)
    tree = cKDTree(candidates)
    free, kept = np.ones(most, bool), []
    for i in range(most):
        if free[i]:
            kept.append(i)
            free[tree.query_ball_point(candidates[i], gaps[i])] = False
    return np.asarray(candidates[kept], np.float32)


@dataclass(frozen=True)
class Place:
    """The samples near a lesion as a list of points, for geometry that is costly.

    Attributes:
        grid: sample positions.
        depth: (z, y, x) mm below the surface of the lesion, negative outside.
        rng: source of every random choice.
    """

    grid: Grid
    depth: Field
    rng: np.random.Generator

    @cached_property
    def where(self) -> NDArray[np.bool_]:
        """(z, y, x) bool, the samples no more than ``_MARGIN_MM`` outside the surface."""
        return np.asarray(self.depth > -_MARGIN_MM)

    @cached_property
    def points(self) -> Points:
        """(n, 3) mm, the positions of ``where``."""
        index = np.nonzero(self.where)
        return np.stack([a[i].astype(np.float32) for a, i in zip(self.grid.axes, index, strict=True)], 1)

    def spread(self, values: NDArray[np.floating] | NDArray[np.bool_], outside: float = 0.0) -> Field:
        """A value a point as a field."""
        field = np.full(self.grid.shape, outside, np.float32)
        field[self.where] = values
        return field

    def lobules(self, gap_mm: float, *, faces: int = 1, shake: float = 0.2) -> Cells:
        """Polyhedra about ``gap_mm`` wide with slightly curved faces."""
        rng = self.rng
        points = swayed(self.points, 2.5 * gap_mm, 0.1 * gap_mm, rng)
        seeds = shaken_lattice(points, gap_mm, rng, shake=shake)
        return power_cells(points, seeds, rng, contrast_mm=0.4 * gap_mm, faces=faces)

    def net(self, gap_mm: float, thick_mm: tuple[float, float], missing: float) -> Field:
        """Share, 0..1, of septa between lobules: each face has its own thickness, and some are missing."""
        cells = self.lobules(gap_mm, faces=3, shake=0.34)
        thin, wide = thick_mm
        drawn = (cells.chance - np.float32(missing)) / np.float32(1 - missing)
        half = np.where(drawn > 0, 0.5 * (thin + (wide - thin) * drawn), -1.0)
        line = np.asarray((half - cells.faces_mm).max(axis=1), np.float32)
        return self.spread(smoothstep(line / np.float32(0.5)))
