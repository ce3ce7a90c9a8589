"""``diffseglung train``: its options, and what it does with them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..config import Device
from ..errors import InputError
from ..model.archive import check_identity
from ..running.progress import Silent
from ..training import finetune
from ..training.run import TrainingRequest, check, train
from ..training.run_folder import RunFolder
from ..training.settings import FREE_SETTINGS, SIZES, Precision, TrainingSettings

if TYPE_CHECKING:
    from ..running.session import Session, Work

_DEFAULTS = {f.name: f.default for f in fields(TrainingSettings)}
_STAGE_SHARES = {"prepare": 5.0, "train": 90.0, "population": 5.0}

GRACE_S = 20.0
"""How long a training may take to stop after a signal, s: a step has to end, in all processes, before the
checkpoint is written. ``torchrun`` and SLURM wait 30 s before they kill."""

_NUMBERS = {
    "steps": "optimiser steps in all; ask for more to continue a finished run",
    "batch": "patches a step",
    "learning_rate": "of Adam",
    "cooldown": "last share of the steps, over which the learning rate falls to 0, 0 to 1",
    "stage_two": "step at which distillation begins",
    "full_weight": "step at which distillation has its full weight",
    "contrast_weight": "full weight of the distillation, 0 switches it off",
    "soft_bandwidth": "width of the soft positives in standard deviations, 0 makes them hard as in the paper",
    "lesion_probability": "share of patches with synthetic lesions",
    "validation_share": "share of the patients held out",
    "validate_every": "steps between validations",
    "seed": "seed of everything random",
    "workers": "processes that prepare patches",
    "checkpoint_minutes": "minutes between checkpoints",
}
_OF_THE_RUN = ("name", "data", "parent", "size", "patch", "dense", "detach")
"""Options that a resumed run remembers, beside the settings that may not change."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``train``; None stands for what was not given."""
    parser.add_argument(
        "sources", nargs="*", type=Path, metavar="CT_DIR", help="folders with CT, or single CT files"
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder of the run; resumed if it has begun")
    parser.add_argument(
        "--from",
        dest="parent",
        metavar="MODEL",
        help="fine-tune this model: a name, an id, a folder or zip, 'default' or 'built-in'",
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run as it was begun")
    parser.add_argument(
        "--check", action="store_true", help="only prepare the CT and say which can be trained on"
    )
    parser.add_argument(
        "--name", metavar="ID", help="identifier of the new model (own; of a fine-tuned one PARENT-tuned)"
    )
    parser.add_argument("--data", metavar="TEXT", help="the data and their licences, for the model's card")
    parser.add_argument(
        "--minutes", type=float, help="stop after this time; the same command goes on from there"
    )
    parser.add_argument("--device", choices=get_args(Device), help="where to train (auto)")
    group = parser.add_argument_group("training")
    group.add_argument("--size", choices=tuple(SIZES), help="width of the network: 16, 32 or 64 (large)")
    group.add_argument(
        "--patch",
        nargs=3,
        type=int,
        metavar=("Z", "Y", "X"),
        help="canonical voxels, multiples of 8, 16 and 16 (32 96 96)",
    )
    group.add_argument("--precision", choices=get_args(Precision), help="arithmetic of the network (auto)")
    for name, text in _NUMBERS.items():
        default = _DEFAULTS[name]
        tuned = finetune.DEFAULTS.get(name, default)
        told = f"{default}" if tuned == default else f"{default}; with --from {tuned}"
        group.add_argument(f"--{name.replace('_', '-')}", type=type(default), help=f"{text} ({told})")
    group.add_argument(
        "--patience",
        type=int,
        help="with --from: end after so many validations without a better score, 0 never "
        f"({finetune.DEFAULTS['patience']})",
    )
    group.add_argument(
        "--patch-descriptors",
        dest="dense",
        action="store_const",
        const=False,
        help="one descriptor a patch, as in the paper, not one a block",
    )
    group.add_argument(
        "--detach",
        action="store_const",
        const=True,
        help="cut the gradient of the distillation before the encoder (ablation)",
    )


def work(options: argparse.Namespace) -> Work:
    """The training that the options ask for, as work for a session.

    Raises:
        InputError: options that contradict each other, the run or the parent.
    """
    if options.minutes is not None and not options.minutes > 0:
        raise InputError("bad-setting", f"The minutes are {options.minutes}.", "They must be above 0.")
    request, note = _resumed(options) if options.resume is not None else _new(options)

    def train_model(session: Session) -> None:
        session.grace_s = GRACE_S
        session.kept = "What was done is kept: the same command goes on from there."
        from ..training import ranks

        if options.check and not ranks.writes():
            return
        if not ranks.writes():
            session.display = Silent()
        if note:
            session.display.note(note)
        session.plan({"prepare": 1.0} if options.check else _STAGE_SHARES)
        session.check("prepare")
        outcome = (check if options.check else train)(request, session.talk)
        session.display.result(str(outcome.place), outcome.summary)

    return train_model


def _new(options: argparse.Namespace) -> tuple[TrainingRequest, str]:
    """A run that begins, or goes on by the same command; and what there is to say about its parent."""
    if not options.sources or options.out is None:
        what = "CT to train on" if not options.sources else "--out"
        raise InputError("bad-arguments", f"The {what} is missing.", "See diffseglung train --help.")
    asked = _asked_settings(options)
    if options.parent is None:
        if "patience" in asked:
            raise InputError(
                "bad-arguments", "The option --patience needs --from.", "It ends a fine-tuning early."
            )
        parent, note, name, settings = None, "", options.name or "own", TrainingSettings(**asked)
        check_identity({"id": name, "version": "1"}, options.out.name)
    else:
        parent, note = finetune.choose_parent(options.parent)
        name, settings = options.name or parent.child, finetune.settings_for(parent, asked)
        finetune.check_child(name, options.out)
    request = TrainingRequest(
        sources=tuple(options.sources),
        out=options.out,
        settings=settings,
        name=name,
        data_statement=options.data or TrainingRequest.data_statement,
        device=options.device or TrainingRequest.device,
        minutes=options.minutes,
        parent=parent,
    )
    return request, note


def _resumed(options: argparse.Namespace) -> tuple[TrainingRequest, str]:
    """A run that goes on by what it remembers."""
    asked = _asked_settings(options)
    given = [name for name in _OF_THE_RUN if getattr(options, name) is not None]
    given += [name for name in asked if name not in FREE_SETTINGS and name not in given]
    extra = bool(options.sources or options.out or options.check)
    if extra or given:
        free = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(FREE_SETTINGS))
        raise InputError(
            "bad-arguments",
            "A resumed run goes on as it was begun.",
            f"Beside --resume only --minutes, --device and {free} are taken.",
        )
    folder: Path = options.resume
    run = RunFolder(folder) if folder.is_dir() else None
    known = run.request() if run is not None else {}
    if run is None or not known:
        old = run is not None and run.checkpoint.is_file()
        raise InputError(
            "no-run",
            f"There is no training to go on with in {folder}.",
            "An older version began the one there: give the command that began it."
            if old
            else "Begin one: CT... --out RUN.",
        )
    parent = None
    check_identity({"id": known["name"], "version": "1"}, folder.name)
    if known["parent"] is not None:
        parent = replace(finetune.choose_parent(str(run.parent.absolute()))[0], words=known["parent"])
        finetune.check_child(known["name"], folder)
    request = TrainingRequest(
        sources=tuple(Path(source) for source in known["sources"]),
        out=folder,
        settings=replace(run.settings(), **asked),
        name=known["name"],
        data_statement=known["data"],
        device=options.device or known["device"],
        minutes=options.minutes or known["minutes"],
        parent=parent,
        resumed=True,
    )
    return request, ""


def _asked_settings(options: argparse.Namespace) -> Mapping[str, Any]:
    """The settings that were given, by the names of :class:`TrainingSettings`."""
    asked = {name: getattr(options, name) for name in (*_NUMBERS, "precision", "patience", "dense", "detach")}
    asked["base"] = None if options.size is None else SIZES[options.size]
    asked["patch"] = None if options.patch is None else tuple(options.patch)
    return {name: value for name, value in asked.items() if value is not None}
