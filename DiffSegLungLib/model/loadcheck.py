"""Whether a bundle really serves: everything that a segmentation will ask of it, asked beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..mixture import KINDS, Mixture
from .bundle import Bundle

_MULTIPLES, _LARGEST_PATCH = (8, 16, 16), 512
_DESCRIPTORS = 34


def check_loads(place: Path, told: str) -> Bundle:
    """Load a bundle and look at all that loading itself does not need.

    Args:
        place: folder or zip.
        told: what to call it in a sentence.

    Raises:
        InputError: its parts do not fit together, or hold what is not a number.
    """
    try:
        bundle = Bundle.load(place)
        fault = _fault(bundle)
    except InputError as error:
        if error.code != "bundle-broken":
            raise
        fault = "the weights do not fit the architecture on its card"
    except Exception:
        fault = "card and weights do not fit together"
    if fault:
        raise InputError("bundle-broken", f"The model in {told} is of no use: {fault}.", "Export it again.")
    return bundle


def _fault(bundle: Bundle) -> str:
    patch = tuple(bundle.card["patch"])
    if len(patch) != 3 or any(
        not isinstance(p, int) or not 0 < p <= _LARGEST_PATCH or p % m
        for p, m in zip(patch, _MULTIPLES, strict=True)
    ):
        return f"its patch is not three multiples of {', '.join(map(str, _MULTIPLES))}"
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
    return _fault_of_mixtures(bundle)


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
