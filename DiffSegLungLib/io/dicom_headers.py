"""The DICOM objects of a folder, slice by slice: the tags that matter, from classic or enhanced files."""

from __future__ import annotations

import filecmp
import math
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes whose pixels lie in the file as they are."""

_MOST_FILES = 20_000
_SLICE = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "FrameType", "SeriesInstanceUID",
    "SeriesNumber", "SeriesDescription", "AcquisitionNumber", "FrameAcquisitionNumber", "InstanceNumber",
    "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "ConvolutionKernel", "SamplesPerPixel", "PatientID",
)  # fmt: skip
_PASS = (
    "StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber", "AcquisitionUID", "IrradiationEventUID",
    "AcquisitionNumber", "FrameAcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase", "StackID", "ConvolutionKernel", "FilterType", "SliceThickness",
    "KVP", "SeriesDescription", "AcquisitionDateTime", "AcquisitionTime", "FrameAcquisitionDateTime",
)  # fmt: skip
"""What may differ between two passes of the scanner, or two computations, that share one series."""

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_TAGS = [*dict.fromkeys((*_SLICE, *_PASS, *_GROUPS, "NumberOfFrames", "BitsAllocated", "ConcatenationUID"))]
_WANTED = frozenset((*_SLICE, *_PASS))
_OTHER_SUFFIXES = {
    ".txt", ".csv", ".json", ".xml", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".md", ".py", ".zip",
    ".gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".raw",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What is needed of one slice, or of one DICOM object that is none; numbers it lacks are empty tuples.

    Attributes:
        path: its file.
        frame: its place in a file of many frames; 0 in a file of one.
        sop_class: what kind of object it is, a UID; may be empty.
        modality: "CT", "MR", ...; empty where the tag is missing.
        kinds: the parts of ImageType, or of the frame's own type, upper case.
        patient: PatientID; may be empty, and is never shown.
        series_uid, series_number: where it belongs.
        description: of the series; may name the patient, so it is never shown.
        acquisition: number of the scanner's pass; may be empty.
        marks: everything by which passes that share a series may be told apart.
        instance: its number within the series; only an order among equals.
        shape: rows and columns.
        spacing: mm between rows and between columns.
        position: LPS mm of the centre of its first voxel.
        axes: LPS unit vectors along which the column index and the row index grow, six numbers.
        rescale: slope and intercept; None where the file says nothing of an intercept.
        unit: what slope and intercept lead to, RescaleType; empty or "HU" in a CT.
        kernel: reconstruction kernel.
        samples: numbers a voxel.
        is_cut: whether its file is shorter than its pixels.
        axes_lent: whether the axes are those of its neighbours, since it says nothing of its own.
    """

    path: Path
    frame: int
    sop_class: str
    modality: str
    kinds: tuple[str, ...]
    patient: str
    series_uid: str
    series_number: str
    description: str
    acquisition: str
    marks: tuple[str, ...]
    instance: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    position: tuple[float, ...]
    axes: tuple[float, ...]
    rescale: tuple[float, float] | None
    unit: str
    kernel: str
    samples: int
    is_cut: bool
    axes_lent: bool = False


def damages() -> tuple[type[Exception], ...]:
    """What pydicom and its neighbours raise where a file is damaged."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (
        InvalidDicomError, BytesLengthException, NotImplementedError, AttributeError, LookupError, TypeError,
        ValueError, OverflowError, EOFError, OSError, struct.error,
    )  # fmt: skip


def is_dicom_file(path: Path) -> bool:
    """Whether a file starts as DICOM files do, with preamble or (old archives) without, or is named so."""
    with path.open("rb") as stream:
        start = stream.read(132)
    return start[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".ima", ".dicom") or _is_data_set(start)


def _is_data_set(start: bytes) -> bool:
    """Whether bytes are a first tag of group 2 or 8, then its type or its short length."""
    if len(start) < 16:
        return False
    group, element, length = struct.unpack("<HHI", start[:8])
    named = start[4:6].isalpha() and start[4:6].isupper()
    return group in (2, 8) and element <= 0x20 and (named or 0 < length <= 256)


def folder_of(path: Path) -> Path:
    """The folder that a path stands for; links are kept, since archives scatter what they point to."""
    return path.resolve() if path.is_dir() else path.absolute().parent


def headers(folder: Path, *, deep: bool) -> Iterator[Header | None]:
    """The header of every slice and every other object, each file once however often it was copied.

    Args:
        folder: where to look.
        deep: whether in its subfolders, too.

    Yields:
        A header for each slice or object; None for each DICOM file that is damaged.

    Raises:
        InputError: ``too-many-files``.
    """
    import pydicom

    damaged = damages()
    seen: dict[tuple[object, ...], list[Path]] = {}
    for path in _files(folder, deep=deep):
        try:
            if not is_dicom_file(path):
                continue
            with warnings.catch_warnings():
                # pydicom quotes tags that stray from the standard: of no use, and they may name the patient.
                warnings.simplefilter("ignore")
                dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
                slices = _headers_in(path, dataset)
            # Careless anonymisers give different slices one UID: only a file of the same bytes is a copy.
            own = (str(dataset.get("SOPInstanceUID") or ""), slices[0].instance, slices[0].position)
            if any(filecmp.cmp(path, other, shallow=False) for other in seen.get(own, ())):
                continue
            seen.setdefault(own, []).append(path)
        except damaged:
            yield None
            continue
        yield from slices


def _headers_in(path: Path, dataset: Dataset) -> list[Header]:
    """One header for each frame; raises what pydicom raises where the file is damaged."""
    whole = _values(dataset)
    if not (whole.get("SOPClassUID") or whole.get("Modality")):
        raise ValueError("no DICOM object")
    is_cut = _is_cut(path, dataset)
    frames = dataset.get(_GROUPS[1])
    count = int(dataset.get("NumberOfFrames") or 1)
    if not frames:
        if count > 1:  # a film: one place cannot be that of all its frames
            whole.pop("ImagePositionPatient", None)
        return [_header(path, 0, "", whole, is_cut)]
    if len(frames) != count:
        raise ValueError("frames without a description")
    # The parts of one large object, and what the frames of another one have in common.
    own = str(dataset.get("ConcatenationUID") or dataset.get("SOPInstanceUID") or path.name)
    shared = whole | _grouped(*(dataset.get(_GROUPS[0]) or ())[:1])
    return [_header(path, k, own, shared | _grouped(frame), is_cut) for k, frame in enumerate(frames)]


def _is_cut(path: Path, dataset: Dataset) -> bool:
    """Whether a file without compression is shorter than the pixels that it promises."""
    if str(dataset.file_meta.get("TransferSyntaxUID") or PLAIN[0]) not in PLAIN:
        return False
    sizes = [int(dataset.get(tag) or 0) for tag in ("Rows", "Columns", "BitsAllocated")]
    return path.stat().st_size < math.prod(sizes) * int(dataset.get("NumberOfFrames") or 1) // 8


def _values(dataset: Dataset) -> dict[str, Any]:
    """The wanted elements that have a value, by keyword."""
    found = {element.keyword: element.value for element in dataset if element.keyword in _WANTED}
    return {keyword: value for keyword, value in found.items() if value not in (None, "")}


def _grouped(*groups: Dataset) -> dict[str, Any]:
    """The wanted elements of functional groups: each of these is a sequence of one item."""
    found: dict[str, Any] = {}
    for group in groups:
        for element in group:
            if element.VR == "SQ" and element.value:
                found |= _values(element.value[0])
    return found


def _header(path: Path, frame: int, multiframe: str, tags: Mapping[str, Any], is_cut: bool) -> Header:
    def several(tag: str) -> tuple[Any, ...]:
        value = tags.get(tag)
        return () if value is None else (value,) if isinstance(value, (str, int, float)) else tuple(value)

    def text(tag: str) -> str:
        return "/".join(str(v) for v in several(tag))

    def numbers(tag: str) -> tuple[float, ...]:
        return tuple(float(v) for v in several(tag))

    def number(tag: str, default: float) -> float:
        return (*numbers(tag), default)[0]

    axes = numbers("ImageOrientationPatient")
    kinds = tuple(str(part).strip().upper() for part in several("FrameType") or several("ImageType"))
    return Header(
        path=path,
        frame=frame,
        sop_class=text("SOPClassUID"),
        modality=text("Modality"),
        kinds=kinds,
        patient=text("PatientID"),
        series_uid=text("SeriesInstanceUID"),
        series_number=text("SeriesNumber") or "0",
        description=text("SeriesDescription"),
        acquisition=text("FrameAcquisitionNumber") or text("AcquisitionNumber"),
        marks=(multiframe, "/".join(kinds), *map(text, _PASS)),
        instance=int(number("InstanceNumber", 0)),
        shape=tuple(int(n) for n in (*numbers("Rows"), *numbers("Columns"))),
        spacing=_usable(numbers("PixelSpacing"), 2),
        position=_usable(numbers("ImagePositionPatient"), 3),
        axes=axes if len(_usable(axes, 6)) and _spans_a_plane(axes) else (),
        rescale=(number("RescaleSlope", 1.0), number("RescaleIntercept", 0.0))
        if numbers("RescaleIntercept")
        else None,
        unit=text("RescaleType").strip().upper(),
        kernel=text("ConvolutionKernel"),
        samples=int(number("SamplesPerPixel", 1)),
        is_cut=is_cut,
    )


def _usable(numbers: tuple[float, ...], count: int) -> tuple[float, ...]:
    """The numbers, where there are as many as there should be and all are finite."""
    return numbers if len(numbers) == count and bool(np.isfinite(numbers).all()) else ()


def _spans_a_plane(axes: tuple[float, ...]) -> bool:
    return bool(np.linalg.norm(np.cross(axes[:3], axes[3:])) > 0.99)


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
