"""How close drawn CT patches are to real ones: distances between distributions, and reconstruction.

No feature network that the world agrees on fits CT patches without a download, so two are used and named: the
34 radiomic descriptors, and a random network of fixed seed. Numbers compare within one table, never with a
FID of Inception features. Only lung voxels are seen.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ...anatomy.vessels import vessel_mask
from ...grid.canonical import HU_CEILING, HU_FLOOR, SPACING_ZYX, normalise
from ...model.heads import tamed
from ...radiomics import describe
from ..metrics import require_monai

RANDOM_FEATURES = 32
RANDOM_SEED = 0
TISSUES = ("parenchyma", "vessels and walls", "outside the lungs")
SHOWN_PERCENTILES = (1, 50, 99)

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Patches:
    """Patches (N, D, H, W) in HU with their lung masks."""

    hu: Volume
    lungs: Mask


@dataclass(frozen=True)
class Distances:
    """How far patches are from the reference.

    Attributes:
        radiomic: Fréchet distance over the 34 radiomic descriptors of each patch's lung.
        random: Fréchet distance over the features of the random network.
        hu: Wasserstein distance between the HU of all lung voxels, HU.
    """

    radiomic: float
    random: float
    hu: float


class Reference:
    """Real patches that others are compared with; features are scaled by the spread that they have here."""

    def __init__(self, patches: Patches) -> None:
        self._radiomic, self._random = radiomic_features(patches), random_features(patches)
        self._hu = _histogram(patches)

    def distances(self, patches: Patches) -> Distances:
        """How far patches are from the reference."""
        from scipy.stats import wasserstein_distance

        centres, own = self._hu
        return Distances(
            radiomic=_scaled_frechet(radiomic_features(patches), self._radiomic),
            random=_scaled_frechet(random_features(patches), self._random),
            hu=float(wasserstein_distance(centres, centres, _histogram(patches)[1], own)),
        )


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Squared Fréchet distance |μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½) of features (N, F) and (M, F).

    The normal distributions are those with the sample mean and covariance; few samples make it too large.
    """
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # Eigenvalues of a product of two covariances are real and not negative, up to rounding.
    values = np.linalg.eigvals(first @ second)
    shared = np.sqrt(np.clip(values.real, 0.0, None)).sum()
    apart = float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum())
    return max(0.0, apart + float(np.trace(first) + np.trace(second) - 2 * shared))


def radiomic_features(patches: Patches) -> NDArray[np.float64]:
    """(N, 34) descriptors of the lung of every patch, heavy tails tamed."""
    described = describe(torch.from_numpy(patches.hu), torch.from_numpy(patches.lungs))
    return np.asarray(tamed(described).numpy(), np.float64)


def random_features(patches: Patches) -> NDArray[np.float64]:
    """(N, 32) means and deviations, over the lung, of 16 responses of a random network of fixed seed.

    Outside the lungs it sees their mean, so that their border is no structure.
    """
    network = _random_network()
    rows = []
    with torch.inference_mode():
        for hu, inside in zip(torch.from_numpy(patches.hu), torch.from_numpy(patches.lungs), strict=True):
            seen = normalise(hu)
            seen = torch.where(inside, seen, seen[inside].mean())[None, None]
            answered = network(seen)[0]
            lung = functional.interpolate(inside[None, None].float(), answered.shape[1:])[0, 0] > 0
            values = answered[:, lung if bool(lung.any()) else ~lung]
            rows.append(torch.cat([values.mean(dim=1), values.std(dim=1, correction=0)]))
    return np.asarray(torch.stack(rows).numpy(), np.float64)


def _random_network() -> nn.Module:
    """Three convolutions at strides 1, 2, 2 without bias, He 2015 weights, ReLU between."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    widths = (1, 8, 16, RANDOM_FEATURES // 2)
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        layer = nn.Conv3d(before, after, 3, stride=1 if i == 0 else 2, padding=1, bias=False)
        with torch.no_grad():
            layer.weight.normal_(0.0, (2.0 / (27 * before)) ** 0.5, generator=generator)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def _scaled_frechet(features: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    mean, sd = reference.mean(axis=0), np.maximum(reference.std(axis=0), 1e-6)
    # Cut like the descriptors of the distillation: no odd patch may decide the covariance.
    a, b = (np.clip((f - mean) / sd, -10.0, 10.0) for f in (features, reference))
    return frechet_distance(a, b)


def _histogram(patches: Patches) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres and counts of bins of 5 HU over the lung voxels."""
    edges = np.arange(HU_FLOOR, HU_CEILING + 5, 5)
    values = np.clip(patches.hu[patches.lungs], HU_FLOOR, HU_CEILING)
    counts, _ = np.histogram(values, edges)
    return (edges[:-1] + edges[1:]) / 2, counts.astype(np.float64)


@dataclass(frozen=True)
class TissueRange:
    """HU of one tissue.

    Attributes:
        tissue: one of :data:`TISSUES`.
        real: 1st, 50th and 99th percentile in real patches, HU.
        drawn: the same in drawn ones.
        within: share of the drawn voxels within the 1st to 99th percentile of the real ones; 0.98 is real.
    """

    tissue: str
    real: tuple[float, ...]
    drawn: tuple[float, ...]
    within: float


def tissue_ranges(real: Patches, drawn: Patches) -> list[TissueRange]:
    """HU of drawn patches beside real ones, tissue by tissue; vessels as the product finds them."""
    found = []
    for tissue, ours, theirs in zip(TISSUES, _tissues(drawn), _tissues(real), strict=True):
        if not len(ours) or not len(theirs):
            continue
        limits = np.percentile(theirs, SHOWN_PERCENTILES)
        within = float(((ours >= limits[0]) & (ours <= limits[-1])).mean())
        shown = np.percentile(ours, SHOWN_PERCENTILES)
        found.append(TissueRange(tissue, tuple(limits.tolist()), tuple(shown.tolist()), within))
    return found


def _tissues(patches: Patches) -> tuple[NDArray[np.float32], ...]:
    hu = patches.hu.clip(HU_FLOOR, HU_CEILING)
    vessels = np.stack(
        [vessel_mask(h, inside, SPACING_ZYX) for h, inside in zip(hu, patches.lungs, strict=True)]
    )
    return hu[patches.lungs & ~vessels], hu[patches.lungs & vessels], hu[~patches.lungs]


def similarity(hu: Volume, truth: Volume) -> tuple[float, float]:
    """Mean SSIM (three-dimensional, Gaussian window of 7 voxels) and PSNR in dB of patches (N, D, H, W).

    MONAI's; both over the 1400 HU that the network knows.

    Raises:
        InputError: MONAI is not installed.
    """
    require_monai()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.metrics import PSNRMetric, SSIMMetric
    span = HU_CEILING - HU_FLOOR
    a, b = (
        torch.from_numpy(np.ascontiguousarray(v.clip(HU_FLOOR, HU_CEILING) - HU_FLOOR))[:, None]
        for v in (hu, truth)
    )
    ssim = SSIMMetric(spatial_dims=3, data_range=span, win_size=7)(a, b)
    psnr = PSNRMetric(max_val=span)(a, b)
    return float(ssim.mean()), float(psnr.mean())
