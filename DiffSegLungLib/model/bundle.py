"""A trained model on disk: ``model.safetensors`` and ``card.json``, in a folder or a zip. Never pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError, not_written
from ..io.whole_file import writing_together
from .archive import CARD, FORMAT, WEIGHTS, read
from .diffusion import NoiseSchedule
from .heads import StudentHead
from .hidden_layer import HiddenLayer
from .mixture import KINDS, Mixture
from .network import Architecture, NoiseUNet


@dataclass
class Bundle:
    """Network, head, descriptor statistics and population mixture, with the card that tells their story.

    Attributes:
        card: what ``card.json`` says: id, version, architecture, schedule, training, data, licences, limits.
        network: the noise predictor with its averaged (EMA) weights, in evaluation mode.
        head: the student head.
        schedule: the noise schedule of the training.
        descriptor_mean: (34,) cohort mean of the radiomic descriptors, heavy tails tamed.
        descriptor_sd: (34,) cohort standard deviation.
        mixture: arrays of the population mixtures, by name, or empty when none was fitted.
        tissues: arrays of the tissue head on the decoder's features, a :class:`.hidden_layer.HiddenLayer` by
            name, or empty when none was fitted; the card says at which timesteps.
    """

    card: dict[str, Any]
    network: NoiseUNet
    head: StudentHead
    schedule: NoiseSchedule
    descriptor_mean: Tensor
    descriptor_sd: Tensor
    mixture: dict[str, NDArray[Any]] = field(default_factory=dict)
    tissues: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Identifier and version, as written into DICOM's SegmentAlgorithmName."""
        return f"{self.card['id']} {self.card['version']}"

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights on disk; empty for a bundle that was never saved."""
        return str(self.card.get("sha256", ""))

    @property
    def patch(self) -> tuple[int, int, int]:
        """Patch size (z, y, x) in canonical voxels at which features are computed."""
        z, y, x = self.card["patch"]
        return int(z), int(y), int(x)

    @property
    def head_timesteps(self) -> tuple[int, ...]:
        """Timesteps at which the tissue head looks; none without a head."""
        return tuple(int(t) for t in self.card["tissues"]["timesteps"]) if self.tissues else ()

    @classmethod
    def load(cls, place: Path) -> Bundle:
        """The bundle in a folder or a zip; :func:`.library.load_model` finds one by its name.

        Raises:
            InputError: nothing there, not a bundle, weights that do not match their SHA-256 or architecture,
                parts that do not fit together, or numbers that are none.
        """
        from safetensors.torch import load

        packed = read(place)
        card = packed.card
        try:
            tensors = load(packed.weights)
            architecture = Architecture(**card["architecture"])
            schedule = NoiseSchedule(**card["schedule"])
            network, head = NoiseUNet(architecture), StudentHead(4 * architecture.base)
            network.load_state_dict(_part(tensors, "network."))
            head.load_state_dict(_part(tensors, "head."))
            bundle = cls(
                card=card,
                network=network.eval(),
                head=head.eval(),
                schedule=schedule,
                descriptor_mean=tensors["descriptor.mean"],
                descriptor_sd=tensors["descriptor.sd"],
                mixture={k: v.numpy() for k, v in _part(tensors, "mixture.").items()},
                tissues={k: v.float().numpy() for k, v in _part(tensors, "tissues.").items()},
            )
            fault = fault_of(bundle)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                "bundle-broken",
                f"The weights of {packed.name} do not fit the architecture on their card.",
                "Export or download the bundle again.",
            ) from error
        if fault:
            raise InputError(
                "bundle-broken",
                f"The model {packed.name} is of no use: {fault}.",
                "Export or download the bundle again.",
            )
        for parameter in (*network.parameters(), *head.parameters()):
            parameter.requires_grad_(False)
        return bundle

    def save(self, folder: str | Path) -> None:
        """Write the bundle to a folder; each of its files appears whole or not at all.

        Weights of network and head are stored as float16: half the size, and finer than the bfloat16 in which
        the network runs where the hardware is fast at it.

        Raises:
            InputError: the folder cannot be written.
        """
        from safetensors.torch import save

        tensors = {
            f"{part}.{k}": v.detach().half().cpu().contiguous()
            for part, module in (("network", self.network), ("head", self.head))
            for k, v in module.state_dict().items()
        }
        for part, arrays in (("mixture", self.mixture), ("tissues", self.tissues)):
            tensors |= {f"{part}.{k}": torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
        tensors["descriptor.mean"] = self.descriptor_mean.float().cpu()
        tensors["descriptor.sd"] = self.descriptor_sd.float().cpu()
        content = save(tensors)
        self.card |= {
            "format": FORMAT,
            "architecture": asdict(self.network.architecture),
            "schedule": asdict(self.schedule),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(place, error) from error
        with writing_together(place / WEIGHTS, place / CARD) as (weights, card):
            weights.write_bytes(content)
            card.write_bytes(json.dumps(self.card, indent=2).encode() + b"\n")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


_DESCRIPTORS = 34
TISSUE_COUNT = 5
"""Tissues that a cell can have: healthy lung and four diseases."""


def fault_of(bundle: Bundle) -> str:
    """Why a bundle is of no use, in the middle of a sentence; empty where it is."""
    if bundle.schedule.timesteps != bundle.network.architecture.timesteps:
        return "its schedule has another number of timesteps than its network"
    signal = bundle.schedule.alpha_bar
    if not (signal.isfinite().all() and ((signal >= 0) & (signal <= 1)).all()):
        return "its noise schedule is not one"
    tensors = [*bundle.network.state_dict().values(), *bundle.head.state_dict().values()]
    tensors += [bundle.descriptor_mean, bundle.descriptor_sd]
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        return "some weights are not numbers"
    if any(tuple(t.shape) != (_DESCRIPTORS,) for t in (bundle.descriptor_mean, bundle.descriptor_sd)):
        return f"its descriptor statistics are not {_DESCRIPTORS} numbers"
    return _fault_of_mixtures(bundle) or _fault_of_tissues(bundle)


def _fault_of_mixtures(bundle: Bundle) -> str:
    names = {key.split(".")[0] for key in bundle.mixture}
    if not names <= set(KINDS) or not all(np.isfinite(array).all() for array in bundle.mixture.values()):
        return "its population mixture is not one"
    for name in names:
        arrays = {
            k.removeprefix(f"{name}."): v for k, v in bundle.mixture.items() if k.startswith(f"{name}.")
        }
        mixture = Mixture.from_arrays(arrays)
        count, width = mixture.means.shape
        if mixture.weights.shape != (count,) or mixture.covariances.shape != (count, width, width):
            return "the parts of its population mixture do not fit together"
    return ""


def _fault_of_tissues(bundle: Bundle) -> str:
    told = bundle.card.get("tissues", {})
    if not bundle.tissues:
        return "the tissue head on its card is missing" if told else ""
    times = told.get("timesteps", [])
    if not times or not all(type(t) is int and 1 <= t < bundle.schedule.timesteps for t in times):
        return "its card does not say at which timesteps its tissue head looks"
    if set(bundle.tissues) != {f.name for f in fields(HiddenLayer)}:
        return "its tissue head is not one"
    width = len(told.get("statistics", [])) + len(times) * 2 * bundle.network.architecture.base
    return HiddenLayer(**bundle.tissues).fault(width, TISSUE_COUNT)
