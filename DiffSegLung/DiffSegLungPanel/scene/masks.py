"""Segments on another grid, piece by piece: any geometry, any linear transform, voxels or surfaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .grid import Grid, asArray, asMatrix, worldMatrix

LABELMAP = "Binary labelmap"
SURFACE = "Closed surface"


@dataclass(frozen=True, eq=False)
class Layer:
    """One label map of a segmentation; segments that do not overlap share one.

    Attributes:
        values: (k, j, i), a view of the segmentation's own memory.
        ijkToRas: (4, 4), from indices of ``values`` to the segmentation's own coordinates.
        labels: segment id -> its value in ``values``.
    """

    values: np.ndarray
    ijkToRas: np.ndarray
    labels: dict[str, int]

    def table(self, numbers: Mapping[str, int]) -> np.ndarray:
        """uint8 (256): label value -> number of its segment, 0 for every other value."""
        table = np.zeros(256, np.uint8)
        for segmentId, label in self.labels.items():
            if segmentId in numbers and label < len(table):
                table[label] = numbers[segmentId]
        return table


def layersOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> list[Layer]:
    """The label maps of a segmentation that hold voxels; none where it consists of surfaces."""
    segmentation = segmentationNode.GetSegmentation()
    if not segmentation.ContainsRepresentation(LABELMAP):
        return []
    layers = []
    for number in range(segmentation.GetNumberOfLayers(LABELMAP)):
        image = segmentation.GetLayerDataObject(number, LABELMAP)
        scalars = image.GetPointData().GetScalars() if image is not None else None
        if scalars is None or scalars.GetNumberOfTuples() == 0:
            continue
        extent = image.GetExtent()
        shift = np.eye(4)
        shift[:3, 3] = extent[0::2]
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        shape = tuple(extent[axis + 1] - extent[axis] + 1 for axis in (4, 2, 0))
        ids = segmentation.GetSegmentIDsForLayer(number, LABELMAP)
        labels = {i: int(segmentation.GetSegment(i).GetLabelValue()) for i in ids}
        layers.append(Layer(vtk_to_numpy(scalars).reshape(shape), asArray(matrix) @ shift, labels))
    return layers


def numbersOnGrid(
    layer: Layer, numbers: Mapping[str, int], rasToWorld: np.ndarray, grid: Grid, part: slice
) -> np.ndarray | None:
    """The numbers of a layer's segments on a slab of a grid, by the nearest voxel.

    Args:
        layer: one layer of a segmentation.
        numbers: segment id -> number 1..255; other segments are left out.
        rasToWorld: (4, 4), the segmentation's parent transforms.
        grid: where to sample, in the world.
        part: slices of the grid's first axis.

    Returns:
        uint8 of the slab's shape, 0 outside; None where the layer has no voxel in the slab.
    """
    table = layer.table(numbers)
    if not table.any():
        return None
    index = np.linalg.inv(rasToWorld @ layer.ijkToRas) @ grid.ijkToWorld
    shape = (part.stop - part.start, *grid.shape[1:])
    shift = _wholeShift(index, grid.shape)
    if shift is None:
        return table[_nearest(layer.values, index, shape, part.start)]
    places, sources = [], []
    for size, own, offset, first in zip(shape, layer.values.shape, shift, (part.start, 0, 0), strict=True):
        low = max(0, -(first + offset))
        high = min(size, own - (first + offset))
        if high <= low:
            return None
        places.append(slice(low, high))
        sources.append(slice(first + low + offset, first + high + offset))
    found = table[_small(layer.values[tuple(sources)])]
    if found.shape == shape:
        return found
    slab = np.zeros(shape, np.uint8)
    slab[tuple(places)] = found
    return slab


def maskSlabs(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str | None, grid: Grid
) -> Iterator[np.ndarray]:
    """A segment on a grid, slab by slab in order.

    Args:
        segmentationNode: where the segment is.
        segmentId: which; None for all of them together.
        grid: where to sample.

    Yields:
        uint8 (slices, j, i), 1 inside.

    Raises:
        InputError: the segmentation is under a non-linear transform.
    """
    segmentation = segmentationNode.GetSegmentation()
    rasToWorld = worldMatrix(segmentationNode)
    ids = [segmentId] if segmentId else list(segmentation.GetSegmentIDs())
    if segmentation.ContainsRepresentation(LABELMAP):
        layers, numbers = layersOf(segmentationNode), dict.fromkeys(ids, 1)
        for part in grid.slabs():
            slab = np.zeros((part.stop - part.start, *grid.shape[1:]), np.uint8)
            for layer in layers:
                found = numbersOnGrid(layer, numbers, rasToWorld, grid, part)
                if found is not None:
                    np.maximum(slab, found, out=slab)
            yield slab
    else:
        surfaces = [segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in ids]
        shown = [_onIndices(s, rasToWorld, grid) for s in surfaces if s is not None]
        for part in grid.slabs():
            slab = np.zeros((part.stop - part.start, *grid.shape[1:]), np.uint8)
            for surface in shown:
                np.maximum(slab, _filled(surface, grid, part), out=slab)
            yield slab


def _wholeShift(index: np.ndarray, shape: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """The shift (k, j, i) where two grids meet voxel for voxel (to 0.01 voxel everywhere), else None."""
    turned = np.abs(index[:3, :3] - np.eye(3)) @ np.asarray(shape[::-1], float)
    shift = np.rint(index[:3, 3])
    if turned.max() + np.abs(index[:3, 3] - shift).max() > 0.01:
        return None
    i, j, k = (int(n) for n in shift)
    return (k, j, i)


def _nearest(values: np.ndarray, index: np.ndarray, shape: tuple[int, ...], first: int) -> np.ndarray:
    """Values at the nearest voxels; ``index`` takes (i, j, k) of the grid to (i, j, k) of the values."""
    from scipy.ndimage import affine_transform

    matrix = index[:3, :3][::-1, ::-1]
    offset = index[:3, 3][::-1] + matrix @ np.array([first, 0.0, 0.0])
    return affine_transform(_small(values), matrix, offset, shape, order=0, mode="grid-constant", cval=0)


def _small(values: np.ndarray) -> np.ndarray:
    """Label values as uint8; the rare wider types keep what fits, the rest becomes background."""
    return values if values.dtype == np.uint8 else np.where(values < 256, values, 0).astype(np.uint8)


def _onIndices(surface: vtk.vtkPolyData, rasToWorld: np.ndarray, grid: Grid) -> vtk.vtkPolyData:
    """A surface in the grid's index coordinates."""
    transform = vtk.vtkTransform()
    transform.SetMatrix(asMatrix(np.linalg.inv(grid.ijkToWorld) @ rasToWorld))
    moved = vtk.vtkTransformPolyDataFilter()
    moved.SetInputData(surface)
    moved.SetTransform(transform)
    moved.Update()
    return moved.GetOutput()


def _filled(surface: vtk.vtkPolyData, grid: Grid, part: slice) -> np.ndarray:
    """Inside (1) and outside (0) of a closed surface in index coordinates, on a slab of the grid."""
    extent = (0, grid.shape[2] - 1, 0, grid.shape[1] - 1, part.start, part.stop - 1)
    stencil = vtk.vtkPolyDataToImageStencil()
    stencil.SetInputData(surface)
    stencil.SetOutputWholeExtent(extent)
    image = vtk.vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    values = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
    return values.reshape(part.stop - part.start, *grid.shape[1:])
