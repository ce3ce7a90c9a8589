"""The DICOM files of a folder, and the tags of them that matter."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MOST_FILES = 20_000
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesNumber",
    "AcquisitionNumber", "InstanceNumber", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "ConvolutionKernel", "SamplesPerPixel",
]  # fmt: skip
_OTHER_SUFFIXES = {
    ".txt", ".csv", ".json", ".xml", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".md", ".py", ".zip",
    ".gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".raw",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What is needed of one DICOM object; numbers that it lacks are empty tuples.

    Attributes:
        path: its file.
        sop_class: what kind of object it is, a UID.
        uid: its own UID.
        modality: "CT", "MR", ...
        kinds: the parts of ImageType, upper case.
        series_uid, series_number, acquisition: where it belongs.
        instance: its number within the series; only an order among equals.
        shape: rows and columns.
        spacing: mm between rows and between columns.
        position: LPS mm of the centre of its first voxel.
        axes: LPS unit vectors along which the column index and the row index grow, six numbers.
        rescale: slope and intercept.
        kernel: reconstruction kernel.
        samples: numbers a voxel.
    """

    path: Path
    sop_class: str
    uid: str
    modality: str
    kinds: frozenset[str]
    series_uid: str
    series_number: str
    acquisition: str
    instance: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    position: tuple[float, ...]
    axes: tuple[float, ...]
    rescale: tuple[float, float]
    kernel: str
    samples: int

    @property
    def is_ct_slice(self) -> bool:
        """A grey CT slice with its place in the patient; localizers and screen captures are none."""
        numbers = (*self.spacing, *self.position, *self.axes, *self.rescale)
        return (
            self.modality == "CT"
            and not self.kinds & {"LOCALIZER", "SCOUT", "TOPOGRAM"}
            and self.samples == 1
            and [len(self.shape), len(self.spacing), len(self.position), len(self.axes)] == [2, 2, 3, 6]
            and bool(np.isfinite(numbers).all())
            and min(self.spacing) > 0
            and bool(np.linalg.norm(np.cross(self.axes[:3], self.axes[3:])) > 0.99)
        )


def is_dicom_file(path: Path) -> bool:
    """Whether a file starts as DICOM files do, or has DICOM's usual suffix."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".ima", ".dicom")


def folder_of(path: Path) -> Path:
    """The folder that a path stands for; links are kept, since archives scatter what they point to."""
    return path.resolve() if path.is_dir() else path.absolute().parent


def headers(folder: Path, *, deep: bool) -> Iterator[Header]:
    """The header of every DICOM object, each SOP instance once; other and damaged files are passed over.

    Args:
        folder: where to look.
        deep: whether in its subfolders, too.

    Raises:
        InputError: ``too-many-files``.
    """
    import pydicom
    from pydicom.errors import BytesLengthException, InvalidDicomError

    damaged = (
        InvalidDicomError, BytesLengthException, NotImplementedError, AttributeError, KeyError, TypeError,
        ValueError, OverflowError, EOFError, OSError, struct.error,
    )  # fmt: skip
    seen: set[str] = set()
    for path in _files(folder, deep=deep):
        # Old archives lack the preamble; pydicom then only reads when forced.
        force = path.suffix.lower() == ".dcm"
        try:
            with warnings.catch_warnings():
                # pydicom quotes tags that stray from the standard: of no use, and they may name the patient.
                warnings.simplefilter("ignore")
                dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=force)
                header = _header(path, dataset)
        except damaged:
            continue
        if header.sop_class and header.uid not in seen:
            seen.add(header.uid)
            yield header


def _header(path: Path, dataset: Dataset) -> Header:
    """The plain values of a data set; raises what pydicom raises where it is damaged."""

    def several(tag: str) -> tuple[Any, ...]:
        value = dataset.get(tag)
        return () if value is None else (value,) if isinstance(value, (str, int, float)) else tuple(value)

    def text(tag: str) -> str:
        return "/".join(str(v) for v in several(tag))

    def numbers(tag: str) -> tuple[float, ...]:
        return tuple(float(v) for v in several(tag))

    def number(tag: str, default: float) -> float:
        return (*numbers(tag), default)[0]

    return Header(
        path=path,
        sop_class=text("SOPClassUID"),
        uid=text("SOPInstanceUID") or str(path),
        modality=text("Modality") or "unknown",
        kinds=frozenset(str(part).upper() for part in several("ImageType")),
        series_uid=text("SeriesInstanceUID"),
        series_number=text("SeriesNumber") or "0",
        acquisition=text("AcquisitionNumber"),
        instance=int(number("InstanceNumber", 0)),
        shape=tuple(int(n) for n in (*numbers("Rows"), *numbers("Columns"))),
        spacing=numbers("PixelSpacing"),
        position=numbers("ImagePositionPatient"),
        axes=numbers("ImageOrientationPatient"),
        rescale=(number("RescaleSlope", 1.0), number("RescaleIntercept", 0.0)),
        kernel=text("ConvolutionKernel"),
        samples=int(number("SamplesPerPixel", 1)),
    )


def _files(folder: Path, *, deep: bool) -> list[Path]:
    """Files that may be DICOM, sorted by name so that the same folder gives the same volume everywhere."""
    found: list[Path] = []
    for path in folder.rglob("*") if deep else folder.iterdir():
        other = path.suffix.lower() in _OTHER_SUFFIXES or path.name.upper() == "DICOMDIR"
        if other or path.name.startswith(".") or not path.is_file():
            continue
        found.append(path)
        if len(found) > _MOST_FILES:
            raise InputError(
                "too-many-files",
                f"{folder.name} holds more than {_MOST_FILES} files.",
                "Give the folder of one scan.",
            )
    return sorted(found)
