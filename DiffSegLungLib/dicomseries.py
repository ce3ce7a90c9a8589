"""Which CT series lie in a folder of DICOM files, and which one is meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .dicomfiles import folder_of, headers
from .errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LEAST_SLICES = 5

_ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


@dataclass(frozen=True)
class Slice:
    """One image of a series.

    Attributes:
        path: its file.
        position: LPS mm of the centre of its first voxel.
        instance: its number within the series; only an order among equals.
        acquisition: the pass of the scanner it belongs to.
    """

    path: Path
    position: tuple[float, float, float]
    instance: int
    acquisition: str


@dataclass(frozen=True)
class Series:
    """The slices of one CT series that share plane and size, sorted along their normal.

    Attributes:
        uid: SeriesInstanceUID; never shown, since it can be traced to the patient.
        number: what the user sees and gives: the series number, with a letter where several volumes share it.
        slices: sorted by position.
        axes: LPS unit vectors along which the column index and the row index grow (DICOM's order).
        shape: rows and columns.
        spacing: mm between rows and between columns.
        kernel: reconstruction kernel, or "".
        primary: False for what was computed from other images (reformats, projections).
        whole: whether every slope and intercept is a whole number, so that HU fit int16.
    """

    uid: str
    number: str
    slices: tuple[Slice, ...]
    axes: tuple[tuple[float, ...], tuple[float, ...]]
    shape: tuple[int, int]
    spacing: tuple[float, float]
    kernel: str
    primary: bool
    whole: bool

    @property
    def normal(self) -> NDArray[np.float64]:
        """LPS unit vector at right angles to the slices."""
        return np.cross(*self.axes)

    @property
    def is_axial(self) -> bool:
        """Whether the slices cross the body, within 37 degrees."""
        return abs(float(self.normal[2])) > 0.8

    @property
    def along(self) -> NDArray[np.float64]:
        """Position of each slice along the normal, mm, ascending."""
        return np.asarray(np.array([s.position for s in self.slices]) @ self.normal)

    def __str__(self) -> str:
        gap = float(np.median(np.diff(self.along)))
        kernel = f", kernel {self.kernel}" if self.kernel else ""
        plane = "" if self.is_axial else ", not axial"
        return f"{self.number} ({len(self.slices)} slices every {gap:.3g} mm{kernel}{plane})"


def choose_series(path: Path, wanted: str | None) -> tuple[Series, tuple[str, ...]]:
    """The CT series that is meant by a path, and a note where there was a choice.

    Args:
        path: a folder, searched with its subfolders, or the DICOMDIR in it; or one DICOM file, which stands
            for the series it belongs to.
        wanted: series number or UID; None takes the axial primary series with most slices.

    Raises:
        InputError: no DICOM, no CT, no series that is a volume, or not the one that is wanted.
    """
    folder = folder_of(path)
    whole = path.is_dir() or path.name.upper() == "DICOMDIR"
    images = list(headers(folder, deep=whole))
    if not whole:
        own = [h for p, h in images if p.name == path.name]
        if not own:
            raise InputError("unreadable", f"{path.name} is not a readable DICOM file.", "Give another one.")
        wanted = wanted or str(own[0].get("SeriesInstanceUID", ""))
    series = _volumes(images, folder.name)
    asked = [s for s in series if wanted in (None, s.uid, s.number, s.number.rstrip("abcdefgh"))]
    if not asked:
        seen = (
            f"{folder.name} holds no CT series {wanted}"
            if whole
            else f"{path.name} is no part of a CT volume"
        )
        raise InputError("no-such-series", f"{seen}.", f"The folder holds CT series {_listed(series)}.")
    chosen = max(asked, key=lambda s: (s.is_axial, s.primary, len(s.slices)))
    if len(series) == 1:
        return chosen, ()
    return chosen, (f"The folder holds CT series {_listed(series)}; series {chosen.number} was read.",)


def _listed(series: Iterable[Series]) -> str:
    return ", ".join(str(s) for s in series)


def _volumes(images: Sequence[tuple[Path, Dataset]], folder: str) -> list[Series]:
    """Every CT series of at least LEAST_SLICES slices, numbered uniquely."""
    if not images:
        raise InputError(
            "no-images",
            f"The folder {folder} holds no DICOM images.",
            "Give a folder of DICOM files, or a NIfTI, NRRD or MetaImage file itself.",
        )
    kinds = Counter(str(h.get("Modality", "unknown")) for _, h in images)
    if "CT" not in kinds:
        seen = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        raise InputError(
            "not-ct", f"{folder} holds no CT but DICOM objects of modality {seen}.", "Give a chest CT."
        )
    if any(h.get("SOPClassUID") == _ENHANCED_CT for _, h in images):
        raise InputError(
            "multi-frame",
            f"{folder} holds an enhanced (multi-frame) CT object.",
            "Convert it to NIfTI or to classic CT slices, for example with dcm2niix.",
        )
    groups: dict[tuple[object, ...], list[tuple[Path, Dataset]]] = {}
    for path, header in images:
        if _is_slice(header):
            groups.setdefault(_plane(header), []).append((path, header))
    series = [s for members in groups.values() for s in _by_acquisition(_series(members))]
    series = [s for s in series if len(s.slices) >= LEAST_SLICES and np.ptp(s.along) > 0]
    if not series:
        raise InputError(
            "no-volume",
            f"{folder} holds {kinds['CT']} CT images but no series of at least {LEAST_SLICES} slices.",
            "Give the folder with all slices of the scan; localizers and single pictures are no volume.",
        )
    return _uniquely_numbered(series)


def _is_slice(header: Dataset) -> bool:
    """A grey CT slice with its place in the patient; localizers and screen captures are none."""
    kind = {str(part).upper() for part in header.get("ImageType", None) or ()}
    placed = all(
        header.get(tag) is not None and len(header.get(tag)) == count
        for tag, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
    )
    return (
        placed
        and header.get("Modality") == "CT"
        and not kind & {"LOCALIZER", "SCOUT", "TOPOGRAM"}
        and header.get("SamplesPerPixel", 1) == 1
    )


def _plane(header: Dataset) -> tuple[object, ...]:
    """What slices of one volume have in common."""
    return (
        str(header.get("SeriesInstanceUID", "")),
        tuple(round(float(v), 3) for v in header.ImageOrientationPatient),
        tuple(round(float(v), 4) for v in header.PixelSpacing),
        int(header.Rows),
        int(header.Columns),
    )


def _series(members: Sequence[tuple[Path, Dataset]]) -> Series:
    first = members[0][1]
    o = [float(v) for v in first.ImageOrientationPatient]
    scales = [float(h.get(tag, 1) or 0) for _, h in members for tag in ("RescaleSlope", "RescaleIntercept")]
    series = Series(
        uid=str(first.get("SeriesInstanceUID", "")),
        number=str(first.get("SeriesNumber", None) or "0"),
        slices=tuple(
            Slice(
                path,
                tuple(float(v) for v in h.ImagePositionPatient),  # type: ignore[arg-type]  # three, by _is_slice
                int(h.get("InstanceNumber", None) or 0),
                str(h.get("AcquisitionNumber", "")),
            )
            for path, h in members
        ),
        axes=(tuple(o[:3]), tuple(o[3:])),
        shape=(int(first.Rows), int(first.Columns)),
        spacing=(float(first.PixelSpacing[0]), float(first.PixelSpacing[1])),
        kernel="/".join(str(k) for k in _many(first.get("ConvolutionKernel", ""))),
        primary="SECONDARY" not in [str(part).upper() for part in first.get("ImageType", None) or ()],
        whole=all(value.is_integer() for value in scales),
    )
    return replace(series, slices=_in_order(series, series.slices))


def _many(value: object) -> Sequence[object]:
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


def _in_order(series: Series, slices: Iterable[Slice]) -> tuple[Slice, ...]:
    return tuple(
        sorted(slices, key=lambda s: (round(float(series.normal @ s.position), 3), s.instance, s.path))
    )


def _by_acquisition(series: Series) -> list[Series]:
    """Split a series whose passes cover the same places, e.g. two phases of contrast."""
    passes = {s.acquisition for s in series.slices}
    repeated = bool((np.diff(series.along) < 0.01).any())
    if len(passes) == 1 or not repeated:
        return [series]
    parts = [
        replace(series, slices=tuple(s for s in series.slices if s.acquisition == p)) for p in sorted(passes)
    ]
    return parts if all(len(p.slices) >= LEAST_SLICES for p in parts) else [series]


def _uniquely_numbered(series: Sequence[Series]) -> list[Series]:
    """Sorted by number; volumes that share one get letters."""
    counts = Counter(s.number for s in series)
    used: Counter[str] = Counter()
    named: list[Series] = []
    for s in sorted(series, key=lambda s: (len(s.number), s.number, s.uid)):
        letter = chr(ord("a") + used[s.number] % 26) if counts[s.number] > 1 else ""
        used[s.number] += 1
        named.append(replace(s, number=s.number + letter))
    return named
