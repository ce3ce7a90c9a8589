"""Many CT, each in a process of its own: what fails, fails alone, and what is done is never done again."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config import Config
from ..errors import Cancelled, DiffSegLungError, InputError, not_written
from ..io.own_files import OUTPUT_FILES
from ..running.child import Child
from ..running.output_folder import OutputFolder, other_users, remove_stale
from ..running.session import CASES_KEPT
from .batch_summary import FILE, Row, read_rows, row, row_of_result, write_rows

if TYPE_CHECKING:
    from ..io.cohort import Case, PassedOver
    from ..running.session import Session, Work

GRACE_S = 3.5
"""What a cancelled batch needs: its cases take up to 2 s to clean up, and it ends after them."""

_POLL_S = 0.1
_SCRATCH = "batch"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass(frozen=True)
class BatchRequest:
    """What to segment, and how.

    Attributes:
        sources: CT files, DICOM folders, or folders that are searched for both.
        output: receives one folder a case, and ``summary.csv``.
        config: the settings of all cases.
        bundle: the model of all cases.
        jobs: cases at a time; the processor's cores are shared among them.
        overwrite: replace results of a case that come from other settings, another model or another CT.
    """

    sources: tuple[Path, ...]
    output: Path
    config: Config = field(default_factory=Config)
    bundle: str = "default"
    jobs: int = 1
    overwrite: bool = False


def run_batch(request: BatchRequest, session: Session) -> None:
    """Segment every case that is not done yet; the session's exit code becomes 1 where some could not be.

    Folders and archives that are no case get a row of their own, ``skipped``, which says why.

    Raises:
        InputError: no case, a model or settings that cannot work, an output folder that cannot be written or
            that another batch is writing into.
        Cancelled: asked to stop; finished cases and the summary stay.
    """
    session.plan({"start": 1.0, "cases": 99.0})
    session.grace_s = GRACE_S
    session.check("start")
    from ..io.cohort import search

    found = search(request.sources, leave_out=request.output, going_on=lambda: session.check("start"))
    model = _checked_model(request)
    session.output = _scratch(request.output)
    _Batch(request, session, found, model, session.output.path).run()


class _Batch:
    """One run of a batch; the rows of the summary are its state."""

    def __init__(
        self,
        request: BatchRequest,
        session: Session,
        found: tuple[list[Case], list[PassedOver]],
        model: str,
        scratch: Path,
    ) -> None:
        cases, passed = found
        self._request = request
        self._session = session
        self._cases = cases
        self._model = model
        self._scratch = scratch
        self._output = request.output.absolute()
        self._rows = {case.name: row(case.name, "waiting") for case in cases}
        self._skipped = [row(one.name, "skipped", one.reason) for one in passed]
        told = self._rows.keys() | {one.name for one in passed}
        self._others = [
            entry
            for entry in read_rows(self._output)
            if entry["case"] not in told and _is_folder(self._output / entry["case"])
        ]
        self._waiting: deque[Case] = deque()
        self._killed: set[Case] = set()
        self._fractions: dict[str, float] = {}
        self._settings = scratch / "config.json"
        try:
            self._settings.write_text(request.config.to_json(), encoding="utf-8")
        except OSError as error:
            raise not_written(f"The folder {self._output}", error) from error

    def run(self) -> None:
        """Sort out what is done, do the rest, say how it went."""
        self._waiting.extend(case for case in self._cases if self._is_to_do(case))
        before = sum(entry["status"] == "done" for entry in self._rows.values())
        self._fractions = {case.name: 0.0 for case in self._waiting}
        self._write()
        running: dict[Case, Child] = {}
        while self._waiting or running:
            if self._session.cancelled():
                self._waiting.clear()
                for child in running.values():
                    child.cancel()
            while self._waiting and len(running) < self._request.jobs:
                self._start(self._waiting.popleft(), running)
            for case, child in list(running.items()):
                self._follow(case, child)
                if not child.running:
                    del running[case]
                    self._settle(case, child.error)
            time.sleep(_POLL_S)
        if self._session.cancelled():
            raise Cancelled("the batch")
        self._write(last=True)
        self._tell(before)

    def _is_to_do(self, case: Case) -> bool:
        """Whether a case needs a run; says done or refused in its row where it does not."""
        self._session.check("start")
        folder = self._output / case.name
        if not all((folder / name).is_file() for name in OUTPUT_FILES):
            return True
        result = _read_result(folder)
        differences = self._differences(result, case)
        if result is not None and not differences:
            self._rows[case.name] = row_of_result(case.name, result)
            return False
        if self._request.overwrite:
            return True
        what = " and ".join(differences)
        self._note(case, "refused", f"Its folder holds a result of another {what}; --overwrite replaces it.")
        return False

    def _differences(self, result: dict[str, Any] | None, case: Case) -> list[str]:
        """In what a complete result differs from the one that is asked for."""
        if result is None:
            return ["format"]
        differences = []
        wanted = json.loads(self._request.config.to_json())
        had, model, run = (_mapping(result.get(key)) for key in ("config", "model", "run"))
        # The device changes no label: a cohort may be finished on another machine.
        changed = sorted(name for name in wanted if name != "device" and wanted[name] != had.get(name))
        if changed:
            differences.append(f"setting ({', '.join(changed)})")
        if model.get("sha256", "") != self._model:
            differences.append("model")
        if run.get("diffseglung") != __version__:
            differences.append("program version")
        from ..io.fingerprint import is_same_input

        if not is_same_input(case.path, result.get("input")):
            differences.append("CT")
        return differences

    def _start(self, case: Case, running: dict[Case, Child]) -> None:
        folder = self._scratch / case.name
        arguments = ["segment", str(case.path), "--output", str(self._output / case.name)]
        arguments += ["--config", str(self._settings), "--bundle", self._request.bundle]
        arguments += [
            flag
            for flag, given in (("--overwrite", self._request.overwrite), ("--debug", self._session.debug))
            if given
        ]
        child = Child(arguments, folder, environment=_threads(self._request.jobs))
        try:
            folder.mkdir(exist_ok=True)
            child.start()
        except OSError as error:
            self._settle(case, not_written(f"The folder {self._output}", error))
        except DiffSegLungError as error:
            self._settle(case, error)
        else:
            running[case] = child

    def _follow(self, case: Case, child: Child) -> None:
        for report in child.poll():
            self._fractions[case.name] = report.fraction
            self._progress(f"{case.name}: {report.stage}")
        log = child.new_log()
        if self._session.debug and log:
            self._session.display.note(log.rstrip())

    def _settle(self, case: Case, error: DiffSegLungError | None) -> None:
        """The row of a case that has ended."""
        if error is not None and error.code == "worker-died":
            remove_stale(self._output)
            if case not in self._killed and not self._session.cancelled():
                # Memory may have run out, or someone tidied up: neither need happen again.
                self._killed.add(case)
                self._waiting.append(case)
                self._session.display.note(f"{case.name}: {error.message} It is tried once more at the end.")
                return
        self._fractions[case.name] = 1.0
        result = _read_result(self._output / case.name) if error is None else None
        if result is not None:
            self._rows[case.name] = row_of_result(case.name, result)
        elif isinstance(error, Cancelled):
            # Whoever stopped it: it is not broken, and the next run takes it up.
            self._rows[case.name] = row(case.name, "cancelled", error.message)
        else:
            status = "refused" if error is not None and error.code == "output-exists" else "failed"
            message = error.message if error is not None else "Its result cannot be read."
            self._note(case, status, message)
        self._write()

    def _note(self, case: Case, status: Any, message: str) -> None:
        self._rows[case.name] = row(case.name, status, message)
        self._session.display.note(f"{case.name}: {message}")

    def _progress(self, text: str) -> None:
        done = sum(self._fractions.values()) / max(len(self._fractions), 1)
        self._session.progress("cases", done, text)

    def _write(self, *, last: bool = False) -> None:
        rows: list[Row] = [*self._rows.values(), *self._skipped, *self._others]
        try:
            write_rows(self._output, rows)
        except InputError:
            if last:  # before that, the next case writes it again
                raise

    def _tell(self, before: int) -> None:
        rows = list(self._rows.values())
        done = sum(entry["status"] == "done" for entry in rows)
        lines = [
            f"{done} of {len(rows)} cases are segmented" + (f", {before} of them before." if before else ".")
        ]
        told = [r for r in (*rows, *self._skipped) if r["status"] != "done"]
        lines += [f"{r['case']}: {r['status']}. {r['message']}" for r in told]
        self._session.exit_code = 0 if done == len(rows) else 1
        place = self._output / FILE
        self._session.display.result(str(place), "\n".join([*lines, f"Summary: {place}"]))


def _checked_model(request: BatchRequest) -> str:
    """SHA-256 of the model, empty where none is needed; settings that it cannot serve are refused once."""
    from ..segmentation.decision import needs_bundle
    from ..segmentation.pipeline import Segmenter

    if not needs_bundle(request.config):
        return ""
    return Segmenter(request.bundle, request.config).load_bundle().sha256


def _scratch(output: Path) -> OutputFolder:
    """A hidden folder in the output folder, which also tells other batches that this one is at work."""
    if output.is_file():
        raise InputError("output-is-a-file", f"The output {output} is a file.", "Name a folder with -o.")
    _refuse_company(output, other_users(output, _SCRATCH))
    scratch = OutputFolder(output / _SCRATCH, ())
    try:  # two that started together: each sees the other now, whoever was first
        others = [found for found in other_users(output.absolute(), _SCRATCH) if found != scratch.path]
        _refuse_company(output, others)
    except InputError:
        scratch.discard()
        raise
    return scratch


def _refuse_company(output: Path, others: list[Path]) -> None:
    if others:
        raise InputError(
            "batch-running",
            f"Another batch is writing into {output}.",
            f"Wait until it has ended; if there is none any more, remove {others[0].name} there.",
        )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # no file can have such a name
        return False


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _read_result(folder: Path) -> dict[str, Any] | None:
    """``result.json`` of a case, if it is one that the summary can use."""
    try:
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        row_of_result("", content)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return dict(content)


def _threads(jobs: int) -> dict[str, str]:
    """An equal share of the cores for each of several cases, unless the user has said otherwise."""
    if jobs == 1:
        return {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = str(max(1, cores // jobs))
    return {name: share for name in _THREADS if name not in os.environ}


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
