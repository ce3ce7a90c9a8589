"""Which CT series lie in a folder of DICOM files, and which one is meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .dicom_headers import Header, folder_of, headers

LEAST_SLICES = 5
SAME_PLACE_MM = 0.01

_ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


@dataclass(frozen=True)
class Series:
    """The slices of one CT series that share plane and size, sorted along their normal.

    Attributes:
        number: what the user sees and gives: the series number, with a letter where several volumes share it.
        slices: at least one, all with their place in the patient.
    """

    number: str
    slices: tuple[Header, ...]

    @property
    def uid(self) -> str:
        """SeriesInstanceUID; never shown, since it can be traced to the patient."""
        return self.slices[0].series_uid

    @property
    def normal(self) -> NDArray[np.float64]:
        """LPS unit vector at right angles to the slices."""
        return _normal(self.slices[0])

    @property
    def positions(self) -> NDArray[np.float64]:
        """LPS mm of each slice's first voxel, (slices, 3)."""
        return np.array([s.position for s in self.slices])

    @property
    def along(self) -> NDArray[np.float64]:
        """Position of each slice along the normal, mm, ascending."""
        return np.asarray(self.positions @ self.normal)

    @property
    def is_axial(self) -> bool:
        """Whether the slices cross the body, within 37 degrees."""
        return abs(float(self.normal[2])) > 0.8

    @property
    def is_primary(self) -> bool:
        """False for what was computed from other images (reformats, projections)."""
        return "SECONDARY" not in self.slices[0].kinds

    @property
    def is_whole(self) -> bool:
        """Whether every slope and intercept is a whole number, so that HU fit int16."""
        return all(value.is_integer() for s in self.slices for value in s.rescale)

    def __str__(self) -> str:
        gap = float(np.median(np.diff(self.along)))
        kernel = f", kernel {self.slices[0].kernel}" if self.slices[0].kernel else ""
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
    objects = list(headers(folder, deep=whole))
    if not whole:
        own = [o for o in objects if o.path.name == path.name]
        if not own:
            raise InputError("unreadable", f"{path.name} is not a readable DICOM file.", "Give another one.")
        wanted = wanted or own[0].series_uid
    series = _volumes(objects, folder.name)
    asked = [s for s in series if wanted in (None, s.uid, s.number, s.number.rstrip("abcdefgh"))]
    if not asked:
        seen = (
            f"{folder.name} holds no CT series {wanted}"
            if whole
            else f"{path.name} is no part of a CT volume"
        )
        raise InputError("no-such-series", f"{seen}.", f"The folder holds CT series {_listed(series)}.")
    chosen = max(asked, key=lambda s: (s.is_axial, s.is_primary, len(s.slices)))
    if len(series) == 1:
        return chosen, ()
    return chosen, (f"The folder holds CT series {_listed(series)}; series {chosen.number} was read.",)


def _listed(series: Iterable[Series]) -> str:
    return ", ".join(str(s) for s in series)


def _volumes(objects: Sequence[Header], folder: str) -> list[Series]:
    """Every CT series of at least LEAST_SLICES slices, numbered uniquely."""
    if not objects:
        raise InputError(
            "no-images",
            f"The folder {folder} holds no DICOM images.",
            "Give a folder of DICOM files, or a NIfTI, NRRD or MetaImage file itself.",
        )
    kinds = Counter(o.modality for o in objects)
    if "CT" not in kinds:
        seen = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        raise InputError(
            "not-ct", f"{folder} holds no CT but DICOM objects of modality {seen}.", "Give a chest CT."
        )
    if any(o.sop_class == _ENHANCED_CT for o in objects):
        raise InputError(
            "multi-frame",
            f"{folder} holds an enhanced (multi-frame) CT object.",
            "Convert it to NIfTI or to classic CT slices, for example with dcm2niix.",
        )
    groups: dict[tuple[object, ...], list[Header]] = {}
    for one in objects:
        if one.is_ct_slice:
            groups.setdefault(_plane(one), []).append(one)
    whole = [s for group in groups.values() for s in _by_acquisition(group)]
    series = [s for s in whole if len(s.slices) >= LEAST_SLICES and np.ptp(s.along) > SAME_PLACE_MM]
    if not series:
        raise InputError(
            "no-volume",
            f"{folder} holds {kinds['CT']} CT images but no series of at least {LEAST_SLICES} slices.",
            "Give the folder with all slices of the scan; localizers and single pictures are no volume.",
        )
    return _uniquely_numbered(series)


def _normal(one: Header) -> NDArray[np.float64]:
    return np.cross(one.axes[:3], one.axes[3:])


def _plane(one: Header) -> tuple[object, ...]:
    """What the slices of one volume have in common; rounded as different exports round."""
    axes = tuple(round(v, 3) for v in one.axes)
    return (one.series_uid, axes, tuple(round(v, 4) for v in one.spacing), one.shape)


def _sorted(slices: Iterable[Header]) -> Series:
    ordered = sorted(slices, key=lambda s: (round(float(_normal(s) @ s.position), 3), s.instance, s.path))
    return Series(ordered[0].series_number, tuple(ordered))


def _by_acquisition(slices: Sequence[Header]) -> list[Series]:
    """One series, or several where passes of the scanner cover the same places (phases of contrast)."""
    together = _sorted(slices)
    repeated = bool((np.diff(together.along) < SAME_PLACE_MM).any())
    passes = sorted({s.acquisition for s in slices})
    if len(passes) == 1 or not repeated:
        return [together]
    parts = [_sorted(s for s in slices if s.acquisition == one) for one in passes]
    return parts if all(len(p.slices) >= LEAST_SLICES for p in parts) else [together]


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
