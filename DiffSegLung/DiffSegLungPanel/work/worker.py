"""One library command in a process of its own, so that neither its memory nor its death is Slicer's."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.running.child import GRACE_S, Child

from .tasks import CancelRequested, TaskProgress

__all__ = ["GRACE_S", "Progress", "Worker", "pythonExecutable"]


@dataclass(frozen=True)
class Progress:
    """Stage of the library, fraction of the whole run (0..1), seconds left (None: not known yet)."""

    stage: str
    fraction: float
    etaS: float | None


class Worker:
    """One library command in a process of its own, spoken to over the JSON-lines protocol.

    Nothing here blocks, and no thread is used: call :meth:`poll` from a timer until ``isRunning`` is False,
    then look at ``result`` or ``error``. When this process dies, the command notices and stops by itself.

    Args:
        arguments: of ``diffseglung``, e.g. ``["segment", ct, "-o", folder, "--preset", "fast"]``.
        folder: an existing private folder for the protocol and the log; the caller removes it.
        python: interpreter; :func:`pythonExecutable` by default.
        graceS: how long it may take to clean up once it is cancelled, s; then its whole tree is killed.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        python: str | None = None,
        graceS: float = GRACE_S,
    ) -> None:
        python = python or pythonExecutable()
        self._child = Child(arguments, Path(folder), python=python, background=True, grace_s=graceS)

    @property
    def isRunning(self) -> bool:
        """True from :meth:`start` until :meth:`poll` or :meth:`kill` has seen the end."""
        return self._child.running

    @property
    def result(self) -> str | None:
        """What the command gave back: for ``segment`` the path of the folder with the results."""
        return self._child.result

    @property
    def error(self) -> DiffSegLungError | None:
        """Why there is no result; ``Cancelled`` after :meth:`cancel` or :meth:`kill`."""
        return self._child.error

    @property
    def exitCode(self) -> int | None:
        """Exit code of the process; negative for a signal; None while it runs."""
        return self._child.exit_code

    @property
    def pid(self) -> int | None:
        """Process id, once started."""
        return self._child.pid

    def start(self) -> None:
        """Start the command.

        Raises:
            DiffSegLungError: ``worker-not-started``.
        """
        self._child.start()

    def poll(self) -> list[Progress]:
        """Progress since the last call, often none; never blocks."""
        return [Progress(r.stage, r.fraction, r.eta_s) for r in self._child.poll()]

    def cancel(self) -> None:
        """Ask the command to stop and clean up; :meth:`poll` kills its whole tree after ``graceS``."""
        self._child.cancel()

    def kill(self) -> None:
        """End the command and all it started, at once; returns when they are gone."""
        self._child.kill()

    def newLog(self) -> str:
        """What the command wrote to standard error since the last call."""
        return self._child.new_log()


def pythonExecutable() -> str:
    """PythonSlicer of the running application, which sets up its libraries; else this very interpreter."""
    try:
        import slicer

        home = Path(slicer.app.slicerHome)
    except (ImportError, AttributeError):
        return sys.executable
    launcher = home / "bin" / ("PythonSlicer.exe" if os.name == "nt" else "PythonSlicer")
    # A build tree has it elsewhere, but Slicer always puts it on the path.
    return str(launcher) if launcher.is_file() else shutil.which("PythonSlicer") or sys.executable


def workerSteps(
    arguments: list[str],
    folder: Path,
    *,
    check: Callable[[], None] = lambda: None,
    graceS: float = GRACE_S,
) -> Generator[TaskProgress | str | None, None, str]:
    """Run one library command to its end and pass on its progress and log.

    Args:
        arguments: the command and its options.
        folder: private folder of this run.
        check: called at every poll; what it raises stops the command.
        graceS: how long it may take to clean up once it is cancelled, s.

    Returns:
        What the command gave as its result.

    Raises:
        DiffSegLungError: what the command said went wrong.
        Cancelled: it was cancelled.
    """
    worker = Worker(arguments, folder, graceS=graceS)
    try:
        worker.start()
        while worker.isRunning:
            check()
            for news in _newsOf(worker):
                try:
                    yield news
                except CancelRequested:
                    worker.cancel()
    finally:
        worker.kill()
    if worker.error is not None:
        raise worker.error
    return worker.result or ""


def _newsOf(worker: Worker) -> list[TaskProgress | str | None]:
    """What the worker said since the last poll; one None when it said nothing."""
    news: list[TaskProgress | str | None] = [
        TaskProgress(stageName(said.stage), said.fraction, said.etaS) for said in worker.poll()
    ]
    return [*news, worker.newLog() or None]


def stageName(stage: str) -> str:
    """What a stage of the library does, for people; a case's name before a colon is kept (batch)."""
    case, colon, name = stage.rpartition(": ")
    names = {
        "start": _("Starting"),
        "read": _("Reading the CT"),
        "lungs": _("Finding the lungs"),
        "grid": _("Preparing the lungs"),
        "statistics": _("Measuring the lungs"),
        "features": _("Computing features"),
        "mixture": _("Clustering"),
        "fusion": _("Refining the borders"),
        "output": _("Measuring and writing"),
        "sample": _("Drawing the samples"),
        "phantom": _("Generating a CT"),
        "prepare": _("Preparing the scans"),
        "train": _("Training"),
        "validate": _("Testing on the held-out CT"),
        "population": _("Fitting the mixture of tissues"),
    }
    return f"{case}{colon}{names.get(name, name)}"
