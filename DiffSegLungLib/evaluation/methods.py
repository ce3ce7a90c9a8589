"""The product and its rivals, ready to label one case after another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import InputError
from ..io.ct import CT, resample
from .agreement import Truth

if TYPE_CHECKING:
    from ..model.bundle import Bundle
    from ..segmentation.pipeline import Segmenter
    from .known_truth import LabelledCase
    from .rivals.baselines import Method

PRODUCT = "DiffSegLung"


class Methods:
    """All methods with one model and one set of settings; loads what it needs when first used.

    Args:
        names: which methods, see :func:`chosen_names`.
        bundle: the model, or "default".
        config: the settings of the product.
        undistilled: a model trained by noise prediction alone, for the rival that needs one.
    """

    def __init__(self, names: tuple[str, ...], bundle: str, config: Config, undistilled: str | None) -> None:
        self.names = names
        self._bundle = bundle
        self._config = config
        self._undistilled = undistilled

    @cached_property
    def product(self) -> Segmenter:
        """The product itself."""
        from ..segmentation.pipeline import Segmenter

        return Segmenter(self._bundle, self._config)

    def measure(self, case: LabelledCase) -> dict[str, Any]:
        """Every method on one case: a mapping of names to :meth:`~.agreement.Truth.measure` and seconds."""
        from ..anatomy.lungs import segment_lungs

        lungs = segment_lungs(case.ct).mask if case.lungs is None else case.lungs
        truth = Truth(case)
        measured = {}
        if PRODUCT in self.names:
            measured[PRODUCT] = self._measure_product(case.ct, lungs, truth)
        rivals = [name for name in self.names if name != PRODUCT]
        if rivals:
            measured |= self._measure_rivals(rivals, case.ct, lungs, truth)
        return measured

    def _measure_product(self, ct: CT, lungs: NDArray[np.bool_], truth: Truth) -> dict[str, Any]:
        taken = _Clock()
        result = self.product.run(ct, lungs=lungs)
        return {**taken.seconds(), **truth.measure(result.labels[truth.box], result.entropy[truth.box])}

    def _measure_rivals(
        self, names: list[str], ct: CT, lungs: NDArray[np.bool_], truth: Truth
    ) -> dict[str, Any]:
        from ..segmentation.preparation import prepare

        parenchyma = prepare(ct, lungs, Config()).parenchyma
        inside = lungs[truth.box]
        measured = {}
        for name in names:
            taken = _Clock()
            labels = self._rivals[name](parenchyma)
            # Only where it is compared: carrying labels to all of a large CT takes longer than some rivals.
            on_ct = resample(labels, parenchyma.canonical.geometry, truth.geometry, order="nearest", fill=0)
            measured[name] = {**taken.seconds(), **truth.measure(on_ct * inside)}
        return measured

    @cached_property
    def _rivals(self) -> dict[str, Method]:
        return _make_rivals(self.product.load_bundle(), self._undistilled)


class _Clock:
    """Wall time, and time of all cores, which a busy computer does not change."""

    def __init__(self) -> None:
        self._wall, self._cores = time.monotonic(), time.process_time()

    def seconds(self) -> dict[str, float]:
        """Both, since the clock was made."""
        return {"seconds": time.monotonic() - self._wall, "cpu_seconds": time.process_time() - self._cores}


def chosen_names(names: Sequence[str], bundle: Bundle, undistilled: str | None) -> tuple[str, ...]:
    """The methods that a user means, in the order of all: case, spaces and punctuation do not matter.

    Args:
        names: as the user wrote them; empty for all.
        bundle: the model.
        undistilled: path of a model trained by noise prediction alone, or None.

    Raises:
        InputError: there is no such method.
    """
    known = {_plain(name): name for name in (PRODUCT, *_make_rivals(bundle, undistilled))}
    unknown = [name for name in names if _plain(name) not in known]
    if unknown:
        raise InputError(
            "unknown-method",
            f"There is no method {unknown[0]!r}.",
            f"Methods are {'; '.join(known.values())}.",
        )
    asked = {_plain(name) for name in names} or set(known)
    return tuple(name for plain, name in known.items() if plain in asked)


def _make_rivals(bundle: Bundle, undistilled: str | None) -> dict[str, Method]:
    from ..model.library import load_model
    from .rivals.baselines import rivals

    return rivals(None if undistilled is None else load_model(undistilled), bundle)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
