"""Acquisition of a CT, varied: gaps and thickness of slices, motion, kernel, noise. No label changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import Noise

_STILL = 0.6
_THIN = 0.5


@dataclass(frozen=True)
class Acquisition:
    """One way to take a CT.

    Attributes:
        gap_mm: from slice to slice; slices closer than the voxels stay as they are.
        thickness_mm: what one slice averages over.
        motion_mm: how far things move while a slice is taken, in the axial plane.
        doubled: whether motion shows things twice instead of smearing them.
        kernel_mm: standard deviation of the blur of a soft kernel.
        edge: how much a sharp kernel adds of what lies above a blur of 1 mm, 0..2.
        noise: added noise, if any.
    """

    gap_mm: float = 0.0
    thickness_mm: float = 0.0
    motion_mm: float = 0.0
    doubled: bool = False
    kernel_mm: float = 0.0
    edge: float = 0.0
    noise: Noise | None = None


def random_acquisition(rng: np.random.Generator) -> Acquisition:
    """A way to take a CT: half of them have thin slices, six in ten no motion, kernels from very soft on."""
    gap = 0.0 if rng.random() < _THIN else float(rng.uniform(3, 10))
    # Between 1 mm slices 10 mm apart (high-resolution CT of old) and slices without gaps.
    thickness = float(rng.choice((min(1.0, gap), gap)))
    motion = 0.0 if rng.random() < _STILL else float(rng.uniform(0.8, 4))
    kernel = float(rng.uniform(-1, 1))
    strength = float(np.exp(rng.uniform(np.log(2), np.log(60))))
    return Acquisition(
        gap, thickness, motion, bool(rng.random() < 0.4),
        kernel_mm=1.5 * max(kernel, 0.0), edge=1.5 * max(-kernel, 0.0),
        # A soft kernel takes the noise away with the detail.
        noise=Noise(strength * (0.35 if kernel > 0.3 else 1.0), 0.35 + 0.9 * max(kernel, 0.0)),
    )  # fmt: skip


def acquire(
    hu: NDArray[np.floating],
    spacing_zyx: tuple[float, float, float],
    acquisition: Acquisition,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The CT as it would read if it had been taken so, on the same grid.

    Slices that are ``gap_mm`` apart are interpolated linearly, as resampling to the working grid does.

    Args:
        hu: (z, y, x) HU; not changed.
        spacing_zyx: voxel size in mm.
        acquisition: how.
        rng: source of every random choice.

    Returns:
        (z, y, x) float32 HU, at least -1024.
    """
    out = np.asarray(hu, np.float32)
    if acquisition.motion_mm > 0:
        out = _moved(out, spacing_zyx, acquisition, rng)
    out = _through_kernel(out, spacing_zyx, acquisition)
    if acquisition.noise is not None:
        out = out + acquisition.noise.sample(out.shape, rng)
    out = _in_slices(out, spacing_zyx[0], acquisition, rng)
    return np.maximum(out, np.float32(-1024))


def _moved(
    hu: NDArray[np.float32],
    spacing: tuple[float, float, float],
    acquisition: Acquisition,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Things smeared or doubled along one axial direction, in some slices more than in others."""
    angle = rng.uniform(0, np.pi)
    step = np.array([np.sin(angle) / spacing[1], np.cos(angle) / spacing[2]]) * acquisition.motion_mm
    ends = (-0.5, 0.5) if acquisition.doubled else (-0.5, -0.17, 0.17, 0.5)
    moved = np.zeros_like(hu)
    for at in ends:
        moved += _shifted(_shifted(hu, 1, at * step[0]), 2, at * step[1])
    moved /= len(ends)
    z = np.arange(len(hu)) * spacing[0]
    amount = 0.5 + 0.5 * np.sin(2 * np.pi * (z / rng.uniform(30, 120) + rng.random()))
    amount = amount.astype(np.float32)[:, None, None]
    return np.asarray(hu + amount * (moved - hu), np.float32)


def _shifted(hu: NDArray[np.float32], axis: int, voxels: float) -> NDArray[np.float32]:
    """Moved along an axis by a part of a voxel or some, linear between voxels; the border repeats."""
    whole = int(np.floor(voxels))
    at = np.arange(hu.shape[axis]) + whole
    low, high = (np.take(hu, np.clip(at + more, 0, hu.shape[axis] - 1), axis) for more in (0, 1))
    return low + np.float32(voxels - whole) * (high - low)


def _through_kernel(
    hu: NDArray[np.float32], spacing: tuple[float, float, float], acquisition: Acquisition
) -> NDArray[np.float32]:
    """Blurred by a soft kernel, or with the edges that a sharp one adds."""
    from scipy import ndimage

    def blurred(mm: float) -> NDArray[np.float32]:
        return np.asarray(ndimage.gaussian_filter(hu, (0, mm / spacing[1], mm / spacing[2])), np.float32)

    if acquisition.edge > 0:
        return hu + np.float32(acquisition.edge) * (hu - blurred(1.0))
    return blurred(acquisition.kernel_mm) if acquisition.kernel_mm > 0.1 else hu


def _in_slices(
    hu: NDArray[np.float32], spacing_mm: float, acquisition: Acquisition, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Slices of a thickness, a gap apart, interpolated back."""
    from scipy import ndimage

    thick = max(1, round(acquisition.thickness_mm / spacing_mm))
    if thick > 1:
        hu = np.asarray(ndimage.uniform_filter1d(hu, thick, axis=0, mode="nearest"), np.float32)
    gap = acquisition.gap_mm / spacing_mm
    if gap <= 1 or len(hu) < 2:
        return hu
    taken = np.unique(np.clip(np.round(np.arange(rng.uniform(0, gap), len(hu), gap)), 0, len(hu) - 1))
    if len(taken) < 2:
        return hu
    at = np.interp(np.arange(len(hu)), taken, np.arange(len(taken)))
    low = np.minimum(at.astype(int), len(taken) - 2)
    part = (at - low).astype(np.float32)[:, None, None]
    slices = hu[taken.astype(int)]
    return np.asarray(slices[low] * (1 - part) + slices[low + 1] * part, np.float32)
