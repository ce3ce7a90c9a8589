"""Stage 5a: what describes a cell: the student's embeddings, local statistics (method.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .aeration import Aeration, measure_aeration
from .canonical import CELL, SPACING_ZYX, Canonical, normalise
from .cells import STATISTICS, Cells, Lattice, inner, spread
from .errors import Cancelled

if TYPE_CHECKING:
    from torch import Tensor

    from .model.bundle import Bundle

SMOOTHING_MM = 1.0
"""Gaussian sigma of the CT on which statistics and voxel likelihoods are read, mm."""

EMPHYSEMA_HU = -950.0
SOLID_HU = -200.0
BANDS_ABOVE_LEVEL_HU = (80.0, 200.0, 400.0)
"""Borders between normal, slightly hazy, hazy and dense lung, HU above the patient's healthy level."""

STATISTIC_NAMES = (
    "mean", "median", "log sd", "log gradient",
    "emphysema share", "normal share", "slight share", "hazy share", "dense share", "solid share",
)  # fmt: skip


def smoothed(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """The canonical CT after a Gaussian of :data:`SMOOTHING_MM`, float32 HU."""
    from scipy.ndimage import gaussian_filter

    sigma = [SMOOTHING_MM / s for s in SPACING_ZYX]
    return np.asarray(gaussian_filter(hu, sigma, truncate=2.5), np.float32)


def statistics_features(
    canonical: Canonical, smooth: NDArray[np.float32] | None = None
) -> tuple[Cells, Aeration]:
    """Local HU and texture statistics of every lung cell, in 8 mm and soft 16 mm windows.

    Limits are relative to the patient's own healthy level at that height above the table
    (:mod:`aeration`), except -950 HU (emphysema) and -200 HU (solid).

    Args:
        canonical: the CT on the working grid, lungs included.
        smooth: :func:`smoothed` of it, if at hand.

    Returns:
        Cells with 2 × 10 columns of kind ``statistics`` and the patient's aeration.
    """
    smooth = smoothed(canonical.hu) if smooth is None else smooth
    aeration = measure_aeration(canonical.hu, smooth, inner(canonical.lungs), canonical.side)
    lattice = Lattice.over(canonical.lungs)
    values = smooth.ravel()[lattice.voxels]
    y = (lattice.voxels // smooth.shape[2]) % smooth.shape[1]
    side = canonical.side.ravel()[lattice.voxels]
    above = values - aeration.rows(smooth.shape[1])[side, y]
    gradient = gradient_magnitude(smooth).ravel()[lattice.voxels]

    bands = _band_masks(values, above)
    moments = [lattice.sums(), lattice.sums(above), lattice.sums(above**2)]
    moments += [lattice.sums(b.astype(np.float32)) for b in bands]
    count8 = moments[0]
    medians = [_cell_median(lattice, above), _cell_median(lattice, gradient)]
    blocks = []
    for window in (moments, [spread(m) for m in moments]):
        count = np.maximum(lattice.gather(window[0]), 1e-3)
        mean, square, *shares = (lattice.gather(m) / count for m in window[1:])
        sd = np.sqrt(np.maximum(square - mean**2, 0.0))
        if window is moments:
            middle, edge = (lattice.gather(m) for m in medians)
        else:
            middle, edge = (_spread_mean(lattice, m, count8) for m in medians)
        blocks.append(
            np.stack(
                [mean / 100, middle / 100, np.log(sd + 10.0), np.log(edge + 5.0)]
                + [np.sqrt(s) for s in shares],
                axis=1,
            )
        )
    names = tuple(f"{name} {mm} mm" for mm in (8, 16) for name in STATISTIC_NAMES)
    cells = Cells(
        shape=lattice.shape,
        index=lattice.index,
        fraction=lattice.fraction,
        features=np.concatenate(blocks, axis=1).astype(np.float32),
        kinds=(STATISTICS,) * len(names),
        names=names,
    )
    return cells, aeration


def gradient_magnitude(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Central-difference gradient magnitude on the canonical grid, HU/mm."""
    total = np.zeros_like(hu)
    for axis, spacing in enumerate(SPACING_ZYX):
        total += np.gradient(hu, spacing, axis=axis) ** 2
    return np.sqrt(total, out=total)


def _band_masks(values: NDArray[np.float32], above: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    emphysema, solid = values < EMPHYSEMA_HU, values > SOLID_HU
    level = np.digitize(above, BANDS_ABOVE_LEVEL_HU)
    between = ~emphysema & ~solid
    return [emphysema, *(between & (level == i) for i in range(4)), solid]


def _cell_median(lattice: Lattice, above: NDArray[np.float32]) -> NDArray[np.float64]:
    """Median of each cell's voxels on the lattice, by one sort."""
    order = np.lexsort((above, lattice.owner))
    total = int(np.prod(lattice.shape))
    bounds = np.searchsorted(lattice.owner[order], np.arange(total + 1))
    middle = np.clip((bounds[:-1] + bounds[1:]) // 2, 0, max(len(order) - 1, 0))
    median = np.where(bounds[1:] > bounds[:-1], above[order][middle], 0.0)
    return median.astype(np.float64).reshape(lattice.shape)


def _spread_mean(
    lattice: Lattice, values: NDArray[np.float64], count: NDArray[np.float64]
) -> NDArray[np.float32]:
    weight = np.maximum(spread(count), 1e-3)
    return lattice.gather(spread(values * count) / weight)


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
        cancelled: asked before every tile.

    Returns:
        (n, 128 · timesteps) float32, unit length within each timestep.

    Raises:
        Cancelled: ``cancelled`` said so.
    """
    import torch

    from .model.network import bfloat16_pays, pick_device

    place = pick_device(device)
    network, head = bundle.network.to(place), bundle.head.to(place)
    noise = world_noise(canonical, seed)
    x0, mask = normalise(canonical.hu), canonical.lungs.astype(np.float32)
    occupied = cells.to_lattice(np.ones(len(cells), np.float32)) > 0
    patch = tuple(p // c for p, c in zip(bundle.patch, CELL, strict=True))
    tiles = list(tile_cells(occupied, patch, overlap))
    weight = tile_weight(patch)
    total = torch.zeros(len(timesteps), 128, *occupied.shape)
    seen = torch.zeros(occupied.shape)
    for done, tile in enumerate(tiles):
        clean, dirt, inside = (_cut(a, tile, fill) for a, fill in ((x0, -1.0), (noise, 0.0), (mask, 0.0)))
        target = tuple(slice(t.start, min(t.stop, n)) for t, n in zip(tile, occupied.shape, strict=True))
        within = tuple(slice(0, t.stop - t.start) for t in target)
        share = torch.from_numpy(weight[within])
        seen[target] += share
        for i, t in enumerate(timesteps):
            if cancelled is not None and cancelled():
                raise Cancelled("features")
            step = torch.tensor([t])
            noisy = bundle.schedule.add_noise(clean, dirt, step)
            with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, bfloat16_pays(place)):
                code = head(network.encode(torch.cat([noisy, inside], dim=1).to(place), step.to(place)))
            z, y, x = within
            part = code[0].float().cpu()[:, z, y, x]
            total[i, :, target[0], target[1], target[2]] += part * share
        if progress is not None:
            progress((done + 1) / len(tiles))
    mean = total / seen.clamp(min=1e-6)
    mean = torch.nn.functional.normalize(mean, dim=1)
    return np.asarray(mean.reshape(-1, occupied.size)[:, cells.index].T.contiguous().numpy())


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


def _cut(volume: NDArray[np.float32], tile: tuple[slice, ...], fill: float) -> Tensor:
    """The voxels of a tile of cells as (1, 1, D, H, W), filled where the tile reaches beyond the volume."""
    import torch

    voxels = tuple(slice(t.start * c, t.stop * c) for t, c in zip(tile, CELL, strict=True))
    part = volume[voxels]
    missing = [(0, (v.stop - v.start) - n) for v, n in zip(voxels, part.shape, strict=True)]
    return torch.from_numpy(np.pad(part, missing, constant_values=fill))[None, None]
