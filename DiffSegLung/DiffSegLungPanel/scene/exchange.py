"""Volumes and masks out to files for the library, and its maps back, in short steps.

Everything here is a generator that yields after some ten milliseconds of work, since MRML belongs to the main
thread. Files hold the voxels in the volume's own coordinates: parent transforms stay in the scene, so what
comes back fits voxel for voxel whatever the transform.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy

from DiffSegLungLib.errors import DiffSegLungError, InputError
from DiffSegLungLib.io.raw_image import ELEMENTS, geometry_of, read_raw, write_raw

from ..places import notWritten
from .grid import Grid, gridOf
from .masks import maskSlabs


def checkInput(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Refuse a volume that cannot be segmented, by what can be seen at once.

    Raises:
        InputError: no voxels, one slice only, several values a voxel, a label map, voxels not at right
            angles or without a volume, or a parent transform that is not linear.
    """
    name, image, grid = volumeNode.GetName(), volumeNode.GetImageData(), gridOf(volumeNode)
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(
            "label-map", _("{name} is a label map.").format(name=name), _("Choose the CT itself.")
        )
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            "not-scalar",
            _("{name} holds {count} numbers a voxel, like a colour picture.").format(
                name=name, count=image.GetNumberOfScalarComponents()
            ),
            _("Choose a CT with one value in HU a voxel."),
        )
    if min(image.GetDimensions()) < 2:
        raise InputError(
            "not-3d", _("{name} is a single slice.").format(name=name), _("Choose a volume of all slices.")
        )
    axes = grid.ijkToRas[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 2e-4:  # a hundredth of a degree, as the library has it
        raise InputError(
            "sheared",
            _("The axes of {name} are not at right angles (tilted gantry).").format(name=name),
            _("Resample it first, for example with the module Crop Volume."),
        )


def exportVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode, path: Path) -> Iterator[float]:
    """Write a volume as an uncompressed MetaImage: a header ``path`` (``.mhd``) and a ``.raw`` beside it.

    Voxel order and type stay (64-bit types become float32); coordinates are the volume's own, in LPS.

    Yields:
        the fraction written.

    Raises:
        InputError: see :func:`checkInput`; code ``not-written`` when the disk refuses.
    """
    checkInput(volumeNode)
    grid = gridOf(volumeNode)
    values = slicer.util.arrayFromVolume(volumeNode)
    dtype = values.dtype if values.dtype in ELEMENTS else np.dtype(np.float32)
    yield from _write(path, grid, dtype, (values[part] for part in grid.slabs()))


def exportSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str | None,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    path: Path,
) -> Iterator[float]:
    """Write a segment as a mask (0, 1) on the grid of a volume, as :func:`exportVolume` writes.

    Args:
        segmentationNode: any geometry, under any linear transform, voxels or surfaces.
        segmentId: which segment; None takes all of them together.
        volumeNode: whose grid the mask gets.
        path: where to write, ending in ``.mhd``.

    Yields:
        the fraction written.

    Raises:
        InputError: code ``empty-mask``, the segment marks no voxel of the volume; others as for
            :func:`exportVolume`.
    """
    grid = gridOf(volumeNode)
    marked = False

    def counted() -> Iterator[np.ndarray]:
        nonlocal marked
        for slab in maskSlabs(segmentationNode, segmentId, grid):
            marked = marked or bool(slab.any())
            yield slab

    yield from _write(path, grid, np.dtype(np.uint8), counted())
    if not marked:
        raise InputError(
            "empty-mask",
            _("The chosen lungs in {name} mark no voxel of the CT.").format(name=segmentationNode.GetName()),
            _("Choose a segment that covers the lungs of this CT."),
        )


def readLabels(path: Path, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Generator[None, None, np.ndarray]:
    """Read a label map (a raw MetaImage, uint8) that must lie on the grid of a volume.

    Returns:
        uint8 (k, j, i), in memory that VTK owns (see :func:`vtkArrayOf`).

    Raises:
        DiffSegLungError: code ``geometry-differs`` or ``damaged-result``.
    """
    return (yield from _read(path, volumeNode, np.dtype(np.uint8)))


def readScalars(path: Path, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Generator[None, None, np.ndarray]:
    """Read a map of measurements (a raw MetaImage, float32); otherwise as :func:`readLabels`."""
    return (yield from _read(path, volumeNode, np.dtype(np.float32)))


def readHounsfield(
    path: Path, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> Generator[None, None, np.ndarray]:
    """Read a CT (a raw MetaImage, int16 HU); otherwise as :func:`readLabels`."""
    return (yield from _read(path, volumeNode, np.dtype(np.int16)))


def readEvidence(path: Path, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Generator[None, None, np.ndarray]:
    """Read evidence of disease (a raw MetaImage, uint16); otherwise as :func:`readLabels`."""
    return (yield from _read(path, volumeNode, np.dtype(np.uint16)))


def readContent(path: Path) -> dict[str, Any]:
    """The worker's ``result.json``.

    Raises:
        DiffSegLungError: code ``damaged-result``.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path) from error


def newArray(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array, not initialised, in memory that VTK owns: a node can take it without a copy."""
    values = vtk.vtkDataArray.CreateDataArray(get_vtk_array_type(dtype))
    values.SetNumberOfValues(int(np.prod(shape)))
    return vtk_to_numpy(values).reshape(shape)


def vtkArrayOf(array: np.ndarray) -> vtk.vtkDataArray:
    """The VTK array of an array's values: its own memory if :func:`newArray` made it, else a copy."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.size == array.size:
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    shared = isinstance(owner, vtk.vtkDataArray) and owner.GetNumberOfValues() == array.size
    if not shared or not array.flags.c_contiguous or vtk_to_numpy(owner).dtype != array.dtype:
        owner = numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)
    owner.SetName("ImageScalars")
    return owner


def _write(path: Path, grid: Grid, dtype: np.dtype, slabs: Iterable[np.ndarray]) -> Iterator[float]:
    try:
        yield from write_raw(path, grid.geometry, dtype, slabs)
    except OSError as error:
        raise notWritten(path, error) from error


def _read(
    path: Path, volumeNode: slicer.vtkMRMLScalarVolumeNode, dtype: np.dtype
) -> Generator[None, None, np.ndarray]:
    grid = gridOf(volumeNode)
    try:
        if not geometry_of(path).same_grid(grid.geometry):
            raise _elsewhere(path, volumeNode)
        yield
        values = newArray(grid.shape, dtype)
        yield from read_raw(path, values)
    except (OSError, RuntimeError) as error:
        raise _damaged(path) from error
    return values


def _damaged(path: Path) -> DiffSegLungError:
    return DiffSegLungError(
        "damaged-result",
        _("The result file {name} cannot be read.").format(name=path.name),
        _("Run the segmentation again; if this happens twice, please report it."),
    )


def _elsewhere(path: Path, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> DiffSegLungError:
    return DiffSegLungError(
        "geometry-differs",
        _("The result {file} does not lie on the voxels of {name}.").format(
            file=path.name, name=volumeNode.GetName()
        ),
        _("The CT was probably changed during the run; run the segmentation again."),
    )
