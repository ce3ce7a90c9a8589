"""Which CT series lie in a folder of DICOM files, and which one is meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .dicom_headers import Header, folder_of, headers
from .dicom_kinds import flaw, in_words, is_ct
from .dicom_passes import LEAST_SLICES, SAME_PLACE_MM, along, common_axes, passes, planes

_UNITS_OF_CT = ("", "HU", "US", "HU_MOD")
_MATERIALS = (
    "IODIN", "CALCIUM", "URIC", "WATER", "MAT_SPECIFIC", "MAT_FRACTION", "MAT_VALUE", "ELECTRON_DENS",
    "EFF_ATOMIC", "ZEFF", "Z_EFF", "RHO_Z", "PERFUSION", "COLOR",
)  # fmt: skip
"""In ImageType: a map of something that is not Hounsfield units."""

_COMPUTED = ("MONO", "VMI", "VNC", "VIRTUAL", "MAT_REMOVED", "MAT_MODIFIED", "IODIN", "MIP", "MINIP")
"""In ImageType or in the description: a picture of one energy, without contrast or of projections."""

_ENERGY = re.compile(r"(\d+) ?KEV")
_USUAL_KEV = range(60, 81)
"""What looks like an ordinary scan."""


@dataclass(frozen=True)
class Series:
    """The slices of one CT volume, sorted along their normal.

    Attributes:
        number: what the user sees and gives: the series number, with letters where several volumes share it.
        series_number: the number alone.
        slices: at least one, all with their place in the patient.
    """

    number: str
    series_number: str
    slices: tuple[Header, ...]

    @property
    def uid(self) -> str:
        """SeriesInstanceUID; never shown, since it can be traced to the patient."""
        return self.slices[0].series_uid

    @property
    def axes(self) -> NDArray[np.float64]:
        """LPS unit vectors along which column and row index grow, (2, 3), at right angles."""
        return common_axes(self.slices)

    @property
    def normal(self) -> NDArray[np.float64]:
        """LPS unit vector at right angles to the slices."""
        return np.cross(*self.axes)

    @property
    def positions(self) -> NDArray[np.float64]:
        """LPS mm of each slice's first voxel, (slices, 3)."""
        return np.array([s.position for s in self.slices])

    @property
    def along(self) -> NDArray[np.float64]:
        """Position of each slice along the normal, mm, ascending."""
        return along(self.slices, self.normal)

    @property
    def gap(self) -> float:
        """mm from one slice to the next, as most are."""
        steps = np.diff(self.along)
        return float(np.median(steps[steps >= SAME_PLACE_MM]))

    @property
    def is_axial(self) -> bool:
        """Whether the slices cross the body, within 37 degrees."""
        return abs(float(self.normal[2])) > 0.8

    @property
    def is_in_hu(self) -> bool:
        """False for what says that it maps a material or a property other than attenuation."""
        first = self.slices[0]
        named = any(material in kind for kind in first.kinds for material in _MATERIALS)
        return first.unit in _UNITS_OF_CT and not named

    @property
    def is_plain(self) -> bool:
        """False for one of the computed pictures of a spectral scan, and for projections."""
        first = self.slices[0]
        said = " ".join((*first.kinds[2:], first.description.upper()))
        energy = _ENERGY.search(said)
        if energy:
            return int(energy[1]) in _USUAL_KEV
        return not any(word in said for word in _COMPUTED)

    @property
    def is_primary(self) -> bool:
        """False for what was computed from other images (reformats, projections)."""
        return "SECONDARY" not in self.slices[0].kinds

    def __str__(self) -> str:
        kernel = f", kernel {self.slices[0].kernel}" if self.slices[0].kernel else ""
        taken = self.slices[0].acquisition if self.number != self.series_number else ""
        acquisition = f", acquisition {taken}" if taken else ""
        unit = "" if self.is_in_hu else ", not in HU"
        plane = "" if self.is_axial else ", not axial"
        about = f"{len(self.slices)} slices every {self.gap:.3g} mm{kernel}{acquisition}{unit}{plane}"
        return f"{self.number} ({about})"


def choose_series(path: Path, wanted: str | None) -> tuple[Series, tuple[str, ...]]:
    """The CT series that is meant by a path, and notes on the choice and on what was passed over.

    Args:
        path: a folder, searched with its subfolders, or the DICOMDIR in it; or one DICOM file, which stands
            for the series it belongs to.
        wanted: series number or UID; None takes, of the axial primary series in HU, an original one with most
            slices, the thinnest of equals.

    Raises:
        InputError: no DICOM, no CT, no series that is a volume in HU, or not the one that is wanted.
    """
    folder = folder_of(path)
    whole = path.is_dir() or path.name.upper() == "DICOMDIR"
    found = list(headers(folder, deep=whole))
    objects = [one for one in found if one is not None]
    if not whole and all(one.path.name != path.name for one in objects):
        raise InputError("unreadable", f"{path.name} is not a readable DICOM file.", "Give another one.")
    series, left = _volumes(objects, found.count(None), folder.name)
    asked = series
    if wanted is not None:
        asked = [s for s in series if wanted in (s.uid, s.number, s.series_number)]
    elif not whole:
        asked = [s for s in series if any(one.path.name == path.name for one in s.slices)]
    if not asked:
        seen = f"{path.name} is no part of a CT volume"
        if wanted is not None:
            seen = f"{folder.name} holds no CT series {wanted}"
        raise InputError("no-such-series", f"{seen}.", f"The folder holds CT series {_listed(series)}.")
    chosen = max(asked, key=_rank(asked))
    if not chosen.is_in_hu:
        raise InputError(
            "not-hu",
            f"Series {chosen.number} of {folder.name} maps a material or another property, not HU.",
            "Give the series in Hounsfield units of the same scan.",
        )
    notes = []
    patients = len({one.patient for s in series for one in s.slices if one.patient})
    if patients > 1:
        notes.append(f"The folder holds scans of {patients} patients; only series {chosen.number} was read.")
    if len(series) > 1:
        notes.append(f"The folder holds CT series {_listed(series)}; series {chosen.number} was read.")
    if whole and left:
        notes.append(f"Passed over beside it: {left}.")
    lent = sum(one.axes_lent for one in chosen.slices)
    if lent:
        notes.append(
            f"{lent} of {len(chosen.slices)} slices say nothing of their orientation; "
            "that of the others was taken."
        )
    return chosen, tuple(notes)


def _rank(among: Sequence[Series]) -> Callable[[Series], tuple[object, ...]]:
    """How well a series of these serves: the best one is the greatest."""
    lengths = [float(np.ptp(s.along)) for s in among if s.is_in_hu and s.is_axial and s.is_primary]
    enough = 0.5 * max(lengths, default=0.0)

    def rank(s: Series) -> tuple[object, ...]:
        # A few original slices, as of a watched bolus, are no match for a whole scan.
        covers = float(np.ptp(s.along)) >= enough
        usual = (s.is_in_hu, s.is_axial, s.is_primary, s.is_plain, covers)
        return (*usual, "ORIGINAL" in s.slices[0].kinds, len(s.slices), -s.gap)

    return rank


def _listed(series: Iterable[Series]) -> str:
    return ", ".join(str(s) for s in series)


def _volumes(objects: Sequence[Header], damaged: int, folder: str) -> tuple[list[Series], str]:
    """Every CT series of at least LEAST_SLICES slices, numbered uniquely; and in words what else is there."""
    if not objects:
        seen = f"no DICOM images but {damaged} damaged DICOM files" if damaged else "no DICOM images"
        raise InputError(
            "no-images",
            f"The folder {folder} holds {seen}.",
            "Give a folder of DICOM files, or a NIfTI, NRRD or MetaImage file itself.",
        )
    if not any(is_ct(one) for one in objects):
        raise InputError(
            "not-ct", f"{folder} holds no CT but {in_words(objects, damaged)}.", "Give a chest CT."
        )
    # Cut copies beside the whole slice are passed over; one that stands alone is refused when it is read.
    whole = {(one.series_uid, one.position) for one in objects if not one.is_cut}
    cut = {one.path for one in objects if one.is_cut and (one.series_uid, one.position) in whole}
    objects = [one for one in objects if one.path not in cut]
    damaged += len(cut)
    groups: dict[str, list[Header]] = {}
    for one in objects:
        if is_ct(one) and not flaw(one):
            groups.setdefault(one.series_uid, []).append(one)
    series = [s for group in groups.values() for own in _by_patient(group) for s in _series(own)]
    taken = {(one.path, one.frame) for s in series for one in s.slices}
    rest = [one for one in objects if (one.path, one.frame) not in taken]
    left = in_words(rest, damaged)
    if not series:
        raise InputError(
            "no-volume",
            f"{folder} holds no series of at least {LEAST_SLICES} CT slices, but {left}.",
            "Give the folder with all slices of the scan; localizers and single pictures are no volume.",
        )
    return _uniquely_numbered(series), left


def _by_patient(slices: Sequence[Header]) -> list[list[Header]]:
    """Slices that share a series UID, apart by patient: careless exports give several patients one UID."""
    patients = sorted({one.patient for one in slices})
    if len([patient for patient in patients if patient]) < 2:  # without an ID it may be anybody's slice
        return [list(slices)]
    return [[one for one in slices if one.patient == patient] for patient in patients]


def _series(slices: Sequence[Header]) -> list[Series]:
    """The volumes of one series."""
    parts = [(part, np.cross(*common_axes(plane))) for plane in planes(slices) for part in passes(plane)]
    return [
        Series(part[0].series_number, part[0].series_number, tuple(part))
        for part, normal in parts
        if len(part) >= LEAST_SLICES and np.ptp(along(part, normal)) > SAME_PLACE_MM
    ]


def _uniquely_numbered(series: Sequence[Series]) -> list[Series]:
    """Sorted by number; volumes that share one get letters."""
    counts = Counter(s.series_number for s in series)
    used: Counter[str] = Counter()
    named: list[Series] = []
    for s in sorted(series, key=lambda s: (len(s.series_number), s.series_number, s.uid)):
        letters = _letters(used[s.series_number]) if counts[s.series_number] > 1 else ""
        used[s.series_number] += 1
        named.append(replace(s, number=s.series_number + letters))
    return named


def _letters(position: int) -> str:
    """a to z, then aa, ab, ..., as a spreadsheet names its columns."""
    letters = chr(ord("a") + position % 26)
    return _letters(position // 26 - 1) + letters if position >= 26 else letters
