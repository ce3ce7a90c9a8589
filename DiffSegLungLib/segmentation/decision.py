"""What a prepared CT shows by a model and settings: features, mixture, names, fusion (method.md 5, 6)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..grid.cells import DIFFUSION, STATISTICS, Cells, pooled
from ..model.hidden_layer import HiddenLayer
from ..model.mixture import KINDS, Mixture
from ..talk import SILENT, Talk
from .diffusion_features import NetworkFeatures, network_features
from .fusion import Fusion, fuse
from .naming import Assignment, cell_posterior, interpolated, name_components
from .provenance import describe_grid, describe_model, describe_software, now
from .result import Result, drawn
from .statistics import STATISTIC_COLUMNS
from .tissues import MEASURES, with_decoder

if TYPE_CHECKING:
    from ..config import Config
    from ..model.bundle import Bundle
    from .preparation import Prepared


def decide(prepared: Prepared, bundle: Bundle | None, config: Config, talk: Talk = SILENT) -> Result:
    """Decision on every lung voxel of a prepared CT.

    Args:
        prepared: the CT, prepared with the same ``correct_air``.
        bundle: the model; None where :func:`needs_bundle` says that the settings do without.
        config: the settings.
        talk: progress of the stages ``features``, ``mixture`` and ``fusion``; the request to stop.

    Raises:
        InputError: the model cannot serve the settings.
        Cancelled: asked to stop.
    """
    if prepared.correct_air != config.correct_air:
        raise ValueError("The CT was prepared with another setting of correct_air.")
    if bundle is not None:
        check_fit(config, bundle)
    seconds = dict(prepared.seconds)
    with talk.enter("features", seconds) as stage:
        cells = prepared.parenchyma.cells
        if bundle is not None and DIFFUSION in KINDS[config.descriptor]:
            features = _features(prepared, bundle, config, stage)
            cells = cells.joined(features.student, DIFFUSION)
            prepared = replace(prepared, looks=looks_to(bundle, prepared, features.decoder))
    with talk.enter("mixture", seconds):
        clustered = cluster_cells(prepared, cells, bundle, config)
    with talk.enter("fusion", seconds) as stage:
        fused = fuse_cells(prepared, clustered, config, stage.part(0.0, 0.8))
        evidence, entropy = fused.onto(prepared.ct.geometry, prepared.lungs.regions, stage)
        labels = drawn(evidence, config, prepared.ct.geometry)
    return Result(
        ct=prepared.ct,
        lungs=prepared.lungs,
        labels=labels,
        evidence=evidence,
        entropy=entropy,
        components=clustered.assignment.evidence,
        shift_hu=prepared.shift_hu,
        config=config,
        provenance=_provenance(prepared, bundle, config, seconds),
    )


@dataclass(frozen=True)
class ClusteredCells:
    """The cells of a lung in clusters that have names.

    Attributes:
        cells: features of every lung cell.
        responsibility: (n, k) float32, posterior of the components.
        assignment: which tissue every component is.
    """

    cells: Cells
    responsibility: NDArray[np.float32]
    assignment: Assignment


def cluster_cells(prepared: Prepared, cells: Cells, bundle: Bundle | None, config: Config) -> ClusteredCells:
    """Clusters of the lung cells, and which tissue each of them is.

    Args:
        prepared: the CT.
        cells: its cells with all the features that the settings ask for.
        bundle: the model, whose population mixture is adapted; None for a mixture of this volume alone.
        config: the settings.
    """
    if config.mode == "per-volume" or bundle is None:
        kinds = KINDS[config.descriptor]
        mixture = Mixture.fit(cells, kinds, config.components, covariance="diag", seed=config.seed)
    else:
        mixture = Mixture.from_arrays(_population(bundle, config)).adapt(cells)
    responsibility = mixture.predict_proba(cells)
    looks = pooled(prepared.looks, prepared.parenchyma.half, cells)
    assignment = name_components(cells, looks, responsibility)
    return ClusteredCells(cells, responsibility, assignment)


def fuse_cells(prepared: Prepared, clustered: ClusteredCells, config: Config, talk: Talk = SILENT) -> Fusion:
    """Fusion of the named cells with the voxels' HU, on the working grid.

    Args:
        prepared: the CT.
        clustered: its cells and what their components are called.
        config: the settings.
        talk: progress, the request to stop.

    Raises:
        Cancelled: asked to stop.
    """
    half = prepared.parenchyma.half
    named = clustered.responsibility @ clustered.assignment.probabilities
    named = interpolated(named, clustered.cells, half)
    tissue = cell_posterior(half, named, prepared.looks, config.component_weight)
    return fuse(prepared.parenchyma, prepared.cavities, tissue, config, talk)


def needs_bundle(config: Config) -> bool:
    """Whether the settings ask for anything that a trained model provides."""
    return DIFFUSION in KINDS[config.descriptor] or config.mode == "adapted"


def check_fit(config: Config, bundle: Bundle) -> None:
    """Refuse settings that the model cannot serve.

    Raises:
        InputError: code ``bad-setting``, ``no-head`` or ``no-population``.
    """
    last = bundle.schedule.timesteps - 1
    if max(config.timesteps) > last:
        raise InputError(
            "bad-setting",
            f"The timestep {max(config.timesteps)} is beyond the model's last one.",
            f"The model {bundle.name} knows timesteps 1 to {last}.",
        )
    if (
        bundle.tissues
        and DIFFUSION in KINDS[config.descriptor]
        and tuple(bundle.card["tissues"]["statistics"]) != MEASURES
    ):
        raise InputError(
            "no-head",
            f"The tissue head of the model {bundle.name} was fitted to other statistics of the lung.",
            "Use a model made with this version.",
        )
    if config.mode == "per-volume":
        return
    if not _population(bundle, config):
        raise InputError(
            "no-population",
            f"The model {bundle.name} has no population mixture for the descriptor {config.descriptor}.",
            "Use --mode per-volume, or another descriptor.",
        )
    population = bundle.card.get("population", {})
    if (
        STATISTICS in KINDS[config.descriptor]
        and tuple(population.get("statistics", ())) != STATISTIC_COLUMNS
    ):
        raise InputError(
            "no-population",
            f"The population mixture of the model {bundle.name} was fitted to other statistics of the lung.",
            "Use --mode per-volume, or a model made with this version.",
        )
    fitted = tuple(population.get("timesteps", config.timesteps))
    if DIFFUSION in KINDS[config.descriptor] and fitted != config.timesteps:
        told = ", ".join(str(t) for t in fitted)
        raise InputError(
            "no-population",
            f"The population mixture of the model {bundle.name} was fitted at other timesteps ({told}).",
            f"Use --timesteps {told.replace(' ', '')}, or --mode per-volume.",
        )


def looks_to(bundle: Bundle, prepared: Prepared, decoder: NDArray[np.float32]) -> NDArray[np.float32]:
    """What every half cell looks like, (n, 5), to a model too if it has a tissue head.

    Args:
        bundle: the model.
        prepared: the CT.
        decoder: :func:`.diffusion_features.network_features` of its half cells; not read without a head.
    """
    if not bundle.tissues:
        return prepared.looks
    return with_decoder(prepared.looks, prepared.parenchyma.half, decoder, HiddenLayer(**bundle.tissues))


def _features(prepared: Prepared, bundle: Bundle, config: Config, talk: Talk) -> NetworkFeatures:
    """The student's features of every cell; the decoder's of every half cell where the model has a head."""
    lungs = prepared.parenchyma
    return network_features(
        lungs.canonical,
        lungs.cells,
        lungs.half if bundle.tissues else None,
        bundle,
        timesteps=config.timesteps,
        decoder_timesteps=bundle.head_timesteps,
        overlap=config.overlap,
        seed=config.seed,
        device=config.device,
        talk=talk,
    )


def _population(bundle: Bundle, config: Config) -> dict[str, NDArray[Any]]:
    """The model's population mixture for the descriptor in use; empty if it has none."""
    prefix = f"{config.descriptor}."
    return {k.removeprefix(prefix): v for k, v in bundle.mixture.items() if k.startswith(prefix)}


def _provenance(
    prepared: Prepared, bundle: Bundle | None, config: Config, seconds: dict[str, float]
) -> dict[str, Any]:
    ct, air = prepared.ct, prepared.air
    return {
        "source": ct.source,
        "grid": describe_grid(ct.geometry),
        "created": now(),
        "notes": [*ct.notes, *prepared.lungs.notes, _air_note(prepared)],
        "air": {
            "measured_hu": air.measured_hu if math.isfinite(air.measured_hu) else None,
            "shift_hu": prepared.shift_hu,
            "source": air.source,
        },
        "model": describe_model(bundle),
        "config": asdict(config),
        "timings_s": {name: round(taken, 2) for name, taken in seconds.items()},
        "run": describe_software(_device(bundle, config), sum(seconds.values())),
    }


def _device(bundle: Bundle | None, config: Config) -> str:
    """Where the network ran; everything else runs on the CPU."""
    if bundle is None or DIFFUSION not in KINDS[config.descriptor]:
        return "cpu"
    from ..model.network import pick_device

    return str(pick_device(config.device))


def _air_note(prepared: Prepared) -> str:
    """What was done about the scanner's air, as a sentence."""
    air = prepared.air
    if math.isnan(air.measured_hu):
        return "No air was found to check the calibration with; HU were taken as they are."
    place = {"trachea": "in the trachea", "outside": "outside the body"}[air.source]
    measured = f"Air {place} reads {air.measured_hu:.0f} HU"
    if prepared.shift_hu:
        return f"{measured}; all HU were shifted by {prepared.shift_hu:+.0f} HU."
    return f"{measured}; HU were taken as they are{'' if prepared.correct_air else ', as asked'}."
