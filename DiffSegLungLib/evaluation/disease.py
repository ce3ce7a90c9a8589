"""The real chests that lesions are inserted into, and where their patients were ill already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry

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

# Low and high corner of each box: LPS in mm (left, posterior, superior).
OWN_DISEASE: dict[str, tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]] = {}
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
