"""What the panel remembers in the scene: inputs, model, settings. Saved and loaded with the scene."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLScriptedModuleNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper, parameterPack

from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import InputError

from ..models import ModelCard


class Preset(enum.Enum):
    """Speed against care; the values are the library's."""

    fast = "fast"
    balanced = "balanced"
    best = "best"

    def label(self) -> str:
        """What the user reads."""
        return {"fast": _("Fast"), "balanced": _("Balanced"), "best": _("Best")}[self.value]


class Device(enum.Enum):
    """Where the network runs; the values are the library's."""

    auto = "auto"
    cuda = "cuda"
    mps = "mps"
    cpu = "cpu"

    def label(self) -> str:
        """What the user reads."""
        return {
            "auto": _("Automatic"),
            "cuda": _("NVIDIA GPU (CUDA)"),
            "mps": _("Apple GPU (MPS)"),
            "cpu": _("Processor (CPU)"),
        }[self.value]


class Mixture(enum.Enum):
    """Where the mixture comes from; the values are the library's."""

    adapted = "adapted"
    perVolume = "per-volume"

    def label(self) -> str:
        """What the user reads."""
        return {"adapted": _("The model's, adapted to this CT"), "per-volume": _("Fitted to this CT alone")}[
            self.value
        ]


@parameterPack
class AdvancedSettings:
    """The settings most users never open.

    Attributes:
        mixture: the model's population mixture adapted to this CT, or one fitted to this CT alone.
        timesteps: noise levels of the features, such as ``"3, 10, 30"``; empty takes the model's own.
        chooseComponents: let BIC choose the number of components (only for a mixture of this CT alone).
        components: the number of components otherwise.
        diffusionSteps: steps of the edge-preserving diffusion that joins neighbouring voxels; 0 is none.
        correctAir: shift the HU so that air reads -1000.
        seed: of the noise and the mixture's starts.
    """

    mixture: Mixture = Mixture.adapted
    timesteps: str = ""
    chooseComponents: bool = False
    components: Annotated[int, WithinRange(2, 64)] = 24
    diffusionSteps: Annotated[int, WithinRange(0, 100)] = 8
    correctAir: bool = True
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0


@parameterNodeWrapper
class DiffSegLungParameters:
    """Everything the panel remembers.

    Attributes:
        inputVolume: the CT.
        lungsSegmentation: where the lungs come from; None finds them automatically.
        lungsSegmentID: which segment of it; empty takes all of them together.
        outputSegmentation: the result, shown and refilled; None makes a new one.
        bundle: the model: ``"default"``, ``"built-in"``, an installed one's name, or a folder or zip.
        preset: speed against care.
        device: where the network runs.
        sensitivity: how readily lung is called diseased, of the result shown and of the next run.
        region: row group of the tables that is shown, by name; empty shows all.
        overlayOpacity: of the uncertainty over the CT, in percent.
        advanced: the settings most users never open.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    lungsSegmentation: vtkMRMLSegmentationNode
    lungsSegmentID: str
    outputSegmentation: vtkMRMLSegmentationNode
    bundle: str = "default"
    preset: Preset = Preset.balanced
    device: Device = Device.auto
    sensitivity: Annotated[float, WithinRange(0.0, 1.0)] = Config().sensitivity
    region: str = ""
    overlayOpacity: Annotated[int, WithinRange(0, 100)] = 60
    advanced: AdvancedSettings

    if TYPE_CHECKING:  # what the wrapper adds

        def __init__(self, parameterNode: vtkMRMLScriptedModuleNode) -> None: ...

        @property
        def parameterNode(self) -> vtkMRMLScriptedModuleNode: ...

        def setValue(self, name: str, value: object) -> None: ...

        def connectGui(self, widgets: object) -> int: ...

        def disconnectGui(self, tag: int | None) -> None: ...


def librarySettings(advanced: AdvancedSettings, card: ModelCard) -> dict[str, Any]:
    """The advanced settings as fields of the library's :class:`~DiffSegLungLib.config.Config`, checked.

    Args:
        advanced: what the user set.
        card: the model, since not every model serves every setting.

    Raises:
        InputError: a value the library, or this model, cannot use; the message names it.
    """
    timesteps = _timesteps(advanced.timesteps) or card.fittedTimesteps or Config().timesteps
    settings: dict[str, Any] = {
        "mode": advanced.mixture.value,
        "timesteps": timesteps,
        "diffusion_steps": advanced.diffusionSteps,
        "correct_air": advanced.correctAir,
        "seed": advanced.seed,
    }
    if advanced.mixture is Mixture.perVolume:
        settings["components"] = 0 if advanced.chooseComponents else advanced.components
    Config.from_mapping(settings)
    _checkModel(advanced, timesteps, card)
    return settings


def _timesteps(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise InputError(
            "bad-setting",
            _("The timesteps “{text}” are not whole numbers.").format(text=text),
            _("Write them as in 3, 10, 30."),
        ) from None


def _checkModel(advanced: AdvancedSettings, timesteps: tuple[int, ...], card: ModelCard) -> None:
    if card.lastTimestep and max(timesteps) > card.lastTimestep:
        raise InputError(
            "bad-setting",
            _("The timestep {step} is beyond the model's last one.").format(step=max(timesteps)),
            _("{model} knows 1 to {last}.").format(model=card.name, last=card.lastTimestep),
        )
    if advanced.mixture is Mixture.perVolume:
        return
    if not card.fittedTimesteps:
        raise InputError(
            "no-population",
            _("The model {model} has no mixture of its own.").format(model=card.name),
            _("Choose a mixture fitted to this CT alone, under Advanced."),
        )
    if timesteps != card.fittedTimesteps:
        raise InputError(
            "no-population",
            _("The model's mixture was fitted at the timesteps {steps}.").format(
                steps=", ".join(str(t) for t in card.fittedTimesteps)
            ),
            _("Leave the timesteps empty, or fit the mixture to this CT alone."),
        )
