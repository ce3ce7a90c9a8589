"""Tasks for the tests of the pool: importable by a worker, and light."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Do:
    """Something to do: ``double``, ``fail``, ``die``, ``die once`` or ``sleep``."""

    what: str
    group: str = ""
    number: int = 0
    folder: str = ""


def do(task: Do) -> tuple[int, int]:
    """The doubled number and the process that doubled it."""
    if task.what == "fail":
        raise ValueError("it cannot be done")
    mark = Path(task.folder) / f"{task.group}-{task.number}"
    if task.what == "die" or (task.what == "die once" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    if task.what == "sleep":
        mark.write_text(str(os.getpid()))
        time.sleep(60)
    return 2 * task.number, os.getpid()


if __name__ == "__main__":
    from DiffSegLungLib.evaluation.pool import perform

    list(perform([Do("sleep", "a", 1, sys.argv[1]), Do("sleep", "b", 2, sys.argv[1])], do, jobs=2))
