"""Projection heads of the radiomic distillation: the student's is kept, the teacher's thrown away."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..radiomics import NAMES

EMBEDDING = 128

_HEAVY_TAILED = ("gabor_", "glcm_contrast", "hu_kurtosis")


class StudentHead(nn.Module):
    """Bottleneck features → embedding of every cell: 1×1×1 conv, norm over channels, ReLU, 1×1×1 conv.

    The norm acts on each cell's own channels: what else is in the patch does not matter.
    """

    def __init__(self, channels: int, embedding: int = EMBEDDING) -> None:
        super().__init__()
        self.expand = nn.Conv3d(channels, channels, 1)
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Conv3d(channels, embedding, 1)

    __call__: Callable[..., Tensor]

    def project_cells(self, features: Tensor) -> Tensor:
        """(B, C, d, h, w) → (B, 128, d, h, w), before the ℓ2 normalisation."""
        h = self.expand(features)
        h = self.norm(h.movedim(1, -1)).movedim(-1, 1)
        return cast(Tensor, self.project(F.relu(h)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, d, h, w) → (B, 128, d, h, w) float32 of unit length along the channels."""
        return F.normalize(self.project_cells(features).float(), dim=1)

    def blocks(self, features: Tensor, cells: tuple[int, int, int]) -> Tensor:
        """One unit-length embedding a block of ``cells``: (B, C, d, h, w) → (B, 128, d', h', w')."""
        return F.normalize(F.avg_pool3d(self.project_cells(features).float(), cells), dim=1)


class TeacherHead(nn.Module):
    """Normalised radiomic descriptors (N, 34) → unit-length embedding (N, 128): MLP 34→128→128."""

    def __init__(self, descriptors: int, embedding: int = EMBEDDING) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(descriptors, embedding), nn.ReLU(), nn.Linear(embedding, embedding)
        )

    __call__: Callable[..., Tensor]

    def forward(self, descriptors: Tensor) -> Tensor:
        return F.normalize(self.layers(descriptors), dim=1)


@functools.cache
def _heavy(device: torch.device) -> Tensor:
    """Which columns have heavy tails; kept on the device, since a copy would wait for it."""
    return torch.tensor([name.startswith(_HEAVY_TAILED) for name in NAMES], device=device)


def tamed(descriptors: Tensor) -> Tensor:
    """Descriptors (N, 34) with their heavy-tailed columns (energies, contrast, kurtosis) as log(1 + x).

    On real lung raw Gabor energies reach nine standard deviations and would decide every similarity alone.
    """
    return torch.where(_heavy(descriptors.device), torch.log1p(descriptors.clamp_min(0.0)), descriptors)


def standardise(descriptors: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """Descriptors (N, 34), tamed, in cohort standard deviations, cut at ±5: no odd block may dominate."""
    return torch.clamp((tamed(descriptors) - mean) / sd.clamp_min(1e-6), -5.0, 5.0)
