"""The module file: what Slicer does with it at start, its sample data, and its self-test."""

import unittest
from pathlib import Path

import pytest
import slicer
from panels import MODULE
from small_volume import QUICK, add_chest

from DiffSegLungLib.classes import CLASSES
from DiffSegLungLib.errors import DiffSegLungError


@pytest.fixture
def module(host):
    """The module, loaded; the host then says that the application has started."""
    return host.load(MODULE / "DiffSegLung.py")


def test_slicer_can_show_what_the_module_is(module):
    assert (module.title, module.categories) == ("DiffSegLung", ["Segmentation"])
    assert "Research use only" in module.helpText
    assert module.icon is not None


def test_the_start_offers_the_terminology_and_the_sample_once(host, module):
    module.instance.onStartupCompleted()
    context = CLASSES[0].terminology.split("~", 1)[0]
    assert slicer.modules.terminologies.logic().IsTerminologyContextLoaded(context)
    own = [source for category, source in host.samples.registered if category == "DiffSegLung"]
    assert [source.sampleName for source in own] == ["DiffSegLungPhantom"]


def test_a_sample_that_cannot_be_generated_says_so(host, module, monkeypatch):
    monkeypatch.setattr("DiffSegLungPanel.work.worker.pythonExecutable", lambda: "/nowhere/python")
    host.testing = False  # in testing mode no message is shown
    with pytest.raises(DiffSegLungError):
        host.samples.click("DiffSegLungPhantom")
    assert "could not be generated" in host.messages.errors[0]


def test_the_module_logic_is_found_from_the_console(module):
    assert type(slicer.util.getModuleLogic("DiffSegLung")).__name__ == "DiffSegLungLogic"


@pytest.mark.parametrize("end", ["close_scene", "quit"])
def test_a_run_that_a_script_did_not_wait_for_ends_with_the_scene_and_with_slicer(host, module, end):
    slicer.util.getModuleWidget("DiffSegLung").panel.enter()
    logic = slicer.util.getModuleLogic("DiffSegLung")
    task = logic.segment(add_chest(), settings=QUICK, waitForCompletion=False)
    getattr(host, end)()
    assert not task.isRunning
    assert task.wasCancelled
    assert not list(Path(slicer.app.temporaryPath).glob("DiffSegLung-*"))


def test_the_self_test_is_skipped_with_a_word_where_packages_are_missing(host, module):
    host.packages.missing = {"torch"}
    with pytest.raises(unittest.SkipTest, match="torch"):
        slicer.selfTests["DiffSegLung"]()


def test_the_self_test_passes(module):
    slicer.selfTests["DiffSegLung"](msec=0)
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}
    assert "DiffSegLungPhantom lung tissue" in names
