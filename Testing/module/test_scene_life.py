"""The panel in a scene whose nodes come and go: what nobody chose is not chosen, what is chosen stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import slicer
from DiffSegLungPanel.scene.results import resultsOf
from DiffSegLungPanel.steps.request import Request
from headless_slicer import Host
from headless_slicer.parameters import parameter_node
from panels import Desk, add_result
from small_volume import add_chest

from DiffSegLungLib.errors import InputError


@pytest.fixture
def desk(host: Host) -> Iterator[Desk]:
    made = Desk(host)
    yield made
    made.panel.cleanup()


def lungs(name: str, *segments: str) -> slicer.vtkMRMLSegmentationNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    for segment in segments or ("lungs",):
        node.GetSegmentation().AddEmptySegment(segment, segment)
    return node


# A node that was chosen is deleted


def test_a_deleted_output_leaves_a_new_one_and_not_the_lung_regions(desk: Desk, tmp_path: Path) -> None:
    ct, node = add_result(tmp_path)
    regions = resultsOf(node).regions
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    slicer.mrmlScene.RemoveNode(node)
    assert desk.parameters.outputSegmentation is None
    assert desk.ui.outputSelector.currentNode() is None
    before = regions.GetSegmentation().GetSegmentIDs()
    desk.ui.applyButton.click()
    desk.finish_run()
    assert desk.panel.messages.kind == "success", desk.panel.messages.text
    assert regions.GetSegmentation().GetSegmentIDs() == before
    assert desk.parameters.outputSegmentation not in (None, regions)


def test_deleted_lungs_are_found_anew_and_not_taken_from_another_patient(desk: Desk) -> None:
    desk.parameters.inputVolume = add_chest()
    mine, other = lungs("mine", "lungs", "both"), lungs("another patient's", "both")
    desk.ui.lungsSelector.setCurrentNode(mine)
    desk.choose(desk.ui.lungsSegmentComboBox, "both")
    slicer.mrmlScene.RemoveNode(mine)
    assert desk.parameters.lungsSegmentation is None
    desk.ui.lungsSelector.setCurrentNode(other)
    assert desk.parameters.lungsSegmentID == ""  # the id meant a segment of mine


def test_a_deleted_ct_leaves_none_and_not_another_patients(desk: Desk) -> None:
    first = add_chest("first")
    add_chest("second")
    desk.ui.inputSelector.setCurrentNode(first)
    assert desk.parameters.inputVolume is first
    slicer.mrmlScene.RemoveNode(first)
    assert desk.parameters.inputVolume is None
    assert desk.ui.problemLabel.text == "Choose a chest CT to begin."


def test_selectors_of_sections_opened_later_choose_nothing_either(desk: Desk, tmp_path: Path) -> None:
    ct, node = add_result(tmp_path)
    add_result(tmp_path, "another patient")
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    desk.ui.generateCollapsibleButton.collapsed = False
    generate = desk.panel.generate.ui
    assert generate.generateLungsSelector.currentNode() is node
    assert generate.generateVolumeSelector.currentNode() is ct
    slicer.mrmlScene.RemoveNode(node)
    slicer.mrmlScene.RemoveNode(ct)
    assert generate.generateLungsSelector.currentNode() is None
    assert generate.generateVolumeSelector.currentNode() is None


def test_the_editor_is_left_without_a_segmentation_when_its_own_is_deleted(
    desk: Desk, tmp_path: Path
) -> None:
    ct, node = add_result(tmp_path)
    other = lungs("another patient's")
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    desk.ui.refineCollapsibleButton.collapsed = False
    assert desk.ui.segmentEditor.segmentationNode() is node
    slicer.mrmlScene.RemoveNode(node)
    assert desk.ui.segmentEditor.segmentationNode() is None
    assert other.GetSegmentation().GetNumberOfSegments() == 1


def test_lung_regions_are_no_output(desk: Desk, tmp_path: Path) -> None:
    ct, node = add_result(tmp_path)
    regions = resultsOf(node).regions
    for owner in (node, None):  # also after their result was deleted
        with pytest.raises(InputError, match="lung regions") as refused:
            Request(ct, regions, replaceEdited=True).check()
        assert refused.value.code == "output-is-regions"
        if owner is not None:
            slicer.mrmlScene.RemoveNode(owner)
    desk.parameters.inputVolume = ct
    desk.ui.outputSelector.setCurrentNode(regions)
    assert "lung regions" in desk.ui.problemLabel.text and not desk.ui.applyButton.enabled
    desk.ui.outputSelector.setCurrentNode(None)
    desk.ui.lungsSelector.setCurrentNode(regions)  # as lungs they may serve
    assert desk.ui.applyButton.enabled


# A scene is loaded while the module is open (Slicer's issue 7492)


@pytest.fixture(params=[False, True], ids=["5.12", "5.10"])
def slicers_untying(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter_node, "LEAVES_OBSERVERS", request.param)


def save(path: Path) -> Path:
    assert slicer.util.saveScene(str(path))
    return path


@pytest.mark.usefixtures("slicers_untying")
@pytest.mark.parametrize("suffix", [".mrml", ".mrb"])
def test_what_a_scene_brings_is_chosen_after_it_was_loaded(desk: Desk, tmp_path: Path, suffix: str) -> None:
    add_chest("first")
    chosen, mine = add_chest("second"), lungs("mine")
    desk.parameters.inputVolume, desk.parameters.lungsSegmentation = chosen, mine
    path = save(tmp_path / f"scene{suffix}")
    slicer.util.loadScene(str(path))
    assert desk.parameters.inputVolume.GetName() == "second"
    assert desk.ui.inputSelector.currentNode() is desk.parameters.inputVolume
    assert desk.parameters.lungsSegmentation.GetName() == "mine"
    assert desk.ui.lungsSelector.currentNode() is desk.parameters.lungsSegmentation


@pytest.mark.usefixtures("slicers_untying")
def test_what_is_chosen_stays_when_a_scene_without_parameters_is_added(desk: Desk, tmp_path: Path) -> None:
    path = _foreign_scene(desk.host, tmp_path)
    desk.panel.enter()
    add_chest("first")
    chosen, other = add_chest("second"), add_chest("third")
    desk.parameters.inputVolume = chosen
    desk.ui.generateCollapsibleButton.collapsed = False
    desk.panel.generate.ui.generateVolumeSelector.setCurrentNode(other)
    desk.panel.exit()  # a run may go on meanwhile
    slicer.mrmlScene.SetURL(str(path))
    slicer.mrmlScene.Import()
    assert slicer.util.getNode("foreign") is not None
    assert desk.parameters.inputVolume is chosen
    assert desk.ui.inputSelector.currentNode() is chosen
    assert desk.panel.generate.ui.generateVolumeSelector.currentNode() is other


def _foreign_scene(host: Host, folder: Path) -> Path:
    """A scene with a CT that was saved without this module."""
    for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
        slicer.mrmlScene.RemoveNode(node)
    add_chest("foreign")
    path = save(folder / "foreign.mrml")
    host.close_scene()
    return path


@pytest.mark.usefixtures("slicers_untying")
def test_controls_write_once_and_into_the_present_parameters_after_many_imports(
    desk: Desk, tmp_path: Path
) -> None:
    desk.parameters.inputVolume = add_chest()
    for _time in range(3):
        slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
        slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
    desk.ui.seedSpinBox.value = 11
    assert desk.parameters.advanced.seed == 11
    desk.parameters.advanced.seed = 12
    assert desk.ui.seedSpinBox.value == 12


def test_a_run_that_ends_after_an_import_shows_its_result(desk: Desk) -> None:
    desk.parameters.inputVolume = add_chest("chest")
    desk.ui.applyButton.click()
    desk.panel.exit()
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
    desk.finish_run()
    assert desk.parameters.outputSegmentation.GetName() == "chest lung tissue"


def test_refine_goes_on_with_its_segmentation_after_an_import(desk: Desk, tmp_path: Path) -> None:
    ct, node = add_result(tmp_path)
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    desk.ui.refineCollapsibleButton.collapsed = False
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
    assert desk.ui.segmentEditor.segmentationNode() is node
    assert desk.ui.segmentEditor.sourceVolumeNode() is ct


def test_the_editor_works_in_the_next_scene(desk: Desk, tmp_path: Path) -> None:
    """Slicer's editor keeps its parameter node when the scene is closed, which resets that node."""
    ct, node = add_result(tmp_path)
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    desk.ui.refineCollapsibleButton.collapsed = False
    parameters = desk.ui.segmentEditor.mrmlSegmentEditorNode()
    desk.host.close_scene()
    assert desk.ui.segmentEditor.mrmlSegmentEditorNode() is parameters
    ct, node = add_result(tmp_path, "next")
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    editor = desk.ui.segmentEditor.mrmlSegmentEditorNode()
    assert (editor.GetSegmentationNode(), editor.GetSourceVolumeNode()) == (node, ct)
    assert editor.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments


def test_a_deleted_table_is_not_shown_on(desk: Desk, tmp_path: Path) -> None:
    """Slicer's table view without a view node holds its table, in the scene or not."""
    ct, node = add_result(tmp_path)
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    table = resultsOf(node).classTable
    assert desk.ui.classTableView.mrmlTableNode() is table
    slicer.mrmlScene.RemoveNode(table)
    assert desk.ui.classTableView.mrmlTableNode() is None
