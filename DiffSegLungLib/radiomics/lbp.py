"""Rotation-invariant uniform local binary patterns (Ojala 2002) in three orthogonal planes."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from .first_order import masked_histogram

NAMES: tuple[str, ...] = (*(f"lbp_{ones}" for ones in range(9)), "lbp_other")

# Bilinear weights of a diagonal neighbour at radius 1, at scikit-image's offset of cos 45° = 0.70711. The
# sign of the difference is all that counts, so they are divided by the weight of the diagonal voxel itself.
_AXIAL_WEIGHT = 0.29289 / 0.70711

# (row, column) axes of the axial, coronal and sagittal plane.
_PLANES: tuple[tuple[int, int], ...] = ((1, 2), (0, 2), (0, 1))


def lbp_histogram(hu: Tensor, lungs: Tensor, mean: Tensor) -> Tensor:
    """Share of each of the ten uniform patterns of 8 points at radius 1, over the three planes.

    A point's bit is 1 where the grey value there, bilinear between voxels, is not below the centre's. A
    pattern with at most two changes round the circle is named by its number of ones, 0..8; all others share
    one name (``method="uniform"`` of ``skimage.feature.local_binary_pattern``). The histogram counts the
    lung voxels of the axial, coronal and sagittal planes, and is the mean of the three. Outside the lungs
    and outside the array every voxel has the lung mean. Radius 1 is one voxel in each direction.

    The comparison is of differences to the centre, so that equal voxels are exactly equal; where a diagonal
    point ties with the centre, an implementation that interpolates first may round it to either side.

    Args:
        hu: float32 (B, D, H, W), HU.
        lungs: bool (B, D, H, W).
        mean: float32 (B,), mean HU of the lung voxels.

    Returns:
        float32 (B, 10) in the order of :data:`NAMES`, sum 1; a constant region has 1 at ``lbp_8``; zeros
        for an item without a lung voxel.
    """
    border = (1, 1, 1, 1, 1, 1)
    filled = torch.where(functional.pad(lungs, border), functional.pad(hu, border), mean.view(-1, 1, 1, 1))
    inside = lungs.flatten(1)
    codes = [_codes(filled, row, column).flatten(1) for row, column in _PLANES]
    counts = torch.stack([masked_histogram(c, inside, 256) for c in codes]).sum(0)
    names = counts.to(hu.dtype) @ _pattern_names(hu.device)
    return names / (3 * inside.sum(1, keepdim=True)).clamp(min=1)


def _codes(filled: Tensor, row: int, column: int) -> Tensor:
    """Eight bits of each voxel, in order round the circle, uint8 (B, D, H, W)."""

    def neighbour(dr: int, dc: int) -> Tensor:
        view = filled
        for axis in range(3):
            step = dr if axis == row else dc if axis == column else 0
            view = view.narrow(axis + 1, 1 + step, filled.shape[axis + 1] - 2)
        return view

    centre = neighbour(0, 0)
    circle = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
    difference = {step: neighbour(*step) - centre for step in circle}
    codes = torch.zeros(centre.shape, dtype=torch.uint8, device=filled.device)
    for bit, (dr, dc) in enumerate(circle):
        towards = difference[dr, dc]
        if dr and dc:
            towards = towards.add(difference[dr, 0] + difference[0, dc], alpha=_AXIAL_WEIGHT)
        codes.add_((towards >= 0).view(torch.uint8), alpha=1 << bit)
    return codes


@functools.cache
def _pattern_names(device: torch.device) -> Tensor:
    """Which of the ten names each 8-bit code has: one-hot float32 (256, 10)."""
    bits = (torch.arange(256)[:, None] >> torch.arange(8)) & 1
    changes = (bits != bits.roll(1, 1)).sum(1)
    return functional.one_hot(torch.where(changes <= 2, bits.sum(1), 9), 10).to(device, torch.float32)
