"""Trachea and main bronchi on the coarse grid: a round, dark tube in the upper chest, grown downwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shapes import COARSE_MM, VOXEL_ML, Mask, components
from .thorax import Chest

LUMEN_HU = -750.0
AREA_MM2 = (40.0, 650.0)
"""Cross-section of a trachea: 7 to 28 mm across."""
LENGTH_MM = 20.0
CUT_LENGTH_MM = 7.5
LARGEST_ML = 120.0


def airway_lumen(chest: Chest) -> Mask:
    """Air inside trachea and main bronchi, as far as the coarse grid resolves it.

    The trachea is the longest chain of small round air sections, slice over slice, above the middle of the
    lungs. From there the lumen grows through air at a rising threshold until it would leak into the lung, the
    classic rule of Mori et al. 2000 ("Automated anatomical labeling of the bronchial branch").

    Returns:
        bool (z, y, x) on the coarse grid; empty where no trachea is in the field of view.
    """
    seed = _trachea(chest)
    return _grown(chest, seed) if seed.any() else seed


def _trachea(chest: Chest) -> Mask:
    """The best chain of sections; empty if none is long enough."""
    from scipy.ndimage import label

    inside = (chest.hu < LUMEN_HU) & ~chest.exterior
    lung_air = (chest.hu < chest.threshold) & ~chest.exterior
    found = np.zeros(chest.hu.shape, bool)
    if not lung_air.any():
        return found
    middle = float(np.average(np.arange(len(lung_air)), weights=lung_air.sum(axis=(1, 2))))

    chains: list[_Chain] = []
    open_chains: list[_Chain] = []
    for z in range(len(inside) - 1, -1, -1):
        labels, _ = label(inside[z])
        still_open: list[_Chain] = []
        for section in _round_sections(labels, chest.hu[z]):
            before = [c for c in open_chains if (c.last & section).any()]
            chain = max(before, key=len) if before else _Chain()
            chain.add(z, section)
            still_open.append(chain)
        for chain in open_chains:
            if chain not in still_open:
                chains.append(chain)
        open_chains = list({id(c): c for c in still_open}.values())
    chains += open_chains

    top = int(np.flatnonzero(chest.field.any(axis=(1, 2)))[-1])
    long_enough = [c for c in chains if c.slices[0] >= middle and len(c) * COARSE_MM >= _least_mm(c, top)]
    if not long_enough:
        return found
    best = max(long_enough, key=lambda c: c.volume)
    for z, section in zip(best.slices, best.sections, strict=True):
        found[z] |= section
    return found


def _least_mm(chain: _Chain, top: int) -> float:
    """A tube cut by the upper end of the field of view may be the carina: little of it is seen."""
    return CUT_LENGTH_MM if chain.slices[0] >= top - 1 else LENGTH_MM


class _Chain:
    """Sections that overlap from slice to slice, top down."""

    def __init__(self) -> None:
        self.slices: list[int] = []
        self.sections: list[NDArray[np.bool_]] = []

    def __len__(self) -> int:
        return len(set(self.slices))

    @property
    def last(self) -> NDArray[np.bool_]:
        return self.sections[-1]

    @property
    def volume(self) -> int:
        return sum(int(s.sum()) for s in self.sections)

    def add(self, z: int, section: NDArray[np.bool_]) -> None:
        self.slices.append(z)
        self.sections.append(section)


def _round_sections(labels: NDArray[Any], hu: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Air sections of one slice that have a trachea's size and shape and lie in tissue."""
    from scipy.ndimage import binary_dilation, find_objects

    sections = []
    low, high = (a / COARSE_MM**2 for a in AREA_MM2)
    for number, box in enumerate(find_objects(labels), start=1):
        height, width = (s.stop - s.start for s in box)
        area = int((labels[box] == number).sum())
        if (
            not low <= area <= high
            or area < 0.5 * height * width
            or max(height, width) > 3 * min(height, width)
        ):
            continue
        section = labels == number
        around = binary_dilation(section, iterations=2) & ~section
        if hu[section].min() < -880 and hu[around].mean() > -550:
            sections.append(section)
    return sections


def _grown(chest: Chest, seed: Mask) -> Mask:
    """Grow the lumen from the trachea at rising thresholds; the last one before a leak counts."""
    best = seed
    for threshold in np.arange(-950.0, -599.0, 25.0):
        labels, counts = components((chest.hu < threshold) & ~chest.exterior)
        hit = np.unique(labels[seed])
        hit = hit[hit > 0]
        volume = counts[hit].sum() * VOXEL_ML
        if volume > LARGEST_ML or volume > 1.6 * best.sum() * VOXEL_ML + 10.0:
            break
        best = np.isin(labels, hit) | seed
    return np.asarray(best)
