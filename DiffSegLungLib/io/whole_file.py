"""Small files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import not_written


def write_aside(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    with opened_aside(path, path.with_name(f".{path.name}.part")) as file:
        file.write(content)


@contextlib.contextmanager
def opened_aside(path: Path, aside: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` at the end; a link in its way is never followed.

    Raises:
        InputError: it cannot be written.
    """
    try:
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a full disk needs its room
            aside.unlink(missing_ok=True)
        raise not_written(path, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name in the folder of ``path`` to write to; it becomes ``path`` when the block ends well.

    A block that raises leaves neither the file nor a part of it, and an older ``path`` stays as it was.
    The temporary name keeps every suffix of ``path``, since writers choose their format by it.
    """
    aside = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
