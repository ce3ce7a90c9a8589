"""The chest CT: Hounsfield units with their place in the patient, from any usual file to any usual file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .dicom_headers import folder_of, is_dicom_file
from .dicom_volume import read_series
from .geometry import Geometry, resample, to_image
from .hounsfield import to_hounsfield
from .image_file import is_volume_file, opened_or_refused, read_volume, write_image
from .padding import AIR
from .refusals import distance_notes
from .segmentation_file import write_segmentation

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["CT", "Geometry", "read_mask", "resample", "write_image", "write_segmentation"]

LEAST_VOXELS, LEAST_MM = 5, 20.0
"""Along each axis; anything smaller shows no lung."""


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class CT:
    """A CT volume in Hounsfield units.

    Attributes:
        hu: int16 or float32, (z, y, x); not to be changed in place (:meth:`with_hu` makes another CT), since
            what was found in a CT is kept for it.
        geometry: where its voxels lie.
        source: name of the file or folder it came from, never its path nor the patient's identity.
        notes: what the user should know about how it was read, one sentence each.
    """

    hu: NDArray[Any]
    geometry: Geometry
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.hu.shape != self.geometry.shape:
            raise ValueError(f"HU of shape {self.hu.shape} on a grid of shape {self.geometry.shape}")

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        series: str | None = None,
        name: str = "",
        begun: Callable[[], object] = lambda: None,
    ) -> CT:
        """Read NIfTI, NRRD, MetaImage or DICOM.

        Args:
            path: a file (``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd``), a folder of DICOM
                files, or one DICOM file of such a folder.
            series: which DICOM series to take (its number or its UID); None takes the axial CT series with
                most slices.
            name: what to call the CT in messages and reports, where the file is only a copy of what the
                user knows; empty takes the name of the file or folder.
            begun: called when the headers are sound and the voxels are next, which takes longest: what else
                has to be done may then begin.

        Raises:
            InputError: it is not a chest CT in HU; the message says what was seen.
        """
        path = Path(path)
        with opened_or_refused(path, name):
            if path.is_dir() or (path.is_file() and not is_volume_file(path) and is_dicom_file(path)):
                values, geometry, notes = read_series(path, series, begun)
                return cls._checked(values, geometry, name or folder_of(path).name, notes)
            values, geometry, notes = read_volume(path, name, begun)
            name = name or path.name
            _refuse_not_scalar(values, name)
            return cls._checked(values, geometry, name, notes)

    @classmethod
    def from_image(cls, image: sitk.Image, source: str = "image") -> CT:
        """A CT from a SimpleITK image; the same checks and corrections as :meth:`read`.

        Raises:
            InputError: the values are not those of a chest CT in HU.
        """
        import SimpleITK as sitk

        if image.GetDimension() != 3:
            raise InputError("not-3d", f"{source} has {image.GetDimension()} dimensions.", "Give a volume.")
        values = sitk.GetArrayViewFromImage(image)
        _refuse_not_scalar(values, source)
        return cls._checked(values, Geometry.of(image), source, ())

    @classmethod
    def _checked(cls, values: NDArray[Any], geometry: Geometry, source: str, notes: tuple[str, ...]) -> CT:
        """Values that may be anything, as HU at right angles."""
        _refuse_too_small(geometry, source or "The CT")
        notes += distance_notes(max(geometry.spacing), source or "The CT")
        hu, more = to_hounsfield(values, source or "The CT")
        if geometry.is_right_angled:
            return cls(hu, geometry, source, notes + more)
        straight = geometry.right_angled()
        straightened = resample(hu, geometry, straight, order="linear", fill=AIR)
        if hu.dtype == np.int16:
            straightened = np.rint(straightened).astype(np.int16)
        tilted = (
            f"The slices are sheared by {geometry.tilt_degrees:.1f} degrees (tilted gantry); "
            "the CT was resampled to a grid at right angles."
        )
        return cls(straightened, straight, source, (*notes, *more, tilted))

    def to_image(self) -> sitk.Image:
        """The CT as a SimpleITK image (a copy)."""
        return to_image(self.hu, self.geometry)

    def with_hu(self, hu: NDArray[Any]) -> CT:
        """The same scan with other values, e.g. after a correction; the shape must stay."""
        return replace(self, hu=hu)


def read_mask(path: str | Path, geometry: Geometry, name: str = "") -> NDArray[np.bool_]:
    """Read a lung mask onto a CT's grid: every label or segment above 0 counts.

    Args:
        path: a label map or segmentation, ``.seg.nrrd`` with several layers included.
        geometry: the CT's grid; a mask on another grid is resampled (nearest neighbour).
        name: what to call it in a message, e.g. "The lung mask"; empty takes the name of the file.

    Returns:
        bool (z, y, x) on ``geometry``.

    Raises:
        InputError: not readable, empty, or without a common voxel with the CT.
    """
    path = Path(path)
    with opened_or_refused(path, name):
        values, own, _ = read_volume(path, name)
    name = name or f"The mask {path.name}"
    mask: NDArray[np.bool_] = np.asarray(values > 0 if values.ndim == 3 else (values > 0).any(axis=-1))
    if not mask.any():
        raise InputError("empty-mask", f"{name} marks no voxel.", "Give a mask of the lungs.")
    if not own.same_grid(geometry):
        mask = resample(mask, own, geometry, order="nearest", fill=0)
        if not mask.any():
            raise InputError(
                "mask-elsewhere",
                f"{name} has no voxel in common with the CT.",
                "Give a mask drawn on this CT.",
            )
    return mask


def _refuse_too_small(geometry: Geometry, name: str) -> None:
    extent = [n * s for n, s in zip(geometry.size, geometry.spacing, strict=True)]
    if min(geometry.size) < LEAST_VOXELS or min(extent) < LEAST_MM:
        raise InputError(
            "too-small",
            f"{name} is too small for lungs: {' x '.join(map(str, geometry.size))} voxels, "
            f"{' x '.join(f'{e:.0f}' for e in extent)} mm.",
            f"Give at least {LEAST_VOXELS} voxels and {LEAST_MM:g} mm along each axis.",
        )


def _refuse_not_scalar(values: NDArray[Any], name: str) -> None:
    """Refuse values that are not one real number a voxel."""
    if values.ndim == 3 and values.dtype.kind != "c":
        return
    several = f"{values.shape[-1]} numbers a voxel, like a colour picture"
    seen = "complex numbers" if values.ndim == 3 else several
    raise InputError("not-scalar", f"{name} holds {seen}.", "Give a CT with one value in HU a voxel.")
