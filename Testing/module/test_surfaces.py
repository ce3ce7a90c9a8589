"""Surfaces for the 3D view: where they lie, what they enclose, and that they go again."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from DiffSegLungPanel.scene import results
from DiffSegLungPanel.scene.surfaces import hideIn3D, isShownIn3D, surfaceSteps
from mrml_scenes import add_ct, finish, lung_hu, lung_labels, put_under, rotation, write_worker_output

SURFACE = "Closed surface"


@pytest.fixture
def node(scene, tmp_path):
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    turned = np.eye(4)
    turned[:3, :3] = rotation((20, 30, 40))
    put_under(scene, ct, turned)
    return finish(results.importResults(scene, ct, write_worker_output(tmp_path, ct, labels)))


def surface(node, segment_id: str) -> vtk.vtkPolyData:
    made = node.GetSegmentation().GetSegment(segment_id).GetRepresentation(SURFACE)
    return made if made is not None else vtk.vtkPolyData()


def volume_ml(closed: vtk.vtkPolyData) -> float:
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputData(closed)
    mass = vtk.vtkMassProperties()
    mass.SetInputConnection(triangles.GetOutputPort())
    return mass.GetVolume() / 1000


def test_findings_and_the_lungs_around_them_are_shown(node):
    assert not isShownIn3D(node)
    finish(surfaceSteps(node))
    assert isShownIn3D(node)
    assert surface(node, "Segment_healthy").GetNumberOfCells() == 0, "healthy lung would hide everything"
    regions = results.resultsOf(node).regions
    display = regions.GetDisplayNode()
    assert display.GetVisibility3D()
    assert not display.GetVisibility2D(), "in slices the regions stay hidden"
    assert display.GetOpacity3D() < 0.3


def test_a_surface_lies_where_its_segment_lies_and_is_as_large(node):
    finish(surfaceSteps(node))
    volume = results.resultsOf(node).volume
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, "Segment_ground_glass", volume) > 0
    closed = surface(node, "Segment_ground_glass")
    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    places = np.argwhere(mask)[:, ::-1]
    centre = np.array(to_ras.MultiplyPoint((*places.mean(axis=0), 1.0))[:3])
    bounds = np.array(closed.GetBounds()).reshape(3, 2)
    assert bounds.mean(axis=1) == pytest.approx(centre, abs=max(volume.GetSpacing()))
    ml = mask.sum() * np.prod(volume.GetSpacing()) / 1000
    assert volume_ml(closed) == pytest.approx(ml, rel=0.35), "smoothed, but of its size"


def test_hiding_leaves_no_surface(node):
    finish(surfaceSteps(node))
    hideIn3D(node)
    assert not isShownIn3D(node)
    regions = results.resultsOf(node).regions
    assert not regions.GetDisplayNode().GetVisibility()
    for part in (node, regions):
        assert not part.GetSegmentation().ContainsRepresentation(SURFACE)
