"""Tiles of cells that cover the lungs, and the noise they are given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import bounding_box
from .canonical import CELL, Canonical


def world_noise(canonical: Canonical, seed: int) -> NDArray[np.float32]:
    """Seeded standard normal noise (z, y, x) that stays where it is in the world, however the CT was cropped.

    A block of 16 cells along every axis is repeated, which no tile is large enough to see.
    """
    period = tuple(16 * c for c in CELL)
    block = np.random.default_rng(seed).standard_normal(period, dtype=np.float32)
    first = np.round(np.asarray(canonical.geometry.origin) / canonical.geometry.spacing - 0.5).astype(int)
    z, y, x = (
        (np.arange(n) + start) % p
        for n, start, p in zip(canonical.hu.shape, first[::-1], period, strict=True)
    )
    return block[np.ix_(z, y, x)]


def tile_cells(
    occupied: NDArray[np.bool_], patch: tuple[int, ...], overlap: float
) -> Iterator[tuple[slice, ...]]:
    """Tiles of ``patch`` cells that cover every occupied cell; they may reach beyond the lattice."""
    stride = [max(1, round(p * (1 - overlap))) for p in patch]
    starts = []
    for used, size, step in zip(bounding_box(occupied), patch, stride, strict=True):
        first, last = used.start, used.stop - 1
        rounds = max(0, -(-(last + 1 - first - size) // step))
        # The tiles share out what their union has too much, so that the lung lies in their middle.
        begin = max(0, first - (rounds * step + size - (last + 1 - first)) // 2)
        starts.append([begin + i * step for i in range(rounds + 1)])
        if starts[-1][-1] + size <= last:
            starts[-1].append(starts[-1][-1] + step)
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                tile = tuple(slice(s, s + p) for s, p in zip((z, y, x), patch, strict=True))
                if occupied[tile].any():
                    yield tile


def tile_weight(patch: tuple[int, ...]) -> NDArray[np.float32]:
    """Weight of each cell of a tile: a triangle along every axis, 1 in the middle, never 0."""
    axes = [1 - np.abs((np.arange(n) + 0.5) / n * 2 - 1) for n in patch]
    z, y, x = (a / a.max() for a in axes)
    return np.asarray(z[:, None, None] * y[None, :, None] * x[None, None, :], np.float32)
