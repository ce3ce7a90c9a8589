"""Volumes and masks out to files, label maps back: the same voxels at the same places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from DiffSegLungPanel.scene import exchange
from DiffSegLungPanel.scene.grid import Grid
from DiffSegLungPanel.scene.segmentation import createSegmentation
from mrml_scenes import (
    SHAPE,
    add_ct,
    finish,
    geometry_of,
    lung_hu,
    lung_labels,
    put_under,
    rotation,
    write_worker_output,
)

from DiffSegLungLib.classes import CLASSES
from DiffSegLungLib.errors import DiffSegLungError, InputError
from DiffSegLungLib.io.ct import CT, read_mask, write_segmentation


@pytest.fixture(autouse=True)
def thin_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small volumes in several pieces, as large ones are."""
    monkeypatch.setattr(Grid.slabs, "__defaults__", (5 * 40 * 44,))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32"])
def test_a_volume_is_written_with_its_type_and_every_value(scene, tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    ct = add_ct(scene, values)
    fractions = list(exchange.exportVolume(ct, tmp_path / "ct.mhd"))
    image = sitk.ReadImage(str(tmp_path / "ct.mhd"))
    written = sitk.GetArrayFromImage(image)
    assert written.dtype == dtype
    assert np.array_equal(written, values)
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)


def test_slicer_opens_the_segmentation_that_a_run_writes(scene, tmp_path: Path) -> None:
    ct = add_ct(scene, lung_hu(lung_labels()), directions=rotation((20, -35, 50)))
    labels = lung_labels().astype(np.uint8)
    write_segmentation(tmp_path / "labels.seg.nrrd", labels, geometry_of(ct))
    node = slicer.util.loadSegmentation(str(tmp_path / "labels.seg.nrrd"))
    segments = node.GetSegmentation()
    assert segments.GetNumberOfSegments() == len(CLASSES)
    for number, tissue in enumerate(CLASSES):
        name = segments.GetNthSegmentID(number)
        assert name == f"Segment_{tissue.key}"
        assert segments.GetSegment(name).GetName() == tissue.name
        assert segments.GetSegment(name).GetColor() == pytest.approx(np.array(tissue.colour) / 255, abs=1e-6)
        there = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, ct)
        np.testing.assert_array_equal(there > 0, labels == tissue.id)


def test_double_precision_becomes_float32(scene, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(-500, 300, SHAPE)
    finish(exchange.exportVolume(add_ct(scene, values), tmp_path / "ct.mhd"))
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "ct.mhd")))
    assert written.dtype == np.float32
    assert np.array_equal(written, values.astype(np.float32))


@pytest.mark.parametrize("mirrored", [1.0, -1.0], ids=["right-handed", "left-handed"])
def test_an_oblique_volume_lies_where_itk_says(scene, tmp_path: Path, mirrored: float) -> None:
    directions = rotation((20, -35, 50)) @ np.diag([1.0, 1.0, mirrored])
    ct = add_ct(scene, lung_hu(lung_labels()), directions=directions)
    put_under(scene, ct, np.diag([2.0, 1.0, 1.0, 1.0]))  # the file must not know of it
    finish(exchange.exportVolume(ct, tmp_path / "ct.mhd"))
    image = sitk.ReadImage(str(tmp_path / "ct.mhd"))
    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    for ijk in ((0, 0, 0), (43, 0, 0), (0, 39, 0), (0, 0, 23), (12, 7, 5)):
        x, y, z, _one = matrix.MultiplyPoint((*ijk, 1.0))
        assert image.TransformIndexToPhysicalPoint(ijk) == pytest.approx((-x, -y, z), abs=1e-9)
    assert CT.read(tmp_path / "ct.mhd").geometry.same_grid(geometry_of(ct), 1e-6)


def test_what_is_no_ct_is_refused(scene, tmp_path: Path) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colour")
    image = vtk.vtkImageData()
    image.SetDimensions(5, 5, 5)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    colour.SetAndObserveImageData(image)
    flat = add_ct(scene, np.zeros((1, 20, 20), np.int16), name="Flat")
    sheared = add_ct(
        scene, lung_hu(lung_labels()), directions=np.array([[1, 0, 0.3], [0, 1, 0], [0, 0, 1.0]])
    )
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    slicer.util.updateVolumeFromArray(labels, lung_labels())
    bent = add_ct(scene, lung_hu(lung_labels()), name="Bent")
    grid = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Breathing")
    bent.SetAndObserveTransformNodeID(grid.GetID())
    for node, code in (
        (empty, "no-voxels"),
        (colour, "not-scalar"),
        (flat, "not-3d"),
        (sheared, "sheared"),
        (labels, "label-map"),
        (bent, "nonlinear-transform"),
    ):
        with pytest.raises(InputError) as refused:
            finish(exchange.exportVolume(node, tmp_path / "ct.mhd"))
        assert refused.value.code == code
        assert refused.value.hint
    assert not list(tmp_path.iterdir())


def test_an_export_that_stops_leaves_nothing(scene, tmp_path: Path) -> None:
    steps = exchange.exportVolume(add_ct(scene, np.zeros((40, 256, 256), np.int16)), tmp_path / "ct.mhd")
    next(steps)
    steps.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_gives_one_sentence(scene, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        finish(exchange.exportVolume(add_ct(scene, lung_hu(lung_labels())), tmp_path / "gone" / "ct.mhd"))
    assert refused.value.code == "not-written"


def mask_on_other_grid(scene) -> tuple[slicer.vtkMRMLSegmentationNode, np.ndarray]:
    """A ball of 14 mm in a segmentation with its own finer grid; and its centre in its own coordinates."""
    other = add_ct(
        scene, np.zeros((50, 60, 70), np.int16), spacing=(0.6, 0.6, 0.8), origin=(20, -20, 60), name="O"
    )
    matrix = vtk.vtkMatrix4x4()
    other.GetIJKToRASMatrix(matrix)
    k, j, i = np.indices((50, 60, 70))
    places = np.stack([i, j, k, np.ones_like(i)], -1) @ slicer.util.arrayFromVTKMatrix(matrix).T
    centre = slicer.util.arrayFromVTKMatrix(matrix) @ [35, 30, 25, 1]
    ball = (np.linalg.norm(places[..., :3] - centre[:3], axis=-1) < 14).astype(np.uint8)
    return createSegmentation(scene, other, ball, algorithmName="x"), centre


@pytest.mark.parametrize("moved", [False, True], ids=["still", "moved"])
def test_lungs_of_another_grid_and_transform_arrive_within_half_a_voxel(
    scene, tmp_path: Path, moved: bool
) -> None:
    ct = add_ct(scene, np.zeros(SHAPE, np.int16), spacing=(1.1, 1.2, 1.9))
    lungs, centre = mask_on_other_grid(scene)
    if moved:
        turn = np.eye(4)
        turn[:3, :3] = rotation((10, 20, 30))
        turn[:3, 3] = centre[:3] - turn[:3, :3] @ centre[:3] + [-5, 3, -4]
        put_under(scene, lungs, turn)
        centre = turn @ centre
        put_under(scene, ct, np.array([[1, 0, 0, 4.0], [0, 1, 0, -2.0], [0, 0, 1, 1.0], [0, 0, 0, 1]]))
    finish(exchange.exportSegment(lungs, "Segment_healthy", ct, tmp_path / "lungs.mhd"))
    mask = read_mask(tmp_path / "lungs.mhd", geometry_of(ct))
    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    to_world = slicer.util.arrayFromVTKMatrix(matrix)
    if moved:
        to_world = slicer.util.arrayFromTransformMatrix(ct.GetParentTransformNode()) @ to_world
    k, j, i = np.indices(SHAPE)
    world = (np.stack([i, j, k, np.ones_like(i)], -1) @ to_world.T)[..., :3]
    away = np.linalg.norm(world - centre[:3], axis=-1)
    half = 0.5 * np.linalg.norm((0.6, 0.6, 0.8))
    assert mask[away < 14 - half].all()
    assert not mask[away > 14 + half].any()
    assert mask.sum() > 1000


def test_a_surface_can_be_the_lungs(scene, tmp_path: Path) -> None:
    ct = add_ct(scene, np.zeros(SHAPE, np.int16), spacing=(1.1, 1.2, 1.9))
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(-12.0, -54.0, 76.0)
    sphere.SetRadius(13.0)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    lungs = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surface")
    lungs.SetSourceRepresentationToClosedSurface()
    lungs.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "Lungs", [1, 0, 0], "L")
    finish(exchange.exportSegment(lungs, None, ct, tmp_path / "lungs.mhd"))
    mask = read_mask(tmp_path / "lungs.mhd", geometry_of(ct))
    volume = mask.sum() * geometry_of(ct).voxel_ml
    assert volume == pytest.approx(4 / 3 * np.pi * 1.3**3, rel=0.02)
    assert not lungs.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_all_segments_together_are_their_union(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    lungs = createSegmentation(scene, ct, labels, algorithmName="x")
    finish(exchange.exportSegment(lungs, None, ct, tmp_path / "all.mhd"))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "all.mhd"))), labels > 0)


def test_empty_lungs_are_refused(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    lungs = createSegmentation(scene, ct, labels, algorithmName="x")
    with pytest.raises(InputError) as refused:
        finish(exchange.exportSegment(lungs, "Segment_cavity", ct, tmp_path / "lungs.mhd"))
    assert refused.value.code == "empty-mask"


def test_the_library_s_files_come_back_voxel_for_voxel(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels), directions=rotation((5, 25, -15)) @ np.diag([1.0, -1.0, 1.0]))
    folder = write_worker_output(tmp_path / "out", ct, labels)
    read = finish(exchange.readLabels(folder / "labels.mhd", ct))
    entropy = finish(exchange.readScalars(folder / "entropy.mhd", ct))
    assert read.dtype == np.uint8
    assert np.array_equal(read, labels)
    assert entropy.dtype == np.float32
    assert entropy.max() == np.float32(0.7)


def test_a_node_takes_what_was_read_without_a_copy(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    folder = write_worker_output(tmp_path, ct, labels)
    read = finish(exchange.readLabels(folder / "labels.mhd", ct))
    taken = exchange.vtkArrayOf(read)
    read[0, 0, 0] = 77
    assert taken.GetValue(0) == 77
    copied = exchange.vtkArrayOf(labels)
    labels[0, 0, 0] = 78
    assert copied.GetValue(0) == 0


def test_a_result_of_another_grid_is_refused(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    folder = write_worker_output(tmp_path, ct, labels)
    ct.SetSpacing(0.7, 0.9, 2.1)
    with pytest.raises(DiffSegLungError) as refused:
        finish(exchange.readLabels(folder / "labels.mhd", ct))
    assert refused.value.code == "geometry-differs"


@pytest.mark.parametrize("damage", ["cut", "longer", "no voxels", "no header", "header without sense"])
def test_a_damaged_result_gives_one_sentence(scene, tmp_path: Path, damage: str) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    folder = write_worker_output(tmp_path, ct, labels)
    header, voxels = folder / "labels.mhd", folder / "labels.raw"
    if damage == "cut":
        voxels.write_bytes(voxels.read_bytes()[:-1])
    elif damage == "longer":
        voxels.write_bytes(voxels.read_bytes() + b"0")
    elif damage == "header without sense":
        header.write_bytes(b"hello")
    else:
        (voxels if damage == "no voxels" else header).unlink()
    with pytest.raises(DiffSegLungError) as refused:
        finish(exchange.readLabels(header, ct))
    assert refused.value.code == "damaged-result"


def test_a_map_of_another_type_is_refused(scene, tmp_path: Path) -> None:
    labels = lung_labels()
    ct = add_ct(scene, lung_hu(labels))
    folder = write_worker_output(tmp_path, ct, labels)
    with pytest.raises(DiffSegLungError) as refused:
        finish(exchange.readLabels(folder / "entropy.mhd", ct))
    assert refused.value.code == "damaged-result"
