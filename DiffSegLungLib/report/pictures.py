"""Pictures of a segmentation: axial, coronal and sagittal, with the labels and with the uncertainty.

Radiological view: the patient's right is on the left of the picture, head up, anterior up (axial) or to the
left (sagittal). Pixels are square: anisotropic voxels keep their true shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..classes import CLASSES, HEALTHY, PATHOLOGY, VESSEL
from ..io.geometry import Geometry, bounding_box

WINDOW_HU = (-1350.0, 150.0)
"""Lung window: level -600, width 1500 HU."""

_OPACITY = {0: 0.0, HEALTHY: 0.14, VESSEL: 0.30}
_FILL = 0.45
_MARGIN_MM = 12.0
_PIXEL_MM = 0.7
_HEAT = (
    (0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106),
    (163, 44, 97), (188, 55, 84), (210, 70, 68), (228, 90, 49), (241, 115, 29), (249, 142, 9),
    (252, 172, 17), (249, 203, 53), (242, 234, 105), (252, 255, 164),
)  # fmt: skip
"""Dark to bright, evenly: 17 colours of matplotlib's "inferno" (CC0), which runs without it this way."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """One plane through the lungs.

    Attributes:
        plane: "Axial", "Coronal" or "Sagittal".
        position: where the plane lies, for a caption.
        ct: the CT alone, (rows, columns, 3) uint8.
        overlay: the CT with the labels.
        uncertainty: the CT with the posterior entropy; None where that is not known.
    """

    plane: str
    position: str
    ct: Picture
    overlay: Picture
    uncertainty: Picture | None


def draw_panels(
    hu: NDArray[Any],
    labels: NDArray[np.uint8],
    entropy: NDArray[Any] | None,
    lungs: NDArray[Any],
    geometry: Geometry,
) -> list[Panel]:
    """Draw the three planes that show most pathology (most lung, where there is none).

    Args:
        hu: (z, y, x) air-corrected or raw HU.
        labels: (z, y, x) class ids.
        entropy: (z, y, x), 0 certain .. 1 undecided; None where it is not known.
        lungs: (z, y, x) lung mask or regions, not all 0.
        geometry: the grid of all of them; any orientation.
    """
    return list(each_panel(hu, labels, entropy, lungs, geometry))


def each_panel(
    hu: NDArray[Any],
    labels: NDArray[np.uint8],
    entropy: NDArray[Any] | None,
    lungs: NDArray[Any],
    geometry: Geometry,
) -> Iterator[Panel]:
    """The panels of :func:`draw_panels`, drawn one at a time."""
    axes, flips = patient_axes(geometry)
    spacing = tuple(geometry.spacing_zyx[a] for a in axes)
    hu, labels, lungs = (_reorient(a, axes, flips) for a in (hu, labels, lungs))
    if entropy is not None:
        entropy = _reorient(entropy, axes, flips)
    box = _box(lungs, spacing)
    for axis, plane in enumerate(("Axial", "Coronal", "Sagittal")):
        index = _telling_slice(labels, lungs, axis)
        cut: list[Any] = list(box)
        cut[axis] = index
        shown = tuple(cut)
        step = tuple(s for a, s in enumerate(spacing) if a != axis)
        head_up = slice(None, None, -1) if axis != 0 else slice(None)
        cut_hu, cut_labels, cut_lungs = (a[shown][head_up] for a in (hu, labels, lungs))
        grey = _grey(cut_hu, step)
        world = geometry.world(_grid_index(index, axis, lungs.shape, axes, flips))
        uncertainty = None
        if entropy is not None:
            inside = _enlarge((cut_lungs > 0).astype(np.uint8), step, order=0) > 0
            doubt = _enlarge(entropy[shown][head_up].astype(np.float32), step, order=1)
            uncertainty = _heat(grey, doubt, inside)
        yield Panel(
            plane=plane,
            position=_position(world, axis),
            ct=_rgb(grey),
            overlay=tint(grey, _enlarge(cut_labels, step, order=0)),
            uncertainty=uncertainty,
        )


def draw_montage(
    hu: NDArray[Any],
    labels: NDArray[np.uint8],
    lungs: NDArray[Any],
    geometry: Geometry,
    count: int = 6,
) -> list[tuple[str, Picture]]:
    """``count`` axial slices with labels, evenly spread from apex to base, each with its position."""
    axes, flips = patient_axes(geometry)
    spacing = tuple(geometry.spacing_zyx[a] for a in axes)
    hu, labels, lungs = (_reorient(a, axes, flips) for a in (hu, labels, lungs))
    box = _box(lungs, spacing)
    levels = np.flatnonzero(_along(lungs, 0).any(axis=(1, 2)))
    chosen = levels[np.linspace(len(levels) * 0.94, len(levels) * 0.06, count).astype(int)]
    pictures = []
    for index in dict.fromkeys(int(i) for i in chosen):
        shown = (index, box[1], box[2])
        world = geometry.world(_grid_index(index, 0, lungs.shape, axes, flips))
        grey, ids = _grey(hu[shown], spacing[1:]), _enlarge(labels[shown], spacing[1:], order=0)
        pictures.append((_position(world, 0), tint(grey, ids)))
    return pictures


def patient_axes(geometry: Geometry) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which array axis runs along superior, posterior and left, and which of them run the other way.

    Oblique grids take the nearest axes. Transposing by the first and flipping by the second gives an array
    with index 0 inferior, anterior and right.
    """
    along = np.abs(
        np.asarray(geometry.direction).reshape(3, 3)[::-1, ::-1]
    )  # world (S, P, L) × array (z, y, x)
    best = max(itertools.permutations(range(3)), key=lambda p: sum(along[w, p[w]] for w in range(3)))
    signed = np.asarray(geometry.direction).reshape(3, 3)[::-1, ::-1]
    flips = tuple(bool(signed[w, best[w]] < 0) for w in range(3))
    return (best[0], best[1], best[2]), (flips[0], flips[1], flips[2])


def _reorient(array: NDArray[Any], axes: tuple[int, ...], flips: tuple[bool, ...]) -> NDArray[Any]:
    return array.transpose(axes)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]


def _grid_index(
    index: int, axis: int, shape: tuple[int, ...], axes: tuple[int, ...], flips: tuple[bool, ...]
) -> list[float]:
    """Array index on the CT's own grid of the centre of a slice of the reoriented array."""
    centre = [(n - 1) / 2 for n in shape]
    centre[axis] = index
    own = [0.0, 0.0, 0.0]
    for w in range(3):
        own[axes[w]] = shape[w] - 1 - centre[w] if flips[w] else centre[w]
    return own


def _position(world: NDArray[np.float64], axis: int) -> str:
    """Where a plane lies, e.g. "S 12 mm": the side and the distance from the scanner's origin."""
    value = float(world[2 - axis])
    letters = ("SI", "PA", "LR")[axis]
    return f"{letters[0] if value >= 0 else letters[1]} {abs(value):.0f} mm"


def _box(lungs: NDArray[Any], spacing: tuple[float, ...]) -> tuple[slice, slice, slice]:
    sides = []
    for along, size, step in zip(bounding_box(lungs), lungs.shape, spacing, strict=True):
        margin = round(_MARGIN_MM / step)
        sides.append(slice(max(0, along.start - margin), min(size, along.stop + margin)))
    return sides[0], sides[1], sides[2]


def _along(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """The array with every fourth voxel of the other axes: tells slices apart in a sixteenth of the time."""
    return array[tuple(slice(None) if a == axis else slice(None, None, 4) for a in range(3))]


def _others(axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(3) if a != axis)


def _telling_slice(labels: NDArray[np.uint8], lungs: NDArray[Any], axis: int) -> int:
    """The slice with most pathology; where that is below 0.5 % of the lung, the one with most lung."""
    pathology, lung = np.isin(_along(labels, axis), PATHOLOGY), _along(lungs, axis) > 0
    shown = pathology if pathology.sum() > 0.005 * lung.sum() else lung
    return int(np.argmax(np.count_nonzero(shown, axis=_others(axis))))


def _enlarge(plane: NDArray[Any], step: tuple[float, ...], *, order: Literal[0, 1]) -> NDArray[Any]:
    """To square pixels of :data:`_PIXEL_MM`."""
    from scipy.ndimage import zoom

    return np.asarray(zoom(plane, [s / _PIXEL_MM for s in step], order=order, mode="nearest", grid_mode=True))


def _grey(hu: NDArray[Any], step: tuple[float, ...]) -> NDArray[np.float32]:
    low, high = WINDOW_HU
    shown = (_enlarge(hu.astype(np.float32), step, order=1) - low) / (high - low)
    return np.asarray(shown.clip(0.0, 1.0), np.float32)


def _rgb(values: NDArray[Any]) -> Picture:
    stacked = np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values
    return np.asarray((stacked * 255).round().clip(0, 255), np.uint8)


def tint(grey: NDArray[np.float32], ids: NDArray[np.uint8]) -> Picture:
    """Labels over the CT: a translucent fill, and a line round every pathology."""
    colours = np.zeros((256, 3), np.float32)
    fill = np.full(256, _FILL, np.float32)
    for c in CLASSES:
        colours[c.id] = np.asarray(c.colour) / 255.0
    for number, opacity in _OPACITY.items():
        fill[number] = opacity
    border = np.zeros(ids.shape, bool)
    border[1:] |= ids[1:] != ids[:-1]
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    weight = np.where(border & np.isin(ids, PATHOLOGY), 0.9, fill[ids])[..., None]
    return _rgb(grey[..., None] * (1 - weight) + colours[ids] * weight)


def _heat(grey: NDArray[np.float32], entropy: NDArray[np.float32], lungs: NDArray[Any]) -> Picture:
    level = entropy.clip(0.0, 1.0)
    at = np.linspace(0.0, 1.0, len(_HEAT))
    hot = np.stack([np.interp(level, at, channel) for channel in np.transpose(_HEAT)], axis=-1) / 255.0
    dim = np.repeat(grey[..., None] * 0.35, 3, axis=2)
    return _rgb(np.where(lungs[..., None], hot, dim))
