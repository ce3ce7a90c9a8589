"""How noisy a CT is around a lesion, and more noise of the same strength and grain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Noise:
    """Noise of one neighbourhood.

    Attributes:
        sd: standard deviation, HU.
        grain: standard deviation, in voxels, of the Gaussian that would have made this grain from white noise
            in the axial plane; 0.35 (none) .. 1.5 (very soft kernel).
    """

    sd: float
    grain: float

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """A field of ``shape`` (z, y, x) with this standard deviation and in-plane grain, float32 HU."""
        from scipy import ndimage

        field = rng.standard_normal(shape, dtype=np.float32)
        taps = np.exp(-0.5 * (np.arange(-2, 3) / self.grain) ** 2)
        taps /= np.sqrt((taps**2).sum())
        for axis in (1, 2):
            field = ndimage.correlate1d(field, taps.astype(np.float32), axis=axis, mode="wrap")
        return np.asarray(field * np.float32(self.sd), np.float32)


def estimate_noise(hu: NDArray[np.floating], lungs: NDArray[np.bool_]) -> Noise:
    """Noise of the aerated lung from in-plane differences at one and two voxels.

    Taken where a 7 x 7 window shows least structure (10th percentile), which agrees within a third with the
    noise of soft tissue on seven real scans, and is up to a third too low where there is no structure at
    all. White noise of standard deviation s smoothed by a Gaussian of g voxels has the autocorrelation
    exp(-d^2 / 4 g^2): the ratio of the differences at 1 and 2 voxels gives g, the first then s.

    Args:
        hu: (z, y, x) HU.
        lungs: (z, y, x) bool.

    Returns:
        ``Noise`` with sd in 3..80 HU; (15 HU, no grain) where too little aerated lung is at hand.
    """
    return _noise_within(hu, lungs & (hu < -600), 10) or Noise(15.0, 0.35)


def scanner_noise(hu: NDArray[np.floating], lungs: NDArray[np.bool_]) -> Noise:
    """Noise of a scan, told from soft tissue outside the lungs where there is enough, else from the lungs.

    Soft tissue has less structure of its own: under a soft kernel the texture of the lung reads as two to
    three times the noise that there is.

    Args:
        hu: (z, y, x) HU.
        lungs: (z, y, x) bool.
    """
    from scipy import ndimage

    step = max(1, hu.shape[0] // 12)
    part, outside = np.asarray(hu[::step], np.float32), ~lungs[::step]
    smooth = ndimage.uniform_filter(part, (1, 7, 7), mode="nearest")
    tissue = outside & (smooth > 0) & (smooth < 100)
    return _noise_within(part, tissue, 30) or estimate_noise(part, lungs[::step])


def _noise_within(hu: NDArray[np.floating], mask: NDArray[np.bool_], percentile: float) -> Noise | None:
    """Noise at a percentile of the local power within a mask; None where that is too small."""
    from scipy import ndimage

    inside = mask[:, :, :-2] & mask[:, :, 1:-1] & mask[:, :, 2:]
    if np.count_nonzero(inside) < 100:
        return None
    weight = ndimage.uniform_filter(inside.astype(np.float32), (1, 7, 7))
    full = weight > min(0.9, 0.9 * float(weight.max()))
    left = hu[:, :, :-2]
    power = []
    for other in (hu[:, :, 1:-1], hu[:, :, 2:]):
        squared = np.where(inside, other - left, 0).astype(np.float32) ** 2
        local = ndimage.uniform_filter(squared, (1, 7, 7))[full] / weight[full]
        power.append(float(np.percentile(local, percentile)))
    ratio = power[0] / max(power[1], 1e-3)
    grains = np.linspace(0.35, 1.5, 47)
    lost = 1 - np.exp(-1 / (4 * grains**2))
    expected = lost / (1 - np.exp(-1 / grains**2))
    best = int(np.argmin(np.abs(expected - ratio)))
    return Noise(float(np.clip(np.sqrt(power[0] / (2 * lost[best])), 3, 80)), float(grains[best]))
