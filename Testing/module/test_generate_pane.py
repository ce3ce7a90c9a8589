"""Synthetic CT in the scene: where they lie, what they are called, and nothing where they were cancelled."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
from DiffSegLungPanel.logic import DiffSegLungLogic
from DiffSegLungPanel.steps.generate_steps import SYNTHETIC, GenerateRequest
from mrml_scenes import put_under
from panels import Desk
from small_volume import add_chest

from DiffSegLungLib.errors import DiffSegLungError, InputError

sys.path.append(str(Path(__file__).resolve().parents[1] / "lib"))

TURN = np.array([[0.0, -1, 0, 5], [1, 0, 0, 7], [0, 0, 1, 9], [0, 0, 0, 1]])


@pytest.fixture
def tiny(tmp_path) -> str:
    """A model that draws noise, in seconds."""
    from modelfiles import make

    return str(make(tmp_path / "model", "tiny"))


@pytest.fixture
def desk(host, warm):
    """A panel with a small chest under a transform, and its lungs as a segment."""
    made = Desk(host, DiffSegLungLogic())
    made.ct = add_chest()
    put_under(slicer.mrmlScene, made.ct, TURN)
    made.lungs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lungs")
    made.lungs.CreateDefaultDisplayNodes()
    made.lungs.SetReferenceImageGeometryParameterFromVolumeNode(made.ct)
    made.lungs.SetAndObserveTransformNodeID(made.ct.GetTransformNodeID())
    for name in ("lung", "stray"):
        made.lungs.GetSegmentation().AddEmptySegment(name, name)
    made.mask = slicer.util.arrayFromVolume(made.ct) < -700
    made.mask[:, :8] = made.mask[:, -8:] = made.mask[:, :, :8] = made.mask[:, :, -8:] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(made.mask.astype(np.uint8), made.lungs, "lung", made.ct)
    made.parameters.inputVolume, made.parameters.lungsSegmentation = made.ct, made.lungs
    made.parameters.lungsSegmentID = "lung"
    yield made
    made.panel.cleanup()


def open_section(desk, tiny):
    desk.parameters.bundle = tiny
    desk.ui.generateCollapsibleButton.collapsed = False
    ui = desk.panel.generate.ui
    ui.generateStepsSpinBox.value, ui.generateStartSpinBox.value = 2, 0.1
    return ui


def synthetic() -> list:
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if node.GetAttribute(SYNTHETIC)]


def test_the_section_is_loaded_when_it_is_opened_and_starts_from_the_lungs_of_the_panel(desk, tiny):
    assert desk.panel.generate.ui is None
    ui = open_section(desk, tiny)
    assert ui.generateLungsSelector.currentNode() is desk.lungs
    assert ui.generateVolumeSelector.currentNode() is desk.ct
    assert [ui.generateSegmentComboBox.itemText(i) for i in range(3)] == ["All segments", "lung", "stray"]
    assert ui.generateSegmentComboBox.currentText == "lung"
    assert ui.generateModelNameLabel.text == "model" and ui.generateButton.enabled
    ui.generateLungsSelector.setCurrentNode(None)
    assert not ui.generateButton.enabled and "No lungs are chosen" in ui.generateProblemLabel.text


def test_samples_lie_on_the_lungs_and_say_that_they_are_synthetic(desk, tiny):
    ui = open_section(desk, tiny)
    ui.generateCountSpinBox.value, ui.generateOutsideCheckBox.checked = 2, True
    ui.generateButton.click()
    assert not ui.generateButton.enabled
    desk.finish_run()
    one, two = synthetic()
    assert [n.GetName() for n in (one, two)] == [
        "Synthetic 1 from chest (no real scan)", "Synthetic 2 from chest (no real scan)"
    ]  # fmt: skip
    assert "Not a scan of anyone" in one.GetDescription() and one.GetAttribute(SYNTHETIC) == "tiny 1"
    assert "no scans of anyone" in desk.panel.messages.text
    assert one.GetTransformNodeID() == desk.ct.GetTransformNodeID()
    bounds = [0.0] * 6, [0.0] * 6
    one.GetRASBounds(bounds[0])
    desk.ct.GetRASBounds(bounds[1])
    assert bounds[0] == bounds[1]
    drawn, again, ct = (slicer.util.arrayFromVolume(n) for n in (one, two, desk.ct))
    assert np.array_equal(drawn[~desk.mask], ct[~desk.mask])
    inside = drawn[desk.mask]
    assert inside.min() >= -1000 and inside.max() <= 400
    assert (drawn != ct)[desk.mask].mean() > 0.9 and (drawn != again)[desk.mask].mean() > 0.5
    display = one.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1500, -600)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert composite.GetBackgroundVolumeID() == one.GetID()


def test_cancelling_leaves_nothing(desk, tiny):
    ui = open_section(desk, tiny)
    ui.generateStepsSpinBox.value, ui.generateStartSpinBox.value = 250, 1.0
    ui.generateButton.click()
    desk.wait(lambda: "Drawing" in desk.ui.progressLabel.text)
    before = slicer.mrmlScene.GetNumberOfNodes()
    desk.ui.applyButton.click()
    desk.finish_run()
    assert synthetic() == [] and slicer.mrmlScene.GetNumberOfNodes() == before
    assert desk.panel.messages.text == "Cancelled. No sample was loaded."
    assert not list(Path(slicer.app.temporaryPath).glob("DiffSegLung-*"))


def test_lungs_that_are_deleted_stop_the_run(desk, tiny):
    task = desk.logic.generate(
        GenerateRequest(desk.lungs, desk.ct, "lung", steps=250, start=1.0, bundle=tiny),
        waitForCompletion=False,
    )
    slicer.mrmlScene.RemoveNode(desk.lungs)
    with pytest.raises(DiffSegLungError, match="Lungs or CT were deleted"):
        task.wait()


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        ({"count": 0}, "0 samples"),
        ({"segmentID": "heart"}, "no segment heart"),
        ({"start": 0.0}, "start"),
        ({"volume": None}, "No CT"),
    ],
)
def test_what_cannot_be_drawn_is_refused(desk, wrong, seen):
    request = GenerateRequest(**{"lungs": desk.lungs, "volume": desk.ct, **wrong})
    with pytest.raises(InputError, match=seen):
        desk.logic.generate(request)
