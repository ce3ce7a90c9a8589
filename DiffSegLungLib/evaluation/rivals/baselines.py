"""What DiffSegLung has to beat, every rival as strong as its idea allows.

All get the same measured lungs on the working grid (:class:`.preparation.Parenchyma`); all clusterings are
overcomplete, and all are named and put back to voxels by :mod:`naming`, which never sees a truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from ...config import Config
from ...grid.canonical import CELL, SPACING_ZYX, Canonical
from .descriptions import block_radiomics, encoder_features, noisy_tiles, plain_statistics
from .naming import NAMES, label_by_clusters, label_by_segments, names_of

if TYPE_CHECKING:
    from torch import Tensor

    from ...model.bundle import Bundle
    from ...segmentation.preparation import Parenchyma

Method = Callable[["Parenchyma"], NDArray[np.uint8]]
"""Labels the lungs of a prepared CT: class ids (z, y, x) uint8 on the working grid, 0 outside the lungs."""

CLUSTERS = 24
PRINCIPAL = 10
_SEED = 0
_TIMESTEPS = Config().timesteps


def rivals(undistilled: Bundle | None = None, network: Bundle | None = None) -> dict[str, Method]:
    """Every rival by its name.

    Args:
        undistilled: a model trained by noise prediction alone; without one its rival is left out.
        network: the model whose self-attention DiffSeg merges, and whose architecture the untrained network
            has; the one that ships by default.
    """
    from ...model.library import load_model

    shipped = network or load_model()
    random = untrained(shipped)
    methods: dict[str, Method] = {
        "HU bands": HUBands(),
        "k-means on HU and local deviation": VoxelKMeans(),
        "k-means on radiomics": lambda p: label_by_segments(p, kmeans(block_radiomics(p))),
        "GMM on radiomics": lambda p: label_by_clusters(p, mixture(block_radiomics(p))),
        "GMM on local statistics": lambda p: label_by_clusters(p, mixture(plain_statistics(p))),
        "DiffSeg": DiffSeg(shipped),
        "untrained network": NetworkMixture(random),
    }
    if undistilled is not None:
        methods["diffusion features, no distillation"] = NetworkMixture(undistilled)
    return methods


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

    def __call__(self, parenchyma: Parenchyma) -> NDArray[np.uint8]:
        """Class ids (z, y, x) uint8 on the working grid, 0 outside the lungs."""
        return self.predict(parenchyma.canonical)

    def predict(self, canonical: Canonical) -> NDArray[np.uint8]:
        """The same for a canonical volume."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.rint(canonical.hu).astype(np.int16))
        hu = sitk.GetArrayFromImage(sitk.Median(image, [self.median // 2] * 3))
        band = np.searchsorted(np.array(self.limits), hu.ravel(), side="right").reshape(hu.shape)
        labels: NDArray[np.uint8] = np.array(self.classes, np.uint8)[band]
        labels[~canonical.lungs] = 0
        return labels


class VoxelKMeans:
    """k-means on two numbers of every voxel: smoothed HU and the local standard deviation around it.

    Args:
        clusters: number of clusters.
        window_mm: edge of the cube in which the deviation is measured.
        sample: voxels that the clusters are found on.
    """

    def __init__(self, clusters: int = CLUSTERS, window_mm: float = 9.0, sample: int = 50_000) -> None:
        self.clusters = clusters
        self.window_mm = window_mm
        self.sample = sample

    def __call__(self, parenchyma: Parenchyma) -> NDArray[np.uint8]:
        """Class ids (z, y, x) uint8 on the working grid, 0 outside the lungs."""
        from scipy.spatial import cKDTree
        from sklearn.cluster import KMeans

        lungs = parenchyma.canonical.lungs
        numbers = np.stack([parenchyma.smooth[lungs], self._deviation(parenchyma)[lungs]], axis=1)
        scale = numbers.std(axis=0) + 1e-6
        chosen = np.random.default_rng(_SEED).choice(len(numbers), min(self.sample, len(numbers)), False)
        count = min(self.clusters, len(chosen))
        centres = KMeans(count, n_init=2, random_state=_SEED).fit(numbers[chosen] / scale).cluster_centers_
        nearest = cKDTree(centres).query((numbers / scale).astype(np.float32))[1]
        mean, sd = (centres * scale).T
        labels = np.zeros(lungs.shape, np.uint8)
        labels[lungs] = np.array(NAMES, np.uint8)[names_of(mean, sd, parenchyma.aeration.level_hu)][nearest]
        return labels

    def _deviation(self, parenchyma: Parenchyma) -> NDArray[np.float32]:
        """Standard deviation of smoothed HU among the lung voxels around each voxel."""
        from scipy.ndimage import uniform_filter

        size = [max(1, round(self.window_mm / s)) for s in SPACING_ZYX]
        inside = parenchyma.canonical.lungs.astype(np.float32)
        # Around a level that lungs are near to, squares lose no digits.
        hu = np.clip(parenchyma.smooth + 800.0, -300.0, 1200.0) * inside
        share = np.maximum(uniform_filter(inside, size), 1e-3)
        mean, square = uniform_filter(hu, size) / share, uniform_filter(hu**2, size) / share
        return np.asarray(np.sqrt(np.maximum(square - mean**2, 0.0)), np.float32)


@dataclass(frozen=True)
class NetworkMixture:
    """A mixture on the bottleneck features of a network alone, without any head.

    Attributes:
        bundle: the network, its schedule and patch.
    """

    bundle: Bundle

    def __call__(self, parenchyma: Parenchyma) -> NDArray[np.uint8]:
        """Class ids (z, y, x) uint8 on the working grid, 0 outside the lungs."""
        features = encoder_features(parenchyma, self.bundle, _TIMESTEPS, overlap=0.0)
        return label_by_clusters(parenchyma, mixture(features, principal=2 * PRINCIPAL))


@dataclass(frozen=True)
class DiffSeg:
    """Iterative merging of a network's self-attention maps in every patch (:mod:`attention`).

    Attributes:
        bundle: the network, its schedule and patch.
        timestep: at which the network attends.
        threshold: symmetric KL divergence below which two maps are one, nats.
        stride: cells from anchor to anchor along every axis.
    """

    bundle: Bundle
    timestep: int = 10
    threshold: float = 0.5
    stride: int = 2

    def __call__(self, parenchyma: Parenchyma) -> NDArray[np.uint8]:
        """Class ids (z, y, x) uint8 on the working grid, 0 outside the lungs."""
        from .attention import attention_maps

        number = np.full(int(np.prod(parenchyma.cells.shape)), -1)
        number[parenchyma.cells.index] = np.arange(len(parenchyma.cells))
        lattice = number.reshape(parenchyma.cells.shape)
        patch = tuple(p // c for p, c in zip(self.bundle.patch, CELL, strict=True))
        segment = np.zeros(len(parenchyma.cells), np.intp)
        found = 0
        for tiles, x, step in noisy_tiles(parenchyma, self.bundle, self.timestep, overlap=0.0):
            for tile, maps in zip(tiles, attention_maps(self.bundle.network, x, step), strict=True):
                cells = np.full(patch, -1)
                part = lattice[tile]
                cells[tuple(slice(n) for n in part.shape)] = part
                merged = self._merged(maps, cells)
                segment[cells[cells >= 0]] = found + merged
                found += int(merged.max()) + 1
        return label_by_segments(parenchyma, segment)

    def _merged(self, maps: Tensor, cells: NDArray[np.intp]) -> NDArray[np.intp]:
        """Segment of every lung cell of a patch; cells outside the lungs are no places of this method."""
        import torch

        from .attention import merged_segments

        grid = np.zeros(cells.shape, bool)
        grid[:: self.stride, :: self.stride, :: self.stride] = True
        place = np.flatnonzero(cells.ravel() >= 0)
        anchors = np.flatnonzero(grid.ravel()[place])
        if len(anchors) == 0:
            anchors = np.arange(len(place))
        within = maps[place][:, place]
        within = within / within.sum(dim=1, keepdim=True)
        merged = merged_segments(within, torch.from_numpy(anchors), threshold=self.threshold)
        return np.asarray(merged.numpy())


def kmeans(features: NDArray[np.float32], clusters: int = CLUSTERS) -> NDArray[np.intp]:
    """Cluster of every row of standardised features, (n,)."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    model = KMeans(min(clusters, len(features)), n_init=4, random_state=_SEED)
    return np.asarray(model.fit_predict(StandardScaler().fit_transform(features)))


def mixture(
    features: NDArray[np.float32], components: int = CLUSTERS, principal: int = PRINCIPAL
) -> NDArray[np.float32]:
    """Posterior of a Gaussian mixture on the principal components of standardised features, (n, k)."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit_transform(features)
    x = PCA(min(principal, *x.shape), random_state=_SEED).fit_transform(x)
    model = GaussianMixture(
        min(components, len(x)), covariance_type="full", reg_covar=1e-2, tol=1e-3, random_state=_SEED
    )
    return np.asarray(model.fit(x / x[:, 0].std()).predict_proba(x / x[:, 0].std()), np.float32)


def untrained(like: Bundle, seed: int = 0) -> Bundle:
    """A bundle of the same kind, base 16 to be quick, whose network has its random initial weights."""
    import torch

    from ...model.network import NoiseUNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NoiseUNet(replace(like.network.architecture, base=16)).eval()
    return replace(like, network=network, mixture={})
