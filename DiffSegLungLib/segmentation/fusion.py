"""Stage 6: Sobel-Diffusion Fusion: cell posteriors meet voxel HU and diffuse up to edges (method.md 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..classes import CONSOLIDATION, FIBROSIS, HEALTHY
from ..grid.canonical import SPACING_ZYX
from ..io.geometry import bounding_box
from ..talk import SILENT, Talk
from ..threads import in_threads, shares
from .back_to_ct import Carrier, ClassMap
from .edge_diffusion import diffuse_along, links, sobel_conductance
from .evidence import (
    ALWAYS_CAVITY,
    ALWAYS_VESSEL,
    MOST_LEAN,
    OR_HEALTHY,
    OR_VESSEL,
    SPAN,
    encode,
)
from .islands import merge_islands
from .likelihood import voxel_likelihood
from .shell import take_from_below
from .tissues import TISSUES

if TYPE_CHECKING:
    from ..config import Config
    from ..grid.cells import Cells
    from ..io.ct import Geometry
    from .preparation import Parenchyma

Field = NDArray[np.float32]

DISEASES = TISSUES[1:]
"""Class id of each column of the posterior but the first."""

VESSEL_HU = -500.0
"""What is denser than this in healthy lung is a vessel, an airway's wall or the hilum."""

_DENSE_SHARE = 0.6
_FLOOR = np.float32(1e-3)
_OTHERWISE = tuple(1 + kind for kind in (OR_HEALTHY, OR_VESSEL, ALWAYS_VESSEL, ALWAYS_CAVITY))


@dataclass(frozen=True)
class Fusion:
    """What fusion found on the canonical grid, before anything is called diseased.

    Attributes:
        posterior: (1 + m, 5) float32, a row of zeros, then one for each of m lung voxels in flat order: its
            probability of each class of :data:`tissues.TISSUES`, sum 1.
        disease: (z, y, x) uint8, the class of disease that a voxel has if it has any; 0 outside the lungs.
        otherwise: (z, y, x) uint8, 1 more than :data:`evidence.OR_HEALTHY` and so on, what it is if not; 0
            outside the lungs.
        entropy: (z, y, x) float32, entropy of the posterior over its maximum, 0..1.
        geometry: the canonical grid.
    """

    posterior: Field
    disease: NDArray[np.uint8]
    otherwise: NDArray[np.uint8]
    entropy: Field
    geometry: Geometry

    @property
    def sick(self) -> Field:
        """Probability of any disease (z, y, x), 0 outside the lungs."""
        return self._field(1 - self._healthy)

    @property
    def well(self) -> Field:
        """Probability of healthy lung (z, y, x), 0 outside the lungs too."""
        return self._field(self._healthy)

    def onto(
        self, target: Geometry, lungs: NDArray[Any], talk: Talk = SILENT
    ) -> tuple[NDArray[np.uint16], NDArray[np.float16]]:
        """Carry evidence and entropy to the CT's own grid.

        Args:
            target: the CT's geometry.
            lungs: (z, y, x) on that grid; what is 0 there is background.
            talk: asked whether to stop before every few slices.

        Returns:
            Evidence uint16 for :func:`evidence.draw_labels`, and entropy float16, (z, y, x).

        Raises:
            Cancelled: asked to stop.
        """
        evidence, entropy = np.zeros(lungs.shape, np.uint16), np.zeros(lungs.shape, np.float16)
        kept = np.zeros((len(self.posterior), len(_OTHERWISE)), np.float32)
        kept[np.arange(1, len(kept)), self.otherwise[self.otherwise > 0] - 1] = 1
        maps = (
            ClassMap(self.disease, self._of_diseases(), DISEASES, self.geometry, target),
            ClassMap(self.otherwise, kept, _OTHERWISE, self.geometry, target),
        )

        def receive(
            part: tuple[slice, ...],
            place: tuple[NDArray[np.intp], ...],
            ids: list[NDArray[np.uint8]],
            fields: list[Field],
        ) -> None:
            sick, well, doubt = fields  # the first two sum up to less than 1 at the lungs' border
            evidence[part][place] = encode(_log_odds(sick, well), ids[0], ids[1] - 1)
            entropy[part][place] = np.clip(doubt, 0, 1)

        Carrier(maps, (self.sick, self.well, self.entropy), self.geometry, target).carry(lungs, receive, talk)
        return evidence, entropy

    @property
    def _healthy(self) -> Field:
        return self.posterior[1:, TISSUES.index(HEALTHY)]

    def _field(self, values: Field) -> Field:
        field = np.zeros(self.disease.shape, np.float32)
        field[self.disease > 0] = values
        return field

    def _of_diseases(self) -> Field:
        """The posterior's columns of :data:`DISEASES`, so that the largest of a row is that of the map."""
        rows = np.ascontiguousarray(self.posterior[:, 1:])
        wanted = np.zeros(len(rows), np.intp)
        wanted[1:] = np.searchsorted(DISEASES, self.disease[self.disease > 0])
        largest = rows.argmax(axis=1)
        changed = np.flatnonzero(wanted != largest)  # islands that joined another disease change places
        old, new = largest[changed], wanted[changed]
        rows[changed, old], rows[changed, new] = rows[changed, new], rows[changed, old]
        return rows


def _log_odds(sick: Field, well: Field) -> Field:
    """Logarithm of the odds of disease, within ± :data:`evidence.MOST_LEAN`; least where nothing is known."""
    least = np.float32(np.exp(-MOST_LEAN))
    odds = np.log(np.maximum(sick, least)) - np.log(np.maximum(well, least))
    odds[np.maximum(sick, well) <= least] = -MOST_LEAN  # lung of the CT with no canonical lung around it
    return np.asarray(np.clip(odds, -MOST_LEAN, MOST_LEAN), np.float32)


def fuse(
    parenchyma: Parenchyma,
    cavities: NDArray[np.bool_],
    cell_posterior: Field,
    config: Config,
    talk: Talk = SILENT,
) -> Fusion:
    """Decide every lung voxel of the canonical grid.

    log p(c|v) = α log P_cell(c) + β log p(HU_v|c), then n steps P ← P + τ div(g ∇P) with
    g = exp(-(|∇_Sobel HU|/κ)²), then vessels and cavities.

    Args:
        parenchyma: the lungs on the working grid.
        cavities: (z, y, x) bool.
        cell_posterior: (n, 5) float32 over :data:`tissues.TISSUES`, of the half cells.
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

    inside = smooth[lungs]
    kind = np.full(len(inside), OR_HEALTHY, np.uint8)
    kind[(inside > VESSEL_HU) & ~shell] = OR_VESSEL
    # What runs through consolidation or fibrosis cannot be told from vessels.
    kind[parenchyma.vessels[lungs] & ~dense] = ALWAYS_VESSEL
    kind[cavities[lungs]] = ALWAYS_CAVITY
    otherwise = np.zeros(lungs.shape, np.uint8)
    otherwise[lungs] = kind + 1
    rows = np.zeros((1 + len(kind), len(TISSUES)), np.float32)
    for i, values in enumerate(posterior):
        rows[1:, i] = values
    disease = np.zeros(lungs.shape, np.uint8)
    disease[lungs] = np.array(DISEASES, np.uint8)[_largest(posterior[1:])]
    _merge_diseases(disease, posterior[0], lungs, config, talk)
    talk.advance(0.9)
    return Fusion(rows, disease, otherwise, entropy, parenchyma.canonical.geometry)


def _merge_diseases(
    disease: NDArray[np.uint8], healthy: Field, lungs: NDArray[np.bool_], config: Config, talk: Talk
) -> None:
    """Small islands of one disease in another join it, wherever any sensitivity may see disease; in place."""
    possible = np.zeros(lungs.shape, bool)
    possible[lungs] = healthy < 1 / (1 + np.exp(-SPAN))
    voxel_ml = float(np.prod(SPACING_ZYX)) / 1000
    seen = np.where(possible, disease, np.uint8(0))
    merged = merge_islands(seen, round(config.island_ml / voxel_ml), talk=talk)
    disease[possible] = merged[possible]


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


def _entropy(posterior: list[Field]) -> Field:
    total = np.empty_like(posterior[0])

    def one(part: slice) -> None:
        own = np.zeros_like(total[part])
        for values in posterior:
            own -= values[part] * np.log(np.maximum(values[part], 1e-12))
        total[part] = own / np.float32(np.log(len(posterior)))

    in_threads(one, shares(len(total)))
    return total
