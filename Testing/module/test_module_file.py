"""The module file: what Slicer does with it at start, its sample data, and its self-test."""

import contextlib
import re
import sys
import unittest
from pathlib import Path

import numpy as np
import pytest
import slicer
from mrml_scenes import lung_hu, lung_labels
from panels import MODULE
from small_volume import QUICK, add_chest

from DiffSegLungLib.classes import CLASSES
from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.io.geometry import Geometry
from DiffSegLungLib.io.image_file import write_image


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


def test_a_sample_comes_as_plain_voxels(module, monkeypatch):
    """No NIfTI is parsed and nothing unpacked on Slicer's main thread."""
    labels = lung_labels()

    def worker(arguments, _folder):
        assert "--raw" in arguments
        output = Path(arguments[arguments.index("--output") + 1])
        output.mkdir()
        grid = Geometry(labels.shape[::-1], (0.7, 0.8, 1.5), (-100.0, -90.0, 20.0))
        write_image(output / "phantom.mhd", lung_hu(labels), grid)
        yield None

    monkeypatch.setattr("DiffSegLungPanel.steps.sample_data.workerSteps", worker)
    volume = sys.modules["DiffSegLung"].loadPhantom()
    assert volume.GetName() == "DiffSegLungPhantom"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), lung_hu(labels))
    assert volume.GetSpacing() == pytest.approx((0.7, 0.8, 1.5))
    assert volume.GetOrigin() == pytest.approx((100.0, 90.0, 20.0))
    assert volume.GetStorageNode() is None, "the file that it came from is gone"
    assert volume.GetModifiedSinceRead(), "so that Slicer offers to save it"


def test_download_sample_says_why_it_has_nothing_and_a_script_has_another_way(module, caplog):
    """Slicer asks no custom downloader there; without a file name it would load its cache folder instead."""
    import SampleData

    with pytest.raises(IndexError):
        SampleData.downloadSample("DiffSegLungPhantom")
    assert "call-DiffSegLung.loadPhantom" in caplog.text
    assert callable(sys.modules["DiffSegLung"].loadPhantom)


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
    """By a test runner, such as that of the build machines."""
    host.packages.missing = {"torch"}
    result = unittest.TestResult()
    sys.modules["DiffSegLung"].DiffSegLungTest("test_phantom").run(result)
    assert (result.errors, result.failures) == ([], [])
    assert "torch" in result.skipped[0][1]


def test_reload_and_test_says_what_is_missing_and_shows_no_error(host, own_modules):
    """The button runs inside an error display, for which a skip is a failure."""
    host.load(MODULE / "DiffSegLung.py")
    host.packages.missing, host.testing = {"torch"}, False
    with contextlib.suppress(unittest.SkipTest):  # which pytest would take for its own
        slicer.util.getModuleWidget("DiffSegLung").onReloadAndTest()
    assert host.messages.errors == []
    assert [message.level for message in host.messages] == ["info"]
    assert "torch" in host.messages[0].text and "Press Apply" in host.messages[0].text


def test_slicer_loads_before_it_what_the_module_works_with(module):
    """Modules load in the alphabet's order within their dependencies: D before P, S, T and V."""
    sources = "\n".join(path.read_text() for path in MODULE.rglob("*.py"))
    called = {name for name in re.findall(r"slicer\.modules\.([a-z]+)\.logic", sources)}
    assert called <= {name.lower() for name in module.dependencies}
    assert set(module.dependencies) == {
        "Plots", "Segmentations", "SubjectHierarchy", "Tables", "Terminologies", "Volumes"
    }  # fmt: skip


def test_the_self_test_passes(module, warm):
    slicer.selfTests["DiffSegLung"](msec=0)
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}
    assert "DiffSegLungPhantom lung tissue" in names
