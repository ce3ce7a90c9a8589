"""A data folder with a small chest, made-up readings of its slices, and contours beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

LUNG, OTHER_LUNG = [27, 33, 16, 22], [27, 33, 42, 48]
"""Squares [y0, y1, x0, x1] that lie in a lung of the small chest in slices near the twelfth."""

WALL = [12, 16, 30, 34]
"""A square of the chest wall."""

READINGS: dict[str, Any] = {
    "ct/chest.nii.gz": {
        "11": [[*LUNG, "H", ["H", "H+N"]], [*OTHER_LUNG, "C", ["C", "C", "G+C"]], [*WALL, "H", ["H", "H"]]],
        "13": [[*LUNG, "U", ["H", "G"]], [*WALL, "G", ["G", "G"]], [*WALL, "V", ["V", "V"]]],
    }
}
"""Of two healthy squares one lies in the wall, and so it is with two sick ones; two are not scored."""


def make_data(folder: Path, ct: Path, readings: Any = READINGS) -> Path:
    """The data folder: ``ct/chest.nii.gz`` and ``regions/regions.json``, of any content."""
    for name in ("ct", "regions"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ct, folder / "ct" / "chest.nii.gz")
    text = readings if isinstance(readings, str) else json.dumps(readings)
    (folder / "regions" / "regions.json").write_text(text)
    return folder


def add_contours(folder: Path, ct: Path) -> None:
    """``contours/chest_tumour.nii.gz``: label 1 in the lung, label 3 a third of it in the lung."""
    image = sitk.ReadImage(str(ct))
    labels = np.zeros(image.GetSize()[::-1], np.uint8)
    labels[10:14, 27:33, 16:22] = 1
    labels[10:12, 27:33, 42:44] = 3
    labels[10:14, 12:16, 30:33] = 3
    drawn = sitk.GetImageFromArray(labels)
    drawn.CopyInformation(image)
    (folder / "contours").mkdir()
    sitk.WriteImage(drawn, str(folder / "contours" / "chest_tumour.nii.gz"))
