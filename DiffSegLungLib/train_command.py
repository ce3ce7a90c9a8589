"""``diffseglung train``: its options, and what it does with them."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from .config import Device
from .progress import Silent
from .training.settings import Precision, TrainingSettings

if TYPE_CHECKING:
    from .commands import Work
    from .session import Session

_DEFAULTS = {f.name: f.default for f in fields(TrainingSettings)}
_STAGE_SHARES = {"prepare": 5.0, "train": 90.0, "population": 5.0}
_BASES = {"small": 16, "medium": 32, "large": 64}

_GRACE_TOGETHER_S = 20.0
"""How long processes that train together may take to stop after a signal, s: a step has to end in all of them
before the checkpoint is written. ``torchrun`` and SLURM wait 30 s before they kill."""

_NUMBERS = {
    "steps": "optimiser steps in all; ask for more to continue a finished run",
    "batch": "patches a step",
    "learning_rate": "of Adam",
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``train``."""
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="CT_DIR", help="folders with CT, or single CT files"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="folder of the run; resumed if it has begun"
    )
    parser.add_argument("--name", default="own", help="identifier of the new model (%(default)s)")
    parser.add_argument(
        "--data",
        default="Not stated.",
        metavar="TEXT",
        help="the data and their licences, for the model's card",
    )
    parser.add_argument(
        "--minutes", type=float, help="stop after this time; the same command goes on from there"
    )
    parser.add_argument(
        "--device", choices=get_args(Device), default="auto", help="where to train (%(default)s)"
    )
    group = parser.add_argument_group("training")
    group.add_argument(
        "--size",
        choices=tuple(_BASES),
        default="large",
        help="width of the network: 16, 32 or 64 (%(default)s)",
    )
    group.add_argument(
        "--patch",
        nargs=3,
        type=int,
        default=_DEFAULTS["patch"],
        metavar=("Z", "Y", "X"),
        help="canonical voxels, multiples of 8, 16 and 16 (32 96 96)",
    )
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="auto",
        help="arithmetic of the network (%(default)s)",
    )
    for name, text in _NUMBERS.items():
        default = _DEFAULTS[name]
        group.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"{text} (%(default)s)"
        )
    group.add_argument(
        "--patch-descriptors",
        action="store_true",
        help="one descriptor a patch, as in the paper, not one a block",
    )
    group.add_argument(
        "--detach",
        action="store_true",
        help="cut the gradient of the distillation before the encoder (ablation)",
    )


def work(options: argparse.Namespace) -> Work:
    """The training that the options ask for, as work for a session."""
    settings = TrainingSettings(
        base=_BASES[options.size],
        patch=tuple(options.patch),
        precision=options.precision,
        dense=not options.patch_descriptors,
        detach=options.detach,
        **{name: getattr(options, name) for name in _NUMBERS},
    )

    def train_model(session: Session) -> None:
        from .training import ranks

        if ranks.launched():
            session.grace_s = _GRACE_TOGETHER_S
        if not ranks.writes():
            session.display = Silent()
        session.plan(_STAGE_SHARES)
        session.check("prepare")
        from .training_run import TrainingRequest, train

        request = TrainingRequest(
            sources=tuple(options.sources),
            out=options.out,
            settings=settings,
            name=options.name,
            data_statement=options.data,
            device=options.device,
            minutes=options.minutes,
        )
        bundle = train(
            request, progress=session.progress, note=session.display.note, cancelled=session.cancelled
        )
        summary = f"The model is in {bundle}, its curve in {options.out / 'loss.png'}."
        session.display.result(str(bundle), summary)

    return train_model
