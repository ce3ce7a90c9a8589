"""Are these voxel values Hounsfield units, and which of them are only padding?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .padding import PADDING_BELOW, pad_with_air
from .refusals import not_finite

_OFFSETS = (1024, 32768, -1024)
_SAMPLE = 2_000_000
_CONVERT = (
    "Give the CT in Hounsfield units, as the scanner's DICOM or a lossless conversion of it holds them."
)


def to_hounsfield(values: NDArray[Any], name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Check that voxel values are those of a chest CT in HU, and bring them into working form.

    Args:
        values: (z, y, x), any real dtype; changed in place if it is int16 or float32 and writeable.
        name: what to call the volume in a message.

    Returns:
        int16 (z, y, x) where every value is a whole number, else float32, with padding turned to -1024; and
        the notes for the user.

    Raises:
        InputError: the values are not finite, all the same, or not Hounsfield units.
    """
    _refuse_not_finite(values, name)
    _refuse_constant(values, name)
    sample = _sampled(values)
    if not _looks_like_hu(sample):
        raise _not_hu(sample, name)
    hu = _compact(values)
    padding = pad_with_air(hu)
    if padding == 0:
        return hu, ()
    share = 100 * padding / hu.size
    return hu, (f"Padding outside the field of view ({share:.1f} % of the voxels) was read as air.",)


def _refuse_not_finite(values: NDArray[Any], name: str) -> None:
    if values.dtype.kind != "f":
        return
    bad = sum(int(part.size - np.isfinite(part).sum()) for part in values)
    if bad:
        raise not_finite(bad, name)


def _refuse_constant(values: NDArray[Any], name: str) -> None:
    first = values.flat[0]
    if all(bool((part == first).all()) for part in values):
        raise InputError(
            "constant", f"{name} is empty: every voxel is {first:g}.", "Give a CT with an image in it."
        )


def _sampled(values: NDArray[Any]) -> NDArray[np.float32]:
    """About two million voxels on a regular lattice, rows kept whole so that neighbours stay neighbours."""
    step = max(1, round(float(np.sqrt(values.size / _SAMPLE))))
    return values[step // 2 :: step, step // 2 :: step].astype(np.float32)


def _share(values: NDArray[Any], low: float, high: float) -> float:
    return float(((values >= low) & (values <= high)).mean())


def _looks_like_hu(sample: NDArray[Any]) -> bool:
    """Some air or lung, and some soft tissue, each where Hounsfield units put it."""
    return _share(sample, -1100, -500) > 0.002 and _share(sample, -200, 300) > 0.01


def _not_hu(sample: NDArray[np.float32], name: str) -> InputError:
    """The refusal that names what the values look like instead."""
    real = sample[sample >= PADDING_BELOW] if (sample >= PADDING_BELOW).any() else sample
    low, high = float(real.min()), float(real.max())
    span = f"values run from {round(low, 3):g} to {round(high, 3):g}"
    whole = bool((sample == np.rint(sample)).all())
    if whole and low >= 0 and _piecewise_constant(sample):
        return InputError(
            "label-map",
            f"{name} looks like a label map: {span} in large areas of one value.",
            "Give the CT itself; a mask of the lungs goes with --lungs.",
        )
    if high - low <= 10:
        return InputError("normalised", f"{name} looks normalised: {span}.", _CONVERT)
    if whole and low >= 0 and high <= 255:
        return InputError("eight-bit", f"{name} looks like an 8-bit picture: {span}.", _CONVERT)
    for offset in _OFFSETS:
        if _looks_like_shifted_hu(sample - offset):
            return InputError(
                "hu-offset",
                f"{name} looks like HU {offset:+d}: {span}, with soft tissue near {offset + 40}.",
                f"Give the CT in Hounsfield units, probably by adding {-offset:+d} to every voxel.",
            )
    if low < 0 and _share(real, -200, 300) > 0.3:
        return InputError(
            "windowed",
            f"{name} has no air: {span}, as if cut to a soft-tissue window or cropped inside the body.",
            "Give the whole range of a chest CT, from -1000 HU upwards.",
        )
    return InputError(
        "not-hu",
        f"{name} does not look like CT in HU: {span}, without air near -1000 and soft tissue near 40.",
        _CONVERT,
    )


def _looks_like_shifted_hu(sample: NDArray[np.float32]) -> bool:
    """Stricter than :func:`_looks_like_hu`, since an MR can have any values: dense voxels are soft tissue."""
    dense = sample[sample > -400]
    return _looks_like_hu(sample) and dense.size > 0 and _share(dense, -150, 150) > 0.5


def _piecewise_constant(sample: NDArray[np.float32]) -> bool:
    """Whether nine in ten labelled voxels have a neighbour of the same value along the row."""
    left, right = sample[..., :-1], sample[..., 1:]
    labelled = left > 0
    return bool(labelled.any()) and float((left == right)[labelled].mean()) > 0.8


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """int16 where no value is lost by it, else float32; slice by slice, since a float copy may not fit."""
    shared = not values.flags.writeable
    if values.dtype == np.int16:
        return values.copy() if shared else values
    bounds = np.iinfo(np.int16)
    if values.dtype.kind == "f" and any(bool((part != np.rint(part)).any()) for part in values):
        return values.astype(np.float32, copy=shared)
    hu = np.empty(values.shape, np.int16)
    for part, out in zip(values, hu, strict=True):
        # Metal may exceed int16 in wider types; above 32767 HU nothing is told apart. No Python integers:
        # numpy 2.0 refuses those that an unsigned or narrow type does not reach.
        out[...] = np.clip(part, np.int32(bounds.min), np.int32(bounds.max))
    return hu
