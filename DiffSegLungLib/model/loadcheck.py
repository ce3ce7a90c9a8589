"""Whether the parts of a bundle fit together: what a segmentation will ask of them, asked beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..mixture import KINDS, Mixture

if TYPE_CHECKING:
    from .bundle import Bundle

_DESCRIPTORS = 34


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
