"""The panel at work: what it says, what it asks, what it starts, and how it lives with the scene."""

import json
import math

import numpy as np
import pytest
import slicer
import vtk
from DiffSegLungPanel.models import readCard
from DiffSegLungPanel.panes.dialogs import Answer
from DiffSegLungPanel.scene.results import resultsOf
from modelcards import tiny_card
from panels import Desk, QuickLogic, add_result, paint
from small_volume import add_chest

from DiffSegLungLib.model.archive import Packed
from DiffSegLungLib.model.library import Library

CARD = tiny_card(b"", version="3", schedule={"timesteps": 50}, population={"timesteps": [2, 4]})
BUILT_IN = f"Built-in ({readCard('built-in').name})"


@pytest.fixture
def desk(host):
    made = Desk(host)
    yield made
    made.panel.cleanup()


@pytest.fixture
def real_desk(host):
    made = Desk(host, QuickLogic())
    yield made
    made.panel.cleanup()


LESION = (slice(8, 12), slice(20, 26), slice(30, 36))


def cell(table, region: str, tissue: str, column: int) -> float:
    for row in range(table.GetNumberOfRows()):
        if (table.GetCellText(row, 0), table.GetCellText(row, 1)) == (region, tissue):
            return float(table.GetCellText(row, column))
    raise AssertionError(f"no row {region}, {tissue}")


# What it says before anything runs


def test_an_empty_scene_says_what_to_do_first(desk):
    assert desk.ui.problemLabel.text == "Choose a chest CT to begin."
    assert not desk.ui.applyButton.enabled
    assert desk.ui.applyButton.toolTip == desk.ui.problemLabel.text


def test_a_ct_in_the_scene_is_chosen_and_described(desk):
    volume = add_chest("Chest")
    desk.panel.enter()
    assert desk.parameters.inputVolume is volume
    assert desk.ui.inputInfoLabel.text.startswith("64 × 64 × 24 voxels, 3.5 × 3.5 × 3.5 mm, −10")
    assert "on this computer" in desk.ui.estimateLabel.text
    assert desk.ui.applyButton.enabled and desk.ui.problemLabel.text == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda hu: hu + 1024, "HU +1024"),
        (lambda hu: np.clip(hu, -160, 240), "no air"),
        (np.zeros_like, "empty"),
    ],
)
def test_what_is_not_hu_is_named_at_once(desk, change, said):
    volume = add_chest("odd")
    desk.parameters.inputVolume = volume
    slicer.util.updateVolumeFromArray(volume, change(slicer.util.arrayFromVolume(volume)))
    assert said in desk.ui.inputInfoLabel.text
    assert not desk.ui.applyButton.enabled


def test_a_non_linear_transform_disables_apply_until_it_is_gone(desk):
    volume = add_chest()
    desk.parameters.inputVolume = volume
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    transform.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert not desk.ui.applyButton.enabled
    assert "arden" in desk.ui.inputInfoLabel.text
    volume.SetAndObserveTransformNodeID(None)
    assert desk.ui.applyButton.enabled


def test_the_presets_cost_what_they_say(desk, monkeypatch):
    """On a computer three times as slow; on a fast one they round to the same few seconds."""
    monkeypatch.setattr("DiffSegLungPanel.logic._scale", lambda: 3.0)
    desk.parameters.inputVolume = add_chest()
    texts = []
    for index in range(desk.ui.presetComboBox.count):
        desk.ui.presetComboBox.currentIndex = index
        texts.append(desk.ui.estimateLabel.text)
    assert len(set(texts)) == 3
    assert desk.parameters.preset.value == "best"


def test_a_wrong_value_is_a_sentence_and_disables_apply(desk):
    desk.parameters.inputVolume = add_chest()
    desk.ui.timestepsLineEdit.text = "5, x"
    desk.ui.timestepsLineEdit.textEdited("5, x")
    assert "5, x" in desk.ui.problemLabel.text
    assert not desk.ui.applyButton.enabled
    desk.ui.restoreDefaultsButton.click()
    assert desk.ui.timestepsLineEdit.text == ""
    assert desk.ui.applyButton.enabled


def test_components_can_be_set_only_where_they_count(desk):
    assert not desk.ui.componentsSpinBox.enabled
    desk.choose(desk.ui.mixtureComboBox, "Fitted to this CT alone")
    assert desk.ui.componentsSpinBox.enabled
    desk.ui.chooseComponentsCheckBox.checked = True
    assert not desk.ui.componentsSpinBox.enabled
    assert desk.panel.advanced.settings["components"] == 0


def test_lungs_from_any_segment_of_any_segmentation(desk):
    assert not desk.ui.lungsSegmentComboBox.isVisibleTo(desk.root)
    lungs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    for name in ("right", "left"):
        lungs.GetSegmentation().AddEmptySegment(name, name)
    desk.ui.lungsSelector.setCurrentNode(lungs)
    assert desk.ui.lungsSegmentComboBox.isVisibleTo(desk.root)
    desk.choose(desk.ui.lungsSegmentComboBox, "left")
    assert desk.parameters.lungsSegmentID == "left"
    lungs.GetSegmentation().GetSegment("left").SetName("left lung")
    assert desk.ui.lungsSegmentComboBox.currentText == "left lung"
    desk.choose(desk.ui.lungsSegmentComboBox, "All segments")
    assert desk.parameters.lungsSegmentID == ""


def test_a_lung_segment_that_was_deleted_is_missed_before_the_run(desk):
    desk.parameters.inputVolume = add_chest()
    lungs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    lungs.GetSegmentation().AddEmptySegment("both", "both")
    desk.parameters.lungsSegmentation, desk.parameters.lungsSegmentID = lungs, "both"
    lungs.GetSegmentation().RemoveSegment("both")
    assert "no segment both" in desk.ui.problemLabel.text


def test_another_model_is_browsed_shown_and_remembered(desk, tmp_path):
    folder = tmp_path / "finetuned"
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps(CARD))
    (folder / "model.safetensors").write_bytes(b"")
    desk.dialogs.model = str(folder / "card.json")
    desk.ui.browseModelButton.click()
    assert desk.parameters.bundle == str(folder)
    assert desk.ui.modelComboBox.currentText == "finetuned"
    assert desk.panel.advanced.settings["timesteps"] == (2, 4)
    desk.choose(desk.ui.modelComboBox, BUILT_IN)
    assert desk.parameters.bundle == "default"


def test_installed_models_are_in_the_list_and_the_default_is_the_users(desk, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path))
    Packed(CARD, b"").write(tmp_path / "mine 3.zip")
    desk.parameters.inputVolume = add_chest()
    desk.choose(desk.ui.modelComboBox, "mine 3")
    assert desk.parameters.bundle == "mine 3"
    assert desk.panel.advanced.settings["timesteps"] == (2, 4)
    desk.choose(desk.ui.modelComboBox, BUILT_IN)
    assert desk.parameters.bundle == "default"
    assert desk.panel.advanced.settings["timesteps"] == (10,)
    Library().set_default("mine 3")
    desk.panel.update()
    assert desk.ui.modelComboBox.currentText == "Default (mine 3)"
    assert desk.panel.advanced.settings["timesteps"] == (2, 4)
    desk.choose(desk.ui.modelComboBox, BUILT_IN)
    assert desk.parameters.bundle == "built-in"
    assert desk.panel.advanced.settings["timesteps"] == (10,)


def test_a_model_that_is_none_says_so(desk, tmp_path):
    desk.parameters.inputVolume = add_chest()
    desk.dialogs.model = str(tmp_path / "card.json")
    desk.ui.browseModelButton.click()
    assert "has no card.json" in desk.ui.problemLabel.text
    assert not desk.ui.applyButton.enabled and not desk.ui.testDeviceButton.enabled


def test_a_card_that_makes_no_sense_takes_the_place_of_the_one_before(desk, tmp_path):
    desk.parameters.inputVolume = add_chest()
    (tmp_path / "card.json").write_text(json.dumps(CARD | {"schedule": {"timesteps": math.inf}}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    desk.dialogs.model = str(tmp_path / "card.json")
    desk.ui.browseModelButton.click()
    assert "is not a DiffSegLung model" in desk.ui.modelCardLabel.text
    assert "is not a DiffSegLung model" in desk.ui.problemLabel.text and not desk.ui.applyButton.enabled
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    desk.panel.update()
    assert desk.panel.advanced.settings["timesteps"] == (2, 4)
    assert desk.ui.problemLabel.text == ""


def test_the_card_is_shown_on_demand(desk):
    assert not desk.ui.modelCardLabel.isVisibleTo(desk.root)
    desk.ui.modelCardButton.click()
    assert desk.ui.modelCardLabel.isVisibleTo(desk.root)
    assert "Apache-2.0" in desk.ui.modelCardLabel.text


# Apply and Cancel


def test_a_run_from_apply_to_results(warm, real_desk):
    desk = real_desk
    desk.parameters.inputVolume = add_chest("Chest")
    height = desk.ui.applyButton.height
    fractions = set()
    desk.ui.applyButton.click()
    assert (desk.ui.applyButton.text, desk.ui.applyButton.height) == ("Cancel", height)
    assert desk.ui.progressWidget.isVisibleTo(desk.root)
    assert desk.ui.applyButton.shortcut.toString() == "Ctrl+Return"

    def done() -> bool:
        fractions.add(desk.ui.progressBar.value)
        return desk.panel.run.state.value == "idle"

    desk.wait(done)
    assert desk.panel.messages.kind == "success", desk.panel.messages.text
    assert len(fractions) >= 5
    assert (desk.ui.applyButton.text, desk.ui.applyButton.enabled) == ("Apply", True)
    assert desk.ui.applyButton.shortcut.toString() == "Ctrl+Return"
    node = desk.parameters.outputSegmentation
    assert node.GetName() == "Chest lung tissue"
    assert desk.ui.segmentsTable.segmentationNode() is node
    assert desk.ui.classTableView.mrmlTableNode() is resultsOf(node).classTable
    assert "LAA-950" in desk.ui.densityLabel.text
    assert "Finding the lungs" in desk.ui.logTextEdit.toPlainText()
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetBackgroundVolumeID() == desk.parameters.inputVolume.GetID()


def test_what_is_set_is_what_runs(desk):
    desk.parameters.inputVolume = add_chest()
    desk.choose(desk.ui.presetComboBox, "Fast")
    desk.choose(desk.ui.deviceComboBox, "Processor (CPU)")
    desk.ui.diffusionStepsSpinBox.value = 3
    desk.ui.correctAirCheckBox.checked = False
    desk.ui.seedSpinBox.value = 11
    desk.ui.applyButton.click()
    asked = desk.logic.asked
    assert (asked["preset"], asked["device"], asked["bundle"]) == ("fast", "cpu", "default")
    settings = asked["settings"]
    assert (settings["diffusion_steps"], settings["correct_air"], settings["seed"]) == (3, False, 11)
    desk.ui.applyButton.click()
    desk.finish_run()


def test_cancel_leaves_nothing_and_is_no_failure(real_desk):
    desk = real_desk
    desk.parameters.inputVolume = add_chest()
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.ui.progressBar.value > 50)
    desk.ui.applyButton.click()
    assert (desk.ui.applyButton.text, desk.ui.applyButton.enabled) == ("Cancelling…", False)
    desk.finish_run()
    assert (desk.panel.messages.kind, desk.panel.messages.text) == ("info", "Cancelled. Nothing was changed.")
    assert desk.ui.applyButton.enabled
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert desk.workers() == []


def test_a_failure_is_one_sentence_with_a_hint(real_desk):
    desk = real_desk
    hu = np.random.default_rng(0).normal(40, 30, (24, 64, 64)).astype(np.int16)
    hu[:, :8] = -1000  # air, but no lungs
    desk.parameters.inputVolume = add_chest("cube", hu)
    desk.ui.applyButton.click()
    desk.finish_run()
    assert desk.panel.messages.kind == "error"
    assert "lung" in desk.panel.messages.text
    assert desk.ui.applyButton.enabled
    desk.ui.dismissButton.click()
    assert desk.panel.messages.text == "" and not desk.ui.messageFrame.isVisibleTo(desk.root)


def test_the_input_deleted_during_a_run_ends_in_a_message(desk):
    volume = add_chest()
    desk.parameters.inputVolume = volume
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.ui.progressBar.value > 50)
    slicer.mrmlScene.RemoveNode(volume)
    desk.finish_run()
    assert "was deleted" in desk.panel.messages.text
    assert desk.ui.problemLabel.text == "Choose a chest CT to begin."
    assert desk.logic.cleanedUp


def test_missing_packages_are_asked_for_then_the_run_goes_on(desk):
    desk.parameters.inputVolume = add_chest()
    desk.host.testing = False
    desk.host.packages.missing = {"psutil"}
    desk.ui.applyButton.click()
    assert "psutil" in desk.dialogs.questions[0]
    assert desk.panel.messages.text.startswith("Nothing was installed")
    assert desk.host.packages.installed == []
    desk.dialogs.install = True
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.panel.messages.kind == "success")
    assert desk.host.packages.installed == ["psutil>=5.9"]
    assert desk.parameters.outputSegmentation is not None


def test_an_installation_that_fails_says_what_to_do(desk):
    desk.parameters.inputVolume = add_chest()
    desk.host.testing, desk.dialogs.install = False, True
    desk.host.packages.missing, desk.host.packages.fail = {"psutil"}, "no network"
    desk.ui.applyButton.click()
    desk.finish_run()
    assert desk.panel.messages.kind == "error"
    assert "connection" in desk.panel.messages.text


def test_an_installation_can_be_cancelled(desk):
    desk.parameters.inputVolume = add_chest()
    desk.host.testing, desk.dialogs.install = False, True
    desk.host.packages.missing = {"psutil", "safetensors"}
    desk.ui.applyButton.click()
    assert desk.ui.applyButton.text == "Cancel"
    desk.ui.applyButton.click()
    desk.finish_run()
    assert desk.panel.messages.text.startswith("The installation was cancelled")
    assert desk.parameters.outputSegmentation is None


def test_a_run_from_the_console_is_not_disturbed(desk):
    desk.parameters.inputVolume = add_chest()
    task = desk.logic.segment(desk.parameters.inputVolume, waitForCompletion=False)
    desk.ui.applyButton.click()
    assert "working already" in desk.panel.messages.text
    desk.ui.testDeviceButton.click()
    assert "working already" in desk.panel.messages.text
    assert task.isRunning and desk.ui.applyButton.text == "Apply"
    task.abort()


def test_nothing_is_asked_or_installed_at_start(desk):
    assert desk.dialogs.questions == []
    assert desk.host.packages.installed == []


def test_the_device_test_says_how_it_went(warm, desk):
    desk.choose(desk.ui.deviceComboBox, "Processor (CPU)")
    desk.ui.testDeviceButton.click()
    assert desk.ui.applyButton.text == "Cancel"
    assert not desk.ui.testDeviceButton.enabled
    desk.finish_run()
    assert desk.panel.messages.kind == "success", desk.panel.messages.text
    assert "cpu" in desk.panel.messages.text.lower()


# Whose output it is


def test_an_edited_result_is_replaced_only_with_permission(desk, tmp_path):
    ct, node = add_result(tmp_path)
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    paint(node, "Segment_consolidation", ct, LESION)
    before = node.GetSegmentation().GetSegmentIDs()
    desk.ui.applyButton.click()  # the answer is Cancel
    assert "was edited by hand" in desk.dialogs.questions[0]
    assert desk.panel.run.state.value == "idle"
    assert desk.parameters.outputSegmentation is node
    assert node.GetSegmentation().GetSegmentIDs() == before


@pytest.mark.parametrize("answer", [Answer.replace, Answer.makeNew])
def test_replace_fills_the_same_node_and_new_makes_another(desk, tmp_path, answer):
    ct, node = add_result(tmp_path, "Chest")
    volume = add_chest("other")
    desk.parameters.inputVolume = volume
    desk.parameters.outputSegmentation = node  # another CT's result: the same question
    desk.dialogs.answer = answer
    desk.ui.applyButton.click()
    assert "belongs to another CT" in desk.dialogs.questions[0]
    desk.finish_run()
    assert desk.panel.messages.kind == "success", desk.panel.messages.text
    assert (desk.parameters.outputSegmentation is node) == (answer is Answer.replace)
    assert (resultsOf(node).volume is ct) == (answer is Answer.makeNew)


def test_choosing_a_ct_brings_its_own_result(desk, tmp_path):
    first, result = add_result(tmp_path, "first")
    second, other = add_result(tmp_path, "second")
    third = add_chest("third")
    desk.parameters.inputVolume = third
    desk.ui.inputSelector.setCurrentNode(first)
    assert desk.parameters.outputSegmentation is result
    desk.ui.inputSelector.setCurrentNode(second)
    assert desk.parameters.outputSegmentation is other
    desk.ui.inputSelector.setCurrentNode(third)
    assert desk.parameters.outputSegmentation is None


# Its life with the scene


def test_closing_the_scene_during_a_run_stops_it(desk):
    desk.parameters.inputVolume = add_chest()
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.ui.progressBar.value > 50)
    desk.host.close_scene()
    assert desk.logic.cleanedUp
    assert desk.panel.run.state.value == "idle"
    assert "scene was closed" in desk.panel.messages.text
    desk.parameters.inputVolume = add_chest()
    assert desk.ui.applyButton.enabled


def test_a_saved_scene_brings_everything_back(desk, tmp_path):
    ct, node = add_result(tmp_path)
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    desk.choose(desk.ui.presetComboBox, "Best")
    desk.choose(desk.ui.regionComboBox, "Left lung")
    desk.ui.seedSpinBox.value = 5
    shown = desk.ui.densityLabel.text
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    desk.host.close_scene()
    assert desk.ui.presetComboBox.currentText == "Balanced"
    slicer.util.loadScene(str(path))
    assert desk.ui.inputSelector.currentNode().GetName() == "CT"
    assert desk.ui.outputSelector.currentNode().GetName() == "CT lung tissue"
    assert desk.ui.presetComboBox.currentText == "Best"
    assert desk.ui.seedSpinBox.value == 5
    assert desk.ui.regionComboBox.currentText == "Left lung"
    assert desk.ui.densityLabel.text == shown
    assert desk.ui.segmentsTable.segmentationNode().GetName() == "CT lung tissue"


def test_leaving_the_module_lets_a_run_go_on(desk):
    desk.parameters.inputVolume = add_chest()
    desk.ui.applyButton.click()
    desk.panel.exit()
    desk.finish_run()
    assert desk.panel.messages.kind == "success"


def test_the_table_stays_when_something_is_loaded(desk, tmp_path):
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = add_result(tmp_path)
    table = resultsOf(desk.parameters.outputSegmentation).classTable
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
    assert desk.ui.classTableView.mrmlTableNode() is table


def test_after_a_scene_close_no_control_writes_into_the_former_parameters(desk):
    former = desk.parameters
    desk.host.close_scene()
    desk.panel.exit()
    desk.host.close_scene()
    assert desk.panel.parameters is None
    desk.ui.overlayOpacitySlider.value = 7
    assert former.overlayOpacity != 7


def test_quitting_stops_the_run(desk):
    desk.parameters.inputVolume = add_chest()
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.ui.progressBar.value > 50)
    desk.host.app.emit("aboutToQuit")
    assert desk.logic.cleanedUp
    desk.panel.update = lambda: pytest.fail("the widgets may be gone by now")
    desk.panel.cleanup()  # once more, as Slicer does


def test_after_cleanup_the_panel_listens_no_more(desk):
    desk.panel.cleanup()
    add_chest()
    desk.host.close_scene()
    assert desk.panel.parameters is None


def test_any_node_of_a_result_may_be_deleted(desk, tmp_path):
    ct, node = add_result(tmp_path)
    desk.parameters.inputVolume, desk.parameters.outputSegmentation = ct, node
    found = resultsOf(node)
    for gone in (found.uncertainty, found.densityTable, found.volumeChart, found.regions, ct):
        slicer.mrmlScene.RemoveNode(gone)
        desk.host.process_events()
    assert not desk.ui.volumeChartButton.enabled and not desk.ui.overlayCheckBox.enabled
    slicer.mrmlScene.RemoveNode(node)
    assert desk.parameters.outputSegmentation is None
    assert desk.ui.resultsHintLabel.isVisibleTo(desk.root)
