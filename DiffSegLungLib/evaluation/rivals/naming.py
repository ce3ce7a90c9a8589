"""How the clusters of every rival get their names, and their names get back to voxels: one rule for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from ...segmentation.aeration import FULL_INSPIRATION_HU
from ...segmentation.fusion import cell_prior
from .kept import once

if TYPE_CHECKING:
    from ...segmentation.preparation import Parenchyma

NAMES = (HEALTHY, EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION)
"""Class ids that a cluster can have."""

# Tissue, mean HU and standard deviation between voxels (smoothed by 1 mm): the class table's means; the
# spread between voxels, not patients, tells fibrosis (lines and cysts) from even ground glass. Vessels, hila
# and the lung's border spread more than any disease and are no disease.
_LOOKS: tuple[tuple[int, float, float], ...] = (
    (HEALTHY, -850.0, 60.0),
    (HEALTHY, -720.0, 150.0),
    (HEALTHY, -600.0, 300.0),
    (EMPHYSEMA, -955.0, 35.0),
    (GROUND_GLASS, -600.0, 60.0),
    (FIBROSIS, -560.0, 160.0),
    (CONSOLIDATION, -60.0, 110.0),
)
_MEAN_SCALE_HU, _SD_SCALE_HU = 100.0, 70.0


def names_of(mean_hu: NDArray[np.floating], sd_hu: NDArray[np.floating], level_hu: float) -> NDArray[np.intp]:
    """Index into :data:`NAMES` of the tissue whose mean HU and local spread are the most similar.

    Args:
        mean_hu: (k,) mean HU of each cluster.
        sd_hu: (k,) standard deviation of HU within its places, HU.
        level_hu: the patient's healthy level: what is aerated is compared relative to it.
    """
    shift = level_hu - FULL_INSPIRATION_HU
    distance = np.empty((len(_LOOKS), len(mean_hu)))
    for i, (name, mean, sd) in enumerate(_LOOKS):
        level = mean + (shift if name in (HEALTHY, GROUND_GLASS, FIBROSIS) else 0.0)
        distance[i] = ((mean_hu - level) / _MEAN_SCALE_HU) ** 2 + ((sd_hu - sd) / _SD_SCALE_HU) ** 2
    index = np.array([NAMES.index(name) for name, _, _ in _LOOKS])
    return np.asarray(index[distance.argmin(axis=0)])


def cell_looks(parenchyma: Parenchyma) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of smoothed HU of every lung cell, two (n,) float32."""

    def measure() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        lattice = parenchyma.lattice
        hu = parenchyma.smooth.ravel()[lattice.voxels]
        count = np.maximum(lattice.gather(lattice.sums()), 1.0)
        mean = lattice.gather(lattice.sums(hu)) / count
        square = lattice.gather(lattice.sums(hu**2)) / count
        sd = np.sqrt(np.maximum(square - mean**2, 0.0))
        return mean.astype(np.float32), sd.astype(np.float32)

    return once(parenchyma, "cell looks", measure)


def label_by_clusters(parenchyma: Parenchyma, responsibility: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Name the clusters of the lung cells and put the names back to voxels.

    Args:
        parenchyma: the lungs.
        responsibility: (n, k) share of every cluster in every lung cell, rows sum to 1.

    Returns:
        (z, y, x) uint8 class ids on the working grid, 0 outside the lungs: at every voxel the largest of the
        trilinearly interpolated cell posteriors.
    """
    mean, sd = cell_looks(parenchyma)
    weight = responsibility * parenchyma.cells.fraction[:, None]
    mass = np.maximum(weight.sum(axis=0), 1e-6)
    names = names_of(mean @ weight / mass, sd @ weight / mass, parenchyma.aeration.level_hu)
    posterior = responsibility @ np.eye(len(NAMES), dtype=np.float32)[names]
    return _to_voxels(parenchyma, posterior.astype(np.float32))


def label_by_segments(parenchyma: Parenchyma, segment: NDArray[np.intp]) -> NDArray[np.uint8]:
    """The same for hard clusters: the number (n,) of the segment that every lung cell belongs to."""
    mean, sd = cell_looks(parenchyma)
    fraction = parenchyma.cells.fraction
    mass = np.maximum(np.bincount(segment, fraction), 1e-6)
    means, sds = (np.bincount(segment, fraction * values) / mass for values in (mean, sd))
    names = names_of(means, sds, parenchyma.aeration.level_hu)
    return _to_voxels(parenchyma, np.eye(len(NAMES), dtype=np.float32)[names[segment]])


def _to_voxels(parenchyma: Parenchyma, posterior: NDArray[np.float32]) -> NDArray[np.uint8]:
    lungs = parenchyma.canonical.lungs
    winner = np.argmax(cell_prior(parenchyma.cells, posterior, lungs), axis=0)
    labels = np.zeros(lungs.shape, np.uint8)
    labels[lungs] = np.array(NAMES, np.uint8)[winner]
    return labels
