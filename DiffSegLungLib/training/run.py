"""One training command: prepare the CT, train or fine-tune, fit the population mixtures, write a bundle."""

from __future__ import annotations

import datetime
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import InputError
from ..model.archive import read
from ..talk import SILENT, Talk
from .finetune import FEW_VOLUMES, LEAST_VOLUMES, Parent, curve_of, made_before, register

if TYPE_CHECKING:
    from .candidates import Candidate
    from .ranks import Ranks
    from .run_folder import RunFolder
    from .settings import TrainingSettings
    from .store import PreparedVolume
    from .trainer import Trainer


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
        parent: the model to fine-tune, or None.
        resumed: whether the run goes on by what it remembers: sources that have vanished are not missed.
    """

    sources: tuple[Path, ...]
    out: Path
    settings: TrainingSettings
    name: str = "own"
    data_statement: str = "Not stated."
    device: str = "auto"
    minutes: float | None = None
    parent: Parent | None = None
    resumed: bool = False


@dataclass(frozen=True)
class TrainingSummary:
    """What came of a training: a place to look at, and a few lines for a person."""

    place: Path
    summary: str


def train(request: TrainingRequest, talk: Talk = SILENT) -> TrainingSummary:
    """Run the whole training, write its bundle, and install that where a model was fine-tuned.

    Started by ``torchrun``, the processes train together; the first one prepares the CT and writes.

    Raises:
        InputError: too few usable CT, another run or other settings than those in the folder, or a batch that
            the processes cannot share out evenly.
        Cancelled: asked to stop; the run can be resumed.
    """
    from ..model.network import pick_device
    from .curve import draw_curve
    from .ranks import joined

    with joined(pick_device(request.device)) as ranks:
        trainer, volumes, held_out = _trained(request, ranks, talk)
    run = trainer.run_folder
    if not trainer.ranks.writes:
        return TrainingSummary(run.bundle, "")
    draw_curve(run.entries(), request.settings, run.curve)
    talk.at("population").advance(0.0)
    if request.parent is not None and trainer.best.before and not trainer.best.best_step:
        return _no_better(request, trainer)
    _write_bundle(request, trainer, volumes, held_out, talk)
    if request.parent is None:
        run.finish(_result(request, trainer, str(run.bundle)))
        return TrainingSummary(run.bundle, f"The model is in {run.bundle}, its curve in {run.curve}.")
    model = register(run.bundle)
    run.finish(_result(request, trainer, model.name))
    return TrainingSummary(
        run.bundle,
        f"The new model is {model.name!r}, installed. {_compared(trainer)}\n"
        f"Use it with: --bundle '{model.name}'. Its curve is in {run.curve}.",
    )


def check(request: TrainingRequest, talk: Talk = SILENT) -> TrainingSummary:
    """Only prepare the CT, and say which of them can be trained on; a training in the same folder uses them.

    Raises:
        InputError: there is no CT at all, or a training has begun in the folder.
        Cancelled: asked to stop; what is prepared stays.
    """
    from .run_folder import RunFolder

    run = RunFolder(request.out)
    if run.checkpoint.is_file():
        raise InputError(
            "run-begun",
            f"The training in {run.folder.name} has begun: what it uses is in {run.cohort_file.name}.",
            "Name another folder with --out.",
        )
    run.claim()
    usable, refused = _prepare(request, run, talk)
    lines = [f"{len(usable)} of {len(usable) + len(refused)} CT can be trained on."]
    lines += [one.told for one in refused]
    return TrainingSummary(run.cohort_file, "\n".join(lines))


def _trained(
    request: TrainingRequest, ranks: Ranks, talk: Talk
) -> tuple[Trainer, list[PreparedVolume], list[PreparedVolume]]:
    """Prepare and train, in one process or in several; the trainer, all volumes, and those held out."""
    from ..model.bundle import Bundle
    from ..model.network import pick_device
    from .dataset import PatchDataset, PatchSettings, split_by_patient
    from .run_folder import RunFolder
    from .trainer import Trainer

    settings, run = request.settings, RunFolder(request.out)
    ranks.share_of(settings.batch)
    device = ranks.device(pick_device(request.device))
    patches = PatchSettings(settings.patch, settings.lesion_probability, seed=settings.seed)
    if request.parent is not None:
        Bundle.load(request.parent.place)  # what is wrong with it is said before the CT are prepared
    volumes = ranks.shared(lambda: _begun(request, run, talk))
    training, validation = split_by_patient(volumes, settings.validation_share, settings.seed)
    if request.parent is not None and ranks.writes:
        _say_what_to_expect(request.parent, volumes, validation, talk)
    trainer = Trainer(
        settings,
        PatchDataset(training, patches),
        PatchDataset(validation, replace(patches, seed=settings.seed + 1)) if validation else None,
        run,
        device,
        ranks=ranks,
        parent=None if request.parent is None else Bundle.load(run.parent),
    )
    begun, training_talk = time.monotonic(), talk.at("train")

    def log(step: int, _: dict[str, Any]) -> None:
        elapsed = (time.monotonic() - begun) / (60.0 * request.minutes) if request.minutes else 0.0
        training_talk.progress("train", max(step / settings.steps, elapsed), "")

    training_talk.progress("train", 0.0, "")
    trainer.fit(minutes=request.minutes, log=log, talk=training_talk)
    return trainer, volumes, validation


def _begun(request: TrainingRequest, run: RunFolder, talk: Talk) -> list[PreparedVolume]:
    """Remember what was asked for, and prepare the CT; the usable ones."""
    from .candidates import told

    run.claim()
    parent = request.parent
    asked = {
        "sources": [str(source.absolute()) for source in request.sources],
        "parent": None if parent is None else parent.words,
        "parent_sha256": None if parent is None else parent.identity["sha256"],
        "name": request.name,
        "data": request.data_statement,
        "device": request.device,
        "minutes": request.minutes,
    }
    begun = run.checkpoint.is_file()
    before = run.request() if begun else {}
    of_old = begun and not before
    known = before or {"sources": asked["sources"], "parent_sha256": None}
    for entry, other in (("sources", "other CT"), ("parent_sha256", "another parent")):
        if begun and known[entry] != asked[entry]:
            raise InputError(
                "run-differs",
                f"The run in {run.folder.name} was begun with {other}.",
                f"Go on with it by --resume {run.folder}, or name another folder with --out.",
            )
    run.agree_on(request.settings)
    if parent is not None and parent.place != run.parent and not begun:
        read(parent.place).write(run.parent)
    run.result.unlink(missing_ok=True)
    # A resumed run keeps what it was begun with; one of the first version is so until its CT are known.
    if not request.resumed and not of_old:
        run.remember_request(asked)
    if before:
        return _as_begun(request, run, talk)
    usable, refused = _prepare(request, run, talk, by_name=of_old)
    if of_old:
        run.remember_request(asked)
    least = 1 if parent is None else LEAST_VOLUMES
    if len(usable) < least:
        raise InputError(
            "no-volumes" if least == 1 else "too-few-volumes",
            told(len(usable), refused),
            "Give CT in HU." if least == 1 else f"Fine-tuning needs at least {least} CT in HU.",
        )
    if refused:
        talk.note(told(len(usable), refused))
    return usable


def _as_begun(request: TrainingRequest, run: RunFolder, talk: Talk) -> list[PreparedVolume]:
    """The CT that a training was begun with, and no others: with them its split would change."""
    from .store import prepared_before

    cohort = run.cohort()
    if not any(one.usable for one in cohort):
        raise run.damaged(run.cohort_file)
    return prepared_before(run.store, cohort, request.sources, talk.at("prepare"))


def _prepare(
    request: TrainingRequest, run: RunFolder, talk: Talk, *, by_name: bool = False
) -> tuple[list[PreparedVolume], list[Candidate]]:
    """Prepare every CT, and write after each what came of it."""
    from .store import prepare_store

    vanished = [source for source in request.sources if not source.exists()]
    if request.resumed and vanished:
        cohort = run.cohort()
        if any(one.usable for one in cohort):
            talk.note(f"{vanished[0]} has gone; the CT that were prepared before are used.")
            return _as_begun(request, run, talk), [one for one in cohort if not one.usable]

    preparing = talk.at("prepare")
    preparing.advance(0.0)
    usable, refused = prepare_store(
        list(request.sources), run.store, by_name=by_name, looked_at=run.remember_cohort, talk=preparing
    )
    for volume in usable:
        for note in volume.notes:
            talk.note(f"{volume.name}: {note}")
    if not usable and not refused:
        raise InputError(
            "no-volumes",
            f"There is no CT in {', '.join(source.name or str(source) for source in request.sources)}.",
            "Give NIfTI, NRRD or MetaImage files, or folders of DICOM files.",
        )
    return usable, refused


def _say_what_to_expect(
    parent: Parent, volumes: list[PreparedVolume], held_out: list[PreparedVolume], talk: Talk
) -> None:
    """Warn of what makes the outcome of a fine-tuning less certain."""
    if len(volumes) < FEW_VOLUMES:
        talk.note(
            f"{len(volumes)} CT are few: the model may fit them and suit others less. Ten or more are better."
        )
    if not held_out:
        talk.note(
            "No patient is held out: the training runs to its last step, and nobody can say whether the new "
            "model is better than its parent. A patients.csv (file, patient) tells patients apart."
        )
    known = sum(parent.trained_on(volume.fingerprint) for volume in held_out)
    if known:
        talk.note(
            f"{known} of the {len(held_out)} CT held out were among those that {parent.words} was trained "
            "on: its own numbers are flattered."
        )


def _write_bundle(
    request: TrainingRequest,
    trainer: Trainer,
    volumes: list[PreparedVolume],
    held_out: list[PreparedVolume],
    talk: Talk,
) -> None:
    """Fit the population mixtures and write the bundle, unless a call that was killed afterwards has."""
    from .population import fit_population

    training = [v for v in volumes if v not in held_out]
    bundle = trainer.bundle(_card(request, trainer, training, held_out))
    folder = trainer.run_folder.bundle
    if request.parent is not None and made_before(folder, bundle.card):
        return
    fit_population(
        bundle,
        volumes,
        device=request.device,
        talk=talk.at("population"),
    )
    bundle.save(folder)


def _no_better(request: TrainingRequest, trainer: Trainer) -> TrainingSummary:
    """A fine-tuning whose weights were never better than the parent's makes no model."""
    assert request.parent is not None
    run = trainer.run_folder
    run.finish(_result(request, trainer, request.parent.words))
    return TrainingSummary(
        run.result,
        f"No model was made: on the patients held out, none of {trainer.step} steps was better than "
        f"{request.parent.words}.\nTry more CT, more --steps, or another --learning-rate; "
        f"the curve is in {run.curve}.",
    )


def _compared(trainer: Trainer) -> str:
    before, after = trainer.best.before, trainer.best.after
    if not before:
        return "Nothing was held out to compare it with its parent."
    noise, found = "validation_noise", "retrieval_top5"
    return (
        f"Step {trainer.best.best_step} of {trainer.step} was the best: on the patients held out, noise L1 "
        f"{before[noise]:.4f} → {after[noise]:.4f}, own descriptor among the first five "
        f"{before[found]:.0%} → {after[found]:.0%}."
    )


def _result(request: TrainingRequest, trainer: Trainer, model: str) -> dict[str, Any]:
    """What ``result.json`` says."""
    return {
        "model": model,
        "parent": None if request.parent is None else request.parent.words,
        "best_step": _best_step(trainer),
        "steps": trainer.step,
        "stopped": trainer.ended_by,
        "before": trainer.best.before,
        "after": trainer.best.after,
    }


def _best_step(trainer: Trainer) -> int:
    return trainer.best.best_step if trainer.best.before else trainer.step


def _card(
    request: TrainingRequest,
    trainer: Trainer,
    training: list[PreparedVolume],
    validation: list[PreparedVolume],
) -> dict[str, Any]:
    """What a reader of the bundle has to know; fingerprints name the CT, never a patient."""
    entries = trainer.run_folder.entries()
    story: dict[str, Any] = {
        "steps": trainer.step,
        "hours": round(trainer.seconds / 3600, 2),
        "hardware": f"{trainer.ranks.count} × {trainer.device.type}, {platform.machine()}",
        "settings": request.settings.to_mapping(),
        "last": entries[-1] if entries else {},
    }
    if request.parent is not None:
        story |= {
            "best_step": _best_step(trainer),
            "stopped": trainer.ended_by,
            "before": trainer.best.before,
            "after": trainer.best.after,
            "curve": curve_of(entries),
        }
    return {
        "id": request.name,
        "version": "1",
        "library": __version__,
        "created": datetime.date.today().isoformat(),
        "intended_use": "Research only; not a medical device.",
        **({} if request.parent is None else {"parent": request.parent.identity}),
        "patch": list(request.settings.patch),
        "training": story,
        "data": {
            "statement": request.data_statement,
            "training_fingerprints": [v.fingerprint for v in training],
            "held_out_fingerprints": [v.fingerprint for v in validation],
            "population_mixture": "fitted to the cells of all of these volumes",
            "synthetic_lesions": request.settings.lesion_probability,
            "labels": "none",
        },
    }
