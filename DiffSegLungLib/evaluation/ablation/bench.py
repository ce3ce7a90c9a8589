"""One case on which the choices of the method are switched one at a time.

What does not depend on a switch (preparation, embeddings) is computed once a case, so the steps of
:func:`.decision.decide` are called one by one here; a test holds both to the same labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...grid.cells import DIFFUSION
from ...model.mixture import KINDS
from ...segmentation.decision import cluster_cells, fuse_cells, looks_to
from ...segmentation.fusion import Fusion
from ...segmentation.preparation import Parenchyma, Prepared, prepare
from ...segmentation.result import drawn
from ...training.dataset import level_and_spread, z_scored
from ..agreement import Truth
from ..rivals.descriptions import encoder_features
from ..rivals.kept import decoder, once, student

if TYPE_CHECKING:
    from ...model.bundle import Bundle
    from ..known_truth import LabelledCase

Normalisation = Literal["calibrated", "z-scored", "z-scored for the network"]


@dataclass(frozen=True)
class Switch:
    """One way to segment.

    Attributes:
        key: short name.
        text: what a reader calls it.
        against: key of the switch that it is compared with; empty for none.
        changes: settings that differ from the product's.
        normalisation: calibrated HU, or HU z-scored over each patient's lungs for everything or the network.
        offset_hu: added to the CT before anything else.
        vessels: whether vessels are excluded.
        cavities: whether cavities are looked for.
        bundle: folder of another model; empty for the one that is judged.
        encoder: take the network's bottleneck features and leave out its head.
    """

    key: str
    text: str
    against: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    normalisation: Normalisation = "calibrated"
    offset_hu: int = 0
    vessels: bool = True
    cavities: bool = True
    bundle: str = ""
    encoder: bool = False


class Bench:
    """One case and what the switches share of it.

    Args:
        case: with lesions and a lung mask.
        bundle: the model that is judged.
        config: the product's settings.
    """

    def __init__(self, case: LabelledCase, bundle: Bundle, config: Config) -> None:
        self._case = case
        self._bundle = bundle
        self._config = config
        self._prepared: dict[tuple[int, bool], Prepared] = {}
        self._loaded: dict[str, Bundle] = {}

    @cached_property
    def truth(self) -> Truth:
        """What the switches are measured against."""
        return Truth(self._case)

    def measure(self, switch: Switch) -> dict[str, Any]:
        """Numbers of :meth:`agreement.Truth.measure` with a switch set."""
        config = replace(self._config, **switch.changes)
        lungs = self.lungs[self.truth.box]
        evidence, entropy = self.fused(switch).onto(self.truth.geometry, lungs)
        return self.truth.measure(drawn(evidence, config, self.truth.geometry), entropy)

    @cached_property
    def lungs(self) -> NDArray[np.bool_]:
        """The mask that every switch gets."""
        from ...anatomy.lungs import segment_lungs

        return segment_lungs(self._case.ct).mask if self._case.lungs is None else self._case.lungs

    def fused(self, switch: Switch) -> Fusion:
        """The case segmented with a switch set."""
        config = replace(self._config, **switch.changes)
        bundle = self._bundle if not switch.bundle else self._load(switch.bundle)
        prepared = self._prepare(switch.offset_hu, config)
        seen = _z_scored(prepared) if switch.normalisation != "calibrated" else prepared
        if switch.normalisation == "z-scored":
            prepared = seen
        cells = prepared.parenchyma.cells
        if DIFFUSION in KINDS[config.descriptor]:
            embedded = _embedded(seen.parenchyma, bundle, config, encoder=switch.encoder)
            cells = cells.joined(embedded, DIFFUSION)
            if bundle.tissues:
                fine = decoder(seen.parenchyma, bundle, overlap=config.overlap, seed=config.seed)
                prepared = replace(prepared, looks=looks_to(bundle, prepared, fine))
        prepared = without(prepared, vessels=not switch.vessels, cavities=not switch.cavities)
        return fuse_cells(prepared, cluster_cells(prepared, cells, bundle, config), config)

    def _prepare(self, offset_hu: int, config: Config) -> Prepared:
        key = offset_hu, config.correct_air
        if key not in self._prepared:
            ct = self._case.ct
            moved = ct if not offset_hu else ct.with_hu(ct.hu + np.array(offset_hu, ct.hu.dtype))
            self._prepared[key] = prepare(moved, self.lungs, config)
        return self._prepared[key]

    def _load(self, folder: str) -> Bundle:
        from ...model.bundle import Bundle

        if folder not in self._loaded:
            self._loaded[folder] = Bundle.load(Path(folder))
        return self._loaded[folder]


def without(prepared: Prepared, *, vessels: bool, cavities: bool) -> Prepared:
    """A prepared CT as if it had no vessels to exclude, or no cavities; its cells stay."""
    nothing = np.zeros_like(prepared.cavities)
    if vessels:
        prepared = replace(prepared, parenchyma=replace(prepared.parenchyma, vessels=nothing))
    return replace(prepared, cavities=nothing) if cavities else prepared


def plain(switch: Switch) -> dict[str, Any]:
    """A switch as plain values, for fingerprints and JSON."""
    return {**asdict(switch), "changes": dict(switch.changes)}


def _embedded(
    parenchyma: Parenchyma, bundle: Bundle, config: Config, *, encoder: bool
) -> NDArray[np.float32]:
    if encoder:
        return encoder_features(
            parenchyma, bundle, config.timesteps, overlap=config.overlap, seed=config.seed
        )
    return student(parenchyma, bundle, config.timesteps, overlap=config.overlap, seed=config.seed)


def _z_scored(prepared: Prepared) -> Prepared:
    """The same CT with HU z-scored over the patient's lungs, measured anew."""

    def make() -> Prepared:
        canonical = prepared.parenchyma.canonical
        hu = z_scored(canonical.hu, *level_and_spread(canonical.hu, canonical.lungs))
        return prepared.on(replace(canonical, hu=hu))

    return once(prepared.parenchyma, "z-scored", make)
