"""The DICOM files of a folder, and the tags of them that matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

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


def is_dicom_file(path: Path) -> bool:
    """Whether a file starts as DICOM files do, or has DICOM's usual suffix."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".ima", ".dicom")


def folder_of(path: Path) -> Path:
    """The folder that a path stands for; links are kept, since archives scatter what they point to."""
    return path.resolve() if path.is_dir() else path.absolute().parent


def headers(folder: Path, *, deep: bool) -> Iterator[tuple[Path, Dataset]]:
    """The tags of every DICOM image, each SOP instance once; other files are passed over.

    Args:
        folder: where to look.
        deep: whether in its subfolders, too.

    Raises:
        InputError: ``too-many-files``.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    seen: set[str] = set()
    for path in _files(folder, deep=deep):
        try:
            header = pydicom.dcmread(
                path,
                stop_before_pixels=True,
                specific_tags=_TAGS,
                # Old archives lack the preamble; pydicom then only reads when forced.
                force=path.suffix.lower() == ".dcm",
            )
        except (InvalidDicomError, EOFError, ValueError, OSError, NotImplementedError):
            continue
        instance = str(header.get("SOPInstanceUID", path))
        if header.get("SOPClassUID") and instance not in seen:
            seen.add(instance)
            yield path, header


def _files(folder: Path, *, deep: bool) -> list[Path]:
    """Files that may be DICOM, sorted by name so that the same folder gives the same volume everywhere."""
    found: list[Path] = []
    for path in folder.rglob("*") if deep else folder.iterdir():
        other = (
            path.suffix.lower() in _OTHER_SUFFIXES
            or path.name.startswith(".")
            or path.name.upper() == "DICOMDIR"
        )
        if other or not path.is_file():
            continue
        found.append(path)
        if len(found) > _MOST_FILES:
            raise InputError(
                "too-many-files",
                f"{folder.name} holds more than {_MOST_FILES} files.",
                "Give the folder of one scan.",
            )
    return sorted(found)
