"""A very small chest CT as a volume of the scene, for runs with real worker processes that take seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

sys.path.append(str(Path(__file__).resolve().parents[1] / "lib"))

from smallchest import QUICK_SPACING, chest

QUICK = {"descriptor": "statistics", "mode": "per-volume", "components": 4}
"""Settings that need no network: a run takes a few seconds, most of them imports."""


def add_chest(name: str = "chest", hu: np.ndarray | None = None, ijk_to_ras: Any = None) -> Any:
    """Adds a chest CT to the scene: x to the left, y to the back, z up, unless a matrix is given."""
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(volume, chest() if hu is None else hu)
    matrix = vtk.vtkMatrix4x4()
    default = np.diag([-QUICK_SPACING, -QUICK_SPACING, QUICK_SPACING, 1.0])
    default[:3, 3] = 160, 160, 0
    matrix.DeepCopy((default if ijk_to_ras is None else np.asarray(ijk_to_ras)).ravel())
    volume.SetIJKToRASMatrix(matrix)
    volume.CreateDefaultDisplayNodes()
    return volume
