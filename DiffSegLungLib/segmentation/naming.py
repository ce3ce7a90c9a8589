"""Stage 5c: HU-guided naming. Every component gets the tissue class that explains its cells (method.md 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_ID
from ..grid.cells import STATISTICS, Cells, spread
from .tissues import TISSUES

_LEAST = np.float32(1e-6)


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


def name_components(
    cells: Cells, looks: NDArray[np.float32], responsibility: NDArray[np.float32]
) -> Assignment:
    """Name the components by what their cells look like.

    Args:
        cells: with the columns of :mod:`statistics`.
        looks: (n, 5) float32, p(tissue) of every cell by itself.
        responsibility: (n, k) float32, posterior of the components.
    """
    weight = responsibility * cells.fraction[:, None]
    mass = np.maximum(weight.sum(axis=0), 1e-6)
    votes = (weight.T @ looks) / mass[:, None]
    winner = votes.argmax(axis=1)
    winner = np.where(votes.max(axis=1) >= 0.5, winner, 0)
    columns = [name for name, kind in zip(cells.names, cells.kinds, strict=True) if kind == STATISTICS]
    means = (weight.T @ cells.of_kind(STATISTICS)) / mass[:, None]
    evidence = tuple(
        {
            "component": k,
            "class": BY_ID[TISSUES[winner[k]]].key,
            "share_of_cells": float(mass[k] / weight.sum()),
            "probability": {BY_ID[t].key: float(v) for t, v in zip(TISSUES, votes[k], strict=True)},
            **{name: float(v) for name, v in zip(columns, means[k], strict=True)},
        }
        for k in range(len(mass))
    )
    return Assignment(np.array(TISSUES)[winner], votes.astype(np.float32), evidence)


def cell_posterior(
    cells: Cells, named: NDArray[np.float32], looks: NDArray[np.float32], component_weight: float
) -> NDArray[np.float32]:
    """P_cell(tissue), (n, 5) float32: what the cell's component is called and what the cell looks like.

    log P = w · log Σ_k r_nk A_k(tissue) + (1 - w) · mean log p(tissue | statistics) + constant. The mean is
    :func:`neighbourly`: tissue comes in patches, and one cell alone is easily mistaken.

    Args:
        cells: cells or half cells.
        named: (n, 5) float32, Σ_k r_nk A_k(tissue), what their components are called.
        looks: (n, 5) float32, p(tissue | statistics) of every one by itself.
        component_weight: w, 0..1; 1 is the pure mixture.
    """
    log = component_weight * np.log(named + _LEAST)
    log += (1 - component_weight) * neighbourly(np.log(looks + _LEAST), cells)
    p = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)


def neighbourly(log: NDArray[np.float32], cells: Cells) -> NDArray[np.float32]:
    """Mean of values (n, k) over a cell and its neighbours, ¼, ½, ¼ along each axis, weighted by lung."""
    weight = cells.fraction.astype(np.float64)

    def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
        lattice = np.zeros(int(np.prod(cells.shape)))
        lattice[cells.index] = values
        return spread(lattice.reshape(cells.shape)).ravel()[cells.index]

    total = around(weight)
    columns = [around(column * weight) / total for column in log.T]
    return np.stack(columns, axis=1).astype(np.float32)


def interpolated(values: NDArray[np.float32], cells: Cells, half: Cells) -> NDArray[np.float32]:
    """Values of cells (n, k) at the centres of half cells (m, k), trilinear over the cells that are lung."""
    from scipy.ndimage import map_coordinates

    centres = (np.stack(np.unravel_index(half.index, half.shape)) + 0.5) / 2 - 0.5

    def at(lattice: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(map_coordinates(lattice, centres, order=1, mode="nearest"))

    weight = np.maximum(at(cells.to_lattice(np.ones(len(cells), np.float32))), 1e-6)
    lattice = cells.to_lattice(values)
    return np.stack([at(lattice[..., k]) / weight for k in range(values.shape[1])], axis=1)
