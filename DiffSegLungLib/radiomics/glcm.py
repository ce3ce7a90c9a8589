"""Grey-level co-occurrence (Haralick 1973) of neighbouring lung voxels, in three dimensions."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from .first_order import grey_levels, occurrences

NAMES: tuple[str, ...] = (
    "glcm_contrast",
    "glcm_dissimilarity",
    "glcm_homogeneity",
    "glcm_energy",
    "glcm_correlation",
    "glcm_asm",
)
LEVELS = 64

# One of each pair of opposite directions to the 26 neighbours at Chebyshev distance 1.
DIRECTIONS: tuple[tuple[int, int, int], ...] = tuple(
    (z, y, x)
    for z in (0, 1)
    for y in (-1, 0, 1)
    for x in (-1, 0, 1)
    if (z, y, x) > (0, 0, 0)
)  # fmt: skip


def glcm_features(hu: Tensor, lungs: Tensor, *, hu_min: float, hu_max: float) -> Tensor:
    """Six features of the co-occurrence matrix of 64 grey levels at distance 1.

    A pair is two lung voxels that are neighbours in one of the 13 directions of a 3D grid (26-neighbourhood,
    counted in voxels). Every pair counts both ways (symmetric), all directions are added into **one**
    matrix, which is then normalised to p(i, j), i, j = 0..63: the "3D merged" form of the Image Biomarker
    Standardisation Initiative. A piece of lung of 16 mm has few pairs a direction, and merging keeps the
    energy from measuring their number. With μ, σ² the mean and variance of the marginal:

    - contrast Σ p (i-j)²; dissimilarity Σ p |i-j|; homogeneity Σ p / (1 + (i-j)²);
    - ASM (angular second moment) Σ p²; energy √ASM;
    - correlation Σ p (i-μ)(j-μ) / σ², which for a symmetric matrix is 1 - contrast / (2σ²).

    In scikit-image's ``graycoprops`` they have these names. In pyradiomics (``weightingNorm="no_weighting"``,
    the merged form) they are Contrast, DifferenceAverage, Idm, √JointEnergy, Correlation and JointEnergy:
    pyradiomics' "energy" is the ASM, and its Id, with |i-j| in the denominator, is not ours.

    Args:
        hu: float32 (B, D, H, W), HU.
        lungs: bool (B, D, H, W).
        hu_min: lower end of the grey scale, HU; lower values have level 0.
        hu_max: upper end of the grey scale, HU; higher values have level 63.

    Returns:
        float32 (B, 6) in the order of :data:`NAMES`. A region of one grey level, or without any pair of lung
        voxels, has contrast and dissimilarity 0 and all others 1; an item without a lung voxel has zeros.
    """
    counts = _pair_counts(grey_levels(hu, LEVELS, hu_min, hu_max), lungs)
    pairs = counts.sum((1, 2))
    p = (counts + counts.transpose(1, 2)) / (2 * pairs.clamp(min=1))[:, None, None]

    level = torch.arange(LEVELS, dtype=p.dtype, device=p.device)
    apart = (level[:, None] - level).abs()
    weights = torch.stack((apart**2, apart, 1 / (1 + apart**2)))
    contrast, dissimilarity, homogeneity = (p.flatten(1) @ weights.flatten(1).T).unbind(1)
    asm = p.square().sum((1, 2))

    marginal = p.sum(2)
    offset = level - (marginal @ level)[:, None]
    variance = (marginal * offset**2).sum(1)
    # A single level leaves rounding only, far below the least variance of two levels in a float32 sum.
    varies = variance > 1e-8
    correlation = 1 - contrast / (2 * torch.where(varies, variance, 1.0))
    correlation = torch.where(varies, correlation, 1.0)

    features = torch.stack((contrast, dissimilarity, homogeneity, asm.sqrt(), correlation, asm), dim=1)
    features = torch.where((pairs > 0)[:, None], features, _uniform(p.device))
    return features * lungs.flatten(1).any(1)[:, None]


@functools.cache
def _uniform(device: torch.device) -> Tensor:
    """The features of a region of one grey level; kept on the device, since a copy would wait for it."""
    return torch.tensor((0.0, 0.0, 1.0, 1.0, 1.0, 1.0), device=device)


def _pair_counts(levels: Tensor, lungs: Tensor) -> Tensor:
    """Ordered pairs (level of a voxel, level of its neighbour) over all directions, float32 (B, 64, 64)."""
    batch, *shape = levels.shape
    cells = LEVELS * LEVELS
    outside = batch * cells
    start = torch.arange(batch, dtype=torch.int32, device=levels.device).view(-1, 1, 1, 1) * cells
    # The two numbers add up to the cell of the flat matrix; a voxel outside lifts the sum behind the last
    # one.
    first = torch.where(lungs, levels * LEVELS + start, outside)
    second = torch.where(lungs, levels, outside)
    pairs: list[Tensor] = []
    for direction in DIRECTIONS:
        here = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(direction, shape, strict=True))
        there = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(direction, shape, strict=True))
        pairs.append((first[(slice(None), *here)] + second[(slice(None), *there)]).flatten())
    return occurrences(pairs, outside).view(batch, LEVELS, LEVELS).to(torch.float32)
