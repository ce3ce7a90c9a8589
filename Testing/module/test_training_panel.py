"""The Train section: a radiologist trains on scans of the scene or of a folder, pauses and compares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
from DiffSegLungPanel.models import readCard
from DiffSegLungPanel.steps.generate_steps import SYNTHETIC
from DiffSegLungPanel.training.runs import knownRuns
from panels import Desk, StepLogic
from small_volume import QUICK, add_chest
from smallchest import chest, image, save
from training_desk import NAME, activity, pause, texts, train, train_until, training_nodes, wait_idle


class ComparingLogic(StepLogic):
    """Segments in steps, compares with real workers under settings that need no network."""

    def compareModels(self, *args, **options):
        return super().compareModels(*args, settings=QUICK, **options)


def held_files(folder: Path) -> str:
    """Every file name and every text below a folder, for a search."""
    found = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    small = [p for p in folder.rglob("*") if p.is_file() and p.suffix in (".json", ".jsonl", ".csv", ".mhd")]
    return "\n".join([*found, *(path.read_text() for path in small)])


# Which scans


def test_the_section_is_loaded_when_it_is_opened(host):
    desk = Desk(host)
    assert desk.panel.training.pane is None
    desk.ui.trainCollapsibleButton.collapsed = False
    assert desk.panel.training.pane is not None
    desk.panel.cleanup()


def test_volumes_that_are_no_ct_say_why_and_take_no_part(opened):
    desk = opened()
    add_chest("Scout", chest()[:, :1].copy())
    add_chest("Synthetic 1", chest()).SetAttribute(SYNTHETIC, "tiny 1")
    add_chest("T2", (np.abs(chest()) // 4).astype(np.int16))
    desk.host.process_events(20)
    states = dict(zip(texts(desk, 0), texts(desk, 2), strict=True))
    assert states["Scout"] == "No. Scout is a single slice."
    assert states["Synthetic 1"] == "No. Synthetic 1 is synthetic: a model drew it."
    assert "does not look like CT in HU" in states["T2"]
    assert states["Doe Jane 0"] == "Not checked yet"
    assert desk.train.trainScansLabel.text == "3 of 6 volumes chosen; 10 or more are advised."
    assert len(desk.training.pane._scans.data().volumes) == 3


def test_what_was_unticked_in_one_scene_is_not_in_the_next(opened):
    desk = opened()
    desk.train.trainTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert desk.train.trainScansLabel.text.startswith("2 of 3 volumes chosen")
    desk.host.close_scene()
    for number in range(3):
        add_chest(f"Roe Richard {number}", chest(seed=number))
    desk.wait(lambda: len(texts(desk, 0)) == 3)
    assert desk.train.trainScansLabel.text.startswith("3 of 3 volumes chosen")


def test_fewer_than_three_are_refused_before_anything_runs(opened):
    desk = opened(3)
    desk.train.trainTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    assert "at least 3 CT; 2 are chosen" in desk.train.trainProblemLabel.text
    assert not desk.train.startTrainingButton.enabled and not desk.train.checkScansButton.enabled
    desk.train.trainTable.item(1, 0).setCheckState(qt.Qt.Checked)
    assert desk.train.startTrainingButton.enabled


def test_checking_fills_the_table_and_trains_nothing(opened):
    desk = opened(3)
    add_chest("Abdomen", chest()[:, :, :40].copy())
    desk.host.process_events(20)
    desk.train.checkScansButton.click()
    assert not desk.train.trainTable.item(0, 0).flags() & qt.Qt.ItemIsEnabled
    wait_idle(desk)
    assert texts(desk, 2) == ["Yes", "Yes", "Yes", "No. It shows only 12 ml of lung."]
    assert texts(desk, 1)[0] == "4.3 l"
    assert desk.train.trainScansLabel.text.startswith("3 of 4 volumes chosen")
    assert knownRuns() == [] and desk.train.trainRunComboBox.count == 1


def test_what_was_checked_is_not_written_again(opened):
    desk = opened(4)
    desk.train.checkScansButton.click()
    wait_idle(desk)
    folder = desk.training.pane._draft.folder
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "scans").glob("*.raw")}
    desk.train.trainTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
    train_until(desk, 20)
    assert desk.training.pane.run.folder == folder
    now = {path.name: path.stat().st_mtime_ns for path in (folder / "scans").glob("*.raw")}
    assert now == before
    assert len(json.loads((folder / "request.json").read_text())["sources"]) == 3


def test_a_scan_keeps_its_geometry_and_no_name(opened):
    desk = opened(3)
    turned = add_chest("Roe^Richard 4711", chest(), np.array(
        [[0, -5.0, 0, 7], [5, 0, 0, -30], [0, 0, 5, 11], [0, 0, 0, 1]]
    ))  # fmt: skip
    desk.host.process_events(20)
    desk.train.checkScansButton.click()
    wait_idle(desk)
    folder = desk.training.pane._draft.folder
    written = sitk.ReadImage(str(folder / "scans" / "ct-004.mhd"))
    assert np.array_equal(sitk.GetArrayFromImage(written), slicer.util.arrayFromVolume(turned))
    ras = turned.GetImageData(), np.eye(4)
    matrix = slicer.util.vtkMatrixFromArray(ras[1])
    turned.GetIJKToRASMatrix(matrix)
    expected = matrix.MultiplyPoint((3, 4, 5, 1))[:3]
    x, y, z = written.TransformIndexToPhysicalPoint((3, 4, 5))
    assert np.allclose((-x, -y, z), expected)
    told = held_files(folder)
    assert not any(word in told for word in ("Roe", "4711", "Doe", "Jane"))
    assert "Roe^Richard 4711" in texts(desk, 0)


def test_two_scans_of_a_patient_stay_together(opened):
    desk = opened(3)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Doe")
    hierarchy.SetItemLevel(patient, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient())
    for number in (0, 2):
        volume = slicer.util.getNode(f"Doe Jane {number}")
        hierarchy.SetItemParent(hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume), patient)
    desk.train.checkScansButton.click()
    wait_idle(desk)
    table = (desk.training.pane._draft.folder / "scans" / "patients.csv").read_text().split()
    assert table == ["file,patient", "ct-001.mhd,1", "ct-002.mhd,2", "ct-003.mhd,1"]


def test_a_folder_is_trained_on_as_it_is(opened, tmp_path):
    (tmp_path / "ct").mkdir()
    for name in ("a.nii.gz", "b.nrrd", "c.nii.gz", "broken.nii.gz"):
        save(image(chest()), tmp_path / "ct" / name)
    desk = opened(0)
    desk.choose(desk.train.trainDataComboBox, "A folder on this computer")
    assert desk.train.trainProblemLabel.text == "No folder is chosen. Choose the folder that holds the CT."
    desk.train.trainFolderPathEdit.currentPath = str(tmp_path / "nowhere")
    assert desk.train.trainProblemLabel.text.startswith("The folder nowhere does not exist.")
    desk.train.trainFolderPathEdit.currentPath = str(tmp_path / "ct")
    desk.train.checkScansButton.click()
    wait_idle(desk)
    assert texts(desk, 0) == ["a", "b", "broken", "c"]
    assert desk.train.trainScansLabel.text == "3 of 4 CT can be used; 10 or more are advised."
    train(desk)
    assert desk.panel.messages.kind == "success"


def test_what_was_checked_is_told_of_its_own_source_only(opened, use_trainer, tmp_path):
    for folder, names in (("a", ("a0", "a1", "a2")), ("b", ("b0",))):
        (tmp_path / folder).mkdir()
        for name in names:
            save(image(chest()), tmp_path / folder / f"{name}.nrrd")
    desk = opened(3)
    combo, path = desk.train.trainDataComboBox, desk.train.trainFolderPathEdit
    unknown = "Check the scans to see which can be used."
    desk.train.checkScansButton.click()
    wait_idle(desk)
    desk.choose(combo, "A folder on this computer")
    path.currentPath = str(tmp_path / "a")
    assert texts(desk, 0) == [] and desk.train.trainScansLabel.text == unknown
    desk.train.checkScansButton.click()
    wait_idle(desk)
    assert texts(desk, 0) == ["a0", "a1", "a2"] and texts(desk, 2) == ["Yes"] * 3
    path.currentPath = str(tmp_path / "b")
    assert texts(desk, 0) == [] and desk.train.trainScansLabel.text == unknown
    assert desk.train.trainEstimateLabel.text.endswith("plus preparation")
    path.currentPath = f"{tmp_path / 'a'}/"
    assert texts(desk, 0) == ["a0", "a1", "a2"]
    desk.choose(combo, "Volumes of this scene")
    assert texts(desk, 2) == ["Not checked yet"] * 3
    desk.choose(combo, "A folder on this computer")
    path.currentPath = str(tmp_path / "b")
    use_trainer(pause_s=0.5)
    desk.train.checkScansButton.click()
    desk.train.stopTrainingButton.click()
    wait_idle(desk)
    assert not {"a0", "a1", "a2"} & set(texts(desk, 0))


def test_the_librarys_own_command_checks_scans(opened, use_trainer):
    desk = opened(3)
    add_chest("Doe Jane again", chest(seed=0))
    desk.host.process_events(20)
    use_trainer(real=True)
    desk.train.checkScansButton.click()
    wait_idle(desk)
    assert desk.panel.messages.text == ""
    assert texts(desk, 2) == ["Yes", "Yes", "Yes", "No. It is the same CT as ct-001.mhd."]
    assert texts(desk, 1)[0] == "0.5 l"


# The plan


@pytest.mark.parametrize("name", ["a/b", "default", "x" * 200])
def test_a_name_that_no_model_can_have_is_said_at_once(opened, name):
    desk = opened()
    desk.train.trainNameLineEdit.text = name
    assert "cannot be a model's name" in desk.train.trainProblemLabel.text
    assert not desk.train.startTrainingButton.enabled


def test_the_budget_is_told_in_time_and_steps(opened):
    desk = opened()
    label = desk.train.trainEstimateLabel
    assert label.text.startswith("About ") and label.text.endswith("in all") and "steps" in label.text
    desk.choose(desk.train.trainBudgetComboBox, "Steps")
    shorter = label.text
    desk.train.trainStepsSpinBox.value = 60_000
    assert label.text != shorter and label.text.endswith(" h in all")


def test_what_is_set_is_what_runs(opened):
    desk = opened()
    desk.choose(desk.train.trainBudgetComboBox, "Steps")
    desk.train.trainStepsSpinBox.value = 40
    desk.train.trainNameLineEdit.text = "mine"
    train(desk)
    run = desk.training.pane.run
    assert (run.name, run.parent, run.step, run.minutes) == ("mine", "default", 40, None)
    assert desk.panel.model.card is not None
    assert "mine 1" in [desk.ui.modelComboBox.itemText(i) for i in range(desk.ui.modelComboBox.count)]


# Running


def test_the_curve_grows_in_the_plot_view(opened, use_trainer):
    use_trainer(pause_s=0.1, lines=60)
    desk = opened()
    plot = desk.training.pane._view.plot
    points = [0]
    desk.train.startTrainingButton.click()
    while points[-1] < 10:
        desk.host.process_events(100)
        tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
        points += [table.GetNumberOfRows() for table in tables if table.GetName() == "Training curve"]
        assert activity(desk) == "training"
    assert len(set(points)) > 2
    assert sorted(points) == points
    (view,) = slicer.util.getNodesByClass("vtkMRMLPlotViewNode")
    assert view.GetPlotChartNodeID() == plot.chart("loss").GetID()
    names = [plot.chart("loss").GetNthPlotSeriesNode(n).GetName() for n in range(2)]
    assert names == ["CT trained on", "CT held out"]
    desk.train.retrievalCurveButton.click()
    assert view.GetPlotChartNodeID() == plot.chart("retrieval").GetID()
    series = plot.chart("retrieval").GetNthPlotSeriesNode(1)
    column = series.GetTableNode().GetTable().GetColumnByName(series.GetYColumnName())
    assert column.GetValue(0) == pytest.approx(46.0)
    assert "parent 46.0 %" in desk.train.trainStateLabel.text


def test_two_trainings_share_the_nodes_of_their_curves(opened):
    desk = opened()
    train(desk)
    nodes = training_nodes()
    assert len(nodes) == 9
    desk.choose(desk.train.trainRunComboBox, "New training")
    train(desk)
    assert training_nodes() == nodes
    desk.dialogs.discard = True
    desk.train.discardTrainingButton.click()
    assert training_nodes() == []


def test_pausing_keeps_and_resuming_goes_on(opened, use_trainer):
    use_trainer(pause_s=0.05, lines=30)
    desk = opened()
    train_until(desk, 60)
    assert desk.train.pauseTrainingButton.enabled and not desk.train.startTrainingButton.enabled
    pause(desk)
    run = desk.training.pane.run
    step = run.step
    assert (
        desk.panel.messages.text == f"Paused at step {step}. Everything is kept; Resume goes on from there."
    )
    assert desk.train.startTrainingButton.text == "Resume"
    train(desk)
    steps = [entry["step"] for entry in run.entries()]
    assert steps == list(range(0, 601, 20))
    assert desk.panel.messages.kind == "success"


@pytest.mark.parametrize("paused", [False, True])
def test_stopping_makes_the_model_of_what_was_learned(opened, use_trainer, paused):
    use_trainer(pause_s=0.05, lines=50)
    desk = opened()
    train_until(desk, 60)
    if paused:
        pause(desk)
    desk.train.stopTrainingButton.click()
    wait_idle(desk)
    outcome = desk.training.pane.run.outcome()
    assert outcome.model == f"{NAME} 1" and 60 <= outcome.steps < 1000
    assert not desk.train.startTrainingButton.enabled and not desk.train.stopTrainingButton.enabled


def test_stopping_while_scans_are_prepared_keeps_them(opened, use_trainer):
    use_trainer(pause_s=0.5)
    desk = opened()
    desk.train.startTrainingButton.click()
    desk.wait(lambda: len(desk.training.pane.run.scans()) == 1)
    desk.train.stopTrainingButton.click()
    wait_idle(desk)
    assert desk.panel.messages.text.startswith("Paused. The scans prepared by now are kept")
    assert desk.train.startTrainingButton.text == "Resume" and not desk.train.stopTrainingButton.enabled


def test_the_end_says_what_got_better_and_the_model_can_be_used(opened):
    desk = opened()
    train(desk)
    assert desk.panel.messages.kind == "success"
    assert f"“{NAME} 1” is better than its parent" in desk.panel.messages.text
    assert "0.2200" in desk.train.trainResultLabel.text and "better" in desk.train.trainResultLabel.text
    desk.train.useModelButton.click()
    assert desk.parameters.bundle == f"{NAME} 1"
    assert desk.ui.modelComboBox.currentText == f"{NAME} 1"
    assert not list(desk.training.pane.run.folder.glob("scans/*"))


def test_a_training_that_gains_nothing_says_so(opened, use_trainer):
    use_trainer(gain=0.0)
    desk = opened()
    train(desk)
    assert desk.panel.messages.kind == "warning"
    assert "so no model was made" in desk.panel.messages.text
    assert not desk.train.trainNewModelWidget.isVisibleTo(desk.root)


def test_a_training_that_is_refused_can_be_tried_again(opened, use_trainer):
    use_trainer(fails="Only 2 of the 3 CT found can be trained on.")
    desk = opened()
    train(desk)
    assert desk.panel.messages.kind == "error"
    assert desk.panel.messages.text == "Only 2 of the 3 CT found can be trained on. Give more CT."
    assert desk.training.pane.run is None and knownRuns() == []
    use_trainer()
    train(desk)
    assert desk.panel.messages.kind == "success"


def test_a_trainer_that_dies_leaves_what_can_be_resumed(opened, use_trainer):
    use_trainer(pause_s=0.05, lines=30)
    desk = opened()
    train_until(desk, 40)
    for process in desk.workers():
        process.kill()
    wait_idle(desk)
    assert desk.panel.messages.kind == "error" and "ended unexpectedly" in desk.panel.messages.text
    train(desk)
    assert desk.panel.messages.kind == "success"


def test_discarding_asks_first(opened, use_trainer):
    use_trainer(pause_s=0.05, lines=30)
    desk = opened()
    train_until(desk, 40)
    pause(desk)
    folder = desk.training.pane.run.folder
    desk.train.discardTrainingButton.click()
    assert folder.exists() and "is lost" in desk.dialogs.questions[-1]
    desk.dialogs.discard = True
    desk.train.discardTrainingButton.click()
    assert not folder.exists() and desk.training.pane.run is None


def test_a_folder_that_cannot_be_written_is_said(opened, tmp_path, monkeypatch):
    desk = opened()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path / "file" / "models"))
    desk.train.startTrainingButton.click()
    assert desk.panel.messages.kind == "error"
    assert desk.panel.messages.text.startswith("The folder of trainings cannot be written")


# Before and after


def test_two_models_are_compared_on_a_ct(opened, use_trainer):
    desk = opened(3, ComparingLogic())
    train(desk)
    use_trainer(real=True)
    desk.train.compareSelector.setCurrentNode(slicer.util.getNode("Doe Jane 1"))
    desk.train.compareButton.click()
    assert desk.ui.applyButton.text == "Cancel"
    desk.wait(lambda: desk.panel.run.state.value == "idle", 300)
    assert desk.panel.messages.kind == "success", desk.panel.messages.text
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}
    shipped = readCard("built-in").name
    assert f"Doe Jane 1 by {NAME} 1" in names
    assert names & {f"Doe Jane 1 by {word} ({shipped})" for word in ("Default", "Built-in")}
    table = desk.train.compareTableView.mrmlTableNode()
    rows = [[table.GetCellText(r, c) for c in range(4)] for r in range(table.GetNumberOfRows())]
    found = [row for row in rows if float(row[1]) > 0]
    assert found and all(row[1] == row[2] and row[3] == "1.00" for row in found)  # no network: the same
    assert all(row[3] == "–" for row in rows if float(row[1]) == 0)
    desk.host.close_scene()
    assert desk.train.compareTableView.mrmlTableNode() is None
