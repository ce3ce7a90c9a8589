"""Dense lung between aerated lung and ribs: a consolidated lobe or a mass on the pleura looks like wall.

What is seen from the middle of the chest decides. A ray that leaves the mediastinum and has passed aerated
lung is in the pleural space until it meets the ribs; tissue there is lung. Heart, liver and spleen lie before
the lung on every ray, and a dome of the diaphragm that lies behind lung has no lung below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shapes import COARSE_MM, VOXEL_ML, Mask, closed, components, dilated, opened
from .thorax import Chest

ANGLES = 240
BONE_HU = 160.0
FAT_HU, TISSUE_HU = (-150.0, -40.0), 140.0
"""Disease lies between fat and bone, or between aerated lung and fat."""

RIB_PITCH_MM, RIB_PITCH_DEG = 15.0, 6.0
"""Between two ribs a ray finds none; within this much up, down and aside there is one."""

SLOPE_MM = 5.0

LEAST_GAP_MM, AT_RIBS_MM = 10.0, 12.5
"""Pleura, fat and muscle between a healthy lung and the inner side of the ribs are thinner."""

LUNG_BEFORE_MM = 10.0
GAP_PER_LUNG = 2.0
"""A ray that grazes the lung on its way to the liver passes little lung before a wide gap."""

CLOSING_MM, SMOOTHING_MM = 15.0, 5.0
FRONT_DEG, BACK_DEG, LONE_DEG = 50.0, 20.0, 60.0
"""Rays not asked: to the front, where cartilage replaces ribs and fat lies behind the sternum; to the spine;
and from a lone lung those that do not lead outwards, since the heart may lie on them."""

THIN_MM, LEAST_ML = 4.0, 2.0
HAZY_MM = 5.0
"""Where aerated lung borders on tissue, what lies half-way is thinner than twice this."""


@dataclass(frozen=True)
class _Rays:
    """Horizontal rays from the middle of the chest; arrays (z, angle, step) hold what lies along them."""

    rows: NDArray[Any]
    columns: NDArray[Any]
    angle_of: NDArray[Any]
    step_of: NDArray[Any]
    to_the_side: NDArray[np.bool_]

    def along(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Sample a coarse volume (z, y, x) along the rays."""
        return volume[:, self.rows, self.columns]

    def back(self, polar: NDArray[Any]) -> NDArray[Any]:
        """Every coarse voxel takes the value of its place on the nearest ray."""
        return polar[:, self.angle_of, self.step_of]


def dense_lung(chest: Chest, sides: NDArray[np.uint8]) -> Mask:
    """Tissue that lies in the pleural space, next to aerated lung.

    Args:
        chest: the chest.
        sides: uint8 (z, y, x), aerated lung with its vessels, 1 right and 2 left.

    Returns:
        bool (z, y, x) on the coarse grid, disjoint from the aerated lung.
    """
    rays = _rays(sides)
    tissue = tissue_of(chest)
    hu, outside = rays.along(chest.hu), rays.along(chest.exterior)
    lung = _with_hazy_lung(chest, sides > 0)
    # What the first pass finds is lung to the rays of the second.
    for _ in range(2):
        room, at_wall = _pleural_space(rays.along(lung), hu, outside, rays.to_the_side)
        lung_below = np.logical_or.accumulate(lung, axis=0)
        found = opened(tissue & (rays.back(at_wall) | (rays.back(room) & lung_below)) & ~lung, THIN_MM)
        labels, counts = components(found)
        counts[0] = 0
        lung = lung | (counts * VOXEL_ML >= LEAST_ML)[labels]
    soft = (chest.hu < TISSUE_HU) & ~chest.exterior
    lung |= closed(lung, CLOSING_MM) & rays.back(room | at_wall) & lung_below & soft
    dense = lung & (sides == 0)
    return np.asarray(
        (dense | (closed(lung, SMOOTHING_MM) & dilated(dense, SMOOTHING_MM) & soft)) & (sides == 0)
    )


def share_at_ribs(chest: Chest, sides: NDArray[np.uint8], piece: Mask) -> float:
    """Of the rays from the middle of the chest that pass a piece, how many meet ribs just behind it."""
    rays = _rays(sides)
    within = rays.along(piece)
    last = np.where(within, np.arange(within.shape[2], dtype=np.float32), np.float32(-1)).max(axis=2)
    gap_mm = (_wall(rays.along(chest.hu), last, rays.along(chest.exterior)) - last) * COARSE_MM
    passing = (last >= 0) & rays.to_the_side
    return float(((gap_mm >= 0) & (gap_mm <= AT_RIBS_MM))[passing].mean()) if passing.any() else 0.0


def tissue_of(chest: Chest) -> Mask:
    """What may be dense lung by its HU, coarse: neither aerated nor fat nor bone."""
    hazy = (chest.hu >= chest.threshold) & (chest.hu < FAT_HU[0])
    return (hazy | ((chest.hu > FAT_HU[1]) & (chest.hu < TISSUE_HU))) & ~chest.exterior


def _with_hazy_lung(chest: Chest, lung: Mask) -> Mask:
    """Lung, and what touches it and is neither aerated nor as dense as fat: nothing else in a chest is."""
    hazy = (chest.hu >= chest.threshold) & (chest.hu < FAT_HU[0]) & ~chest.exterior & ~lung
    labels, counts = components(opened(hazy, HAZY_MM))
    keep = counts * VOXEL_ML >= LEAST_ML
    touching = np.bincount(labels[dilated(lung, COARSE_MM)], minlength=len(counts)) > 0
    touching[0] = False
    return np.asarray(lung | (keep & touching)[labels])


def _pleural_space(
    lung: Mask, hu: NDArray[np.float32], outside: Mask, to_the_side: Mask
) -> tuple[Mask, Mask]:
    """Where the rays have passed lung and not yet met the ribs; and the part of it behind the last lung."""
    steps = np.arange(lung.shape[2], dtype=np.float32)
    last = np.where(lung, steps, np.float32(-1)).max(axis=2)
    wall = _wall(hu, last, outside)
    passed_mm = np.cumsum(lung, axis=2, dtype=np.float32) * COARSE_MM
    room = (
        (passed_mm >= LUNG_BEFORE_MM) & (steps < wall[:, :, None]) & ~outside & ~lung & to_the_side[:, None]
    )
    gap_mm = (wall - last) * COARSE_MM
    deep = (gap_mm > LEAST_GAP_MM) & (gap_mm < passed_mm[:, :, -1] * GAP_PER_LUNG)
    return room, room & (steps > last[:, :, None]) & deep[:, :, None]


def _rays(sides: NDArray[np.uint8]) -> _Rays:
    """Rays from between the lungs; of a lone lung, from its medial border outwards, past the heart."""
    _, rows, columns = np.nonzero(sides)
    right, left = (np.nonzero(sides == s)[2] for s in (1, 2))
    angles = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    if len(right) and len(left):
        x0 = (right.mean() + left.mean()) / 2
        to_the_side = np.ones(ANGLES, bool)
    else:
        x0 = float(np.percentile(columns, 98 if len(right) else 2))
        outwards = -np.cos(angles) if len(right) else np.cos(angles)
        to_the_side = outwards > np.cos(np.deg2rad(LONE_DEG))
    from_front = np.rad2deg(np.arccos(-np.sin(angles)))
    to_the_side &= (from_front > FRONT_DEG) & (from_front < 180 - BACK_DEG)

    y0 = float(rows.mean())
    height, width = sides.shape[1:]
    count = int(np.hypot(max(y0, height - y0), max(x0, width - x0))) + 1
    r = np.arange(count)
    ys = np.clip(np.rint(y0 + np.sin(angles)[:, None] * r), 0, height - 1).astype(int)
    xs = np.clip(np.rint(x0 + np.cos(angles)[:, None] * r), 0, width - 1).astype(int)
    dy, dx = np.arange(height)[:, None] - y0, np.arange(width) - x0
    angle_of = np.rint(np.arctan2(dy, dx) * (ANGLES / (2 * np.pi))).astype(int) % ANGLES
    step_of = np.minimum(np.rint(np.hypot(dy, dx)).astype(int), count - 1)
    return _Rays(ys, xs, angle_of, step_of, to_the_side)


def _wall(hu: NDArray[np.float32], last: NDArray[Any], outside: Mask) -> NDArray[np.float32]:
    """Step at which every ray meets the inner side of the rib cage; 0 for rays that pass no lung."""
    from scipy.ndimage import maximum_filter, minimum_filter

    steps = np.arange(hu.shape[2], dtype=np.float32)
    beyond = (steps >= last[:, :, None]) & (last >= 0)[:, :, None]
    far = np.float32(hu.shape[2])
    rib = np.where(beyond & (hu > BONE_HU), steps, far).min(axis=2)
    # A grey opening: the gaps between ribs close, the slope of the cage stays, but for a limit where the
    # nearest bone is a shoulder blade.
    size = (2 * round(RIB_PITCH_MM / COARSE_MM) + 1, 2 * round(RIB_PITCH_DEG * ANGLES / 360) + 1)
    nearest_rib = minimum_filter(rib, size, mode=["nearest", "wrap"])
    rib = maximum_filter(nearest_rib, size, mode=["nearest", "wrap"])
    rib = np.minimum(rib, nearest_rib + np.float32(SLOPE_MM / COARSE_MM))
    skin = np.where(beyond & outside, steps, far).min(axis=2)
    return np.where((rib < far) & (rib < skin), rib, np.float32(0))
