"""Measure the radiological signs anew: ``python Testing/benchmarks/calibrate_signs.py ../shared/data/ct``.

Tissue of every kind is made by the lesion generator's families "a" (training sees it) and "b", never by the
two that measure, inside real, near-healthy lungs; every kind's half cells become one to three Gaussians, and
the untouched lung 24. Writes ``DiffSegLungLib/segmentation/signs.json``; ``SHARES``, how common a sign is, is
set by hand.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import DiffSegLungLib
from DiffSegLungLib.classes import BY_ID, CAVITY, GROUND_GLASS, HEALTHY
from DiffSegLungLib.config import Config
from DiffSegLungLib.evaluation.disease import own_disease
from DiffSegLungLib.evaluation.known_truth import (
    CaseKey,
    LabelledCase,
    full_chest_paths,
    lesion_plan,
    make_case,
)
from DiffSegLungLib.grid.cells import HALF_CELL, Cells, cell_of
from DiffSegLungLib.io.ct import CT, resample
from DiffSegLungLib.lesions.lesions import KINDS
from DiffSegLungLib.lesions.patterns import Family
from DiffSegLungLib.segmentation.preparation import prepare

FAMILIES: tuple[Family, ...] = ("a", "b")
SEEDS = (2, 3)
"""Of the lesions; evaluation uses 0 and 1."""

HALF_CHESTS = ("cptac-pda_c3l-00189_lung", "lung-fused-ct-path_0001_b31f")
"""Further CT without much disease that show part of the lungs."""

SHARES = {
    "healthy": 0.9,
    "ground_glass": 0.0287,
    "faint_ground_glass": 0.0063,
    "crazy_paving": 0.0161,
    "consolidation": 0.0091,
    "reticulation": 0.028,
    "honeycombing": 0.023,
    "centrilobular_emphysema": 0.0036,
    "confluent_emphysema": 0.0023,
    "bulla": 0.0041,
}
"""Relative to one another."""

COMPONENTS = {"healthy": 24, "ground_glass": 3, "consolidation": 3}
LEAST_SHARE = {"centrilobular_emphysema": 0.3}
"""A half cell shows a lesion that fills this much of it; holes fill few half cells, the others 0.75."""

FAINT = 0.4
"""Ground glass also comes this faint, share of its full strength."""

_CELLS_A_LESION, _CELLS_A_LUNG = 300, 2000


def main() -> None:
    """Sample, fit, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", type=Path, help="folder with the near-healthy full-chest CT")
    folder = Path(DiffSegLungLib.__file__).parent
    parser.add_argument("-o", "--output", type=Path, default=folder / "segmentation" / "signs.json")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    samples: dict[str, list[NDArray[np.float32]]] = {}
    chests = [*full_chest_paths(options.ct), *(options.ct / f"{stem}.nii.gz" for stem in HALF_CHESTS)]
    for key in lesion_plan(chests, FAMILIES, SEEDS):
        for kind, rows in _samples(key, rng):
            samples.setdefault(kind, []).append(rows)
        print(key.name, flush=True)
    signs = [sign for kind in SHARES for sign in _signs(kind, np.concatenate(samples[kind]))]
    options.output.write_text(json.dumps({"signs": signs}) + "\n", encoding="utf-8")


def _samples(key: CaseKey, rng: np.random.Generator) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Statistics of half cells by kind of lesion, and of lung that no lesion touched."""
    case = make_case(key)
    assert case.lungs is not None and case.owner is not None
    prepared = prepare(case.ct, case.lungs, Config())
    canonical, half = prepared.parenchyma.canonical, prepared.parenchyma.half
    owner = resample(case.owner, case.ct.geometry, canonical.geometry, order="nearest", fill=0)
    faint = _faint(key, case)
    for lesion in case.lesions:
        if lesion.class_id != CAVITY and lesion.kind in SHARES:
            full = _share(owner == lesion.number, half) >= LEAST_SHARE.get(lesion.kind, 0.75)
            chosen = rng.permutation(np.flatnonzero(full))[:_CELLS_A_LESION]
            yield lesion.kind, half.features[chosen]
            if lesion.class_id == GROUND_GLASS:
                yield "faint_ground_glass", faint.features[chosen]
    ill = own_disease(key.volume.name.removesuffix(".nii.gz"), canonical.geometry)
    untouched = (_share(ill, half) == 0) & ~_near(_share(owner > 0, half) > 0, half)
    yield "healthy", half.features[rng.permutation(np.flatnonzero(untouched))[:_CELLS_A_LUNG]]


def _faint(key: CaseKey, case: LabelledCase) -> Cells:
    """Half cells of the same case with every lesion at :data:`FAINT` of its strength: disease that begins."""
    before = CT.read(key.volume).hu
    hu = np.rint(before + FAINT * (case.ct.hu.astype(np.float32) - before)).astype(np.int16)
    return prepare(case.ct.with_hu(hu), case.lungs, Config()).parenchyma.half


def _share(mask: NDArray[np.bool_], half: Cells) -> NDArray[np.float64]:
    """Share of the lung of every half cell that a mask of voxels takes."""
    owner = cell_of(np.flatnonzero(mask), mask.shape, half.shape)
    count = np.bincount(owner, minlength=int(np.prod(half.shape)))[half.index]
    return count / np.prod(HALF_CELL) / half.fraction


def _near(chosen: NDArray[np.bool_], half: Cells) -> NDArray[np.bool_]:
    """Half cells within two of a chosen one: their windows see it."""
    from scipy.ndimage import binary_dilation

    lattice = half.to_lattice(chosen.astype(np.float32)) > 0
    return np.asarray(binary_dilation(lattice, iterations=2).ravel()[half.index])


def _signs(kind: str, rows: NDArray[np.float32]) -> list[dict[str, object]]:
    """The Gaussians of a kind, ready for JSON."""
    from sklearn.mixture import GaussianMixture

    count = COMPONENTS.get(kind, 1)
    model = GaussianMixture(count, reg_covar=2e-3, max_iter=40, tol=5e-3, random_state=0).fit(rows)
    tissue = KINDS.get(kind.removeprefix("faint_"), HEALTHY)
    signs = []
    for rank, i in enumerate(np.argsort(model.means_[:, 0]), start=1):
        covariance = 0.98 * model.covariances_[i] + 0.02 * np.diag(np.diag(model.covariances_[i]))
        signs.append(
            {
                "name": kind.replace("_", " ") + (f" {rank}" if count > 1 else ""),
                "tissue": BY_ID[tissue].key,
                "share": round(SHARES[kind] / sum(SHARES.values()) * float(model.weights_[i]), 8),
                "mean": [round(float(v), 4) for v in model.means_[i]],
                "covariance": [round(float(v), 5) for v in covariance[np.tril_indices(len(covariance))]],
            }
        )
    return signs


if __name__ == "__main__":
    main()
