"""Who holds a folder: a living process of this computer, or nobody."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

_DAY_S = 86_400.0


def owner_lives(pid: int, folder: Path) -> bool:
    """Whether the process that made a folder is still there; its number may be another program's by now.

    Needs psutil. A program that started more than a day after the folder was last written cannot
    have made it; a clock that was set by less does no harm.
    """
    import psutil

    try:
        return bool(psutil.Process(pid).create_time() < folder.stat().st_mtime + _DAY_S)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except (psutil.Error, OSError):
        return True


def identity(process: psutil.Process) -> dict[str, Any]:
    """What tells a process from others, also from later ones with its number."""
    return {"pid": process.pid, "begun": round(process.create_time()), "host": socket.gethostname()}
