"""Energy of Gabor responses in axial slices: texture by scale and orientation."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

FREQUENCIES: tuple[float, ...] = (0.10, 0.25, 0.40)
ANGLES_DEG: tuple[int, ...] = (0, 45, 90, 135)
NAMES: tuple[str, ...] = (
    *(f"gabor_{frequency:.2f}_{angle}" for frequency in FREQUENCIES for angle in ANGLES_DEG),
    "gabor_mean",
)
BANDWIDTH_OCTAVES = 1.0
RADIUS_SD = 3.0


def gabor_energies(centred: Tensor, lungs: Tensor) -> Tensor:
    """Mean squared magnitude of twelve complex Gabor responses over the lung voxels, and their mean.

    Each axial slice is convolved with

        g(x, y) = exp(-(x² + y²) / 2σ²) / (2πσ²) · exp(2πi f (x cosθ + y sinθ)),

    x along columns, y along rows, f in cycles per voxel, σ = √(ln 2 / 2) · (2^b + 1) / (2^b - 1) / (π f)
    for a bandwidth of b = 1 octave, cut off as ``skimage.filters.gabor_kernel`` does: at ⌈3σ⌉ voxels for 0°
    and 90°, at ⌈3σ/√2⌉ for 45° and 135°. The slice is HU minus the lung mean, zero outside the lungs and
    outside the array, so neither the mean density nor the lungs' border makes a response. The energy is the
    mean of real² + imaginary² over the lung voxels, in HU².

    The Gaussian is round, so every kernel is a product of two one-dimensional ones. These run as products
    with banded matrices, the fastest form for slices of at most a few hundred voxels.

    Args:
        centred: float32 (B, D, H, W), HU minus the lung mean, zero outside the lungs.
        lungs: bool (B, D, H, W).

    Returns:
        float32 (B, 13), HU², in the order of :data:`NAMES`; zeros for a constant region or an empty item.
    """
    batch, depth, height, width = centred.shape
    slices = centred.reshape(batch * depth, height, width)
    inside = lungs.reshape(batch, 1, -1).to(centred.dtype)
    energies: list[Tensor] = []
    for frequency in FREQUENCIES:
        for real, imaginary in _responses(slices, frequency):
            power = (real.square() + imaginary.square()).reshape(batch, -1, 1)
            energies.append((inside @ power).view(batch))
    energy = torch.stack(energies, dim=1) / inside.sum(2).clamp(min=1)
    return torch.cat((energy, energy.mean(1, keepdim=True)), dim=1)


def _responses(slices: Tensor, frequency: float) -> tuple[tuple[Tensor, Tensor], ...]:
    """Real and imaginary response (N, H, W) at 0°, 45°, 90° and 135° of slices (N, H, W)."""
    height, width = slices.shape[1:]
    columns = _bands(width, frequency, slices.device)
    rows = _bands(height, frequency, slices.device)
    along_x = (slices @ columns.flatten(0, 1).T).view(-1, height, 5, width)
    smooth, wave_re, wave_im, oblique_re, oblique_im = along_x.unbind(2)
    # The two oblique angles differ only in the sign of the sine along x.
    cos_cos, sin_sin = rows[3] @ oblique_re, rows[4] @ oblique_im
    cos_sin, sin_cos = rows[3] @ oblique_im, rows[4] @ oblique_re
    return (
        (rows[0] @ wave_re, rows[0] @ wave_im),
        (cos_cos - sin_sin, cos_sin + sin_cos),
        (rows[1] @ smooth, rows[2] @ smooth),
        (cos_cos + sin_sin, sin_cos - cos_sin),
    )


@functools.lru_cache(maxsize=64)
def _bands(length: int, frequency: float, device: torch.device) -> Tensor:
    """Matrices that convolve a line: Gaussian, its cosine and sine wave, the oblique cosine and sine wave.

    Each is (length, length) with zeros beyond the kernel's radius; together float32 (5, length, length).
    """
    octaves = 2.0**BANDWIDTH_OCTAVES
    sigma = math.sqrt(math.log(2) / 2) * (octaves + 1) / (octaves - 1) / (math.pi * frequency)
    offset = torch.arange(length)[:, None] - torch.arange(length)
    gaussian = torch.exp(-0.5 * (offset / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
    cosine = math.cos(math.pi / 4)
    straight = gaussian * (offset.abs() <= math.ceil(RADIUS_SD * sigma))
    oblique = gaussian * (offset.abs() <= math.ceil(RADIUS_SD * sigma * cosine))
    phase = 2 * math.pi * frequency * offset
    lines = (
        straight,
        straight * torch.cos(phase),
        straight * torch.sin(phase),
        oblique * torch.cos(phase * cosine),
        oblique * torch.sin(phase * cosine),
    )
    return torch.stack(lines).to(device)
