"""Where in the lungs lesions go: apart from each other and from the patient's own disease."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

# Kinds that a rind along the pleura suits, with the probability of being placed there.
SUBPLEURAL = {
    "honeycombing": 0.8,
    "reticulation": 0.7,
    "paraseptal_emphysema": 1.0,
    "bulla": 0.7,
    "ground_glass": 0.4,
    "consolidation": 0.4,
}
_ELSEWHERE = 0.2
_RIM_MM = 10.0
_GAP_MM = 8.0
_SAMPLE = 12000


class Sites:
    """A sample of lung voxels to choose centres from.

    Args:
        lungs: (z, y, x) bool.
        spacing: (z, y, x) mm.
        rng: source of every random choice.
        avoid: (z, y, x) bool, what lesions keep clear of, or None.

    Raises:
        InputError: the lung mask is empty.
    """

    def __init__(
        self,
        lungs: NDArray[np.bool_],
        spacing: tuple[float, float, float],
        rng: np.random.Generator,
        avoid: NDArray[np.bool_] | None = None,
    ) -> None:
        voxels = np.flatnonzero(lungs)
        if len(voxels) == 0:
            raise InputError("no-lung", "The lung mask is empty.", "A lesion needs a lung to lie in.")
        chosen = rng.choice(voxels, min(_SAMPLE, len(voxels)), replace=False)
        self._voxel = np.stack(np.unravel_index(chosen, lungs.shape), axis=1)
        self._mm = self._voxel * np.asarray(spacing)
        self._rim = _near_rim(lungs, self._voxel, spacing)
        self._room = _distance_to(avoid, self._mm, spacing)
        self._rng = rng

    def draw(self, kind: str, radius_mm: float) -> tuple[float, float, float]:
        """A centre (voxel index) for a lesion of this radius; where all is full, the roomiest one."""
        clear = self._room > radius_mm + _GAP_MM
        wants_rim = self._rng.random() < SUBPLEURAL.get(kind, _ELSEWHERE)
        fitting = np.flatnonzero(clear & (self._rim == wants_rim))
        if len(fitting) == 0:
            fitting = np.flatnonzero(clear)
        pick = int(self._rng.choice(fitting)) if len(fitting) else int(np.argmax(self._room - radius_mm))
        z, y, x = (float(i) for i in self._voxel[pick])
        return z, y, x

    def take(self, centre: tuple[float, float, float], radius_mm: float) -> None:
        """From now on keep clear of a lesion here."""
        at = int(np.argmin(np.linalg.norm(self._voxel - np.asarray(centre), axis=1)))
        away = np.linalg.norm(self._mm - self._mm[at], axis=1) - radius_mm
        self._room = np.minimum(self._room, away)


def _near_rim(
    lungs: NDArray[np.bool_], voxels: NDArray[np.intp], spacing: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Whether one leaves the lung within ``_RIM_MM`` in some axial direction."""
    rim = np.zeros(len(voxels), bool)
    for angle in np.arange(8) * np.pi / 4:
        y = voxels[:, 1] + round(_RIM_MM * np.sin(angle) / spacing[1])
        x = voxels[:, 2] + round(_RIM_MM * np.cos(angle) / spacing[2])
        within = (y >= 0) & (y < lungs.shape[1]) & (x >= 0) & (x < lungs.shape[2])
        y, x = y.clip(0, lungs.shape[1] - 1), x.clip(0, lungs.shape[2] - 1)
        rim |= ~(within & lungs[voxels[:, 0], y, x])
    return rim


def _distance_to(
    avoid: NDArray[np.bool_] | None, points_mm: NDArray[np.float64], spacing: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Distance in mm of points to the nearest voxel of a mask; infinite without one."""
    from scipy.spatial import cKDTree

    if avoid is None or not avoid.any():
        return np.full(len(points_mm), np.inf)
    step = [max(1, round(4 / s)) for s in spacing]
    coarse = np.argwhere(avoid[:: step[0], :: step[1], :: step[2]]) * step * np.asarray(spacing)
    distance, _ = cKDTree(coarse if len(coarse) else np.argwhere(avoid) * spacing).query(points_mm)
    return np.asarray(distance, np.float64)
