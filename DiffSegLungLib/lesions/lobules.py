"""Secondary lobules, meshes and cysts: a tessellation into cells of a size, with walls as thin as asked.

A wall of one millimetre is thinner than a voxel is long. Its share of a voxel is therefore computed, not
sampled: the overlap of a slab with the voxel's extent across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .textures import Field, Grid, spline_field

Points = NDArray[np.float32]
Kind = TypeVar("Kind", bound=np.generic)

# A rank fits into five bits.
_MOST_CANDIDATES, _RANK_BITS = 31, np.int32(31)
# Seeds repeat after this many cells, in one of a few arrangements, turned and shifted: nobody sees it, and it
# is cheap.
_TILE_CELLS, _TILES = 9, 6
_APART, _DROPPED = 0.8, 0.12
_FAR_MM = 1e3
_AT_ONCE = 2**16


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
        bend_mm: how far faces are bent along y and x, standard deviation, on a scale of one and a half cells.
        layers: (z, y, x) mm, depth below the pleura: seeds move to the middle of layers one cell thick.
    """
    where = np.ones(grid.shape, bool) if where is None else where
    seeds = _seeds_over(grid, size_mm, rng)
    if layers is not None:
        seeds = _layered(seeds, grid, layers, size_mm)
    bend = np.float32(bend_mm) * spline_field(grid, 1.5 * size_mm, rng) if bend_mm else None
    number = np.arange(1, len(seeds) + 1, dtype=np.int32)
    return _nearest(grid, where, seeds, number, bend, size_mm=size_mm)


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


@dataclass(frozen=True)
class _Blocks:
    """A grid cut into blocks of voxels that share the few seeds that come into question.

    Attributes:
        grid: what is cut.
        size: voxels of a block along (z, y, x).
        count: blocks along (z, y, x).
        used: (n,) flat numbers of the blocks that matter.
    """

    grid: Grid
    size: tuple[int, int, int]
    count: tuple[int, int, int]
    used: NDArray[np.intp]

    @classmethod
    def of(cls, grid: Grid, where: NDArray[np.bool_], edge_mm: float) -> _Blocks:
        """Blocks of about this edge that hold any wanted voxel."""
        bz, by, bx = (max(1, round(edge_mm / s)) for s in grid.spacing)
        nz, ny, nx = (-(-n // b) for n, b in zip(grid.shape, (bz, by, bx), strict=True))
        blocks = cls(grid, (bz, by, bx), (nz, ny, nx), np.zeros(0, np.intp))
        wanted = blocks._cut(where).reshape(nz * ny * nx, -1).any(axis=1)
        # One block where nothing is wanted, so that there is always a cell.
        used = np.flatnonzero(wanted) if wanted.any() else np.zeros(1, np.intp)
        return cls(grid, (bz, by, bx), (nz, ny, nx), used)

    def _cut(self, values: NDArray[Kind]) -> NDArray[Kind]:
        whole = [n * b for n, b in zip(self.count, self.size, strict=True)]
        missing = [(0, w - n) for w, n in zip(whole, values.shape, strict=True)]
        padded = np.pad(values, missing, mode="edge") if any(m for _, m in missing) else values
        shape = [n for pair in zip(self.count, self.size, strict=True) for n in pair]
        return padded.reshape(shape).transpose(0, 2, 4, 1, 3, 5)

    def cut(self, values: NDArray[Kind]) -> NDArray[Kind]:
        """(n, z, y, x) of the used blocks."""
        return self._cut(values).reshape(-1, *self.size)[self.used]

    def joined(self, blocks: NDArray[Kind], fill: float) -> NDArray[Kind]:
        """(z, y, x) of the grid, ``fill`` where no block was used."""
        if len(self.used) == np.prod(self.count):
            whole = blocks
        else:
            whole = np.full((int(np.prod(self.count)), *self.size), fill, blocks.dtype)
            whole[self.used] = blocks
        whole = whole.reshape(*self.count, *self.size).transpose(0, 3, 1, 4, 2, 5)
        full = [n * b for n, b in zip(self.count, self.size, strict=True)]
        z, y, x = self.grid.shape
        return np.ascontiguousarray(whole.reshape(full)[:z, :y, :x])

    def positions(self) -> list[NDArray[np.float32]]:
        """Coordinates of the used blocks' voxels along each axis, (n, block's voxels along it)."""
        found = []
        for axis, index in enumerate(np.unravel_index(self.used, self.count)):
            at = index[:, None] * self.size[axis] + np.arange(self.size[axis])
            start, step = self.grid.axes[axis][0], self.grid.spacing[axis]
            found.append((start + step * at).astype(np.float32))
        return found


def _nearest(
    grid: Grid,
    where: NDArray[np.bool_],
    seeds: Points,
    number: NDArray[np.int32],
    bend: Field | None,
    *,
    size_mm: float,
) -> Cells:
    """Cells of the wanted voxels, from the two nearest seeds of each."""
    from scipy.spatial import cKDTree

    edge_mm = max(0.4 * size_mm, 3.5)
    blocks = _Blocks.of(grid, where, edge_mm)
    axes = blocks.positions()
    # As many as fill the ball that reaches from a block's middle to the second seed of its corner.
    reach = 0.85 + edge_mm * 3**0.5 / 2 / size_mm
    few = min(int(1.25 * 4.19 * reach**3) + 4, _MOST_CANDIDATES, len(seeds))
    middle = np.stack([a.mean(axis=1) for a in axes], 1)
    near = np.asarray(cKDTree(seeds).query(middle, k=few)[1]).reshape(-1, few)
    bent = None if bend is None else blocks.cut(bend)
    columns = np.ascontiguousarray(seeds.T)
    # A few thousand blocks at a time: what a pass leaves is still in the cache for the next one.
    step = max(1, _AT_ONCE // int(np.prod(blocks.size)))
    parts = []
    for start in range(0, len(blocks.used), step):
        some = slice(start, start + step)
        y, x = axes[1][some, None, :, None], axes[2][some, None, None, :]
        if bent is not None:
            y, x = y + bent[some], x - bent[some]
        own, other, first, second = _two_nearest(axes[0][some, :, None, None], y, x, seeds, near[some])
        normal = [at.take(other) - at.take(own) for at in columns]
        apart = np.maximum(np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2), np.float32(1e-3))
        across = [np.abs(n) * np.float32(s) for n, s in zip(normal, grid.spacing, strict=True)]
        parts.append(
            (
                (second - first) / (2 * apart),
                np.sqrt(first),
                number.take(own),
                number.take(other),
                (across[0] + across[1] + across[2]) / apart,
            )
        )
    face, seed, mine, behind, long = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Cells(
        blocks.joined(face, _FAR_MM),
        blocks.joined(seed, _FAR_MM),
        blocks.joined(mine, 0),
        blocks.joined(behind, 0),
        blocks.joined(long, 1.0),
        int(number.max()) + 1,
    )


def _two_nearest(
    z: Field, y: Field, x: Field, seeds: Points, near: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Field, Field]:
    """Numbers and squared distances of the two nearest among ``near``, each block's candidates."""
    shape = np.broadcast_shapes(z.shape, y.shape, x.shape)
    first = np.full(shape, np.iinfo(np.int32).max, np.int32)
    second = first.copy()
    squared, other_axis = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for rank, candidate in enumerate(near.T):
        at = seeds[candidate][:, :, None, None, None]
        np.subtract(y, at[:, 1], out=squared)
        squared *= squared
        np.subtract(x, at[:, 2], out=other_axis)
        other_axis *= other_axis
        squared += other_axis
        squared += (z - at[:, 0]) ** 2
        # The lowest bits of a distance give way to who it belongs to: then one comparison sorts both.
        code = squared.view(np.int32)
        code &= ~_RANK_BITS
        code |= np.int32(rank)
        later = np.maximum(first, code, out=other_axis.view(np.int32))
        np.minimum(first, code, out=first)
        np.minimum(second, later, out=second)
    row = (np.arange(len(near), dtype=np.int32) * near.shape[1])[:, None, None, None]
    own, other = (near.ravel().take(row + (rank & _RANK_BITS)) for rank in (first, second))
    near_mm2, next_mm2 = ((v & ~_RANK_BITS).view(np.float32) for v in (first, second))
    return own, other, near_mm2, next_mm2
