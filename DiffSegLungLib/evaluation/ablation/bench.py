"""One case on which the choices of the method are switched one at a time.

What does not depend on a switch (preparation, embeddings, cavities) is computed once a case, so the
stages of :class:`pipeline.Segmenter` are called one by one here; a test holds both to the same labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...anatomy.cavities import find_cavities
from ...config import Config
from ...grid.canonical import SPACING_ZYX
from ...grid.cells import DIFFUSION, Cells
from ...model.mixture import KINDS, Mixture
from ...segmentation.fusion import Fusion, fuse
from ...segmentation.naming import cell_posterior, name_components
from ...training.dataset import level_and_spread, z_scored
from ..agreement import Truth
from ..rivals.descriptions import encoder_features
from ..rivals.prepared import Prepared

if TYPE_CHECKING:
    from ...model.bundle import Bundle
    from ..known_truth import Case

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

    def __init__(self, case: Case, bundle: Bundle, config: Config) -> None:
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
        lungs = self.lungs[self.truth.box]
        return self.truth.measure(*self.fused(switch).onto(self.truth.geometry, lungs))

    @cached_property
    def lungs(self) -> NDArray[np.bool_]:
        """The mask that every switch gets."""
        from ...anatomy.lungs import segment_lungs

        return segment_lungs(self._case.ct).mask if self._case.lungs is None else self._case.lungs

    def fused(self, switch: Switch) -> Fusion:
        """The case segmented with a switch set."""
        config = replace(self._config, **switch.changes)
        bundle = self._bundle if not switch.bundle else self._load(switch.bundle)
        prepared = self._prepare(switch.offset_hu, config.correct_air)
        seen = _z_scored(prepared) if switch.normalisation != "calibrated" else prepared
        if switch.normalisation == "z-scored":
            prepared = seen
        cells = prepared.cells
        if DIFFUSION in KINDS[config.descriptor]:
            embedded = _embedded(seen, bundle, config, encoder=switch.encoder)
            cells = cells.joined(embedded, DIFFUSION)
        return decide(prepared, cells, bundle, config, vessels=switch.vessels, cavities=switch.cavities)

    def _prepare(self, offset_hu: int, correct_air: bool) -> Prepared:
        key = offset_hu, correct_air
        if key not in self._prepared:
            ct = self._case.ct
            moved = ct if not offset_hu else ct.with_hu(ct.hu + np.array(offset_hu, ct.hu.dtype))
            self._prepared[key] = Prepared.of(moved, self.lungs, correct_air=correct_air)
        return self._prepared[key]

    def _load(self, folder: str) -> Bundle:
        from ...model.bundle import Bundle

        if folder not in self._loaded:
            self._loaded[folder] = Bundle.load(Path(folder))
        return self._loaded[folder]


def decide(
    prepared: Prepared,
    cells: Cells,
    bundle: Bundle,
    config: Config,
    *,
    vessels: bool = True,
    cavities: bool = True,
) -> Fusion:
    """Mixture, names and fusion of a prepared CT, as :meth:`pipeline.Segmenter.run` does them.

    Args:
        prepared: the CT.
        cells: its cells with all features that the settings ask for.
        bundle: the model, of which the population mixture is used.
        config: the settings.
        vessels: whether vessels are excluded.
        cavities: whether cavities are looked for.
    """
    responsibility = _mixture(cells, bundle, config).predict_proba(cells)
    assignment = name_components(cells, responsibility)
    canonical = prepared.canonical

    def look_for_cavities() -> NDArray[np.bool_]:
        return find_cavities(canonical.hu, canonical.lungs, SPACING_ZYX, canonical.slice_mm)

    return fuse(
        canonical,
        cells.fine or cells,
        cell_posterior(cells, responsibility, assignment, config.component_weight),
        prepared.aeration,
        config,
        smooth=prepared.smooth,
        vessels=prepared.vessels if vessels else None,
        cavities=prepared.once("cavities", look_for_cavities) if cavities else None,
    )


def plain(switch: Switch) -> dict[str, Any]:
    """A switch as plain values, for fingerprints and JSON."""
    return {**asdict(switch), "changes": dict(switch.changes)}


def _mixture(cells: Cells, bundle: Bundle, config: Config) -> Mixture:
    if config.mode == "per-volume":
        kinds = KINDS[config.descriptor]
        return Mixture.fit(cells, kinds, config.components, covariance="diag", seed=config.seed)
    prefix = f"{config.descriptor}."
    arrays = {k.removeprefix(prefix): v for k, v in bundle.mixture.items() if k.startswith(prefix)}
    return Mixture.from_arrays(arrays).adapt(cells)


def _embedded(prepared: Prepared, bundle: Bundle, config: Config, *, encoder: bool) -> NDArray[np.float32]:
    if encoder:
        return encoder_features(prepared, bundle, config.timesteps, overlap=config.overlap, seed=config.seed)
    return prepared.student(bundle, config.timesteps, overlap=config.overlap, seed=config.seed)


def _z_scored(prepared: Prepared) -> Prepared:
    """The same CT with HU z-scored over the patient's lungs, prepared anew."""

    def make() -> Prepared:
        canonical = prepared.canonical
        hu = z_scored(canonical.hu, *level_and_spread(canonical.hu, canonical.lungs))
        return Prepared.on(replace(canonical, hu=hu), prepared.geometry, prepared.lungs, prepared.shift_hu)

    return prepared.once("z-scored", make)
