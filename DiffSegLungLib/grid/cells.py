"""The lung as 8 mm cells: the lattice on which clustering works, and masked statistics over it.

A lung has 10^7 voxels but only 10^4 cells of 4 × 8 × 8 canonical voxels, the stride of the network's
bottleneck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .canonical import CELL

HALF_CELL = (CELL[0] // 2, CELL[1] // 2, CELL[2] // 2)
"""Canonical voxels (z, y, x) in a half cell of 4 mm, the finer lattice on which tissues are told."""

MIN_LUNG_SHARE = 0.25
"""A cell counts as lung from this share of lung voxels."""

STATISTICS, DIFFUSION = "statistics", "diffusion"


@dataclass(frozen=True)
class Cells:
    """What is known of every lung cell of one volume.

    Attributes:
        shape: number of cells along (z, y, x).
        index: (n,) int64, flat indices of the lung cells in the lattice, ascending.
        fraction: (n,) float32, share of lung voxels in the cell, 0.25..1.
        features: (n, d) float32, one column a feature.
        kinds: kind of each column, :data:`STATISTICS` or :data:`DIFFUSION`.
        names: name of each column.
    """

    shape: tuple[int, int, int]
    index: NDArray[np.int64]
    fraction: NDArray[np.float32]
    features: NDArray[np.float32]
    kinds: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.index)

    def of_kind(self, kind: str) -> NDArray[np.float32]:
        """The columns of one kind, (n, d_kind) float32."""
        return self.features[:, [k == kind for k in self.kinds]]

    def column(self, name: str) -> NDArray[np.float32]:
        """One column by name, (n,) float32."""
        return self.features[:, self.names.index(name)]

    def joined(self, features: NDArray[np.float32], kind: str) -> Cells:
        """The same cells with further columns of one kind."""
        names = tuple(f"{kind} {i}" for i in range(features.shape[1]))
        return replace(
            self,
            features=np.concatenate([self.features, features.astype(np.float32)], axis=1),
            kinds=self.kinds + (kind,) * features.shape[1],
            names=self.names + names,
        )

    def sample(self, chosen: NDArray[np.bool_]) -> Cells:
        """Only the cells chosen by a mask (n,), without their half cells."""
        return replace(
            self,
            index=self.index[chosen],
            fraction=self.fraction[chosen],
            features=self.features[chosen],
        )

    def to_lattice(self, values: NDArray[np.float32], fill: float = 0.0) -> NDArray[np.float32]:
        """Put values (n,) or (n, k) back on the lattice: (Z, Y, X) or (Z, Y, X, k) float32."""
        full = np.full((int(np.prod(self.shape)), *values.shape[1:]), fill, np.float32)
        full[self.index] = values
        return full.reshape(*self.shape, *values.shape[1:])


def pool(volumes: Sequence[Cells]) -> Cells:
    """The cells of several volumes in one row, for fitting a population; they have no common lattice."""
    return replace(
        volumes[0],
        shape=(0, 0, 0),
        index=np.concatenate([c.index for c in volumes]),
        fraction=np.concatenate([c.fraction for c in volumes]),
        features=np.concatenate([c.features for c in volumes]),
    )


@dataclass(frozen=True)
class Lattice:
    """Which lung voxels belong to which cell: the bookkeeping behind masked cell statistics.

    Attributes:
        shape: number of cells along (z, y, x).
        index: (n,) int64, flat indices of the lung cells.
        fraction: (n,) float32, share of lung voxels.
        voxels: (m,) int64, flat indices of the voxels measured: lung, without its border where the cell can
            spare it.
        owner: (m,) int64, flat cell index of each of these voxels.
    """

    shape: tuple[int, int, int]
    index: NDArray[np.int64]
    fraction: NDArray[np.float32]
    voxels: NDArray[np.int64]
    owner: NDArray[np.int64]

    @classmethod
    def over(cls, lungs: NDArray[np.bool_], core: NDArray[np.bool_], cell: tuple[int, int, int]) -> Lattice:
        """Lay a lattice of cells over a canonical lung mask whose axes are multiples of ``cell``.

        Args:
            lungs: (z, y, x).
            core: (z, y, x), :func:`inner` of it.
            cell: voxels (z, y, x) in a cell.
        """
        shape = (lungs.shape[0] // cell[0], lungs.shape[1] // cell[1], lungs.shape[2] // cell[2])
        total, size = int(np.prod(shape)), int(np.prod(cell))
        voxels = np.flatnonzero(lungs)
        owner = cell_of(voxels, lungs.shape, shape)
        count = np.bincount(owner, minlength=total)
        chosen = count >= MIN_LUNG_SHARE * size
        deep = core.ravel()[voxels]
        deep_count = np.bincount(owner[deep], minlength=total)
        # The border of the lung is half chest wall; it is measured only where a cell has little else.
        spare = deep_count >= 0.1 * size
        kept = chosen[owner] & (deep | ~spare[owner])
        index = np.flatnonzero(chosen)
        fraction = (count[index] / size).astype(np.float32)
        return cls(shape=shape, index=index, fraction=fraction, voxels=voxels[kept], owner=owner[kept])

    def sums(self, values: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """Sum of voxel values (m,) over every cell, (Z, Y, X) float64; without values, the voxel count."""
        total = int(np.prod(self.shape))
        return np.bincount(self.owner, weights=values, minlength=total).astype(np.float64).reshape(self.shape)

    def gather(self, lattice: NDArray[np.float64]) -> NDArray[np.float32]:
        """Values of the lung cells (n,) float32 from a lattice (Z, Y, X)."""
        return lattice.ravel()[self.index].astype(np.float32)


@dataclass(frozen=True)
class Lattices:
    """Lattices of a lung mask: its cells and its half cells.

    Attributes:
        core: (z, y, x) bool, :func:`inner` of the mask.
        cells: of 8 mm.
        half: of 4 mm.
    """

    core: NDArray[np.bool_]
    cells: Lattice
    half: Lattice

    @classmethod
    def over(cls, lungs: NDArray[np.bool_]) -> Lattices:
        """Lay both over a canonical lung mask whose axes are multiples of a cell.

        Raises:
            InputError: code ``thin-mask``, the mask fills no cell far enough to be described.
        """
        core = inner(lungs)
        cells, half = (Lattice.over(lungs, core, size) for size in (CELL, HALF_CELL))
        if len(cells.index) == 0 or len(half.index) == 0:
            raise InputError(
                "thin-mask",
                "The lung mask is thinner everywhere than what can be described.",
                "Give a mask that fills a quarter of at least one cube of 8 mm.",
            )
        return cls(core, cells, half)


def cell_of(
    voxels: NDArray[np.int64], voxel_shape: tuple[int, ...], cell_shape: tuple[int, int, int]
) -> NDArray[np.int64]:
    """Flat cell index of flat voxel indices."""
    parts = (
        place // (voxels // cells)
        for place, voxels, cells in zip(
            np.unravel_index(voxels, voxel_shape), voxel_shape, cell_shape, strict=True
        )
    )
    return np.ravel_multi_index(tuple(parts), cell_shape)


def inner(lungs: NDArray[np.bool_], rounds: int = 2) -> NDArray[np.bool_]:
    """Lung voxels at least ``rounds`` mm from the border in the axial plane: no blur of the chest wall."""
    from scipy.ndimage import binary_erosion

    plane = np.zeros((3, 3, 3), bool)
    plane[1] = [[False, True, False], [True, True, True], [False, True, False]]
    return np.asarray(binary_erosion(lungs, plane, iterations=rounds))


def spread(lattice: NDArray[np.float64], rounds: int = 1) -> NDArray[np.float64]:
    """Sum over a soft window (¼, ½, ¼ along each axis, so many times) of a lattice (Z, Y, X)."""
    from scipy.ndimage import convolve1d

    taps = np.array([1.0])
    for _ in range(rounds):
        taps = np.convolve(taps, [0.25, 0.5, 0.25])
    for axis in range(3):
        lattice = convolve1d(lattice, taps, axis=axis, mode="constant")
    return lattice


def pooled(fine: NDArray[np.float32], half: Cells, cells: Cells | Lattice) -> NDArray[np.float32]:
    """Means of values of half cells (m, k) over the cells that they make up, (n, k), weighted by lung."""
    weight = half.to_lattice(half.fraction)[..., None]
    values = half.to_lattice(fine) * weight
    z, y, x = cells.shape

    def sums(lattice: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = lattice.reshape(z, 2, y, 2, x, 2, lattice.shape[-1]).sum(axis=(1, 3, 5))
        return np.asarray(parts.reshape(-1, lattice.shape[-1])[cells.index])

    return np.asarray(sums(values) / np.maximum(sums(weight), 1e-6), np.float32)
