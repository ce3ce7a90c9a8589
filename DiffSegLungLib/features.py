"""Stage 5a: what describes a cell: the student's embeddings, local statistics (method.md 5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .aeration import Aeration, measure_aeration
from .canonical import CELL, SPACING_ZYX, Canonical, normalise
from .cells import HALF_CELL, STATISTICS, Cells, Lattice, inner, pooled, spread
from .errors import Cancelled
from .texture import fine_energy, ridges
from .vessels import vessel_mask

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .model.bundle import Bundle

SMOOTHING_MM = 1.0
"""Gaussian sigma of the CT on which statistics and voxel likelihoods are read, mm."""

EMPHYSEMA_HU = -950.0
SOLID_HU = -200.0
RAISED_HU = (60.0, 150.0, 280.0)
"""Limits of slightly hazy, hazy and dense lung, HU above the patient's healthy level."""

STATISTIC_NAMES = (
    "mean", "emphysema share", "solid share", "raised 60 share", "raised 150 share", "raised 280 share",
    "vessel share", "skewness", "fine energy", "ridges",
)  # fmt: skip
"""What is measured in either window; see :func:`statistics_features`."""

WINDOWS = ("7 mm", "14 mm")
"""Full width at half maximum of the soft windows."""

STATISTIC_COLUMNS = tuple(f"{name} {window}" for window in WINDOWS for name in STATISTIC_NAMES)
"""Names of the columns of kind ``statistics``."""

Batch = list[tuple[slice, ...]]
"""Tiles that go through the network together."""

_BATCH, _MOST_WORKERS = 4, 8
_one_at_a_time = threading.Lock()  # torch knows one number of threads for the whole process

_NARROW_ROUNDS, _WIDE_ROUNDS = 1, 4
_HEALTHY_HU = 50.0
_LEAST_HEALTHY = 0.01
_FINE_SCALE, _RIDGE_SCALE = 100.0, 6.0
_SKEW_HU, _SURROUNDINGS_MM = 60.0, 5.0


def smoothed(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """The canonical CT after a Gaussian of :data:`SMOOTHING_MM`, float32 HU."""
    from scipy.ndimage import gaussian_filter

    sigma = [SMOOTHING_MM / s for s in SPACING_ZYX]
    return np.asarray(gaussian_filter(hu, sigma, truncate=2.5), np.float32)


def statistics_features(
    canonical: Canonical,
    smooth: NDArray[np.float32] | None = None,
    vessels: NDArray[np.bool_] | None = None,
) -> tuple[Cells, Aeration]:
    """Local HU and texture statistics of every lung cell and half cell, in soft windows of 7 and 14 mm.

    In either window: mean HU above the healthy level (100 HU); square roots of the shares of voxels below
    -950 HU beyond what noise puts there, above -200 HU, 60, 150 and 280 HU above the level, and in vessels;
    mean third power of what the CT differs from its surroundings of 5 mm (60 HU), as asinh; energy of
    the finest structure and ridges, less what the scan's healthy parenchyma has of them, as asinh. Levels are
    the patient's own at that height above the table (:mod:`aeration`).

    Args:
        canonical: the CT on the working grid, lungs included.
        smooth: :func:`smoothed` of it, if at hand.
        vessels: (z, y, x) bool, :func:`vessels.vessel_mask` of it, if at hand.

    Returns:
        Cells with 2 × 10 columns of kind ``statistics``, the half cells among them as ``fine``, and the
        patient's aeration.
    """
    smooth = smoothed(canonical.hu) if smooth is None else smooth
    aeration = measure_aeration(canonical.hu, smooth, inner(canonical.lungs), canonical.side)
    if vessels is None:
        vessels = vessel_mask(canonical.hu, canonical.lungs, SPACING_ZYX)
    half = _half_cells(canonical, smooth, vessels, aeration)
    lattice = Lattice.over(canonical.lungs)
    cells = Cells(
        shape=lattice.shape,
        index=lattice.index,
        fraction=lattice.fraction,
        features=np.zeros((len(lattice.index), 0), np.float32),
        kinds=half.kinds,
        names=half.names,
        fine=half,
    )
    return replace(cells, features=pooled(half.features, half, cells)), aeration


def _half_cells(
    canonical: Canonical, smooth: NDArray[np.float32], vessels: NDArray[np.bool_], aeration: Aeration
) -> Cells:
    """The lung in half cells with the columns that :func:`statistics_features` explains."""
    lattice = Lattice.over(canonical.lungs, HALF_CELL)
    values = smooth.ravel()[lattice.voxels]
    y = (lattice.voxels // smooth.shape[2]) % smooth.shape[1]
    side = canonical.side.ravel()[lattice.voxels]
    above = values - aeration.rows(smooth.shape[1])[side, y]
    maps = [
        np.clip(above, -150, 700) / 100,
        values < EMPHYSEMA_HU,
        values > SOLID_HU,
        *(above > limit for limit in RAISED_HU),
        vessels.ravel()[lattice.voxels],
        (np.clip((values - _surroundings(canonical.hu, lattice.voxels)) / _SKEW_HU, -4, 4)) ** 3,
        fine_energy(canonical.hu, smooth, lattice.voxels),
        ridges(smooth, lattice.voxels),
    ]
    sums = [lattice.sums(), *(lattice.sums(m.astype(np.float32)) for m in maps)]
    narrow, wide = (
        _window_means(lattice, [spread(s, rounds) for s in sums]) for rounds in (_NARROW_ROUNDS, _WIDE_ROUNDS)
    )
    noise = _noise(narrow, healthy=np.abs(wide[:, 0]) < _HEALTHY_HU / 100)
    return Cells(
        shape=lattice.shape,
        index=lattice.index,
        fraction=lattice.fraction,
        features=np.concatenate([_measures(narrow, noise), _measures(wide, noise)], axis=1),
        kinds=(STATISTICS,) * len(STATISTIC_COLUMNS),
        names=STATISTIC_COLUMNS,
    )


def _noise(means: NDArray[np.float32], healthy: NDArray[np.bool_]) -> NDArray[np.float32]:
    """What noise alone gives every map: its median in healthy parenchyma, if the lungs have any."""
    if np.count_nonzero(healthy) > _LEAST_HEALTHY * len(healthy):
        return np.asarray(np.median(means[healthy], axis=0), np.float32)
    # A lung that is sick all over: its quietest tenth, and no emphysema by noise.
    noise = np.asarray(np.percentile(means, 10, axis=0), np.float32)
    noise[1] = 0.0
    return noise


def _window_means(lattice: Lattice, sums: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Means (n, maps) over a window from its sums, the first of which counts voxels."""
    count, *totals = (lattice.gather(s) for s in sums)
    means = np.stack(totals, axis=1) / np.maximum(count, 1e-3)[:, None]
    return np.asarray(means, np.float32)


def _measures(means: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of a window as statistics (n, 10): roots of shares, texture without what noise makes of it."""
    emphysema = np.clip((means[:, 1] - noise[1]) / (1 - noise[1]), 0, 1)
    shares = np.sqrt(np.column_stack([emphysema, means[:, 2:7]]))
    texture = np.arcsinh((means[:, 8:] - noise[8:]) / np.array([_FINE_SCALE, _RIDGE_SCALE]))
    return np.column_stack([means[:, 0], shares, np.arcsinh(2 * means[:, 7]), texture]).astype(np.float32)


def _surroundings(hu: NDArray[np.float32], voxels: NDArray[np.int64]) -> NDArray[np.float32]:
    """The CT after a wide Gaussian, nothing denser than soft tissue, at flat indices."""
    from scipy.ndimage import gaussian_filter

    sigma = [_SURROUNDINGS_MM / s for s in SPACING_ZYX]
    wide = gaussian_filter(np.clip(hu, -1024, 150), sigma, truncate=2.5)
    return np.asarray(wide.ravel()[voxels], np.float32)


def diffusion_features(
    canonical: Canonical,
    cells: Cells,
    bundle: Bundle,
    *,
    timesteps: tuple[int, ...],
    overlap: float = 0.25,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
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
        progress: called with the share done.
        cancelled: asked before every few tiles.

    Returns:
        (n, 128 · timesteps) float32, unit length within each timestep.

    Raises:
        Cancelled: ``cancelled`` said so.
    """
    import torch

    from .model.network import pick_device

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
            if cancelled is not None and cancelled():
                raise Cancelled("features")
            for tile, code in zip(batches[done], next(codes), strict=True):
                target = tuple(slice(t.start, min(t.stop, n)) for t, n in zip(tile, seen.shape, strict=True))
                z, y, x = (slice(0, t.stop - t.start) for t in target)
                share = weight[z, y, x]
                seen[target] += share
                total[:, :, target[0], target[1], target[2]] += code[:, :, z, y, x] * share
            if progress is not None:
                progress((done + 1) / len(batches))
    mean = total / seen.clamp(min=1e-6)
    mean = torch.nn.functional.normalize(mean, dim=1)
    return np.asarray(mean.reshape(-1, occupied.size)[:, cells.index].T.contiguous().numpy())


def _encoder(
    bundle: Bundle, timesteps: tuple[int, ...], place: torch.device
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What turns tiles of CT, noise and lung mask (B, 1, D, H, W) into codes (B, timesteps, 128, d, h, w)."""
    import torch

    from .model.network import bfloat16_pays

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
    for axis, (size, step) in enumerate(zip(patch, stride, strict=True)):
        used = np.flatnonzero(occupied.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = int(used[0]), int(used[-1])
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
