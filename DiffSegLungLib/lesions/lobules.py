"""Secondary lobules, meshes and cysts: a tessellation into cells of a size, with walls as thin as asked.

A wall of one millimetre is thinner than a voxel is long. Its share of a voxel is therefore computed, not
sampled: the overlap of a slab with the voxel's extent across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .textures import Field, Grid, spline_field

Points = NDArray[np.float32]

_CANDIDATES = 14
# Seeds repeat after this many cells, in one of a few arrangements, turned and shifted: nobody sees it, and it
# is cheap.
_TILE_CELLS, _TILES = 9, 6
_APART, _DROPPED = 0.8, 0.12
_TILE_FROM_VOXELS = 120_000
_FAR_MM = 1e3


@dataclass(frozen=True)
class Cells:
    """A tessellation on a grid.

    Attributes:
        face_mm: (z, y, x) distance to the nearest face; 1000 where nothing was asked for.
        seed_mm: (z, y, x) distance to the seed of the own cell; 1000 there too.
        own: (z, y, x) int32 number of the cell, 0 there too.
        other: (z, y, x) int32 number of the neighbour behind the nearest face.
        voxel_mm: (z, y, x) extent of a voxel across that face.
        count: numbers of cells are below this.
    """

    face_mm: Field
    seed_mm: Field
    own: NDArray[np.int32]
    other: NDArray[np.int32]
    voxel_mm: Field
    count: int

    def walls(self, width_mm: Field | float) -> Field:
        """Share 0..1 of each voxel that lies in walls of this width."""
        return slab_share(self.face_mm, width_mm, self.voxel_mm)

    def by_cell(self, values: NDArray[np.floating]) -> Field:
        """(z, y, x) float32 of one value a cell, given ``count`` of them."""
        return np.asarray(values, np.float32)[self.own]

    def by_face(self, rng: np.random.Generator) -> Field:
        """(z, y, x) float32, one uniform number in 0..1 for each face, the same from both sides."""
        table = rng.random(65536, dtype=np.float32)
        low, high = np.minimum(self.own, self.other), np.maximum(self.own, self.other)
        return np.asarray(table[(low * 40503 + high * 60493) & 65535])


def slab_share(away_mm: Field, width_mm: Field | float, voxel_mm: Field | float) -> Field:
    """Share 0..1 of a voxel inside a slab that is ``away_mm`` off; it is ``voxel_mm`` long across it."""
    half, reach = np.asarray(width_mm, np.float32) / 2, np.asarray(voxel_mm, np.float32) / 2
    overlap = np.minimum(away_mm + reach, half) - np.maximum(away_mm - reach, -half)
    return np.asarray(np.clip(overlap / (2 * reach), 0, 1), np.float32)


def tessellate(
    grid: Grid,
    size_mm: float,
    rng: np.random.Generator,
    *,
    where: NDArray[np.bool_] | None = None,
    bend_mm: float = 0.0,
    layers: Field | None = None,
) -> Cells:
    """Cells of about one size: the Voronoi cells of points that keep a distance.

    Args:
        grid: where to evaluate.
        size_mm: edge of the cube with the volume of an average cell.
        rng: source of every random choice.
        where: (z, y, x) bool, the voxels that matter; None for all.
        bend_mm: how far faces are bent, standard deviation, on a scale of one and a half cells.
        layers: (z, y, x) mm, depth below the pleura: seeds move to the middle of layers one cell thick.
    """
    where = np.ones(grid.shape, bool) if where is None else where
    if layers is None and np.count_nonzero(where) > _TILE_FROM_VOXELS:
        tile = _tile_shape(grid, size_mm)
        if np.prod(tile) < 0.5 * np.count_nonzero(where):
            return _repeated(grid, tile, size_mm, bend_mm, rng)
    seeds = _seeds_over(grid, size_mm, rng)
    if layers is not None:
        seeds = _layered(seeds, grid, layers, size_mm)
    bend = [bend_mm * spline_field(grid, 1.5 * size_mm, rng) for _ in range(2 if bend_mm else 0)]
    found = _nearest_two(grid, where, seeds, size_mm, bend)
    number = np.arange(1, len(seeds) + 1, dtype=np.int32)
    return _scattered(grid, where, found, seeds, number)


@lru_cache(maxsize=_TILES)
def _arrangement(number: int) -> Points:
    """Points (n, 3) of a periodic cube of edge ``_TILE_CELLS``, about one a unit of volume, kept apart."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng([number, 1408])
    tries = rng.uniform(0, _TILE_CELLS, (4 * _TILE_CELLS**3, 3))
    kept = np.ones(len(tries), bool)
    pairs = cKDTree(tries, boxsize=np.full(3, float(_TILE_CELLS))).query_pairs(_APART, output_type="ndarray")
    for first, second in pairs[np.argsort(pairs[:, 0], kind="stable")]:
        if kept[first]:
            kept[second] = False
    # Some cells are twice as large as others.
    kept &= rng.random(len(kept)) > _DROPPED
    return np.asarray(tries[kept], np.float32)


def _arranged(rng: np.random.Generator) -> Points:
    """Points of one of the arrangements, mirrored and turned, in a cube of edge 1."""
    points = _arrangement(int(rng.integers(_TILES))) / np.float32(_TILE_CELLS)
    points = points[:, rng.permutation(3)] + rng.random(3, dtype=np.float32)
    return np.asarray(np.where(rng.random(3) < 0.5, 1 - points, points) % 1, np.float32)


def _seeds_over(grid: Grid, size_mm: float, rng: np.random.Generator) -> Points:
    """Seeds over a grid and one and a half cells around it."""
    points = _arranged(rng)
    period = size_mm * len(points) ** (1 / 3)
    low, high = (np.array([a[end] for a in grid.axes]) for end in (0, -1))
    low, high = low - 1.5 * size_mm, high + 1.5 * size_mm
    steps = [np.arange(np.ceil((b - a) / period)) for a, b in zip(low, high, strict=True)]
    shifts = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 1, 3)
    seeds = (low + period * (points + shifts)).reshape(-1, 3)
    return np.asarray(seeds[(seeds < high).all(axis=1)], np.float32)


def _tile_shape(grid: Grid, size_mm: float) -> tuple[int, int, int]:
    z, y, x = (max(2, round(_TILE_CELLS * size_mm / s)) for s in grid.spacing)
    return z, y, x


def _repeated(
    grid: Grid, shape: tuple[int, int, int], size_mm: float, bend_mm: float, rng: np.random.Generator
) -> Cells:
    """A periodic tessellation of one tile, repeated over the grid."""
    small = Grid(*(np.arange(n, dtype=np.float64) * s for n, s in zip(shape, grid.spacing, strict=True)))
    period = np.asarray(shape) * np.asarray(grid.spacing)
    inner = _arranged(rng) * period
    shifts = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    seeds = (inner + shifts * period).reshape(-1, 3).astype(np.float32)
    number = np.tile(np.arange(1, len(inner) + 1, dtype=np.int32), 27)
    near = ((seeds > -2.5 * size_mm) & (seeds < period + 2.5 * size_mm)).all(axis=1)
    everywhere = np.ones(shape, bool)
    bend = [_ripple(small, period, bend_mm, rng) for _ in range(2 if bend_mm else 0)]
    found = _nearest_two(small, everywhere, seeds[near], size_mm, bend)
    tile = _scattered(small, everywhere, found, seeds[near], number[near])
    index = np.ix_(
        *((np.arange(n) + int(rng.integers(m))) % m for n, m in zip(grid.shape, shape, strict=True))
    )
    return Cells(
        tile.face_mm[index], tile.seed_mm[index], tile.own[index], tile.other[index],
        tile.voxel_mm[index], tile.count,
    )  # fmt: skip


def _ripple(grid: Grid, period: NDArray[np.float64], sd_mm: float, rng: np.random.Generator) -> Field:
    """A field of this standard deviation that has the period of a tile: a few waves that fit into it."""
    z, y, x = grid.open()
    field = np.zeros(grid.shape, np.float32)
    for _ in range(4):
        turns = rng.integers(-4, 5, 3) * 2 * np.pi / period
        field += np.cos(turns[0] * z + turns[1] * y + turns[2] * x + rng.uniform(0, 2 * np.pi)).astype(
            np.float32
        )
    return field * np.float32(sd_mm / 2**0.5)


def _layered(seeds: Points, grid: Grid, layers: Field, size_mm: float) -> Points:
    """Seeds moved along the pleura's normal to the middle of their layer."""
    from scipy import ndimage

    at = [(s - a[0]) / step for s, a, step in zip(seeds.T, grid.axes, grid.spacing, strict=True)]
    step = [ndimage.map_coordinates(layers, at, order=1, mode="nearest")]
    for axis in range(3):
        moved = [a + (1.5 / grid.spacing[axis]) * (axis == i) for i, a in enumerate(at)]
        step.append((ndimage.map_coordinates(layers, moved, order=1, mode="nearest") - step[0]) / 1.5)
    depth, slope = step[0], np.stack(step[1:], 1)
    wanted = (np.floor(depth / size_mm) + 0.5) * size_mm
    inside = (depth > 0) & (depth < 4 * size_mm)
    move = np.where(inside, np.clip(wanted - depth, -size_mm / 2, size_mm / 2), 0) * 0.85
    return np.asarray(seeds + move[:, None] * slope, np.float32)


Found = tuple[NDArray[np.intp], NDArray[np.intp], Field, Field]


def _nearest_two(
    grid: Grid, where: NDArray[np.bool_], seeds: Points, size_mm: float, bend: list[Field]
) -> Found:
    """Numbers of the two nearest seeds of the wanted voxels, and the squared distances."""
    from scipy.spatial import cKDTree

    tree = cKDTree(seeds)
    index = np.nonzero(where)
    points = [a[i].astype(np.float32) for a, i in zip(grid.axes, index, strict=True)]
    for axis, shift in zip((1, 2), bend, strict=False):
        points[axis] = points[axis] + shift[index]
    block = [max(1, round(size_mm / 3 / s)) for s in grid.spacing]
    if np.prod(block) < 8 or len(points[0]) < 1000:
        distance, seed = (np.asarray(v) for v in tree.query(np.stack(points, 1), k=2))
        return (
            seed[:, 0],
            seed[:, 1],
            distance[:, 0].astype(np.float32) ** 2,
            distance[:, 1].astype(np.float32) ** 2,
        )
    # All voxels of a block share the few seeds that come into question.
    coarse = [-(-n // b) for n, b in zip(grid.shape, block, strict=True)]
    of = [i // b for i, b in zip(index, block, strict=True)]
    code = (of[0] * coarse[1] + of[1]) * coarse[2] + of[2]
    count = np.bincount(code, minlength=int(np.prod(coarse)))
    used = np.flatnonzero(count)
    rank = np.zeros(len(count), np.intp)
    rank[used] = np.arange(len(used))
    rank = rank[code]
    middle = np.stack([np.bincount(code, p, len(count))[used] / count[used] for p in points], 1)
    _, near = tree.query(middle, k=min(_CANDIDATES, len(seeds)))
    first = np.full(len(code), np.inf, np.float32)
    second = first.copy()
    who, next_who = (np.zeros(len(code), np.intp) for _ in range(2))
    for column in np.asarray(near).T:
        candidate = column[rank]
        at = seeds[candidate]
        squared = (points[0] - at[:, 0]) ** 2 + (points[1] - at[:, 1]) ** 2 + (points[2] - at[:, 2]) ** 2
        wins, follows = squared < first, squared < second
        next_who = np.where(wins, who, np.where(follows, candidate, next_who))
        second = np.where(wins, first, np.where(follows, squared, second))
        who, first = np.where(wins, candidate, who), np.where(wins, squared, first)
    return who, next_who, first, second


def _scattered(
    grid: Grid,
    where: NDArray[np.bool_],
    found: Found,
    seeds: Points,
    number: NDArray[np.int32],
) -> Cells:
    """What was found for the wanted voxels, as arrays of the whole grid."""
    own, other, first, second = found
    count = int(number.max()) + 1
    normal = seeds[other] - seeds[own]
    apart = np.maximum(np.sqrt((normal**2).sum(axis=1)), 1e-3)
    across = np.abs(normal) @ np.asarray(grid.spacing, np.float32) / apart

    def spread(values: NDArray[np.floating], fill: float) -> Field:
        out = np.full(grid.shape, fill, np.float32)
        out[where] = values
        return out

    def numbered(seed: NDArray[np.intp]) -> NDArray[np.int32]:
        out = np.zeros(grid.shape, np.int32)
        out[where] = number[seed]
        return out

    return Cells(
        spread((second - first) / (2 * apart), _FAR_MM),
        spread(np.sqrt(first), _FAR_MM),
        numbered(own),
        numbered(other),
        spread(across, 1.0),
        count,
    )
