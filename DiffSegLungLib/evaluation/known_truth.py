"""What is measured on: volumes whose truth is known because the lesions were made, not drawn."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classes import HEALTHY, VESSEL
from ..io.ct import CT
from ..lesions.lesions import PlacedLesion, insert_each
from ..lesions.patterns import Family
from ..phantom.phantom import Size, generate_phantom
from .disease import FULL_CHEST, own_disease
from .held_out.families import painters_of

__all__ = [
    "FULL_CHEST",
    "CaseKey",
    "LabelledCase",
    "classes_of",
    "full_chest_paths",
    "lesion_plan",
    "make_case",
    "phantom_cases",
]

# Denser than this before any lesion was painted, a voxel of a real lung is a vessel, a wall or unknown
# disease.
_DENSE_HU = -600.0

# Each case holds two of every class; where a class has more kinds they take turns.
_TURNS: tuple[tuple[str, ...], ...] = (
    ("ground_glass", "crazy_paving", "part_solid"),
    ("consolidation",),
    ("reticulation", "honeycombing"),
    ("centrilobular_emphysema", "confluent_emphysema", "bulla"),
    ("cavity",),
)


@dataclass(frozen=True)
class CaseKey:
    """A case before it is made.

    Attributes:
        volume: the CT file.
        family: of the lesions' textures; "a" is what training and tuning see, "c" and "d" measure.
        seed: of the lesions.
        kinds: keys of ``lesions.KINDS``, one lesion each.
    """

    volume: Path
    family: Family
    seed: int
    kinds: tuple[str, ...]

    @property
    def name(self) -> str:
        """For tables: ``lidc-idri_0001_standard c #1``."""
        return f"{_stem(self.volume)} {self.family} #{self.seed}"


@dataclass(frozen=True)
class LabelledCase:
    """One volume with truth.

    Attributes:
        name: for tables.
        ct: the scan.
        truth: (z, y, x) uint8 class ids, 0 outside the lungs.
        scored: (z, y, x) bool, where the truth is known.
        lungs: (z, y, x) bool, the mask that every method gets; None has it segmented.
        owner: (z, y, x) uint16 number of the lesion, 0 elsewhere; None where lesions are not told apart.
        lesions: what was inserted.
        family: of the lesions' textures, None where there are none.
    """

    name: str
    ct: CT
    truth: NDArray[np.uint8]
    scored: NDArray[np.bool_]
    lungs: NDArray[np.bool_] | None
    owner: NDArray[np.uint16] | None = None
    lesions: tuple[PlacedLesion, ...] = ()
    family: Family | None = None


def full_chest_paths(folder: Path) -> list[Path]:
    """The files of ``FULL_CHEST`` that a folder holds, sorted by name."""
    return sorted(p for p in folder.glob("*.nii.gz") if _stem(p) in FULL_CHEST)


def lesion_plan(
    ct_paths: Sequence[str | Path],
    families: Sequence[Family] = ("c", "d"),
    seeds: Iterable[int] = (0, 1),
) -> list[CaseKey]:
    """All cases of these volumes, two lesions of every class in each, cases of one volume together.

    Reads no file. A case depends on its own volume, family and seed only, not on what else is planned.
    """
    seeds = list(seeds)
    return [
        CaseKey(Path(path), family, seed, _kinds(_stem(Path(path)), seed))
        for path in ct_paths
        for family in families
        for seed in seeds
    ]


def make_case(key: CaseKey, *, volume_range_ml: tuple[float, float] = (5.0, 80.0)) -> LabelledCase:
    """A real lung with inserted lesions; the same key gives the same voxels.

    Healthy is what no lesion touched. What is denser than -600 HU there (vessels, airway walls) and the
    patient's own disease (``disease.own_disease``) do not count; no lesion comes near that, nor near the
    main bronchi, round which the lung mask has holes. Every method gets the lung mask of the CT before it
    was made ill. CT and lungs of the last volume are kept.

    Raises:
        InputError: the volume cannot be read or shows no lungs.
    """
    ct, lungs, airway, ill = _volume(key.volume)
    rng = np.random.default_rng([key.seed, ord(key.family), zlib.crc32(_stem(key.volume).encode())])
    made = insert_each(
        ct.hu, lungs, ct.geometry.spacing_zyx, rng,
        kinds=key.kinds, volume_range_ml=volume_range_ml,
        painters=painters_of(key.family), avoid=ill | airway,
    )  # fmt: skip
    truth = np.where(made.truth > 0, made.truth, np.where(lungs, HEALTHY, 0)).astype(np.uint8)
    known = (made.truth > 0) | ((ct.hu <= _DENSE_HU) & ~ill)
    scan = ct.with_hu(np.rint(made.hu).astype(np.int16))
    return LabelledCase(key.name, scan, truth, lungs & known, lungs, made.owner, made.lesions, key.family)


def phantom_cases(
    seeds: Iterable[int], size: Size = "standard", family: Family = "c"
) -> Iterator[LabelledCase]:
    """Generated chests; the lungs have to be found, and every voxel of either mask counts."""
    for seed in seeds:
        phantom = generate_phantom(seed, size, painters=painters_of(family))
        scored = np.ones(phantom.truth.shape, bool)
        yield LabelledCase(phantom.ct.source, phantom.ct, phantom.truth, scored, None, family=family)


def classes_of(case: LabelledCase) -> list[int]:
    """Class ids that the truth of a case knows, vessels only where it says where they are."""
    present = np.unique(case.truth)
    return [int(c) for c in present if c in range(HEALTHY, VESSEL + 1)]


@lru_cache(maxsize=1)
def _volume(path: Path) -> tuple[CT, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """CT, lungs, large airways, and where the patient was ill before."""
    from ..anatomy.lungs import segment_lungs

    ct = CT.read(path)
    lungs = segment_lungs(ct)
    return ct, lungs.mask, lungs.airway, own_disease(_stem(path), ct.geometry)


def _kinds(stem: str, seed: int) -> tuple[str, ...]:
    """Two kinds of every class, so that all kinds of a class come equally often over volumes and seeds."""
    turn = 2 * (FULL_CHEST.index(stem) if stem in FULL_CHEST else zlib.crc32(stem.encode())) + seed
    return tuple(kinds[(2 * turn + i) % len(kinds)] for kinds in _TURNS for i in range(2))


def _stem(path: Path) -> str:
    return path.name.split(".")[0] or path.name
