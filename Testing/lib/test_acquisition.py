"""Acquisitions: what each does to a CT, in numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from DiffSegLungLib.lesions.acquisition import Acquisition, acquire, random_acquisition
from DiffSegLungLib.lesions.noise import Noise

SPACING = (2.0, 1.0, 1.0)
CT = np.random.default_rng(0).normal(-600, 60, (40, 32, 32)).astype(np.float32)


def taken(acquisition: Acquisition, seed: int = 0, hu: np.ndarray = CT) -> np.ndarray:
    return acquire(hu, SPACING, acquisition, np.random.default_rng(seed))


def test_the_plain_one_changes_nothing() -> None:
    assert np.array_equal(taken(Acquisition()), CT)


def test_slices_with_gaps_are_interpolated_between() -> None:
    """10 mm gaps of 2 mm voxels: every fifth slice is the CT's, those between lie on a line."""
    out = taken(Acquisition(gap_mm=10.0, thickness_mm=1.0))
    own = [z for z in range(len(CT)) if np.array_equal(out[z], CT[z])]
    assert len(own) >= 7
    assert set(np.diff(own)) == {5}
    bend = (
        out[own[0] + 1 : own[-1]][:-2] - 2 * out[own[0] + 1 : own[-1]][1:-1] + out[own[0] + 1 : own[-1]][2:]
    )
    flat = np.abs(bend).max(axis=(1, 2)) < 1e-2
    # Second differences vanish but at the taken slices.
    assert np.count_nonzero(~flat) <= len(own)


def test_thick_slices_average() -> None:
    """Five slices of independent noise: a standard deviation of 60 HU becomes 60 / sqrt(5)."""
    out = taken(Acquisition(gap_mm=2.0, thickness_mm=10.0))
    assert out.std() == pytest.approx(60 / 5**0.5, rel=0.05)


def test_motion_smears_or_doubles_and_keeps_the_mass() -> None:
    line = np.full((40, 64, 64), -1000.0, np.float32)
    line[:, 32, 32] = 1000
    for doubled in (False, True):
        out = taken(Acquisition(motion_mm=6.0, doubled=doubled), hu=line)
        lost = (out + 1000).sum(axis=(1, 2))
        assert np.allclose(lost, 2000, rtol=1e-3)
        most = int(np.argmin(out.max(axis=(1, 2))))
        peaks = np.argwhere(out[most] > -800)
        apart = np.linalg.norm(peaks.max(axis=0) - peaks.min(axis=0))
        assert 3.5 < apart < 8.5


def test_kernels_soften_or_sharpen() -> None:
    assert taken(Acquisition(kernel_mm=1.0)).std() < 0.4 * 60
    assert taken(Acquisition(edge=1.0)).std() > 1.5 * 60


def test_noise_has_the_strength_asked_for() -> None:
    even = np.full((20, 64, 64), -850.0, np.float32)
    assert taken(Acquisition(noise=Noise(30.0, 0.8)), hu=even).std() == pytest.approx(30, rel=0.05)


def test_random_acquisitions_differ_and_repeat() -> None:
    drawn = [random_acquisition(np.random.default_rng(seed)) for seed in range(60)]
    assert drawn[3] == random_acquisition(np.random.default_rng(3))
    gaps = np.array([a.gap_mm for a in drawn])
    assert 15 < np.count_nonzero(gaps) < 45
    assert gaps.max() > 8
    assert 10 < sum(a.motion_mm > 0 for a in drawn) < 40
    assert sum(a.kernel_mm > 0.2 for a in drawn) > 10
    assert sum(a.edge > 0.2 for a in drawn) > 10
    first, again = (taken(drawn[5], 7) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == CT.shape
    assert first.dtype == np.float32
