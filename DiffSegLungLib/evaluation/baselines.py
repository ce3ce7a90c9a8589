"""What DiffSegLung has to beat: bands of HU voxel by voxel, and k-means on the radiomic descriptors alone.

Both follow scikit-learn's grammar on a canonical volume: ``fit`` learns from one (HU bands have nothing to
learn), ``predict`` labels one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..canonical import CELL, Canonical
from ..classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

BLOCK = (2 * CELL[0], 2 * CELL[1], 2 * CELL[2])
"""Canonical voxels (z, y, x) in a block of 16 mm."""

# Mean and standard deviation in HU of a 16 mm block of each tissue, for naming clusters: the class table's
# means; the spread between voxels, not patients, is what tells fibrosis (lines and cysts) from even ground
# glass.
_BLOCKS: dict[int, tuple[float, float]] = {
    HEALTHY: (-850.0, 70.0),
    EMPHYSEMA: (-955.0, 35.0),
    GROUND_GLASS: (-600.0, 120.0),
    FIBROSIS: (-560.0, 260.0),
    CONSOLIDATION: (-60.0, 130.0),
}
_MEAN_SCALE_HU, _SD_SCALE_HU = 100.0, 70.0


class HUBands:
    """Every voxel labelled by its own HU after a median filter.

    Args:
        limits: ascending HU limits between the bands.
        classes: class id of each band, one more than limits.
        median: edge of the median filter's cube in voxels, odd; 1 switches it off.
    """

    def __init__(
        self,
        limits: tuple[float, ...] = (-950.0, -750.0, -400.0, 0.0),
        classes: tuple[int, ...] = (EMPHYSEMA, HEALTHY, GROUND_GLASS, FIBROSIS, CONSOLIDATION),
        median: int = 3,
    ) -> None:
        self.limits = limits
        self.classes = classes
        self.median = median

    def fit(self, canonical: Canonical) -> HUBands:
        """Nothing to learn; for the grammar's sake."""
        return self

    def fit_predict(self, canonical: Canonical) -> NDArray[np.uint8]:
        """``fit`` and ``predict`` on one volume."""
        return self.predict(canonical)

    def predict(self, canonical: Canonical) -> NDArray[np.uint8]:
        """Class ids (z, y, x) uint8 in the lungs, 0 outside."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.rint(canonical.hu).astype(np.int16))
        hu = sitk.GetArrayFromImage(sitk.Median(image, [self.median // 2] * 3))
        band = np.searchsorted(np.array(self.limits), hu.ravel(), side="right").reshape(hu.shape)
        labels: NDArray[np.uint8] = np.array(self.classes, np.uint8)[band]
        labels[~canonical.lungs] = 0
        return labels


class RadiomicKMeans:
    """k-means on the 34 radiomic descriptors of blocks of 16 mm.

    Args:
        clusters: number of clusters; several may get the same class.
        seed: of the starts of k-means.
    """

    def __init__(self, clusters: int = 16, seed: int = 0) -> None:
        self.clusters = clusters
        self.seed = seed
        self._mean: NDArray[np.float32]
        self._sd: NDArray[np.float32]
        self._kmeans: KMeans
        self._names: NDArray[np.uint8]

    def fit(self, canonical: Canonical) -> RadiomicKMeans:
        """Cluster the blocks of a volume and name each cluster by its mean HU and spread."""
        self._fit(describe_blocks(canonical)[1])
        return self

    def predict(self, canonical: Canonical) -> NDArray[np.uint8]:
        """Class ids (z, y, x) uint8 in the lungs, 0 outside; every voxel has its block's class."""
        return self._predict(canonical, *describe_blocks(canonical))

    def fit_predict(self, canonical: Canonical) -> NDArray[np.uint8]:
        """``fit`` and ``predict`` on one volume, which is described only once."""
        index, numbers = describe_blocks(canonical)
        self._fit(numbers)
        return self._predict(canonical, index, numbers)

    def _fit(self, numbers: NDArray[np.float32]) -> None:
        from sklearn.cluster import KMeans

        self._mean, self._sd = numbers.mean(axis=0), numbers.std(axis=0) + 1e-6
        count = min(self.clusters, len(numbers))
        self._kmeans = KMeans(count, n_init=4, random_state=self.seed).fit(self._standardised(numbers))
        centres = self._kmeans.cluster_centers_ * self._sd + self._mean
        # The first two of the 34 numbers are mean and standard deviation of HU.
        self._names = np.array([_named(mean, sd) for mean, sd in centres[:, :2]], np.uint8)

    def _predict(
        self, canonical: Canonical, index: NDArray[np.int64], numbers: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        blocks = np.zeros(_block_shape(canonical.lungs), np.uint8)
        blocks.ravel()[index] = self._names[self._kmeans.predict(self._standardised(numbers))]
        for axis, size in enumerate(BLOCK):
            blocks = np.repeat(blocks, size, axis=axis)
        z, y, x = canonical.lungs.shape
        return np.where(canonical.lungs, blocks[:z, :y, :x], 0).astype(np.uint8)

    def _standardised(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((numbers - self._mean) / self._sd, np.float32)


def describe_blocks(canonical: Canonical) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Radiomic descriptors of every 16 mm block with lung.

    Returns:
        Flat indices (n,) of the blocks in the lattice of blocks, and their descriptors (n, 34) float32.
    """
    import torch

    from ..radiomics import describe

    lungs = _blocks(canonical.lungs)
    index = np.flatnonzero(lungs.any(axis=(1, 2, 3)))
    hu = _blocks(canonical.hu)[index]
    return index, describe(torch.from_numpy(hu), torch.from_numpy(lungs[index])).numpy()


def _block_shape(array: NDArray[Any]) -> tuple[int, int, int]:
    z, y, x = (-(-n // size) for n, size in zip(array.shape, BLOCK, strict=True))
    return z, y, x


def _blocks(array: NDArray[Any]) -> NDArray[Any]:
    """All blocks of a volume, zero beyond its end: (blocks, 8, 16, 16)."""
    z, y, x = _block_shape(array)
    padded = np.zeros((z * BLOCK[0], y * BLOCK[1], x * BLOCK[2]), array.dtype)
    padded[tuple(slice(n) for n in array.shape)] = array
    parted = padded.reshape(z, BLOCK[0], y, BLOCK[1], x, BLOCK[2]).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(parted).reshape(-1, *BLOCK)


def _named(mean_hu: float, sd_hu: float) -> int:
    """The tissue whose blocks have the most similar mean and spread."""
    return min(
        _BLOCKS,
        key=lambda c: (
            ((mean_hu - _BLOCKS[c][0]) / _MEAN_SCALE_HU) ** 2 + ((sd_hu - _BLOCKS[c][1]) / _SD_SCALE_HU) ** 2
        ),
    )
