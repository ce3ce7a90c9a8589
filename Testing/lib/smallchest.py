"""A very small chest CT, and writers that lay it out as the files a hospital might hand over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filewriter import validate_file_meta
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SPACING = 5.0
"""mm between voxels along every axis."""

QUICK_SPACING = 3.5
"""mm in :func:`quick_image`: two lungs of 262 ml, a third of the voxels that the whole path works on."""


def chest(slices: int = 24, seed: int = 0) -> np.ndarray:
    """HU int16 (slices, 64, 64): a body of 40 HU, two lungs of -850, a spine of 400, noise of 20 HU."""
    z, y, x = np.mgrid[:slices, :64, :64]
    hu = np.full((slices, 64, 64), -1000.0)
    hu[(x - 32) ** 2 / 28**2 + (y - 32) ** 2 / 22**2 < 1] = 40
    for centre in (19, 45):
        hu[
            (x - centre) ** 2 / 9**2 + (y - 30) ** 2 / 15**2 + (z - slices / 2) ** 2 / (0.45 * slices) ** 2
            < 1
        ] = -850
    hu[(x - 32) ** 2 + (y - 48) ** 2 < 16] = 400
    return np.rint(hu + np.random.default_rng(seed).normal(0, 20, hu.shape)).astype(np.int16)


def image(
    values: np.ndarray,
    spacing: Sequence[float] = (SPACING, SPACING, SPACING),
    origin: Sequence[float] = (-160.0, -160.0, 0.0),
    direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> sitk.Image:
    """A SimpleITK image of an array (z, y, x)."""
    made = sitk.GetImageFromArray(values)
    made.SetSpacing([float(s) for s in spacing])
    made.SetOrigin([float(o) for o in origin])
    made.SetDirection([float(d) for d in direction])
    return made


def quick_image(values: np.ndarray | None = None) -> sitk.Image:
    """The chest, or another array, as an image of small lungs, for tests that take the whole path."""
    return image(chest() if values is None else values, spacing=(QUICK_SPACING,) * 3)


def save(made: sitk.Image, path: Path, *, compressed: bool = False) -> Path:
    """Write an image and return its path."""
    sitk.WriteImage(made, str(path), useCompression=compressed)
    return path


def write_dicom(
    folder: Path,
    hu: np.ndarray,
    *,
    positions: Sequence[float] | None = None,
    shift: Sequence[float] = (0.0, 0.0),
    number: int = 1,
    slope: float = 1.0,
    intercept: float = -1024.0,
    first_instance: int = 1,
    uid: str | None = None,
    **tags: Any,
) -> Path:
    """Write a CT series, one file a slice, as a scanner would.

    Args:
        folder: made where it is absent.
        hu: (slice, row, column) in HU, or in the modality's own values.
        positions: z of each slice in mm; every SPACING from 0 by default.
        shift: mm in x and y by which each slice moves per mm of z, as a tilted gantry's does.
        number: series number; it also names the files.
        slope, intercept: of the stored values.
        first_instance: instance number of the first slice.
        uid: SeriesInstanceUID; a new one by default.
        tags: further tags by keyword, e.g. ``Modality="MR"``; they overwrite the usual ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = uid or generate_uid()
    places = np.arange(len(hu)) * SPACING if positions is None else positions
    for k, (plane, z) in enumerate(zip(hu, places, strict=True)):
        path = folder / f"{number:02d}-{first_instance + k:03d}.dcm"
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False)
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        ds.PatientName, ds.PatientID = "Doe^Jane", "4711"
        ds.Modality = "CT"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", series
        ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = number, first_instance + k, 1
        ds.ImagePositionPatient = [-160 + shift[0] * z, -160 + shift[1] * z, float(z)]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [SPACING, SPACING], SPACING
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        for keyword, value in tags.items():
            setattr(ds, keyword, value)
        ds.PixelData = np.rint((plane - intercept) / slope).astype("<i2").tobytes()
        validate_file_meta(meta)  # adds what a conforming file must have, in pydicom 2 and 3 alike
        ds.save_as(path)
    return folder


def edit_dicom(path: Path, **tags: Any) -> None:
    """Change tags of one DICOM file in place."""
    ds = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
