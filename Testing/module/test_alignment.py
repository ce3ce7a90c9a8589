"""Results lie on the CT in the world, however it is turned, mirrored, stretched, cropped or moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from DiffSegLungPanel.scene import exchange, results
from DiffSegLungPanel.scene.grid import Grid
from DiffSegLungPanel.scene.segmentation import classMap
from mrml_scenes import (
    add_ct,
    finish,
    lung_hu,
    lung_labels,
    put_under,
    rotation,
    write_worker_output,
)

from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS
from DiffSegLungLib.io.geometry import Geometry, to_image

LESIONS = (EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION)


def turned(scale: tuple[float, float, float]) -> np.ndarray:
    """(4, 4) rotation, then stretching, then a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(scale) @ rotation((15, -20, 40))
    matrix[:3, 3] = (31.0, -17.5, 208.25)
    return matrix


LPS_AXES = np.diag([-1.0, -1.0, 1.0])
CASES = {
    "plain": (LPS_AXES, (0.7, 0.7, 1.0), None),
    "oblique": (rotation((12, -25, 33)) @ LPS_AXES, (0.7, 0.7, 1.0), None),
    "flipped slices (left-handed)": (np.diag([-1.0, -1.0, -1.0]), (0.7, 0.7, 1.0), None),
    "flipped rows and columns": (np.diag([1.0, 1.0, 1.0]), (0.7, 0.7, 1.0), None),
    "coronal slices": (np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]), (0.7, 0.7, 1.0), None),
    "anisotropic": (LPS_AXES, (0.6, 0.85, 5.0), None),
    "under rotation and shift": (LPS_AXES, (0.7, 0.7, 1.0), (1.0, 1.0, 1.0)),
    "under stretching": (LPS_AXES, (0.7, 0.7, 1.0), (1.1, 0.9, 1.3)),
    "all together": (rotation((-30, 14, 8)) @ np.diag([1.0, -1.0, 1.0]), (0.6, 0.85, 2.5), (1.1, 0.9, -1.3)),
}


@pytest.fixture(autouse=True)
def thin_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small volumes in several pieces, as large ones are."""
    monkeypatch.setattr(Grid.slabs, "__defaults__", (5 * 40 * 44,))


@pytest.fixture(params=CASES, ids=list(CASES))
def case(scene, request, tmp_path: Path):
    """A CT, its segmentation as imported, and the file that ITK reads the CT from."""
    directions, spacing, scale = CASES[request.param]
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels), directions=directions, spacing=spacing, origin=(41.0, -66.0, 812.0))
    if scale is not None:
        put_under(scene, ct, turned(scale))
    exported = tmp_path / "ct.mhd"
    finish(exchange.exportVolume(ct, exported))
    folder = worker_output_by_itk(tmp_path, exported, labels, ct)
    node = finish(results.importResults(scene, ct, folder))
    return ct, node, sitk.ReadImage(str(exported)), labels


def worker_output_by_itk(tmp_path: Path, exported: Path, labels: np.ndarray, ct) -> Path:
    """The worker's files on the grid that ITK, not MRML, found in the exported file."""
    folder = write_worker_output(tmp_path / "out", ct, labels)
    geometry = Geometry.of(sitk.ReadImage(str(exported)))
    sitk.WriteImage(to_image(labels, geometry), str(folder / "labels.mhd"))
    return folder


def world_by_itk(image: sitk.Image, ijk: np.ndarray, ct) -> np.ndarray:
    """Where ITK says a voxel is, turned to RAS, moved by the parent transform: nothing of ours takes part."""
    x, y, z = image.TransformIndexToPhysicalPoint([int(n) for n in ijk])
    world = np.array([-x, -y, z, 1.0])
    if ct.GetParentTransformNode() is not None:
        world = slicer.util.arrayFromTransformMatrix(ct.GetParentTransformNode()) @ world
    return world[:3]


def label_at(node: slicer.vtkMRMLSegmentationNode, world: np.ndarray) -> int:
    """The label of the shared layer at a place in the world, by Slicer's own transforms."""
    local = [0.0, 0.0, 0.0]
    node.TransformPointFromWorld([float(v) for v in world], local)
    image = node.GetSegmentation().GetLayerDataObject(0)
    matrix = vtk.vtkMatrix4x4()
    image.GetWorldToImageMatrix(matrix)
    index = [round(v) for v in matrix.MultiplyPoint((*local, 1.0))[:3]]
    return int(image.GetScalarComponentAsDouble(*index, 0))


def test_every_lesion_lies_at_its_place_in_the_world(case) -> None:
    ct, node, image, labels = case
    for lesion in LESIONS:
        for kji in np.argwhere(labels == lesion)[::5]:
            assert label_at(node, world_by_itk(image, kji[::-1], ct)) == lesion


def test_every_voxel_comes_back_on_the_ct_grid(case) -> None:
    ct, node, _image, labels = case
    for lesion in LESIONS:
        segment_id = node.GetSegmentation().GetNthSegmentID(lesion - 1)
        back = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, ct)
        assert np.array_equal(back > 0, labels == lesion)
    assert np.array_equal(finish(classMap(node, ct)), labels)


def test_the_centre_of_a_segment_is_that_of_its_voxels(case) -> None:
    """Slicer's own centre (used to jump there) against ITK's mean of the voxels, to half a voxel."""
    ct, node, image, labels = case
    for lesion in LESIONS:
        segment_id = node.GetSegmentation().GetNthSegmentID(lesion - 1)
        expected = np.mean(
            [world_by_itk(image, kji[::-1], ct) for kji in np.argwhere(labels == lesion)], axis=0
        )
        centre = np.array(node.GetSegmentCenterRAS(segment_id))
        steps = np.diff([world_by_itk(image, ijk, ct) for ijk in ((0, 0, 0), (1, 1, 1))], axis=0)
        assert np.linalg.norm(centre - expected) <= 0.5 * np.linalg.norm(steps) + 1e-6


def test_uncertainty_and_review_places_follow(case) -> None:
    ct, node, image, labels = case
    uncertainty = results.resultsOf(node).uncertainty
    matrix, other = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    uncertainty.GetIJKToRASMatrix(other)
    assert slicer.util.arrayFromVTKMatrix(matrix) == pytest.approx(slicer.util.arrayFromVTKMatrix(other))
    assert uncertainty.GetTransformNodeID() == ct.GetTransformNodeID()
    (region,) = results.uncertainRegions(node, ct)
    kji = np.argwhere(labels == GROUND_GLASS)[7]
    assert region.positionRAS == pytest.approx(world_by_itk(image, kji[::-1], ct), abs=1e-6)


def test_a_cropped_ct_keeps_its_place(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    whole = add_ct(scene, lung_hu(labels), directions=rotation((12, -25, 33)) @ LPS_AXES)
    box = (slice(2, 17), slice(7, 33), slice(2, 40))
    matrix = vtk.vtkMatrix4x4()
    whole.GetIJKToRASMatrix(matrix)
    corner = matrix.MultiplyPoint((box[2].start, box[1].start, box[0].start, 1.0))[:3]
    cropped = add_ct(
        scene,
        lung_hu(labels)[box],
        directions=rotation((12, -25, 33)) @ LPS_AXES,
        origin=corner,
        name="Cropped",
    )
    folder = write_worker_output(tmp_path, cropped, labels[box])
    node = finish(results.importResults(scene, cropped, folder))
    onto = finish(classMap(node, whole))
    assert np.array_equal(onto[box], labels[box])
    onto[box] = 0
    assert not onto.any()


def test_a_segmentation_moved_away_from_its_ct_is_measured_where_it_is(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    node = finish(results.importResults(scene, ct, write_worker_output(tmp_path, ct, labels)))
    shift = np.eye(4)
    shift[0, 3] = -2 * 0.7  # two voxels along i, which runs to the left of the patient: RAS -x
    put_under(scene, node, shift)
    assert np.array_equal(finish(classMap(node, ct))[:, :, 2:], labels[:, :, :-2])


def test_hardening_the_transform_changes_nothing(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    put_under(scene, ct, turned((1.0, 1.0, 1.0)))
    node = finish(results.importResults(scene, ct, write_worker_output(tmp_path, ct, labels)))
    ct.HardenTransform()
    assert ct.GetParentTransformNode() is None
    assert np.array_equal(finish(classMap(node, ct)), labels)
    node.HardenTransform()
    assert np.array_equal(finish(classMap(node, ct)), labels)
