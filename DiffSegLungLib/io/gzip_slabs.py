"""Compressed volumes written slab by slab: on all cores, and without a copy of the volume.

The headers of NIfTI and NRRD are ITK's own, of the smallest image, with the true size put in.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..threads import in_threads, slabs

SMALLEST = (2, 2, 2)
"""Size of the image whose header is taken."""

_GZIP = b"\x1f\x8b\x08\x00" + b"\x00" * 5 + b"\xff"
"""Header of RFC 1952: deflated, without name, time and system."""

_LEVEL = 3
"""Of zlib: half the time of its default, and files of labels twice as large, which is a megabyte."""

_BYTES = 1 << 21
_AT_ONCE = 16


def write_gzip(
    stream: BinaryIO,
    first: bytes,
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    part: Callable[[slice], NDArray[Any]],
) -> None:
    """Write a volume as one gzip stream, little-endian.

    Args:
        stream: receives the file.
        first: what the stream holds before the voxels.
        shape: of the volume, (z, y, x).
        dtype: of the voxels.
        part: the values (z, y, x) of some planes, asked for from several threads, each plane once.
    """
    length, check = 0, 0
    stream.write(_GZIP)
    for packed, raw in _packed(first, shape, np.dtype(dtype).newbyteorder("<"), part):
        stream.write(packed)
        length, check = length + len(raw), zlib.crc32(raw, check)
    stream.write(_deflate(b"", zlib.Z_FINISH) + struct.pack("<II", check, length % 2**32))


def nifti_header(smallest: bytes, size: tuple[int, int, int]) -> bytes:
    """The 352 bytes before the voxels, out of the ``.nii.gz`` of an image of :data:`SMALLEST`."""
    header = bytearray(gzip.decompress(smallest)[:352])
    struct.pack_into("<3h", header, 42, *size)
    return bytes(header)


def nrrd_header(smallest: bytes, size: tuple[int, int, int]) -> bytes:
    """The lines before the gzip stream, out of the compressed ``.nrrd`` of an image of :data:`SMALLEST`."""
    lines, blank, _ = smallest.partition(b"\n\n")
    old, new = (b"\nsizes: %d %d %d\n" % n for n in (SMALLEST, size))
    return lines.replace(old, new, 1) + blank


def _packed(
    first: bytes, shape: tuple[int, int, int], kind: np.dtype[Any], part: Callable[[slice], NDArray[Any]]
) -> Iterator[tuple[bytes, bytes]]:
    """Pieces of the deflated stream, in order, each with what it holds."""

    def one(planes: slice) -> tuple[bytes, bytes]:
        raw = np.ascontiguousarray(part(planes), kind).tobytes()
        return _deflate(raw, zlib.Z_SYNC_FLUSH), raw

    yield _deflate(first, zlib.Z_SYNC_FLUSH), first
    depth, rows, columns = shape
    planes = slabs(0, depth, max(1, _BYTES // (rows * columns * kind.itemsize)))
    for begin in range(0, len(planes), _AT_ONCE):
        yield from in_threads(one, planes[begin : begin + _AT_ONCE])


def _deflate(raw: bytes, end: int) -> bytes:
    """Deflated bytes that stand for themselves, so that pieces made in any order form one stream."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush(end)
