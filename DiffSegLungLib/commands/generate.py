"""The commands ``generate`` and ``fidelity``: their options, and what they do with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..config import Device

if TYPE_CHECKING:
    from ..running.session import Session, Work


def add_generate(parser: argparse.ArgumentParser) -> None:
    """The options of ``generate``."""
    parser.add_argument(
        "--lungs",
        type=Path,
        required=True,
        metavar="MASK",
        help="lung mask to fill, on any grid; any label above 0 counts",
    )
    parser.add_argument(
        "-n", "--count", type=int, default=1, metavar="N", help="number of samples (%(default)s)"
    )
    parser.add_argument("--ct", type=Path, metavar="CT", help="CT that stays outside the lungs (air)")
    parser.add_argument(
        "--overlap", type=float, default=0.25, help="share of a tile that its neighbour sees (%(default)s)"
    )
    parser.add_argument("--raw", action="store_true", help="samples uncompressed: for programs")
    _add_common(parser)


def add_fidelity(parser: argparse.ArgumentParser) -> None:
    """The options of ``fidelity``."""
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="CT", help="folders with CT of at least two patients"
    )
    parser.add_argument(
        "-n", "--count", type=int, default=64, metavar="N", help="patches of each kind (%(default)s)"
    )
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="keeps the prepared CT for the next time (a temporary one)"
    )
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results"
    )
    parser.add_argument(
        "--steps", type=int, default=25, metavar="N", help="steps of DPM-Solver++, 20..50 do (%(default)s)"
    )
    parser.add_argument(
        "--start",
        type=float,
        default=0.6,
        metavar="SHARE",
        help="share of the noise at which a sample begins; 1 is pure noise (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (%(default)s)")
    parser.add_argument(
        "--device", choices=get_args(Device), default="auto", help="where the network runs (%(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that are already there")


def _common(options: argparse.Namespace) -> dict[str, Any]:
    """What both requests are told in the same words."""
    return {
        name: getattr(options, name)
        for name in ("output", "count", "bundle", "steps", "start", "seed", "device", "overwrite")
    }


def generate_work(options: argparse.Namespace) -> Work:
    """The samples that the options ask for, as work for a session.

    Raises:
        InputError: a number outside its range.
    """
    from ..generation.samples import GenerationRequest, generate

    request = GenerationRequest(
        lungs=options.lungs.expanduser(),
        ct=None if options.ct is None else options.ct.expanduser(),
        overlap=options.overlap,
        raw=options.raw,
        **_common(options),
    )

    def work(session: Session) -> None:
        generate(request, session)

    return work


def fidelity_work(options: argparse.Namespace) -> Work:
    """The comparison with real CT that the options ask for, as work for a session.

    Raises:
        InputError: a number outside its range.
    """
    from ..evaluation.fidelity.run import FidelityRequest, measure

    request = FidelityRequest(
        sources=tuple(source.expanduser() for source in options.sources),
        store=None if options.store is None else options.store.expanduser(),
        **_common(options),
    )

    def work(session: Session) -> None:
        measure(request, session)

    return work
