"""Sensitivity in the user's hand: a finished result redrawn, edits kept, remembered, used by the next run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from DiffSegLungPanel.logic import DiffSegLungLogic
from DiffSegLungPanel.scene import redraw, results
from DiffSegLungPanel.scene.edits import _fingerprints, fingerprints, isEdited
from DiffSegLungPanel.scene.evidence import sensitivityOf
from DiffSegLungPanel.scene.redraw import redrawResult
from DiffSegLungPanel.scene.results import resultsOf
from DiffSegLungPanel.scene.segmentation import classMap
from DiffSegLungPanel.work.tasks import Task
from mrml_scenes import (
    ISLAND_ML,
    SHAPE,
    add_ct,
    finish,
    geometry_of,
    lung_hu,
    lung_labels,
    write_worker_output,
)
from panels import Desk
from small_volume import QUICK, add_chest
from smallchest import chest
from test_edits import BOX, edited, ml_of, paint
from test_results import rows

from DiffSegLungLib.classes import BY_KEY, CONSOLIDATION, EMPHYSEMA, GROUND_GLASS, HEALTHY
from DiffSegLungLib.errors import DiffSegLungError, InputError
from DiffSegLungLib.segmentation.evidence import draw_labels, least_voxels

TABLES = ("classTable", "densityTable", "histogramTable", "abnormalTable")


@pytest.fixture
def ct(scene) -> slicer.vtkMRMLScalarVolumeNode:
    return add_ct(scene, lung_hu(lung_labels()))


@pytest.fixture
def node(scene, ct, tmp_path: Path) -> slicer.vtkMRMLSegmentationNode:
    return finish(results.importResults(scene, ct, write_worker_output(tmp_path / "a", ct, lung_labels())))


def drawn(node, sensitivity: float) -> np.ndarray:
    """What the library draws from the evidence in the scene."""
    evidence = slicer.util.arrayFromVolume(resultsOf(node).evidence)
    return draw_labels(evidence, sensitivity, least_voxels(ISLAND_ML, geometry_of(resultsOf(node).volume)))


def shown(node) -> np.ndarray:
    return finish(classMap(node, resultsOf(node).volume))


def tables(node) -> list:
    return [rows(getattr(resultsOf(node), name)) for name in TABLES]


def provenance(node) -> dict:
    return json.loads(node.GetAttribute("DiffSegLung.provenance"))


def test_the_evidence_is_there_and_no_selector_offers_it(scene, node) -> None:
    evidence = resultsOf(node).evidence
    assert slicer.util.arrayFromVolume(evidence).dtype == np.uint16
    assert evidence.GetHideFromEditors() and evidence.GetSaveWithScene()
    assert evidence.GetName() == "CT evidence of disease (for the sensitivity)"
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    offered = [selector.nodeFromIndex(n).GetName() for n in range(selector.nodeCount())]
    assert offered == ["CT", "CT uncertainty"]


@pytest.mark.parametrize("sensitivity", [0.0, 0.25, 0.6, 0.75, 1.0])
def test_redrawn_is_what_a_run_gives(scene, ct, node, tmp_path: Path, sensitivity: float) -> None:
    """Labels voxel for voxel, every table, and the fingerprints: against the import of such a run."""
    finish(redrawResult(scene, node, sensitivity))
    other = add_ct(scene, lung_hu(lung_labels()), name="Other")
    folder = write_worker_output(tmp_path / "b", other, lung_labels(), sensitivity=sensitivity)
    run = finish(results.importResults(scene, other, folder))
    assert np.array_equal(shown(node), drawn(node, sensitivity))
    assert np.array_equal(shown(node), shown(run))
    assert tables(node) == tables(run)
    assert provenance(node)["config"] == provenance(run)["config"]
    assert node.GetAttribute("DiffSegLung.checksum") == run.GetAttribute("DiffSegLung.checksum")
    assert edited(node) == set() and not isEdited(node)


def test_there_and_back_is_the_result_of_the_run(scene, node) -> None:
    before = shown(node), tables(node)
    for sensitivity in (0.9, 0.1, 0.5):
        finish(redrawResult(scene, node, sensitivity))
    assert np.array_equal(shown(node), before[0]) and tables(node) == before[1]


def test_measured_again_nothing_changes(scene, node) -> None:
    finish(redrawResult(scene, node, 0.8))
    before = tables(node)
    finish(results.refreshResults(scene, node))
    assert tables(node) == before


def test_edited_findings_keep_every_voxel_and_get_none(scene, node) -> None:
    paint(node, "emphysema", BOX)
    finish(results.refreshResults(scene, node))
    emphysema = shown(node) == EMPHYSEMA
    for sensitivity in (1.0, 0.0, 0.9, 0.3):
        finish(redrawResult(scene, node, sensitivity))
        now = shown(node)
        assert np.array_equal(now == EMPHYSEMA, emphysema)
        assert edited(node) == {"emphysema", "healthy"}
        free = ~emphysema & (drawn(node, sensitivity) != EMPHYSEMA) & (lung_labels() != EMPHYSEMA)
        assert np.array_equal(now[free], drawn(node, sensitivity)[free])
        assert (now[~emphysema] != EMPHYSEMA).all()
        before = tables(node)
        finish(results.refreshResults(scene, node))
        assert tables(node) == before
    assert (shown(node) == GROUND_GLASS).sum() != (lung_labels() == GROUND_GLASS).sum()


def test_a_finding_taken_away_stays_away(scene, node) -> None:
    """Healthy lung painted over all ground glass: no sensitivity brings any back."""
    where = np.argwhere(lung_labels() == GROUND_GLASS)
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
    paint(node, "healthy", box)
    finish(redrawResult(scene, node, 1.0))
    assert (shown(node) == GROUND_GLASS).sum() == 0
    assert (shown(node)[box] == HEALTHY).all()
    assert "ground_glass" in edited(node)


def test_vessels_painted_healthy_and_erased_lung_stay_so(scene, node) -> None:
    column = (slice(8, 20), slice(22, 23), slice(10, 11))  # the vessel of lung_labels
    paint(node, "healthy", column)
    mask = (shown(node) == HEALTHY).astype(np.uint8)
    erased = (slice(14, 16), slice(30, 32), slice(30, 34))
    mask[erased] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "Segment_healthy")
    for sensitivity in (1.0, 0.2):
        finish(redrawResult(scene, node, sensitivity))
        assert (shown(node)[column] == HEALTHY).all()
        assert (shown(node)[erased] == 0).all()


def test_disease_painted_outside_the_lungs_stays_and_counts(scene, node) -> None:
    box = (slice(3, 6), slice(8, 12), slice(41, 44))
    paint(node, "consolidation", box)
    finish(redrawResult(scene, node, 0.9))
    assert (shown(node)[box] == CONSOLIDATION).all()
    before = tables(node)
    finish(results.refreshResults(scene, node))
    assert tables(node) == before


def test_deleted_classes_and_segments_of_the_users_own_stay_as_they_are(scene, node) -> None:
    segmentation = node.GetSegmentation()
    mine = segmentation.AddEmptySegment("", "My nodule")
    nodule = np.zeros(SHAPE, np.uint8)
    nodule[BOX] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(nodule, node, mine)
    segmentation.RemoveSegment("Segment_ground_glass")
    finish(redrawResult(scene, node, 1.0))
    assert segmentation.GetSegment("Segment_ground_glass") is None
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, mine), nodule)
    assert segmentation.GetSegment(mine).GetName() == "My nodule"
    assert (shown(node) == GROUND_GLASS).sum() == 0


def test_an_edit_in_the_middle_is_waited_for(scene, node) -> None:
    steps = redrawResult(scene, node, 1.0)
    for _step in range(4):
        next(steps)
    paint(node, "emphysema", BOX)
    finish(steps)
    assert (shown(node)[BOX] == EMPHYSEMA).all()
    assert sensitivityOf(node) == 1.0


def test_a_redrawing_that_is_dropped_changes_nothing(scene, node) -> None:
    before = shown(node), tables(node), node.GetAttribute("DiffSegLung.provenance")
    steps = redrawResult(scene, node, 1.0)
    for _step in range(4):
        next(steps)
    steps.close()
    assert np.array_equal(shown(node), before[0])
    assert (tables(node), node.GetAttribute("DiffSegLung.provenance")) == before[1:]


@pytest.mark.parametrize("value", [2, -0.1, float("nan"), "much"])
def test_what_is_no_sensitivity_is_refused(scene, node, value) -> None:
    with pytest.raises(InputError, match="sensitivity"):
        DiffSegLungLogic(scene).setSensitivity(node, value)


def test_what_cannot_be_redrawn_is_said(scene, ct, node) -> None:
    logic = DiffSegLungLogic(scene)
    with pytest.raises(DiffSegLungError) as refused:
        logic.setSensitivity(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Bare"), 0.7)
    assert refused.value.code == "no-result"
    for key in ("emphysema", "ground_glass", "fibrosis", "consolidation"):
        node.GetSegmentation().GetSegment(f"Segment_{key}").SetTag("DICOM.SegmentAlgorithmType", "MANUAL")
    with pytest.raises(DiffSegLungError) as refused:
        logic.setSensitivity(node, 0.7)
    assert refused.value.code == "all-edited"
    assert sensitivityOf(node) == 0.5
    slicer.util.updateVolumeFromArray(resultsOf(node).evidence, np.full(SHAPE, 65535, np.uint16))
    for key in ("emphysema", "ground_glass", "fibrosis", "consolidation"):
        node.GetSegmentation().GetSegment(f"Segment_{key}").SetTag("DICOM.SegmentAlgorithmType", "AUTOMATIC")
    with pytest.raises(DiffSegLungError) as refused:
        logic.setSensitivity(node, 0.7)
    assert refused.value.code == "damaged-result"
    scene.RemoveNode(resultsOf(node).evidence)
    with pytest.raises(DiffSegLungError) as refused:
        logic.setSensitivity(node, 0.7)
    assert refused.value.code == "no-evidence"


def test_edited_classes_that_overlap_are_not_touched(scene, node) -> None:
    for key in ("emphysema", "fibrosis"):
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, f"Segment_{key}", resultsOf(node).volume)
        mask[BOX] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, f"Segment_{key}")
    with pytest.raises(DiffSegLungError) as refused:
        finish(redrawResult(scene, node, 0.7))
    assert refused.value.code == "edits-overlap"


def test_saved_loaded_and_redrawn(scene, node, tmp_path: Path) -> None:
    paint(node, "fibrosis", BOX)
    finish(redrawResult(scene, node, 0.8))
    kept = shown(node)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    back = scene.GetFirstNodeByName("CT lung tissue")
    assert sensitivityOf(back) == 0.8
    assert resultsOf(back).evidence.GetHideFromEditors()
    assert np.array_equal(shown(back), kept)
    finish(redrawResult(scene, back, 0.3))
    assert (shown(back)[BOX] == kept[BOX]).all()
    assert not np.array_equal(shown(back), kept)
    finish(redrawResult(scene, back, 0.8))
    assert np.array_equal(shown(back), kept)


def test_tables_and_report_say_the_sensitivity_in_force(scene, node, tmp_path: Path) -> None:
    finish(redrawResult(scene, node, 0.85))
    results.exportCsv(node, tmp_path / "tables.csv")
    lines = list(csv.reader((tmp_path / "tables.csv").open(encoding="utf-8")))
    assert lines[-2:] == [["Setting", "Value"], ["Sensitivity", "0.85"]]
    finish(results.exportReport(scene, node, tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<dt>sensitivity</dt><dd>0.85</dd>" in text
    assert "Volume by sensitivity" in text and "drawn at 0.85" in text


def test_a_place_to_review_says_what_it_is_called_now(scene, ct, node) -> None:
    finish(redrawResult(scene, node, 0.0))
    (region,) = results.uncertainRegions(node, ct)
    assert region.text == "0.6 ml called healthy lung, perhaps ground glass"
    finish(redrawResult(scene, node, 0.5))
    (region,) = results.uncertainRegions(node, ct)
    assert region.text == "0.6 ml called ground glass, perhaps fibrosis"


@pytest.fixture
def history(node) -> slicer.vtkSegmentationHistory:
    """The undo of some Segment Editor, which keeps whole states of the segments."""
    made = slicer.vtkSegmentationHistory()
    made.SetSegmentation(node.GetSegmentation())
    made.SetMaximumNumberOfStates(10)
    return made


def whole(node) -> tuple:
    """All that may not be mixed of two drawings, after the tables have followed."""
    finish(results.refreshResults(slicer.mrmlScene, node))
    texts = [region.text for region in results.uncertainRegions(node, resultsOf(node).volume)]
    checksum = node.GetAttribute("DiffSegLung.checksum")
    return shown(node).tobytes(), tables(node), sensitivityOf(node), edited(node), texts, json.loads(checksum)


def test_undo_across_a_move_brings_back_the_sensitivity_as_well(scene, node, history) -> None:
    """The state before the stroke, whole; and with redo all of that after the move, the stroke included."""
    paint(node, "fibrosis", (slice(17, 19), slice(28, 30), slice(6, 9)))
    before = whole(node)
    history.SaveState()
    paint(node, "emphysema", BOX)
    finish(redrawResult(scene, node, 0.0))
    after = whole(node)
    assert (before[2], after[2]) == (0.5, 0.0) and before[4] != after[4]
    history.RestorePreviousState()
    assert whole(node) == before
    history.RestoreNextState()
    assert whole(node) == after
    assert (shown(node)[BOX] == EMPHYSEMA).all()


def test_a_move_after_an_undo_begins_from_what_is_there(scene, node, history) -> None:
    history.SaveState()
    paint(node, "emphysema", BOX)
    finish(redrawResult(scene, node, 0.9))
    history.RestorePreviousState()
    finish(redrawResult(scene, node, 0.7))
    assert np.array_equal(shown(node), drawn(node, 0.7)) and edited(node) == set()


def test_an_undo_in_the_middle_of_a_move_ends_it(scene, node, history) -> None:
    history.SaveState()
    paint(node, "emphysema", BOX)
    finish(redrawResult(scene, node, 0.9))
    steps = redrawResult(scene, node, 0.2)
    next(steps)
    history.RestorePreviousState()
    with pytest.raises(DiffSegLungError) as refused:
        finish(steps)
    assert refused.value.code == "changed-meanwhile"
    assert sensitivityOf(node) == 0.5 and np.array_equal(shown(node), lung_labels())


@pytest.mark.parametrize("tag", ["", "[]", "no JSON", '["a", 2, "0"]', '["another run", 0.5, "0"]'])
def test_what_a_class_says_of_itself_may_be_anything(scene, node, tag: str) -> None:
    finish(redrawResult(scene, node, 0.9))
    before = whole(node)
    segments = node.GetSegmentation()
    for segment in (segments.GetSegment(i) for i in segments.GetSegmentIDs()):
        segment.SetTag("DiffSegLung.drawn", tag)
    assert whole(node) == before


@pytest.fixture
def desk(host, ct, node):
    made = Desk(host)
    made.ct, made.node = ct, node
    made.parameters.inputVolume, made.parameters.outputSegmentation = ct, node
    yield made
    made.panel.cleanup()


def settled(desk) -> None:
    desk.wait(lambda: not desk.panel.sensitivity.isBusy)


def begun(desk) -> None:
    """A redrawing has made its first step: on so small a CT all others would follow in the same moment."""
    desk.panel.sensitivity._timer.stop()
    desk.panel.sensitivity._redraw()
    assert desk.panel.sensitivity._task.isRunning


def test_the_slider_redraws_and_the_panel_follows(desk) -> None:
    before = desk.ui.densityLabel.text, tables(desk.node)
    desk.ui.sensitivitySlider.value = 0.9
    settled(desk)
    assert np.array_equal(shown(desk.node), drawn(desk.node, 0.9))
    assert tables(desk.node) != before[1]
    assert desk.ui.densityLabel.text == before[0], "densitometry goes by the lungs, not by the classes"
    assert desk.ui.editedLabel.text == "Not edited so far."
    assert desk.ui.sensitivityNoteLabel.text == ""


def test_surfaces_of_the_former_classes_go(desk) -> None:
    desk.ui.show3DButton.click()
    desk.finish_run()
    desk.ui.sensitivitySlider.value = 0.9
    settled(desk)
    assert not desk.node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert not desk.ui.show3DButton.checked
    assert desk.ui.editedLabel.text == "Not edited so far."


@pytest.mark.parametrize("gone", ["volume", "regions"])
def test_edits_and_nothing_to_measure_them_on(scene, node, gone: str) -> None:
    paint(node, "emphysema", BOX)
    steps = redrawResult(scene, node, 0.7)
    next(steps)
    scene.RemoveNode(getattr(resultsOf(node), gone))
    with pytest.raises(DiffSegLungError) as refused:
        finish(steps)
    assert refused.value.code == "missing-node"
    assert provenance(node)["config"]["sensitivity"] == 0.5


def test_named_points_and_slider_are_one_control(desk) -> None:
    buttons = desk.ui.cautiousButton, desk.ui.balancedButton, desk.ui.sensitiveButton
    assert [b.checked for b in buttons] == [False, True, False]
    buttons[2].click()
    assert desk.ui.sensitivitySlider.value == 0.75
    assert [b.checked for b in buttons] == [False, False, True]
    settled(desk)
    assert sensitivityOf(desk.node) == 0.75
    buttons[2].click()
    assert [b.checked for b in buttons] == [False, False, True]
    desk.ui.sensitivitySlider.value = 0.6
    assert [b.checked for b in buttons] == [False, False, False]
    settled(desk)


def test_of_many_moves_the_newest_counts(desk, monkeypatch) -> None:
    made = []
    change = desk.panel._onRedrawn
    monkeypatch.setattr(
        desk.panel.sensitivity, "_onChanged", lambda: (made.append(sensitivityOf(desk.node)), change())
    )
    for value in np.linspace(0.1, 0.9, 41):
        desk.ui.sensitivitySlider.value = float(value)
        desk.host.process_events(2)
    desk.ui.sensitivitySlider.value = 0.3
    settled(desk)
    assert sensitivityOf(desk.node) == 0.3
    assert np.array_equal(shown(desk.node), drawn(desk.node, 0.3))
    assert len(set(made)) < 10, "positions passed over were not drawn"


def test_strokes_and_moves_at_once(desk) -> None:
    """A stroke before a move and one in the middle of it: both are kept, and the tables are right."""
    paint(desk.node, "emphysema", BOX)
    desk.ui.sensitivitySlider.value = 0.9
    begun(desk)
    second = (slice(6, 8), slice(28, 31), slice(10, 14))
    paint(desk.node, "emphysema", second)
    settled(desk)
    desk.wait(lambda: desk.ui.editedLabel.text.startswith("Edited"))
    assert (shown(desk.node)[BOX] == EMPHYSEMA).all() and (shown(desk.node)[second] == EMPHYSEMA).all()
    before = tables(desk.node)
    finish(results.refreshResults(slicer.mrmlScene, desk.node))
    assert tables(desk.node) == before
    assert desk.ui.editedLabel.text == "Edited: “healthy lung” and “emphysema”"


def test_the_panels_undo_ends_at_a_move(desk) -> None:
    """No undo takes away a stroke that a move has kept; strokes after the move are undone one by one."""
    editor = desk.ui.segmentEditor
    desk.ui.refineCollapsibleButton.collapsed = False
    editor.saveStateForUndo()
    paint(desk.node, "emphysema", BOX)
    desk.ui.sensitivitySlider.value = 0.9
    settled(desk)
    moved = shown(desk.node)
    assert (moved[BOX] == EMPHYSEMA).all()
    editor.undo()
    assert np.array_equal(shown(desk.node), moved)
    editor.saveStateForUndo()
    paint(desk.node, "fibrosis", (slice(6, 8), slice(28, 31), slice(10, 14)))
    assert not np.array_equal(shown(desk.node), moved)
    editor.undo()
    assert np.array_equal(shown(desk.node), moved)
    desk.wait(lambda: desk.ui.editedLabel.text.startswith("Edited"))
    assert sensitivityOf(desk.node) == 0.9


def test_undo_elsewhere_moves_the_slider(desk, history) -> None:
    history.SaveState()
    paint(desk.node, "emphysema", BOX)
    desk.ui.sensitivitySlider.value = 0.9
    settled(desk)
    history.RestorePreviousState()
    desk.wait(lambda: desk.ui.editedLabel.text.startswith("Not edited"))
    assert desk.ui.sensitivitySlider.value == 0.5
    settled(desk)
    assert np.array_equal(shown(desk.node), lung_labels())


def test_every_finding_edited_is_one_sentence(desk) -> None:
    for key in ("emphysema", "ground_glass", "fibrosis", "consolidation"):
        desk.node.GetSegmentation().GetSegment(f"Segment_{key}").SetTag(
            "DICOM.SegmentAlgorithmType", "MANUAL"
        )
    before = shown(desk.node)
    desk.ui.sensitivitySlider.value = 0.8
    settled(desk)
    assert desk.ui.sensitivityNoteLabel.text.startswith("Every finding of CT lung tissue was edited by hand")
    assert np.array_equal(shown(desk.node), before) and sensitivityOf(desk.node) == 0.5
    assert desk.panel.request().settings["sensitivity"] == 0.8, "for the next run"
    desk.ui.sensitivitySlider.value = 0.5
    settled(desk)
    assert desk.ui.sensitivityNoteLabel.text == ""


def test_with_an_older_result_it_is_of_the_next_run(desk) -> None:
    slicer.mrmlScene.RemoveNode(resultsOf(desk.node).evidence)
    assert desk.ui.sensitivityNoteLabel.text.startswith("This result came without the evidence")
    before = shown(desk.node)
    desk.ui.sensitivitySlider.value = 0.8
    settled(desk)
    assert desk.panel.request().settings["sensitivity"] == 0.8, "for the next run"
    assert np.array_equal(shown(desk.node), before)
    desk.parameters.outputSegmentation = None
    assert desk.ui.sensitivityWidget.enabled and not desk.ui.sensitivityNoteLabel.text


def test_the_next_run_uses_it_and_shows_it(desk) -> None:
    desk.parameters.outputSegmentation = None
    desk.ui.sensitivitySlider.value = 0.9
    desk.ui.applyButton.click()
    assert not desk.ui.sensitivityWidget.enabled
    desk.finish_run()
    assert desk.logic.asked["settings"]["sensitivity"] == 0.9
    made = desk.parameters.outputSegmentation
    assert made is not desk.node and sensitivityOf(made) == 0.9
    assert desk.ui.sensitivitySlider.value == 0.9
    desk.parameters.outputSegmentation = desk.node
    assert desk.ui.sensitivitySlider.value == 0.5, "the slider shows what the result is drawn at"
    settled(desk)
    assert sensitivityOf(desk.node) == 0.5 and sensitivityOf(made) == 0.9


def test_a_script_moves_the_slider(desk) -> None:
    desk.logic.setSensitivity(desk.node, 0.7)
    assert desk.ui.sensitivitySlider.value == 0.7
    settled(desk)
    assert sensitivityOf(desk.node) == 0.7


def test_a_loaded_scene_shows_its_own(desk, tmp_path: Path) -> None:
    desk.ui.sensitivitySlider.value = 0.85
    settled(desk)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    desk.host.close_scene()
    assert desk.ui.sensitivitySlider.value == 0.5
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    desk.host.process_events(10)
    assert desk.ui.sensitivitySlider.value == 0.85
    desk.ui.sensitivitySlider.value = 0.2
    settled(desk)
    back = desk.parameters.outputSegmentation
    assert np.array_equal(shown(back), drawn(back, 0.2))


@pytest.mark.parametrize("gone", ["node", "ct", "evidence", "scene"])
def test_what_goes_away_in_the_middle_ends_it(desk, gone: str) -> None:
    desk.ui.sensitivitySlider.value = 0.9
    begun(desk)
    if gone == "scene":
        desk.host.close_scene()
    else:
        slicer.mrmlScene.RemoveNode(
            {"node": desk.node, "ct": desk.ct, "evidence": resultsOf(desk.node).evidence}[gone]
        )
    settled(desk)


def half_shown(desk, value: float) -> None:
    """A redrawing in its pause between the classes and the tables; nothing goes on by itself."""
    pane = desk.panel.sensitivity
    desk.ui.sensitivitySlider.value = value
    pane._timer.stop()
    pane._task = Task(redrawResult(slicer.mrmlScene, desk.node, value))
    pane._task.finished.connect(pane._onFinished)
    while sensitivityOf(desk.node) != value:
        pane._task._advance()
    assert pane._task.isRunning


def test_an_update_between_classes_and_tables_changes_nothing(desk) -> None:
    half_shown(desk, 0.9)
    task = desk.panel.sensitivity._task
    desk.panel.update()
    assert desk.panel.sensitivity._task is task and task.isRunning
    assert desk.ui.sensitivitySlider.value == 0.9 and not desk.ui.exportCsvButton.enabled
    task.start()
    settled(desk)
    assert desk.ui.exportCsvButton.enabled
    before = tables(desk.node)
    finish(results.refreshResults(slicer.mrmlScene, desk.node))
    assert tables(desk.node) == before


@pytest.mark.parametrize("first", [False, True], ids=["at once", "after an update"])
def test_a_move_between_classes_and_tables_is_followed(desk, first: bool) -> None:
    half_shown(desk, 0.9)
    if first:
        desk.panel.update()
    desk.ui.sensitivitySlider.value = 0.2
    assert desk.ui.sensitivitySlider.value == 0.2
    settled(desk)
    assert sensitivityOf(desk.node) == 0.2 and desk.ui.sensitivitySlider.value == 0.2
    assert np.array_equal(shown(desk.node), drawn(desk.node, 0.2))


def test_stopped_between_classes_and_tables_the_panel_shows_the_new_ones(desk, monkeypatch) -> None:
    half_shown(desk, 0.9)
    pane, told = desk.panel.sensitivity, []
    monkeypatch.setattr(pane, "_onChanged", lambda: told.append(tables(desk.node)))
    pane.update(desk.node, desk.parameters, idle=False)
    desk.host.process_events(10)
    finish(results.refreshResults(slicer.mrmlScene, desk.node))
    assert told == [tables(desk.node)]


def test_a_script_redraws_while_the_panel_does(scene, node) -> None:
    steps = redrawResult(scene, node, 0.9)
    next(steps)
    finish(redrawResult(scene, node, 0.3))
    with pytest.raises(DiffSegLungError) as refused:
        finish(steps)
    assert refused.value.code == "changed-meanwhile" and sensitivityOf(node) == 0.3


def test_a_script_at_work_has_the_result_to_itself(desk) -> None:
    task = desk.logic.setSensitivity(desk.node, 0.7, waitForCompletion=False)
    desk.panel.update()
    assert not desk.ui.sensitivityWidget.enabled
    desk.wait(lambda: not task.isRunning)
    assert desk.ui.sensitivityWidget.enabled and desk.ui.sensitivitySlider.value == 0.7


@pytest.mark.parametrize("key", ["healthy", "vessel", "emphysema", "cavity"])
def test_a_deleted_class_has_no_voxels_at_any_sensitivity(scene, node, key: str) -> None:
    """Neither as label values nor as ml; cavity was empty to begin with."""
    node.GetSegmentation().RemoveSegment(f"Segment_{key}")
    for sensitivity in (0.1, 1.0, 0.4):
        finish(redrawResult(scene, node, sensitivity))
        assert node.GetSegmentation().GetSegment(f"Segment_{key}") is None
        stored_values = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, "Segment_fibrosis")
        assert (stored_values == BY_KEY[key].id).sum() == 0
        before = tables(node)
        finish(results.refreshResults(scene, node))
        assert tables(node) == before
        assert ml_of(node, key) == 0


def test_a_stroke_while_edits_are_looked_for_counts(scene, node) -> None:
    """The fingerprints of the slabs already read would not know of it."""
    paint(node, "fibrosis", BOX)
    steps = fingerprints(node)
    next(steps)
    paint(node, "emphysema", BOX)
    assert finish(steps) == finish(_fingerprints(node))
    second = (slice(6, 8), slice(28, 31), slice(10, 14))
    redrawing = redrawResult(scene, node, 0.9)
    next(redrawing)
    paint(node, "consolidation", second)
    finish(redrawing)
    assert (shown(node)[second] == CONSOLIDATION).all() and "consolidation" in edited(node)


def foreign(evidence: np.ndarray, kind: str) -> np.ndarray:
    changed = evidence.copy()
    if kind == "no disease":
        changed[changed > 0] &= 0x30FF
    elif kind == "a class that is none":
        changed[12, 20, 12] |= 0xF00
    else:
        changed = np.roll(changed, 3, axis=2)
    return changed


@pytest.mark.parametrize("kind", ["no disease", "a class that is none", "another CT"])
def test_foreign_evidence_is_refused(scene, node, kind: str) -> None:
    evidence = resultsOf(node).evidence
    slicer.util.updateVolumeFromArray(evidence, foreign(slicer.util.arrayFromVolume(evidence), kind))
    before = shown(node), tables(node), node.GetAttribute("DiffSegLung.provenance")
    with pytest.raises(DiffSegLungError) as refused:
        finish(redrawResult(scene, node, 0.9))
    assert refused.value.code == "damaged-result"
    assert np.array_equal(shown(node), before[0])
    assert (tables(node), node.GetAttribute("DiffSegLung.provenance")) == before[1:]


@pytest.mark.parametrize("index", [[-1, 2, 3], [1, 2, 999], [float("inf"), 0, 0], [1, 2], "abc", 7])
def test_a_place_that_is_none_is_passed_over(scene, ct, node, index) -> None:
    (entry,) = json.loads(node.GetAttribute("DiffSegLung.uncertainRegions"))
    node.SetAttribute("DiffSegLung.uncertainRegions", json.dumps([{**entry, "index": index}]))
    finish(redrawResult(scene, node, 0.0))
    (entry,) = json.loads(node.GetAttribute("DiffSegLung.uncertainRegions"))
    assert "now" not in entry
    results.uncertainRegions(node, ct)


@pytest.mark.parametrize("gone", ["node", "scene"])
def test_nothing_is_kept_of_what_is_gone(scene, node, gone: str) -> None:
    finish(redrawResult(scene, node, 0.9))
    assert redraw._latest and redraw._rows
    if gone == "node":
        scene.RemoveNode(node)
    else:
        scene.Clear(False)
    assert not redraw._latest and not redraw._rows


def test_tables_say_the_sensitivity_also_without_evidence(scene, node, tmp_path: Path) -> None:
    scene.RemoveNode(resultsOf(node).evidence)
    results.exportCsv(node, tmp_path / "tables.csv")
    lines = list(csv.reader((tmp_path / "tables.csv").open(encoding="utf-8")))
    assert lines[-1] == ["Sensitivity", "0.5"]


def test_surfaces_stay_where_nothing_is_redrawn(desk) -> None:
    desk.ui.show3DButton.click()
    desk.finish_run()
    for key in ("emphysema", "ground_glass", "fibrosis", "consolidation"):
        desk.node.GetSegmentation().GetSegment(f"Segment_{key}").SetTag(
            "DICOM.SegmentAlgorithmType", "MANUAL"
        )
    desk.ui.sensitivitySlider.value = 0.8
    settled(desk)
    assert desk.node.GetSegmentation().ContainsRepresentation("Closed surface")
    regions = resultsOf(desk.node).regions
    regions.SetAndObserveDisplayNodeID(None)
    desk.node.GetSegmentation().GetSegment("Segment_fibrosis").SetTag(
        "DICOM.SegmentAlgorithmType", "AUTOMATIC"
    )
    desk.ui.sensitivitySlider.value = 0.9
    settled(desk)
    assert sensitivityOf(desk.node) == 0.9


def test_removed_with_the_result(scene, node) -> None:
    evidence = resultsOf(node).evidence
    results.removeResults(scene, node)
    assert not scene.IsNodePresent(evidence)


def test_a_real_run_redrawn_is_the_real_run_at_that_sensitivity(host) -> None:
    """A small generated chest through the worker twice: voxel for voxel, table for table."""
    hu = chest()
    lesion = (slice(8, 16), slice(24, 40), slice(12, 26))
    hu[lesion] = np.where(hu[lesion] < -600, hu[lesion] + 220, hu[lesion])
    logic, first, second = DiffSegLungLogic(), add_chest("first", hu), add_chest("second", hu)
    redrawn = logic.segment(first, settings={**QUICK, "sensitivity": 0.5})
    run = logic.segment(second, settings={**QUICK, "sensitivity": 1.0})
    assert not np.array_equal(shown(redrawn), shown(run))
    logic.setSensitivity(redrawn, 1.0)
    assert np.array_equal(shown(redrawn), shown(run))
    assert tables(redrawn) == tables(run)
    assert provenance(redrawn)["config"] == provenance(run)["config"]
