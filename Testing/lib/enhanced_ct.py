"""Writers of enhanced (multi-frame) CT, and of other DICOM objects that lie beside a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from smallchest import SPACING

ENHANCED, LEGACY = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"
OTHERS = {
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "SR": "1.2.840.10008.5.1.4.1.1.88.67",
}
"""A segmentation, contours, a dose report."""


def item(**tags: Any) -> list[Dataset]:
    """A sequence of one item."""
    one = Dataset()
    for keyword, value in tags.items():
        setattr(one, keyword, value)
    return [one]


def write_enhanced(
    path: Path,
    hu: np.ndarray,
    *,
    sop_class: str = ENHANCED,
    positions: Sequence[float] | None = None,
    stacks: Sequence[str] | None = None,
    intercepts: Sequence[float] | None = None,
    number: int = 1,
    uid: str | None = None,
    **tags: Any,
) -> Path:
    """Write an enhanced CT object of many frames.

    Args:
        path: its file.
        hu: (frame, row, column).
        sop_class: ENHANCED, or LEGACY, whose frames keep converted attributes in an extra sequence.
        positions: z of each frame in mm; every SPACING by default.
        stacks: StackID (enhanced) or AcquisitionNumber (legacy) of each frame; all "1" by default.
        intercepts: of each frame, in its own functional groups; one of -1024 for all by default.
        number, uid: of the series.
        tags: further tags by keyword.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SeriesNumber = "1.2.3", uid or generate_uid(), number
    ds.Rows, ds.Columns, ds.NumberOfFrames = *hu.shape[1:], len(hu)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[SPACING, SPACING], SliceThickness=SPACING)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    if intercepts is None:
        shared.PixelValueTransformationSequence = item(RescaleSlope=1, RescaleIntercept=-1024)
    ds.SharedFunctionalGroupsSequence = [shared]
    shifts = [-1024.0] * len(hu) if intercepts is None else intercepts
    frames = []
    for k in range(len(hu)):
        z = k * SPACING if positions is None else positions[k]
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[-160, -160, float(z)])
        stack = "1" if stacks is None else stacks[k]
        if sop_class == ENHANCED:
            frame.FrameContentSequence = item(StackID=stack)
        else:
            frame.UnassignedPerFrameConvertedAttributesSequence = item(AcquisitionNumber=int(stack))
        if intercepts is not None:
            frame.PixelValueTransformationSequence = item(RescaleSlope=1, RescaleIntercept=intercepts[k])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    stored = [np.rint(plane - shift).astype("<i2") for plane, shift in zip(hu, shifts, strict=True)]
    ds.PixelData = np.stack(stored).tobytes()
    ds.save_as(path)
    return path


def write_other(path: Path, modality: str) -> Path:
    """Write an object of :data:`OTHERS`: its header, no more."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = OTHERS[modality], generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False)
    ds.SOPClassUID, ds.SOPInstanceUID = OTHERS[modality], meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.PatientName = modality, "Doe^Jane"
    ds.SeriesInstanceUID, ds.SeriesNumber = generate_uid(), 99
    ds.save_as(path)
    return path
