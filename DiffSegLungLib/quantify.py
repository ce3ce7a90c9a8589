"""The numbers of a segmentation: volumes per class and region, and the usual lung densitometry.

Definitions, so that anyone can recompute them:

- Region "lungs" is the lung mask: without trachea and main bronchi, with the vessels inside the lungs.
- Sides are the patient's; thirds have equal lung volume on each side (:mod:`DiffSegLungLib.lungs`).
- HU are air-corrected (measured + shift); no voxel is clipped.
- LAA-950 and LAA-910: share of the region's voxels below -950 and -910 HU (emphysema, air trapping).
- HAA: share of the region's voxels from -600 to -250 HU, both included (high-attenuation areas).
- Perc15: the HU below which 15 % of the region's voxels lie.
- Mass: sum over voxels of volume × (HU + 1000)/1000 g/ml, densities below zero taken as zero.

The densitometry uses the mask and the HU only, never the labels: it compares with any other software.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classes import CLASSES

HISTOGRAM_EDGES = np.arange(-1100, 301, 20)
"""Bin edges of the HU histogram per class, in HU; the outer bins also take what lies beyond."""

_SIDES = {"lungs": (1, 2), "right": (1,), "left": (2,)}
_THIRDS = {"": (1, 2, 3), "upper": (1,), "middle": (2,), "lower": (3,)}


@dataclass(frozen=True)
class ClassAmount:
    """How much of one class a region holds.

    Attributes:
        id: label value, 1..7.
        key: the class's key, e.g. ``"ground_glass"``.
        volume_ml: volume in ml.
        percent: share of the region's volume, 0..100.
        mean_hu: mean of the class's voxels in HU; None where it has no voxel.
    """

    id: int
    key: str
    volume_ml: float
    percent: float
    mean_hu: float | None


@dataclass(frozen=True)
class Density:
    """Densitometry of a region, as this module's head defines it.

    Attributes:
        mean_hu: mean lung density, HU.
        laa_950_percent: share of voxels below -950 HU, 0..100.
        laa_910_percent: share of voxels below -910 HU, 0..100.
        perc15_hu: 15th percentile, HU.
        haa_percent: share of voxels within -600..-250 HU, 0..100.
        mass_g: mass of tissue and blood, g.
    """

    mean_hu: float
    laa_950_percent: float
    laa_910_percent: float
    perc15_hu: float
    haa_percent: float
    mass_g: float


@dataclass(frozen=True)
class Region:
    """One region of the lungs: its volume in ml, its classes (all seven, in order) and its density."""

    name: str
    volume_ml: float
    classes: tuple[ClassAmount, ...]
    density: Density


@dataclass(frozen=True)
class Quantities:
    """All numbers of one segmentation.

    Attributes:
        regions: whole lungs first; regions without a voxel (an absent lung) are left out.
        histogram_edges: bin edges in HU.
        histogram_ml: ml of each class (key) in each bin, over both lungs.
    """

    regions: tuple[Region, ...]
    histogram_edges: tuple[int, ...]
    histogram_ml: dict[str, tuple[float, ...]]

    @property
    def lungs(self) -> Region:
        """The whole lungs."""
        return self.regions[0]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def to_csv(self) -> str:
        """One row a region for the lung as a whole (``class`` = lung) and one for each class in it."""
        density_columns = [f.name for f in fields(Density) if f.name != "mean_hu"]
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        head = ["region", "class_id", "class", "volume_ml", "percent_of_region", "mean_hu"]
        table.writerow([*head, *density_columns])
        for region in self.regions:
            density = asdict(region.density)
            mean_hu = _plain(density["mean_hu"])
            row = [region.name, 0, "lung", _plain(region.volume_ml), _plain(100.0), mean_hu]
            table.writerow([*row, *[_plain(density[column]) for column in density_columns]])
            for c in region.classes:
                row = [region.name, c.id, c.key, _plain(c.volume_ml), _plain(c.percent), _plain(c.mean_hu)]
                table.writerow([*row, *[""] * len(density_columns)])
        return text.getvalue()


def quantify(
    hu: NDArray[Any],
    labels: NDArray[np.uint8],
    side: NDArray[np.uint8],
    third: NDArray[np.uint8],
    voxel_ml: float,
    *,
    shift_hu: float = 0.0,
) -> Quantities:
    """Measure a segmentation.

    Args:
        hu: (z, y, x) HU as read, int16 or float32.
        labels: (z, y, x) class ids; 0 outside the lungs.
        side: (z, y, x), 0 outside, 1 right, 2 left lung.
        third: (z, y, x), 1 upper, 2 middle, 3 lower third of its lung.
        voxel_ml: volume of one voxel, ml.
        shift_hu: air-offset correction, added to every HU.

    Returns:
        the numbers; every voxel with ``side`` > 0 counts, labelled or not.
    """
    inside = side > 0
    values = hu[inside].astype(np.float32) + np.float32(shift_hu)
    ids, sides, thirds = labels[inside], side[inside], third[inside]

    regions = []
    for side_name, side_ids in _SIDES.items():
        for third_name, third_ids in _THIRDS.items():
            chosen = np.isin(sides, side_ids) & np.isin(thirds, third_ids)
            if third_name == "":
                chosen = np.isin(sides, side_ids)
            if chosen.any():
                name = f"{side_name} {third_name}".strip()
                regions.append(_measure(name, values[chosen], ids[chosen], voxel_ml))
    return Quantities(
        regions=tuple(regions),
        histogram_edges=tuple(int(edge) for edge in HISTOGRAM_EDGES),
        histogram_ml={c.key: _histogram(values[ids == c.id], voxel_ml) for c in CLASSES},
    )


def _measure(name: str, values: NDArray[np.float32], ids: NDArray[np.uint8], voxel_ml: float) -> Region:
    voxels = len(values)
    length = max(c.id for c in CLASSES) + 1
    counts = np.bincount(ids, minlength=length)
    sums = np.bincount(ids, weights=values, minlength=length)
    classes = tuple(
        ClassAmount(
            id=c.id,
            key=c.key,
            volume_ml=float(counts[c.id] * voxel_ml),
            percent=float(100.0 * counts[c.id] / voxels),
            mean_hu=float(sums[c.id] / counts[c.id]) if counts[c.id] else None,
        )
        for c in CLASSES
    )

    def percent(voxels_inside: NDArray[np.bool_]) -> float:
        return float(100.0 * np.count_nonzero(voxels_inside) / voxels)

    density = Density(
        mean_hu=float(values.mean(dtype=np.float64)),
        laa_950_percent=percent(values < -950),
        laa_910_percent=percent(values < -910),
        perc15_hu=float(np.percentile(values, 15)),
        haa_percent=percent((values >= -600) & (values <= -250)),
        mass_g=float(np.maximum(values + 1000.0, 0.0).sum(dtype=np.float64) / 1000.0 * voxel_ml),
    )
    return Region(name=name, volume_ml=voxels * voxel_ml, classes=classes, density=density)


def _histogram(values: NDArray[np.float32], voxel_ml: float) -> tuple[float, ...]:
    inside = values.clip(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1] - 1)
    counts, _ = np.histogram(inside, bins=HISTOGRAM_EDGES)
    return tuple(float(count * voxel_ml) for count in counts)


def _plain(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"
