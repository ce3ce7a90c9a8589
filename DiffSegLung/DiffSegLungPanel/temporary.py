"""Private folders for one run each: always removed, also those that a crashed Slicer left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import slicer

_PREFIX = "DiffSegLung-"


@contextlib.contextmanager
def temporaryFolder() -> Iterator[Path]:
    """A folder that only this user can read, inside Slicer's temporary folder, gone at the end."""
    home = Path(slicer.app.temporaryPath)
    home.mkdir(parents=True, exist_ok=True)
    _removeStale(home)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=home))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder; Windows keeps files of a process that has just died for a moment."""
    for _attempt in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def _removeStale(home: Path) -> None:
    """Remove what a Slicer that is no longer alive left behind; without psutil nobody can tell."""
    try:
        import psutil
    except ImportError:
        return
    for folder in home.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
