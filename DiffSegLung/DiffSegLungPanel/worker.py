"""One library command in a process of its own, so that neither its memory nor its death is Slicer's."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from DiffSegLungLib.child import GRACE_S, Child
from DiffSegLungLib.errors import DiffSegLungError

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
