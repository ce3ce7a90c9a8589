"""The processes that prepare patches: how each begins, and how what a killed one left behind is cleared.

They hand patches over through sockets in a temporary folder each, ``pymp-…``, which outlives a SIGKILL. A
file in it says whose it is; in a folder with a longer name the paths of sockets could become too long.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from multiprocessing import util
from pathlib import Path

import torch

from ..io.owners import owner_lives


def mark_of(run: Path, rank: int) -> str:
    """What one run's temporary folders are known by; the numbers of trainer and process follow."""
    return f"diffseglung-{hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:12]}-{rank}"


def beginning(mark: str) -> Callable[[int], None]:
    """How a process that this one starts for its patches begins."""
    return partial(_begin, f"{mark}-{os.getpid()}")


def clear(mark: str) -> None:
    """Remove the temporary folders of processes that are gone, and whose trainer is."""
    for left in Path(tempfile.gettempdir()).glob(f"pymp-*/{mark}-*"):
        owners = left.name.removeprefix(f"{mark}-").split("-")
        if all(pid.isdigit() and not owner_lives(int(pid), left) for pid in owners):
            shutil.rmtree(left.parent, ignore_errors=True)


def _begin(name: str, _number: int) -> None:
    """One thread, a marked folder, deaf to requests to stop.

    A request to stop goes to the whole group, but the trainer needs this process until it has written its
    checkpoint; the process ends with the trainer.
    """
    torch.set_num_threads(1)
    for request in (signal.SIGTERM, signal.SIGINT):
        signal.signal(request, signal.SIG_IGN)
    Path(util.get_temp_dir(), f"{name}-{os.getpid()}").touch()
