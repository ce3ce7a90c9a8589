"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import not_written
from .owners import abandoned, own_mark

_PREFIX = ".part-"


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write a file or a folder to; it becomes ``path`` when the block ends well.

    A block that raises leaves nothing of it, and an older ``path`` stays as it was. The name is this
    process's own, so that two that write the same file never mix; what killed ones left goes. It keeps every
    suffix of ``path``, since writers choose their format by it. A link is replaced, never followed.

    Raises:
        InputError: code ``not-written``: it cannot be written, which an ``OSError`` of the block says, too.
    """
    with writing_together(path) as (aside,):
        yield aside


@contextmanager
def writing_together(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Like :func:`writing`, for several that fit only each other: all are complete before the first moves."""
    asides = tuple(path.with_name(f"{_PREFIX}{own_mark()}-{path.name}") for path in paths)
    try:
        for folder in {path.parent for path in paths}:
            for left in abandoned(folder, _PREFIX):
                _remove(left)
        for aside in asides:
            _remove(aside)
        yield asides
        for aside in asides:
            _settle(aside)
        for path, aside in zip(paths, asides, strict=True):
            if aside.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            aside.replace(path)
    except OSError as error:
        raise not_written(paths[0].name, error) from error
    finally:
        for aside in asides:
            _remove(aside)


def _settle(aside: Path) -> None:
    """Wait until a file is on the disk: a power cut would leave an empty one under the final name."""
    if aside.is_dir():
        return
    with aside.open("rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # a full disk needs its room
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
