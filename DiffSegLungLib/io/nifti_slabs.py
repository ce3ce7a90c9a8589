"""Compressed NIfTI written slab by slab: on all cores, and without a copy of the volume."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..threads import in_threads, slabs
from .geometry import Geometry, to_image

_GZIP = b"\x1f\x8b\x08\x00" + b"\x00" * 5 + b"\xff"
"""Header of RFC 1952: deflated, without name, time and system."""

_LEVEL = 3
"""Of zlib: half the time of its default, and files of labels twice as large, which is a megabyte."""

_BYTES = 1 << 21
_AT_ONCE = 16


def write_nifti(
    stream: BinaryIO, geometry: Geometry, dtype: DTypeLike, part: Callable[[slice], NDArray[Any]]
) -> None:
    """Write a volume as ``.nii.gz``.

    Args:
        stream: receives the file.
        geometry: the grid of the volume.
        dtype: of the voxels.
        part: the values (z, y, x) of some planes, asked for from several threads, each plane once.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    length, check = 0, 0
    stream.write(_GZIP)
    for packed, raw in _packed(geometry, kind, part):
        stream.write(packed)
        length, check = length + len(raw), zlib.crc32(raw, check)
    stream.write(_deflate(b"", zlib.Z_FINISH) + struct.pack("<II", check, length % 2**32))


def _packed(
    geometry: Geometry, kind: np.dtype[Any], part: Callable[[slice], NDArray[Any]]
) -> Iterator[tuple[bytes, bytes]]:
    """Pieces of the deflated file, in order, each with what it holds."""

    def one(planes: slice) -> tuple[bytes, bytes]:
        raw = np.ascontiguousarray(part(planes), kind).tobytes()
        return _deflate(raw, zlib.Z_SYNC_FLUSH), raw

    header = _header(geometry, kind)
    yield _deflate(header, zlib.Z_SYNC_FLUSH), header
    depth, rows, columns = geometry.shape
    planes = slabs(0, depth, max(1, _BYTES // (rows * columns * kind.itemsize)))
    for first in range(0, len(planes), _AT_ONCE):
        yield from in_threads(one, planes[first : first + _AT_ONCE])


def _deflate(raw: bytes, end: int) -> bytes:
    """Deflated bytes that stand for themselves, so that pieces made in any order form one stream."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush(end)


def _header(geometry: Geometry, kind: np.dtype[Any]) -> bytes:
    """The 352 bytes before the voxels: ITK's own, of the smallest image, with the true size put in."""
    import SimpleITK as sitk

    smallest = Geometry((2, 2, 2), geometry.spacing, geometry.origin, geometry.direction)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "header.nii"
        sitk.WriteImage(to_image(np.zeros((2, 2, 2), kind.newbyteorder("=")), smallest), str(path))
        header = bytearray(path.read_bytes()[:352])
    struct.pack_into("<3h", header, 42, *geometry.size)
    return bytes(header)
