"""Does a model run on this device, and how fast: one patch, as in a segmentation."""

from __future__ import annotations

import platform
import time

import torch

from .bundle import Bundle
from .network import bfloat16_pays, pick_device


def try_device(bundle: Bundle, name: str) -> str:
    """Run network and head on one patch of zeros, once to warm up and once by the clock.

    Args:
        bundle: the model.
        name: as :func:`.network.pick_device` takes it.

    Returns:
        One sentence that names the device, what it computes with, and the seconds a patch takes.

    Raises:
        InputError: the device is not there.
    """
    place = pick_device(name)
    network, head = bundle.network.to(place), bundle.head.to(place)
    patch = torch.zeros(1, 2, *bundle.patch)
    step = torch.tensor([1])
    half = bfloat16_pays(place)
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, half):
            head(network.encode(patch.to(place), step.to(place))).float().cpu()  # cpu() waits for a GPU
        seconds = time.perf_counter() - begin
    precision = "bfloat16" if half else "float32"
    return f"{describe_device(place)} runs {bundle.name} in {precision}: {seconds:.3f} s a patch."


def describe_device(place: torch.device) -> str:
    """A device as a person knows it."""
    if place.type == "cuda":
        return f"CUDA device {torch.cuda.get_device_name(place)}"
    if place.type == "mps":
        return "The Apple GPU (MPS)"
    return f"The CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
