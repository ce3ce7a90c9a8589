"""The Hounsfield units of DICOM slices: stored numbers, decoded, freed of padding, rescaled."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .dicom_headers import PLAIN, Header, damages
from .image_file import quiet
from .padding import AIR, PADDING_BELOW
from .refusals import shown_name

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", PLAIN[2]
_OVERLAY_BIT = 0x60000102
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "PixelData", _OVERLAY_BIT,
]  # fmt: skip
_MANY_GREY_FRAMES = "1.2.840.10008.5.1.4.1.1.7.3"
_NO_TISSUE_ABOVE = 10_000
_LEAST_SHARE = 1e-3
"""Of a slice: smaller regions at its corners are a few voxels that happen to have the value of padding."""


def hounsfield_units(slices: Sequence[Header]) -> tuple[NDArray[Any], NDArray[np.bool_], tuple[str, ...]]:
    """The HU of slices of one shape.

    Slope and intercept are applied as the file gives them, 1 and 0 where it gives none. MONOCHROME1 concerns
    only how a picture is shown (PS3.3 C.7.6.3.1.2), so its numbers are HU as well.

    Returns:
        int16 where every slope and intercept is a whole number, else float32, (slice, row, column); where it
        was marked as padding, which is -1024 HU now; and a note on that.

    Raises:
        InputError: ``unreadable``, a slice is cut off or its compression cannot be decoded.
    """
    rescale = [one.rescale or (1.0, 0.0) for one in slices]
    whole = all(value.is_integer() for pair in rescale for value in pair)
    shape = (len(slices), *slices[0].shape)
    values = np.empty(shape, np.int16 if whole else np.float32)
    outside = np.zeros(shape, bool)
    files: dict[Path, list[int]] = {}
    for place, one in enumerate(slices):
        files.setdefault(one.path, []).append(place)
    changed = 0
    for path, places in files.items():
        dataset, frames = _stored(path, slices[places[0]].shape)
        for place in places:
            if slices[place].frame >= len(frames):
                raise _damaged(path)
            stored = frames[slices[place].frame]
            slope, intercept = rescale[place]
            working = np.float32 if not whole else np.int32 if slope == 1 else np.int64
            hu = stored.astype(working) * working(slope) + working(intercept)
            marked = _padding(dataset, stored, hu)
            if whole:
                np.clip(hu, np.int32(-32768), np.int32(32767), out=values[place], casting="unsafe")
            else:
                values[place] = hu
            if marked is not None:
                changed += int((values[place][marked] != AIR).sum())
                values[place][marked] = AIR
                outside[place] = marked
    share = 100 * changed / values.size
    notes = (f"Voxels that the DICOM marks as padding ({share:.1f} %) were read as air.",) if changed else ()
    return values, outside, notes


def _stored(path: Path, shape: tuple[int, ...]) -> tuple[Dataset, NDArray[Any]]:
    """Elements that describe the pixels of a file, and its stored numbers (frame, row, column)."""
    import pydicom

    broken: tuple[type[Exception], ...] = (*damages(), RuntimeError)  # the last is ITK's
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, specific_tags=_TAGS, force=True)
            syntax = str(dataset.file_meta.get("TransferSyntaxUID") or PLAIN[0])
            frames = (_plain if syntax in (*PLAIN, _DEFLATED) else _decoded)(dataset, shape, syntax)
            return dataset, frames
    except broken:
        raise _damaged(path) from None


def _plain(dataset: Dataset, shape: tuple[int, ...], syntax: str) -> NDArray[Any]:
    """Numbers that are not compressed."""
    kind = "i" if dataset.get("PixelRepresentation") else "u"
    size = int(dataset.BitsAllocated) // 8
    order = ">" if syntax == _BIG_ENDIAN else "<"
    count = int(dataset.get("NumberOfFrames") or 1)
    frames = np.frombuffer(dataset.PixelData, f"{order}{kind}{size}", count * shape[0] * shape[1])
    if int(dataset.get(_OVERLAY_BIT).value if _OVERLAY_BIT in dataset else 0) > 0:
        # Overlays of old times lie in the bits above (and below) those of the image.
        stored = int(dataset.BitsStored)
        frames = (frames << (8 * size - 1 - int(dataset.HighBit))) >> (8 * size - stored)
    return frames.reshape(count, *shape)


def _decoded(dataset: Dataset, shape: tuple[int, ...], _syntax: str) -> NDArray[Any]:
    """Compressed numbers, by GDCM: from a copy without what would make GDCM change them."""
    import SimpleITK as sitk

    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = _MANY_GREY_FRAMES
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.preamble = bytes(128)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with tempfile.TemporaryDirectory() as folder, quiet():
        copy = Path(folder) / "frames.dcm"
        dataset.save_as(copy)
        reader.SetFileName(str(copy))
        frames = sitk.GetArrayFromImage(reader.Execute())
    return np.asarray(frames).reshape(-1, *shape)


def _padding(dataset: Dataset, stored: NDArray[Any], hu: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where a slice is padding by PixelPaddingValue and PixelPaddingRangeLimit; None without these tags.

    Both are compared as bits, since files say unsigned 63536 and mean -2000. A value that tissue or metal may
    have is padding only in regions that fill the corners of the slice.
    """
    from scipy.ndimage import label

    value = _bits(dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = _bits(dataset.get("PixelPaddingRangeLimit"))
    signed = stored.dtype.kind == "i"
    width = int(dataset.BitsStored) if signed else 8 * stored.dtype.itemsize
    full = (1 << width) - 1
    first, length = value & full, 0
    if limit is not None:
        # The shorter way round from one to the other: -2000 to -1 may be written 63536 to 65535, or turned.
        length = (limit - value) & full
        if length > full // 2:
            first, length = limit & full, (value - limit) & full
    words = stored.view(stored.dtype.str.replace("i", "u")).astype(np.int64)
    marked = ((words - first) & full) <= length
    if not marked.any():
        return None
    impossible: NDArray[np.bool_] = marked & ((hu < PADDING_BELOW) | (hu > _NO_TISSUE_ABOVE))
    regions, _ = label(marked)
    sizes = np.bincount(regions.ravel())
    corners = {int(c) for c in regions[np.ix_((0, -1), (0, -1))].ravel()} - {0}
    large = [c for c in corners if sizes[c] >= _LEAST_SHARE * marked.size]
    return impossible | np.isin(regions, large)


def _bits(value: Any) -> int | None:
    """A padding value as a whole number of any sign; None where there is none that can be understood."""
    if isinstance(value, bytes):
        return int.from_bytes(value, "little") if value else None
    try:
        return None if value in (None, "") else int(value)
    except (TypeError, ValueError):
        return None


def _damaged(path: Path) -> InputError:
    return InputError(
        "unreadable",
        f"The DICOM slice {shown_name(path)} is damaged or its compression cannot be decoded.",
        "Export the series again, uncompressed.",
    )
