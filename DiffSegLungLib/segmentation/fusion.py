"""Stage 6: Sobel-Diffusion Fusion: cell posteriors meet voxel HU and diffuse up to edges (method.md 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..classes import CAVITY, CONSOLIDATION, FIBROSIS, HEALTHY, VESSEL
from ..grid.canonical import SPACING_ZYX
from ..io.geometry import bounding_box
from ..talk import SILENT, Talk
from ..threads import in_threads, shares
from .back_to_ct import Carrier
from .edge_diffusion import diffuse_along, links, sobel_conductance
from .islands import merge_islands
from .likelihood import voxel_likelihood
from .shell import take_from_below
from .signs import TISSUES

if TYPE_CHECKING:
    from ..config import Config
    from ..grid.cells import Cells
    from ..io.ct import Geometry
    from .preparation import Parenchyma

Field = NDArray[np.float32]

CLASS_ORDER = (*TISSUES, CAVITY, VESSEL)
"""Class id of each channel of :attr:`Fusion.posterior`."""

VESSEL_HU = -500.0
"""What is denser than this in healthy lung is a vessel, an airway's wall or the hilum."""

_DENSE_SHARE = 0.6
_FLOOR = np.float32(1e-3)


@dataclass(frozen=True)
class Fusion:
    """What fusion decided on the canonical grid.

    Attributes:
        labels: (z, y, x) uint8 class ids, 0 outside the lungs.
        posterior: (1 + m, 7) float32, a row of zeros, then one for each of m lung voxels in flat order: its
            probability of each class of :data:`CLASS_ORDER`, sum 1; the largest entry is the label's.
        entropy: (z, y, x) float32, entropy of the tissue posterior over its maximum, 0..1.
        geometry: the canonical grid.
    """

    labels: NDArray[np.uint8]
    posterior: Field
    entropy: Field
    geometry: Geometry

    def onto(
        self, target: Geometry, lungs: NDArray[Any], talk: Talk = SILENT
    ) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Carry the result to the CT's own grid.

        Args:
            target: the CT's geometry.
            lungs: (z, y, x) on that grid; what is 0 there is background.
            talk: asked whether to stop before every few slices.

        Returns:
            Labels uint8 and normalised entropy float16 (z, y, x).

        Raises:
            Cancelled: asked to stop.
        """
        carrier = Carrier(
            labels=self.labels,
            posterior=self.posterior,
            entropy=self.entropy,
            classes=CLASS_ORDER,
            source=self.geometry,
            target=target,
        )
        return carrier.carry(lungs, talk)


def fuse(
    parenchyma: Parenchyma,
    cavities: NDArray[np.bool_],
    cell_posterior: Field,
    config: Config,
    talk: Talk = SILENT,
) -> Fusion:
    """Decide every lung voxel of the canonical grid.

    log p(c|v) = α log P_cell(c) + β log p(HU_v|c), then n steps P ← P + τ div(g ∇P) with
    g = exp(-(|∇_Sobel HU|/κ)²), then vessels and cavities, then islands.

    Args:
        parenchyma: the lungs on the working grid.
        cavities: (z, y, x) bool.
        cell_posterior: (n, 5) float32 over :data:`signs.TISSUES`, of the half cells.
        config: α, β, κ, τ, steps and the smallest island.
        talk: progress; asked whether to stop between steps of about a second.

    Raises:
        Cancelled: asked to stop.
    """
    lungs, smooth = parenchyma.canonical.lungs, parenchyma.smooth
    likelihood = voxel_likelihood(smooth, lungs, parenchyma.canonical.side, parenchyma.aeration)
    talk.advance(0.1)
    prior = cell_prior(parenchyma.half, cell_posterior, lungs)
    dense = (prior[TISSUES.index(CONSOLIDATION)] + prior[TISSUES.index(FIBROSIS)]) > _DENSE_SHARE
    talk.advance(0.2)
    posterior = combine(prior, likelihood, config.alpha, config.beta)
    del prior, likelihood
    shell = take_from_below(posterior, lungs)
    talk.advance(0.3)
    _diffuse_all(posterior, smooth, lungs, config, talk.part(0.3, 0.7))
    entropy = np.zeros(lungs.shape, np.float32)
    entropy[lungs] = _entropy(posterior)
    talk.check()

    winner = _largest(posterior)
    label = np.array(TISSUES, np.uint8)[winner]
    label[(label == HEALTHY) & (smooth[lungs] > VESSEL_HU) & ~shell] = VESSEL
    # What runs through consolidation or fibrosis cannot be told from vessels.
    label[parenchyma.vessels[lungs] & ~dense] = VESSEL
    label[cavities[lungs]] = CAVITY
    labels = np.zeros(lungs.shape, np.uint8)
    labels[lungs] = label
    voxel_ml = float(np.prod(SPACING_ZYX)) / 1000
    labels = merge_islands(labels, round(config.island_ml / voxel_ml), keep=(VESSEL,), talk=talk)
    talk.advance(0.9)
    return Fusion(labels, _agreeing(posterior, winner, labels[lungs]), entropy, parenchyma.canonical.geometry)


def cell_prior(cells: Cells, cell_posterior: Field, lungs: NDArray[np.bool_]) -> list[Field]:
    """P_cell at every lung voxel (m,) float32, one array a tissue: trilinear, weighted by share of lung.

    ``cells`` may be cells or half cells.
    """
    reach = np.maximum(upsample(cells.to_lattice(cells.fraction), lungs.shape)[lungs], 1e-6)

    def one(values: Field) -> Field:
        fine = upsample(cells.to_lattice(values * cells.fraction), lungs.shape)
        return np.asarray(fine[lungs] / reach, np.float32)

    return in_threads(one, cell_posterior.T)


def combine(prior: list[Field], likelihood: list[Field], alpha: float, beta: float) -> list[Field]:
    """α log P_cell + β log p(HU|c), normalised: (m,) float32 at the lung voxels, one array a tissue."""
    maps = [np.empty_like(p) for p in prior]

    def one(part: slice) -> None:
        log = [
            np.asarray(alpha * np.log(p[part] + _FLOOR) + beta * h[part], np.float32)
            for p, h in zip(prior, likelihood, strict=True)
        ]
        peak = np.max(log, axis=0)
        share = [np.exp(values - peak) for values in log]
        total = np.sum(share, axis=0)
        for values, out in zip(share, maps, strict=True):
            np.divide(values, total, out=out[part])

    in_threads(one, shares(len(prior[0])))
    return maps


def upsample(lattice: Field, shape: tuple[int, ...]) -> Field:
    """Trilinear interpolation of a lattice of cells or half cells to the voxels (z, y, x) under it."""
    import torch

    source = torch.from_numpy(np.ascontiguousarray(lattice, np.float32))[None, None]
    fine = torch.nn.functional.interpolate(source, size=shape, mode="trilinear", align_corners=False)
    return np.asarray(fine[0, 0].numpy())


def _diffuse_all(
    posterior: list[Field], smooth: Field, lungs: NDArray[np.bool_], config: Config, talk: Talk
) -> None:
    """Edge-aware diffusion of every map (m,), in place, and their sum back to 1."""
    box = bounding_box(lungs)
    inside = np.flatnonzero(lungs[box])
    flow = links(sobel_conductance(smooth, lungs, config.kappa)[box], config.tau)
    field = np.zeros(lungs[box].shape, np.float32)
    room = np.empty_like(field)
    for i, values in enumerate(posterior):
        field.reshape(-1)[inside] = values
        diffuse_along(field, flow, config.diffusion_steps, talk, room=room)
        field.reshape(-1).take(inside, out=values, mode="clip")
        talk.advance((i + 1) / len(posterior))
    total = posterior[0].copy()
    for values in posterior[1:]:
        total += values
    for values in posterior:
        np.divide(values, total, out=values)


def _largest(posterior: list[Field]) -> NDArray[np.intp]:
    """Place of the largest of several maps (m,); the first one wins ties."""
    best, winner = posterior[0].copy(), np.zeros(len(posterior[0]), np.intp)
    for i, values in enumerate(posterior[1:], start=1):
        winner[values > best] = i
        np.maximum(best, values, out=best)
    return winner


def _agreeing(posterior: list[Field], winner: NDArray[np.intp], label: NDArray[np.uint8]) -> Field:
    """Rows of :attr:`Fusion.posterior` that agree with the final labels (m,)."""
    rows = np.zeros((1 + len(label), len(CLASS_ORDER)), np.float32)
    for i, values in enumerate(posterior):
        rows[1:, i] = values
    channel = np.zeros(max(CLASS_ORDER) + 1, np.intp)
    channel[list(CLASS_ORDER)] = np.arange(len(CLASS_ORDER))
    wanted = channel[label]  # changes places with the largest
    changed = np.flatnonzero(wanted != winner)
    at, old, new = changed + 1, winner[changed], wanted[changed]
    rows[at, old], rows[at, new] = rows[at, new], rows[at, old]
    return rows


def _entropy(posterior: list[Field]) -> Field:
    total = np.empty_like(posterior[0])

    def one(part: slice) -> None:
        own = np.zeros_like(total[part])
        for values in posterior:
            own -= values[part] * np.log(np.maximum(values[part], 1e-12))
        total[part] = own / np.float32(np.log(len(posterior)))

    in_threads(one, shares(len(total)))
    return total
