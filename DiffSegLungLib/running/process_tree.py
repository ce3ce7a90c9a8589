"""A process and everything it started: made to end together, on POSIX and Windows.

On POSIX every command leads a process group of its own, which outlives its leader; psutil, where it is there,
finds also what left that group, and everything on Windows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Any

_POSIX = os.name == "posix"
_GONE_S = 5.0


def own_group(*, background: bool = False) -> dict[str, Any]:
    """Arguments for :class:`subprocess.Popen`: a process that can be ended with all its children."""
    if _POSIX:
        return {"start_new_session": True}
    flags = 0x0000_0200 | 0x0800_0000  # CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW
    return {"creationflags": flags | (0x0000_4000 if background else 0)}  # BELOW_NORMAL_PRIORITY_CLASS


def give_way(pid: int) -> None:
    """Lower the priority of a group that has just started, so that the user's programs stay quick."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PGRP, pid, 5)


def terminate(pid: int) -> None:
    """Ask the whole group to end (SIGTERM); Windows has no such request."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGTERM)


def group_exists(pid: int) -> bool:
    """Whether any process of the group that ``pid`` led is left; False on Windows, which has no groups."""
    if sys.platform == "win32":
        return False
    try:
        os.killpg(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return any(_lives(member) for member in _members(pid))


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process, its group and its descendants; returns when none of them runs any more."""
    descendants = _descendants(process.pid)
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    for one in descendants:
        with contextlib.suppress(Exception):  # gone already
            one.kill()
    with contextlib.suppress(OSError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GONE_S)
    end = time.monotonic() + _GONE_S
    while time.monotonic() < end and (any(map(_lives, descendants)) or group_exists(process.pid)):
        time.sleep(0.01)


def signal_of(exit_code: int | None) -> int | None:
    """The signal that ended a process, by its own exit code or by that of the shell or launcher round it."""
    if exit_code is None or not _POSIX:
        return None
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if 128 < exit_code < 160 else None


def _descendants(pid: int) -> list[Any]:
    """Processes (psutil) below ``pid``; empty without psutil."""
    try:
        import psutil

        return list(psutil.Process(pid).children(recursive=True))
    except Exception:  # psutil is absent, or the process is gone
        return []


def _members(group: int) -> list[Any]:
    """Processes (psutil) of a group; a stand-in that lives where psutil is absent and cannot tell."""
    try:
        import psutil
    except ImportError:
        return [None]
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.getpgid(one.pid) == group:  # type: ignore[attr-defined,unused-ignore]
                found.append(one)
    return found


def _lives(process: Any) -> bool:
    """Whether it runs: a zombie, which only waits for its parent to take note, does not."""
    if process is None:
        return True
    try:
        return bool(process.is_running() and process.status() != "zombie")
    except Exception:  # gone
        return False
