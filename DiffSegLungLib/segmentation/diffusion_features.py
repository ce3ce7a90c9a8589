"""Features of the diffusion network: one pass of its encoder over the lungs a timestep (method.md, 5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

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

_BATCH, _MOST_WORKERS = 4, 8


_one_at_a_time = threading.Lock()  # torch knows one number of threads for the whole process


def diffusion_features(
    canonical: Canonical,
    cells: Cells,
    bundle: Bundle,
    *,
    timesteps: tuple[int, ...],
    overlap: float = 0.25,
    seed: int = 0,
    device: str = "auto",
    talk: Talk = SILENT,
) -> NDArray[np.float32]:
    """Embeddings of the student for every lung cell, one block of 128 numbers a timestep (Baranchuk 2022).

    x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε with one seeded noise field fixed in the world, so that where tiles lie does
    not matter to the noise. Tiles overlap; a cell takes their mean, weighted towards their centres.

    Args:
        canonical: the CT on the working grid.
        cells: the lung cells to describe.
        bundle: network, head, schedule and patch size.
        timesteps: noise levels.
        overlap: share of a tile that its neighbours also see, 0..0.5.
        seed: of the noise.
        device: where the network runs, as :func:`model.network.pick_device` takes it.
        talk: progress; asked whether to stop before every few tiles.

    Returns:
        (n, 128 · timesteps) float32, unit length within each timestep.

    Raises:
        Cancelled: asked to stop.
    """
    import torch

    from ..model.network import pick_device

    place = pick_device(device)
    noise = world_noise(canonical, seed)
    x0, mask = normalise(canonical.hu), canonical.lungs.astype(np.float32)
    occupied = cells.to_lattice(np.ones(len(cells), np.float32)) > 0
    patch = tuple(p // c for p, c in zip(bundle.patch, CELL, strict=True))
    tiles = list(tile_cells(occupied, patch, overlap))
    encode = _encoder(bundle, timesteps, place)

    def described(batch: Batch) -> Tensor:
        return encode(*(_cut(a, batch, fill) for a, fill in ((x0, -1.0), (noise, 0.0), (mask, 0.0))))

    weight = torch.from_numpy(tile_weight(patch))
    total = torch.zeros(len(timesteps), 128, *occupied.shape)
    seen = torch.zeros(occupied.shape)
    batches = [tiles[i : i + _BATCH] for i in range(0, len(tiles), _BATCH)]
    with _side_by_side(described, batches, place) as codes:
        for done in range(len(batches)):
            talk.check()
            for tile, code in zip(batches[done], next(codes), strict=True):
                target = tuple(slice(t.start, min(t.stop, n)) for t, n in zip(tile, seen.shape, strict=True))
                z, y, x = (slice(0, t.stop - t.start) for t in target)
                share = weight[z, y, x]
                seen[target] += share
                total[:, :, target[0], target[1], target[2]] += code[:, :, z, y, x] * share
            talk.advance((done + 1) / len(batches))
    mean = total / seen.clamp(min=1e-6)
    mean = torch.nn.functional.normalize(mean, dim=1)
    return np.asarray(mean.reshape(-1, occupied.size)[:, cells.index].T.contiguous().numpy())


def _encoder(
    bundle: Bundle, timesteps: tuple[int, ...], place: torch.device
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What turns tiles of CT, noise and lung mask (B, 1, D, H, W) into codes (B, timesteps, 128, d, h, w)."""
    import torch

    from ..model.network import bfloat16_pays

    network, head = bundle.network.to(place), bundle.head.to(place)
    half = bfloat16_pays(place)

    def encode(clean: Tensor, noise: Tensor, inside: Tensor) -> Tensor:
        codes = []
        with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, half):
            for t in timesteps:
                step = torch.full((len(clean),), t)
                noisy = bundle.schedule.add_noise(clean, noise, step)
                x = torch.cat([noisy, inside], dim=1)
                codes.append(head(network.encode(x.to(place), step.to(place))).float().cpu())
        return torch.stack(codes, dim=1)

    return encode


@contextmanager
def _side_by_side(
    work: Callable[[Batch], Tensor], batches: list[Batch], place: torch.device
) -> Iterator[Iterator[Tensor]]:
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
