"""The population mixtures of a bundle: what lungs look like to its features, over many volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..config import Config
from ..grid.canonical import SPACING_ZYX, Canonical
from ..talk import SILENT, Talk

if TYPE_CHECKING:
    from ..model.bundle import Bundle
    from .store import PreparedVolume

POPULATION_COMPONENTS = 32
POPULATION_CELLS = 60_000
"""Cells of all volumes together, about, that the population mixtures are fitted to."""

POPULATION_LESIONS = 16
_CELLS_A_COMPONENT = 600
"""A full covariance of the 30 principal axes has 465 numbers: fewer cells than that would not tell them."""


def components_for(cells: int) -> int:
    """Components of a population mixture of so many cells: 32, fewer where cells are few, at least 2."""
    return min(POPULATION_COMPONENTS, max(2, cells // _CELLS_A_COMPONENT))


def fit_population(
    bundle: Bundle,
    volumes: list[PreparedVolume],
    *,
    device: str = "auto",
    talk: Talk = SILENT,
) -> None:
    """Fit one population mixture for each descriptor to the cells of all volumes, and keep them.

    Every volume counts twice: as it is, and with synthetic disease, since the lungs
    trained on are mostly healthy and a tissue that no cell shows gets no component. What was inserted where
    is not kept: no label takes part, the mixtures describe what lungs look like to the features.

    Args:
        bundle: its mixtures and its card are set.
        volumes: at least one.
        device: where the network runs.
        talk: progress; asked whether to stop at every volume.

    Raises:
        Cancelled: asked to stop; the bundle is as it was.
    """
    from ..grid.cells import DIFFUSION, Cells, pool
    from ..model.mixture import KINDS, Mixture
    from ..segmentation.diffusion_features import diffusion_features
    from ..segmentation.preparation import Parenchyma
    from ..segmentation.statistics import STATISTIC_COLUMNS
    from .store import as_canonical

    config = Config()
    rng = np.random.default_rng(config.seed)
    every: list[Cells] = []
    for volume in volumes:
        healthy = as_canonical(volume)
        for canonical in (healthy, _made_ill(healthy, rng)):
            talk.check()
            cells = Parenchyma.of(canonical).cells
            student = diffusion_features(
                canonical,
                cells,
                bundle,
                timesteps=config.timesteps,
                overlap=config.overlap,
                seed=config.seed,
                device=device,
            )
            share = POPULATION_CELLS / (2 * len(volumes) * len(cells))
            every.append(cells.joined(student, DIFFUSION).sample(rng.random(len(cells)) < share))
            talk.advance(len(every) / (2 * len(volumes) + 1))
    population = pool(every)
    components = components_for(len(population))
    for descriptor, kinds in KINDS.items():
        mixture = Mixture.fit(population, kinds, components, seed=config.seed)
        bundle.mixture |= {f"{descriptor}.{name}": array for name, array in mixture.to_arrays().items()}
    bundle.card["population"] = {
        "timesteps": list(config.timesteps),
        "statistics": list(STATISTIC_COLUMNS),
        "components": components,
        "cells": len(population),
        "volumes": len(volumes),
        "synthetic_lesions": f"up to {POPULATION_LESIONS} in a second copy of every volume, unlabelled",
    }
    talk.advance(1.0)


def _made_ill(canonical: Canonical, rng: np.random.Generator) -> Canonical:
    """The volume with a disease, or with lesions of random kinds at random places."""
    from ..lesions.diseases import fall_ill

    hu, _ = fall_ill(
        canonical.hu, canonical.lungs, SPACING_ZYX, rng, probability=1.0, most=POPULATION_LESIONS
    )
    return replace(canonical, hu=hu)
