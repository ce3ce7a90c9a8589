"""Who holds a folder or is writing a file: a living process of this computer, or nobody."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

_DAY_S = 86_400.0


def owner_lives(pid: int, path: Path) -> bool:
    """Whether the process that made a folder or file is still there; its number may be another's by now.

    Needs psutil. A program that started more than a day after the folder was last written cannot
    have made it; a clock that was set by less does no harm.
    """
    import psutil

    try:
        return bool(psutil.Process(pid).create_time() < path.lstat().st_mtime + _DAY_S)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except (psutil.Error, OSError):
        return True


def identity(process: psutil.Process) -> dict[str, Any]:
    """What tells a process from others, also from later ones with its number."""
    return {"pid": process.pid, "begun": round(process.create_time()), "host": socket.gethostname()}


def own_mark() -> str:
    """Computer and number of this process, for names of what it has not finished."""
    return f"{_host()}-{os.getpid()}"


def abandoned(folder: Path, prefix: str) -> Iterator[Path]:
    """What is called ``PREFIX`` + :func:`own_mark` + ``-NAME`` of dead processes of this computer.

    Nothing where psutil is not installed: nobody can tell then.
    """
    for found in folder.glob(f"{prefix}{_host()}-*"):
        pid = found.name.removeprefix(f"{prefix}{_host()}-").split("-")[0]
        with contextlib.suppress(ImportError):
            if pid.isdigit() and not owner_lives(int(pid), found):
                yield found


def _host() -> str:
    return socket.gethostname().replace("-", "_") or "host"
