"""Label maps as segmentation nodes: segments, tags, terminology, subject hierarchy, filling again."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from DiffSegLungPanel.scene import exchange, terminology
from DiffSegLungPanel.scene.segmentation import (
    classMap,
    createRegions,
    createSegmentation,
    isEdited,
    regionMap,
)
from mrml_scenes import (
    SHAPE,
    add_ct,
    finish,
    lung_hu,
    lung_labels,
    lung_regions,
    put_under,
    rotation,
    write_worker_output,
)

from DiffSegLungLib.classes import BY_KEY, CLASSES, FIBROSIS, GROUND_GLASS
from DiffSegLungLib.errors import InputError

TAGS = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName", "DiffSegLung.class", "TerminologyEntry"


def tag(node: slicer.vtkMRMLSegmentationNode, segment_id: str, name: str) -> str:
    value = vtk.mutable("")
    node.GetSegmentation().GetSegment(segment_id).GetTag(name, value)
    return str(value.get())


def ids(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    return list(node.GetSegmentation().GetSegmentIDs())


def voxels(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id) > 0


@pytest.fixture
def ct(scene) -> slicer.vtkMRMLScalarVolumeNode:
    return add_ct(scene, lung_hu(lung_labels()))


@pytest.fixture
def node(scene, ct) -> slicer.vtkMRMLSegmentationNode:
    return createSegmentation(scene, ct, lung_labels(), algorithmName="DiffSegLung model 1")


def test_every_class_is_a_segment_in_one_shared_layer(node) -> None:
    assert ids(node) == [f"Segment_{c.key}" for c in CLASSES]
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    for c in CLASSES:
        segment = node.GetSegmentation().GetSegment(f"Segment_{c.key}")
        assert segment.GetName() == c.name
        assert segment.GetLabelValue() == c.id
        assert np.allclose(np.array(segment.GetColor()) * 255, c.colour)
        found = [tag(node, f"Segment_{c.key}", name) for name in TAGS]
        assert found == ["AUTOMATIC", "DiffSegLung model 1", c.key, c.terminology]
        assert np.array_equal(voxels(node, f"Segment_{c.key}"), lung_labels() == c.id)


def test_it_lies_and_stands_where_the_ct_does(scene, ct, node) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert node.GetName() == "CT lung tissue"
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is ct
    item = hierarchy.GetItemByDataNode(node)
    assert item != 0
    assert hierarchy.GetItemParent(item) == hierarchy.GetItemParent(hierarchy.GetItemByDataNode(ct))


def test_it_joins_the_study_of_the_ct(scene) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    ct = add_ct(scene, lung_hu(lung_labels()))
    transform = put_under(scene, ct, np.diag([1.0, 1.0, 2.0, 1.0]))
    hierarchy.CreateItem(study, ct)
    node = createSegmentation(scene, ct, lung_labels(), algorithmName="x")
    regions = createRegions(scene, ct, lung_regions(lung_labels()))
    for made in (node, regions):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(made)) == study
        assert made.GetParentTransformNode() is transform


def test_the_memory_of_the_labels_outlives_python(scene, ct, tmp_path: Path) -> None:
    folder = write_worker_output(tmp_path, ct, lung_labels())
    labels = finish(exchange.readLabels(folder / "labels.mhd", ct))
    node = createSegmentation(scene, ct, labels, algorithmName="x")
    del labels
    gc.collect()
    rubbish = [np.full(SHAPE, 9, np.uint8) for _ in range(50)]
    assert np.array_equal(finish(classMap(node, ct)), lung_labels())
    del rubbish


def test_regions_are_hidden_and_come_back(scene, ct) -> None:
    regions = lung_regions(lung_labels())
    node = createRegions(scene, ct, regions)
    assert node.GetDisplayNode().GetVisibility() == 0
    assert node.GetSegmentation().GetNumberOfSegments() == 6
    assert node.GetSegmentation().GetNthSegment(3).GetName() == "Left upper third"
    assert np.array_equal(finish(regionMap(node, ct)), regions)


def test_the_class_map_goes_by_tags_not_by_label_values(scene, ct, node) -> None:
    healthy = voxels(node, "Segment_healthy")
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        voxels(node, "Segment_ground_glass").astype(np.uint8), node, "Segment_ground_glass"
    )
    assert node.GetSegmentation().GetSegment("Segment_ground_glass").GetLabelValue() != GROUND_GLASS
    node.GetSegmentation().ReorderSegments(ids(node)[::-1])
    assert np.array_equal(finish(classMap(node, ct)), lung_labels())
    assert np.array_equal(voxels(node, "Segment_healthy"), healthy)


def test_of_overlapping_segments_the_edited_one_counts(scene, ct, node) -> None:
    both = voxels(node, "Segment_fibrosis") | voxels(node, "Segment_healthy")
    slicer.util.updateSegmentBinaryLabelmapFromArray(both.astype(np.uint8), node, "Segment_healthy")
    assert (finish(classMap(node, ct)) == FIBROSIS).sum() == (lung_labels() == FIBROSIS).sum()
    node.GetSegmentation().GetSegment("Segment_healthy").SetTag(TAGS[0], "SEMIAUTOMATIC")
    assert (finish(classMap(node, ct)) == FIBROSIS).sum() == 0


def test_filling_again_keeps_the_node_and_what_is_the_users(scene, ct, node) -> None:
    segmentation = node.GetSegmentation()
    mine = segmentation.AddEmptySegment("", "My nodule")
    nodule = np.zeros(SHAPE, np.uint8)
    nodule[15, 15:18, 15:18] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(nodule, node, mine)
    segmentation.GetSegment("Segment_fibrosis").SetName("Scar")
    node.GetDisplayNode().SetSegmentOpacity2DFill("Segment_fibrosis", 0.25)
    node.GetDisplayNode().SetSegmentVisibility("Segment_vessel", False)
    segmentation.RemoveSegment("Segment_cavity")
    segmentation.SeparateSegmentLabelmap("Segment_emphysema")
    other = np.roll(lung_labels(), 1, axis=2)
    again = createSegmentation(scene, ct, other, algorithmName="DiffSegLung model 2", target=node)
    assert again is node
    assert np.array_equal(finish(classMap(node, ct)), other)
    assert np.array_equal(voxels(node, mine), nodule > 0)
    assert segmentation.GetSegment(mine).GetName() == "My nodule"
    assert segmentation.GetSegment("Segment_fibrosis").GetName() == "Scar"
    assert node.GetDisplayNode().GetSegmentOpacity2DFill("Segment_fibrosis") == 0.25
    assert not node.GetDisplayNode().GetSegmentVisibility("Segment_vessel")
    assert tag(node, "Segment_cavity", TAGS[2]) == "cavity"
    assert tag(node, "Segment_fibrosis", TAGS[1]) == "DiffSegLung model 2"
    assert len(ids(node)) == 8


def test_a_user_s_segment_in_the_shared_layer_survives(scene, ct, node) -> None:
    labels = lung_labels()
    labels[0, 0, 0] = 9
    first = createSegmentation(scene, ct, labels, algorithmName="x")
    segment = slicer.vtkSegment()
    segment.SetName("Mine")
    segment.SetLabelValue(9)
    shared = first.GetSegmentation().GetSegment("Segment_healthy").GetRepresentation("Binary labelmap")
    segment.AddRepresentation("Binary labelmap", shared)
    first.GetSegmentation().AddSegment(segment, "mine")
    assert first.GetSegmentation().GetNumberOfLayers() == 1
    createSegmentation(scene, ct, lung_labels(), algorithmName="x", target=first)
    assert voxels(first, "mine").sum() == 1
    assert np.array_equal(finish(classMap(first, ct)), lung_labels())


def test_a_copied_class_becomes_the_users_when_filled_again(scene, ct, node) -> None:
    segmentation = node.GetSegmentation()
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetSegment("Segment_fibrosis"))
    segmentation.AddSegment(copy, "copy")
    assert tag(node, "copy", TAGS[2]) == "fibrosis"
    createSegmentation(scene, ct, np.zeros(SHAPE, np.uint8), algorithmName="x", target=node)
    assert tag(node, "copy", TAGS[2]) == ""
    assert voxels(node, "copy").sum() == (lung_labels() == FIBROSIS).sum()
    assert not finish(classMap(node, ct)).any()


def test_any_segmentation_of_the_user_can_receive_the_result(scene, ct) -> None:
    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    assert not isEdited(mine)
    node = createSegmentation(scene, ct, lung_labels(), algorithmName="x", target=mine)
    assert node.GetName() == "Mine"
    assert ids(node)[0] == "tumour"
    assert np.array_equal(finish(classMap(node, ct)), lung_labels())


@pytest.mark.parametrize("surfaces", [False, True], ids=["voxels", "surfaces"])
def test_a_target_elsewhere_comes_to_the_ct_and_its_own_segments_stay(scene, ct, surfaces: bool) -> None:
    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    if surfaces:
        mine.SetSourceRepresentationToClosedSurface()
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = rotation((10, 20, 30)), (5.0, 6.0, 7.0)
    put_under(scene, mine, turn)
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(4.0)
    sphere.SetCenter(*(np.linalg.inv(turn) @ [5.0, -45.0, 78.0, 1.0])[:3])
    sphere.Update()
    mine.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "Ball", [1, 0, 0], "ball")
    put_under(scene, ct, np.diag([1.0, 1.0, 1.0, 1.0]) + np.eye(4, k=3) * 9.0)
    createSegmentation(scene, ct, lung_labels(), algorithmName="x", target=mine)
    assert mine.GetTransformNodeID() == ct.GetTransformNodeID()
    assert mine.GetSegmentCenterRAS("ball") == pytest.approx((5.0, -45.0, 78.0), abs=1.0)
    assert np.array_equal(finish(classMap(mine, ct)), lung_labels())


def test_a_target_under_a_non_linear_transform_is_refused(scene, ct) -> None:
    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode").GetID())
    with pytest.raises(InputError) as refused:
        createSegmentation(scene, ct, lung_labels(), algorithmName="x", target=mine)
    assert refused.value.code == "nonlinear-transform"
    assert mine.GetSegmentation().GetNumberOfSegments() == 0


def test_exported_with_its_colours_it_keeps_the_class_ids(scene, ct, node) -> None:
    """Slicer's own export numbers segments by their order unless the labels go with a colour table."""
    node.GetSegmentation().RemoveSegment("Segment_emphysema")
    logic = slicer.modules.segmentations.logic()
    exported = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "exported")
    logic.ExportAllSegmentsToLabelmapNode(node, exported)
    renumbered = slicer.util.arrayFromVolume(exported)
    assert renumbered.max() == len(CLASSES) - 1
    labels = lung_labels()
    labels[labels == BY_KEY["emphysema"].id] = 0
    assert np.array_equal(finish(classMap(node, ct)), labels)


def test_the_terminology_file_is_that_of_the_classes() -> None:
    assert json.loads(terminology.FILE.read_text(encoding="utf-8")) == terminology.terminology()


def test_slicer_knows_every_class_s_terminology(scene, node) -> None:
    logic = slicer.modules.terminologies.logic()
    assert terminology.loadTerminology(logic)
    assert terminology.loadTerminology(logic), "a second time does nothing"
    for c in CLASSES:
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(c.terminology, entry)
        assert entry.GetTerminologyContextName() == terminology.CONTEXT
        assert entry.GetTypeObject().GetCodeValue() == c.type.value
        category = slicer.vtkSlicerTerminologyCategory()
        found = slicer.vtkSlicerTerminologyType()
        numbers = range(logic.GetNumberOfCategoriesInTerminology(terminology.CONTEXT))
        names = {}
        for number in numbers:
            assert logic.GetNthCategoryInTerminology(terminology.CONTEXT, number, category)
            for place in range(logic.GetNumberOfTypesInTerminologyCategory(terminology.CONTEXT, category)):
                logic.GetNthTypeInTerminologyCategory(terminology.CONTEXT, category, place, found)
                names[found.GetCodeValue()] = (
                    category.GetCodeValue(),
                    tuple(found.GetRecommendedDisplayRGBValue()),
                )
        assert names[c.type.value] == (c.category.value, c.colour)


def test_what_is_no_finding_is_drawn_faintly_until_the_user_wants_otherwise(scene, ct, node):
    display = node.GetDisplayNode()
    assert display.GetSegmentOpacity2DFill("Segment_healthy") == pytest.approx(0.2)
    assert display.GetSegmentOpacity2DFill("Segment_consolidation") == 1.0
    display.SetSegmentOpacity2DFill("Segment_healthy", 0.7)
    createSegmentation(scene, ct, lung_labels(), algorithmName="test 1", target=node)
    assert display.GetSegmentOpacity2DFill("Segment_healthy") == pytest.approx(0.7)
