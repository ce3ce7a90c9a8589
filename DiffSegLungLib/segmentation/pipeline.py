"""The one path a CT takes: read, lungs, grid, features, mixture, labels, fusion (method.md 1, 5, 6)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy.air_offset import AirOffset, air_offset
from ..anatomy.cavities import find_cavities
from ..anatomy.lungs import lungs_from_mask, segment_lungs
from ..anatomy.vessels import vessel_mask
from ..config import Config
from ..errors import Cancelled, InputError
from ..grid.canonical import SPACING_ZYX, Canonical, working_volume
from ..grid.cells import DIFFUSION, STATISTICS, Cells, require_cells
from ..io.ct import CT, read_mask
from ..model.mixture import KINDS, Mixture
from .diffusion_features import diffusion_features
from .fusion import fuse
from .naming import cell_posterior, name_components
from .provenance import describe_grid, describe_model, describe_software, now
from .result import CellCache, Result
from .statistics import STATISTIC_COLUMNS, smoothed, statistics_features

if TYPE_CHECKING:
    from ..model.bundle import Bundle

__all__ = ["Result", "Segmenter"]


class Segmenter:
    """Segments one CT after another with one model and one set of settings.

    Args:
        bundle: the model, or as :meth:`.model.bundle.Bundle.load` takes it. It is loaded when first
            needed, and never when the settings do without (``statistics`` with ``per-volume``).
        config: the settings.
    """

    def __init__(self, bundle: Bundle | str | Path = "default", config: Config | None = None) -> None:
        self.config = config or Config()
        self._bundle = bundle

    def run(
        self,
        ct: CT | str | Path,
        *,
        lungs: NDArray[np.bool_] | str | Path | None = None,
        series: str | None = None,
        name: str = "",
        progress: Callable[[str, float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Segment a CT.

        Args:
            ct: a CT, or a path that :meth:`CT.read` takes.
            lungs: a lung mask that replaces the built-in one: bool (z, y, x) on the CT's grid, or a file.
            series: which series of a DICOM folder.
            name: what to call the CT in messages and the report, as :meth:`CT.read` takes it.
            progress: called with the stage's name and its own fraction, 0..1.
            cancelled: asked often; True stops the run.

        Raises:
            InputError: the CT, the mask or the model cannot be used.
            Cancelled: ``cancelled`` said so.
        """
        config = self.config
        stages = _Stages(progress, cancelled)

        with stages.begin("read"):
            # The CT first: a wrong file is then refused before torch and the model load.
            volume = ct if isinstance(ct, CT) else CT.read(ct, series=series, name=name)
            mask = read_mask(lungs, volume.geometry) if isinstance(lungs, (str, Path)) else lungs
            bundle = self.load_bundle() if needs_bundle(config) else None

        with stages.begin("lungs"):
            # What follows in this stage, the air, takes a tenth of its time.
            def found(fraction: float) -> None:
                stages.advance(0.9 * fraction)

            chest = segment_lungs(volume, found) if mask is None else lungs_from_mask(volume, mask)
            air = air_offset(volume, chest)
            shift_hu = air.shift_hu if config.correct_air else 0.0

        with stages.begin("grid"):
            canonical = working_volume(volume, chest, shift_hu=shift_hu)
            require_cells(canonical.lungs)
            smooth = smoothed(canonical.hu)

        with stages.begin("features"):
            vessels = vessel_mask(canonical.hu, canonical.lungs, SPACING_ZYX)
            cells, aeration = statistics_features(canonical, smooth, vessels)
            if bundle is not None and DIFFUSION in KINDS[config.descriptor]:
                cells = _with_student(cells, canonical, bundle, config, stages)

        with stages.begin("mixture"):
            mixture = _mixture(cells, bundle, config)
            responsibility = mixture.predict_proba(cells)

        with stages.begin("labels"):
            assignment = name_components(cells, responsibility)

        with stages.begin("fusion"):
            tissue = cell_posterior(cells, responsibility, assignment, config.component_weight)
            cavities = find_cavities(canonical.hu, canonical.lungs, SPACING_ZYX, canonical.slice_mm)
            stages.advance(0.3)
            fused = fuse(
                canonical,
                cells.fine or cells,
                tissue,
                aeration,
                config,
                smooth=smooth,
                vessels=vessels,
                cavities=cavities,
                progress=lambda fraction: stages.advance(0.3 + 0.5 * fraction),
                cancelled=stages.stop,
            )
            labels, entropy = fused.onto(volume.geometry, chest.mask, cancelled=stages.stop)

        return Result(
            ct=volume,
            lungs=chest,
            labels=labels,
            entropy=entropy,
            cells=CellCache(cells, canonical.geometry, mixture, responsibility, assignment),
            shift_hu=shift_hu,
            config=config,
            provenance={
                "source": volume.source,
                "grid": describe_grid(volume.geometry),
                "created": now(),
                "notes": [*volume.notes, _air_note(air, shift_hu, config)],
                "air": {"measured_hu": _finite(air.measured_hu), "shift_hu": shift_hu, "source": air.source},
                "model": describe_model(bundle),
                "config": asdict(config),
                "timings_s": {name: round(seconds, 2) for name, seconds in stages.timings.items()},
                "run": describe_software(_device(bundle, config), sum(stages.timings.values())),
            },
        )

    def load_bundle(self) -> Bundle:
        """The model, loaded once."""
        from ..model.bundle import Bundle

        if not isinstance(self._bundle, Bundle):
            self._bundle = Bundle.load(self._bundle)
        _check_fit(self.config, self._bundle)
        return self._bundle


def needs_bundle(config: Config) -> bool:
    """Whether the settings ask for anything that a trained model provides."""
    return DIFFUSION in KINDS[config.descriptor] or config.mode == "adapted"


class _Stages:
    """Progress, the request to stop, and the time each stage took."""

    def __init__(
        self, progress: Callable[[str, float], None] | None, cancelled: Callable[[], bool] | None
    ) -> None:
        self.timings: dict[str, float] = {}
        self._report = progress or (lambda stage, fraction: None)
        self._stop = cancelled or (lambda: False)
        self._stage = ""

    @contextmanager
    def begin(self, stage: str) -> Iterator[None]:
        """One stage: checked for a request to stop before and after, timed in between."""
        self._stage = stage
        self.advance(0.0)
        start = time.monotonic()
        yield
        self.timings[stage] = time.monotonic() - start
        self.advance(1.0)

    def advance(self, fraction: float) -> None:
        """Report that ``fraction`` of the present stage is done; stop here if asked to."""
        if self._stop():
            raise Cancelled(self._stage)
        self._report(self._stage, fraction)

    def stop(self) -> bool:
        """Whether the run was asked to stop."""
        return self._stop()


def _with_student(
    cells: Cells, canonical: Canonical, bundle: Bundle, config: Config, stages: _Stages
) -> Cells:
    """The cells with the student's features added."""
    features = diffusion_features(
        canonical,
        cells,
        bundle,
        timesteps=config.timesteps,
        overlap=config.overlap,
        seed=config.seed,
        device=config.device,
        progress=stages.advance,
        cancelled=stages.stop,
    )
    return cells.joined(features, DIFFUSION)


def _mixture(cells: Cells, bundle: Bundle | None, config: Config) -> Mixture:
    """A mixture of this volume alone, or the population's, adapted to it."""
    if config.mode == "per-volume" or bundle is None:
        kinds = KINDS[config.descriptor]
        return Mixture.fit(cells, kinds, config.components, covariance="diag", seed=config.seed)
    return Mixture.from_arrays(_population(bundle, config)).adapt(cells)


def _population(bundle: Bundle, config: Config) -> dict[str, NDArray[Any]]:
    """The model's population mixture for the descriptor in use; empty if it has none."""
    prefix = f"{config.descriptor}."
    return {k.removeprefix(prefix): v for k, v in bundle.mixture.items() if k.startswith(prefix)}


def _device(bundle: Bundle | None, config: Config) -> str:
    """Where the network ran; everything else runs on the CPU."""
    if bundle is None or DIFFUSION not in KINDS[config.descriptor]:
        return "cpu"
    from ..model.network import pick_device

    return str(pick_device(config.device))


def _check_fit(config: Config, bundle: Bundle) -> None:
    """Refuse settings that the model cannot serve, before anything is computed."""
    last = bundle.schedule.timesteps - 1
    if max(config.timesteps) > last:
        raise InputError(
            "bad-setting",
            f"The timestep {max(config.timesteps)} is beyond the model's last one.",
            f"The model {bundle.name} knows timesteps 1 to {last}.",
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


def _air_note(air: AirOffset, shift_hu: float, config: Config) -> str:
    """What was done about the scanner's air, as a sentence."""
    if math.isnan(air.measured_hu):
        return "No air was found to check the calibration with; HU were taken as they are."
    place = {"trachea": "in the trachea", "outside": "outside the body"}[air.source]
    measured = f"Air {place} reads {air.measured_hu:.0f} HU"
    if shift_hu:
        return f"{measured}; all HU were shifted by {shift_hu:+.0f} HU."
    return f"{measured}; HU were taken as they are{'' if config.correct_air else ', as asked'}."


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
