"""Findings as surfaces in the 3D view, inside the translucent thirds of the lungs.

Slicer's own button converts every class at the CT's full resolution; for healthy lung with its vessels that
takes minutes, and nobody looks at it. Here findings are made on a grid that is fine enough to look at, and
the lungs around them on a coarse one. Classes that are no findings get an empty surface, because the 3D view
draws nothing while any segment has none.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.classes import BY_ID, BY_KEY, PATHOLOGY

from ..work.tasks import TaskProgress
from .exchange import vtkArrayOf
from .grid import asMatrix
from .masks import LABELMAP, SURFACE, Layer, layersOf
from .result_nodes import resultsOf
from .segments import classSegments, notAnEdit

FINDINGS = frozenset(BY_ID[number].key for number in PATHOLOGY)
FINDING_MM, LUNG_MM = 1.5, 4.0
"""About how large voxels are made, by joining them, before their surface is computed."""
LUNG_OPACITY = 0.12


def isShownIn3D(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether surfaces of a segmentation exist and are shown."""
    display = node.GetDisplayNode()
    made = node.GetSegmentation().ContainsRepresentation(SURFACE)
    return bool(made and display is not None and display.GetVisibility3D())


def hideIn3D(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove the surfaces; otherwise Slicer would compute those of painted segments anew at every stroke."""
    if node.GetSegmentation().ContainsRepresentation(SURFACE):
        with notAnEdit(node):
            node.RemoveClosedSurfaceRepresentation()
    regions = resultsOf(node).regions
    if regions is not None:
        regions.RemoveClosedSurfaceRepresentation()
        if regions.GetDisplayNode() is not None:
            regions.GetDisplayNode().SetVisibility(False)


def surfaceSteps(node: slicer.vtkMRMLSegmentationNode) -> Generator[TaskProgress, None, None]:
    """Make the surfaces of the findings and of the lungs around them, and show them; the steps of a task."""
    yield from _showLungs(resultsOf(node).regions)
    found = [(i, key) for i, key in classSegments(node).items() if key in FINDINGS]
    surfaces: dict[str, vtk.vtkPolyData] = {}
    for number, (segmentID, key) in enumerate(found):
        stage = _("Making the surface of {name}").format(name=BY_KEY[key].name.lower())
        yield TaskProgress(stage, number / len(found))
        layer = next((layer for layer in layersOf(node) if segmentID in layer.labels), None)
        if layer is not None:
            surfaces[segmentID] = _surface(layer, segmentID, FINDING_MM)
    segments, display = node.GetSegmentation(), node.GetDisplayNode()
    with notAnEdit(node):
        for segmentID in segments.GetSegmentIDs():
            surface = surfaces.get(segmentID) or vtk.vtkPolyData()
            segments.GetSegment(segmentID).AddRepresentation(SURFACE, surface)
            display.SetSegmentVisibility3D(segmentID, segmentID in surfaces)
        display.SetPreferredDisplayRepresentationName3D(SURFACE)
        display.SetVisibility(True)
        display.SetVisibility3D(True)
        node.Modified()


def _showLungs(regions: slicer.vtkMRMLSegmentationNode | None) -> Generator[TaskProgress, None, None]:
    """The thirds of the lungs, translucent, in 3D only."""
    if regions is None or regions.GetDisplayNode() is None:
        return
    segments, display = regions.GetSegmentation(), regions.GetDisplayNode()
    for layer in layersOf(regions):
        for segmentID in layer.labels:
            yield TaskProgress(_("Making the surface of the lungs"), 0.0)
            segments.GetSegment(segmentID).AddRepresentation(SURFACE, _surface(layer, segmentID, LUNG_MM))
    display.SetPreferredDisplayRepresentationName3D(SURFACE)
    display.SetOpacity3D(LUNG_OPACITY)
    display.SetVisibility2D(False)
    display.SetVisibility3D(True)
    display.SetVisibility(True)


def _surface(layer: Layer, segmentID: str, voxelMm: float) -> vtk.vtkPolyData:
    """The closed surface of one segment, in the segmentation's own coordinates."""
    inside = layer.values == layer.labels[segmentID]
    if not inside.any():
        return vtk.vtkPolyData()
    box = tuple(
        slice(max(0, int(hits[0]) - 1), int(hits[-1]) + 2)
        for hits in (np.flatnonzero(inside.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1)))
    )
    spacings = np.linalg.norm(layer.ijkToRas[:3, :3], axis=0)
    steps = [max(1, round(voxelMm / float(spacing))) for spacing in spacings]
    image = _image(_joined(inside[box], steps[::-1]))
    ijkToRas = layer.ijkToRas.copy()
    first = np.array([part.start for part in box[::-1]]) + (np.array(steps) - 1) / 2
    ijkToRas[:3, 3] += ijkToRas[:3, :3] @ first
    ijkToRas[:3, :3] *= steps
    image.SetGeometryFromImageToWorldMatrix(asMatrix(ijkToRas))
    segment = slicer.vtkSegment()
    segment.SetLabelValue(1)
    segment.AddRepresentation(LABELMAP, image)
    alone = slicer.vtkSegmentation()
    alone.SetSourceRepresentationName(LABELMAP)
    alone.AddSegment(segment, segmentID)
    alone.CreateRepresentation(SURFACE)
    return segment.GetRepresentation(SURFACE) or vtk.vtkPolyData()


def _joined(inside: np.ndarray, steps: list[int]) -> np.ndarray:
    """Blocks of ``steps`` voxels (k, j, i) as one, inside where at least half of them are; uint8."""
    padded = np.pad(inside, [(0, -size % step) for size, step in zip(inside.shape, steps, strict=True)])
    k, j, i = steps
    nk, nj, ni = (size // step for size, step in zip(padded.shape, steps, strict=True))
    blocks = padded.reshape(nk, k, nj, j, ni, i)
    return (blocks.mean(axis=(1, 3, 5), dtype=np.float32) >= 0.5).astype(np.uint8)


def _image(values: np.ndarray) -> slicer.vtkOrientedImageData:
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*values.shape[::-1])
    image.GetPointData().SetScalars(vtkArrayOf(values))
    return image
