"""Private folders for one run each: always removed, also those that a crashed Slicer left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from DiffSegLungLib.io.owners import owner_lives

from ..places import notWritten, temporaryPath

_PREFIX = "DiffSegLung-"


@contextlib.contextmanager
def temporaryFolder() -> Iterator[Path]:
    """A folder that only this user can read, inside Slicer's temporary folder, gone at the end.

    Raises:
        InputError: code ``not-written``, there can be none.
    """
    home = temporaryPath()
    try:
        home.mkdir(parents=True, exist_ok=True)
        _removeStale(home)
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=home))
    except OSError as error:
        raise notWritten(home, error) from error
    try:
        yield folder
    finally:
        _remove(folder)


def writeText(path: Path, text: str) -> None:
    """Write a small file for the worker.

    Raises:
        InputError: code ``not-written``.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise notWritten(path, error) from error


def _remove(folder: Path) -> None:
    """Remove a folder; Windows keeps files of a process that has just died for a moment."""
    for _attempt in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def _removeStale(home: Path) -> None:
    """Remove what a Slicer that is no longer alive left behind; without psutil nobody can tell."""
    for folder in home.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        with contextlib.suppress(ImportError):
            if pid.isdigit() and not owner_lives(int(pid), folder):
                shutil.rmtree(folder, ignore_errors=True)
