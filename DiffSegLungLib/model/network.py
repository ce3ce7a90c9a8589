"""The diffusion student: a 3D U-Net that predicts noise, with a light decoder and a cheap feature path.

Only the encoder and the middle block are needed for features, so the decoder has one block a level, and the
finest level works on a 2 × 2 in-plane space-to-depth fold instead of at full resolution.
``Testing/benchmarks/network.py`` measures this network against MONAI's DiffusionModelUNet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError

STRIDE = (4, 8, 8)
"""Input voxels (z, y, x) in one bottleneck cell."""

PRESETS = {"small": 16, "medium": 32, "large": 64}
"""Names of the base widths; the bottleneck is four times as wide."""


@dataclass(frozen=True)
class Architecture:
    """What it takes to rebuild a network: written into the bundle's card.

    Attributes:
        base: channels of the finest level, a multiple of 8 in 8..128; the bottleneck has four times as many.
        attention_heads: heads of the self-attention at the bottleneck, 1..16; must divide ``4 * base``.
        timesteps: T of the noise schedule the network was trained with.
    """

    base: int = 64
    attention_heads: int = 4
    timesteps: int = 250

    def __post_init__(self) -> None:
        if not (8 <= self.base <= 128 and self.base % 8 == 0):
            raise InputError(
                "bad-architecture",
                f"The network's base width is {self.base}.",
                "It must be a multiple of 8 in 8..128.",
            )
        if not 1 <= self.attention_heads <= 16 or (4 * self.base) % self.attention_heads:
            raise InputError(
                "bad-architecture",
                f"The network has {self.attention_heads} attention heads for {4 * self.base} channels.",
                "The number of heads must be in 1..16 and divide the channels.",
            )
        if not 2 <= self.timesteps <= 4000:
            raise InputError(
                "bad-architecture", f"The schedule has {self.timesteps} timesteps.", "It must have 2..4000."
            )


class NoiseUNet(nn.Module):
    """Predicts the noise in a noisy CT, given the lung mask and the timestep.

    Levels have strides (1, 2, 2), (2, 4, 4), (4, 8, 8) and widths 1, 2, 4 times ``base``; self-attention
    at the bottleneck. The time enters every residual block as a scale and a shift.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        fine, mid, deep = (architecture.base * m for m in (1, 2, 4))
        time = 4 * architecture.base
        self.time = nn.Sequential(nn.Linear(architecture.base, time), nn.SiLU(), nn.Linear(time, time))

        self.stem = nn.Conv3d(8, fine, 3, padding=1)
        self.fine = ResidualBlock(fine, fine, time)
        self.to_mid = nn.Conv3d(fine, mid, 3, stride=2, padding=1)
        self.mid = ResidualBlock(mid, mid, time)
        self.to_deep = nn.Conv3d(mid, deep, 3, stride=2, padding=1)
        self.deep = ResidualBlock(deep, deep, time)
        self.middle_before = ResidualBlock(deep, deep, time)
        self.middle_attention = SelfAttention(deep, architecture.attention_heads)
        self.middle_after = ResidualBlock(deep, deep, time)

        self.from_deep = nn.Conv3d(deep, mid, 1)
        self.up_mid = ResidualBlock(2 * mid, mid, time)
        self.from_mid = nn.Conv3d(mid, fine, 1)
        self.up_fine = ResidualBlock(2 * fine, fine, time)
        self.out_norm = nn.GroupNorm(8, fine)
        self.out = nn.Conv3d(fine, 4, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(cast(Tensor, self.out.bias))

    @property
    def feature_channels(self) -> int:
        """Channels of :meth:`encode`."""
        return 4 * self.architecture.base

    def encode(self, x: Tensor, t: Tensor) -> Tensor:
        """Bottleneck features after the middle block; the decoder does not run.

        Args:
            x: (B, 2, D, H, W) noisy normalised CT and lung mask (0/1); D a multiple of 4, H and W of 8.
            t: (B,) integer timesteps in 0..T-1.

        Returns:
            (B, 4·base, D/4, H/8, W/8).
        """
        return self._encode(x, self._embed(t))[-1]

    def describe(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Bottleneck features, and those of the decoder's first block at half a cell (Baranchuk 2022).

        Args:
            x: as in :meth:`encode`.
            t: as in :meth:`encode`.

        Returns:
            (B, 4·base, D/4, H/8, W/8) as :meth:`encode` gives them, and (B, 2·base, D/2, H/4, W/4).
        """
        time = self._embed(t)
        _, mid, features = self._encode(x, time)
        return features, self._decode_mid(features, mid, time)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the noise.

        Args:
            x: as in :meth:`encode`.
            t: as in :meth:`encode`.

        Returns:
            noise (B, 1, D, H, W) and the bottleneck features of the same pass, as :meth:`encode` gives them.
        """
        time = self._embed(t)
        fine, mid, features = self._encode(x, time)
        h = self._decode_mid(features, mid, time)
        h = F.interpolate(self.from_mid(h), scale_factor=2.0, mode="nearest")
        h = self.up_fine(torch.cat([h, fine], dim=1), time)
        return unfold_plane(self.out(F.silu(self.out_norm(h)))), features

    def _encode(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if any(n % s for n, s in zip(x.shape[2:], STRIDE, strict=True)):
            raise ValueError(f"input of shape {tuple(x.shape[2:])} is not a multiple of {STRIDE}")
        folded = fold_plane(x)
        if not torch.is_grad_enabled() and x.device.type != "mps":
            # Convolutions want channels last; in contiguous layout each of them would sort its tensors anew.
            # On Apple's GPUs PyTorch has computed 3D convolutions wrongly in that layout (issue 141471).
            folded = folded.contiguous(memory_format=torch.channels_last_3d)
        fine = self.fine(self.stem(folded), time)
        mid = self.mid(self.to_mid(fine), time)
        deep = self.deep(self.to_deep(mid), time)
        deep = self.middle_attention(self.middle_before(deep, time))
        return fine, mid, self.middle_after(deep, time)

    def _decode_mid(self, features: Tensor, mid: Tensor, time: Tensor) -> Tensor:
        h = F.interpolate(self.from_deep(features), scale_factor=2.0, mode="nearest")
        return self.up_mid(torch.cat([h, mid], dim=1), time)

    def _embed(self, t: Tensor) -> Tensor:
        return cast(Tensor, self.time(sinusoidal_embedding(t, self.architecture.base)))


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with the time as scale and shift between, and a residual connection."""

    def __init__(self, channels_in: int, channels_out: int, time: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(8, channels_in)
        self.conv_in = nn.Conv3d(channels_in, channels_out, 3, padding=1)
        self.time = nn.Linear(time, 2 * channels_out)
        self.norm_out = nn.GroupNorm(8, channels_out)
        self.conv_out = nn.Conv3d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Conv3d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(cast(Tensor, self.conv_out.bias))

    __call__: Callable[..., Tensor]

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.time(F.silu(time))[:, :, None, None, None].chunk(2, dim=1)
        h = self.conv_out(F.silu(torch.addcmul(shift, self.norm_out(h), 1 + scale)))
        return cast(Tensor, self.skip(x) + h)


class SelfAttention(nn.Module):
    """Self-attention between the cells of a patch, with a residual connection."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(cast(Tensor, self.out.bias))

    __call__: Callable[..., Tensor]

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, *space = x.shape
        # Tokens with their channels last: the layout that fused attention takes.
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        qkv = F.linear(tokens, self.qkv.weight[:, :, 0], self.qkv.bias)
        q, k, v = qkv.reshape(batch, -1, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, -1, channels)
        out = F.linear(mixed, self.out.weight[:, :, 0], self.out.bias)
        return x + out.transpose(1, 2).reshape(batch, channels, *space)


def fold_plane(x: Tensor) -> Tensor:
    """Space to depth in the axial plane: (B, C, D, H, W) → (B, 4C, D, H/2, W/2), without losing a voxel."""
    b, c, d, h, w = x.shape
    x = x.reshape(b, c, d, h // 2, 2, w // 2, 2).permute(0, 1, 4, 6, 2, 3, 5)
    return x.reshape(b, 4 * c, d, h // 2, w // 2)


def unfold_plane(x: Tensor) -> Tensor:
    """The inverse of :func:`fold_plane`: (B, 4C, D, H, W) → (B, C, D, 2H, 2W)."""
    b, c, d, h, w = x.shape
    x = x.reshape(b, c // 4, 2, 2, d, h, w).permute(0, 1, 4, 5, 2, 6, 3)
    return x.reshape(b, c // 4, d, 2 * h, 2 * w)


def sinusoidal_embedding(t: Tensor, channels: int) -> Tensor:
    """Sines and cosines of t at geometric frequencies (Vaswani 2017): (B,) → (B, channels) float32."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def pick_device(name: str) -> torch.device:
    """The device of a setting: ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: the device asked for is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, usable in there.items() if usable)
    if not there.get(name, False):
        usable = ", ".join(device for device, is_there in there.items() if is_there)
        raise InputError("no-device", f"The device {name!r} is not available here.", f"Usable: {usable}.")
    return torch.device(name)


def bfloat16_pays(device: torch.device | str) -> bool:
    """Whether bfloat16 autocast is fast here: on GPUs, and on CPUs with AVX-512 BF16 or AMX."""
    if torch.device(device).type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()
