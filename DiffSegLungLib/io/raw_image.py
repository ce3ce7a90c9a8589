"""Volumes as a MetaImage header and a file of plain voxels, in short steps: how Slicer and its worker talk.

Nothing is compressed and nothing converted, so that neither side computes: the voxels of ``labels.mhd`` lie
in ``labels.raw``, little-endian, in the order of the array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Geometry

ELEMENTS: dict[np.dtype[Any], str] = {
    np.dtype(np.int8): "MET_CHAR",
    np.dtype(np.uint8): "MET_UCHAR",
    np.dtype(np.int16): "MET_SHORT",
    np.dtype(np.uint16): "MET_USHORT",
    np.dtype(np.int32): "MET_INT",
    np.dtype(np.uint32): "MET_UINT",
    np.dtype(np.float32): "MET_FLOAT",
}
"""The types of voxels that can be written, by their names in a MetaImage header."""

_CHUNK = 4 << 20


def write_raw(
    path: Path, geometry: Geometry, dtype: np.dtype[Any], slabs: Iterable[NDArray[Any]]
) -> Iterator[float]:
    """Write the pieces of a volume in order; what is incomplete is removed.

    Args:
        path: the header, ending in ``.mhd``; the voxels go to the ``.raw`` of the same name beside it.
        geometry: where the voxels lie.
        dtype: one of :data:`ELEMENTS`.
        slabs: pieces along the first axis, (some z, y, x), together of ``geometry.shape``.

    Yields:
        The fraction written.

    Raises:
        OSError: the disk refuses.
    """
    raw = path.with_suffix(".raw")
    written = 0
    try:
        with raw.open("wb") as stream:
            for slab in slabs:
                stream.write(np.ascontiguousarray(slab, dtype.newbyteorder("<")).data)
                written += slab.shape[0]
                yield written / geometry.shape[0]
        path.write_text(_header(geometry, dtype, raw.name), encoding="ascii")
    except BaseException:
        raw.unlink(missing_ok=True)
        raise


def geometry_of(path: Path) -> Geometry:
    """Where the voxels of a volume lie, by its header alone.

    Raises:
        OSError: there is no such file.
        RuntimeError: it is no MetaImage header.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return Geometry(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())


def read_raw(path: Path, values: NDArray[Any]) -> Iterator[None]:
    """Fill an array with the voxels of a volume that :func:`write_raw` wrote, a few megabytes a step.

    Args:
        path: the header, ending in ``.mhd``.
        values: C-contiguous, of the volume's shape and type; filled in place.

    Raises:
        OSError: the file cannot be read, or does not hold exactly as many bytes.
    """
    room = values.reshape(-1).view(np.uint8).data
    raw = path.with_suffix(".raw")
    if (size := raw.stat().st_size) != len(room):
        raise OSError(f"{raw.name} holds {size} bytes instead of {len(room)}")
    with raw.open("rb", buffering=0) as stream:
        filled = 0
        while filled < len(room):
            count = stream.readinto(room[filled : filled + _CHUNK])
            if not count:
                raise OSError(f"{raw.name} ends too soon")
            filled += count
            yield


def _header(geometry: Geometry, dtype: np.dtype[Any], data_file: str) -> str:
    """A MetaImage header; it lists the axes one after the other, in LPS."""

    def numbers(values: Iterable[float]) -> str:
        return " ".join(repr(float(value)) for value in values)

    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": numbers(np.reshape(geometry.direction, (3, 3)).T.ravel()),
        "Offset": numbers(geometry.origin),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": numbers(geometry.spacing),
        "DimSize": " ".join(str(n) for n in geometry.size),
        "ElementType": ELEMENTS[dtype],
        "ElementDataFile": data_file,  # must be the last line
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items())
