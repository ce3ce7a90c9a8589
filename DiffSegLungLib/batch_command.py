"""The command ``batch``: its options, and what it does with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .config import Config
from .errors import InputError
from .session import CASES_KEPT

if TYPE_CHECKING:
    from .commands import Work
    from .session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``batch`` beside the settings that it shares with ``segment``."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="CT",
        help="CT files, DICOM folders, or folders that are searched for both",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="receives a folder a case, and summary.csv; made if missing",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cases at a time (%(default)s)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results that come from other settings, another model or another CT",
    )


def work(options: argparse.Namespace, config: Config) -> Work:
    """The batch that the options ask for, as work for a session.

    Raises:
        InputError: fewer than one job.
    """
    if options.jobs < 1:
        raise InputError("bad-arguments", f"There cannot be {options.jobs} jobs.", "At least one is needed.")

    def segment_all(session: Session) -> None:
        session.kept = CASES_KEPT
        from .batch import BatchRequest, run_batch

        request = BatchRequest(
            sources=tuple(options.sources),
            output=options.output.expanduser(),
            config=config,
            bundle=options.bundle,
            jobs=options.jobs,
            overwrite=options.overwrite,
        )
        run_batch(request, session)

    return segment_all
