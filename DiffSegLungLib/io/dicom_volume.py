"""A DICOM series as one volume on an even grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .dicom_passes import SAME_PLACE_MM, is_even, runs_twice
from .dicom_pixels import hounsfield_units
from .dicom_series import Series, choose_series
from .geometry import Geometry
from .refusals import THICKEST_MM, THINNEST_MM, bad_spacing

_LARGEST_GAP_MM = 10.0
_JUMP_HU = 500.0
"""No two neighbouring slices differ by this in nearly every voxel; without an intercept, by 1024."""


def read_series(
    path: Path, wanted: str | None, begun: Callable[[], object] = lambda: None
) -> tuple[NDArray[Any], Geometry, tuple[str, ...]]:
    """Read one CT series, on an even grid.

    Slices at the same place are taken once; missing slices and uneven spacing are bridged by linear
    interpolation along the normal, as long as no gap exceeds 10 mm or one missing slice. Slices that shift
    sideways with their position (tilted gantry) give a sheared geometry, which the caller may straighten.

    Args:
        path: a folder, or one DICOM file of it.
        wanted: series number or UID; None chooses, see :func:`choose_series`.
        begun: called when a series is chosen and its voxels are next.

    Returns:
        Values after slope and intercept, (z, y, x) int16 or float32, first slice lowest along the normal;
        their geometry; and notes for the user.

    Raises:
        InputError: no CT series, unreadable slices, or slices that make no volume.
    """
    series, notes = choose_series(path, wanted)
    name = f"Series {series.number}"
    _refuse_bad_pixels(series, name)
    _refuse_mixed_passes(series, name)
    begun()
    values, outside, padded = hounsfield_units(series.slices)
    _refuse_mixed_offsets(series, values, outside, name)
    del outside
    values, positions, repeated = _each_place_once(series, values, name)
    along = positions @ series.normal
    values, along, uneven = _evenly_spaced(values, along, name)
    return values, _geometry(series, positions, along.size, name), notes + padded + repeated + uneven


def _refuse_bad_pixels(series: Series, name: str) -> None:
    spacing = series.slices[0].spacing
    if not all(THINNEST_MM <= mm <= THICKEST_MM for mm in spacing):
        raise bad_spacing(name, " x ".join(f"{mm:g}" for mm in spacing))


def _refuse_mixed_passes(series: Series, name: str) -> None:
    """Refuse two passes of the scanner, or two computations, which no tag tells apart."""
    along = series.along
    gaps = np.diff(along)
    repeated = bool((gaps < SAME_PLACE_MM).any())
    alternating = gaps.size >= 2 and not repeated and 1.5 * gaps[::2].max() < gaps[1::2].min()
    alternating |= gaps.size >= 2 and not repeated and 1.5 * gaps[1::2].max() < gaps[::2].min()
    if alternating or (not repeated and runs_twice(series.slices, series.normal)):
        raise InputError(
            "several-phases",
            f"{name} holds slices of two passes or reconstructions in turn, and no tag tells them apart.",
            "Give one phase or reconstruction only.",
        )


def _refuse_mixed_offsets(
    series: Series, values: NDArray[Any], outside: NDArray[np.bool_], name: str
) -> None:
    """Refuse slices that lie about 1024 HU above or below their neighbours: rescaled and not, mixed."""
    share = 0.1 if len({one.rescale for one in series.slices}) == 1 else 0.25
    jumps = [k for k in range(1, len(values)) if _jumps(values, outside, k, share)]
    if not jumps:
        return
    missing = sum(one.rescale is None for one in series.slices)
    lacking = f" RescaleIntercept is missing in {missing} of its slices." if missing else ""
    raise InputError(
        "mixed-rescale",
        f"{name} jumps by about 1000 HU between slices ({len(jumps)} of {len(values) - 1} times).{lacking}",
        "Export the series again, with slope and intercept in every slice.",
    )


def _jumps(values: NDArray[Any], outside: NDArray[np.bool_], k: int, share: float) -> bool:
    """Whether all but a share of the voxels change by _JUMP_HU, up or down, from slice k - 1 to k."""
    inside = ~(outside[k - 1, ::4, ::4] | outside[k, ::4, ::4])
    change = values[k, ::4, ::4][inside].astype(np.float32) - values[k - 1, ::4, ::4][inside]
    if not change.size:
        return False
    low, high = np.quantile(change, (share, 1 - share))
    return bool(low > _JUMP_HU or high < -_JUMP_HU)


def _each_place_once(
    series: Series, values: NDArray[Any], name: str
) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    """Leave out slices at a place that another one already has; refuses a series of several phases."""
    positions = series.positions
    again = np.flatnonzero(np.diff(series.along) < SAME_PLACE_MM) + 1
    if not again.size:
        return values, positions, ()
    different = sum(bool((values[i] != values[i - 1]).any()) for i in again)
    places = len(values) - again.size
    if different > places // 4:
        raise InputError(
            "several-phases",
            f"{name} holds different images at {different} of its {places} positions.",
            "Give one phase or reconstruction only.",
        )
    keep = np.setdiff1d(np.arange(len(values)), again)
    note = f"{again.size} slices lie where another slice already is and were left out."
    return values[keep], positions[keep], (note,)


def _evenly_spaced(
    values: NDArray[Any], along: NDArray[np.float64], name: str
) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    """Values at even steps along the normal, by linear interpolation where slices are missing or uneven."""
    gaps = np.diff(along)
    step = float(np.median(gaps))
    even = np.linspace(along[0], along[-1], along.size)
    if is_even(along):
        return values, even, ()
    widest = float(gaps.max())
    if widest > min(max(_LARGEST_GAP_MM, 2.1 * step), THICKEST_MM):
        raise InputError(
            "missing-slices",
            f"{name} lacks slices: a gap of {widest:.1f} mm in a scan with one every {step:.3g} mm.",
            "Give the folder with all slices of the series.",
        )
    count = round((along[-1] - along[0]) / step) + 1
    grid = np.linspace(along[0], along[-1], count)
    above = np.clip(np.searchsorted(along, grid, side="right"), 1, along.size - 1)
    weight = ((grid - along[above - 1]) / gaps[above - 1]).astype(np.float32)
    result = np.empty((count, *values.shape[1:]), values.dtype)
    for out, k, w in zip(result, above, weight, strict=True):
        mixed = (1 - w) * values[k - 1] + w * values[k]
        out[...] = np.rint(mixed) if values.dtype == np.int16 else mixed
    note = (
        f"Slices are missing or unevenly spaced ({gaps.min():.3g} to {widest:.3g} mm); "
        f"interpolated to one every {step:.3g} mm."
    )
    return result, grid, (note,)


def _geometry(series: Series, positions: NDArray[np.float64], count: int, name: str) -> Geometry:
    """Geometry of ``count`` even slices from the first to the last position."""
    header = series.slices[0]
    axes = series.axes
    first, last = positions[0], positions[-1]
    along = positions @ series.normal
    share = (along - along[0]) / (along[-1] - along[0])
    stray = float(np.linalg.norm(positions - (first + share[:, None] * (last - first)), axis=1).max())
    if stray > 1.0:
        raise InputError(
            "scattered-slices",
            f"Slices of {name.lower()} are shifted against each other by up to {stray:.1f} mm.",
            "Give a series whose slices lie in one line.",
        )
    travel = last - first
    sideways = float(np.linalg.norm(travel - (travel @ series.normal) * series.normal))
    # Half a millimetre over the whole scan is rounding of positions, more is a tilted gantry.
    if sideways < 0.5:
        travel = (travel @ series.normal) * series.normal
    length = float(np.linalg.norm(travel))
    direction = np.column_stack([*axes, travel / length])
    rows, columns = header.shape
    x, y, z = (float(c) for c in first)
    return Geometry(
        (columns, rows, count),
        (header.spacing[1], header.spacing[0], length / (count - 1)),
        (x, y, z),
        tuple(float(d) for d in direction.ravel()),
    )
