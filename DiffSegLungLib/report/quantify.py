"""The numbers of a segmentation: volumes per class and region, and the usual lung densitometry.

Definitions, so that anyone can recompute them:

- Region "lungs" is the lung mask: without trachea and main bronchi, with the vessels inside the lungs.
- Sides are the patient's; thirds have equal lung volume on each side (:mod:`DiffSegLungLib.anatomy.regions`).
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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import CLASSES

HISTOGRAM_EDGES = np.arange(-1100, 301, 20)
"""Bin edges of the HU histogram per class, in HU; the outer bins also take what lies beyond."""

_SIDES = {"lungs": (1, 2), "right": (1,), "left": (2,)}
_THIRDS = {"": (1, 2, 3), "upper": (1,), "middle": (2,), "lower": (3,)}
_THIRD_NUMBERS = (0, 1, 2, 3)
_PARTS = tuple((side, third) for side in (1, 2) for third in _THIRD_NUMBERS)
_IDS = max(c.id for c in CLASSES) + 1
_FRACTIONS = 4
_WIDEST = 32768


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

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Quantities:
        """The numbers again, from what :meth:`to_mapping` gave and JSON may have held."""
        regions = [
            Region(
                name=region["name"],
                volume_ml=region["volume_ml"],
                classes=tuple(ClassAmount(**amount) for amount in region["classes"]),
                density=Density(**region["density"]),
            )
            for region in mapping["regions"]
        ]
        histogram = {key: tuple(ml) for key, ml in mapping["histogram_ml"].items()}
        return cls(tuple(regions), tuple(mapping["histogram_edges"]), histogram)

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


class Tally:
    """Measure a segmentation piece by piece: one joint histogram of part of lung, class and HU holds it all.

    Whole HU are counted exactly, fractions to the nearest quarter HU. Memory stays at some MB for any CT.

    Args:
        voxel_ml: volume of one voxel, ml.
        shift_hu: air-offset correction, added to every HU.
    """

    def __init__(self, voxel_ml: float, *, shift_hu: float = 0.0) -> None:
        self._voxel_ml = voxel_ml
        self._shift_hu = shift_hu
        self._steps = 1
        self._low = 0
        self._counts = np.zeros((len(_PARTS), _IDS, 1), np.int64)

    def add(
        self,
        hu: NDArray[Any],
        labels: NDArray[np.uint8],
        side: NDArray[np.uint8],
        third: NDArray[np.uint8],
    ) -> None:
        """Count a piece of the volume: every voxel with ``side`` > 0, labelled or not.

        Args:
            hu: (z, y, x) HU as read, whole numbers or fractions.
            labels: (z, y, x) class ids; 0 outside the lungs.
            side: (z, y, x), 0 outside, 1 right, 2 left lung.
            third: (z, y, x), 1 upper, 2 middle, 3 lower third of its lung.
        """
        inside = side > 0
        if not inside.any():
            return
        values = hu[inside]
        if values.dtype.kind == "f" and self._steps == 1 and bool((values != np.rint(values)).any()):
            self._refine()
        if self._steps > 1 or values.dtype.kind == "f":
            values = np.rint(values * np.float32(self._steps))
        # Not Python's integers: numpy 2.0 refuses those that the array's type does not reach.
        widest = np.int32(_WIDEST * self._steps)
        level = values.clip(-widest, widest).astype(np.int64)
        self._cover(int(level.min()), int(level.max()))
        depth = self._counts.shape[2]
        part = (side[inside].astype(np.int64) - 1) * len(_THIRD_NUMBERS) + third[inside]
        flat = (part * _IDS + labels[inside]) * depth + (level - self._low)
        self._counts += np.bincount(flat, minlength=self._counts.size).reshape(self._counts.shape)

    def result(self) -> Quantities:
        """The numbers of everything added so far; no region where nothing lay inside the lungs."""
        values = (self._low + np.arange(self._counts.shape[2])) / self._steps + self._shift_hu
        regions = []
        for side_name, side_ids in _SIDES.items():
            for third_name, third_ids in _THIRDS.items():
                # A lung without thirds (third = 0) still counts as a whole.
                thirds = third_ids if third_name else _THIRD_NUMBERS
                rows = [i for i, (s, t) in enumerate(_PARTS) if s in side_ids and t in thirds]
                counts = self._counts[rows].sum(axis=0)
                if counts.any():
                    name = f"{side_name} {third_name}".strip()
                    regions.append(_measure(name, values, counts, self._voxel_ml))
        counts = self._counts.sum(axis=0)
        return Quantities(
            regions=tuple(regions),
            histogram_edges=tuple(int(edge) for edge in HISTOGRAM_EDGES),
            histogram_ml={c.key: _histogram(values, counts[c.id], self._voxel_ml) for c in CLASSES},
        )

    def _cover(self, low: int, high: int) -> None:
        """Make room for the levels from ``low`` to ``high``."""
        if not self._counts.any():
            self._low, last = low, high
            self._counts = np.zeros((len(_PARTS), _IDS, high - low + 1), np.int64)
            return
        last = self._low + self._counts.shape[2] - 1
        below, above = max(0, self._low - low), max(0, high - last)
        if below or above:
            self._counts = np.pad(self._counts, ((0, 0), (0, 0), (below, above)))
            self._low -= below

    def _refine(self) -> None:
        """Change from whole HU to quarters; what was counted so far keeps its place."""
        parts, ids, depth = self._counts.shape
        finer = np.zeros((parts, ids, (depth - 1) * _FRACTIONS + 1), np.int64)
        finer[:, :, ::_FRACTIONS] = self._counts
        self._counts, self._low, self._steps = finer, self._low * _FRACTIONS, _FRACTIONS


def _measure(name: str, values: NDArray[np.float64], counts: NDArray[np.int64], voxel_ml: float) -> Region:
    """One region from its counts (class, level) and the HU of every level."""
    levels = counts.sum(axis=0)
    voxels = int(levels.sum())
    per_class, sums = counts.sum(axis=1), counts @ values
    classes = tuple(
        ClassAmount(
            id=c.id,
            key=c.key,
            volume_ml=float(per_class[c.id] * voxel_ml),
            percent=float(100.0 * per_class[c.id] / voxels),
            mean_hu=float(sums[c.id] / per_class[c.id]) if per_class[c.id] else None,
        )
        for c in CLASSES
    )

    def percent(chosen: NDArray[np.bool_]) -> float:
        return float(100.0 * levels[chosen].sum() / voxels)

    density = Density(
        mean_hu=float(levels @ values / voxels),
        laa_950_percent=percent(values < -950),
        laa_910_percent=percent(values < -910),
        perc15_hu=_percentile(values, levels, 15.0),
        haa_percent=percent((values >= -600) & (values <= -250)),
        mass_g=float(levels @ np.maximum(values + 1000.0, 0.0) / 1000.0 * voxel_ml),
    )
    return Region(name=name, volume_ml=voxels * voxel_ml, classes=classes, density=density)


def _percentile(values: NDArray[np.float64], levels: NDArray[np.int64], percent: float) -> float:
    """The percentile of counted values, between neighbours linearly, as ``numpy.percentile`` has it."""
    reached = np.cumsum(levels)
    place = percent / 100.0 * (int(reached[-1]) - 1)
    below = values[np.searchsorted(reached, np.floor(place), side="right")]
    above = values[np.searchsorted(reached, np.ceil(place), side="right")]
    return float(below + (above - below) * (place - np.floor(place)))


def _histogram(values: NDArray[np.float64], levels: NDArray[np.int64], voxel_ml: float) -> tuple[float, ...]:
    inside = values.clip(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1] - 1)
    counts, _ = np.histogram(inside, bins=HISTOGRAM_EDGES, weights=levels)
    return tuple(float(count * voxel_ml) for count in counts)


def _plain(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"
