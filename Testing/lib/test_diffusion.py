"""Noise schedule and sampler against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from DiffSegLungLib.model.diffusion import Denoiser, NoiseSchedule, sample
from DiffSegLungLib.talk import Talk


def test_schedule_is_that_of_ho_2020_for_a_thousand_steps() -> None:
    schedule = NoiseSchedule(timesteps=1000)
    assert float(schedule.alpha_bar[0]) == pytest.approx(1 - 1e-4, abs=1e-6)
    expected = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    torch.testing.assert_close(schedule.alpha_bar, expected.float())


def test_schedule_of_250_steps_ends_as_noisy_as_that_of_1000() -> None:
    short, long = NoiseSchedule(250).alpha_bar, NoiseSchedule(1000).alpha_bar
    assert float(short[-1]) < 1e-4
    torch.testing.assert_close(short[124], long[499], atol=0.01, rtol=0)


def test_variance_is_preserved_and_noise_can_be_taken_back() -> None:
    schedule, t = NoiseSchedule(250), torch.tensor([0, 100, 249])
    torch.manual_seed(0)
    x0, noise = torch.rand(3, 1, 16, 32, 32) * 2 - 1, torch.randn(3, 1, 16, 32, 32)
    noisy = schedule.add_noise(x0, noise, t)
    signal = schedule.alpha_bar[t]
    expected = signal * x0.var() + (1 - signal)
    torch.testing.assert_close(noisy.flatten(1).var(dim=1), expected, rtol=0.03, atol=0.0)
    clean = schedule.predict_clean(noisy[:2], noise[:2], t[:2])
    torch.testing.assert_close(clean, x0[:2], atol=1e-4, rtol=0)


def ideal_denoiser(schedule: NoiseSchedule, mean: float, sd: float) -> Denoiser:
    """The exact noise prediction for data that are normal with this mean and standard deviation."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        a = schedule.alpha_bar[t].reshape(-1, 1, 1, 1, 1)
        return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * sd**2 + 1 - a)

    return denoise


@pytest.mark.parametrize("steps", [20, 50])
def test_sampling_with_the_exact_denoiser_gives_the_data_distribution(steps: int) -> None:
    schedule = NoiseSchedule(250)
    torch.manual_seed(0)
    x = torch.randn(4, 1, 16, 32, 32)
    drawn = sample(ideal_denoiser(schedule, -0.4, 0.15), schedule, x, steps=steps)
    assert float(drawn.mean()) == pytest.approx(-0.4, abs=0.01)
    assert float(drawn.std()) == pytest.approx(0.15, rel=0.05)


@pytest.mark.parametrize(("steps", "error"), [(10, 0.02), (20, 0.006), (50, 0.003)])
def test_sampling_follows_the_closed_form_of_the_probability_flow(steps: int, error: float) -> None:
    """For normal data the flow keeps every sample's quantile, so the end point is known for each voxel."""
    schedule, mean, sd = NoiseSchedule(250), 0.1, 0.2
    first, last = schedule.alpha_bar[0], schedule.alpha_bar[-1]
    torch.manual_seed(0)
    x = torch.randn(1, 1, 8, 16, 16)
    quantile = (x - last.sqrt() * mean) / (last * sd**2 + 1 - last).sqrt()
    expected = mean + first.sqrt() * sd**2 / (first * sd**2 + 1 - first).sqrt() * quantile
    drawn = sample(ideal_denoiser(schedule, mean, sd), schedule, x, steps=steps)
    assert float((drawn - expected).abs().mean()) < error


def test_progress_reaches_one_and_no_steps_are_refused() -> None:
    schedule, seen = NoiseSchedule(50), []
    sample(
        ideal_denoiser(schedule, 0.0, 0.1),
        schedule,
        torch.zeros(1, 1, 4, 8, 8),
        steps=5,
        talk=Talk(lambda stage, fraction, text: seen.append(fraction)),
    )
    assert seen == [0.2, 0.4, 0.6, 0.8, 1.0]
    with pytest.raises(ValueError, match="at least 1"):
        sample(ideal_denoiser(schedule, 0.0, 0.1), schedule, torch.zeros(1, 1, 4, 8, 8), steps=0)
