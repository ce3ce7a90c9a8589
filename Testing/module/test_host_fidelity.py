"""Facts of Slicer that the module has to live with, on Slicer's real MRML, and the host's own promises."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from headless_slicer import Host
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


@parameterNodeWrapper
class Parameters:
    ct: slicer.vtkMRMLScalarVolumeNode
    lungs: slicer.vtkMRMLSegmentationNode
    model: Path
    count: int = 5


class HostFidelityLogic(ScriptedLoadableModuleLogic):
    """Its parameter node is the test's."""


def parameters() -> Any:
    return Parameters(HostFidelityLogic().getParameterNode())


def volume(shape: tuple[int, int, int] = (4, 6, 8)) -> Any:
    """A CT of the given (k, j, i) shape, 1 mm voxels, all 0 HU."""
    return slicer.util.addVolumeFromArray(np.zeros(shape, np.int16), name="ct")


def segmentation_of(labels: np.ndarray, ct: Any) -> Any:
    """A segmentation with one segment per label value, by Slicer's import."""
    label_volume = slicer.modules.volumes.logic().CreateAndAddLabelVolume(ct, "labels")
    slicer.util.updateVolumeFromArray(label_volume, labels)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_volume, segmentation)
    slicer.mrmlScene.RemoveNode(label_volume)
    return segmentation


def three_labels() -> tuple[Any, Any]:
    """A CT and a segmentation whose segments have the label values 1, 3 and 5."""
    labels = np.zeros((4, 6, 8), np.uint8)
    for plane, value in enumerate((1, 3, 5)):
        labels[plane] = value
    ct = volume()
    return ct, segmentation_of(labels, ct)


def label_values(segmentation: Any) -> list[int]:
    segments = segmentation.GetSegmentation()
    return [segments.GetNthSegment(n).GetLabelValue() for n in range(segments.GetNumberOfSegments())]


def test_export_without_colour_table_renumbers_labels(host: Host) -> None:
    segmentation = three_labels()[1]
    assert label_values(segmentation) == [1, 3, 5]
    exported = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.modules.segmentations.logic().ExportAllSegmentsToLabelmapNode(segmentation, exported)
    assert set(np.unique(slicer.util.arrayFromVolume(exported))) - {0} == {1, 2, 3}


def test_an_edit_from_an_array_changes_the_label_value(host: Host) -> None:
    ct, segmentation = three_labels()
    segment_id = segmentation.GetSegmentation().GetNthSegmentID(2)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, ct)
    mask[0, 0, 0] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment_id, ct)
    assert label_values(segmentation)[2] != 5
    assert slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, ct).sum() == mask.sum()


def test_subject_hierarchy_items_need_create_item_without_qt(host: Host) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    ct = volume()
    assert hierarchy.GetItemByDataNode(ct) == hierarchy.GetInvalidItemID()
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), ct)
    assert hierarchy.GetItemByDataNode(ct) == item


def test_questions_are_answered_with_no_in_testing_mode(host: Host) -> None:
    assert slicer.util.confirmYesNoDisplay("Replace it?") is False
    assert slicer.util.confirmOkCancelDisplay("Replace it?") is False
    assert [message.text for message in host.messages if message.question] == ["Replace it?"] * 2


def test_questions_get_the_tests_answers(host: Host) -> None:
    host.answer(True, False)
    assert slicer.util.confirmYesNoDisplay("Replace it?") is True
    assert slicer.util.confirmOkCancelDisplay("Go on?") is False


def test_a_question_nobody_answers_is_an_error_outside_testing_mode(host: Host) -> None:
    host.testing = False
    with pytest.raises(AssertionError, match="Replace it"):
        slicer.util.confirmYesNoDisplay("Replace it?")


def test_errors_are_shown_only_outside_testing_mode(host: Host) -> None:
    for testing, shown in ((True, []), (False, ["Segmentation failed.\n\nno lungs"])):
        host.testing = testing
        with (
            pytest.raises(ValueError, match="no lungs"),
            slicer.util.tryWithErrorDisplay("Segmentation failed."),
        ):
            raise ValueError("no lungs")
        assert host.messages.errors == shown


def test_scene_close_keeps_views_and_ends_data(host: Host) -> None:
    volume()
    host.close_scene()
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    assert names == {"Red", "Yellow", "Green"}
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    for class_name in ("Layout", "View", "Camera", "Interaction", "Selection", "SubjectHierarchy"):
        assert len(slicer.util.getNodesByClass(f"vtkMRML{class_name}Node")) == 1, class_name
    orientations = [
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().GetOrientation()
        for name in ("Red", "Yellow", "Green")
    ]
    assert orientations == ["Axial", "Sagittal", "Coronal"]


def test_an_archive_brings_everything_back(host: Host, tmp_path: Path) -> None:
    ct, segmentation = three_labels()
    segmentation.GetSegmentation().GetNthSegment(0).SetTag("DiffSegLung.class", "healthy")
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "volumes")
    column = table.AddColumn(vtk.vtkDoubleArray())
    column.InsertNextValue(12.5)
    given = parameters()
    given.ct, given.lungs, given.model = ct, segmentation, Path("/models/a")
    given.count = 3
    archive = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(archive)
    host.close_scene()
    slicer.util.loadScene(archive)
    back = parameters()
    assert back.ct is slicer.util.getNode("ct")
    assert back.lungs.GetSegmentation().GetNumberOfSegments() == 3
    assert tag(back.lungs.GetSegmentation().GetNthSegment(0), "DiffSegLung.class") == "healthy"
    assert (back.model, back.count) == (Path("/models/a"), 3)
    assert float(slicer.util.getNode("volumes").GetTable().GetColumn(0).GetValue(0)) == 12.5


def vtk_matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(matrix, array)
    return matrix


def tag(segment: Any, name: str) -> str:
    value = vtk.mutable("")
    segment.GetTag(name, value)
    return str(value)


def test_packages_are_asked_for_and_never_installed(host: Host) -> None:
    host.testing = False
    host.packages.missing = {"psutil"}
    assert not slicer.packaging.pip_check("psutil>=5")
    host.packages.refuse = True
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("psutil>=5", requester="DiffSegLung")
    host.packages.refuse, host.packages.fail = False, "no network"
    with pytest.raises(subprocess.CalledProcessError):
        slicer.packaging.pip_ensure("psutil>=5", prompt_install=False)
    host.packages.fail = ""
    host.answer(True)
    slicer.packaging.pip_ensure("psutil>=5 numpy", requester="DiffSegLung")
    assert host.packages.installed == ["psutil>=5", "psutil>=5"]
    assert host.packages.asked == ["DiffSegLung", "DiffSegLung"]
    assert slicer.packaging.pip_check("psutil>=5")


def test_a_sample_needs_uris_as_in_slicer(host: Host) -> None:
    import SampleData

    with pytest.raises(TypeError):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleName="x", fileNames="x.nrrd")


def test_files_round_trip_with_their_geometry(host: Host, tmp_path: Path) -> None:
    """An oblique volume: turned by 0.2 rad about the anterior axis, spacing 0.7 × 0.8 × 2.5 mm."""
    cosine, sine = np.cos(0.2), np.sin(0.2)
    rotation = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag([-0.7, -0.8, 2.5])
    matrix[:3, 3] = -11, 12, 13
    ct = volume((3, 4, 5))
    slicer.util.updateVolumeFromArray(ct, np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    ct.SetIJKToRASMatrix(vtk_matrix(matrix))
    for name in ("ct.nrrd", "ct.nii.gz"):
        assert slicer.util.exportNode(ct, str(tmp_path / name))
        back = slicer.util.loadVolume(str(tmp_path / name))
        assert (slicer.util.arrayFromVolume(back) == slicer.util.arrayFromVolume(ct)).all()
        again = vtk.vtkMatrix4x4()
        back.GetIJKToRASMatrix(again)
        assert slicer.util.arrayFromVTKMatrix(again) == pytest.approx(matrix, abs=1e-5)


def test_a_missing_file_raises(host: Host, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        slicer.util.loadVolume(str(tmp_path / "nowhere.nrrd"))


def test_an_axial_picture_has_the_patients_right_on_the_left_and_anterior_up(
    host: Host, tmp_path: Path
) -> None:
    """One bright octant: right, anterior. The CT's voxels run to the left and to posterior (LPS)."""
    voxels = np.zeros((10, 100, 100), np.int16)
    voxels[:, :50, :50] = 1000
    ct = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-1.0, -1.0, 1.0, 1.0]), name="octant")
    ct.CreateDefaultDisplayNodes()
    ct.GetDisplayNode().SetAutoWindowLevel(False)
    ct.GetDisplayNode().SetWindowLevel(1000, 500)
    slicer.util.setSliceViewerLayers(background=ct, fit=True)
    picture = pixels(host.render_slice("Red", tmp_path / "red.png", (200, 200)))
    assert picture[50, 50].tolist() == [255, 255, 255]
    assert [picture[y, x].max() for y, x in ((50, 150), (150, 50), (150, 150))] == [0, 0, 0]


def test_a_segment_is_drawn_in_slice_and_3d_views(host: Host, tmp_path: Path) -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[10:30, 10:30, 10:30] = 1
    ct = volume((40, 40, 40))
    segmentation = segmentation_of(labels, ct)
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetSegmentation().GetNthSegment(0).SetColor(1, 0, 0)
    segmentation.CreateClosedSurfaceRepresentation()
    slicer.util.setSliceViewerLayers(background=ct, fit=True)
    flat = pixels(host.render_slice("Green", tmp_path / "green.png", (200, 200))).astype(int)
    solid = pixels(host.render_3d(tmp_path / "3d.png", (200, 200))).astype(int)
    for picture in (flat, solid):
        red = picture[100, 100]
        assert red[0] > 100 > red[1] == red[2]
    assert flat[5, 5].tolist() == [0, 0, 0]


def pixels(path: Path) -> np.ndarray:
    """The picture as (y, x, 3), row 0 at the top."""
    from PIL import Image

    return np.asarray(Image.open(path))


def test_slice_views_jump(host: Host) -> None:
    ct = volume((40, 40, 40))
    slicer.util.setSliceViewerLayers(background=ct, fit=True)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 10.0, 20.0, 30.0)
    manager = slicer.app.layoutManager()
    offsets = [manager.sliceWidget(name).sliceLogic().GetSliceOffset() for name in ("Red", "Yellow", "Green")]
    assert offsets == pytest.approx([30.0, -10.0, 20.0])  # Slicer's sagittal slices count to the left
