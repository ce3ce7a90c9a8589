"""Results and refinement in the panel: numbers, charts, 3D, uncertainty, export, and edits."""

import json
import time

import numpy as np
import pytest
import slicer
import vtk
from DiffSegLungPanel.panes.dialogs import Answer, Dialogs
from DiffSegLungPanel.scene.results import resultsOf
from DiffSegLungPanel.scene.segments import TYPE_TAG, tagOf
from headless_slicer.qt.dialogs import dialogs as shown_dialogs
from panels import Desk, add_result, paint

LESION = (slice(8, 12), slice(20, 26), slice(30, 36))


@pytest.fixture
def desk(host, tmp_path):
    made = Desk(host)
    made.ct, made.node = add_result(tmp_path)
    made.parameters.inputVolume, made.parameters.outputSegmentation = made.ct, made.node
    yield made
    made.panel.cleanup()


def rows_shown(view) -> list[tuple[str, str]]:
    table = view.mrmlTableNode()
    rows = [row for row in range(table.GetNumberOfRows()) if not view.isRowHidden(row)]
    return [(table.GetCellText(row, 0), table.GetCellText(row, 1)) for row in rows]


def volume_of(desk, tissue: str) -> float:
    """ml of a class in both lungs, as the class table says."""
    table = resultsOf(desk.node).classTable
    for row in range(table.GetNumberOfRows()):
        if (table.GetCellText(row, 0), table.GetCellText(row, 1)) == ("Both lungs", tissue):
            return float(table.GetCellText(row, 2))
    raise AssertionError(tissue)


def composites() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def test_the_table_shows_one_region_or_all(desk):
    view = desk.ui.classTableView
    assert {region for region, _tissue in rows_shown(view)} == {"Both lungs"}
    assert len(rows_shown(view)) == 7 and view.isColumnHidden(0)
    desk.choose(desk.ui.regionComboBox, "Left lung")
    assert {region for region, _tissue in rows_shown(view)} == {"Left lung"}
    desk.choose(desk.ui.regionComboBox, "All regions")
    assert len(rows_shown(view)) == view.mrmlTableNode().GetNumberOfRows()
    assert not view.isColumnHidden(0)
    desk.parameters.outputSegmentation = None
    assert desk.ui.densityLabel.text == "" and desk.ui.regionComboBox.count == 0


def test_the_line_of_densitometry_is_that_of_the_region(desk):
    hu = slicer.util.arrayFromVolume(desk.ct)
    lungs = np.zeros(hu.shape, bool)
    for segment in desk.node.GetSegmentation().GetSegmentIDs():
        lungs |= slicer.util.arrayFromSegmentBinaryLabelmap(desk.node, segment, desk.ct) > 0
    share = 100 * (hu[lungs] < -950).mean()
    assert f"LAA-950\u00a0{share:.1f}\u00a0%" in desk.ui.densityLabel.text
    whole = desk.ui.densityLabel.text
    desk.choose(desk.ui.regionComboBox, "Right lung")
    assert desk.ui.densityLabel.text != whole


@pytest.mark.parametrize(
    ("button", "chart"), [("volumeChartButton", "volumeChart"), ("histogramChartButton", "histogramChart")]
)
def test_charts_come_into_the_layout(desk, button, chart):
    getattr(desk.ui, button).click()
    views = slicer.util.getNodesByClass("vtkMRMLPlotViewNode")
    assert getattr(resultsOf(desk.node), chart).GetID() in [view.GetPlotChartNodeID() for view in views]


def test_only_findings_are_shown_in_3d(desk):
    desk.ui.show3DButton.click()
    desk.finish_run()
    display, segments = desk.node.GetDisplayNode(), desk.node.GetSegmentation()
    assert display.GetVisibility3D() and desk.ui.show3DButton.checked
    in_3d = {i for i in segments.GetSegmentIDs() if display.GetSegmentVisibility3D(i)}
    findings = ("emphysema", "ground_glass", "fibrosis", "consolidation", "cavity")
    assert in_3d == {f"Segment_{key}" for key in findings}
    hull = segments.GetSegment("Segment_ground_glass").GetRepresentation("Closed surface").GetBounds()
    inside = slicer.util.arrayFromSegmentBinaryLabelmap(desk.node, "Segment_ground_glass", desk.ct) > 0
    matrix = vtk.vtkMatrix4x4()
    desk.ct.GetIJKToRASMatrix(matrix)
    corners = np.argwhere(inside)[:, ::-1]
    points = corners @ slicer.util.arrayFromVTKMatrix(matrix)[:3, :3].T
    points += slicer.util.arrayFromVTKMatrix(matrix)[:3, 3]
    assert np.allclose(hull[0::2], points.min(axis=0), atol=2.0)  # one voxel, rounded off
    assert np.allclose(hull[1::2], points.max(axis=0), atol=2.0)
    assert not desk.ui.editedLabel.text.startswith("Edited")
    desk.ui.show3DButton.click()
    assert not segments.ContainsRepresentation("Closed surface")


def test_surfaces_give_way_to_the_brush(desk):
    desk.ui.show3DButton.click()
    desk.finish_run()
    desk.ui.refineCollapsibleButton.collapsed = False
    assert not desk.node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert not desk.ui.show3DButton.checked and not desk.ui.show3DButton.enabled
    desk.ui.refineCollapsibleButton.collapsed = True
    assert desk.ui.show3DButton.enabled


def test_surfaces_that_are_cancelled_are_not_there(desk):
    desk.ui.show3DButton.click()
    desk.ui.applyButton.click()
    desk.finish_run()
    assert not desk.node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert not desk.ui.show3DButton.checked


def test_the_ct_comes_into_the_slices(desk):
    desk.ui.showSlicesButton.click()
    assert {c.GetBackgroundVolumeID() for c in composites()} == {desk.ct.GetID()}


def test_the_overlay_takes_the_place_of_the_foreground_and_gives_it_back(desk):
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
    for composite in composites():
        composite.SetForegroundVolumeID(other.GetID())
        composite.SetForegroundOpacity(0.3)
    desk.ui.overlayCheckBox.click()
    uncertainty = resultsOf(desk.node).uncertainty.GetID()
    assert {c.GetForegroundVolumeID() for c in composites()} == {uncertainty}
    desk.ui.overlayOpacitySlider.value = 25
    assert {c.GetForegroundOpacity() for c in composites()} == {0.25}
    desk.ui.overlayCheckBox.click()
    assert {(c.GetForegroundVolumeID(), c.GetForegroundOpacity()) for c in composites()} == {
        (other.GetID(), 0.3)
    }


def test_the_ct_is_shown_in_the_lung_window_unless_a_window_was_chosen(desk):
    display = desk.ct.GetDisplayNode()
    display.SetAutoWindowLevel(True)
    desk.ui.showSlicesButton.click()
    assert (display.GetWindow(), display.GetLevel()) == (1500, -600)
    display.SetWindowLevel(400, 40)
    desk.ui.showSlicesButton.click()
    assert (display.GetWindow(), display.GetLevel()) == (400, 40)


def test_numbers_say_which_region_they_are_of_and_how_the_ct_was_corrected(desk):
    assert [desk.ui.regionComboBox.itemText(i) for i in (0, 1, 4, 5)] == [
        *("Both lungs", "Both lungs, upper third", "Right lung", "Right upper third")
    ]
    desk.choose(desk.ui.regionComboBox, "All regions")
    assert desk.ui.densityLabel.text.startswith("Both lungs: Volume")
    desk.node.SetAttribute("DiffSegLung.airShiftHU", "-12.3")
    desk.panel.update()
    assert desk.ui.densityLabel.text.endswith("air corrected by −12\u00a0HU")
    desk.node.SetAttribute("DiffSegLung.airShiftHU", "nan")
    desk.panel.update()
    assert "corrected" not in desk.ui.densityLabel.text


def test_what_was_unusual_about_the_lungs_stands_below_the_numbers(desk):
    stored = json.loads(desk.node.GetAttribute("DiffSegLung.provenance"))
    doubt = "About 300 ml at the base of the right lung may be diseased lung that was left out."
    for notes, shown in (
        ([doubt, "Air reads -1000 HU."], doubt),
        (["Air reads -1000 HU."], ""),  # the line of densities says how the air was corrected
        ("damaged", ""),
    ):
        desk.node.SetAttribute("DiffSegLung.provenance", json.dumps({**stored, "notes": notes}))
        desk.panel.update()
        assert desk.ui.notesLabel.text == shown
    desk.parameters.outputSegmentation = None
    assert desk.ui.notesLabel.text == ""


def test_the_slices_jump_to_the_uncertain_region(desk):
    assert desk.ui.uncertainRegionLabel.text == "1 to review, the most important first."
    desk.ui.nextRegionButton.click()
    text = desk.ui.uncertainRegionLabel.text
    assert text.startswith("Region 1 of 1: 0.6 ml") and "round glass" in text and "ibrosis" in text
    ground_glass = slicer.util.arrayFromSegmentBinaryLabelmap(desk.node, "Segment_ground_glass", desk.ct)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        centre = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
        matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
        desk.ct.GetRASToIJKMatrix(matrix)
        i, j, k = np.rint(matrix.MultiplyPoint([*centre, 1.0])[:3]).astype(int)
        assert ground_glass[k, j, i]
    desk.ui.previousRegionButton.click()
    assert desk.ui.uncertainRegionLabel.text == text  # round and round


def test_tables_are_saved_as_they_stand(desk, tmp_path):
    desk.dialogs.file = tmp_path / "numbers"
    desk.ui.exportCsvButton.click()
    assert desk.panel.messages.kind == "success"
    written = (tmp_path / "numbers.csv").read_text()
    assert "Both lungs,Ground glass" in written and "LAA-950" in written
    (tmp_path / "numbers.csv").write_text("somebody's work")
    desk.ui.exportCsvButton.click()
    assert "“numbers.csv” is there already" in desk.dialogs.questions[-1]
    assert (tmp_path / "numbers.csv").read_text() == "somebody's work"
    desk.dialogs.sure = True
    desk.ui.exportCsvButton.click()
    assert (tmp_path / "numbers.csv").read_text() == written
    desk.dialogs.file = tmp_path / "missing" / "numbers.csv"
    desk.ui.exportCsvButton.click()
    assert desk.panel.messages.kind == "error"


def test_a_report_is_written_in_steps(desk, tmp_path):
    desk.dialogs.file = tmp_path / "report.html"
    desk.ui.exportReportButton.click()
    assert desk.ui.applyButton.text == "Cancel"
    desk.finish_run()
    assert desk.panel.messages.kind == "success", desk.panel.messages.text
    assert "<html" in (tmp_path / "report.html").read_text().lower()


def test_a_report_that_cannot_be_written_says_so(desk, tmp_path):
    desk.dialogs.file = tmp_path / "missing" / "report.html"
    desk.ui.exportReportButton.click()
    desk.finish_run()
    assert desk.panel.messages.kind == "error"


def test_an_export_that_is_cancelled_is_none(desk):
    desk.ui.exportCsvButton.click()
    desk.ui.exportReportButton.click()
    assert desk.panel.messages.kind == ""


def test_tables_follow_an_edit_within_a_second(desk):
    before = volume_of(desk, "Consolidation")
    voxel_ml = float(np.prod(desk.ct.GetSpacing())) / 1000
    painted = np.zeros(slicer.util.arrayFromVolume(desk.ct).shape, bool)
    painted[LESION] = True
    new = painted & ~(
        slicer.util.arrayFromSegmentBinaryLabelmap(desk.node, "Segment_consolidation", desk.ct) > 0
    )
    paint(desk.node, "Segment_consolidation", desk.ct, LESION)
    assert desk.ui.editedLabel.text == "The tables are being updated…"
    assert not desk.ui.exportCsvButton.enabled
    begin = time.monotonic()
    desk.wait(lambda: volume_of(desk, "Consolidation") != before)
    assert time.monotonic() - begin < 1.0
    lungs = resultsOf(desk.node).regions
    inside = np.zeros_like(painted)
    for segment in lungs.GetSegmentation().GetSegmentIDs():
        inside |= slicer.util.arrayFromSegmentBinaryLabelmap(lungs, segment, desk.ct) > 0
    assert volume_of(desk, "Consolidation") == pytest.approx(
        before + (new & inside).sum() * voxel_ml, abs=0.01
    )
    desk.wait(lambda: desk.ui.editedLabel.text.startswith("Edited: "))
    assert desk.ui.exportCsvButton.enabled
    assert "consolidation" in desk.ui.editedLabel.text
    assert desk.ui.outputInfoLabel.isVisibleTo(desk.root)
    segment = desk.node.GetSegmentation().GetSegment("Segment_consolidation")
    assert tagOf(segment, TYPE_TAG) == "SEMIAUTOMATIC"


def test_an_edit_during_a_run_is_measured_after_it(desk):
    before = volume_of(desk, "Consolidation")
    desk.dialogs.answer = Answer.makeNew
    other, node = desk.ct, desk.node
    desk.ui.applyButton.click()
    paint(node, "Segment_consolidation", other, LESION)
    desk.host.process_events(20)
    assert volume_of(desk, "Consolidation") == before
    desk.ui.applyButton.click()  # cancel
    desk.finish_run()
    desk.wait(lambda: volume_of(desk, "Consolidation") != before)


def test_measuring_what_was_deleted_is_said_where_the_edits_are(desk):
    slicer.mrmlScene.RemoveNode(resultsOf(desk.node).regions)
    paint(desk.node, "Segment_consolidation", desk.ct, LESION)
    desk.wait(lambda: desk.ui.editedLabel.text != "The tables are being updated…")
    assert not desk.ui.editedLabel.text.startswith("Edited")


def test_the_uncertainty_of_a_warped_ct_is_not_reviewed(desk):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    transform.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    desk.ct.SetAndObserveTransformNodeID(transform.GetID())
    desk.panel.update()
    assert not desk.ui.nextRegionButton.enabled


def test_the_editor_works_only_while_it_is_seen(desk):
    editor = desk.ui.segmentEditor
    assert editor.segmentationNode() is None
    desk.ui.refineCollapsibleButton.collapsed = False
    assert editor.segmentationNode() is desk.node
    assert editor.sourceVolumeNode() is desk.ct
    node = editor.mrmlSegmentEditorNode()
    assert node.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments
    assert node.GetOverwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments
    editor.setActiveEffectByName("Paint")
    desk.panel.exit()
    assert not node.GetActiveEffectName()
    desk.panel.enter()
    assert editor.segmentationNode() is desk.node
    desk.ui.refineCollapsibleButton.collapsed = True
    desk.host.close_scene()
    assert editor.segmentationNode() is None


def test_the_editor_keeps_to_itself(desk):
    """The Segment Editor module's own state is another node."""
    own = slicer.vtkMRMLSegmentEditorNode()
    own.SetSingletonTag("SegmentEditor")
    own = slicer.mrmlScene.AddNode(own)
    desk.ui.refineCollapsibleButton.collapsed = False
    assert desk.ui.segmentEditor.mrmlSegmentEditorNode() is not own
    assert own.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere


# The questions themselves


@pytest.fixture
def asking(host):
    host.testing = False
    shown_dialogs.reset()
    yield Dialogs(None)
    shown_dialogs.reset()


@pytest.mark.parametrize(
    ("button", "answer"), [("Yes", Answer.replace), ("No", Answer.makeNew), ("Cancel", Answer.cancel)]
)
def test_replace_new_or_cancel(asking, button, answer):
    import qt

    shown_dialogs.answers["QMessageBox.exec"] = getattr(qt.QMessageBox, button)
    assert asking.replaceOrNew("Replace it?") is answer
    assert shown_dialogs.shown[-1][1][1] == "Replace it?"


def test_nothing_is_replaced_by_an_unattended_slicer(asking, host):
    host.testing = True
    assert asking.replaceOrNew("Replace it?") is Answer.cancel


def test_consent_is_asked_with_details(asking, host):
    host.answer(True, False)
    assert asking.confirmInstall("Install?", "torch") is True
    assert asking.confirmInstall("Install?", "torch") is False
    assert (host.messages[0].text, host.messages[0].details) == ("Install?", "torch")


def test_files_are_asked_for(asking, tmp_path):
    assert asking.openModel("") == "" and asking.saveFile("Save", "a.csv", "(*.csv)") is None
    shown_dialogs.answers["QFileDialog.getSaveFileName"] = str(tmp_path / "a.csv")
    shown_dialogs.answers["QFileDialog.getOpenFileName"] = str(tmp_path / "card.json")
    assert asking.saveFile("Save", "a.csv", "(*.csv)") == tmp_path / "a.csv"
    assert asking.openModel("") == str(tmp_path / "card.json")
