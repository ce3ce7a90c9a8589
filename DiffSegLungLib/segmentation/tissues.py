"""What the statistics of a half cell say of its tissue: a small network that has seen generated disease.

One hidden layer over the statistics of :mod:`.statistics`: shares of voxels below and above limits that are
relative to the patient's own healthy lung, density and texture. Its weights stand in ``tissues.json``;
``Testing/benchmarks/fit_tissues.py`` fits them to disease that the generator (``lesions/diseases.py``) made
inside real, near-healthy lungs, and to those lungs as they are. No annotation of a patient's image is
involved; :data:`OFFSETS` alone was chosen by readings of real slices (networks without their patients).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from ..grid.cells import STATISTICS, Cells
from ..model.hidden_layer import HiddenLayer
from ..threads import in_threads, slabs, small_products
from .statistics import STATISTIC_NAMES, WINDOWS

TISSUES = (HEALTHY, EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION)
"""Classes that a cell can have; cavities and vessels are decided on voxels."""

OFFSETS = (0.0, 0.2, 1.2, 0.2, 1.4)
"""Added to the log-probabilities of :data:`TISSUES`: real disease looks less like generated disease than
generated disease does. This is the operating point, which a sensitivity of 0.5 stands for."""

DENSITY_RANGE = (-1.5, 3.0)
"""The mean counts within these limits, 100 HU above the healthy level: how dense dense lung is
tells no more."""

_CELLS = 4096
"""Cells that a thread takes at a time: their numbers stay in its cache."""

_LEAST = np.float32(1e-12)
"""Where two judges exclude all that the other holds possible, every tissue is as probable."""

_FILE = Path(__file__).parent / "tissues.json"


@cache
def load_network() -> HiddenLayer:
    """The network that ships."""
    entries = json.loads(_FILE.read_text(encoding="utf-8"))
    return HiddenLayer(**{name: np.array(values, np.float32) for name, values in entries.items()})


MEASURES = (
    tuple(
        f"{name} {window}"
        for window in WINDOWS
        for name in (
            "emphysema share",
            "solid share",
            "raised 60 share",
            "raised 150 share",
            "raised 280 share",
            "vessel share",
        )
    )
    + tuple(f"mean {window}" for window in WINDOWS)
    + tuple(f"{name} {window}" for window in WINDOWS for name in ("fine energy", "ridges"))
)
"""What :func:`measures` gives, in its order."""


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
    return _probability(load_network(), (cells.of_kind(STATISTICS),))


def with_decoder(
    looks: NDArray[np.float32], half: Cells, decoder: NDArray[np.float32], head: HiddenLayer
) -> NDArray[np.float32]:
    """What half cells look like by their statistics, and by these and the diffusion network's decoder.

    Both judges count alike: √(p(tissue | statistics) · p(tissue | statistics, decoder)), normalised. The head
    alone does better on scans like those of its training and worse on others.

    Args:
        looks: (n, 5) float32, :func:`tissue_probability` of the half cells.
        half: the half cells.
        decoder: (n, 2·base · timesteps) float32, :func:`.diffusion_features.network_features` of them.
        head: of the model.

    Returns:
        (n, 5) float32 over :data:`TISSUES`, rows sum to 1.
    """
    both = np.sqrt(np.maximum(looks * _probability(head, (half.of_kind(STATISTICS), decoder)), _LEAST))
    return np.asarray(both / both.sum(axis=1, keepdims=True), np.float32)


def _probability(network: HiddenLayer, described: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """At the operating point: statistics, and what else describes the cells."""
    statistics, *further = described
    p = np.empty((len(statistics), len(TISSUES)), np.float32)
    offsets = np.array(OFFSETS, np.float32)

    def one(part: slice) -> None:
        log = (
            network(np.concatenate([measures(statistics[part]), *(f[part] for f in further)], axis=1))
            + offsets
        )
        share = np.exp(log - log.max(axis=1, keepdims=True))
        p[part] = share / share.sum(axis=1, keepdims=True)

    with small_products():
        in_threads(one, slabs(0, len(statistics), _CELLS))
    return p
