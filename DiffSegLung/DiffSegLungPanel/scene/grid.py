"""Where voxels lie: the grid of a volume node, in its own coordinates and in the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.geometry import Geometry

SLAB_VOXELS = 1 << 20
"""Voxels of one piece of work; every operation on that many takes some ten milliseconds."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid of voxels in Slicer's coordinates (RAS, mm).

    Attributes:
        shape: voxels (k, j, i), the shape of the array.
        ijkToRas: (4, 4), from indices (i, j, k) to the node's own coordinates.
        rasToWorld: (4, 4), from there to the world: the node's parent transforms.
    """

    shape: tuple[int, int, int]
    ijkToRas: np.ndarray
    rasToWorld: np.ndarray

    @property
    def ijkToWorld(self) -> np.ndarray:
        """(4, 4), from indices (i, j, k) to the world."""
        return self.rasToWorld @ self.ijkToRas

    @property
    def voxelMl(self) -> float:
        """Volume of a voxel in ml as the scanner measured it: a parent transform does not change it."""
        return float(abs(np.linalg.det(self.ijkToRas[:3, :3]))) / 1000.0

    def slabs(self, voxels: int = SLAB_VOXELS) -> Iterator[slice]:
        """The first axis in slices of about ``voxels`` voxels each."""
        step = max(1, voxels // max(1, self.shape[1] * self.shape[2]))
        for first in range(0, self.shape[0], step):
            yield slice(first, min(first + step, self.shape[0]))

    @property
    def geometry(self) -> Geometry:
        """The grid in the node's own coordinates as the library and ITK have it (LPS)."""
        matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.ijkToRas
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        axes = matrix[:3, :3] / spacing
        k, j, i = self.shape
        si, sj, sk = (float(s) for s in spacing)
        x, y, z = (float(v) for v in matrix[:3, 3])
        return Geometry((i, j, k), (si, sj, sk), (x, y, z), tuple(float(v) for v in axes.ravel()))


def gridOf(volumeNode: slicer.vtkMRMLVolumeNode) -> Grid:
    """The grid of a volume.

    Raises:
        InputError: it holds no voxels, they have no volume, or its parent transform is not linear.
    """
    image, matrix = volumeNode.GetImageData(), vtk.vtkMatrix4x4()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError(
            "no-voxels",
            _("The volume {name} holds no voxels.").format(name=volumeNode.GetName()),
            _("Load a chest CT."),
        )
    volumeNode.GetIJKToRASMatrix(matrix)
    if not _isInvertible(asArray(matrix)):
        raise InputError(
            "bad-geometry",
            _("The voxels of {name} have no volume: spacing or axes are wrong.").format(
                name=volumeNode.GetName()
            ),
            _("Load the CT again, or correct its spacing in the module Volumes."),
        )
    i, j, k = image.GetDimensions()
    return Grid((k, j, i), asArray(matrix), worldMatrix(volumeNode))


def worldMatrix(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """(4, 4) from the node's own coordinates to the world.

    Raises:
        InputError: code ``nonlinear-transform``, or ``flat-transform`` where it makes a plane of the space.
    """
    transform = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            raise InputError(
                "nonlinear-transform",
                _("{name} is under the non-linear transform {transform}.").format(
                    name=node.GetName(), transform=transform.GetName()
                ),
                _("Harden that transform (module Transforms), or remove it, and try again."),
            )
        transform.GetMatrixTransformToWorld(matrix)
        if not _isInvertible(asArray(matrix)):
            raise InputError(
                "flat-transform",
                _("The transform {transform} of {name} makes it flat.").format(
                    name=node.GetName(), transform=transform.GetName()
                ),
                _("Correct that transform (module Transforms), or remove it, and try again."),
            )
    return asArray(matrix)


def _isInvertible(matrix: np.ndarray) -> bool:
    """Whether a transform (4, 4) keeps three directions apart, whatever their lengths."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or lengths.min() < 1e-9:
        return False
    return bool(abs(np.linalg.det(matrix[:3, :3] / lengths)) > 1e-6)


def asArray(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A VTK matrix as a numpy array (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def asMatrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """A numpy array (4, 4) as a VTK matrix."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(value) for value in array.ravel()])
    return matrix
