"""Noise schedule and sampler: q(x_t | x_0), and DPM-Solver++ back from noise to CT."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..talk import SILENT, Talk

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, 1, D, H, W), t (B,)) → predicted noise (B, 1, D, H, W)."""


@dataclass(frozen=True)
class NoiseSchedule:
    """The variance-preserving schedule of Ho 2020, its betas stretched from 1000 steps to T.

    Attributes:
        timesteps: T.
        beta_first: β at t = 0 for T = 1000.
        beta_last: β at t = T-1 for T = 1000.
    """

    timesteps: int = 250
    beta_first: float = 1e-4
    beta_last: float = 0.02

    @cached_property
    def alpha_bar(self) -> Tensor:
        """Cumulated signal share ᾱ_t, (T,) float32, falling from almost 1 to almost 0."""
        stretch = 1000.0 / self.timesteps
        betas = torch.linspace(
            stretch * self.beta_first, stretch * self.beta_last, self.timesteps, dtype=torch.float64
        )
        return torch.cumprod(1.0 - betas.clamp(max=0.999), dim=0).float()

    @functools.cache  # noqa: B019 (schedules are few, and live as long as the program)
    def alpha_bar_on(self, device: torch.device) -> Tensor:
        """:attr:`alpha_bar` on a device, copied there once: a copy makes the host wait."""
        return self.alpha_bar.to(device)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = √ᾱ_t · x_0 + √(1-ᾱ_t) · ε, for x0 and noise (B, …) and t (B,)."""
        signal = self.alpha_bar_on(x0.device)[t].reshape(-1, *([1] * (x0.ndim - 1)))
        return signal.sqrt() * x0 + (1.0 - signal).sqrt() * noise

    def predict_clean(self, x_t: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The x_0 that a predicted noise implies, cut to the normalised range [-1, 1]."""
        signal = self.alpha_bar_on(x_t.device)[t].reshape(-1, *([1] * (x_t.ndim - 1)))
        return ((x_t - (1.0 - signal).sqrt() * noise) / signal.sqrt()).clamp(-1.0, 1.0)


def sample(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    *,
    start: int | None = None,
    steps: int = 25,
    talk: Talk = SILENT,
) -> Tensor:
    """Walk from noise back to a CT with DPM-Solver++(2M) (Lu 2022, algorithm 2).

    Args:
        denoiser: predicts the noise in x at t.
        schedule: the schedule the denoiser was trained with.
        x: (B, 1, D, H, W) normalised sample at timestep ``start``; standard normal noise for T-1.
        start: timestep at which ``x`` stands, 0..T-1; T-1 when not given.
        steps: largest number of network evaluations, evenly spread over the log of the SNR.
        talk: progress; asked whether to stop after every evaluation.

    Returns:
        (B, 1, D, H, W) in [-1, 1].

    Raises:
        Cancelled: asked to stop.
    """
    start = schedule.timesteps - 1 if start is None else start
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    alpha_bar = schedule.alpha_bar.double()
    # Half the log of the signal-to-noise ratio is the time in which the solver's steps are even.
    half_log_snr = 0.5 * torch.log(alpha_bar / (1.0 - alpha_bar))
    even = torch.linspace(float(half_log_snr[start]), float(half_log_snr[0]), steps, dtype=torch.float64)
    nearest = (half_log_snr[None, : start + 1] - even[:, None]).abs().argmin(dim=1)
    timesteps = torch.unique_consecutive(nearest)

    previous: Tensor | None = None
    for i, t in enumerate(timesteps.tolist()):
        at_t = torch.full((x.shape[0],), t, device=x.device, dtype=torch.long)
        clean = schedule.predict_clean(x, denoiser(x, at_t), at_t)
        talk.advance((i + 1) / len(timesteps))
        if i + 1 == len(timesteps):
            break
        following = int(timesteps[i + 1])
        h = half_log_snr[following] - half_log_snr[t]
        direction = clean
        if previous is not None:
            h_before = half_log_snr[t] - half_log_snr[int(timesteps[i - 1])]
            ratio = float(h_before / h)
            direction = (1.0 + 0.5 / ratio) * clean - (0.5 / ratio) * previous
        shrink = ((1.0 - alpha_bar[following]) / (1.0 - alpha_bar[t])).sqrt()
        x = float(shrink) * x - float(alpha_bar[following].sqrt() * torch.expm1(-h)) * direction
        previous = clean
    return clean
