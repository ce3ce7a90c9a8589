"""One command's life: signals, cancelling within seconds at any point, errors in one sentence, exit codes.

The work runs in a thread of its own, so that the main thread, which receives the signals, always answers:
also while the work is inside an import, a filter or a file. A signal first asks the work to stop (it polls);
what has not stopped after :data:`GRACE_S` is ended with the process, its unfinished output removed first.

Exit codes: 0 done, 2 bad input, 3 cancelled, 4 out of memory, 1 anything else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import NoReturn

from ..errors import Cancelled, DiffSegLungError, OutOfMemory, not_written
from ..talk import Talk
from .output_folder import OutputFolder
from .progress import Display, Progress
from .stdin_watch import watch_stdin

CASES_KEPT = "Finished cases are kept; the same command goes on from there."
"""What a user reads when a command of many cases was cancelled."""

GRACE_S = 2.0
"""How long cancelled work may take to stop by itself, s; :attr:`Session.grace_s` starts from it."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class Session:
    """What a command's work gets to talk with: progress, the request to stop, its output folder.

    Attributes:
        display: where progress, result and error appear.
        output: the output folder, once the work has opened one; removed unless committed.
        grace_s: how long the work may take to stop after a signal, s.
        exit_code: that of work which ends without an error.
        kept: what a user reads of the output when the work was cancelled; work that leaves something says so
            here before it does anything else.

    Args:
        display: where to show progress, result and error.
        debug: print tracebacks and warnings.
        owns_process: the process ends with this session, so signals stay caught until it is gone.
        stop_with_stdin: cancel when standard input is closed, as by the death of the program that holds it.
    """

    def __init__(
        self,
        display: Display,
        *,
        debug: bool = False,
        owns_process: bool = False,
        stop_with_stdin: bool = False,
    ) -> None:
        self.display = display
        self.debug = debug
        self._owns_process = owns_process
        self._stop_with_stdin = stop_with_stdin
        self.grace_s = GRACE_S
        self.exit_code = 0
        self.kept = "No output was written."
        self.output: OutputFolder | None = None
        self._cancel = threading.Event()
        self._signalled = False
        self._stage = "start"
        self._error: DiffSegLungError | None = None
        self._progress: Progress | None = None

    def plan(self, shares: Mapping[str, float]) -> None:
        """Name the stages to come, with their expected durations in any unit."""
        self._progress = Progress(self.display, shares)

    def progress(self, stage: str, fraction: float, text: str = "") -> None:
        """Report that ``fraction`` (0..1) of ``stage`` is done; stop when nobody listens any more.

        ``text`` is what people read in place of the stage's name.
        """
        self._stage = stage
        if self._progress is None:
            return
        try:
            self._progress(stage, fraction, text)
        except OSError:
            self._cancel.set()

    def cancelled(self) -> bool:
        """Whether the work has been asked to stop."""
        return self._cancel.is_set()

    @property
    def talk(self) -> Talk:
        """What the work hands down to the library."""
        return Talk(self.progress, self.display.note, self.cancelled)

    def check(self, stage: str) -> None:
        """Begin a stage, unless the work has been asked to stop."""
        if self.cancelled():
            raise Cancelled(stage)
        self.progress(stage, 0.0)

    def run(self, work: Callable[[Session], None]) -> int:
        """Do the work and return the exit code; after a signal, end the process with it instead."""
        worker = threading.Thread(target=self._guard, args=(work,), daemon=True)
        with _signals(self._signal, keep=self._owns_process):
            worker.start()
            if self._stop_with_stdin:
                watch_stdin(self._stop)
            while worker.is_alive() and not self._cancel.wait(0.1):
                pass
            worker.join(self.grace_s if self._cancel.is_set() else None)
            code = self._close(stopped=worker.is_alive())
            if self._signalled:
                self._leave(code)
        return code

    def _signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._signalled = True
        self._cancel.set()

    def _close(self, *, stopped: bool) -> int:
        """Remove what is unfinished, say what went wrong, if anything did; the exit code."""
        if self.output is not None:
            self.output.discard()
            if self.output.committed:
                return 0
        error = Cancelled(self._stage) if stopped else self._error
        if error is None:
            return self.exit_code
        if isinstance(error, Cancelled):
            error.hint = self.kept
        with contextlib.suppress(OSError):
            self.display.error(error)
        return error.exit_code

    @staticmethod
    def _leave(code: int) -> NoReturn:
        """End the process at once: taking a loaded interpreter apart can take seconds."""
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    def _guard(self, work: Callable[[Session], None]) -> None:
        if not self.debug:
            warnings.simplefilter("ignore")
        try:
            work(self)
        except DiffSegLungError as error:
            self._fail(error, error)
        except Exception as error:
            self._fail(_explain(error, self._stage), error)

    def _fail(self, error: DiffSegLungError, cause: Exception) -> None:
        self._error = error
        if self.debug:
            traceback.print_exception(cause)


def _explain(error: Exception, stage: str) -> DiffSegLungError:
    """One sentence for what no one foresaw; memory and disks that are exhausted have their own."""
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if memory or "bad_alloc" in text or "Failed to allocate memory" in str(error):
        return OutOfMemory(
            "out-of-memory",
            f"Memory ran out during {stage}.",
            "Close other programs, use --preset fast or --device cpu, or give the CT cropped to the lungs.",
        )
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return not_written(f"The output of the stage {stage}", error)
    return DiffSegLungError(
        "unexpected",
        f"Something unexpected happened during {stage} ({text}).",
        "This is a defect of the program: please report it with the output of the same command and --debug.",
    )


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], None], *, keep: bool) -> Iterator[None]:
    """Let SIGTERM, SIGINT (Ctrl-C) and Windows' Ctrl-Break call ``handler``, afterwards too if ``keep``.

    A process that is about to exit keeps it, so that a late signal does not turn success into failure.
    """
    names = [name for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []  # only the main thread may set handlers; an embedding program cancels by itself
    before = {name: signal.signal(getattr(signal, name), handler) for name in names}
    try:
        yield
    finally:
        for name, handler_before in before.items():
            if not keep:
                signal.signal(getattr(signal, name), handler_before)


Work = Callable[["Session"], None]
