"""The command ``evaluate``: its options, and what it does with them."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import InputError
from ..model.library import BUILT_IN, Library
from ..running.session import CASES_KEPT

if TYPE_CHECKING:
    from ..evaluation.harness import Ablations
    from ..running.session import Session, Work

_SUITES = ("phantom", "lesions", "real", "regions", "lungs", "ablation", "all")

_SPELLED = (
    *("data", "output", "cases", "methods", "undistilled", "config", "preset", "descriptor", "mode"),
    *("timesteps", "components", "seed", "sensitivity"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate`` beside the settings that it shares with ``segment``."""
    parser.add_argument(
        "ct", nargs="*", type=Path, metavar="CT", help="CT files or DICOM folders, one by one"
    )
    parser.add_argument(
        "--suite",
        choices=_SUITES,
        default="phantom",
        help="generated chests, lesions in real lungs, real CT without labels, real slices that were read "
        "square by square, lung masks, ablations (%(default)s)",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder that is searched for CT")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="receives tables, plots and a file a case; the same command goes on where it was stopped",
    )
    parser.add_argument(
        "--cases",
        type=int,
        metavar="N",
        help="at most so many of each suite, evenly spread (all; 4 chests, 6 for the ablation)",
    )
    parser.add_argument(
        "--jobs", type=int, default=_cores(), metavar="N", help="cases at a time (%(default)s, one a core)"
    )
    parser.add_argument(
        "--methods", metavar="NAME,NAME,…", help="only these, where the truth is known (all; see the tables)"
    )
    parser.add_argument(
        "--undistilled",
        metavar="MODEL",
        help="model trained by noise prediction alone: adds the rival that takes its features",
    )
    parser.add_argument(
        "--train",
        action="store_true",
        help="ablation: also make the short trainings that are missing, which takes hours",
    )


def work(options: argparse.Namespace, config: Config) -> Work:
    """The evaluation that the options ask for, as work for a session.

    Raises:
        InputError: fewer than one job or case; CT missing, or given to a suite that takes none.
    """
    for name, value in (("jobs", options.jobs), ("cases", options.cases)):
        if value is not None and value < 1:
            raise InputError("bad-arguments", f"There cannot be {value} {name}.", "At least one is needed.")

    given = bool(options.ct) or options.data is not None
    if given == (options.suite == "phantom"):
        seen = "takes no CT" if given else "needs CT and got none"
        needed = "Choose another with --suite." if given else "Name a folder with --data, or CT files."
        raise InputError("bad-arguments", f"The suite {options.suite} {seen}.", needed)

    def evaluate(session: Session) -> None:
        session.kept = CASES_KEPT
        from ..evaluation.harness import EvaluationRequest, run_evaluation
        from ..evaluation.suites import chosen_suites

        sources = [*options.ct, *([options.data] if options.data is not None else [])]
        request = EvaluationRequest(
            suites=chosen_suites(options.suite),
            sources=tuple(source.expanduser() for source in sources),
            output=options.output.expanduser().absolute(),
            config=config,
            bundle=options.bundle,
            jobs=options.jobs,
            cases=options.cases,
            methods=tuple(name.strip() for name in (options.methods or "").split(",") if name.strip()),
            undistilled=options.undistilled and Library().choose(options.undistilled).place,
            train=options.train,
            command=spelled(options),
        )
        run_evaluation(request, session, _ablations)

    return evaluate


def _ablations() -> Ablations:
    """What measures the ablations; it needs torch, which the lung mask does without."""
    from ..evaluation.ablation.run import run_ablation

    return run_ablation


def spelled(options: argparse.Namespace) -> str:
    """The command with all that has a part in its numbers, as a user would type it."""
    words = ["diffseglung", "evaluate", "--suite", options.suite]
    words += [str(path) for path in options.ct]
    for name in _SPELLED:
        if getattr(options, name) is not None:
            words += [f"--{name}", str(getattr(options, name))]
    if options.bundle != BUILT_IN:
        words += ["--bundle", options.bundle_words]
    words += [
        f"--{name.replace('_', '-')}" for name in ("train", "no_air_correction") if getattr(options, name)
    ]
    return shlex.join(words)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
