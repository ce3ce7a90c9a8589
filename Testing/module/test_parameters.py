"""What the panel remembers: defaults, saved scenes, and the library's settings made of it."""

from typing import get_args

import pytest
import slicer
from DiffSegLungPanel.models import readCard
from DiffSegLungPanel.scene.parameters import (
    AdvancedSettings,
    Device,
    DiffSegLungParameters,
    Mixture,
    Preset,
    librarySettings,
)

from DiffSegLungLib import config
from DiffSegLungLib.errors import InputError


@pytest.fixture
def parameters(scene) -> DiffSegLungParameters:
    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    node.SetAttribute("ModuleName", "DiffSegLung")
    return DiffSegLungParameters(node)


@pytest.fixture
def card():
    return readCard("default")


def test_choices_are_those_of_the_library(scene):
    assert {preset.value for preset in Preset} == set(get_args(config.Preset))
    assert {device.value for device in Device} == set(get_args(config.Device))
    assert {mixture.value for mixture in Mixture} == set(get_args(config.Mode))


def test_every_choice_has_a_name_of_its_own(scene):
    for kind in (Preset, Device, Mixture):
        labels = [choice.label() for choice in kind]
        assert len(set(labels)) == len(labels)
        assert all(label and label != choice.name for label, choice in zip(labels, kind, strict=True))


def test_the_defaults_are_the_librarys(parameters, card):
    settings = librarySettings(parameters.advanced, card)
    made = config.Config.from_mapping({"preset": parameters.preset.value, **settings})
    assert made == config.PRESETS["balanced"]
    assert parameters.bundle == "default"


def test_everything_survives_a_saved_scene(host, parameters, tmp_path):
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    lungs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lungs")
    lungs.GetSegmentation().AddEmptySegment("both", "both")
    parameters.inputVolume, parameters.lungsSegmentation, parameters.lungsSegmentID = volume, lungs, "both"
    parameters.bundle, parameters.preset, parameters.device = "/models/mine.zip", Preset.best, Device.cpu
    parameters.region, parameters.overlayOpacity = "Left lung", 35
    wanted = AdvancedSettings(Mixture.perVolume, "5, 20", True, 12, 0, False, 7)
    parameters.advanced = wanted
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    host.close_scene()
    slicer.util.loadScene(str(path))

    loaded = DiffSegLungParameters(slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")[0])
    assert loaded.inputVolume.GetName() == "CT"
    assert loaded.lungsSegmentation.GetName() == "lungs"
    assert loaded.lungsSegmentID == "both"
    assert loaded.outputSegmentation is None
    assert (loaded.bundle, loaded.preset, loaded.device) == ("/models/mine.zip", Preset.best, Device.cpu)
    assert (loaded.region, loaded.overlayOpacity) == ("Left lung", 35)
    assert loaded.advanced == wanted


def test_a_deleted_volume_is_none(parameters):
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    parameters.inputVolume = volume
    slicer.mrmlScene.RemoveNode(volume)
    assert parameters.inputVolume is None


def test_an_adapted_mixture_takes_timesteps_and_components_from_the_model(card):
    settings = librarySettings(AdvancedSettings(components=7), card)
    assert settings["timesteps"] == (10,)
    assert "components" not in settings


@pytest.mark.parametrize(("by_bic", "expected"), [(False, 7), (True, 0)])
def test_components_count_for_a_mixture_of_this_ct(card, by_bic, expected):
    advanced = AdvancedSettings(mixture=Mixture.perVolume, components=7, chooseComponents=by_bic)
    assert librarySettings(advanced, card)["components"] == expected


@pytest.mark.parametrize("text", ["3, 10, 30", "3 10 30", " 3,10 ,30 "])
def test_timesteps_are_read_as_people_write_them(card, text):
    advanced = AdvancedSettings(timesteps=text, mixture=Mixture.perVolume)
    assert librarySettings(advanced, card)["timesteps"] == (3, 10, 30)


def test_timesteps_that_nobody_gave_are_those_of_the_model(card):
    assert librarySettings(AdvancedSettings(timesteps=""), card)["timesteps"] == (10,)


@pytest.mark.parametrize(
    ("advanced", "said"),
    [
        (AdvancedSettings(timesteps="3, x"), "not whole numbers"),
        (AdvancedSettings(timesteps="3, 3", mixture=Mixture.perVolume), "different whole numbers"),
        (AdvancedSettings(timesteps="0", mixture=Mixture.perVolume), "whole numbers from 1"),
        (AdvancedSettings(timesteps="250", mixture=Mixture.perVolume), "knows 1 to 249"),
        (AdvancedSettings(timesteps="5, 20"), "fitted at the timesteps 10"),
    ],
)
def test_what_cannot_work_is_refused_by_a_sentence(card, advanced, said):
    with pytest.raises(InputError) as refusal:
        librarySettings(advanced, card)
    assert said in str(refusal.value)


def test_values_out_of_range_never_enter_the_scene(parameters):
    for name, value in (("components", 65), ("diffusionSteps", 101), ("seed", -1)):
        with pytest.raises(ValueError):
            parameters.setValue(f"advanced.{name}", value)
