"""A model of no use but of the right form: an untrained network of the smallest width."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.diffusion import NoiseSchedule
from DiffSegLungLib.model.heads import StudentHead
from DiffSegLungLib.model.network import Architecture, NoiseUNet


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
