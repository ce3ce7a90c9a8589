"""The real chests that lesions are inserted into, and where their patients were ill already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Geometry

FULL_CHEST: tuple[str, ...] = (
    "acrin-flt-breast_001_soft",
    "acrin-flt-breast_013_b10f",
    "cmb-crc_msb-01068_lung",
    "cptac-lscc_c3n-00247_b70f",
    "lidc-idri_0001_standard",
    "lung-pet-ct-dx_a0001_body",
    "lung-pet-ct-dx_a0001_lung",
    "lung-pet-ct-dx_a0002_b40f",
    "lung-pet-ct-dx_a0002_b70f",
)
"""Stems of the volumes that show both whole lungs, near healthy but for ``OWN_DISEASE``."""

Corner = tuple[float, float, float]

_A0001: tuple[tuple[Corner, Corner], ...] = (
    ((15.0, 115.0, -255.0), (115.0, 245.0, -165.0)),  # left upper mass, what it obstructs
)
_A0002: tuple[tuple[Corner, Corner], ...] = (
    ((-125.0, -155.0, 160.0), (0.0, -70.0, 225.0)),  # right lower mass, consolidation around it
    ((-75.0, -145.0, 205.0), (-5.0, -45.0, 285.0)),  # collapse beside the mediastinum
    ((-85.0, -190.0, 255.0), (-10.0, -140.0, 285.0)),  # bands at the front of the right upper lobe
)

# Low and high corner of each box: LPS in mm (left, posterior, superior).
OWN_DISEASE: dict[str, tuple[tuple[Corner, Corner], ...]] = {
    "cptac-lscc_c3n-00247_b70f": (
        ((-110.0, -225.0, -210.0), (-60.0, -165.0, -178.0)),  # right basal mass
        ((20.0, -125.0, -255.0), (125.0, -45.0, -210.0)),  # left base: atelectasis, ground glass
        ((15.0, -150.0, -225.0), (60.0, -70.0, -198.0)),  # bands behind the heart
        ((40.0, -155.0, -182.0), (90.0, -118.0, -160.0)),  # band in the left lower lobe
    ),
    "lidc-idri_0001_standard": (
        ((35.0, 55.0, -132.0), (85.0, 105.0, -98.0)),  # nodule of the left lower lobe
        ((100.0, -40.0, -192.0), (145.0, 15.0, -172.0)),  # bands in the lingula
    ),
    "lung-pet-ct-dx_a0001_body": _A0001,
    "lung-pet-ct-dx_a0001_lung": _A0001,
    "lung-pet-ct-dx_a0002_b40f": _A0002,
    "lung-pet-ct-dx_a0002_b70f": _A0002,
}
"""Boxes around tumours and what they did to the lung, drawn by eye; no label of a data set is involved."""


def own_disease(stem: str, geometry: Geometry) -> NDArray[np.bool_]:
    """(z, y, x) bool, the voxels whose own tissue class is unknown; empty for a volume not in the table."""
    ill = np.zeros(geometry.shape, bool)
    for low, high in OWN_DISEASE.get(stem, ()):
        ends = np.stack([geometry.index(low), geometry.index(high)])
        first, last = np.floor(ends.min(axis=0)).astype(int), np.ceil(ends.max(axis=0)).astype(int)
        z, y, x = (slice(max(0, int(a)), max(0, int(b) + 1)) for a, b in zip(first, last, strict=True))
        ill[z, y, x] = True
    return ill
