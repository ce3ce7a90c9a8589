"""CT drawn from the diffusion model: patches, and whole lungs by denoising overlapping tiles together.

A whole lung is one field of noise. At every step of the solver each tile predicts its part of the noise,
the predictions are averaged with weights that fall towards a tile's borders, and the solver moves the whole
field: MultiDiffusion (Bar-Tal et al. 2023). No tile is sampled on its own, so nothing has to be stitched.

The walk begins below pure noise by default, at a flat CT (lung, soft tissue) under much noise, as in SDEdit
(Meng et al. 2022): a network that has learnt little of the highest noise makes lungs too dense from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..grid.canonical import CELL, HU_CEILING, HU_FLOOR, denormalise, normalise
from ..grid.tiles import tile_cells, tile_weight
from ..model.bundle import Bundle
from ..model.diffusion import Denoiser, sample
from ..model.network import bfloat16_pays
from ..talk import SILENT, Talk

Tile = tuple[slice, ...]

LUNG_HU, LUNG_SPREAD_HU = -790.0, 60.0
"""Mean HU of lungs with their vessels: average and standard deviation over 14 public CT."""

BODY_HU = 0.0
"""Soft tissue around the lungs of the flat CT under the noise with which a sample begins."""

_BATCH = 8


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes:
        steps: most evaluations of the network by DPM-Solver++(2M).
        start: where the walk begins, as a share of T: at 1 in pure noise, below 1 at the flat CT with noise.
        overlap: share of a tile that its neighbour also sees, 0..0.5.
        seed: of the noise; sample ``number`` has a field of its own for every seed.
        talk: progress; asked whether to stop before every few tiles or patches.
    """

    steps: int = 25
    start: float = 0.6
    overlap: float = 0.25
    seed: int = 0
    talk: Talk = SILENT


def sample_patches(
    bundle: Bundle, lungs: NDArray[np.bool_], how: Sampling, *, device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Draw a CT patch for every lung mask.

    Args:
        bundle: the model.
        lungs: (B, D, H, W) bool, canonical voxels; D a multiple of 4, H and W of 8.
        how: steps, start and seed. Patch i has noise of its own, which does not depend on its companions.
        device: where the network runs.

    Returns:
        (B, D, H, W) float32 HU in [-1000, 400].

    Raises:
        Cancelled: asked to stop.
    """
    return _walk(bundle, lungs, how, device=device, timestep=first_timestep(bundle, how))


def reconstruct_patches(
    bundle: Bundle,
    hu: NDArray[np.float32],
    lungs: NDArray[np.bool_],
    timestep: int,
    how: Sampling,
    *,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Add the noise of a timestep to CT patches (B, D, H, W) in HU, and take it away again.

    Arguments, result and errors otherwise as for :func:`sample_patches`; ``how.start`` has no part in it.
    """
    return _walk(bundle, lungs, how, device=device, timestep=timestep, hu=hu)


def _walk(
    bundle: Bundle,
    lungs: NDArray[np.bool_],
    how: Sampling,
    *,
    device: torch.device | str,
    timestep: int,
    hu: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    out = np.empty(lungs.shape, np.float32)
    predict = _predictor(bundle, device)
    for first in range(0, len(lungs), _BATCH):
        some = slice(first, min(first + _BATCH, len(lungs)))
        inside = torch.from_numpy(lungs[some].astype(np.float32))[:, None]
        numbers = range(some.start, some.stop)
        noise = torch.from_numpy(np.stack([noise_field(lungs.shape[1:], how.seed, n) for n in numbers]))
        clean = _normalised(flat_ct(lungs[some], how.seed, some.start) if hu is None else hu[some])[:, None]
        x = _noised(bundle, clean, noise[:, None], timestep)

        def denoise(x: Tensor, at: Tensor, inside: Tensor = inside) -> Tensor:
            how.talk.check()
            return predict(torch.cat([x, inside], dim=1), at)

        part = how.talk.part(some.start / len(lungs), some.stop / len(lungs))
        drawn = sample(denoise, bundle.schedule, x, start=timestep, steps=how.steps, talk=part)
        out[some] = _to_hu(drawn[:, 0])
    return out


def sample_lungs(
    bundle: Bundle,
    lungs: NDArray[np.bool_],
    how: Sampling,
    *,
    number: int = 0,
    around: NDArray[np.float32] | None = None,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Draw a CT of whole lungs by denoising overlapping tiles together.

    Args:
        bundle: the model.
        lungs: (Z, Y, X) bool on the canonical grid, each axis a multiple of the cell.
        how: steps, start, overlap, seed.
        number: which sample of this seed.
        around: (Z, Y, X) HU of a CT that holds outside the lungs; None lets the model draw the surroundings
            that its tiles see.
        device: where the network runs.

    Returns:
        (Z, Y, X) float32 HU in [-1000, 400]; what no tile sees is ``around``, or air.

    Raises:
        Cancelled: asked to stop.
    """
    patch = tuple(p // c for p, c in zip(bundle.patch, CELL, strict=True))
    tiles = _tiles(lungs, patch, how.overlap)
    shape = tuple(
        max(n, *(t[axis].stop for t in tiles)) for axis, n in enumerate(lungs.shape)
    )  # tiles may reach beyond the lungs' box
    inside = torch.zeros(1, 1, *shape)
    own = tuple(slice(0, n) for n in lungs.shape)
    inside[0, 0][own] = torch.from_numpy(lungs.astype(np.float32))
    known = torch.full_like(inside, -1.0)
    fixed = torch.ones_like(inside, dtype=torch.bool)
    for tile in tiles:
        fixed[0, 0][tile] = False
    if around is not None:
        known[0, 0][own] = _normalised(around)
        fixed = inside < 0.5

    predict = _predictor(bundle, device)
    weight = torch.from_numpy(tile_weight(bundle.patch))
    total = torch.zeros_like(inside[0, 0])
    for tile in tiles:
        total[tile] += weight
    rounds = 0

    def denoise(x: Tensor, at: Tensor) -> Tensor:
        nonlocal rounds
        noise = torch.zeros_like(total)
        for first in range(0, len(tiles), _BATCH):
            how.talk.check()
            some = tiles[first : first + _BATCH]
            seen = torch.stack([torch.cat([x[0][:, *t], inside[0][:, *t]]) for t in some])
            for tile, part in zip(some, predict(seen, at.expand(len(some))), strict=True):
                noise[tile] += weight * part[0]
            how.talk.advance(min(1.0, (rounds + (first + len(some)) / len(tiles)) / how.steps))
        rounds += 1
        blended = (noise / total.clamp(min=1e-6))[None, None]
        # The noise that x holds if its clean part is what is known there.
        signal = bundle.schedule.alpha_bar[at[0]]
        given = (x - signal.sqrt() * known) / (1.0 - signal).sqrt()
        return torch.where(fixed, given, blended)

    timestep = first_timestep(bundle, how)
    noise = torch.from_numpy(noise_field(shape, how.seed, number))[None, None]
    flat = _normalised(flat_ct(inside[0].bool().numpy(), how.seed, number))[None]
    x = _noised(bundle, torch.where(fixed, known, flat), noise, timestep)
    drawn = sample(denoise, bundle.schedule, x, start=timestep, steps=how.steps)
    return _to_hu(drawn[0, 0])[own]


def first_timestep(bundle: Bundle, how: Sampling) -> int:
    """The timestep 0..T-1 at which the walk begins."""
    return max(0, round(how.start * bundle.schedule.timesteps) - 1)


def noise_field(shape: tuple[int, ...], seed: int, number: int) -> NDArray[np.float32]:
    """Standard normal noise of a sample, float32: a function of shape, seed and number alone."""
    return np.random.default_rng([seed, number]).standard_normal(shape, dtype=np.float32)


def flat_ct(lungs: NDArray[np.bool_], seed: int, first: int = 0) -> NDArray[np.float32]:
    """The CT under the noise with which samples begin: one density a lung, soft tissue around it.

    Samples stay near the density that they start from, so it is that of lungs with their vessels: that of
    bare parenchyma, 40 HU lower, makes them too dark by as much. Patients differ, and so do samples.

    Args:
        lungs: (B, D, H, W) bool; samples ``first``, ``first + 1``, …
        seed: of the samples; a sample's density is a function of seed and number alone.
        first: number of the first sample.

    Returns:
        (B, D, H, W) float32 HU.
    """
    dice = [np.random.default_rng([seed, first + i, 1]).standard_normal() for i in range(len(lungs))]
    density = (LUNG_HU + LUNG_SPREAD_HU * np.clip(dice, -1.5, 1.5)).astype(np.float32)
    return np.where(lungs, density[:, None, None, None], np.float32(BODY_HU))


def _tiles(lungs: NDArray[np.bool_], patch: tuple[int, ...], overlap: float) -> list[Tile]:
    """Tiles in voxels that cover every cell with lung in it."""
    z, y, x = (n // c for n, c in zip(lungs.shape, CELL, strict=True))
    cells = lungs.reshape(z, CELL[0], y, CELL[1], x, CELL[2]).any(axis=(1, 3, 5))
    return [
        tuple(slice(s.start * c, s.stop * c) for s, c in zip(tile, CELL, strict=True))
        for tile in tile_cells(np.asarray(cells), patch, overlap)
    ]


def _predictor(bundle: Bundle, device: torch.device | str) -> Denoiser:
    """The network as a function of noisy CT and mask (B, 2, D, H, W) and t (B,), on a device and back."""
    place = torch.device(device)
    network, half = bundle.network.to(place), bfloat16_pays(place)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, half):
            noise, _ = network(x.to(place), t.to(place))
        return cast(Tensor, noise.float().cpu())

    return predict


def _noised(bundle: Bundle, clean: Tensor, noise: Tensor, timestep: int) -> Tensor:
    if timestep == bundle.schedule.timesteps - 1:
        return noise
    return bundle.schedule.add_noise(clean, noise, torch.full((len(noise),), timestep))


def _normalised(hu: NDArray[np.float32]) -> Tensor:
    return normalise(torch.from_numpy(np.ascontiguousarray(hu, np.float32)))


def _to_hu(x: Tensor) -> NDArray[np.float32]:
    return np.asarray(denormalise(x).clamp(HU_FLOOR, HU_CEILING).numpy(), np.float32)
