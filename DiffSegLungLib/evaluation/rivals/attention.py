"""Segments from self-attention alone, after DiffSeg (Tian 2024, "Diffuse, Attend, and Segment", CVPR).

Places of one object attend to the same places. So attention maps, read as distributions, are merged while
they are alike by symmetric Kullback-Leibler divergence, starting from a grid of anchors; every place then
belongs to the merged map that is largest there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ...model.network import NoiseUNet, SelfAttention

_LEAST = 1e-9


@torch.inference_mode()
def attention_maps(network: NoiseUNet, x: Tensor, t: Tensor) -> Tensor:
    """Self-attention between the cells of each patch at the bottleneck, mean over the heads.

    Args:
        network: whose attention.
        x: (B, 2, D, H, W) noisy CT and lung mask.
        t: (B,) timesteps.

    Returns:
        (B, N, N) float32; rows, one a cell, sum to 1.
    """
    seen: list[Tensor] = []
    handle = network.middle_attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        network.encode(x, t)
    finally:
        handle.remove()
    return _weights(network.middle_attention, seen[0].float())


def _weights(attention: SelfAttention, x: Tensor) -> Tensor:
    batch, channels = x.shape[:2]
    qkv = attention.qkv(attention.norm(x).flatten(2))
    q, k, _ = qkv.reshape(batch, 3, attention.heads, channels // attention.heads, -1).unbind(dim=1)
    logits = q.transpose(-1, -2) @ k / (channels // attention.heads) ** 0.5
    return cast(Tensor, logits.softmax(dim=-1).mean(dim=1))


@torch.inference_mode()
def merged_segments(maps: Tensor, anchors: Tensor, *, threshold: float, rounds: int = 3) -> Tensor:
    """Merge the attention maps of one patch into segments.

    Args:
        maps: (N, N), row i the map of place i, summing to 1.
        anchors: (M,) indices of the places to start from.
        threshold: largest symmetric KL divergence (mean of both directions, nats) of maps that are one.
        rounds: of merging; the first merges every anchor with all maps like it, the others merge proposals.

    Returns:
        (N,) number of the segment that each place belongs to.
    """
    near = _divergence(maps[anchors], maps) < threshold
    proposals = (near.float() @ maps) / near.sum(dim=1, keepdim=True)
    for _ in range(rounds - 1):
        before = len(proposals)
        proposals = _merge(proposals, threshold)
        if len(proposals) == before:
            break
    return proposals.argmax(dim=0)


def _merge(proposals: Tensor, threshold: float) -> Tensor:
    """One round: each proposal not yet taken takes those like it."""
    alike = _divergence(proposals, proposals) < threshold
    free = torch.ones(len(proposals), dtype=torch.bool)
    merged = []
    for i in range(len(proposals)):
        if free[i]:
            taken = alike[i] & free
            taken[i] = True
            merged.append(proposals[taken].mean(dim=0))
            free &= ~taken
    return torch.stack(merged)


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    """Symmetric KL divergence of all pairs of rows, (A, B)."""
    log_a, log_b = a.clamp_min(_LEAST).log(), b.clamp_min(_LEAST).log()
    self_a, self_b = (a * log_a).sum(dim=1), (b * log_b).sum(dim=1)
    return 0.5 * (self_a[:, None] + self_b[None, :] - a @ log_b.T - log_a @ b.T)
