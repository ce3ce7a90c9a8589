"""A DICOM series as one volume on an even grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .dicom_headers import Header
from .dicom_series import SAME_PLACE_MM, Series, choose_series
from .geometry import Geometry
from .image_file import quiet
from .refusals import check_name

_ROUNDING_MM = 0.1  # positions are often written with one decimal
_LARGEST_GAP_MM = 10.0


def read_series(path: Path, wanted: str | None) -> tuple[NDArray[Any], Geometry, tuple[str, ...]]:
    """Read one CT series, on an even grid.

    Slices at the same place are taken once; missing slices and uneven spacing are bridged by linear
    interpolation along the normal, as long as no gap exceeds 10 mm or one missing slice. Slices that shift
    sideways with their position (tilted gantry) give a sheared geometry, which the caller may straighten.

    Args:
        path: a folder, or one DICOM file of it.
        wanted: series number or UID; None chooses, see :func:`choose_series`.

    Returns:
        Values after slope and intercept, (z, y, x) int16 or float32, first slice lowest along the normal;
        their geometry; and notes for the user.

    Raises:
        InputError: no CT series, unreadable slices, or slices that make no volume.
    """
    series, notes = choose_series(path, wanted)
    values = _pixels(series)
    values, positions, repeated = _each_place_once(series, values)
    along = positions @ series.normal
    values, along, uneven = _evenly_spaced(values, along)
    return values, _geometry(series, positions, along.size), notes + repeated + uneven


def _pixels(series: Series) -> NDArray[Any]:
    """Every slice's values in HU, (slice, row, column)."""
    import SimpleITK as sitk

    shape = series.slices[0].shape
    values = np.empty((len(series.slices), *shape), np.int16 if series.is_whole else np.float32)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with quiet():
        for part, out in zip(series.slices, values, strict=True):
            check_name(part.path)
            reader.SetFileName(str(part.path))
            try:
                image = reader.Execute()
            except RuntimeError:
                raise _damaged(part) from None
            pixels = sitk.GetArrayViewFromImage(image)
            if pixels.size != out.size:
                raise _damaged(part)
            if series.is_whole:
                # Limits of int32: numpy 2.0 refuses Python's -32768 for unsigned pixels.
                limits = np.int32(-32768), np.int32(32767)
                np.clip(pixels.reshape(shape), *limits, out=out, casting="unsafe")
            else:
                out[...] = pixels.reshape(shape)
    return values


def _damaged(part: Header) -> InputError:
    return InputError(
        "unreadable",
        f"The DICOM slice {part.path.name} is damaged or its compression cannot be decoded.",
        "Export the series again, uncompressed.",
    )


def _each_place_once(
    series: Series, values: NDArray[Any]
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
            f"Series {series.number} holds different images at {different} of its {places} positions.",
            "Give one phase or reconstruction only.",
        )
    keep = np.setdiff1d(np.arange(len(values)), again)
    note = f"{again.size} slices lie where another slice already is and were left out."
    return values[keep], positions[keep], (note,)


def _evenly_spaced(
    values: NDArray[Any], along: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    """Values at even steps along the normal, by linear interpolation where slices are missing or uneven."""
    gaps = np.diff(along)
    step = float(np.median(gaps))
    even = np.linspace(along[0], along[-1], along.size)
    if np.abs(along - even).max() <= max(_ROUNDING_MM, 0.1 * step):
        return values, even, ()
    widest = float(gaps.max())
    if widest > max(_LARGEST_GAP_MM, 2.1 * step):
        raise InputError(
            "missing-slices",
            f"Slices are missing: a gap of {widest:.1f} mm in a series with a slice every {step:.3g} mm.",
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


def _geometry(series: Series, positions: NDArray[np.float64], count: int) -> Geometry:
    """Geometry of ``count`` even slices from the first to the last position."""
    header = series.slices[0]
    first, last = positions[0], positions[-1]
    along = positions @ series.normal
    share = (along - along[0]) / (along[-1] - along[0])
    stray = float(np.linalg.norm(positions - (first + share[:, None] * (last - first)), axis=1).max())
    if stray > 1.0:
        raise InputError(
            "scattered-slices",
            f"Slices of series {series.number} are shifted against each other by up to {stray:.1f} mm.",
            "Give a series whose slices lie in one line.",
        )
    travel = last - first
    sideways = float(np.linalg.norm(travel - (travel @ series.normal) * series.normal))
    # Half a millimetre over the whole scan is rounding of positions, more is a tilted gantry.
    if sideways < 0.5:
        travel = (travel @ series.normal) * series.normal
    length = float(np.linalg.norm(travel))
    direction = np.column_stack([header.axes[:3], header.axes[3:], travel / length])
    rows, columns = header.shape
    x, y, z = (float(c) for c in first)
    return Geometry(
        (columns, rows, count),
        (header.spacing[1], header.spacing[0], length / (count - 1)),
        (x, y, z),
        tuple(float(d) for d in direction.ravel()),
    )
