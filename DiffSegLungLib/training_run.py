"""One training command: prepare the CT, train both stages, fit the population mixtures, write a bundle."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .canonical import SPACING_ZYX, Canonical
from .config import Config
from .errors import InputError

if TYPE_CHECKING:
    from .model.bundle import Bundle
    from .training.ranks import Ranks
    from .training.settings import TrainingSettings
    from .training.store import PreparedVolume
    from .training.trainer import Trainer

POPULATION_COMPONENTS = 32
POPULATION_CELLS = 60_000
"""Cells of all volumes together, about, that the population mixtures are fitted to."""

POPULATION_LESIONS = 16


@dataclass(frozen=True)
class TrainingRequest:
    """What to train, on what, and where to.

    Attributes:
        sources: CT files, DICOM folders, or folders searched for both.
        out: the run's folder; an unfinished run there is resumed.
        settings: settings of the training.
        name: identifier of the bundle.
        data_statement: what the training data are and under which licence, for the card.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        minutes: time budget of this call, or None; the run can be resumed afterwards.
    """

    sources: tuple[Path, ...]
    out: Path
    settings: TrainingSettings
    name: str = "own"
    data_statement: str = "Not stated."
    device: str = "auto"
    minutes: float | None = None


def train(
    request: TrainingRequest,
    *,
    report: Callable[[str], None] = lambda _: None,
    progress: Callable[[str, float], None] = lambda *_: None,
    note: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Run the whole training and return the folder of the new bundle.

    Started by ``torchrun``, the processes train together; the first one prepares the CT and writes.

    Args:
        request: what to do.
        report: called with one line a prepared CT and one a line of the log.
        progress: called with the stage (``prepare``, ``train``, ``population``) and its share done, 0..1.
        note: called with what the user should know, once.
        cancelled: polled at every step; a checkpoint is kept.

    Raises:
        InputError: no usable CT, settings that differ from those the run was started with, or a batch that
            the processes cannot share out evenly.
        Cancelled: asked to stop; the run can be resumed.
    """
    from .model.network import pick_device
    from .training.curve import draw_curve
    from .training.ranks import joined

    with joined(pick_device(request.device)) as ranks:
        trainer, volumes, held_out = _trained(
            request, ranks, report=report, progress=progress, note=note, cancelled=cancelled
        )
    run = trainer.run_folder
    if not trainer.ranks.writes:
        return run.bundle
    draw_curve(run.entries(), request.settings, run.curve)

    progress("population", 0.0)
    training = [v for v in volumes if v not in held_out]
    bundle = trainer.bundle(_card(request, trainer, training, held_out))
    fit_population(
        bundle, volumes, device=request.device, progress=lambda share: progress("population", share)
    )
    bundle.save(run.bundle)
    return run.bundle


def _trained(
    request: TrainingRequest,
    ranks: Ranks,
    *,
    report: Callable[[str], None],
    progress: Callable[[str, float], None],
    note: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> tuple[Trainer, list[PreparedVolume], list[PreparedVolume]]:
    """Prepare and train, in one process or in several; the trainer, all volumes, and those held out."""
    from .model.network import pick_device
    from .training.dataset import PatchDataset, PatchSettings, split_by_patient
    from .training.run_folder import RunFolder
    from .training.store import prepare_store
    from .training.trainer import Trainer

    settings, run = request.settings, RunFolder(request.out)
    ranks.share_of(settings.batch)
    device = ranks.device(pick_device(request.device))

    def prepare() -> list[PreparedVolume]:
        run.agree_on(settings)
        progress("prepare", 0.0)
        usable, refused = prepare_store(list(request.sources), run.store, report=report, cancelled=cancelled)
        if usable:
            return usable
        reasons = f" The first one: {refused[0].name}: {refused[0].reason}" if refused else ""
        raise InputError(
            "no-volumes", f"None of the {len(refused)} CT found can be trained on.{reasons}", "Give CT in HU."
        )

    volumes = ranks.shared(prepare)
    training, validation = split_by_patient(volumes, settings.validation_share, settings.seed)
    patches = PatchSettings(settings.patch, settings.lesion_probability, seed=settings.seed)
    held_out = PatchSettings(settings.patch, settings.lesion_probability, seed=settings.seed + 1)
    trainer = Trainer(
        settings,
        PatchDataset(training, patches),
        PatchDataset(validation, held_out) if validation else None,
        run,
        device,
        ranks=ranks,
        note=note,
    )
    report(
        f"{len(training)} CT to train on, {len(validation)} held out; "
        f"{settings.steps} steps on {ranks.count} × {device.type}"
    )

    def log(step: int, entry: dict[str, Any]) -> None:
        progress("train", step / settings.steps)
        report(" ".join(f"{name}={value}" for name, value in entry.items()))

    trainer.fit(minutes=request.minutes, progress=log, cancelled=cancelled)
    return trainer, volumes, validation


def fit_population(
    bundle: Bundle,
    volumes: list[PreparedVolume],
    *,
    device: str = "auto",
    progress: Callable[[float], None] = lambda _: None,
) -> None:
    """Fit one population mixture for each descriptor to the cells of all volumes, and keep them.

    Every volume counts twice: as it is, and with synthetic lesions of the training's family, since the lungs
    trained on are mostly healthy and a tissue that no cell shows gets no component. What was inserted where
    is not kept: no label takes part, the mixtures describe what lungs look like to the features.
    """
    from .cells import DIFFUSION, Cells, pool
    from .features import STATISTIC_COLUMNS, diffusion_features, statistics_features
    from .mixture import KINDS, Mixture
    from .training.store import as_canonical

    config = Config()
    rng = np.random.default_rng(config.seed)
    every: list[Cells] = []
    for volume in volumes:
        healthy = as_canonical(volume)
        for canonical in (healthy, _made_ill(healthy, rng)):
            cells, _ = statistics_features(canonical)
            student = diffusion_features(
                canonical,
                cells,
                bundle,
                timesteps=config.timesteps,
                overlap=config.overlap,
                seed=config.seed,
                device=device,
            )
            share = POPULATION_CELLS / (2 * len(volumes) * len(cells))
            every.append(cells.joined(student, DIFFUSION).sample(rng.random(len(cells)) < share))
            progress(len(every) / (2 * len(volumes) + 1))
    population = pool(every)
    for descriptor, kinds in KINDS.items():
        mixture = Mixture.fit(population, kinds, POPULATION_COMPONENTS, seed=config.seed)
        bundle.mixture |= {f"{descriptor}.{name}": array for name, array in mixture.to_arrays().items()}
    bundle.card["population"] = {
        "timesteps": list(config.timesteps),
        "statistics": list(STATISTIC_COLUMNS),
        "components": POPULATION_COMPONENTS,
        "cells": len(population),
        "volumes": len(volumes),
        "synthetic_lesions": f"up to {POPULATION_LESIONS} in a second copy of every volume, unlabelled",
    }
    progress(1.0)


def _made_ill(canonical: Canonical, rng: np.random.Generator) -> Canonical:
    """The volume with lesions of random kinds at random places."""
    from .evaluation.lesions import insert_random

    hu, _ = insert_random(
        canonical.hu, canonical.lungs, SPACING_ZYX, rng, probability=1.0, most=POPULATION_LESIONS
    )
    return replace(canonical, hu=hu)


def _card(
    request: TrainingRequest,
    trainer: Trainer,
    training: list[PreparedVolume],
    validation: list[PreparedVolume],
) -> dict[str, Any]:
    """What a reader of the bundle has to know; fingerprints name the CT, never a patient."""
    return {
        "id": request.name,
        "version": "1",
        "library": __version__,
        "created": datetime.date.today().isoformat(),
        "intended_use": "Research only; not a medical device.",
        "patch": list(request.settings.patch),
        "training": {
            "steps": trainer.step,
            "hours": round(trainer.seconds / 3600, 2),
            "hardware": f"{trainer.ranks.count} × {trainer.device.type}, {platform.machine()}",
            "settings": request.settings.to_mapping(),
            "last": trainer.run_folder.entries()[-1],
        },
        "data": {
            "statement": request.data_statement,
            "training_fingerprints": [v.fingerprint for v in training],
            "held_out_fingerprints": [v.fingerprint for v in validation],
            "population_mixture": "fitted to the cells of all of these volumes",
            "synthetic_lesions": request.settings.lesion_probability,
            "labels": "none",
        },
    }
