"""Edits are found whoever makes them, and nothing that was edited is lost."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from DiffSegLungPanel.scene import results
from DiffSegLungPanel.scene.edits import EditWatcher, fingerprints, isEdited, markEdited, settleTags
from DiffSegLungPanel.scene.segmentation import classMap, createSegmentation
from DiffSegLungPanel.scene.segments import notAnEdit
from mrml_scenes import SHAPE, add_ct, finish, lung_hu, lung_labels, write_worker_output
from vtk.util.numpy_support import numpy_to_vtk

from DiffSegLungLib.classes import BY_KEY, CLASSES, CONSOLIDATION, EMPHYSEMA, FIBROSIS

BOX = (slice(12, 16), slice(15, 20), slice(12, 18))
"""Where the tests paint: healthy lung in the middle of the right lung."""


@pytest.fixture
def ct(scene) -> slicer.vtkMRMLScalarVolumeNode:
    return add_ct(scene, lung_hu(lung_labels()))


@pytest.fixture
def node(scene, ct, tmp_path: Path) -> slicer.vtkMRMLSegmentationNode:
    return finish(results.importResults(scene, ct, write_worker_output(tmp_path, ct, lung_labels())))


def types(node: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    """Class key -> DICOM algorithm type."""
    found, key = vtk.mutable(""), vtk.mutable("")
    segmentation = node.GetSegmentation()
    pairs = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        if segment.GetTag("DiffSegLung.class", key):
            segment.GetTag("DICOM.SegmentAlgorithmType", found)
            pairs[str(key.get())] = str(found.get())
    return pairs


def edited(node: slicer.vtkMRMLSegmentationNode) -> set[str]:
    return {key for key, kind in types(node).items() if kind != "AUTOMATIC"}


def ml_of(node: slicer.vtkMRMLSegmentationNode, key: str) -> float:
    """ml in both lungs, as the table says."""
    return float(results.resultsOf(node).classTable.GetCellText(BY_KEY[key].id - 1, 2))


def paint(node: slicer.vtkMRMLSegmentationNode, key: str, box: tuple[slice, slice, slice]) -> None:
    """A stroke as the Segment Editor makes it: into one segment, taken from all others."""
    scene = node.GetScene()
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(scene)
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetAndObserveSegmentationNode(node)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    logic.SetSegmentEditorNode(editor)
    logic.ModifySegmentByLabelmap(
        node, f"Segment_{key}", modifier(node, box), logic.ModificationModeAdd, False, False
    )
    scene.RemoveNode(editor)


def modifier(node: slicer.vtkMRMLSegmentationNode, box) -> slicer.vtkOrientedImageData:
    """A mask (0, 1) in the segmentation's own coordinates."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[box] = 1
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*SHAPE[::-1])
    values = numpy_to_vtk(mask.ravel(), deep=True)
    values.SetName("ImageScalars")
    image.GetPointData().SetScalars(values)
    matrix = vtk.vtkMatrix4x4()
    results.resultsOf(node).volume.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    return image


def test_what_the_model_made_is_not_edited(node) -> None:
    assert not isEdited(node)
    assert edited(node) == set()


def test_a_stroke_flips_the_tags_of_exactly_what_changed(scene, ct, node) -> None:
    """Healthy lung lost the voxels; Slicer's event names emphysema only."""
    calls = []
    watcher = EditWatcher(node, lambda: calls.append(1))
    paint(node, "emphysema", BOX)
    assert calls
    assert edited(node) == {"emphysema"}, "known at once, from the event"
    assert isEdited(node)
    finish(results.refreshResults(scene, node))
    assert edited(node) == {"emphysema", "healthy"}
    expected = lung_labels()
    expected[BOX] = EMPHYSEMA
    assert np.array_equal(finish(classMap(node, ct)), expected)
    watcher.stop()


def test_the_tables_follow_an_edit(scene, ct, node) -> None:
    before = ml_of(node, "emphysema"), ml_of(node, "healthy")
    paint(node, "emphysema", BOX)
    finish(results.refreshResults(scene, node))
    moved = 4 * 5 * 6 * 0.7 * 0.9 * 2.0 / 1000
    assert ml_of(node, "emphysema") == pytest.approx(before[0] + moved, abs=0.006)
    assert ml_of(node, "healthy") == pytest.approx(before[1] - moved, abs=0.006)


def test_a_script_s_edit_is_found_without_anyone_watching(scene, ct, node) -> None:
    mask = (lung_labels() == FIBROSIS).astype(np.uint8)
    mask[BOX] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "Segment_fibrosis")
    assert edited(node) == set()
    assert isEdited(node), "by its content"
    finish(results.refreshResults(scene, node))
    assert edited(node) == {"fibrosis"}
    assert (finish(classMap(node, ct)) == FIBROSIS).sum() == mask.sum()
    assert ml_of(node, "fibrosis") == pytest.approx(mask.sum() * 0.7 * 0.9 * 2.0 / 1000, abs=0.006)


def test_a_script_s_edit_is_heard_by_the_watcher(node) -> None:
    calls = []
    watcher = EditWatcher(node, lambda: calls.append(1))
    mask = (lung_labels() == FIBROSIS).astype(np.uint8)
    mask[BOX] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "Segment_fibrosis")
    assert calls
    assert edited(node) == {"fibrosis"}
    watcher.stop()
    watcher.stop()
    calls.clear()
    paint(node, "emphysema", BOX)
    assert not calls


def test_saving_flips_no_tag(node, tmp_path: Path) -> None:
    """Saving moves every class into one label map again: other images and label values, the same voxels."""
    watcher = EditWatcher(node, lambda: None)
    paint(node, "emphysema", BOX)
    finish(results.refreshResults(node.GetScene(), node))
    assert edited(node) == {"emphysema", "healthy"}
    slicer.util.saveNode(node, str(tmp_path / "edited.seg.nrrd"))
    assert edited(node) == {"emphysema", "healthy"}
    watcher.stop()


def test_an_edit_taken_back_leaves_the_classes_automatic(scene, node) -> None:
    watcher = EditWatcher(node, lambda: None)
    paint(node, "emphysema", BOX)
    paint(node, "healthy", BOX)
    assert edited(node) == {"emphysema", "healthy"}
    finish(results.refreshResults(scene, node))
    assert edited(node) == set()
    assert not isEdited(node)
    watcher.stop()


def test_a_class_that_a_person_drew_alone_stays_manual(scene, node) -> None:
    node.GetSegmentation().GetSegment("Segment_cavity").SetTag("DICOM.SegmentAlgorithmType", "MANUAL")
    finish(results.refreshResults(scene, node))
    markEdited(node, ["Segment_cavity"])
    assert types(node)["cavity"] == "MANUAL"
    assert isEdited(node)


def test_names_colours_order_and_own_segments_are_no_edits(scene, ct, node) -> None:
    calls = []
    watcher = EditWatcher(node, lambda: calls.append(1))
    segmentation = node.GetSegmentation()
    segmentation.GetSegment("Segment_fibrosis").SetName("Scar")
    segmentation.GetSegment("Segment_fibrosis").SetColor(1.0, 0.0, 0.0)
    segmentation.ReorderSegments(list(segmentation.GetSegmentIDs())[::-1])
    assert not calls
    mine = segmentation.AddEmptySegment("", "My nodule")
    nodule = np.zeros(SHAPE, np.uint8)
    nodule[BOX] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(nodule, node, mine)
    assert edited(node) == set()
    assert not isEdited(node)
    before = {c.key: ml_of(node, c.key) for c in CLASSES}
    finish(results.refreshResults(scene, node))
    assert {c.key: ml_of(node, c.key) for c in CLASSES} == before
    watcher.stop()


def test_changes_of_the_module_itself_are_no_edits(scene, ct, node) -> None:
    calls = []
    watcher = EditWatcher(node, lambda: calls.append(1))
    with notAnEdit(node):
        paint(node, "emphysema", BOX)
    createSegmentation(scene, ct, lung_labels(), algorithmName="x", target=node)
    assert not calls
    assert edited(node) == set()
    paint(node, "emphysema", BOX)
    assert calls, "the watcher goes on"
    watcher.stop()


def test_a_deleted_class_counts_nothing(scene, node) -> None:
    calls = []
    watcher = EditWatcher(node, lambda: calls.append(1))
    node.GetSegmentation().RemoveSegment("Segment_ground_glass")
    assert calls
    assert isEdited(node)
    finish(results.refreshResults(scene, node))
    assert ml_of(node, "ground_glass") == 0.0
    assert ml_of(node, "emphysema") > 0
    watcher.stop()


def test_all_classes_deleted_leaves_lungs_without_classes(scene, node) -> None:
    node.GetSegmentation().RemoveAllSegments()
    quantities = finish(results.refreshResults(scene, node))
    assert quantities.lungs.volume_ml > 20
    assert sum(c.volume_ml for c in quantities.lungs.classes) == 0


def test_an_emptied_class_is_edited(scene, node) -> None:
    node.GetSegmentation().ClearSegment("Segment_consolidation")
    assert isEdited(node)
    finish(results.refreshResults(scene, node))
    assert edited(node) == {"consolidation"}
    assert ml_of(node, "consolidation") == 0.0


def test_disease_painted_outside_the_lung_mask_is_counted(scene, node) -> None:
    """A lung mask fails exactly where disease is dense: what a reader adds must show in the tables."""
    box = (slice(3, 6), slice(8, 12), slice(41, 44))  # beyond the left lung, low
    regions = {r.name: r for r in finish(results.refreshResults(scene, node)).regions}
    paint(node, "consolidation", box)
    after = {r.name: r for r in finish(results.refreshResults(scene, node)).regions}
    added = (36 - (lung_labels()[box] > 0).sum()) * 0.7 * 0.9 * 2.0 / 1000
    assert added > 0
    assert after["left lower"].volume_ml == pytest.approx(regions["left lower"].volume_ml + added)
    assert after["right"] == regions["right"]


def test_run_again_after_edits_and_edited_again(scene, ct, node, tmp_path: Path) -> None:
    """The whole round: edit, run into the same target, edit; tags and labels say the truth at every step."""
    paint(node, "emphysema", BOX)
    finish(results.refreshResults(scene, node))
    assert isEdited(node)
    tables = results.resultsOf(node)
    folder = write_worker_output(tmp_path / "again", ct, lung_labels())
    again = finish(results.importResults(scene, ct, folder, target=node))
    assert again is node
    assert results.resultsOf(node) == tables, "the same nodes, filled anew"
    assert not isEdited(node)
    assert edited(node) == set()
    assert np.array_equal(finish(classMap(node, ct)), lung_labels())
    segmentation = node.GetSegmentation()
    values = {c.id: segmentation.GetSegment(f"Segment_{c.key}").GetLabelValue() for c in CLASSES}
    assert values == {c.id: c.id for c in CLASSES}
    assert segmentation.GetNumberOfLayers() == 1
    paint(node, "consolidation", BOX)
    finish(results.refreshResults(scene, node))
    assert edited(node) == {"consolidation", "healthy"}
    assert (finish(classMap(node, ct))[BOX] == CONSOLIDATION).all()


def test_a_fingerprint_sees_one_voxel_and_nothing_else(scene, ct, node) -> None:
    before = finish(fingerprints(node))
    node.GetSegmentation().SeparateSegmentLabelmap("Segment_fibrosis")
    node.GetSegmentation().GetSegment("Segment_fibrosis").SetLabelValue(1)
    assert finish(fingerprints(node)) == before
    for step in (np.array([0, 0, -1]), np.array([0, -1, 0]), np.array([-1, 0, 0])):
        labels = lung_labels()
        here = np.argwhere(labels == EMPHYSEMA)[0]
        there = here + step
        labels[tuple(here)], labels[tuple(there)] = labels[tuple(there)], EMPHYSEMA
        other = createSegmentation(scene, ct, labels, algorithmName="x")
        after = finish(fingerprints(other))
        assert {key for key in before if before[key] != after[key]} == {"healthy", "emphysema"}
        counts = [int(value.split(":")[0]) for value in (before["emphysema"], after["emphysema"])]
        assert counts[0] == counts[1], "one voxel moved: the count alone would not tell"


def test_settling_says_which_classes_changed(node) -> None:
    paint(node, "fibrosis", BOX)
    assert finish(settleTags(node)) == {"fibrosis", "healthy"}


def test_a_stroke_costs_next_to_nothing(scene, node) -> None:
    """Hundreds of events a second arrive while someone paints; the handler computes nothing."""
    watcher = EditWatcher(node, lambda: None)
    segmentation = node.GetSegmentation()
    begin = time.perf_counter()
    for _event in range(200):
        segmentation.GetSegment("Segment_healthy").GetRepresentation("Binary labelmap").Modified()
        segmentation.InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
    assert (time.perf_counter() - begin) / 200 < 0.005
    watcher.stop()
