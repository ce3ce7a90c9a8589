"""What a NIfTI file promises and holds: checked, and read by the same pass where its voxels lie plainly.

ITK fills a cut file with zeros, turns NaN into zeros, which is soft tissue, and guesses an absent spacing.

Offsets and fields: nifti.nimh.nih.gov, nifti1.h and nifti2.h.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from gzip import BadGzipFile
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .gzip_pieces import Unpacked
from .refusals import bad_direction, bad_spacing, not_finite, orientation_assumed, truncated, unreadable

_CHUNK = 1 << 20
_KINDS: dict[int, np.dtype[Any]] = {
    2: np.dtype(np.uint8),
    4: np.dtype(np.int16),
    8: np.dtype(np.int32),
    16: np.dtype(np.float32),
    64: np.dtype(np.float64),
    256: np.dtype(np.int8),
    512: np.dtype(np.uint16),
    768: np.dtype(np.uint32),
}
"""Types of real numbers, by their code in the header."""


@dataclass(frozen=True)
class NiftiHeader:
    """The fields that decide whether a file can be read safely.

    Attributes:
        size: voxels along each axis.
        spacing: mm along the first three axes, as stored.
        voxels_at: where the voxels start, in bytes of the uncompressed file.
        bytes_needed: header, extensions and voxels together, uncompressed.
        dtype: of the voxels where they are real numbers, else None.
        scaled: whether slope and intercept make other numbers of the stored ones.
        qform: (3, 4) RAS affine of the quaternion form, or None where its code is 0.
        sform: (3, 4) RAS affine of the matrix form, or None where its code is 0.
    """

    size: tuple[int, ...]
    spacing: tuple[float, float, float]
    voxels_at: int
    bytes_needed: int
    dtype: np.dtype[Any] | None
    scaled: bool
    qform: NDArray[np.float64] | None
    sform: NDArray[np.float64] | None

    @property
    def is_plain(self) -> bool:
        """Whether the voxels are one volume, stored as this computer stores numbers, and mean themselves."""
        return (
            self.dtype is not None
            and self.dtype.isnative
            and not self.scaled
            and len(self.size) >= 3
            and set(self.size[3:]) <= {1}
        )


def check_nifti(
    path: Path, name: str, begun: Callable[[], object] = lambda: None
) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    """Refuse a NIfTI file that is cut, damaged, or without usable numbers; unpacks it once.

    Args:
        path: the file.
        name: what to call it in a message.
        begun: called when the header is sound and the voxels are next.

    Returns:
        Its voxels (z, y, x) in the file's own type, or None where slope, byte order or further dimensions
        leave them to ITK; and notes on its orientation.

    Raises:
        InputError: ``unreadable``, ``truncated``, ``not-finite``, ``bad-spacing`` or ``bad-direction``.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with path.open("rb") as file:
            stream = Unpacked(file) if packed else file
            header = _header(stream.read(540), name)
            if not all(np.isfinite(s) and s > 0 for s in header.spacing):
                raise bad_spacing(name, _shown(header.spacing))
            notes = _orientation_notes(header, name)
            # Unpacked to its end, a compressed file also verifies its checksum.
            stream.seek(header.voxels_at)
            values = _room(header)
            begun()
            length, bad = _scan(stream, header) if values is None else _filled(stream, header, values)
    except (EOFError, zlib.error) as error:
        raise truncated(name) from error
    except (BadGzipFile, OverflowError) as error:
        raise unreadable(name) from error
    if length < header.bytes_needed:
        raise truncated(name)
    if bad:
        raise not_finite(bad, name)
    return values, notes


def _shown(spacing: Iterable[float]) -> str:
    return " x ".join(f"{s:g}" for s in spacing)


def _room(header: NiftiHeader) -> NDArray[Any] | None:
    """An array for the voxels of a plain file; None for another, or one that promises more than there is."""
    if not header.is_plain:
        return None
    try:
        return np.empty(header.size[2::-1], header.dtype)
    except (MemoryError, ValueError):
        return None


def _filled(stream: BufferedReader | Unpacked, header: NiftiHeader, values: NDArray[Any]) -> tuple[int, int]:
    """Fill ``values``; length of the uncompressed file, and how many voxels are NaN or infinite."""
    room = values.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < len(room) and (count := stream.readinto(room[filled : filled + _CHUNK])):
        filled += count
    length = header.voxels_at + filled
    while chunk := stream.read(_CHUNK):
        length += len(chunk)
    if values.dtype.kind != "f" or filled < len(room):
        return length, 0
    return length, sum(int(part.size - np.isfinite(part).sum()) for part in values)


def _scan(stream: BufferedReader | Unpacked, header: NiftiHeader) -> tuple[int, int]:
    """Length of the uncompressed file, and how many of its voxels are NaN or infinite."""
    length, bad, rest = header.voxels_at, 0, b""
    while chunk := stream.read(_CHUNK):
        if header.dtype is not None and header.dtype.kind == "f":
            # A chunk may end within a voxel, and bytes after the last voxel are none.
            own = rest + chunk[: max(0, header.bytes_needed - length)]
            whole = len(own) - len(own) % header.dtype.itemsize
            voxels, rest = np.frombuffer(own[:whole], header.dtype), own[whole:]
            bad += int(voxels.size - np.isfinite(voxels).sum())
        length += len(chunk)
    return length, bad


def _header(raw: bytes, name: str) -> NiftiHeader:
    """Parse NIfTI-1 or NIfTI-2 of either byte order."""
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        length = struct.unpack_from(order + "i", raw)[0] if len(raw) >= 348 else 0
        if length == 348:
            dim = struct.unpack_from(order + "8h", raw, 40)
            kind, bits = struct.unpack_from(order + "2h", raw, 70)
            pixdim = struct.unpack_from(order + "8f", raw, 76)
            offset, *slope = struct.unpack_from(order + "3f", raw, 108)
            codes = struct.unpack_from(order + "2h", raw, 252)
            form = struct.unpack_from(order + "18f", raw, 256)
            break
        if length == 540 and len(raw) >= 540:
            dim = struct.unpack_from(order + "8q", raw, 16)
            kind, bits = struct.unpack_from(order + "2h", raw, 12)
            pixdim = struct.unpack_from(order + "8d", raw, 104)
            offset, *slope = struct.unpack_from(order + "q2d", raw, 168)
            codes = struct.unpack_from(order + "2i", raw, 344)
            form = struct.unpack_from(order + "18d", raw, 352)
            break
    else:
        raise unreadable(name)
    axes = dim[0]
    size = dim[1 : 1 + axes] if 1 <= axes <= 7 else ()
    if not size or min(size) < 1 or bits < 1 or not 0 <= offset < 1 << 40:
        raise unreadable(name)
    dtype = _KINDS[kind].newbyteorder(order) if kind in _KINDS else None
    voxels_at = max(int(offset), length)  # an offset of 0 or within the header means its end, as in ITK
    voxels = 1
    for n in size:
        voxels *= n
    if dtype is not None:
        bits = 8 * dtype.itemsize  # the type decides, as in ITK, where the number of bits says another size
    return NiftiHeader(
        size=tuple(size),
        spacing=(pixdim[1], pixdim[2], pixdim[3]) if axes >= 3 else (1.0, 1.0, 1.0),
        voxels_at=voxels_at,
        bytes_needed=voxels_at + voxels * bits // 8,
        dtype=dtype,
        scaled=slope[0] != 0 and slope != [1.0, 0.0],
        qform=_quaternion_affine(form, pixdim) if codes[0] > 0 else None,
        sform=np.reshape(form[6:], (3, 4)) if codes[1] > 0 else None,
    )


def _quaternion_affine(form: tuple[float, ...], pixdim: tuple[float, ...]) -> NDArray[np.float64]:
    """Affine of the quaternion form (nifti1.h, method 2)."""
    b, c, d, *shift = form[:6]
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handedness = -1.0 if pixdim[0] < 0 else 1.0
    scale = np.array([pixdim[1], pixdim[2], pixdim[3] * handedness])
    return np.column_stack([rotation * scale, shift])


def _orientation_notes(header: NiftiHeader, name: str) -> tuple[str, ...]:
    """What the user should know about the two forms of orientation; refuses forms without meaning.

    ITK takes the matrix form, or the quaternion form where the matrix has no right angles.
    """
    qform, sform = header.qform, header.sform
    if qform is None and sform is None:
        return (orientation_assumed(name),)
    if not _usable(sform) and not _usable(qform):
        raise bad_direction(name)
    if sform is not None and not np.isfinite(sform).all():  # ITK may look for its axes for ever
        raise bad_direction(name)
    if sform is not None and _usable(sform):
        # ITK turns the axes as the matrix says and takes the spacing from elsewhere.
        lengths = np.linalg.norm(sform[:, :3], axis=0)
        if not np.allclose(lengths, header.spacing, rtol=0.01):
            raise bad_spacing(name, f"{_shown(header.spacing)} and, in its sform, {_shown(lengths)}")
    if qform is None or sform is None:
        return ()
    ends = [(0, n - 1) for n in (*header.size, 1, 1)[:3]]
    corners = np.stack([*(c.ravel() for c in np.meshgrid(*ends)), np.ones(8)])
    if np.abs((qform - sform) @ corners).max() < 1.0:  # mm; false for NaN
        return ()
    used = "sform" if _usable(sform) else "qform"
    return (f"The two orientations in the header of {name} (qform and sform) disagree; the {used} was used.",)


def _usable(form: NDArray[np.float64] | None) -> bool:
    return form is not None and bool(np.isfinite(form).all()) and _orthogonal(form[:, :3])


def _orthogonal(matrix: NDArray[np.float64]) -> bool:
    """Whether the columns are at right angles to a tenth of a degree and none is zero."""
    length = np.linalg.norm(matrix, axis=0)
    if (length < 1e-6).any():
        return False
    unit = matrix / length
    return bool(np.abs(unit.T @ unit - np.eye(3)).max() < 2e-3)
