"""A model of no use but of the right form: an untrained network of the smallest width."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.diffusion import NoiseSchedule
from DiffSegLungLib.model.heads import StudentHead
from DiffSegLungLib.model.network import Architecture, NoiseUNet
from DiffSegLungLib.segmentation.tissues import MEASURES


def tiny_bundle(mixture: dict[str, np.ndarray] | None = None, **card: Any) -> Bundle:
    """A bundle with the given population mixture and further entries of its card."""
    torch.manual_seed(0)
    architecture = Architecture(base=8, attention_heads=1)
    return Bundle(
        card={"id": "tiny", "version": "1", "patch": [16, 64, 64], **card},
        network=NoiseUNet(architecture).eval(),
        head=StudentHead(4 * architecture.base).eval(),
        schedule=NoiseSchedule(),
        descriptor_mean=torch.zeros(34),
        descriptor_sd=torch.ones(34),
        mixture=mixture or {},
    )


def with_tiny_head(bundle: Bundle, timesteps: tuple[int, ...] = (3, 40)) -> Bundle:
    """The bundle with a tissue head of random weights on its decoder's features."""
    rng = np.random.default_rng(0)
    wide = len(MEASURES) + len(timesteps) * 2 * bundle.network.architecture.base
    shapes = {
        "mean": (wide,), "sd": (wide,), "hidden_weight": (wide, 3), "hidden_bias": (3,),
        "weight": (3, 5), "bias": (5,),
    }  # fmt: skip
    arrays = {name: rng.uniform(0.1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    told = {"timesteps": list(timesteps), "statistics": list(MEASURES)}
    return replace(bundle, card=bundle.card | {"tissues": told}, tissues=arrays)
