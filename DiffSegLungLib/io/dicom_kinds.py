"""What the DICOM objects of a folder are: CT slices, other images, documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .dicom_headers import Header, headers

_IMAGES = "1.2.840.10008.5.1.4.1.1."
_CT_IMAGES = (_IMAGES + "2", _IMAGES + "2.1", _IMAGES + "2.2")
"""Classic slices, enhanced and legacy-converted enhanced multi-frame objects."""

_CAPTURES = _IMAGES + "7"
_LARGEST_RESCALE = 1e6
_SINGULAR = {
    "that make": "that makes", "that are localizers": "that is a localizer", "images": "image",
    "objects called CT that are no CT image": "object called CT that is no CT image", "objects": "object",
    "captures": "capture", "files": "file",
}  # fmt: skip
_MODALITY = re.compile(r"[A-Z]{2,10}")
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}


def in_words(objects: Iterable[Header], damaged: int) -> str:
    """What objects are, and how many of each, e.g. "35 objects of modality PT, 1 damaged DICOM file"."""
    kinds = Counter(_kind(one) for one in objects).most_common()
    if damaged:
        kinds.append(("damaged DICOM files", damaged))
    return ", ".join(f"{count} {kind if count > 1 else _singular(kind)}" for kind, count in kinds)


def _singular(kind: str) -> str:
    for many, one in _SINGULAR.items():
        kind = kind.replace(many, one)
    return kind


def what_instead(folder: Path) -> str | None:
    """What DICOM objects lie right in a folder that has no CT slice among them, in words.

    Returns:
        None where there is a CT slice, or where all is damaged: reading it will say in which way. Empty
        where there is no DICOM.

    Raises:
        InputError: ``too-many-files``.
    """
    objects: list[Header] = []
    damaged = 0
    for one in headers(folder, deep=False):
        if one is None:
            damaged += 1
        elif is_ct(one) and not _LOCALIZERS & set(one.kinds):
            return None
        else:
            objects.append(one)
    return None if damaged and not objects else in_words(objects, damaged)


def is_ct(one: Header) -> bool:
    """Whether an object is a CT image by what it says of itself; the modality may have been taken away."""
    if one.modality == "CT":
        return one.sop_class in _CT_IMAGES or not one.sop_class.startswith(_IMAGES)
    return not one.modality and one.sop_class in _CT_IMAGES


def _kind(one: Header) -> str:
    if is_ct(one):
        lacking = "that make no volume" if one.axes else "without ImageOrientationPatient"
        return f"CT images {flaw(one) or lacking}"
    if one.sop_class == _CAPTURES or one.sop_class.startswith(_CAPTURES + "."):
        return "secondary captures"
    if one.modality == "CT":
        return "objects called CT that are no CT images"
    # Two capital letters or a few more; anything else is no modality, and might be somebody's name.
    known = _MODALITY.fullmatch(one.modality)
    return f"objects of modality {one.modality if known else 'unknown'}"


def flaw(one: Header) -> str:
    """Why a CT image is no slice of a volume; empty where nothing speaks against it."""
    slope, intercept = one.rescale or (1.0, 0.0)
    found = {
        "that are localizers": bool(_LOCALIZERS & set(one.kinds)),
        "in colour": one.samples != 1,
        "without rows and columns": len(one.shape) != 2 or min(one.shape) < 1,
        "without PixelSpacing": not one.spacing or min(one.spacing) <= 0,
        "without ImagePositionPatient": not one.position,
        "with a damaged rescale": not (
            0 < abs(slope) < _LARGEST_RESCALE and abs(intercept) < _LARGEST_RESCALE
        ),
    }
    return next((reason for reason, holds in found.items() if holds), "")
