"""How dense this patient's healthy lung is: its mode, its gravity gradient and the noise of the scan.

A lung at full inspiration reads -880 HU, the same lung after a shallow breath -800, and its dependent part
another 50 to 100 HU more. Limits in absolute HU call the second lung ground glass; every limit of
:mod:`labels` and :mod:`fusion` is therefore relative to the level measured here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LEVEL_RANGE_HU = (-915.0, -720.0)
"""Healthy lung lies here from the deepest to a shallow breath; a mode beyond is disease or an empty mask."""

DEPENDENT_LIMIT_HU = -650.0
"""Even the lowest part of a lung in shallow breathing is less dense than this."""

MAX_SLOPE_HU_PER_MM = 1.5
MAX_SIDE_DIFFERENCE_HU = 130.0
FULL_INSPIRATION_HU = -860.0

RIGHT, LEFT = 1, 2

_BIN_HU = 5.0
_BINS = np.arange(-1050.0, -300.0 + _BIN_HU, _BIN_HU)
_SLAB_VOXELS = 12
_MIN_SHARE = 0.02


@dataclass(frozen=True)
class Line:
    """Healthy level along the anteroposterior axis of one lung.

    Attributes:
        level_hu: level at :attr:`centre_y`, HU.
        slope_hu_per_mm: rise towards posterior (positive in a supine patient), HU/mm.
        centre_y: canonical row (1 mm) where the level holds.
    """

    level_hu: float
    slope_hu_per_mm: float
    centre_y: float

    def along(self, depth: int) -> NDArray[np.float32]:
        """Level in HU at the rows 0..depth-1, within what healthy lung can have."""
        offset = np.arange(depth) - self.centre_y
        level = self.level_hu + self.slope_hu_per_mm * offset
        return np.asarray(np.clip(level, LEVEL_RANGE_HU[0], DEPENDENT_LIMIT_HU), np.float32)


@dataclass(frozen=True)
class Aeration:
    """The patient's own healthy lung.

    Attributes:
        right: level of the right lung.
        left: level of the left lung; one lung behind an obstruction traps air, so sides may differ.
        noise_hu: robust standard deviation of the fine structure of the aerated lung (noise and texture), HU.
    """

    right: Line
    left: Line
    noise_hu: float

    @property
    def level_hu(self) -> float:
        """Mean of both lungs' levels, HU."""
        return (self.right.level_hu + self.left.level_hu) / 2

    def rows(self, depth: int) -> NDArray[np.float32]:
        """Levels (3, depth) float32 in HU by side (0 where unknown, 1 right, 2 left) and canonical row."""
        right, left = self.right.along(depth), self.left.along(depth)
        return np.stack([(right + left) / 2, right, left])


def measure_aeration(
    hu: NDArray[np.float32], smooth: NDArray[np.float32], lungs: NDArray[np.bool_], side: NDArray[np.uint8]
) -> Aeration:
    """Measure the healthy level of both lungs, robustly when much of them is sick.

    The level is the lowest of the major peaks of the histogram between -930 and -650 HU: opacities add peaks
    above it, emphysema adds one below, outside that range. The gravity gradient is a weighted robust line
    through the peaks of 12 mm slabs. The denser lung may exceed the other by 130 HU; beyond that it is sick.

    Args:
        hu: (z, y, x) float32 canonical CT in HU.
        smooth: the same, lightly smoothed.
        lungs: (z, y, x) bool, voxels to measure (without the border).
        side: (z, y, x) uint8, 1 right, 2 left.

    Returns:
        The patient's aeration; that of a lung at full inspiration if no voxel is aerated.
    """
    values, sides = smooth[lungs], side[lungs]
    y = np.nonzero(lungs)[1]
    lines = {}
    for lung in (RIGHT, LEFT):
        here = sides == lung
        if np.count_nonzero(here) > _MIN_SHARE * len(values):
            lines[lung] = _level_line(values[here], y[here])
    found = [line for line in lines.values() if line is not None]
    if not found:
        found = [_level_line(values, y) or Line(FULL_INSPIRATION_HU, 0.0, 0.0)]
    lowest = min(line.level_hu for line in found)
    right, left = (_limited(lines.get(lung) or found[0], lowest) for lung in (RIGHT, LEFT))
    aerated = np.abs(values - lowest) < 80
    rough = np.abs(hu[lungs][aerated] - values[aerated])
    return Aeration(right, left, noise_hu=1.4826 * float(np.median(rough)) if rough.size else 20.0)


def _limited(line: Line, lowest: float) -> Line:
    """A lung's level within reach of the other lung's and of healthy lungs in general."""
    level = min(line.level_hu, lowest + MAX_SIDE_DIFFERENCE_HU)
    return replace(line, level_hu=float(np.clip(level, *LEVEL_RANGE_HU)))


def _lowest_major_peak(values: NDArray[np.float32], low: float, high: float) -> float | None:
    """The lowest histogram peak in [low, high] that reaches 40 % of the highest one there."""
    from scipy.ndimage import gaussian_filter1d

    counts, edges = np.histogram(values, _BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    density = gaussian_filter1d(counts.astype(np.float64), 12.0 / _BIN_HU)
    window = (centres >= low) & (centres <= high)
    if density[window].max(initial=0.0) < 1:
        return None
    inner = density[1:-1]
    peak = np.zeros_like(window)
    peak[1:-1] = (inner >= density[:-2]) & (inner > density[2:])
    candidates = np.flatnonzero(peak & window & (density >= 0.4 * density[window].max()))
    if len(candidates) == 0:  # the density rises to the rim of the window
        return float(centres[window][density[window].argmax()])
    return float(centres[candidates[0]])


def _level_line(values: NDArray[np.float32], y: NDArray[np.intp]) -> Line | None:
    """The line through the peaks of coronal slabs; None if nothing is aerated."""
    level = _lowest_major_peak(values, -930.0, -650.0)
    if level is None:
        return None
    first, last = int(y.min()), int(y.max())
    slabs = (y - first) // _SLAB_VOXELS
    order = np.argsort(slabs, kind="stable")
    bounds = np.searchsorted(slabs[order], np.arange((last - first) // _SLAB_VOXELS + 2))
    positions, peaks, weights = [], [], []
    for i, (start, stop) in enumerate(pairwise(bounds)):
        if stop - start < _MIN_SHARE * len(values):
            continue
        peak = _lowest_major_peak(values[order[start:stop]], level - 80.0, level + 110.0)
        if peak is not None:
            positions.append(first + (i + 0.5) * _SLAB_VOXELS)
            peaks.append(peak)
            weights.append(stop - start)
    if len(peaks) < 3:
        return Line(level, 0.0, float(y.mean()))
    position, peak_hu, weight = np.array(positions), np.array(peaks), np.array(weights, float)
    slope, middle = 0.0, level
    centre = float(np.average(position, weights=weight))
    robust = weight.copy()
    for _ in range(10):  # iteratively reweighted least squares, Cauchy weights of 15 HU
        offset = position - centre
        mean_offset, mean_peak = np.average(offset, weights=robust), np.average(peak_hu, weights=robust)
        spread = np.average((offset - mean_offset) ** 2, weights=robust)
        slope = float(np.average((offset - mean_offset) * (peak_hu - mean_peak), weights=robust) / spread)
        slope = float(np.clip(slope, -MAX_SLOPE_HU_PER_MM, MAX_SLOPE_HU_PER_MM))
        middle = float(mean_peak - slope * mean_offset)
        robust = weight / (1 + ((peak_hu - middle - slope * offset) / 15.0) ** 2)
    return Line(middle, slope, centre)
