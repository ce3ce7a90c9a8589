"""Do the qMRML stand-ins follow the real scene, and the gui connectors Slicer's rules?

Expectations from Slicer's headers (Libs/MRML/Widgets, Modules/Loadable/Segmentations/Widgets) and
parameterNodeWrapper/guiConnectors.py.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import ctk
import pytest
import qt
import slicer
import vtk
from headless_slicer import Host
from headless_slicer.parameters.gui_connector import connector_for
from headless_slicer.qt.dialogs import dialogs
from headless_slicer.qt.wrapper import unwrap
from PySide6 import QtWidgets
from slicer.parameterNodeWrapper import Choice, WithinRange


def volume(name: str, hidden: bool = False) -> slicer.vtkMRMLScalarVolumeNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetHideFromEditors(hidden)
    return node


def segmentation(*names: str) -> slicer.vtkMRMLSegmentationNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lungs")
    node.CreateDefaultDisplayNodes()
    for name in names:
        node.GetSegmentation().AddEmptySegment(f"Segment_{name}", name, (0.2, 0.4, 0.6))
    return node


def selector(*, none: bool = False, menu: bool = False) -> slicer.qMRMLNodeComboBox:
    """A selector of volumes in the scene, with or without None and the menu's entries."""
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.noneEnabled, box.addEnabled, box.removeEnabled = none, menu, menu
    box.setMRMLScene(slicer.mrmlScene)
    return box


@pytest.fixture
def combo(scene: slicer.vtkMRMLScene) -> slicer.qMRMLNodeComboBox:
    return selector()


def items(box: slicer.qMRMLNodeComboBox) -> list[str]:
    inner = box.findChild("QComboBox")
    return [inner.itemText(row) for row in range(inner.count)]


# qMRMLNodeComboBox


def test_an_empty_box_takes_the_first_node_that_appears_unless_none_is_a_choice(
    combo: slicer.qMRMLNodeComboBox,
) -> None:
    """Qt chooses the first row of an empty combo box; None and the menu's entries are rows."""
    optional, with_menu = selector(none=True), selector(menu=True)
    seen: list[object] = []
    combo.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    combo.connect("currentNodeChanged(bool)", seen.append)
    first, second = volume("a"), volume("b")
    assert combo.currentNode() is first
    assert seen == [first, True]
    combo.setCurrentNode(second)
    assert combo.currentNodeID == second.GetID()
    assert (optional.currentNode(), with_menu.currentNode()) == (None, None)


@pytest.mark.parametrize(
    ("none", "menu", "places"),
    [
        (False, False, (3, 0, 1)),
        (False, False, (3, 1, 2)),
        (False, False, (3, 2, 1)),
        (False, False, (1, 0, None)),
        (True, False, (3, 0, 1)),
        (True, False, (3, 1, 2)),
        (True, False, (3, 2, 1)),
        (True, False, (1, 0, None)),
        (True, True, (3, 1, 2)),
        (True, True, (1, 0, None)),
        (False, True, (1, 0, None)),
    ],
)
def test_a_deleted_choice_passes_to_a_neighbour_and_to_none_only_without_one(
    scene: slicer.vtkMRMLScene, none: bool, menu: bool, places: tuple[int, int, int | None]
) -> None:
    count, deleted, taken = places
    nodes = [volume(str(number)) for number in range(count)]
    box, seen = selector(none=none, menu=menu), []
    box.setCurrentNode(nodes[deleted])
    box.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    scene.RemoveNode(nodes[deleted])
    wanted = None if taken is None else nodes[taken]
    assert box.currentNode() is wanted
    assert seen == [wanted]


def test_the_row_goes_before_the_node_but_after_who_was_told_that_it_will(
    combo: slicer.qMRMLNodeComboBox, scene: slicer.vtkMRMLScene
) -> None:
    going, _other = volume("a"), volume("b")
    seen: list[object] = []

    def note(_scene: object, event: str) -> None:
        seen.append((event, combo.currentNode() is going))

    tags = [scene.AddObserver(e, note) for e in (scene.NodeAboutToBeRemovedEvent, scene.NodeRemovedEvent)]
    scene.RemoveNode(going)
    for tag in tags:
        scene.RemoveObserver(tag)
    assert [known for _event, known in seen] == [True, False]


def test_an_import_empties_the_box_and_its_first_node_is_chosen(
    scene: slicer.vtkMRMLScene, tmp_path: Path
) -> None:
    """Slicer's issue 7492: the choice before the import, and the one it brings, are both overwritten."""
    volume("a")
    box, optional = selector(), selector(none=True)
    saved = tmp_path / "scene.mrml"
    scene.SetRootDirectory(str(tmp_path))
    scene.Commit(str(saved))
    chosen = volume("b")
    for each in (box, optional):
        each.setCurrentNode(chosen)
    scene.SetURL(str(saved))
    scene.Import()
    assert box.nodeCount() == 3
    assert box.currentNode().GetName() == "a"
    assert optional.currentNode() is None


def test_current_node_is_a_method_and_its_id_a_property(combo: slicer.qMRMLNodeComboBox) -> None:
    node = volume("a")
    assert callable(combo.currentNode)
    with pytest.raises(TypeError, match="'str' object is not callable"):
        combo.currentNodeID()
    combo.currentNodeID = ""
    assert combo.currentNode() is None
    combo.setCurrentNodeID(node.GetID())
    assert combo.currentNode() is node
    for refused in ("setNoneEnabled", "setNodeTypes", "setAddEnabled", "nodes", "model"):
        with pytest.raises(AttributeError):  # neither slot nor Q_INVOKABLE in Slicer
            getattr(combo, refused)
    with pytest.raises(ValueError, match="is not a vtkMRMLNode"):
        combo.setCurrentNode(vtk.vtkImageData())
    with pytest.raises(AttributeError, match="QStringList"):
        combo.nodeTypes = "vtkMRMLScalarVolumeNode"


def test_hidden_and_removed_and_renamed_nodes(combo: slicer.qMRMLNodeComboBox) -> None:
    shown = volume("ct")
    volume("entropy", hidden=True)
    later = slicer.vtkMRMLScalarVolumeNode()
    later.SetHideFromEditors(True)
    later = slicer.mrmlScene.AddNode(later)
    later.SetHideFromEditors(False)  # Slicer does not watch a node that came hidden
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "map")
    assert (combo.nodeCount(), items(combo)[:2]) == (2, ["ct", "map"])  # a label map is a scalar volume, too
    slicer.mrmlScene.RemoveNode(later)
    combo.showChildNodeTypes = False
    assert combo.nodeCount() == 1
    shown.SetName("lidc 1")
    assert items(combo)[0] == "lidc 1"
    combo.showHidden = True
    assert combo.nodeCount() == 2
    slicer.mrmlScene.RemoveNode(shown)
    assert combo.currentNode().GetName() == "entropy"


def test_closing_the_scene_tells_once(combo: slicer.qMRMLNodeComboBox, host: Host) -> None:
    volume("a"), volume("b")
    seen: list[object] = []
    combo.currentNodeChanged.connect(seen.append)
    host.close_scene()
    assert seen == [None]
    assert combo.currentNode() is None


def test_the_menu_makes_and_deletes_nodes(scene: slicer.vtkMRMLScene) -> None:
    combo = selector(menu=True)
    combo.baseName, combo.renameEnabled = "CT", True
    kinds = ("Rename current {}", "Create new {}", "Create new {} as...", "Delete current {}")
    assert items(combo) == ["", *(kind.format("Volume") for kind in kinds)]  # the first is a separator
    made = combo.addNode()
    assert (made.GetName(), combo.currentNode()) == ("CT", made)
    inner = unwrap(combo.findChild("QComboBox"))
    inner.activated.emit(inner.findText("Delete current Volume"))
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None
    assert combo.currentNode() is None


def test_attributes_filter(combo: slicer.qMRMLNodeComboBox) -> None:
    volume("plain")
    chosen = volume("marked")
    chosen.SetAttribute("DiffSegLung.role", "ct")
    combo.addAttribute("vtkMRMLScalarVolumeNode", "DiffSegLung.role", "ct")
    assert (combo.nodeCount(), combo.currentNode()) == (1, chosen)


def test_a_deleted_widget_stops_observing(scene: slicer.vtkMRMLScene) -> None:
    box = slicer.qMRMLNodeComboBox()
    box.setMRMLScene(scene)
    box.delete()
    volume("after")
    assert not box


def test_the_scene_enables_the_widget_and_brings_the_node_asked_for(scene: slicer.vtkMRMLScene) -> None:
    first, second, third = volume("a"), volume("b"), volume("c")
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes, box.addEnabled, box.removeEnabled = ["vtkMRMLScalarVolumeNode"], False, False
    assert not box.enabled
    box.setCurrentNode(second)
    assert box.currentNode() is None
    box.setMRMLScene(scene)
    assert (box.enabled, box.currentNode()) == (True, second)
    scene.RemoveNode(second)
    assert box.currentNode() is third  # it took the place
    scene.RemoveNode(third)
    assert box.currentNode() is first


# Segments


def test_segment_selector_follows_the_segmentation(scene: slicer.vtkMRMLScene) -> None:
    selector, seen = slicer.qMRMLSegmentSelectorWidget(), []
    selector.connect("currentSegmentChanged(QString)", seen.append)
    selector.setMRMLScene(scene)
    node = segmentation("left", "right")
    assert (selector.currentNode(), selector.currentSegmentID()) == (node, "Segment_left")
    selector.setCurrentSegmentID("Segment_right")
    node.GetSegmentation().RemoveSegment("Segment_right")
    assert seen == ["Segment_left", "Segment_right", "Segment_left"]
    assert callable(selector.currentNodeID)  # Q_INVOKABLE, not a property as in qMRMLNodeComboBox
    scene.RemoveNode(node)
    assert (selector.currentNode(), selector.currentSegmentID()) == (None, "")


def test_segment_table_shows_and_sets_visibility(scene: slicer.vtkMRMLScene) -> None:
    table, node = slicer.qMRMLSegmentsTableView(), segmentation("healthy", "emphysema")
    table.setMRMLScene(scene)
    table.setSegmentationNode(node)
    assert table.displayedSegmentIDs() == ("Segment_healthy", "Segment_emphysema")
    inner = unwrap(table.tableWidget())
    node.GetDisplayNode().SetSegmentVisibility("Segment_healthy", False)
    checked = [inner.item(row, 0).checkState().value for row in range(2)]
    assert checked == [0, 2]
    inner.item(1, 0).setCheckState(inner.item(0, 0).checkState())
    assert not node.GetDisplayNode().GetSegmentVisibility("Segment_emphysema")
    table.setSelectedSegmentIDs(["Segment_emphysema"])
    assert table.selectedSegmentIDs() == ("Segment_emphysema",)
    assert table.segmentCount == 2


def test_segment_editor_works_on_its_node(scene: slicer.vtkMRMLScene, host: Host) -> None:
    editor, node, ct = slicer.qMRMLSegmentEditorWidget(), segmentation("healthy", "cyst"), volume("ct")
    parameters = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.setMRMLScene(scene)
    editor.setMRMLSegmentEditorNode(parameters)
    seen: list[str] = []
    editor.connect("currentSegmentIDChanged(QString)", seen.append)
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(ct)
    editor.setCurrentSegmentID("Segment_cyst")
    assert parameters.GetSegmentationNode() is node
    assert parameters.GetSourceVolumeNode() is ct
    assert seen == ["Segment_healthy", "Segment_cyst"]
    editor.setEffectNameOrder(["Erase", "Paint"])
    editor.unorderedEffectsVisible = False
    assert editor.effectCount() == 2
    for refused in ("setUnorderedEffectsVisible", "setMaskMode", "maskMode"):
        with pytest.raises(AttributeError):
            getattr(editor, refused)
    host.close_scene()
    assert editor.mrmlSegmentEditorNode() is parameters  # reset, but kept
    assert editor.segmentationNode() is None


def test_segment_editor_edits_after_an_import_what_its_selectors_show(scene: slicer.vtkMRMLScene) -> None:
    editor, node = slicer.qMRMLSegmentEditorWidget(), segmentation("healthy")
    editor.setMRMLScene(scene)
    editor.setMRMLSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setSegmentationNode(node)
    scene.StartState(slicer.vtkMRMLScene.ImportState)
    scene.EndState(slicer.vtkMRMLScene.ImportState)
    assert editor.segmentationNode() is None


def test_a_read_only_segment_table_still_opens_the_terminology(scene: slicer.vtkMRMLScene) -> None:
    table, node = slicer.qMRMLSegmentsTableView(), segmentation("healthy")
    table.setMRMLScene(scene)
    table.setSegmentationNode(node)
    table.readOnly = True
    dialogs.reset()
    inner = unwrap(table.tableWidget())
    assert inner.editTriggers() == QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers
    for column in range(4):
        inner.doubleClicked.emit(inner.model().index(0, column))
    inner.indexWidget(inner.model().index(0, 1)).click()
    assert dialogs.shown == [("qSlicerTerminologySelectorDialog", ("Segment_healthy",))] * 3
    dialogs.reset()


# Table and plot


def table_node() -> slicer.vtkMRMLTableNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "volumes")
    names, numbers = vtk.vtkStringArray(), vtk.vtkDoubleArray()
    names.SetName("Tissue"), numbers.SetName("ml")
    for name, ml in (("healthy", 3.0), ("emphysema", 1.5)):
        names.InsertNextValue(name)
        numbers.InsertNextValue(ml)
    node.AddColumn(names)
    node.AddColumn(numbers)
    return node


def test_table_view_follows_the_table(scene: slicer.vtkMRMLScene) -> None:
    view, node = slicer.qMRMLTableView(), table_node()
    node.SetUseColumnTitleAsColumnHeader(True)
    view.setMRMLScene(scene)
    view.setMRMLTableNode(node)
    model = unwrap(view).model()
    assert [model.headerData(c, model_horizontal(), 0) for c in range(2)] == ["Tissue", "ml"]
    assert model.index(1, 1).data() == "1.5"
    node.GetTable().SetValueByName(1, "ml", vtk.vtkVariant(2.5))
    node.Modified()
    assert model.index(1, 1).data() == "2.5"
    scene.RemoveNode(node)
    assert (view.mrmlTableNode(), model.rowCount()) == (node, 2)  # the view holds it
    view.setMRMLTableNode(None)
    assert (model.rowCount(), model.columnCount()) == (0, 0)


def test_table_view_keeps_its_table_unless_its_view_node_has_another(scene: slicer.vtkMRMLScene) -> None:
    alone, bound, node, other = slicer.qMRMLTableView(), slicer.qMRMLTableView(), table_node(), table_node()
    view_node = scene.AddNewNodeByClass("vtkMRMLTableViewNode")
    view_node.SetTableNodeID(other.GetID())
    for view in (alone, bound):
        view.setMRMLScene(scene)
    bound.setMRMLTableViewNode(view_node)
    for view in (alone, bound):
        view.setMRMLTableNode(node)
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    scene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    assert (alone.mrmlTableNode(), bound.mrmlTableNode()) == (node, other)


def test_a_table_s_head_is_title_or_name_and_the_unit(scene: slicer.vtkMRMLScene) -> None:
    view, node = slicer.qMRMLTableView(), table_node()
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetColumnUnitLabel("ml", "ml")
    view.setMRMLTableNode(node)
    model = unwrap(view).model()
    assert [model.headerData(c, model_horizontal(), 0) for c in range(2)] == ["Tissue", "ml [ml]"]
    node.SetColumnTitle("ml", "Volume")
    assert model.headerData(1, model_horizontal(), 0) == "Volume [ml]"
    assert model.index(0, 1).data(7) is None  # Qt::TextAlignmentRole: Slicer sets none
    assert unwrap(view).horizontalHeader().minimumSectionSize() == 60


def test_without_titles_the_names_are_a_row_and_the_head_counts_letters(scene: slicer.vtkMRMLScene) -> None:
    view, node = slicer.qMRMLTableView(), table_node()
    node.SetUseColumnTitleAsColumnHeader(False)
    view.setMRMLTableNode(node)
    model = unwrap(view).model()
    assert [model.headerData(c, model_horizontal(), 0) for c in range(2)] == ["A", "B"]
    assert [model.index(0, c).data() for c in range(2)] == ["Tissue", "ml"]
    assert model.rowCount() == 3


def test_what_a_user_writes_into_a_cell_is_in_the_table(scene: slicer.vtkMRMLScene) -> None:
    view, node = slicer.qMRMLTableView(), table_node()
    node.SetUseColumnTitleAsColumnHeader(True)
    view.setMRMLTableNode(node)
    item = unwrap(view.tableModel()).item(1, 1)
    item.setText("2.5")
    assert node.GetTable().GetValueByName(1, "ml").ToDouble() == 2.5
    assert item.isEditable()
    node.SetLocked(True)
    assert not item.isEditable()


def model_horizontal() -> object:
    return unwrap(qt.Qt.Horizontal)


def test_plot_view_draws_the_chart_in_the_series_colour(
    scene: slicer.vtkMRMLScene, host: Host, tmp_path: Path
) -> None:
    node = table_node()
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "ml")
    series.SetAndObserveTableNodeID(node.GetID())
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
    series.SetYColumnName("ml")
    series.SetColor(1.0, 0.0, 0.0)
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    chart.SetLegendVisibility(False)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    view_node = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    widget = slicer.qMRMLPlotWidget()
    widget.setMRMLScene(scene)
    widget.setMRMLPlotViewNode(view_node)

    def red_pixels() -> int:
        image = unwrap(qt.QImage(str(host.grab(widget, tmp_path / "plot.png", 300, 200))))
        at = ((x, y) for x in range(image.width()) for y in range(image.height()))
        return sum(image.pixelColor(x, y).getRgb()[:3] == (255, 0, 0) for x, y in at)

    assert red_pixels() == 0  # no chart chosen yet
    view_node.SetPlotChartNodeID(chart.GetID())
    before = red_pixels()
    node.GetTable().SetValueByName(
        1, "ml", vtk.vtkVariant(3.0)
    )  # the smaller bar grows to the larger one's height
    node.Modified()
    assert red_pixels() == pytest.approx(before * 2 / 1.5, rel=0.05)


# Gui connectors


class Preset(enum.Enum):
    FAST = 1
    BEST = 2


@pytest.mark.parametrize(
    ("make", "datatype", "value", "change"),
    [
        (qt.QCheckBox, bool, True, lambda w: w.click()),
        (qt.QPushButton, bool, True, lambda w: w.click()),
        (qt.QSpinBox, int, -7, lambda w: w.setValue(3)),
        (qt.QSlider, Annotated[int, WithinRange(0, 9)], 7, lambda w: w.setValue(3)),
        (qt.QDoubleSpinBox, float, 0.25, lambda w: w.setValue(3)),
        (ctk.ctkSliderWidget, Annotated[float, WithinRange(0, 9)], 7.0, lambda w: w.setValue(3)),
        (qt.QLineEdit, str, "CT", lambda w: w.clear()),
        (qt.QTextEdit, str, "CT", lambda w: w.clear()),
        (
            qt.QComboBox,
            Annotated[str, Choice(["cpu", "cuda"])],
            "cuda",
            lambda w: w.setCurrentIndex(0),
        ),
        (qt.QComboBox, Preset, Preset.BEST, lambda w: w.setCurrentIndex(0)),
        (ctk.ctkPathLineEdit, Path, Path("model"), lambda w: w.setCurrentPath("x")),
    ],
)
def test_connectors_read_write_and_tell(
    make: object, datatype: object, value: object, change: object, scene: slicer.vtkMRMLScene
) -> None:
    widget, told = make(), []
    connector = connector_for(widget, datatype)
    connector.write(value)
    assert connector.read() == value
    connector.onChanged(lambda: told.append(connector.read()))
    change(widget)
    assert len(told) == 1
    assert told[0] != value
    connector.onChanged(None)
    connector.write(value)
    assert len(told) == 1


def test_a_node_connector_sets_the_types(combo: slicer.qMRMLNodeComboBox) -> None:
    connector = connector_for(combo, slicer.vtkMRMLSegmentationNode)
    assert combo.nodeTypes == ("vtkMRMLSegmentationNode",)
    node = segmentation("a")
    connector.write(node)
    assert connector.read() is node


@pytest.mark.parametrize(
    ("make", "datatype"),
    [
        (qt.QPlainTextEdit, str),
        (ctk.ctkCheckBox, bool),
        (ctk.ctkComboBox, Annotated[str, Choice(["a"])]),
        (ctk.ctkDoubleSpinBox, float),
        (ctk.ctkCollapsibleButton, bool),
        (slicer.qMRMLSegmentSelectorWidget, str),
        (qt.QComboBox, str),
        (qt.QSlider, int),
        (qt.QSpinBox, float),
    ],
)
def test_what_slicer_cannot_connect_is_refused(
    make: object, datatype: object, scene: slicer.vtkMRMLScene
) -> None:
    with pytest.raises(RuntimeError):
        connector_for(make(), datatype)
