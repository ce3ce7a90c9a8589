"""Evidence of disease at every voxel of a CT, and the labels that a sensitivity draws from it.

One number a voxel holds all that the labels need, so that a finished result is redrawn without the model, the
lungs or the CT: how far the voxel leans towards disease, which disease that would be, and what it is
otherwise. Labels of a run are drawn from the same numbers, so a redrawn result is the one that a run with
that sensitivity gives, voxel for voxel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..classes import CAVITY, HEALTHY, VESSEL
from ..io.geometry import Geometry, bounding_box

OR_HEALTHY, OR_VESSEL, ALWAYS_VESSEL, ALWAYS_CAVITY = range(4)
"""What a voxel is where it is not diseased: healthy lung, a vessel; or what it is in any case."""

POINTS = {"cautious": 0.25, "balanced": 0.5, "sensitive": 0.75}
"""Sensitivities with a name."""

SPAN = 2.0
"""A sensitivity of 1 adds this to the log-odds of disease, 0 takes it away; 0.5 leaves them as they are."""

MOST_LEAN = 8.0
"""Log-odds beyond this, either way, are no more certain."""

_EVEN, _STEPS = 128, 15.0  # the byte of even odds, and steps of it a unit of log-odds
_DISEASE, _OTHERWISE = 8, 12  # bits at which the two ids begin


def encode(
    lean: NDArray[np.float32], disease: NDArray[np.uint8], otherwise: NDArray[np.uint8]
) -> NDArray[np.uint16]:
    """Evidence (n,) uint16 of lung voxels.

    Args:
        lean: (n,) log-odds of disease against healthy lung, natural logarithm.
        disease: (n,) class id of the most probable disease, 2..5.
        otherwise: (n,) :data:`OR_HEALTHY` and so on.
    """
    byte = np.clip(np.rint(_EVEN + _STEPS * lean), 1, 255).astype(np.uint16)
    return byte | disease.astype(np.uint16) << _DISEASE | otherwise.astype(np.uint16) << _OTHERWISE


def disease_probability(evidence: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Probability of disease that evidence holds, at a sensitivity of 0.5; 0 outside the lungs."""
    byte = (evidence & 0xFF).astype(np.float32)
    return np.where(byte > 0, 1 / (1 + np.exp((_EVEN - byte) / np.float32(_STEPS))), np.float32(0))


def least_voxels(island_ml: float, geometry: Geometry) -> int:
    """Voxels of the smallest island that stays on a grid."""
    return max(1, round(island_ml / geometry.voxel_ml))


def draw_labels(evidence: NDArray[np.uint16], sensitivity: float, least: int) -> NDArray[np.uint8]:
    """Labels at a sensitivity.

    A voxel is diseased where its log-odds of disease exceed :data:`SPAN` (1 - 2 · sensitivity). Islands of
    disease, and holes in it, of fewer voxels than ``least`` (6-connected) join their surroundings.

    Args:
        evidence: (z, y, x), :func:`encode` of the lung voxels, 0 elsewhere.
        sensitivity: 0..1.
        least: voxels of the smallest island that stays.

    Returns:
        (z, y, x) uint8 class ids, 0 outside the lungs.
    """
    labels = np.zeros(evidence.shape, np.uint8)
    box = bounding_box(evidence)
    if not box[0].stop:
        return labels
    part = evidence[box]
    limit = _EVEN + _STEPS * SPAN * (1 - 2 * sensitivity)
    sick, well, drawn, other, ill = (table.take(part) for table in _tables(limit))
    labels[box] = drawn
    for mask, values in ((sick, other), (well, ill)):
        small = _small(mask, least)
        labels[box][small] = values[small]
    return labels


def _tables(limit: float) -> tuple[NDArray[np.bool_ | np.uint8], ...]:
    """By evidence: diseased; healthy; the label; the label where not diseased; the label where diseased."""
    every = np.arange(1 << 14)
    byte, disease, otherwise = every & 0xFF, every >> _DISEASE & 0xF, every >> _OTHERWISE
    lung, open_ = byte > 0, otherwise <= OR_VESSEL
    sick = lung & open_ & (byte > limit)
    other = np.array((HEALTHY, VESSEL, VESSEL, CAVITY), np.uint8)[otherwise] * lung
    ill = np.where(open_, disease * lung, other).astype(np.uint8)
    drawn = np.where(sick, ill, other).astype(np.uint8)
    return sick, lung & open_ & ~sick, drawn, other.astype(np.uint8), ill


def _small(mask: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """The 6-connected parts of a mask with fewer voxels."""
    from scipy.ndimage import label

    number, _ = label(mask)
    small = np.bincount(number.ravel()) < least
    small[0] = False
    return np.asarray(small[number])
