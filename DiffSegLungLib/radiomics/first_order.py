"""First-order statistics of the Hounsfield values inside the lungs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NAMES: tuple[str, ...] = ("hu_mean", "hu_sd", "hu_skewness", "hu_kurtosis", "hu_entropy")
ENTROPY_BINS = 50


def hu_statistics(hu: Tensor, lungs: Tensor, *, hu_min: float, hu_max: float) -> Tensor:
    """Mean, standard deviation, skewness, kurtosis and histogram entropy of the lung voxels.

    With n lung voxels x_v, mean m and central moments m_k = (1/n) Σ (x_v - m)^k:

    - mean m and standard deviation √m₂ in HU (population form, divisor n);
    - skewness m₃ / m₂^1.5 and kurtosis m₄ / m₂² (3 for a normal distribution, not the excess);
      both 0 where m₂ = 0;
    - entropy -Σ p log₂ p in bits over 50 equal bins of [hu_min, hu_max], at most log₂ 50 = 5.64.

    These are pyradiomics' Mean, StandardDeviation, Skewness, Kurtosis and Entropy.

    Args:
        hu: float32 (B, D, H, W), HU; values outside the range count in the outer bins.
        lungs: bool (B, D, H, W); values elsewhere are never read into the result, NaN included.
        hu_min: lower end of the histogram, HU.
        hu_max: upper end of the histogram, HU.

    Returns:
        float32 (B, 5) in the order of :data:`NAMES`; zeros for an item without a lung voxel.
    """
    flat, inside = hu.flatten(1), lungs.flatten(1)
    count = inside.sum(1).clamp(min=1).to(hu.dtype)
    # Values are taken from the item's minimum on, so that a constant region has exactly no variance.
    lowest = torch.where(inside, flat, torch.inf).amin(1)
    lowest = torch.where(lowest.isinf(), 0.0, lowest)
    above = torch.where(inside, flat - lowest[:, None], 0.0)
    above_mean = above.sum(1) / count
    centred = torch.where(inside, above - above_mean[:, None], 0.0)
    square = centred * centred
    second = square.sum(1) / count
    # What rounding left in the mean would enter the third moment three times; near-symmetric values show it.
    residue = centred.sum(1) / count
    third = (square * centred).sum(1) / count - 3 * second * residue
    fourth = square.square_().sum(1) / count
    sd = second.sqrt()
    varies = second > 0
    safe = torch.where(varies, sd, 1.0)
    return torch.stack(
        (
            lowest + above_mean,
            sd,
            torch.where(varies, third / safe**3, 0.0),
            torch.where(varies, fourth / safe**4, 0.0),
            _entropy(flat, inside, hu_min, hu_max),
        ),
        dim=1,
    )


def masked_histogram(bins: Tensor, inside: Tensor, size: int) -> Tensor:
    """Histogram of integer bin numbers, one per item, counting only the voxels inside.

    Args:
        bins: integer (B, N), values in 0..size-1 where ``inside``.
        inside: bool (B, N).
        size: number of bins.

    Returns:
        int64 (B, size) counts.
    """
    batch = bins.shape[0]
    start = torch.arange(batch, dtype=torch.int32, device=bins.device)[:, None] * size
    # One flat bincount serves the whole batch; voxels outside fall in one bin behind the last.
    index = torch.where(inside, bins.to(torch.int32) + start, batch * size)
    return occurrences([index.flatten()], batch * size).view(batch, size)


def occurrences(numbers: Sequence[Tensor], size: int) -> Tensor:
    """How often each of 0..size-1 occurs in some integer tensors (N,); larger numbers do not count; int64.

    CUDA counts by scattering: bincount would make the host wait for the largest number.
    """
    if numbers[0].device.type == "cuda":
        return scattered_occurrences(numbers, size)
    every = torch.cat(list(numbers)) if len(numbers) > 1 else numbers[0]
    return torch.bincount(every, minlength=size + 1)[:size]


def scattered_occurrences(numbers: Sequence[Tensor], size: int) -> Tensor:
    """As :func:`occurrences`, on any device."""
    counts = torch.zeros(size + 1, dtype=torch.int64, device=numbers[0].device)
    one = torch.ones((), dtype=torch.int64, device=counts.device)
    for part in numbers:
        counts.scatter_add_(0, part.clamp_max(size).long(), one.expand(len(part)))
    return counts[:size]


def grey_levels(hu: Tensor, levels: int, hu_min: float, hu_max: float) -> Tensor:
    """Number of the equal bin of [hu_min, hu_max] that holds each value, 0..levels-1, int32.

    Bins are closed below and open above, the last one closed; values outside go to the outer bins.
    """
    scaled = (hu - hu_min) / ((hu_max - hu_min) / levels)
    return scaled.clamp_(0, levels - 1).to(torch.int32)


def _entropy(flat: Tensor, inside: Tensor, hu_min: float, hu_max: float) -> Tensor:
    counts = masked_histogram(grey_levels(flat, ENTROPY_BINS, hu_min, hu_max), inside, ENTROPY_BINS)
    share = counts.to(flat.dtype)
    share = share / share.sum(1, keepdim=True).clamp(min=1)
    information = -share * torch.log2(share.clamp(min=1e-30))
    return information.sum(1).abs()  # a single filled bin gives -0
