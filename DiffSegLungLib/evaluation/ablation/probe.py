"""What an encoder knows of the radiomic descriptors: a linear probe on its frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...grid.canonical import normalise

if TYPE_CHECKING:
    from ...model.bundle import Bundle
    from ...training.dataset import PatchDataset

TIMESTEP = 25
PROBE_PATCHES = 96
HELD_OUT_PATCHES = 48

Rows = NDArray[np.float32]


def probe(
    bundle: Bundle, training: PatchDataset, held_out: PatchDataset, block: tuple[int, int, int]
) -> float:
    """Held-out R² of a ridge regression from features to descriptors, mean over the 34.

    It needs no trained head, so it sees the encoder alone.

    Args:
        bundle: whose encoder.
        training: patches that the regression is fitted on.
        held_out: patches of other patients.
        block: size in cells (z, y, x) of what one descriptor describes.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 9)))
    model.fit(*blocks_of(bundle, training, PROBE_PATCHES, block))
    return float(model.score(*blocks_of(bundle, held_out, HELD_OUT_PATCHES, block)))


def blocks_of(
    bundle: Bundle, patches: PatchDataset, count: int, block: tuple[int, int, int]
) -> tuple[Rows, Rows]:
    """Bottleneck features (N, C) and standardised descriptors (N, 34) of the blocks of some patches."""
    import torch

    from ...model.heads import standardise
    from ...training.distillation import block_descriptors

    seen, taught = [], []
    for number in range(count):
        item = patches[number]
        hu, lungs = item["hu"][None], item["lungs"][None]
        noise = torch.randn(hu[:, None].shape, generator=torch.Generator().manual_seed(number))
        t = torch.tensor([TIMESTEP])
        noisy = bundle.schedule.add_noise(normalise(hu)[:, None], noise, t)
        with torch.inference_mode():
            code = bundle.network.encode(torch.cat([noisy, lungs[:, None].float()], 1), t)
            features = torch.nn.functional.avg_pool3d(code, block)
        descriptors, counts = block_descriptors(hu, lungs, block)
        seen.append(features.movedim(1, -1).flatten(0, 3)[counts].numpy())
        taught.append(standardise(descriptors, bundle.descriptor_mean, bundle.descriptor_sd)[counts].numpy())
    return np.concatenate(seen), np.concatenate(taught)
