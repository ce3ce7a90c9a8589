"""The host loads, reloads and ends a scripted module as Slicer does: a small module written by the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
from headless_slicer import Host

SOURCE = """
import qt, slicer
from slicer.ScriptedLoadableModule import *
from slicer.i18n import tr as _

seen = []

class LittleModule(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Little Module")
        self.parent.categories = ["Testing"]
        slicer.app.connect("startupCompleted()", lambda: seen.append("started"))

class LittleModuleWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = LittleModuleLogic()
        self.button = qt.QPushButton("Apply")
        self.layout.addWidget(self.button)
        seen.append("setup")
    def enter(self):
        seen.append("enter")
    def cleanup(self):
        seen.append("cleanup")

class LittleModuleLogic(ScriptedLoadableModuleLogic):
    pass

class LittleModuleTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("testing")
        seen.append("tested")
"""


@pytest.fixture
def little(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module LittleModule, loaded once; its list `seen` is empty at the start of each test."""
    if slicer.app.moduleManager().module("LittleModule") is None:
        path = tmp_path_factory.mktemp("little") / "LittleModule.py"
        path.write_text(SOURCE, encoding="utf-8")
        host.load(path)
    yield slicer.modules.littlemodule


def seen() -> list[str]:
    import LittleModule

    return LittleModule.seen


def test_a_loaded_module_is_found_under_slicers_names(little: Any) -> None:
    assert (little.title, little.categories) == ("Little Module", ["Testing"])
    assert seen() == ["started"]
    assert slicer.modules.LittleModuleInstance.parent is little
    assert slicer.util.getModule("LittleModule") is little
    assert slicer.util.modulePath("LittleModule") == little.path
    assert "LittleModule" in slicer.util.moduleNames()


def test_the_panel_is_made_once_and_cleaned_up_at_the_end(host: Host, little: Any) -> None:
    del seen()[:]
    widget = slicer.util.getModuleWidget("LittleModule")
    assert widget is slicer.util.getModuleWidget("LittleModule") is slicer.modules.LittleModuleWidget
    assert slicer.util.getModuleLogic("LittleModule") is widget.logic
    assert widget.parent.mrmlScene() is slicer.mrmlScene
    little.widgetRepresentation().enter()
    host.quit()
    assert seen() == ["setup", "enter", "cleanup"]
    host.quit()
    assert seen() == ["setup", "enter", "cleanup"]


def test_reload_cleans_the_old_panel_up_and_takes_the_new_source(little: Any) -> None:
    old = slicer.util.getModuleWidget("LittleModule")
    path = Path(little.path)
    path.write_text(SOURCE.replace('"Apply"', '"Run"'), encoding="utf-8")
    slicer.util.reloadScriptedModule("LittleModule")
    new = slicer.util.getModuleWidget("LittleModule")
    assert new is not old
    assert (new.button.text, new.parent is old.parent) == ("Run", True)
    path.write_text(SOURCE, encoding="utf-8")


def test_developer_mode_adds_the_reload_section(host: Host, little: Any) -> None:
    assert not hasattr(slicer.util.getModuleWidget("LittleModule"), "reloadCollapsibleButton")
    host.unload_panels()
    qt.QSettings().setValue("Developer/DeveloperMode", True)
    widget = slicer.util.getModuleWidget("LittleModule")
    assert widget.reloadCollapsibleButton.text == "Reload && Test"


def test_the_self_test_runs_by_its_name(little: Any) -> None:
    slicer.selfTests["LittleModule"](msec=0)
    assert seen()[-1] == "tested"


def test_an_unknown_signal_of_the_application_is_refused(host: Host) -> None:
    with pytest.raises(ValueError, match="startupFinished"):
        slicer.app.connect("startupFinished()", lambda: None)
