"""The processes that prepare patches: how each begins, and how what a killed one left behind is cleared."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from multiprocessing import util
from pathlib import Path

import torch

from ..outputs import owner_lives


def mark_of(run: Path, rank: int) -> str:
    """What the temporary folders of one run's processes are called; the process' number follows."""
    return f"diffseglung-{hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:12]}-{rank}"


def begin(mark: str, _number: int) -> None:
    """Begin a process: one thread, sockets where :func:`clear` finds them, deaf to requests to stop.

    Patches are handed over through sockets in the temporary folder, which outlive a SIGKILL. A request to
    stop goes to the whole group, but the trainer needs this process until it has written its checkpoint;
    the process ends with the trainer.
    """
    torch.set_num_threads(1)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    place = tempfile.mkdtemp(prefix=f"{mark}-{os.getpid()}-")
    util.Finalize(None, shutil.rmtree, (place, True), exitpriority=-200)  # after multiprocessing's own, -100
    tempfile.tempdir = place


def clear(mark: str) -> None:
    """Remove the temporary folders of processes that are gone."""
    for left in Path(tempfile.gettempdir()).glob(f"{mark}-*"):
        pid = left.name.removeprefix(f"{mark}-").split("-")[0]
        if pid.isdigit() and not owner_lives(int(pid), left):
            shutil.rmtree(left, ignore_errors=True)
