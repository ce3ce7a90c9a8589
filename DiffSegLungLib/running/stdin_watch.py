"""Notice that standard input was closed: the program that started this command is gone or says stop."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable

_WINDOWS_POLL_S = 0.2


def watch_stdin(closed: Callable[[], None]) -> None:
    """Call ``closed`` once, from a thread of its own, when standard input ends; what comes in is ignored.

    The thread reads the descriptor itself: one that waits inside ``sys.stdin`` would hold its lock when the
    interpreter ends, which is a fatal error.
    """

    def wait() -> None:
        with contextlib.suppress(OSError):  # closed on this side, or never opened
            _until_end()
        closed()

    threading.Thread(target=wait, name="stdin watch", daemon=True).start()


def _until_end() -> None:
    if sys.platform == "win32":
        # Loading a DLL can ask what standard input is, which waits for any read in progress: only peek.
        import _winapi
        import msvcrt

        handle = msvcrt.get_osfhandle(0)
        while True:
            available, _ = _winapi.PeekNamedPipe(handle, 0)
            if available:
                os.read(0, available)
            time.sleep(_WINDOWS_POLL_S)
    while os.read(0, 4096):
        pass
