"""Which Slicer holds a training: what it writes into the training's folder, and what another reads there."""

from __future__ import annotations

import enum
import os
import socket
from collections.abc import Mapping
from typing import Any

from DiffSegLungLib.io.owners import identity


class Owner(enum.Enum):
    """Whose training it is: which Slicer works on it."""

    nobody = "nobody"
    me = "me"
    another = "another"
    afar = "afar"  # of another computer: whether it lives cannot be told here
    gone = "gone"


def myself() -> dict[str, Any]:
    """What tells this Slicer from all others; without psutil not from later ones with its number."""
    try:
        import psutil
    except ImportError:
        return {"pid": os.getpid(), "host": socket.gethostname()}
    return identity(psutil.Process())


def ownerOf(said: Mapping[str, Any]) -> Owner:
    """Whose a training is, by what :func:`myself` said in its folder; nobody's where that is damaged."""
    pid, host = said.get("pid"), said.get("host")
    if not (isinstance(pid, int) and isinstance(host, str)):
        return Owner.nobody
    return _ownerHere(said) if host == socket.gethostname() else Owner.afar


def _ownerHere(said: Mapping[str, Any]) -> Owner:
    """Which Slicer of this computer a training's folder names."""
    if said == myself():
        return Owner.me
    try:
        import psutil
    except ImportError:  # who is alive cannot be told
        return Owner.nobody
    try:
        # The number may be another program's by now, or the clock was set: not gone for certain.
        return Owner.another if said == identity(psutil.Process(said["pid"])) else Owner.nobody
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return Owner.gone
    except psutil.Error:
        return Owner.another
