"""Radiomic distillation: InfoNCE between what the student saw and what the teacher measured (method.md 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..grid.canonical import CELL
from ..radiomics import describe

_FAR = 1e6
"""Logit or squared distance whose exponential is exactly 0, but whose product with 0 is not NaN."""


def block_descriptors(
    hu: Tensor, lungs: Tensor, cells: tuple[int, int, int], *, least_lung: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Radiomic descriptors of every block of cells in a batch of patches.

    Args:
        hu: (B, D, H, W) float32 in HU, before any diffusion noise.
        lungs: (B, D, H, W) bool.
        cells: block size in cells (z, y, x); the whole patch gives the paper's one descriptor a patch.
        least_lung: share of a block that must be lung for it to count, 0..1.

    Returns:
        descriptors (B·n, 34) float32 and which of them count (B·n,) bool; n blocks a patch, z slowest.
    """
    size = tuple(n * c for n, c in zip(cells, CELL, strict=True))
    blocks, masks = _blocks(hu, size), _blocks(lungs, size)
    counts = masks.flatten(1).float().mean(dim=1) >= least_lung
    if hu.device.type == "cuda":
        # To pick the blocks that count, the host would have to wait for the device.
        return torch.where(counts[:, None], describe(blocks, masks), 0.0), counts
    descriptors = torch.zeros(len(blocks), 34)
    if counts.any():
        descriptors[counts] = describe(blocks[counts], masks[counts])
    return descriptors, counts


def _blocks(volume: Tensor, size: tuple[int, ...]) -> Tensor:
    """Cut (B, D, H, W) into blocks: (B·n, d, h, w)."""
    b, d, h, w = volume.shape
    bd, bh, bw = size
    cut = volume.reshape(b, d // bd, bd, h // bh, bh, w // bw, bw).permute(0, 1, 3, 5, 2, 4, 6)
    return cut.reshape(-1, bd, bh, bw)


def soft_targets(descriptors: Tensor, bandwidth: float, counts: Tensor | None = None) -> Tensor:
    """Which teacher embeddings count as positives for each student, by radiomic similarity.

    Two blocks of the same tissue are not pushed apart: the weight of a pair is exp(-d²/2h²), where d² is the
    mean squared difference of their standardised descriptors, and every row sums to 1.

    Args:
        descriptors: (N, 34) in cohort standard deviations.
        bandwidth: h; 0 gives the identity, the paper's hard positives.
        counts: (N,) bool, which blocks take part; the rows and columns of the others are 0.

    Returns:
        (N, N) float32, rows summing to 1.
    """
    if bandwidth <= 0.0:
        targets = torch.eye(len(descriptors), device=descriptors.device)
    else:
        distance = torch.cdist(descriptors, descriptors).square() / descriptors.shape[1]
        if counts is not None:
            distance = distance.masked_fill(~counts, _FAR)
        targets = torch.softmax(-distance / (2.0 * bandwidth**2), dim=1)
    return targets if counts is None else targets * counts[:, None]


def info_nce(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    weights: Tensor | None = None,
    counts: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE (van den Oord 2018) with soft positives; the paper's form for identity ``targets``.

    Args:
        student: (N, E) unit length.
        teacher: (N, E) unit length.
        targets: (N, N), rows summing to 1.
        temperature: τ, 0.07 in the paper.
        weights: (N,) weight of each block, here how much signal its noisy patch still holds.
        counts: (N,) bool, which blocks take part. The result is that of the picked rows, but to pick them
            a GPU's host would have to wait; 0 without any.

    Returns:
        Scalar loss in nats; ln N for embeddings that know nothing.
    """
    logits = student @ teacher.T / temperature
    if counts is not None:
        logits = logits.masked_fill(~(counts[:, None] & counts), -_FAR)
        weights = counts.float() if weights is None else weights * counts
    columns = targets.T / targets.T.sum(dim=1, keepdim=True).clamp_min(1e-12)
    loss = -(targets * F.log_softmax(logits, dim=1)).sum(1) - (columns * F.log_softmax(logits.T, dim=1)).sum(
        1
    )
    if weights is None:
        return 0.5 * loss.mean()
    return 0.5 * (weights * loss).sum() / weights.sum().clamp_min(1e-6)


def retrieval_accuracy(student: Tensor, teacher: Tensor, top: int = 1) -> float:
    """Share of blocks whose own descriptor is among the ``top`` nearest teachers; chance is ``top``/N.

    0 where there is no block.
    """
    if not len(student):
        return 0.0
    nearest = (student @ teacher.T).topk(min(top, len(teacher)), dim=1).indices
    own = torch.arange(len(student), device=student.device)[:, None]
    return float((nearest == own).any(dim=1).float().mean())
