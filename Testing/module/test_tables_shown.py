"""Tables and the list of classes in Slicer's widgets: heads, numbers, widths, and nothing to edit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from DiffSegLungPanel.panes.table_view import layOut
from DiffSegLungPanel.scene.result_nodes import resultsOf
from DiffSegLungPanel.scene.results import exportCsv
from DiffSegLungPanel.scene.table_nodes import fillClassTable, fillDensityTable
from DiffSegLungPanel.steps import compare_steps
from headless_slicer import Host
from headless_slicer.qt.dialogs import dialogs
from headless_slicer.qt.wrapper import unwrap
from panels import Desk, add_result
from PySide6 import QtCore, QtGui, QtWidgets

from DiffSegLungLib.report.quantify import Quantities


@pytest.fixture
def desk(host: Host, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(host)
    made.parameters.inputVolume, made.parameters.outputSegmentation = add_result(tmp_path)
    host.process_events()
    dialogs.reset()
    yield made
    made.panel.cleanup()
    dialogs.reset()


def heads(view: Any) -> list[str]:
    model = unwrap(view).model()
    return [model.headerData(c, QtCore.Qt.Orientation.Horizontal) for c in range(model.columnCount())]


def cells(view: Any, column: int) -> list[QtCore.QModelIndex]:
    model = unwrap(view).model()
    return [model.index(row, column) for row in range(model.rowCount())]


def is_right_aligned(index: QtCore.QModelIndex) -> bool:
    alignment = index.data(QtCore.Qt.ItemDataRole.TextAlignmentRole)
    return alignment is not None and bool(int(alignment) & QtCore.Qt.AlignmentFlag.AlignRight.value)


def compare_view() -> Any:
    """The table that compares two models, in a view of its own."""
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "compared")
    compare_steps._fill(table, np.diag(np.arange(8, dtype=np.int64)), 0.25)
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(table)
    layOut(view)
    return view


def test_the_unit_stands_once_in_the_head(desk: Desk) -> None:
    assert heads(desk.ui.classTableView) == ["Region", "Tissue", "Volume [ml]", "Share [%]", "Mean [HU]"]
    assert heads(compare_view()) == ["Tissue", "Parent [ml]", "New [ml]", "Dice"]


def test_numbers_have_fixed_decimals_and_stand_to_the_right(desk: Desk) -> None:
    for view, decimals in (
        (desk.ui.classTableView, {2: 2, 3: 2, 4: 0}),
        (compare_view(), {1: 1, 2: 1, 3: 2}),
    ):
        for column in range(len(heads(view))):
            for index in cells(view, column):
                text = index.data()
                if column in decimals and text not in ("", "–"):
                    assert len(text.partition(".")[2]) == decimals[column], text
                assert is_right_aligned(index) == (column in decimals and text != ""), (column, text)


def test_a_column_without_any_value_is_empty(desk: Desk, tmp_path: Path) -> None:
    """No class has a voxel left: healthy lung was deleted, and at 0 nothing is called diseased."""
    node = desk.parameters.outputSegmentation
    for key in ("healthy", "vessel", "cavity"):
        node.GetSegmentation().RemoveSegment(f"Segment_{key}")
    desk.logic.setSensitivity(node, 0.0)
    desk.panel.update()
    assert {index.data() for index in cells(desk.ui.classTableView, 4)} == {""}
    assert {index.data() for index in cells(desk.ui.classTableView, 2)} == {"0.00"}
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    desk.host.close_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    desk.host.process_events(10)
    assert {index.data() for index in cells(desk.ui.classTableView, 4)} == {""}


def test_what_is_no_number_is_empty_in_tables_line_and_csv(desk: Desk, tmp_path: Path) -> None:
    found = resultsOf(desk.parameters.outputSegmentation)
    stored = desk.logic.refresh(desk.parameters.outputSegmentation).to_mapping()
    for region in stored["regions"]:
        region["density"] = dict.fromkeys(region["density"], math.nan)
        for amount in region["classes"]:
            amount["mean_hu"] = math.nan
    quantities = Quantities.from_mapping(stored)
    fillClassTable(found.classTable, quantities)
    fillDensityTable(found.densityTable, quantities)
    desk.panel.update()
    assert {index.data() for index in cells(desk.ui.classTableView, 4)} == {""}
    exportCsv(desk.parameters.outputSegmentation, tmp_path / "tables.csv")
    assert "nan" not in (desk.ui.densityLabel.text + (tmp_path / "tables.csv").read_text("utf-8")).lower()
    assert "LAA-950\u00a0–\u00a0%" in desk.ui.densityLabel.text


def test_numbers_stay_to_the_right_when_a_result_is_measured_anew(desk: Desk) -> None:
    desk.logic.refresh(desk.parameters.outputSegmentation)
    desk.panel.update()
    assert all(is_right_aligned(index) for index in cells(desk.ui.classTableView, 2))


@pytest.mark.parametrize("region", ["Both lungs", "All regions"])
@pytest.mark.parametrize("width", [360, 400, 900])
def test_no_column_is_squeezed(desk: Desk, region: str, width: int, tmp_path: Path) -> None:
    desk.choose(desk.ui.regionComboBox, region)
    desk.host.grab(desk.root, tmp_path / "panel.png", width)
    view = unwrap(desk.ui.classTableView)
    shown = [column for column in range(view.model().columnCount()) if not view.isColumnHidden(column)]
    for column in shown:
        metrics = view.fontMetrics()
        words = {word for index in cells(desk.ui.classTableView, column) for word in index.data().split()}
        assert view.columnWidth(column) > max(metrics.horizontalAdvance(word) for word in words)
        assert view.columnWidth(column) >= view.horizontalHeader().sectionSizeHint(column)
    for row in range(view.model().rowCount()):
        assert view.isRowHidden(row) or view.rowHeight(row) >= view.sizeHintForRow(row)
    if width >= 400 and region == "Both lungs":  # and then nothing needs to be scrolled
        assert sum(view.columnWidth(column) for column in shown) <= view.viewport().width()


def test_showing_a_table_edits_nothing(desk: Desk) -> None:
    table = desk.ui.classTableView.mrmlTableNode()
    before = table.GetTable().GetMTime()
    layOut(desk.ui.classTableView)
    assert table.GetTable().GetMTime() == before


# The list of classes


def double_click(table: Any, column: int) -> list[int]:
    """The columns in which the table has noticed it."""
    view, noticed = unwrap(table.tableWidget()), []
    view.resize(300, 200)
    view.doubleClicked.connect(lambda index: noticed.append(index.column()))
    place = QtCore.QPointF(view.visualRect(view.model().index(0, column)).center())
    kinds, left = QtCore.QEvent.Type, QtCore.Qt.MouseButton.LeftButton
    for kind in (kinds.MouseButtonPress, kinds.MouseButtonRelease, kinds.MouseButtonDblClick):
        event = QtGui.QMouseEvent(kind, place, place, left, left, QtCore.Qt.KeyboardModifier.NoModifier)
        QtWidgets.QApplication.sendEvent(view.viewport(), event)
    return noticed


@pytest.mark.parametrize("column", [2, 3], ids=["opacity", "name"])
def test_a_double_click_on_a_class_opens_no_editor(desk: Desk, column: int) -> None:
    plain = slicer.qMRMLSegmentsTableView()
    plain.setSegmentationNode(desk.parameters.outputSegmentation)
    plain.readOnly = True
    assert double_click(plain, column) == [column]  # by itself it would
    dialogs.reset()
    desk.ui.segmentsTable.opacityColumnVisible = True
    assert double_click(desk.ui.segmentsTable, column) == []
    assert dialogs.shown == []


def test_a_colour_is_no_button_to_an_editor(desk: Desk) -> None:
    view = unwrap(desk.ui.segmentsTable.tableWidget())
    for row in range(view.model().rowCount()):
        view.indexWidget(view.model().index(row, 1)).click()
    assert dialogs.shown == []


def add_segment(desk: Desk) -> None:
    desk.parameters.outputSegmentation.GetSegmentation().AddEmptySegment("mine", "mine")


def filter_list(desk: Desk) -> None:
    """The table's context menu shows a line for it."""
    for text in ("fib", ""):
        desk.ui.segmentsTable.textFilter = text
        desk.host.process_events()


@pytest.mark.parametrize("change", [add_segment, filter_list])
def test_a_row_that_comes_later_has_no_such_button_either(desk: Desk, change: Callable[[Desk], None]) -> None:
    change(desk)
    desk.host.process_events()
    view = unwrap(desk.ui.segmentsTable.tableWidget())
    for row in range(view.model().rowCount()):
        view.indexWidget(view.model().index(row, 1)).click()
    assert dialogs.shown == []


def test_classes_can_still_be_shown_and_hidden(desk: Desk) -> None:
    view = unwrap(desk.ui.segmentsTable.tableWidget())
    segment = desk.ui.segmentsTable.segmentIDForRow(1)
    display = desk.parameters.outputSegmentation.GetDisplayNode()
    view.item(1, 0).setCheckState(QtCore.Qt.CheckState.Unchecked)
    assert not display.GetSegmentVisibility(segment)
