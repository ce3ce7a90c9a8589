"""The host's parameterNodeWrapper does what Slicer's does, on a real parameter node."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest
import qt
import slicer
import vtk
from headless_slicer import Host
from headless_slicer.parameters import parameter_node
from slicer.parameterNodeWrapper import (
    Choice,
    Default,
    Exclude,
    FloatRange,
    Maximum,
    Minimum,
    RangeBounds,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


class Mode(enum.Enum):
    PER_VOLUME = "per-volume"
    ADAPTED = "adapted"


@parameterPack
class Numbers:
    count: Annotated[int, WithinRange(2, 8)] = 5
    names: list[str]


@parameterPack
class Settings:
    strength: Annotated[float, Minimum(0.0), Maximum(1.0)] = 0.5
    numbers: Numbers


@parameterNodeWrapper
class Parameters:
    ct: slicer.vtkMRMLScalarVolumeNode
    lungs: slicer.vtkMRMLSegmentationNode
    preset: Annotated[str, Choice(["fast", "balanced"])] = "balanced"
    seed: Annotated[int, Exclude([13]), Default(7)]
    mode: Mode = Mode.ADAPTED
    model: Path
    timesteps: list[int]
    window: tuple[int, float] = (1400, -500.0)
    limit: Optional[int] = None  # noqa: UP045 - Slicer 5.10 does not take `int | None`
    range: Annotated[FloatRange, RangeBounds(-1000, 400)] = FloatRange(-900, 100)
    weights: dict[str, float]
    automatic: bool = True
    note: str
    settings: Settings


class HostFidelityLogic(ScriptedLoadableModuleLogic):
    """Its parameter node is the test's."""


def parameters() -> Any:
    return Parameters(HostFidelityLogic().getParameterNode())


def test_parameters_have_their_defaults(host: Host) -> None:
    given = parameters()
    assert (given.ct, given.preset, given.seed, given.mode) == (None, "balanced", 7, Mode.ADAPTED)
    assert (given.model, given.limit, given.window) == (Path(), None, (1400, -500.0))
    assert (given.timesteps, given.weights, given.automatic) == ([], {}, True)
    assert given.settings == Settings(0.5, Numbers(5, []))
    assert given.default("seed").value == 7


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("preset", "slow", ValueError),
        ("seed", 13, ValueError),
        ("seed", 7.5, TypeError),
        ("automatic", 1, TypeError),
        ("model", "/a/string", TypeError),
        ("settings.strength", 1.5, ValueError),
        ("settings.numbers.count", 9, ValueError),
        ("range", FloatRange(-2000, 0), ValueError),
        ("timesteps", [1, "2"], TypeError),
        ("nothing", 1, ValueError),
        ("settings.nothing", 1, ValueError),
    ],
)
def test_refused_values_change_nothing(host: Host, name: str, value: Any, error: type[Exception]) -> None:
    given = parameters()
    before = {key: str(given.getValue(key)) for key in Parameters.allParameters}
    with pytest.raises(error):
        given.setValue(name, value)
    assert {key: str(given.getValue(key)) for key in Parameters.allParameters} == before


def test_values_are_kept_as_slicer_keeps_them(host: Host) -> None:
    given = parameters()
    given.ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    given.timesteps = [50, 150]
    given.timesteps.append(250)
    given.mode = Mode.PER_VOLUME
    given.limit = 4
    given.settings.numbers.count = 3
    node = given.parameterNode
    texts = {
        "timesteps.len": "3",
        "timesteps.2": "250",
        "mode": "PER_VOLUME",
        "limit.0": "4",
        "settings.numbers.count": "3",
        "automatic": "True",
        "ct": "",
    }
    assert {name: node.GetParameter(name) for name in texts} == texts
    assert node.GetNodeReference("ct") is given.ct


def test_one_assignment_is_one_modified_event_and_the_value_is_there(host: Host) -> None:
    given, seen = parameters(), []
    given.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(list(given.timesteps)))
    given.timesteps = [1, 2, 3]
    assert seen == [[1, 2, 3]]


def test_two_views_of_one_node_agree(host: Host) -> None:
    first, second = parameters(), parameters()
    first.seed = 21
    assert second.seed == 21


def test_a_removed_node_is_no_longer_referenced(host: Host) -> None:
    given = parameters()
    given.ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    slicer.mrmlScene.RemoveNode(given.ct)
    assert given.ct is None


def test_scene_close_takes_parameters_to_their_defaults(host: Host) -> None:
    given = parameters()
    given.seed = 21
    host.close_scene()
    assert parameters().seed == 7


def test_a_union_with_a_bar_is_refused_as_by_slicer_5_10(host: Host) -> None:
    with pytest.raises(TypeError):

        @parameterNodeWrapper
        class Modern:
            limit: int | None = None


def test_nothing_of_one_test_reaches_the_next(host: Host) -> None:
    parameters().seed = 21
    host.reset()
    assert slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode") == []


# widgets


def panel(**named: str) -> Any:
    """A widget with one child per parameter: {widget class: parameter name}."""
    parent = qt.QWidget()
    layout = qt.QVBoxLayout(parent)
    for class_name, parameter in named.items():
        child = getattr(qt, class_name)()
        child.setProperty("SlicerParameterName", parameter)
        child.name = class_name
        layout.addWidget(child)
    return parent


def test_widgets_and_parameters_follow_each_other(host: Host) -> None:
    given = parameters()
    gui = panel(
        QSpinBox="settings.numbers.count", QCheckBox="automatic", QComboBox="preset", QLineEdit="note"
    )
    given.connectGui(gui)
    spin, check, combo, line = gui.QSpinBox, gui.QCheckBox, gui.QComboBox, gui.QLineEdit
    assert (spin.value, spin.minimum, spin.maximum, check.checked) == (5, 2, 8, True)
    assert [combo.itemText(index) for index in range(combo.count)] == ["fast", "balanced"]
    spin.value, check.checked, combo.currentText, line.text = 3, False, "fast", "left"
    assert (given.settings.numbers.count, given.automatic, given.preset, given.note) == (
        3,
        False,
        "fast",
        "left",
    )
    given.settings.numbers.count = 8
    given.note = "right"
    assert (spin.value, line.text) == (8, "right")


def test_a_disconnected_widget_leaves_its_parameter_alone(host: Host) -> None:
    given = parameters()
    gui = panel(QCheckBox="automatic")
    given.disconnectGui(given.connectParametersToGui({"automatic": gui.QCheckBox}))
    gui.QCheckBox.checked = False
    assert given.automatic is True


def test_what_connect_gui_has_tied_can_be_untied(host: Host) -> None:
    given = parameters()
    gui = panel(QCheckBox="automatic")
    given.disconnectGui(given.connectGui(gui))
    gui.QCheckBox.checked = False
    assert given.automatic is True


@pytest.mark.parametrize("leaves", [False, True], ids=["5.12", "5.10"])
def test_untying_takes_the_observer_along_from_slicer_5_12_on(
    host: Host, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    monkeypatch.setattr(parameter_node, "LEAVES_OBSERVERS", leaves)
    given, gui = parameters(), panel(QCheckBox="automatic")
    removed: list[int] = []
    monkeypatch.setattr(type(given), "RemoveObserver", lambda _self, tag: removed.append(tag))
    given.disconnectGui(given.connectGui(gui))
    assert len(removed) == (0 if leaves else 1)


def test_a_pack_is_the_same_one_until_its_node_is_modified(host: Host) -> None:
    given = parameters()
    before = given.settings
    assert given.settings is before and given.isCached("settings")
    before.strength = 0.25
    after = given.settings
    assert after is not before and after.strength == 0.25
    after.strength = 0.75
    assert before.strength == 0.25


def test_a_widget_for_an_unknown_parameter_is_refused(host: Host) -> None:
    with pytest.raises(ValueError, match="no member 'nothing'"):
        parameters().connectGui(panel(QSpinBox="settings.nothing"))
