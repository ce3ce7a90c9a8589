"""The command ``diffseglung``: what a user can ask for, and how it is spelled.

Nothing heavy is imported before a command runs, so that ``--help`` and wrong arguments answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from .. import __version__
from ..config import PRESETS, Config, Descriptor, Device, Mode
from ..errors import DiffSegLungError, InputError
from ..model.library import Library
from ..running.allocator import give_back_what_is_freed
from ..running.progress import Console, Display, JsonLines, private_stdout
from ..running.session import Session
from . import batch, demo, device, evaluate, generate, models, segment, train

if TYPE_CHECKING:
    from ..running.session import Work

_DESCRIPTION = """\
Segment lung pathology in chest CT without annotations: emphysema, ground glass, fibrosis, consolidation and
cavities, beside healthy lung and vessels. Research use only; not a medical device."""

_EPILOG = """\
examples:
  diffseglung demo                            generate a chest CT and segment it
  diffseglung segment ct.nii.gz -o result     labels, uncertainty, tables and a report
  diffseglung segment DICOM_FOLDER -o result --preset fast
  diffseglung batch COHORT -o results         every CT below a folder; again: only what is missing

exit codes: 0 done, 2 bad input, 3 cancelled, 4 out of memory, 1 anything else"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if argv is None:
        _open_what_is_closed()
        _print_whatever_comes()
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        options = _parser().parse_args(models.with_action(arguments))
        note = _choose_model(options)
        work = options.work(options)
    except DiffSegLungError as error:
        return _refuse(error, json_progress="--json-progress" in arguments)

    alone = argv is None and options.command == "segment"
    if alone:
        give_back_what_is_freed()

    def run(display: Display) -> int:
        if note:
            display.note(note)
        return Session(
            display,
            debug=options.debug,
            owns_process=argv is None,
            stop_with_stdin=options.stop_with_stdin,
        ).run(work)

    if options.json_progress:
        with private_stdout() as stream:
            code = run(JsonLines(stream))
    else:
        code = run(Console(quiet=options.quiet))
    if alone:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """End the process at once: taking the interpreter apart, with torch loaded, takes half a second.

    Returns where a reader of the output has gone: Python then says so, as after any other command.
    """
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _open_what_is_closed() -> None:
    """Standard streams that lead nowhere for a program begun without: files would get their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for good


def _print_whatever_comes() -> None:
    """Show letters that a redirected output lacks (Windows knows few) by their numbers."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """Wrong arguments become the same kind of error as any other wrong input."""

    def error(self, message: str) -> NoReturn:
        raise InputError("bad-arguments", f"{message[:1].upper()}{message[1:]}.", f"See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="diffseglung",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"diffseglung {__version__}")
    names = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    added = names.add_parser("segment", help="segment the lungs of a CT")
    _add_segment(added)
    added.set_defaults(work=_segment)

    added = names.add_parser("batch", help="segment many CT, each in a process of its own; resumable")
    batch.add_arguments(added)
    _add_settings(added)
    _add_session(added)
    added.set_defaults(work=lambda options: batch.work(options, config_from(options)))

    added = names.add_parser("demo", help="generate a chest CT with lesions and segment it")
    added.add_argument(
        "-o", "--output", type=Path, default=Path("diffseglung-demo"), metavar="DIR", help=_OUTPUT
    )
    added.add_argument("--overwrite", action="store_true", help="replace the results of an earlier demo")
    _add_settings(added)
    _add_session(added)
    added.set_defaults(work=_demo)

    added = names.add_parser("phantom", help="generate a chest CT with lesions, and its truth")
    added.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=_OUTPUT)
    added.add_argument("--raw", action="store_true", help="the CT uncompressed: for programs")
    added.add_argument("--overwrite", action="store_true", help="replace an earlier one")
    added.add_argument("--seed", type=int, default=0, metavar="N", help="which chest (%(default)s)")
    _add_session(added)
    added.set_defaults(
        work=lambda options: demo.phantom(
            options.output, Config(seed=options.seed).seed, raw=options.raw, overwrite=options.overwrite
        )
    )

    added = names.add_parser("device", help="try a model on a device: does it run, and how fast")
    added.add_argument(
        "--device", choices=get_args(Device), default="auto", help="which device (%(default)s)"
    )
    _add_bundle(added)
    _add_session(added)
    added.set_defaults(work=lambda options: device.device(options.device, options.bundle))

    added = names.add_parser("evaluate", help="measure a model beside its rivals; resumable")
    evaluate.add_arguments(added)
    _add_settings(added)
    _add_session(added)
    added.set_defaults(work=lambda options: evaluate.work(options, config_from(options)))

    added = names.add_parser("generate", help="draw CT for a lung mask from a model")
    generate.add_generate(added)
    _add_bundle(added)
    _add_session(added)
    added.set_defaults(work=generate.generate_work)

    added = names.add_parser("fidelity", help="measure how close drawn CT are to real ones")
    generate.add_fidelity(added)
    _add_bundle(added)
    _add_session(added)
    added.set_defaults(work=generate.fidelity_work)

    added = names.add_parser("models", help="list, show, compare, import, export and delete models")
    models.add_arguments(added, _add_session)

    added = names.add_parser("train", help="train a model on CT, without labels")
    train.add_arguments(added)
    _add_session(added)
    added.set_defaults(work=train.work)
    return parser


def _segment(options: argparse.Namespace) -> Work:
    return segment.segment(
        options.ct,
        options.output,
        config_from(options),
        bundle=options.bundle,
        lungs=options.lungs,
        series=options.series,
        name=options.name,
        raw=options.raw,
        overwrite=options.overwrite,
    )


def _demo(options: argparse.Namespace) -> Work:
    return demo.demo(options.output, config_from(options), bundle=options.bundle, overwrite=options.overwrite)


_OUTPUT = "folder for the results; made if missing"


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ct", type=Path, metavar="CT", help="NIfTI, NRRD or MetaImage file, or a DICOM folder"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=_OUTPUT)
    parser.add_argument(
        "--lungs", type=Path, metavar="MASK", help="your own lung mask; any label above 0 counts"
    )
    parser.add_argument("--series", metavar="UID", help="which series of a DICOM folder, by number or UID")
    parser.add_argument(
        "--name",
        default="",
        metavar="NAME",
        help="what to call the CT in messages and the report (its file's name)",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="only label maps, uncompressed, and result.json: for programs",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that are already there")
    _add_settings(parser)
    _add_session(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Options that end up in :class:`Config`; what is not given keeps the preset's value."""
    group = parser.add_argument_group("settings")
    group.add_argument("--preset", choices=tuple(PRESETS), help="speed against care (balanced)")
    group.add_argument(
        "--config", type=Path, metavar="JSON", help="file with settings; options here win over it"
    )
    _add_bundle(group)
    group.add_argument(
        "--sensitivity",
        type=_number,
        metavar="S",
        help="how readily lung is called diseased, 0 to 1: 0.25 cautious, 0.5 balanced, 0.75 sensitive",
    )
    group.add_argument("--descriptor", choices=get_args(Descriptor), help="what describes a piece of lung")
    group.add_argument(
        "--mode", choices=get_args(Mode), help="mixture of this CT alone, or the model's, adapted"
    )
    group.add_argument(
        "--timesteps", metavar="T,T,…", help="noise levels of the diffusion features, e.g. 50,100"
    )
    group.add_argument("--components", type=int, metavar="K", help="mixture components; 0 lets BIC choose")
    group.add_argument("--seed", type=int, metavar="N", help="seed of the noise and the mixture (0)")
    group.add_argument("--device", choices=get_args(Device), help="where the network runs (auto)")
    group.add_argument("--no-air-correction", action="store_true", help="take the HU as they are")


def _add_bundle(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--bundle",
        default="default",
        metavar="MODEL",
        help="name of an installed model, or a folder or zip (the default of 'diffseglung models')",
    )


def _choose_model(options: argparse.Namespace) -> str:
    """Put the place of a model for its name; one sentence when the user's default model has gone.

    Raises:
        InputError: there is no such model.
    """
    if not hasattr(options, "bundle"):
        return ""
    choice = Library().choose(options.bundle)
    options.bundle, options.bundle_words = choice.place, choice.words
    return choice.note


def _add_session(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json-progress", action="store_true", help="one JSON object a line on standard output"
    )
    group.add_argument("--stop-with-stdin", action="store_true", help="cancel when standard input is closed")
    group.add_argument("-q", "--quiet", action="store_true", help="print nothing but the result's place")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error, and warnings")


def config_from(options: argparse.Namespace) -> Config:
    """The settings that the options ask for: file first, then the preset, then single options.

    Raises:
        InputError: an unreadable file, an unknown setting or a value out of range.
    """
    entries: dict[str, Any] = {}
    if options.config is not None:
        entries = _read_settings(options.config)
    if options.preset is not None:
        entries["preset"] = options.preset
    for name in ("sensitivity", "descriptor", "mode", "components", "seed", "device"):
        if getattr(options, name) is not None:
            entries[name] = getattr(options, name)
    if options.timesteps is not None:
        entries["timesteps"] = _whole_numbers(options.timesteps)
    if options.no_air_correction:
        entries["correct_air"] = False
    return Config.from_mapping(entries)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(
            "bad-config", f"The settings file {path.name} cannot be read ({reason}).", "Give a JSON file."
        ) from error
    Config.from_json(text)  # refuses by name what it does not know
    return dict(json.loads(text))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"“{text}” is not a number") from None


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise InputError(
            "bad-setting", f"The timesteps '{text}' are not whole numbers.", "Write them as in 50,100,150."
        ) from error


def _refuse(error: DiffSegLungError, *, json_progress: bool) -> int:
    if json_progress:
        JsonLines(sys.stdout).error(error)
    else:
        Console().error(error)
    return error.exit_code
