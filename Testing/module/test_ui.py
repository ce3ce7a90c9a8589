"""The .ui file: every control explained, named, reachable, bound to something, and narrow enough."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import slicer
from DiffSegLungPanel.logic import DiffSegLungLogic
from DiffSegLungPanel.scene.parameters import DiffSegLungParameters
from DiffSegLungPanel.widget import Panel
from headless_slicer.qt_facade import grab

MODULE = Path(__file__).resolve().parents[2] / "DiffSegLung"
FILE = MODULE / "Resources" / "UI" / "DiffSegLung.ui"
TREES = [ET.parse(file).getroot() for file in sorted(FILE.parent.glob("*.ui"))]
WIDGETS = {element.get("name"): element for tree in TREES for element in tree.iter("widget")}
CONTROLS = {
    "QPushButton", "QToolButton", "QComboBox", "QLineEdit", "QSpinBox", "QCheckBox", "QSlider",
    "QPlainTextEdit", "qMRMLNodeComboBox", "qMRMLSegmentsTableView", "qMRMLTableView",
    "qMRMLSegmentEditorWidget", "QTableWidget", "ctkPathLineEdit", "ctkSliderWidget", "QDoubleSpinBox",
}  # fmt: skip
SLICERS_MENUS = set("fevh")
"""Alt with these opens Slicer's own menus File, Edit, View, Help."""


def text_of(widget: ET.Element, name: str) -> str:
    for element in widget.findall("property"):
        if element.get("name") == name:
            return "".join(element[0].itertext())
    return ""


def controls() -> list[str]:
    return [name for name, widget in WIDGETS.items() if widget.get("class") in CONTROLS]


def controls_of(tree: ET.Element) -> list[str]:
    return [w.get("name") for w in tree.iter("widget") if w.get("class") in CONTROLS]


def bound() -> dict[str, str]:
    """Parameter -> control, for those that the parameter node fills by itself."""
    named = {text_of(widget, "SlicerParameterName"): name for name, widget in WIDGETS.items()}
    named.pop("")
    return named


def code() -> str:
    return "\n".join(path.read_text() for path in (MODULE / "DiffSegLungPanel").rglob("*.py"))


def mnemonics() -> list[str]:
    return [m.lower() for w in WIDGETS.values() for m in re.findall(r"&(\w)", text_of(w, "text"))]


@pytest.mark.parametrize("name", [*controls(), *(n for n in WIDGETS if n.endswith("CollapsibleButton"))])
def test_every_control_has_a_tool_tip(name):
    tip = text_of(WIDGETS[name], "toolTip")
    assert len(tip) > 10 and not tip.endswith(".")


@pytest.mark.parametrize("name", controls())
def test_every_control_has_a_name_that_is_read_aloud(name):
    widget = WIDGETS[name]
    spoken = text_of(widget, "accessibleName") or text_of(widget, "text")
    assert re.search(r"\w\w", spoken)


def test_names_are_unique_and_say_what_they_are():
    elements = [e for tree in TREES for tag in ("widget", "layout", "spacer") for e in tree.iter(tag)]
    names = [element.get("name") for element in elements]
    assert len(set(names)) == len(names)
    assert not [name for name in names if re.search(r"_\d+$", name)]  # Designer's label_2, formLayout_3


def test_every_label_of_a_field_leads_to_it():
    for name, widget in WIDGETS.items():
        if "&" in text_of(widget, "text") and widget.get("class") == "QLabel":
            assert text_of(widget, "buddy") in WIDGETS, name
    buddies = {text_of(widget, "buddy") for widget in WIDGETS.values()} - {""}
    assert buddies <= set(controls())


@pytest.mark.parametrize("tree", TREES)
def test_tab_reaches_every_control_in_the_order_of_the_eye(tree):
    stops = [stop.text for stop in tree.find("tabstops")]
    assert stops == controls_of(tree)


def test_shortcuts_are_unique_and_none_is_slicers():
    assert len(set(mnemonics())) == len(mnemonics())
    assert not set(mnemonics()) & SLICERS_MENUS
    shortcuts = [text_of(widget, "shortcut") for widget in WIDGETS.values()]
    assert [shortcut for shortcut in shortcuts if shortcut] == ["Ctrl+Return"]


def test_every_bound_control_has_its_parameter():
    for parameter in bound():
        assert DiffSegLungParameters.dataType(parameter) is not None


def test_every_parameter_has_its_control():
    by_hand = {"lungsSegmentID", "bundle", "region", "advanced.timesteps"}  # one pane each, written in code
    names = set()
    for name in DiffSegLungParameters.allParameters:
        inner = getattr(DiffSegLungParameters.dataType(name), "allParameters", None)
        names |= {f"{name}.{member}" for member in inner} if inner else {name}
    assert names == set(bound()) | by_hand


@pytest.mark.parametrize("name", controls())
def test_no_control_is_dead(name):
    assert name in bound().values() or re.search(rf"ui\.{name}\b", code())


def test_the_code_names_no_control_that_is_not_there():
    used = set(re.findall(r"ui\.(\w+)", code())) - {"__dict__"}
    assert used <= set(WIDGETS)


def test_every_mrml_widget_gets_the_scene_but_table_views():
    """qMRMLTableView.h: "If scene is set then MRMLTableViewNode has to be set, too.\""""
    receivers = {c.find("receiver").text for tree in TREES for c in tree.iter("connection")}
    roots = {tree.find("widget").get("name") for tree in TREES}
    classes = {n: w.get("class", "") for n, w in WIDGETS.items() if n not in roots}
    wanted = {n for n, c in classes.items() if c.startswith("qMRML") and c != "qMRMLTableView"}
    assert receivers == wanted


def test_texts_are_spelt_the_same_way():
    for name, widget in WIDGETS.items():
        text = text_of(widget, "text").replace("&", "")
        assert "..." not in text, name
        if widget.get("class") == "QLabel" and text:
            assert text.endswith((":", ".")), f"{name}: a caption ends in a colon, a sentence in a full stop"


@pytest.fixture
def panel(host):
    root = slicer.util.loadUI(str(FILE))
    root.setMRMLScene(slicer.mrmlScene)
    made = Panel(slicer.util.childWidgetVariables(root), DiffSegLungLogic(), slicer.mrmlScene, root)
    made.enter()
    yield root, made
    made.cleanup()


@pytest.mark.parametrize("opened", [False, True])
def test_it_fits_a_narrow_panel(panel, tmp_path, opened):
    """`grab` fails when the widgets need more than 400 pixels."""
    root, made = panel
    for name, widget in WIDGETS.items():
        if widget.get("class") == "ctkCollapsibleButton":
            getattr(made.ui, name).collapsed = not opened
    if opened:
        sections = (made.training.ui, made.manager.ui, made.generate.ui)
        for widget in (widget for section in sections for widget in vars(section).values()):
            if hasattr(widget, "visible"):
                widget.visible = True
    made.ui.modelCardButton.checked = opened
    made.ui.resultsWidget.visible = opened
    grab(root, tmp_path / "panel.png", width=400)
