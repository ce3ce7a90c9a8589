"""What the rivals describe lung by: radiomics of 16 mm blocks, plain statistics of 8 mm cells, networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...grid.canonical import CELL, SPACING_ZYX, Canonical, normalise
from ...grid.cells import spread
from ...grid.tiles import tile_cells, tile_weight, world_noise
from .kept import once

if TYPE_CHECKING:
    from torch import Tensor

    from ...grid.cells import Cells
    from ...model.bundle import Bundle
    from ...segmentation.preparation import Parenchyma

Tile = tuple[slice, ...]

BLOCK = (2 * CELL[0], 2 * CELL[1], 2 * CELL[2])
"""Canonical voxels (z, y, x) in a block of 16 mm."""

BANDS_HU = (-950.0, -750.0, -400.0, 0.0)

_TILES_AT_ONCE = 8


def block_radiomics(parenchyma: Parenchyma) -> NDArray[np.float32]:
    """The 34 radiomic descriptors of the 16 mm block around every lung cell, (n, 34) float32, tails tamed."""

    def measure() -> NDArray[np.float32]:
        import torch

        from ...model.heads import tamed

        index, numbers = describe_blocks(parenchyma.canonical)
        row = np.full(int(np.prod(_block_shape(parenchyma.canonical.lungs))), -1)
        row[index] = np.arange(len(index))
        of_blocks = tamed(torch.from_numpy(numbers)).numpy()
        return np.asarray(of_blocks[row[block_of_cells(parenchyma.cells)]])

    return once(parenchyma, "block radiomics", measure)


def describe_blocks(canonical: Canonical) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Radiomic descriptors of every 16 mm block with lung.

    Returns:
        Flat indices (n,) of the blocks in the lattice of blocks, and their descriptors (n, 34) float32.
    """
    import torch

    from ...radiomics import describe

    lungs = _blocks(canonical.lungs)
    index = np.flatnonzero(lungs.any(axis=(1, 2, 3)))
    hu = _blocks(canonical.hu)[index]
    return index, describe(torch.from_numpy(hu), torch.from_numpy(lungs[index])).numpy()


def block_of_cells(cells: Cells) -> NDArray[np.intp]:
    """Flat index, in the lattice of blocks, of the block that each lung cell lies in, (n,)."""
    z, y, x = np.unravel_index(cells.index, cells.shape)
    blocks = tuple(-(-n // 2) for n in cells.shape)
    return np.ravel_multi_index((z // 2, y // 2, x // 2), blocks)


def plain_statistics(parenchyma: Parenchyma) -> NDArray[np.float32]:
    """Plain local statistics of every lung cell, (n, 16) float32.

    Mean HU, log standard deviation, log gradient and the shares of the five HU bands, each in the cell's own
    8 mm and in a soft window of 16 mm.
    """

    def measure() -> NDArray[np.float32]:
        lattice = parenchyma.lattice
        hu = parenchyma.smooth.ravel()[lattice.voxels]
        gradient = _gradient_magnitude(parenchyma.smooth).ravel()[lattice.voxels]
        band = np.digitize(hu, BANDS_HU)
        sums = [lattice.sums(), lattice.sums(hu), lattice.sums(hu**2), lattice.sums(gradient)]
        sums += [lattice.sums((band == i).astype(np.float32)) for i in range(len(BANDS_HU) + 1)]
        columns = []
        for window in (sums, [spread(s) for s in sums]):
            count = np.maximum(lattice.gather(window[0]), 1e-3)
            mean, square, edge, *shares = (lattice.gather(s) / count for s in window[1:])
            sd = np.sqrt(np.maximum(square - mean**2, 0.0))
            columns += [mean, np.log(sd + 10.0), np.log(edge + 5.0), *shares]
        return np.stack(columns, axis=1).astype(np.float32)

    return once(parenchyma, "plain statistics", measure)


def _gradient_magnitude(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Central-difference gradient magnitude on the canonical grid, HU/mm."""
    total = np.zeros_like(hu)
    for axis, spacing in enumerate(SPACING_ZYX):
        total += np.gradient(hu, spacing, axis=axis) ** 2
    return np.sqrt(total, out=total)


def encoder_features(
    parenchyma: Parenchyma,
    bundle: Bundle,
    timesteps: tuple[int, ...],
    *,
    overlap: float = 0.25,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Bottleneck features of a bundle's network for every lung cell, no head: (n, C · timesteps) float32."""
    import torch

    from ...model.network import bfloat16_pays

    shape = parenchyma.cells.shape
    total = np.zeros((len(timesteps), bundle.network.feature_channels, *shape), np.float32)
    seen = np.zeros(shape, np.float32)
    for i, t in enumerate(timesteps):
        for tiles, x, step in noisy_tiles(parenchyma, bundle, t, overlap=overlap, seed=seed):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, bfloat16_pays("cpu")):
                features = bundle.network.encode(x, step).float().numpy()
            weight = tile_weight(features.shape[2:])
            for tile, feature in zip(tiles, features, strict=True):
                target, within = _clipped(tile, shape)
                total[i][(slice(None), *target)] += (feature * weight)[(slice(None), *within)]
                seen[target] += weight[within] if i == 0 else 0.0
    total /= np.maximum(seen, 1e-6)
    return np.ascontiguousarray(total.reshape(-1, seen.size)[:, parenchyma.cells.index].T)


def noisy_tiles(
    parenchyma: Parenchyma, bundle: Bundle, timestep: int, *, overlap: float, seed: int = 0
) -> Iterator[tuple[list[Tile], Tensor, Tensor]]:
    """The network's input over the lungs, a few tiles at a time.

    Yields:
        Tiles of cells, their noisy CT and lung mask (B, 2, D, H, W) float32, and the timestep (B,).
    """
    import torch

    canonical = parenchyma.canonical
    clean, noise = normalise(canonical.hu), world_noise(canonical, seed)
    patch = tuple(p // c for p, c in zip(bundle.patch, CELL, strict=True))
    occupied = parenchyma.cells.to_lattice(np.ones(len(parenchyma.cells), np.float32)) > 0
    every = list(tile_cells(occupied, patch, overlap))
    volumes = ((clean, -1.0), (noise, 0.0), (canonical.lungs.astype(np.float32), 0.0))
    for first in range(0, len(every), _TILES_AT_ONCE):
        tiles = every[first : first + _TILES_AT_ONCE]
        ct, dirt, lungs = (
            torch.from_numpy(np.stack([_cut(v, tile, fill) for tile in tiles])[:, None])
            for v, fill in volumes
        )
        step = torch.full((len(tiles),), timestep)
        yield tiles, torch.cat([bundle.schedule.add_noise(ct, dirt, step), lungs], dim=1), step


def _cut(volume: NDArray[np.float32], tile: Tile, fill: float) -> NDArray[np.float32]:
    """The voxels of a tile of cells, filled where it reaches beyond the volume."""
    size = tuple((t.stop - t.start) * c for t, c in zip(tile, CELL, strict=True))
    part = volume[tuple(slice(t.start * c, t.stop * c) for t, c in zip(tile, CELL, strict=True))]
    out = np.full(size, fill, np.float32)
    out[tuple(slice(n) for n in part.shape)] = part
    return out


def _clipped(tile: Tile, shape: tuple[int, int, int]) -> tuple[Tile, Tile]:
    """Where a tile lies in the lattice, and which part of it that is."""
    target = tuple(slice(t.start, min(t.stop, n)) for t, n in zip(tile, shape, strict=True))
    return target, tuple(slice(t.stop - t.start) for t in target)


def _block_shape(array: NDArray[Any]) -> tuple[int, int, int]:
    z, y, x = (-(-n // size) for n, size in zip(array.shape, BLOCK, strict=True))
    return z, y, x


def _blocks(array: NDArray[Any]) -> NDArray[Any]:
    """All blocks of a volume, zero beyond its end: (blocks, 8, 16, 16)."""
    z, y, x = _block_shape(array)
    padded = np.zeros((z * BLOCK[0], y * BLOCK[1], x * BLOCK[2]), array.dtype)
    padded[tuple(slice(n) for n in array.shape)] = array
    parted = padded.reshape(z, BLOCK[0], y, BLOCK[1], x, BLOCK[2]).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(parted).reshape(-1, *BLOCK)
