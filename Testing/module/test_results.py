"""Tables, charts, uncertainty and reports: made, kept up to date, saved, removed, missing."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from DiffSegLungPanel.scene import results
from DiffSegLungPanel.scene.segmentation import classMap, isEdited
from mrml_scenes import (
    add_ct,
    finish,
    lung_hu,
    lung_labels,
    put_under,
    write_worker_output,
)
from test_edits import BOX, edited, ml_of, paint

from DiffSegLungLib.classes import CLASSES, PATHOLOGY
from DiffSegLungLib.errors import DiffSegLungError, InputError
from DiffSegLungLib.report.quantify import Quantities

OWN = [
    "uncertainty",
    "evidence",
    "regions",
    "classTable",
    "densityTable",
    "histogramTable",
    "abnormalTable",
    "volumeChart",
    "histogramChart",
]


@pytest.fixture
def ct(scene) -> slicer.vtkMRMLScalarVolumeNode:
    return add_ct(scene, lung_hu(lung_labels()))


@pytest.fixture
def folder(ct, tmp_path: Path) -> Path:
    return write_worker_output(tmp_path / "worker", ct, lung_labels(), shift_hu=3.5)


@pytest.fixture
def node(scene, ct, folder) -> slicer.vtkMRMLSegmentationNode:
    return finish(results.importResults(scene, ct, folder))


def written_tables(folder: Path) -> Quantities:
    return Quantities.from_mapping(json.loads((folder / "result.json").read_text())["tables"])


def rows(table: slicer.vtkMRMLTableNode) -> list[list[str]]:
    columns = range(table.GetNumberOfColumns())
    return [[table.GetCellText(row, c) for c in columns] for row in range(table.GetNumberOfRows())]


def node_ids(scene) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def test_every_part_is_there_and_named_after_the_ct(node) -> None:
    found = results.resultsOf(node)
    names = [getattr(found, role).GetName() for role in OWN]
    assert all(name.startswith("CT ") for name in names)
    assert len(set(names)) == len(OWN)
    assert node.GetAttribute("DiffSegLung.bundle") == "diffseglung-ct 1"
    assert float(node.GetAttribute("DiffSegLung.airShiftHU")) == 3.5


def test_nothing_in_the_scene_names_the_patient(scene, node) -> None:
    attributes = " ".join(node.GetAttribute(name) or "" for name in node.GetAttributeNames())
    assert "patient-name" not in attributes
    assert json.loads(node.GetAttribute("DiffSegLung.provenance"))["config"]["preset"] == "balanced"


def test_the_tables_hold_the_library_s_numbers(node, folder: Path) -> None:
    found, expected = results.resultsOf(node), written_tables(folder)
    lines = rows(found.classTable)
    assert len(lines) == 7 * len(expected.regions)
    for line, c in zip(lines, expected.lungs.classes, strict=False):
        assert line[0] == "Both lungs"
        assert float(line[2]) == pytest.approx(c.volume_ml, abs=0.006)
        assert float(line[3]) == pytest.approx(c.percent, abs=0.006)
        assert line[4] == ("" if c.mean_hu is None else f"{c.mean_hu:.0f}")
    for line, region in zip(rows(found.densityTable), expected.regions, strict=True):
        density = region.density
        assert [float(value) for value in line[1:]] == pytest.approx(
            [
                region.volume_ml,
                density.mean_hu,
                density.laa_950_percent,
                density.laa_910_percent,
                density.perc15_hu,
                density.haa_percent,
                density.mass_g,
            ],
            abs=0.006,
        )
    assert len(rows(found.abnormalTable)) == len(PATHOLOGY)


def test_measured_again_the_numbers_are_the_same(scene, node, folder: Path) -> None:
    """Library and module count alike, the air shift included: an unedited result does not change."""
    again, expected = finish(results.refreshResults(scene, node)), written_tables(folder)
    for mine, theirs in zip(again.regions, expected.regions, strict=True):
        assert mine.name == theirs.name
        assert mine.volume_ml == pytest.approx(theirs.volume_ml, rel=1e-9)
        for name, value in vars(theirs.density).items():
            assert getattr(mine.density, name) == pytest.approx(value, rel=1e-9)
        for a, b in zip(mine.classes, theirs.classes, strict=True):
            assert (a.volume_ml, a.percent, a.mean_hu) == pytest.approx((b.volume_ml, b.percent, b.mean_hu))
    assert again.histogram_ml["healthy"] == pytest.approx(expected.histogram_ml["healthy"])


def test_a_stretching_transform_does_not_change_volumes(scene, ct, node, folder: Path) -> None:
    transform = put_under(scene, ct, np.diag([2.0, 1.0, 1.0, 1.0]))
    node.SetAndObserveTransformNodeID(transform.GetID())
    results.resultsOf(node).regions.SetAndObserveTransformNodeID(transform.GetID())
    again = finish(results.refreshResults(scene, node))
    assert again.lungs.volume_ml == pytest.approx(written_tables(folder).lungs.volume_ml)


def test_the_charts_draw_the_tables(node) -> None:
    found = results.resultsOf(node)
    assert found.volumeChart.GetNumberOfPlotSeriesNodes() == 2
    assert found.histogramChart.GetNumberOfPlotSeriesNodes() == len(CLASSES)
    for chart, table in (
        (found.volumeChart, found.abnormalTable),
        (found.histogramChart, found.histogramTable),
    ):
        for number in range(chart.GetNumberOfPlotSeriesNodes()):
            series = chart.GetNthPlotSeriesNode(number)
            assert series.GetTableNode() is table
            column = table.GetTable().GetColumnByName(series.GetYColumnName())
            assert column.IsA("vtkDoubleArray")
    line = found.histogramChart.GetNthPlotSeriesNode(2)
    assert np.allclose(np.array(line.GetColor()) * 255, CLASSES[2].colour)


def test_uncertainty_lies_over_the_ct(ct, node) -> None:
    uncertainty = results.resultsOf(node).uncertainty
    values = slicer.util.arrayFromVolume(uncertainty)
    assert values.dtype == np.float32
    assert np.array_equal(values > 0, lung_labels() == CLASSES[2].id)
    assert uncertainty.GetSpacing() == ct.GetSpacing()
    display = uncertainty.GetDisplayNode()
    assert display.GetColorNode() is not None
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    assert display.GetApplyThreshold(), "certain voxels are clear: the CT shows through"


def test_places_to_review_come_with_words(ct, node) -> None:
    (region,) = results.uncertainRegions(node, ct)
    assert region.text == "0.6 ml called ground glass, perhaps fibrosis"
    assert (region.ml, region.entropy) == (0.6, 0.7)


def test_an_import_that_stops_changes_nothing(scene, ct, folder: Path, node) -> None:
    """A cancelled run keeps the former result of the same output, tables and all."""
    paint(node, "emphysema", BOX)
    finish(results.refreshResults(scene, node))
    before, lines, nodes = (
        finish(classMap(node, ct)),
        rows(results.resultsOf(node).classTable),
        node_ids(scene),
    )
    steps = results.importResults(scene, ct, folder, target=node)
    next(steps)
    next(steps)
    steps.close()
    (folder / "regions.mhd").unlink()
    with pytest.raises(DiffSegLungError) as refused:
        finish(results.importResults(scene, ct, folder, target=node))
    assert refused.value.code == "damaged-result"
    assert np.array_equal(finish(classMap(node, ct)), before)
    assert rows(results.resultsOf(node).classTable) == lines
    assert node_ids(scene) == nodes
    assert edited(node) == {"emphysema", "healthy"}


def test_removing_takes_everything_along_and_leaves_the_rest(scene, ct, folder: Path) -> None:
    before = node_ids(scene)
    node = finish(results.importResults(scene, ct, folder))
    results.removeResults(scene, node)
    assert all(getattr(results.resultsOf(node), role) is None for role in OWN)
    assert results.resultsOf(node).volume is ct
    assert node.GetAttribute("DiffSegLung.provenance") is None
    own = {node.GetID(), node.GetDisplayNodeID()}
    left = {scene.GetNodeByID(i) for i in node_ids(scene) - before - own}
    assert not [
        n.GetName() for n in left if not n.IsA("vtkMRMLColorNode") and not n.IsA("vtkMRMLStorageNode")
    ]


@pytest.mark.parametrize(
    ("gone", "words"), [("volume", "The CT of"), ("regions", "The lung regions of"), ("self", "no longer")]
)
def test_what_was_deleted_is_said_in_one_sentence(scene, node, gone: str, words: str) -> None:
    scene.RemoveNode(node if gone == "self" else getattr(results.resultsOf(node), gone))
    with pytest.raises(DiffSegLungError) as refused:
        finish(results.refreshResults(scene, node))
    assert refused.value.code == "missing-node"
    assert words in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("gone", ["volume", "regions", "self"])
def test_deleting_in_the_middle_is_said_too(scene, node, gone: str) -> None:
    for after in (1, 2, 3, 4):
        steps = results.refreshResults(scene, node)
        try:
            for _step in range(after):
                next(steps)
        except StopIteration:
            break
    scene.RemoveNode(node if gone == "self" else getattr(results.resultsOf(node), gone))
    with pytest.raises(DiffSegLungError) as refused:
        finish(steps)
    assert refused.value.code == "missing-node"


@pytest.mark.parametrize(
    "role", ["uncertainty", "classTable", "densityTable", "histogramTable", "volumeChart"]
)
def test_what_is_not_needed_may_be_missing(scene, node, role: str) -> None:
    scene.RemoveNode(getattr(results.resultsOf(node), role))
    finish(results.refreshResults(scene, node))
    found = getattr(results.resultsOf(node), role)
    assert (found is None) == (role == "uncertainty"), "tables and charts are made anew"


def test_csv_holds_the_tables_as_they_stand(scene, node, tmp_path: Path) -> None:
    paint(node, "emphysema", BOX)
    finish(results.refreshResults(scene, node))
    results.exportCsv(node, tmp_path / "tables.csv")
    lines = list(csv.reader((tmp_path / "tables.csv").open(encoding="utf-8")))
    emphysema = next(line for line in lines if line[:2] == ["Both lungs", "Emphysema"])
    assert float(emphysema[2]) == ml_of(node, "emphysema")
    assert any("LAA-950 (%)" in line for line in lines)


def test_csv_that_cannot_be_written_is_said(node, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        results.exportCsv(node, tmp_path / "gone" / "tables.csv")
    assert refused.value.code == "not-written"


def test_csv_without_a_result_is_said(scene, tmp_path: Path) -> None:
    bare = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Bare")
    with pytest.raises(DiffSegLungError) as refused:
        results.exportCsv(bare, tmp_path / "tables.csv")
    assert refused.value.code == "no-result"


def test_the_report_shows_the_edits_and_no_names(scene, node, tmp_path: Path) -> None:
    finish(results.exportReport(scene, node, str(tmp_path / "before.html")))
    paint(node, "emphysema", BOX)
    finish(results.exportReport(scene, node, tmp_path / "after.html"))
    before, after = ((tmp_path / name).read_text("utf-8") for name in ("before.html", "after.html"))
    assert "Edited by hand" not in before
    assert "Edited by hand after the run: Healthy lung, Emphysema." in after
    assert before.count("data:image/png;base64") == 3 * 3 + 6
    shown = [re.search(r"Emphysema</th>\s*<td>([^<]*)</td>", text)[1] for text in (before, after)]
    assert float(shown[1]) > float(shown[0])
    assert "patient-name" not in after
    assert "Research use only" in after


def test_the_report_does_without_the_uncertainty(scene, node, tmp_path: Path) -> None:
    scene.RemoveNode(results.resultsOf(node).uncertainty)
    finish(results.exportReport(scene, node, tmp_path / "report.html"))
    assert (tmp_path / "report.html").read_text("utf-8").count("data:image/png;base64") == 2 * 3 + 6


def test_a_report_that_cannot_be_made_is_said(scene, node, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        finish(results.exportReport(scene, node, tmp_path / "gone" / "report.html"))
    assert refused.value.code == "not-written"
    bare = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Bare")
    with pytest.raises(DiffSegLungError) as refused:
        finish(results.exportReport(scene, bare, tmp_path / "report.html"))
    assert refused.value.code == "no-result"


def test_saved_and_loaded_everything_is_back(scene, ct, node, tmp_path: Path) -> None:
    put_under(scene, ct, np.diag([1.0, 1.0, 1.5, 1.0]))
    node.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    results.resultsOf(node).regions.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    paint(node, "emphysema", BOX)
    finish(results.refreshResults(scene, node))
    labels, tables = finish(classMap(node, ct)), [rows(getattr(results.resultsOf(node), t)) for t in OWN[3:7]]
    attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    back = scene.GetFirstNodeByName("CT lung tissue")
    found = results.resultsOf(back)
    assert all(getattr(found, role) is not None for role in [*OWN, "volume"])
    assert np.array_equal(finish(classMap(back, found.volume)), labels)
    assert edited(back) == {"emphysema", "healthy"}
    assert isEdited(back)
    assert [rows(getattr(found, t)) for t in OWN[3:7]] == tables
    for name, value in attributes.items():
        assert back.GetAttribute(name) == value
    for chart, table in (
        (found.volumeChart, found.abnormalTable),
        (found.histogramChart, found.histogramTable),
    ):
        series = chart.GetNthPlotSeriesNode(0)
        assert series.GetTableNode() is table
        assert table.GetTable().GetColumnByName(series.GetYColumnName()).IsA("vtkDoubleArray")
    assert back.GetParentTransformNode() is found.volume.GetParentTransformNode()
    assert found.regions.GetDisplayNode().GetVisibility() == 0
    again = finish(results.refreshResults(scene, back))
    assert again.lungs.volume_ml > 0
    assert [rows(getattr(found, t)) for t in OWN[3:7]] == tables
    assert edited(back) == {"emphysema", "healthy"}


def test_an_unedited_result_is_unedited_after_a_reload(scene, node, tmp_path: Path) -> None:
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert not isEdited(scene.GetFirstNodeByName("CT lung tissue"))
