"""What air reads in this scan: scanners differ, and emphysema is judged by a threshold near the HU of air."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..io.ct import CT
from ..io.geometry import bounding_box
from ..io.padding import AIR as PADDED_AIR
from .shapes import COARSE_MM, VOXEL_ML, dilated, eroded
from .thorax import chest_of

if TYPE_CHECKING:
    from .lungs import Lungs

AIR_HU = -1000.0
LARGEST_SHIFT_HU = 60.0
NOISE_HU = 15.0
"""Offsets up to this size are below what such a measurement can tell and are left alone."""

BRIGHTEST_LUMEN_HU = -900.0
"""A trachea reads at most 50 HU above the air outside, by scatter and blur; what reads more is none. Measured
in twelve scans whose air outside reads -1000 ± 10: 8 to 47 HU."""

AGREEMENT_HU = 15.0
WALL_MM = 4.0
LEAST_TRACHEA_ML = 0.3
LEAST_OUTSIDE_ML = 20.0
AWAY_FROM_BODY_MM = 15.0
QUIET_HU = (0.3, 12.0)
"""Standard deviation of free air in 3 x 3 x 3 coarse voxels: padding has less, clothes and lung have more."""

PURE_HU, PURE_ML = 30.0, 200.0
"""Range of the middle four fifths of the air outside where no foam lies in it, and how much air tells so."""


@dataclass(frozen=True)
class AirOffset:
    """How far air lies from -1000 HU.

    Attributes:
        measured_hu: what air reads in this scan, HU; NaN if nothing could be measured.
        shift_hu: to be added to every voxel, within ±60 HU; 0 if air reads as it should.
        source: where it was measured.
    """

    measured_hu: float
    shift_hu: float
    source: Literal["trachea", "outside", "none"]


def air_offset(ct: CT, lungs: Lungs) -> AirOffset:
    """Measure what air reads, in the trachea and around the patient; find the shift that brings it to -1000.

    Whatever contaminates such a measurement (blur and scatter from tissue, mucus, clothes, foam) raises it;
    so the lower of the two counts, and the trachea, which lies among the lungs, if both agree within 15 HU.
    Below -1000 HU a measurement is believed; above, only as far as much pure air outside says so, and where
    the trachea does not read less. Offsets of 15 HU or less are left alone.

    Args:
        ct: the scan.
        lungs: its lungs, of which the airway is used.
    """
    trachea = _trachea_hu(ct, lungs.airway)
    outside, pure = _outside_hu(ct)
    if np.isnan(trachea) and np.isnan(outside):
        return AirOffset(float("nan"), 0.0, "none")
    from_outside = np.isnan(trachea) or trachea > outside + AGREEMENT_HU
    measured = outside if from_outside else trachea
    confirmed = pure and trachea >= outside - AGREEMENT_HU
    shift = _shift(measured) if measured < AIR_HU else _shift(min(measured, outside)) if confirmed else 0.0
    return AirOffset(measured, shift, "outside" if from_outside else "trachea")


def _shift(measured_hu: float) -> float:
    """The shift to -1000 HU; 0 below the noise of the measurement, at most 60 HU."""
    shift = AIR_HU - measured_hu
    if abs(shift) <= NOISE_HU:
        return 0.0
    return float(np.clip(shift, -LARGEST_SHIFT_HU, LARGEST_SHIFT_HU))


def _trachea_hu(ct: CT, airway: NDArray[np.bool_]) -> float:
    """Median HU of the airway deeper than 4 mm from its wall within each slice; NaN if there is none."""
    from scipy.ndimage import distance_transform_edt

    if not airway.any():
        return float("nan")
    box = bounding_box(airway, 1)
    lumen, hu = airway[box], ct.hu[box]
    # Along the tube blur does no harm, across it does: depth is measured across, i.e. not along the axis
    # that lies closest to the patient's.
    along = ct.geometry.craniocaudal
    spacing = [s for axis, s in enumerate(ct.geometry.spacing_zyx) if axis != along]
    values: list[NDArray[Any]] = []
    for k in range(lumen.shape[along]):
        section = lumen.take(k, axis=along)
        if section.any():
            depth = distance_transform_edt(np.pad(section, 1), sampling=spacing)[1:-1, 1:-1]
            values.append(hu.take(k, axis=along)[depth > WALL_MM])
    core = np.concatenate(values)
    if core.size * ct.geometry.voxel_ml < LEAST_TRACHEA_ML:
        return float("nan")
    lumen_hu = float(np.median(core))
    return lumen_hu if lumen_hu < BRIGHTEST_LUMEN_HU else float("nan")


def _outside_hu(ct: CT) -> tuple[float, bool]:
    """Most frequent HU of the free air around the patient, and whether there is much of it, without foam.

    NaN if there is too little. The mode, not the median: blankets and the table's foam make a long tail.
    """
    from scipy.ndimage import gaussian_filter1d, uniform_filter

    chest = chest_of(ct)
    # A cube that holds the lowest value of the file, or what padding became, was not measured.
    known = chest.field & (chest.hu > ct.hu.min() + 0.5) & (chest.hu != PADDED_AIR)
    away = chest.exterior & known & ~dilated(chest.body, AWAY_FROM_BODY_MM) & (chest.hu < -900)
    if away.sum() * VOXEL_ML < LEAST_OUTSIDE_ML:
        return float("nan"), False
    box = bounding_box(away, 1)
    hu = chest.hu[box].astype(np.float64)
    variance = uniform_filter(hu * hu, 3) - uniform_filter(hu, 3) ** 2
    quiet = (variance > QUIET_HU[0] ** 2) & (variance < QUIET_HU[1] ** 2)
    values = hu[away[box] & quiet & eroded(known[box], COARSE_MM)]
    if values.size * VOXEL_ML < LEAST_OUTSIDE_ML:
        return float("nan"), False
    counts, edges = np.histogram(values, bins=np.arange(-1100.5, -899.0))
    mode = float(edges[int(np.argmax(gaussian_filter1d(counts.astype(float), 4.0)))] + 0.5)
    low, high = np.percentile(values, (10, 90))
    return mode, bool(values.size * VOXEL_ML >= PURE_ML and high - low < PURE_HU)
