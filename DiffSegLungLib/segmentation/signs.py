"""Radiological signs: what each tissue looks like to the statistics of a half cell (method.md 5).

A sign is a multivariate t distribution over the statistics of :mod:`.statistics`. Their
means and covariances stand in ``signs.json``; ``Testing/benchmarks/calibrate_signs.py`` measured them on
tissue made by the lesion generator's families "a" and "b" inside real, near-healthy lungs, and on those
lungs: no annotation of a patient's image is involved, and neither the network nor the mixtures see them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_KEY, CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from ..grid.cells import STATISTICS, Cells
from ..threads import in_threads, slabs, small_products

TISSUES = (HEALTHY, EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION)
"""Classes that a cell can have; cavities and vessels are decided on voxels."""

DEGREES = 8.0
"""Degrees of freedom of the t distributions: tails heavier than a Gaussian's, since patients differ."""

_CELLS = 4096
"""Cells that a thread takes at a time: their numbers stay in its cache."""

_FILE = Path(__file__).parent / "signs.json"


@dataclass(frozen=True)
class Sign:
    """One sign of one tissue.

    Attributes:
        name: what it is, e.g. ``reticulation``.
        tissue: class id.
        share: how common it is in a lung, relative to the other signs.
        mean: (d,) of the statistics.
        covariance: (d, d).
    """

    name: str
    tissue: int
    share: float
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @cached_property
    def _root(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.cholesky(self.covariance), np.float64)

    @cached_property
    def _whitening(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.inv(self._root), np.float64)

    def log_density(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """log p(statistics | sign) + constant, (n,), for statistics (n, d).

        ``scipy.stats.multivariate_t`` gives the same to 1e-11, but takes 0.88 s instead of 0.71 s for 200,000
        cells and all signs, and its import would cost every run 0.8 s and 37 MB.
        """
        z = (np.asarray(x, np.float64) - self.mean) @ self._whitening.T
        d = len(self.mean)
        log = np.log1p(np.einsum("nd,nd->n", z, z) / DEGREES)
        return np.asarray(-0.5 * (DEGREES + d) * log - np.log(np.diag(self._root)).sum())


@cache
def load_signs() -> tuple[Sign, ...]:
    """The signs that ship, shares as they stand in the file."""
    entries: list[dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))["signs"]
    return tuple(_sign(entry) for entry in entries)


def _sign(entry: dict[str, Any]) -> Sign:
    d = len(entry["mean"])
    covariance = np.zeros((d, d))
    covariance[np.tril_indices(d)] = entry["covariance"]
    covariance += np.tril(covariance, -1).T
    return Sign(
        entry["name"], BY_KEY[entry["tissue"]].id, entry["share"], np.array(entry["mean"]), covariance
    )


def sign_probability(cells: Cells) -> NDArray[np.float32]:
    """p(sign | statistics) of every cell by itself, (n, signs) float32, rows sum to 1."""
    x, signs = cells.of_kind(STATISTICS), load_signs()
    p = np.empty((len(x), len(signs)), np.float32)

    def one(part: slice) -> None:
        log = np.stack([np.log(s.share) + s.log_density(x[part]) for s in signs], axis=1)
        share = np.exp(log - log.max(axis=1, keepdims=True))
        p[part] = share / share.sum(axis=1, keepdims=True)

    with small_products():
        in_threads(one, slabs(0, len(x), _CELLS))
    return p


def tissue_probability(cells: Cells) -> NDArray[np.float32]:
    """p(tissue | statistics) of every cell by itself, (n, 5) float32 over :data:`TISSUES`."""
    member = np.array([[s.tissue == t for t in TISSUES] for s in load_signs()], np.float32)
    return np.asarray(sign_probability(cells) @ member)
