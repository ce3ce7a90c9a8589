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
from headless_slicer.qt.wrapper import unwrap
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


@pytest.fixture
def combo(scene: slicer.vtkMRMLScene) -> slicer.qMRMLNodeComboBox:
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(scene)
    return box


def items(box: slicer.qMRMLNodeComboBox) -> list[str]:
    inner = box.findChild("QComboBox")
    return [inner.itemText(row) for row in range(inner.count)]


# qMRMLNodeComboBox


def test_the_first_node_is_selected_unless_none_is_a_choice(combo: slicer.qMRMLNodeComboBox) -> None:
    seen: list[object] = []
    combo.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    combo.connect("currentNodeChanged(bool)", seen.append)
    first, second = volume("a"), volume("b")
    assert combo.currentNode() is first
    assert seen == [first, True]
    combo.setCurrentNode(second)
    assert combo.currentNodeID == second.GetID()
    optional = slicer.qMRMLNodeComboBox()
    optional.nodeTypes, optional.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    optional.setMRMLScene(slicer.mrmlScene)
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
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "map")
    assert (combo.nodeCount(), items(combo)[:2]) == (2, ["ct", "map"])  # a label map is a scalar volume, too
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


def test_the_menu_makes_and_deletes_nodes(combo: slicer.qMRMLNodeComboBox) -> None:
    combo.baseName, combo.renameEnabled = "CT", True
    assert items(combo) == ["Rename current Volume", "Create new Volume", "Delete current Volume"]
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
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
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
    assert editor.mrmlSegmentEditorNode() is None


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
    view.setMRMLScene(scene)
    view.setMRMLTableNode(node)
    model = unwrap(view).model()
    assert [model.headerData(c, model_horizontal(), 0) for c in range(2)] == ["Tissue", "ml"]
    assert model.index(1, 1).data() == "1.5"
    node.GetTable().SetValueByName(1, "ml", vtk.vtkVariant(2.5))
    node.Modified()
    assert model.index(1, 1).data() == "2.5"
    scene.RemoveNode(node)
    assert (view.mrmlTableNode(), model.rowCount()) == (None, 0)


def test_table_view_with_a_scene_but_without_a_view_node_is_emptied_by_every_load(
    scene: slicer.vtkMRMLScene,
) -> None:
    """qMRMLTableView.h: "If scene is set then MRMLTableViewNode has to be set, too.\""""
    bound, free, node = slicer.qMRMLTableView(), slicer.qMRMLTableView(), table_node()
    bound.setMRMLScene(scene)
    for view in (bound, free):
        view.setMRMLTableNode(node)
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    scene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    assert bound.mrmlTableNode() is None
    assert free.mrmlTableNode() is node


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
