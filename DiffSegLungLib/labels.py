"""Stage 5c: HU-guided naming. Every component gets the tissue class that explains its cells (method.md 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cells import Cells
from .classes import BY_ID, CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY

TISSUES = (HEALTHY, EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION)
"""Classes that a cell can have; cavities and vessels are decided on voxels."""

MEASURES = ("median 8 mm", "emphysema share 8 mm", "solid share 8 mm", "log gradient 8 mm")


@dataclass(frozen=True)
class TissuePrior:
    """What 8 mm of one tissue look like: independent Gaussians over :data:`MEASURES`.

    Attributes:
        share: expected share of the lung.
        mean: median above the healthy level (100 HU), square roots of the shares of voxels below -950 HU and
            above -200 HU, log of the median gradient (HU/mm, +5).
        sd: standard deviations of the same.
    """

    share: float
    mean: tuple[float, float, float, float]
    sd: tuple[float, float, float, float]


PRIORS: dict[int, TissuePrior] = {
    HEALTHY: TissuePrior(0.80, (0.2, 0.05, 0.0, 3.3), (0.5, 0.2, 0.2, 0.5)),
    EMPHYSEMA: TissuePrior(0.05, (-0.7, 0.75, 0.0, 3.1), (0.4, 0.25, 0.2, 0.5)),
    GROUND_GLASS: TissuePrior(0.05, (2.3, 0.0, 0.05, 3.6), (0.9, 0.1, 0.2, 0.4)),
    FIBROSIS: TissuePrior(0.05, (2.7, 0.1, 0.15, 4.4), (1.4, 0.2, 0.25, 0.35)),
    CONSOLIDATION: TissuePrior(0.05, (7.5, 0.0, 0.9, 3.6), (1.2, 0.1, 0.2, 0.8)),
}


@dataclass(frozen=True)
class Assignment:
    """Which tissue every component of the mixture is, and why.

    Attributes:
        classes: (k,) int64, class id of each component.
        probabilities: (k, 5) float32, over :data:`TISSUES`; a component between two tissues passes both on.
        evidence: one mapping a component, ready for JSON.
    """

    classes: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    evidence: tuple[dict[str, Any], ...]


def tissue_likelihood(cells: Cells) -> NDArray[np.float32]:
    """log p(measures | tissue) + log share of every cell, (n, 5) float32."""
    measured = np.stack([cells.column(m) for m in MEASURES], axis=1)
    log = np.empty((len(cells), len(TISSUES)), np.float32)
    for i, tissue in enumerate(TISSUES):
        prior = PRIORS[tissue]
        z = (measured - np.array(prior.mean)) / np.array(prior.sd)
        log[:, i] = np.log(prior.share) - np.sum(np.minimum(0.5 * z**2, 12.0) + np.log(prior.sd), axis=1)
    return log


def tissue_probability(cells: Cells) -> NDArray[np.float32]:
    """p(tissue | measures) of every cell by itself, (n, 5) float32."""
    log = tissue_likelihood(cells)
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)


def name_components(cells: Cells, responsibility: NDArray[np.float32]) -> Assignment:
    """Name the components by what their cells look like.

    Args:
        cells: with the statistics columns of :mod:`features`.
        responsibility: (n, k) float32, posterior of the components.
    """
    weight = responsibility * cells.fraction[:, None]
    mass = np.maximum(weight.sum(axis=0), 1e-6)
    votes = (weight.T @ tissue_probability(cells)) / mass[:, None]
    winner = votes.argmax(axis=1)
    winner = np.where(votes.max(axis=1) >= 0.5, winner, 0)
    measured = np.stack([cells.column(m) for m in MEASURES], axis=1)
    means = (weight.T @ measured) / mass[:, None]
    evidence = tuple(
        {
            "component": k,
            "class": BY_ID[TISSUES[winner[k]]].key,
            "share_of_cells": float(mass[k] / weight.sum()),
            "probability": {BY_ID[t].key: float(v) for t, v in zip(TISSUES, votes[k], strict=True)},
            **{m: float(v) for m, v in zip(MEASURES, means[k], strict=True)},
        }
        for k in range(len(mass))
    )
    return Assignment(np.array(TISSUES)[winner], votes.astype(np.float32), evidence)
