"""What is measured on: volumes whose truth is known because the lesions were made, not drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classes import HEALTHY, VESSEL
from ..ct import CT
from .lesions import KINDS, insert_each
from .patterns import Family
from .phantom import Size, generate_phantom

# Denser than this before any lesion was painted, a voxel of a real lung is a vessel, a wall or unknown
# disease.
_DENSE_HU = -600.0


@dataclass(frozen=True)
class Case:
    """One volume with truth.

    Attributes:
        name: for tables.
        ct: the scan.
        truth: (z, y, x) uint8 class ids, 0 outside the lungs.
        scored: (z, y, x) bool, where the truth is known.
        lungs: (z, y, x) bool, the mask that every method gets; None has it segmented.
    """

    name: str
    ct: CT
    truth: NDArray[np.uint8]
    scored: NDArray[np.bool_]
    lungs: NDArray[np.bool_] | None


def phantom_cases(seeds: Iterable[int], size: Size = "standard", family: Family = "b") -> Iterator[Case]:
    """Generated chests; the lungs have to be found, and every voxel of either mask counts."""
    for seed in seeds:
        phantom = generate_phantom(seed, size, family=family)
        yield Case(phantom.ct.source, phantom.ct, phantom.truth, np.ones(phantom.truth.shape, bool), None)


def lesion_cases(
    ct_paths: Sequence[Path],
    seeds: Iterable[int],
    *,
    kinds: Sequence[str] = tuple(KINDS),
    volume_range_ml: tuple[float, float] = (8.0, 60.0),
    family: Family = "b",
) -> Iterator[Case]:
    """Real lungs with one lesion of each kind at random places: one case a CT and seed.

    Healthy is what no lesion touched; what is denser than -600 HU there (vessels, airway walls, the
    patient's own disease) does not count. Every method gets the lung mask of the CT before it was made ill.

    Args:
        ct_paths: CT files whose lungs are near healthy.
        seeds: of the lesions.
        kinds: what to insert, keys of ``lesions.KINDS``.
        volume_range_ml: of each lesion.
        family: texture family, "b" is not seen in training.
    """
    from ..lungs import segment_lungs

    seeds = list(seeds)
    for path in ct_paths:
        ct = CT.read(path)
        lungs = segment_lungs(ct).mask
        for seed in seeds:
            rng = np.random.default_rng([seed, 77])
            hu, lesions = insert_each(
                ct.hu,
                lungs,
                ct.geometry.spacing_zyx,
                rng,
                kinds=kinds,
                volume_range_ml=volume_range_ml,
                family=family,
            )
            dense = np.asarray(ct.hu > _DENSE_HU)
            truth = np.where(lesions > 0, lesions, np.where(lungs, HEALTHY, 0)).astype(np.uint8)
            ill = ct.with_hu(np.rint(hu).astype(np.int16))
            yield Case(f"{path.name} #{seed}", ill, truth, lungs & ((lesions > 0) | ~dense), lungs)


def classes_of(case: Case) -> list[int]:
    """Class ids that the truth of a case knows, vessels only where it says where they are."""
    present = np.unique(case.truth)
    return [int(c) for c in present if c in range(HEALTHY, VESSEL + 1)]
