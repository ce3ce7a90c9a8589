"""The chest CT: Hounsfield units with their place in the patient, from any usual file to any usual file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .geometry import Geometry, resample, to_image
from .hounsfield import without_padding
from .imagefile import write_image
from .segfile import write_segmentation

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["CT", "Geometry", "read_mask", "resample", "write_image", "write_segmentation"]


@dataclass(frozen=True)
class CT:
    """A CT volume in Hounsfield units.

    Attributes:
        hu: int16 or float32, (z, y, x).
        geometry: where its voxels lie.
        source: name of the file or folder it came from, never a path nor a patient's identity.
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
    def read(cls, path: str | Path, *, series: str | None = None) -> CT:
        """Read NIfTI, NRRD, MetaImage or DICOM.

        Args:
            path: a file (``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd``), a folder of DICOM
                files, or one DICOM file of such a folder.
            series: which DICOM series to take (its number or its UID); None takes the axial CT series with
                most slices.

        Raises:
            InputError: it is not a chest CT in HU; the message says what was seen.
        """
        import SimpleITK as sitk

        path = Path(path)
        if not path.exists():
            raise InputError(
                "no-such-file", f"There is no file or folder named {path.name}.", "Check the path."
            )
        ct = cls.from_image(sitk.ReadImage(str(path)))
        return replace(ct, source=path.name)

    @classmethod
    def from_image(cls, image: sitk.Image) -> CT:
        """A CT from a SimpleITK image in HU; padding becomes air."""
        import SimpleITK as sitk

        hu = sitk.GetArrayFromImage(image)
        hu, notes = without_padding(hu if hu.dtype == np.int16 else hu.astype(np.float32))
        return cls(hu, Geometry.of(image), notes=notes)

    def to_image(self) -> sitk.Image:
        """The CT as a SimpleITK image (a copy)."""
        return to_image(self.hu, self.geometry)

    def with_hu(self, hu: NDArray[Any]) -> CT:
        """The same scan with other values, e.g. after a correction; the shape must stay."""
        return replace(self, hu=hu)


def read_mask(path: str | Path, geometry: Geometry) -> NDArray[np.bool_]:
    """Read a lung mask onto a CT's grid: every label or segment above 0 counts.

    Args:
        path: a label map or segmentation (``.seg.nrrd`` included).
        geometry: the CT's grid; a mask on another grid is resampled.

    Returns:
        bool (z, y, x) on ``geometry``.

    Raises:
        InputError: not readable, empty, or without a common voxel with the CT.
    """
    import SimpleITK as sitk

    path = Path(path)
    if not path.exists():
        raise InputError(
            "no-such-file", f"There is no file named {path.name}.", "Check the path of the mask."
        )
    image = sitk.ReadImage(str(path))
    own = Geometry.of(image)
    mask: NDArray[np.bool_] = sitk.GetArrayViewFromImage(image) > 0
    if not mask.any():
        raise InputError("empty-mask", f"The mask {path.name} is empty.", "Give a mask that marks the lungs.")
    if not own.same_grid(geometry):
        mask = resample(mask, own, geometry, order="nearest", fill=0)
    if not mask.any():
        raise InputError(
            "mask-elsewhere",
            f"The mask {path.name} has no voxel in common with the CT.",
            "Give a mask drawn on this CT.",
        )
    return mask
