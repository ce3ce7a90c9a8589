"""Image files through SimpleITK: checked and read without its C++ noise, written whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError, not_written
from .geometry import Geometry, to_image
from .gzip_slabs import SMALLEST, nifti_header, nrrd_header, write_gzip
from .nifti import check_nifti
from .raw_image import write_raw
from .refusals import THICKEST_MM, THINNEST_MM, bad_direction, bad_spacing, check_name, unreadable
from .text_header import check_text_header
from .whole_file import writing

if TYPE_CHECKING:
    import SimpleITK as sitk

FORMATS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".gpg", ".enc")
_ACCEPTED = "Give a NIfTI, NRRD or MetaImage volume, or a folder of DICOM files."
_MOST_VOXELS = 2_000_000_000
_MOST_NIFTI = 32767
"""Voxels along an axis of NIfTI-1."""


def read_volume(
    path: Path, name: str = "", begun: Callable[[], object] = lambda: None
) -> tuple[NDArray[Any], Geometry, tuple[str, ...]]:
    """Read a volume of any pixel type; refuses what is no volume with sensible voxels.

    Args:
        path: a file of one of :data:`FORMATS`.
        name: what to call it in a message; empty takes the file's own name.
        begun: called when the header is sound and the voxels are next.

    Returns:
        Values (z, y, x), or (z, y, x, c) where every voxel holds several numbers; their grid; and notes for
        the user.

    Raises:
        InputError: see the codes below; the message names the file, never its folder.
    """
    import SimpleITK as sitk

    name = name or path.name
    _refuse_wrong_kind(path, name)
    values: NDArray[Any] | None = None
    is_nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    if is_nifti:
        values, notes = check_nifti(path, name, begun)
    else:
        notes = check_text_header(path, name)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet():
        try:
            reader.ReadImageInformation()
            size, spacing = reader.GetSize(), reader.GetSpacing()
            _refuse_wrong_axes(size, name)
            _refuse_bad_grid(size[:3], spacing[:3], name)
            if values is not None and values.shape == size[2::-1] and reader.GetDimension() == 3:
                geometry = Geometry(size, spacing, reader.GetOrigin(), reader.GetDirection())
            else:
                if not is_nifti:
                    begun()
                image = reader.Execute()
                image = image[:, :, :, 0] if image.GetDimension() == 4 else image
                values, geometry = sitk.GetArrayFromImage(image), Geometry.of(image)
        except RuntimeError as error:
            raise _explained(str(error), name) from None
    _refuse_bad_direction(geometry, name)
    return values, geometry, notes


@contextmanager
def opened_or_refused(path: Path, name: str = "") -> Iterator[None]:
    """Turn what the operating system says (no permission, a lost network folder) into a refusal."""
    check_name(path)
    try:
        yield
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise InputError(
            "unreadable",
            f"{name or path.name} cannot be opened ({why}).",
            "Check its permissions and the disk.",
        ) from error


def is_volume_file(path: Path) -> bool:
    """Whether the name is that of a format which holds a whole volume in one file."""
    return path.name.lower().endswith(FORMATS)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what C++ libraries print to standard error from the user: the exceptions tell what matters.

    Works on the file descriptor, since ITK, niftilib and MetaIO write past Python's ``sys.stderr``.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.GlobalWarningDisplayOff()
    with _silence:
        yield


class _Silence:
    """Standard error sent nowhere as long as any thread is within; there is one for the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._kept: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._within += 1
            if self._within > 1:
                return
            try:
                self._kept = os.dup(2)
            except OSError:  # a windowed program has no standard error
                self._kept = None
                return
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0 and self._kept is not None:
                os.dup2(self._kept, 2)
                os.close(self._kept)


_silence = _Silence()


def write_image(
    path: Path, array: NDArray[Any], geometry: Geometry, fields: Mapping[str, str] | None = None
) -> None:
    """Write an array (z, y, x), whole or not at all.

    Args:
        path: ending in ``.nii.gz``, ``.nrrd`` or ``.mha``, compressed; or in ``.mhd`` for plain voxels beside
            a header (:mod:`.raw_image`), which a program reads at once.
        array: the voxels; bool and float16 become uint8 and float32.
        geometry: their grid.
        fields: further keys and values of the header of an ``.nrrd``.

    Raises:
        InputError: code ``not-written``, as on a full disk.
    """
    if array.shape != geometry.shape:
        raise ValueError(f"array of shape {array.shape} on a grid of shape {geometry.shape}")
    kinds: dict[str, np.dtype[Any]] = {"bool": np.dtype(np.uint8), "float16": np.dtype(np.float32)}
    dtype = kinds.get(array.dtype.name, array.dtype)
    write_parts(path, geometry, dtype, lambda planes: array[planes], fields)


def write_parts(
    path: Path,
    geometry: Geometry,
    dtype: DTypeLike,
    part: Callable[[slice], NDArray[Any]],
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write an image whose planes are made as they are needed; see :func:`write_image`.

    Args:
        path: where to write.
        geometry: the grid of the image.
        dtype: of its voxels.
        part: the values (z, y, x) of some planes, asked for from several threads, each plane once.
        fields: further keys and values of the header of an ``.nrrd``.

    Raises:
        InputError: code ``not-written``, as on a full disk.
    """
    if path.suffix == ".mhd":
        planes = (part(slice(z, z + 1)) for z in range(geometry.shape[0]))
        try:
            for _fraction in write_raw(path, geometry, np.dtype(dtype), planes):
                pass
        except OSError as error:
            raise not_written(path.name, error) from error
        return
    nrrd = path.name.endswith(".nrrd")
    if not nrrd and (not path.name.endswith(".nii.gz") or max(geometry.size) > _MOST_NIFTI):
        image = to_image(np.asarray(part(slice(0, geometry.shape[0])), dtype), geometry)
        with writing(path) as aside:
            _write_with_itk(aside, image)
        return
    image = to_image(np.zeros(SMALLEST, dtype), replace(geometry, size=SMALLEST))
    for key, value in (fields or {}).items():
        image.SetMetaData(key, value)
    with writing(path) as aside:
        _write_with_itk(aside, image)
        smallest = aside.read_bytes()
        try:
            first = b"" if nrrd else nifti_header(smallest, geometry.size)
        except EOFError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        with aside.open("wb") as stream:
            if nrrd:
                stream.write(nrrd_header(smallest, geometry.size))
            write_gzip(stream, first, geometry.shape, dtype, part)


def _write_with_itk(path: Path, image: sitk.Image) -> None:
    import SimpleITK as sitk

    try:
        with quiet():
            sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=3)
    except RuntimeError as error:
        raise OSError(errno.EIO, "the disk may be full") from error
    if (
        not path.stat().st_size
    ):  # NIfTI's writer says nothing of a full disk, nor of one that takes a few bytes
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _refuse_wrong_kind(path: Path, name: str) -> None:
    """Refuse by existence, suffix and first bytes, before any reader opens the file."""
    if not path.is_file():
        raise InputError("no-such-file", f"There is no file named {name}.", "Check the path.")
    if path.stat().st_size == 0:
        raise InputError("empty-file", f"{name} is an empty file.", _ACCEPTED)
    with path.open("rb") as stream:
        start = stream.read(6)
    packed = start.startswith((b"PK\x03\x04", b"7z\xbc\xaf", b"Rar!"))
    if packed or (not is_volume_file(path) and path.name.lower().endswith(ARCHIVES)):
        raise InputError("archive", f"{name} is a packed or encrypted archive.", "Unpack it first.")
    if not is_volume_file(path):
        kind = f"files of type {path.suffix}" if path.suffix else "files without a known type"
        raise InputError("unsupported-format", f"{name} cannot be read: {kind} are not supported.", _ACCEPTED)


def _refuse_wrong_axes(size: tuple[int, ...], name: str) -> None:
    if len(size) == 2 or (len(size) == 3 and min(size) == 1):
        raise InputError(
            "not-3d",
            f"{name} is a single slice of {' x '.join(str(n) for n in size if n > 1)} pixels.",
            "Give a volume with all slices of the scan.",
        )
    if len(size) != 3 and not (len(size) == 4 and size[3] == 1):
        frames = size[3] if len(size) == 4 else "several"
        raise InputError(
            "not-3d",
            f"{name} has {len(size)} dimensions ({frames} volumes in one file).",
            "Give one volume, a single time point.",
        )


def _refuse_bad_grid(size: tuple[int, ...], spacing: tuple[float, ...], name: str) -> None:
    """Refuse spacing and size that no scan has."""
    voxels = float(np.prod(np.asarray(size, np.float64)))
    if voxels > _MOST_VOXELS:
        raise InputError(
            "too-large",
            f"The header of {name} promises {' x '.join(map(str, size))} voxels.",
            "Give a CT of at most 2,000 million voxels; such a header is usually damaged.",
        )
    if not all(np.isfinite(s) and THINNEST_MM <= s <= THICKEST_MM for s in spacing):
        raise bad_spacing(name, " x ".join(f"{s:g}" for s in spacing))


def _refuse_bad_direction(geometry: Geometry, name: str) -> None:
    axes = np.reshape(geometry.direction, (3, 3))
    lengths = np.linalg.norm(axes, axis=0)
    finite = bool(np.isfinite(axes).all() and np.isfinite(geometry.origin).all())
    if not finite or np.abs(lengths - 1).max() > 1e-2 or abs(np.linalg.det(axes)) < 0.5:
        raise bad_direction(name)


def _explained(itk_text: str, name: str) -> InputError:
    """One sentence for ITK's page; its own words are matched where they tell the cause apart."""
    if "direction" in itk_text and ("determinant" in itk_text or "orthonormal" in itk_text):
        return bad_direction(name)
    if "spacing" in itk_text or "space directions" in itk_text:
        return bad_spacing(name, "zero or not a number of")
    return unreadable(name)
