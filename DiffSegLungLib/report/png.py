"""Pictures as PNG, without any imaging library: reports are also written where none is installed."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_LEVEL = 3
"""Of zlib: a fifth of the time of its default, and files a tenth larger."""


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (rows, columns, 3) uint8 RGB as the bytes of a PNG file (W3C specification).

    Every row is stored as its difference from the row above (filter 2), which suits grey anatomy well.
    """
    rows, columns, channels = picture.shape
    if channels != 3 or picture.dtype != np.uint8:
        raise ValueError(f"not an RGB picture: {picture.shape} {picture.dtype}")
    lines = np.empty((rows, 1 + columns * 3), np.uint8)
    lines[:, 0] = 2
    flat = np.ascontiguousarray(picture).reshape(rows, -1)
    lines[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=lines[1:, 1:])
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.data, _LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
