"""Measure the radiological signs anew: ``python Testing/benchmarks/calibrate_signs.py ../shared/data/ct``.

Tissue of every kind is made by the lesion generator (``lesions/diseases.py``), never by the families that
measure, inside real, near-healthy lungs, half of which then read as if they had been taken otherwise; every
kind's half cells become one to three Gaussians, and the untouched lung 24. Writes
``DiffSegLungLib/segmentation/signs.json``; ``SHARES``, how common a sign is, is set by hand.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import DiffSegLungLib
from DiffSegLungLib.classes import BY_ID, HEALTHY
from DiffSegLungLib.config import Config
from DiffSegLungLib.evaluation.disease import own_disease
from DiffSegLungLib.evaluation.known_truth import full_chest_paths
from DiffSegLungLib.grid.canonical import SPACING_ZYX
from DiffSegLungLib.grid.cells import HALF_CELL, Cells, cell_of
from DiffSegLungLib.io.ct import CT
from DiffSegLungLib.lesions.acquisition import acquire, random_acquisition
from DiffSegLungLib.lesions.diseases import sicken
from DiffSegLungLib.lesions.lesions import KINDS
from DiffSegLungLib.segmentation.preparation import Parenchyma, prepare

SEEDS = (2, 3)
"""Of the disease; evaluation uses 0 and 1."""

HALF_CHESTS = ("cptac-pda_c3l-00189_lung", "lung-fused-ct-path_0001_b31f")
"""Further CT without much disease that show part of the lungs."""

SHARES = {
    "healthy": 0.9,
    "ground_glass": 0.035,
    "crazy_paving": 0.0161,
    "consolidation": 0.0091,
    "septal_lines": 0.014,
    "reticulation": 0.028,
    "honeycombing": 0.023,
    "centrilobular_emphysema": 0.0036,
    "confluent_emphysema": 0.0023,
    "panlobular_emphysema": 0.0023,
    "paraseptal_emphysema": 0.002,
    "bulla": 0.0041,
}
"""Relative to one another."""

COMPONENTS = {"healthy": 24, "ground_glass": 4, "consolidation": 3}
LEAST_SHARE = {"centrilobular_emphysema": 0.3, "paraseptal_emphysema": 0.5}
"""A half cell shows a lesion that fills this much of it; holes fill few half cells, the others 0.75."""

_CELLS_A_KIND, _CELLS_A_LUNG = 300, 2000


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
    for path in [*full_chest_paths(options.ct), *(options.ct / f"{stem}.nii.gz" for stem in HALF_CHESTS)]:
        for kind, rows in _samples(path, rng):
            samples.setdefault(kind, []).append(rows)
        print(path.name, flush=True)
    signs = [sign for kind in SHARES for sign in _signs(kind, np.concatenate(samples[kind]))]
    options.output.write_text(json.dumps({"signs": signs}) + "\n", encoding="utf-8")


def _samples(path: Path, rng: np.random.Generator) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Statistics of half cells by kind of disease, and of lung that no disease touched."""
    ct = CT.read(path)
    healthy = prepare(ct, None, Config()).parenchyma
    canonical = healthy.canonical
    ill = own_disease(path.name.removesuffix(".nii.gz"), canonical.geometry)
    untouched = np.flatnonzero(_share(ill, healthy.half) == 0)
    yield "healthy", healthy.half.features[rng.permutation(untouched)[:_CELLS_A_LUNG]]
    for seed in SEEDS:
        for kind in SHARES:
            if kind not in KINDS:
                continue
            chance = np.random.default_rng([seed, zlib.crc32(f"{path.name} {kind}".encode())])
            made = sicken(
                canonical.hu, canonical.lungs, SPACING_ZYX, chance,
                disease=kind, slice_mm=canonical.slice_mm,
            )  # fmt: skip
            hu = made.hu
            if chance.random() < 0.5:
                hu = acquire(hu, SPACING_ZYX, random_acquisition(chance), chance)
            half = Parenchyma.of(replace(canonical, hu=hu)).half
            own = (_share(ill, half) == 0) & (_share(made.owner > 0, half) >= LEAST_SHARE.get(kind, 0.75))
            yield kind, half.features[rng.permutation(np.flatnonzero(own))[:_CELLS_A_KIND]]


def _share(mask: NDArray[np.bool_], half: Cells) -> NDArray[np.float64]:
    """Share of the lung of every half cell that a mask of voxels takes."""
    owner = cell_of(np.flatnonzero(mask), mask.shape, half.shape)
    count = np.bincount(owner, minlength=int(np.prod(half.shape)))[half.index]
    return count / np.prod(HALF_CELL) / half.fraction


def _signs(kind: str, rows: NDArray[np.float32]) -> list[dict[str, object]]:
    """The Gaussians of a kind, ready for JSON."""
    from sklearn.mixture import GaussianMixture

    count = COMPONENTS.get(kind, 1)
    model = GaussianMixture(count, reg_covar=2e-3, max_iter=40, tol=5e-3, random_state=0).fit(rows)
    tissue = KINDS.get(kind, HEALTHY)
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
