"""Features of the diffusion network: one pass over the lungs a timestep, down and half up (method.md, 5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..grid.canonical import CELL, Canonical, normalise
from ..grid.cells import Cells
from ..grid.tiles import tile_cells, tile_weight, world_noise
from ..talk import SILENT, Talk

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..model.bundle import Bundle


Batch = list[tuple[slice, ...]]
"""Tiles that go through the network together."""

Result = TypeVar("Result")

_BATCH, _MOST_WORKERS = 4, 8


_one_at_a_time = threading.Lock()  # torch knows one number of threads for the whole process


@dataclass(frozen=True)
class NetworkFeatures:
    """What the network says of a lung.

    Attributes:
        student: (n, 128 · timesteps) float32 of its cells, unit length within each timestep.
        decoder: (m, 2·base · timesteps) float32 of its half cells, the output of the decoder's first block.
    """

    student: NDArray[np.float32]
    decoder: NDArray[np.float32]


def diffusion_features(
    canonical: Canonical,
    cells: Cells,
    bundle: Bundle,
    *,
    timesteps: tuple[int, ...],
    overlap: float = 0.125,
    seed: int = 0,
    device: str = "auto",
    talk: Talk = SILENT,
) -> NDArray[np.float32]:
    """The student's features alone, as :func:`network_features` gives them."""
    return network_features(
        canonical,
        cells,
        None,
        bundle,
        timesteps=timesteps,
        overlap=overlap,
        seed=seed,
        device=device,
        talk=talk,
    ).student


def network_features(
    canonical: Canonical,
    cells: Cells,
    half: Cells | None,
    bundle: Bundle,
    *,
    timesteps: tuple[int, ...],
    decoder_timesteps: tuple[int, ...] = (),
    overlap: float = 0.125,
    seed: int = 0,
    device: str = "auto",
    talk: Talk = SILENT,
) -> NetworkFeatures:
    """Features of every cell by the student, of every half cell by the decoder (Baranchuk 2022).

    x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε with one seeded noise field fixed in the world, so that where tiles lie does
    not matter to the noise. Tiles overlap; a cell takes their mean, weighted towards their centres. A
    timestep that both ask for is passed once.

    Args:
        canonical: the CT on the working grid.
        cells: the lung cells to describe.
        half: its half cells; None for the student alone.
        bundle: network, head, schedule and patch size.
        timesteps: noise levels of the student's features.
        decoder_timesteps: noise levels of the decoder's.
        overlap: share of a tile that its neighbours also see, 0..0.5.
        seed: of the noise.
        device: where the network runs, as :func:`model.network.pick_device` takes it.
        talk: progress; asked whether to stop before every few tiles.

    Raises:
        Cancelled: asked to stop.
    """
    import torch

    from ..model.network import pick_device

    place = pick_device(device)
    noise = world_noise(canonical, seed)
    x0, mask = normalise(canonical.hu), canonical.lungs.astype(np.float32)
    occupied = _occupied(cells) if half is None else _occupied(cells) | _in_whole_cells(_occupied(half))
    patch = tuple(p // c for p, c in zip(bundle.patch, CELL, strict=True))
    tiles = list(tile_cells(occupied, patch, overlap))
    encode = _encoder(bundle, timesteps, decoder_timesteps if half is not None else (), place)

    def described(batch: Batch) -> tuple[Tensor, Tensor | None]:
        return encode(*(_cut(a, batch, fill) for a, fill in ((x0, -1.0), (noise, 0.0), (mask, 0.0))))

    weight = tile_weight(patch)
    codes = _Mean(cells, weight)
    fine = None if half is None else _Mean(half, weight.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    batches = [tiles[i : i + _BATCH] for i in range(0, len(tiles), _BATCH)]
    with _side_by_side(described, batches, place) as done:
        for number, batch in enumerate(batches):
            talk.check()
            code, mid = next(done)
            for i, tile in enumerate(batch):
                codes.add(tile, code[i].numpy())
                if fine is not None and mid is not None:
                    fine.add(tuple(slice(2 * t.start, 2 * t.stop) for t in tile), mid[i].numpy())
            talk.advance((number + 1) / len(batches))
    student = torch.from_numpy(codes.mean().reshape(len(cells), len(timesteps), -1))
    unit = torch.nn.functional.normalize(student, dim=2).reshape(len(cells), -1).numpy()
    return NetworkFeatures(unit, np.zeros((0, 0), np.float32) if fine is None else fine.mean())


class _Mean:
    """Mean over tiles of what each says of the lung cells in it.

    Args:
        cells: cells or half cells.
        weight: (z, y, x) of each cell of a tile.
    """

    def __init__(self, cells: Cells, weight: NDArray[np.float32]) -> None:
        self._row = np.full(int(np.prod(cells.shape)), -1, np.int32)
        self._row[cells.index] = np.arange(len(cells), dtype=np.int32)
        self._row = self._row.reshape(cells.shape)
        self._weight, self._seen = weight, np.zeros(len(cells), np.float32)
        self._total: NDArray[np.float32] | None = None

    def add(self, tile: tuple[slice, ...], said: NDArray[np.float32]) -> None:
        """Count what is said (channels, z, y, x) of a tile, which may reach beyond the lattice."""
        if self._total is None:
            self._total = np.zeros((len(self._seen), len(said)), np.float32)
        rows = self._row[tile]
        within = tuple(slice(0, n) for n in rows.shape)
        place = np.nonzero(rows >= 0)
        row, share = rows[place], self._weight[within][place]
        self._seen[row] += share
        flat = np.ravel_multi_index(place, said.shape[1:])
        self._total[row] += said.reshape(len(said), -1)[:, flat].T * share[:, None]

    def mean(self) -> NDArray[np.float32]:
        """(n, channels)."""
        assert self._total is not None, "cells lie in tiles"
        return np.asarray(self._total / np.maximum(self._seen, 1e-6)[:, None], np.float32)


def _occupied(cells: Cells) -> NDArray[np.bool_]:
    return np.asarray(cells.to_lattice(np.ones(len(cells), np.float32)) > 0)


def _in_whole_cells(half: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which cells hold any of some half cells."""
    z, y, x = (n // 2 for n in half.shape)
    return np.asarray(half.reshape(z, 2, y, 2, x, 2).any(axis=(1, 3, 5)))


def _encoder(
    bundle: Bundle, timesteps: tuple[int, ...], decoder_timesteps: tuple[int, ...], place: torch.device
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]:
    """What turns tiles of CT, noise and lung mask (B, 1, D, H, W) into features of every timestep.

    Codes (B, 128 · timesteps, d, h, w), and those of the decoder (B, 2·base · timesteps, 2d, 2h, 2w) or None.
    """
    import torch

    from ..model.network import bfloat16_pays

    network, head = bundle.network.to(place), bundle.head.to(place)
    half = bfloat16_pays(place)

    def encode(clean: Tensor, noise: Tensor, inside: Tensor) -> tuple[Tensor, Tensor | None]:
        codes, fine = {}, {}
        with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, half):
            for t in dict.fromkeys((*timesteps, *decoder_timesteps)):
                step = torch.full((len(clean),), t)
                noisy = bundle.schedule.add_noise(clean, noise, step)
                x = torch.cat([noisy, inside], dim=1).to(place)
                if t in decoder_timesteps:
                    features, mid = network.describe(x, step.to(place))
                    fine[t] = mid.float().cpu()
                else:
                    features = network.encode(x, step.to(place))
                if t in timesteps:
                    codes[t] = head(features).float().cpu()
        mids = [fine[t] for t in decoder_timesteps]
        return torch.cat([codes[t] for t in timesteps], dim=1), torch.cat(mids, dim=1) if mids else None

    return encode


@contextmanager
def _side_by_side(
    work: Callable[[Batch], Result], batches: list[Batch], place: torch.device
) -> Iterator[Iterator[Result]]:
    """The results of some work on every batch, in order, made ahead by threads that share out a CPU's cores.

    Tiles are small: two cores that share each operation wait for each other longer than they compute.
    """
    import torch

    with _one_at_a_time:
        cores = torch.get_num_threads()
        workers = min(cores, _MOST_WORKERS) if place.type == "cpu" else 1
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,))
        try:
            yield pool.map(work, batches)
        finally:
            pool.shutdown(cancel_futures=True)
            # The number also counts for threads that have not begun.
            torch.set_num_threads(cores)


def _cut(volume: NDArray[np.float32], tiles: Batch, fill: float) -> Tensor:
    """The voxels of tiles of cells as (B, 1, D, H, W), filled where a tile reaches beyond the volume."""
    import torch

    parts = []
    for tile in tiles:
        voxels = tuple(slice(t.start * c, t.stop * c) for t, c in zip(tile, CELL, strict=True))
        part = volume[voxels]
        missing = [(0, (v.stop - v.start) - n) for v, n in zip(voxels, part.shape, strict=True)]
        parts.append(np.pad(part, missing, constant_values=fill))
    return torch.from_numpy(np.stack(parts)[:, None])
