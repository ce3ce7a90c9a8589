"""What air reads in this scan: scanners differ, and emphysema is judged by a threshold near the HU of air."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..io.ct import CT
from ..io.geometry import bounding_box
from .shapes import VOXEL_ML, dilated
from .thorax import chest_of

if TYPE_CHECKING:
    from .lungs import Lungs

AIR_HU = -1000.0
LARGEST_SHIFT_HU = 60.0
NOISE_HU = 15.0
"""Offsets up to this size are below what such a measurement can tell and are left alone."""

TRACHEA_BIAS_HU = 50.0
"""A trachea may read this much above the air outside: scatter and blur from the tissue around it. Measured in
twelve scans whose air outside reads -1000 ± 10: 8 to 47 HU."""

AGREEMENT_HU = 15.0
WALL_MM = 4.0
LEAST_TRACHEA_ML = 0.3
LEAST_OUTSIDE_ML = 20.0
AWAY_FROM_BODY_MM = 15.0


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

    Whatever contaminates such a measurement (blur and scatter from tissue, mucus, clothes, a blanket) raises
    it; so the lower of the two counts, and the trachea, which lies among the lungs, if both agree within
    15 HU. Where nothing confirms it, a trachea is believed below -1000 HU; above, only the part beyond its
    known bias of 50 HU is corrected. Offsets of 15 HU or less are left alone.

    Args:
        ct: the scan.
        lungs: its lungs, of which the airway is used.
    """
    trachea = _trachea_hu(ct, lungs.airway)
    outside = _outside_hu(ct)
    if np.isnan(trachea) and np.isnan(outside):
        return AirOffset(float("nan"), 0.0, "none")
    if trachea > outside + AGREEMENT_HU or np.isnan(trachea):
        return AirOffset(outside, _shift(outside), "outside")
    alone = np.isnan(outside) or trachea < outside - AGREEMENT_HU
    forgiven = float(np.clip(trachea - AIR_HU, 0.0, TRACHEA_BIAS_HU)) if alone else 0.0
    return AirOffset(trachea, _shift(trachea - forgiven), "trachea")


def _shift(measured_hu: float) -> float:
    """The shift to -1000 HU; 0 below the noise of the measurement, at most 60 HU."""
    shift = AIR_HU - measured_hu
    if abs(shift) <= NOISE_HU:
        return 0.0
    return float(np.clip(shift, -LARGEST_SHIFT_HU, LARGEST_SHIFT_HU))


def _trachea_hu(ct: CT, airway: NDArray[np.bool_]) -> float:
    """Median HU of the airway deeper than 4 mm from its wall within each slice; NaN if that is too little."""
    from scipy.ndimage import distance_transform_edt

    if not airway.any():
        return float("nan")
    box = bounding_box(airway, 1)
    lumen, hu = airway[box], ct.hu[box]
    # Along the tube blur does no harm, across it does: depth is measured across, i.e. not along the axis
    # that lies closest to the patient's.
    along = 2 - int(np.argmax(np.abs(ct.geometry.matrix[2] / np.asarray(ct.geometry.spacing))))
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
    return float(np.median(core))


def _outside_hu(ct: CT) -> float:
    """Most frequent HU of the air around the patient, padding left out; NaN if there is too little of it.

    The mode, not the median: blankets and the table's foam make a long tail above air.
    """
    from scipy.ndimage import gaussian_filter1d

    chest = chest_of(ct)
    away = chest.exterior & chest.field & ~dilated(chest.body, AWAY_FROM_BODY_MM)
    # A cube that is everywhere the lowest value of the file is padding, or was clipped.
    values = chest.hu[away & (chest.hu > ct.hu.min() + 0.5) & (chest.hu < -900)]
    if values.size * VOXEL_ML < LEAST_OUTSIDE_ML:
        return float("nan")
    counts, edges = np.histogram(values, bins=np.arange(-1100.5, -899.0))
    return float(edges[int(np.argmax(gaussian_filter1d(counts.astype(float), 4.0)))] + 0.5)
