"""What the statistics of a half cell say of its tissue: a small network that has seen generated disease.

One hidden layer over the statistics of :mod:`.statistics`: shares of voxels below and above limits that are
relative to the patient's own healthy lung, density and texture. Its weights stand in ``tissues.json``;
``Testing/benchmarks/fit_tissues.py`` fits them to disease that the generator (``lesions/diseases.py``) made
inside real, near-healthy lungs, and to those lungs as they are. No annotation of a patient's image is
involved; :data:`OFFSETS` alone was chosen by readings of real slices (networks without their patients).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from ..grid.cells import STATISTICS, Cells
from ..threads import in_threads, slabs, small_products
from .statistics import STATISTIC_NAMES

TISSUES = (HEALTHY, EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION)
"""Classes that a cell can have; cavities and vessels are decided on voxels."""

OFFSETS = (0.0, 0.2, 1.4, 0.2, 1.8)
"""Added to the log-probabilities of :data:`TISSUES`: real disease looks less like generated disease than
generated disease does. This is the operating point, which a sensitivity of 0.5 stands for."""

DENSITY_RANGE = (-1.5, 3.0)
"""The mean counts within these limits, 100 HU above the healthy level: how dense dense lung is
tells no more."""

_BEYOND = 5.0
_CELLS = 4096
"""Cells that a thread takes at a time: their numbers stay in its cache."""

_FILE = Path(__file__).parent / "tissues.json"


@dataclass(frozen=True)
class TissueNetwork:
    """One hidden layer, SiLU, from the measures of half cells to log-probabilities of :data:`TISSUES`.

    Attributes:
        mean: (d,) of the measures in training.
        sd: (d,) their standard deviation.
        hidden_weight: (d, h).
        hidden_bias: (h,).
        weight: (h, 5).
        bias: (5,).
    """

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, measured: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (n, 5) of :func:`measures` (n, d): log-probabilities but for a constant a row."""
        x = np.clip((measured - self.mean) / self.sd, -_BEYOND, _BEYOND)
        h = x @ self.hidden_weight + self.hidden_bias
        h = h / (1 + np.exp(-h))
        return np.asarray(h @ self.weight + self.bias, np.float32)


@cache
def load_network() -> TissueNetwork:
    """The network that ships."""
    entries = json.loads(_FILE.read_text(encoding="utf-8"))
    return TissueNetwork(**{name: np.array(values, np.float32) for name, values in entries.items()})


def measures(statistics: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the network is shown of statistics (n, 20): shares, the limited mean, and texture, (n, 18).

    Skewness is left out: it told the scans that it was fitted on, not the tissues.
    """
    narrow, wide = statistics[:, :10], statistics[:, 10:]
    mean, texture = STATISTIC_NAMES.index("mean"), STATISTIC_NAMES.index("fine energy")
    shares = slice(STATISTIC_NAMES.index("emphysema share"), STATISTIC_NAMES.index("skewness"))
    return np.concatenate(
        [
            narrow[:, shares] ** 2,
            wide[:, shares] ** 2,
            np.clip(np.stack([narrow[:, mean], wide[:, mean]], axis=1), *DENSITY_RANGE),
            narrow[:, texture:],
            wide[:, texture:],
        ],
        axis=1,
    )


def tissue_probability(cells: Cells) -> NDArray[np.float32]:
    """p(tissue | statistics) of every cell by itself, (n, 5) float32 over :data:`TISSUES`, rows sum to 1."""
    x, network = cells.of_kind(STATISTICS), load_network()
    p = np.empty((len(x), len(TISSUES)), np.float32)
    offsets = np.array(OFFSETS, np.float32)

    def one(part: slice) -> None:
        scores = network(measures(x[part]))
        log = scores - scores.max(axis=1, keepdims=True)
        log += offsets - np.log(np.exp(log).sum(axis=1, keepdims=True))
        share = np.exp(log - log.max(axis=1, keepdims=True))
        p[part] = share / share.sum(axis=1, keepdims=True)

    with small_products():
        in_threads(one, slabs(0, len(x), _CELLS))
    return p
