"""The air around the patient, told from the air within, also where a tube or a wound joins the two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import bounding_box
from .shapes import COARSE_MM, VOXEL_ML, Mask, components, dilated, distance_mm, eroded, flooded

ENCLOSED_SHARE = 0.6
NECKS_MM = (2.5, 5.0, 7.5, 10.0, 15.0)
"""Half the widths of the paths between lung and room that are cut: a drain, a wound, a dark streak of metal,
the windpipe of an open mouth."""

LEAST_ML = 10.0
LUNG_ABOVE_AIR_HU = 25.0
"""A lung reads at least so much above the air around the patient, in severe emphysema, too."""

CUT_LUNG_HU, CUT_LUNG_ML = (-975.0, -600.0), 30.0
LUNG_TEXTURE_HU = 11.0
"""Vessels and gravity give three quarters of a lung a standard deviation (3 x 3 x 3 coarse voxels) above
13 HU; in free air and in foam a quarter stays below 9 HU. Measured in seventeen scans."""

LARGEST_AIRWAY_ML = 150.0


def exterior_of(hu: NDArray[np.float32], air: Mask, field: Mask, body: Mask) -> Mask:
    """Everything outside the field of view, and the air that the body does not enclose.

    A pocket of air is enclosed if for most of it the body lies to at least three of the four sides (left,
    right, front, back): that holds in a lung, also where a narrow field of view cuts it, but not in the air
    around the patient, between body and table, inside the table or in its foam. A pocket that holds both lung
    and room is parted at its narrowest place.

    Args:
        hu: coarse (z, y, x), HU.
        air: darker than half-way between lung and soft tissue, inside the field of view.
        field: the field of view.
        body: the patient's tissue.
    """
    sides = _sides_with_body(body)
    labels, counts = components(air)
    enclosed = np.bincount(labels[sides >= 3], minlength=len(counts)) > ENCLOSED_SHARE * counts
    enclosed[0] = False
    inside = np.asarray(enclosed[labels])
    room_hu = _room_hu(hu, air & ~inside & (sides <= 1))
    inside |= _lungs_open_to_the_room(hu, air & ~inside, sides, room_hu)
    inside &= ~_room_within(hu, inside, sides)
    return np.asarray(~field | (air & ~inside))


def _sides_with_body(body: Mask) -> NDArray[np.uint8]:
    """To how many of its four sides (left, right, front, back) a voxel has body."""
    count = np.zeros(body.shape, np.uint8)
    for axis in (1, 2):
        count += np.logical_or.accumulate(body, axis=axis)
        count += np.flip(np.logical_or.accumulate(np.flip(body, axis), axis=axis), axis)
    return count


def _room_hu(hu: NDArray[np.float32], room: Mask) -> float:
    """What the air around the patient reads; -1000 where hardly any is seen."""
    return float(np.median(hu[room])) if room.sum() * VOXEL_ML >= LEAST_ML else -1000.0


def _lungs_open_to_the_room(
    hu: NDArray[np.float32], outside: Mask, sides: NDArray[np.uint8], room_hu: float
) -> Mask:
    """The part of the outer air that is lung, and the airway behind it, parted at the narrowest places."""
    found = np.zeros_like(outside)
    rest = outside.copy()
    like_lung = (sides >= 3) & (hu > room_hu + LUNG_ABOVE_AIR_HU)
    for neck_mm in NECKS_MM:
        if eroded(rest & like_lung, COARSE_MM).sum() * VOXEL_ML < LEAST_ML:
            break
        labels, counts = components(eroded(rest, neck_mm))
        large = np.flatnonzero(counts * VOXEL_ML >= LEAST_ML / 2)
        lungs = [
            n
            for n in large[large > 0]
            if (sides[labels == n] >= 3).mean() > ENCLOSED_SHARE
            and np.median(hu[labels == n]) > room_hu + LUNG_ABOVE_AIR_HU
        ]
        if not lungs:
            continue
        is_lung = np.isin(labels, lungs)
        if (labels > 0).sum() > is_lung.sum():
            markers = np.where(is_lung, 2, labels > 0).astype(np.uint8)
            part = flooded(distance_mm(rest), markers, rest) == 2
        else:
            part = rest
        found |= part
        rest &= ~part
    if found.any():
        labels, counts = components(rest & (sides == 4))
        beside = np.unique(labels[dilated(found, 2 * COARSE_MM) & (labels > 0)])
        found |= np.isin(labels, beside[counts[beside] * VOXEL_ML < LARGEST_AIRWAY_ML])
    return found


def _room_within(hu: NDArray[np.float32], inside: Mask, sides: NDArray[np.uint8]) -> Mask:
    """The part of the inner air that is room, in a scan cropped so closely that most of its air is lung."""
    room = np.zeros_like(inside)
    like_room = inside & (sides <= 2)
    if eroded(like_room, COARSE_MM).sum() * VOXEL_ML < LEAST_ML:
        return room
    for neck_mm in NECKS_MM:
        rest = inside & ~room
        labels, counts = components(eroded(rest, neck_mm))
        outer: list[tuple[int, float]] = []
        inner: list[tuple[int, float]] = []
        for n in np.flatnonzero(counts * VOXEL_ML >= LEAST_ML / 2):
            if n:
                piece = labels == n
                near = (sides[piece] >= 3).mean() < 1 - ENCLOSED_SHARE
                (outer if near else inner).append((int(n), float(np.median(hu[piece]))))
        darkest = max((value for _, value in inner), default=0.0) - 2 * LUNG_ABOVE_AIR_HU
        apart = [n for n, value in outer if value < darkest]
        if apart and inner:
            markers = np.where(np.isin(labels, apart), 2, labels > 0).astype(np.uint8)
            room |= flooded(distance_mm(rest), markers, rest) == 2
    return room


def cut_lungs(hu: NDArray[np.float32], outside: Mask, field: Mask) -> Mask:
    """Lung that the field of view cuts on two sides or more, known by its texture and by touching the border.

    To be asked only where no other lung is seen: a room full of noise must never pass for one.

    Args:
        hu: coarse (z, y, x), HU.
        outside: the air that the body does not enclose.
        field: the field of view.
    """
    from scipy.ndimage import uniform_filter

    cut = np.zeros_like(outside)
    labels, counts = components(outside)
    border = np.pad(~field, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    rim = border[:, :-2, 1:-1] | border[:, 2:, 1:-1] | border[:, 1:-1, :-2] | border[:, 1:-1, 2:]
    for n in np.flatnonzero(counts * VOXEL_ML >= CUT_LUNG_ML):
        piece = labels == n
        if n == 0 or not (piece & rim).any():
            continue
        core = eroded(piece, 2 * COARSE_MM)
        if core.sum() * VOXEL_ML < CUT_LUNG_ML / 2:
            continue
        box = bounding_box(core, 1)
        near = hu[box].astype(np.float64)
        variance = uniform_filter(near * near, 3) - uniform_filter(near, 3) ** 2
        texture = np.percentile(variance[core[box]], 25)
        if CUT_LUNG_HU[0] < np.median(hu[core]) < CUT_LUNG_HU[1] and texture > LUNG_TEXTURE_HU**2:
            cut |= piece
    return cut
