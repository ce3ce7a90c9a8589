"""What several methods compute of one CT's lungs, computed once and kept as long as the lungs are."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...segmentation.diffusion_features import diffusion_features, network_features

if TYPE_CHECKING:
    from ...model.bundle import Bundle
    from ...segmentation.preparation import Parenchyma

T = TypeVar("T")
_DEFAULT = Config()
_KEPT: WeakKeyDictionary[Parenchyma, dict[Hashable, Any]] = WeakKeyDictionary()


def once(parenchyma: Parenchyma, key: Hashable, make: Callable[[], T]) -> T:
    """What ``make`` gives for these lungs, computed at the first call with this key and kept."""
    kept = _KEPT.setdefault(parenchyma, {})
    if key not in kept:
        kept[key] = make()
    value: T = kept[key]
    return value


def student(
    parenchyma: Parenchyma,
    bundle: Bundle,
    timesteps: tuple[int, ...] = _DEFAULT.timesteps,
    *,
    overlap: float = _DEFAULT.overlap,
    seed: int = _DEFAULT.seed,
) -> NDArray[np.float32]:
    """Embeddings of a bundle's student, (n, 128 · timesteps) float32; each timestep is computed once."""

    def embed(timestep: int) -> tuple[Bundle, NDArray[np.float32]]:
        features = diffusion_features(
            parenchyma.canonical,
            parenchyma.cells,
            bundle,
            timesteps=(timestep,),
            overlap=overlap,
            seed=seed,
            device="cpu",
        )
        # The bundle is kept beside its features: no other may get its id.
        return bundle, features

    blocks = [
        once(parenchyma, ("student", id(bundle), t, overlap, seed), partial(embed, t))[1] for t in timesteps
    ]
    return np.concatenate(blocks, axis=1)


def decoder(
    parenchyma: Parenchyma, bundle: Bundle, *, overlap: float = _DEFAULT.overlap, seed: int = _DEFAULT.seed
) -> NDArray[np.float32]:
    """What a bundle's tissue head is shown of the half cells, (n, 2·base · timesteps) float32."""

    def describe() -> tuple[Bundle, NDArray[np.float32]]:
        features = network_features(
            parenchyma.canonical,
            parenchyma.cells,
            parenchyma.half,
            bundle,
            timesteps=bundle.head_timesteps[:1],
            decoder_timesteps=bundle.head_timesteps,
            overlap=overlap,
            seed=seed,
            device="cpu",
        )
        return bundle, features.decoder

    return once(parenchyma, ("decoder", id(bundle), overlap, seed), describe)[1]
