"""What the panel says about a CT before anything runs: size, spacing and values, or why it cannot be used."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.hounsfield import to_hounsfield

from . import segmentation

SAMPLE = 500_000
"""Voxels that are looked at: enough to tell CT from what is not, and read in a few milliseconds."""


@dataclass(frozen=True)
class InputInfo:
    """What there is to say about a volume.

    Attributes:
        text: one line: size, spacing, range; empty without a volume.
        error: why it cannot be used, None when it can.
    """

    text: str = ""
    error: InputError | None = None


def describeInput(volumeNode: slicer.vtkMRMLScalarVolumeNode | None) -> InputInfo:
    """Look at a volume as the library will, on a sample of its voxels."""
    if volumeNode is None:
        return InputInfo(error=InputError("no-input", _("No CT is chosen.")))
    try:
        segmentation.checkInput(volumeNode)
    except InputError as error:
        return InputInfo(error=error)
    sample = _sample(slicer.util.arrayFromVolume(volumeNode))
    try:
        to_hounsfield(sample.copy(), _("This volume"))
    except InputError as error:
        return InputInfo(error=error)
    return InputInfo(_line(volumeNode, sample))


def _line(volumeNode: slicer.vtkMRMLScalarVolumeNode, sample: np.ndarray) -> str:
    size, spacing = volumeNode.GetImageData().GetDimensions(), volumeNode.GetSpacing()
    return _("{size} voxels, {spacing} mm, {low} to {high} HU").format(
        size=" × ".join(str(n) for n in size),
        spacing=" × ".join(f"{mm:.3g}" for mm in spacing),
        low=f"{float(np.nanmin(sample)):.0f}".replace("-", "−"),
        high=f"{float(np.nanmax(sample)):.0f}".replace("-", "−"),
    )


def _sample(voxels: np.ndarray) -> np.ndarray:
    """Whole rows on a regular lattice, the outermost slices included."""
    step = max(1, math.ceil(math.sqrt(voxels.size / SAMPLE)))
    return voxels[::step, ::step]
