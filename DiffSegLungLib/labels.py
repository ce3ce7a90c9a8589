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

MEASURES = (
    "median 8 mm",
    "emphysema share 8 mm",
    "solid share 8 mm",
    "log gradient 8 mm",
    "normal share 16 mm",
    "log gradient 16 mm",
)
"""Columns of :func:`features.statistics_features` that tissues are told by."""

_FARTHEST = 12.0
_LEAST = np.float32(1e-4)

Six = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Sign:
    """What one radiological sign looks like in a cell: independent Gaussians over :data:`MEASURES`.

    Attributes:
        name: what a radiologist calls it.
        tissue: class id.
        share: how common it is in a lung, relative to the other signs.
        mean: median above the healthy level (100 HU); square roots of the shares of voxels below -950 HU and
            above -200 HU; log of the median gradient (HU/mm, +5); square root of the share of normal voxels
            in 16 mm; log of the mean of median gradients in 16 mm.
        sd: standard deviations of the same.
    """

    name: str
    tissue: int
    share: float
    mean: Six
    sd: Six


SIGNS: tuple[Sign, ...] = (
    Sign("parenchyma", HEALTHY, 0.77,
         (0.10, 0.00, 0.00, 3.10, 0.93, 3.30),
         (0.35, 0.15, 0.10, 0.40, 0.12, 0.35)),
    Sign("bronchovascular", HEALTHY, 0.1,
         (0.80, 0.00, 0.03, 4.00, 0.77, 3.90),
         (0.50, 0.12, 0.15, 0.40, 0.15, 0.30)),
    Sign("border", HEALTHY, 0.02,
         (1.80, 0.00, 0.20, 4.50, 0.60, 4.10),
         (0.60, 0.10, 0.20, 0.50, 0.20, 0.30)),
    Sign("hilum", HEALTHY, 0.007,
         (3.90, 0.00, 0.50, 4.80, 0.58, 4.50),
         (1.70, 0.10, 0.20, 0.40, 0.16, 0.20)),
    Sign("confluent emphysema", EMPHYSEMA, 0.013,
         (-0.90, 0.80, 0.00, 3.00, 0.68, 3.30),
         (0.50, 0.20, 0.10, 0.40, 0.20, 0.30)),
    Sign("patchy emphysema", EMPHYSEMA, 0.013,
         (-0.60, 0.40, 0.00, 3.60, 0.80, 3.60),
         (0.40, 0.20, 0.10, 0.45, 0.15, 0.35)),
    Sign("faint ground glass", GROUND_GLASS, 0.02,
         (1.70, 0.00, 0.00, 3.50, 0.50, 3.50),
         (0.60, 0.10, 0.10, 0.40, 0.20, 0.30)),
    Sign("dense ground glass", GROUND_GLASS, 0.026,
         (3.10, 0.00, 0.05, 3.95, 0.40, 3.80),
         (0.80, 0.10, 0.15, 0.50, 0.20, 0.30)),
    Sign("reticulation", FIBROSIS, 0.007,
         (2.00, 0.00, 0.00, 4.30, 0.50, 4.15),
         (0.90, 0.10, 0.10, 0.25, 0.20, 0.25)),
    Sign("honeycombing", FIBROSIS, 0.012,
         (3.00, 0.00, 0.10, 4.70, 0.53, 4.50),
         (1.20, 0.15, 0.20, 0.30, 0.20, 0.25)),
    Sign("dense fibrosis", FIBROSIS, 0.002,
         (5.50, 0.05, 0.50, 4.60, 0.40, 4.50),
         (1.30, 0.10, 0.25, 0.50, 0.20, 0.25)),
    Sign("consolidation", CONSOLIDATION, 0.013,
         (8.50, 0.00, 0.97, 3.20, 0.30, 4.00),
         (0.70, 0.10, 0.12, 0.60, 0.25, 0.40)),
    Sign("patchy consolidation", CONSOLIDATION, 0.004,
         (6.60, 0.00, 0.72, 4.60, 0.45, 4.25),
         (1.40, 0.10, 0.20, 0.40, 0.20, 0.30)),
)  # fmt: skip
"""What cells are told by; checked against lesions inserted into real lungs, no annotation is involved."""


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


def sign_probability(cells: Cells) -> NDArray[np.float32]:
    """p(sign | measures) of every cell by itself, (n, signs) float32, rows sum to 1."""
    measured = np.stack([cells.column(m) for m in MEASURES], axis=1)
    log = np.empty((len(cells), len(SIGNS)), np.float32)
    for i, sign in enumerate(SIGNS):
        z = (measured - np.array(sign.mean)) / np.array(sign.sd)
        # A tail heavier than a Gaussian's: one odd measure does not rule a sign out.
        log[:, i] = np.log(sign.share) - np.sum(np.minimum(0.5 * z**2, _FARTHEST) + np.log(sign.sd), axis=1)
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)


def tissue_probability(cells: Cells) -> NDArray[np.float32]:
    """p(tissue | measures) of every cell by itself, (n, 5) float32 over :data:`TISSUES`."""
    signs = sign_probability(cells)
    member = np.array([[s.tissue == t for t in TISSUES] for s in SIGNS], np.float32)
    return np.asarray(signs @ member)


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


def cell_posterior(
    cells: Cells, responsibility: NDArray[np.float32], assignment: Assignment, component_weight: float
) -> NDArray[np.float32]:
    """P_cell(tissue), (n, 5) float32: what the cell's component is called and what the cell looks like.

    log P = w · log Σ_k r_nk A_k(tissue) + (1 - w) · log p(tissue | measures of the cell) + constant.

    Args:
        cells: with the statistics columns.
        responsibility: (n, k) float32, posterior of the components.
        assignment: names of the components.
        component_weight: w, 0..1; 1 is the pure mixture.
    """
    named = responsibility @ assignment.probabilities
    log = component_weight * np.log(named + _LEAST)
    log += (1 - component_weight) * np.log(tissue_probability(cells) + _LEAST)
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)
