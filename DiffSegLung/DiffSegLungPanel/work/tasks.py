"""Long work in slices, on Slicer's main thread: a generator that a timer (or a waiting caller) advances.

MRML may only be touched on the main thread, and Python threads stand still in Slicer while Qt waits for
events. So long work is a generator that yields every few tens of milliseconds; what really computes runs in
another process (:mod:`.worker`). Cancelling throws :class:`CancelRequested` into the generator at its yield,
so that ``try``/``finally`` there cleans up; aborting closes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import qt
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import Cancelled, DiffSegLungError

STEP_MS = 30
"""Pause between two steps: Qt's events come in between."""


@dataclass(frozen=True)
class TaskProgress:
    """Where a task stands: what it does (for people), how much is done (0..1), seconds left or None."""

    stage: str
    fraction: float
    etaS: float | None = None


Steps = Generator[TaskProgress | str | None, None, Any]
"""What a task runs: yields progress, text for the log, or None where nothing is new; returns its result."""


News = TypeVar("News")
Made = TypeVar("Made")
"""What steps yield, and what they return, where they are passed on as they are."""


class CancelRequested(Exception):
    """Thrown into the steps of a task that the user cancels; they may go on until they have tidied up."""


def spanned(steps: Steps, begin: float, end: float, prefix: str = "") -> Steps:
    """Steps as a part of longer ones: progress moved to begin..end, stages prefixed, the rest passed on."""
    advance = partial(next, steps)
    try:
        while True:
            try:
                news = advance()
            except StopIteration as stop:
                return stop.value
            if isinstance(news, TaskProgress):
                news = TaskProgress(prefix + news.stage, begin + (end - begin) * news.fraction, news.etaS)
            advance = partial(next, steps)
            try:
                yield news
            except CancelRequested as request:
                advance = partial(steps.throw, request)
    finally:
        steps.close()


def checked(steps: Generator[News, None, Made], check: Callable[[], None]) -> Generator[News, None, Made]:
    """The same steps, each made only after ``check`` has let it pass by not raising."""
    try:
        while True:
            check()
            try:
                yield next(steps)
            except StopIteration as end:
                return end.value
    finally:
        steps.close()


def unstoppable(steps: Generator[News, None, Made]) -> Generator[News, None, Made]:
    """The same steps; once begun all are made, at once where the task is cancelled or closed in between."""
    while True:
        try:
            news = next(steps)
        except StopIteration as end:
            return end.value
        try:
            yield news
        except (CancelRequested, GeneratorExit):
            return _drained(steps)


def _drained(steps: Generator[Any, None, Made]) -> Made:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


class Signal:
    """Functions that are called when something happens, in the order in which they were connected."""

    def __init__(self) -> None:
        self._receivers: list[Callable[..., None]] = []

    def connect(self, receiver: Callable[..., None]) -> None:
        """Call ``receiver`` from now on."""
        self._receivers.append(receiver)

    def disconnect(self, receiver: Callable[..., None]) -> None:
        """Call ``receiver`` no more; it must have been connected."""
        self._receivers.remove(receiver)

    def emit(self, *arguments: Any) -> None:
        """Call every receiver."""
        for receiver in list(self._receivers):
            receiver(*arguments)


class Task:
    """One piece of long work.

    Args:
        steps: what to do.
        pauseMs: between two steps; a task somebody waits for, hand on the slider, pauses for events only.

    Attributes:
        progressed: signal, called with a :class:`TaskProgress`.
        logged: signal, called with text for the log.
        finished: signal, called once with this task, however it ended.
        progress: the latest progress.
        result: what the steps returned, None until then or after an error.
        error: why there is no result; a :class:`~DiffSegLungLib.errors.Cancelled` is not a failure.
    """

    def __init__(self, steps: Steps, pauseMs: int = STEP_MS) -> None:
        self._pauseMs = pauseMs
        self.progressed, self.logged, self.finished = Signal(), Signal(), Signal()
        self.progress = TaskProgress("", 0.0)
        self.result: Any = None
        self.error: DiffSegLungError | None = None
        self.isRunning = True
        self._steps = steps
        self._cancelling = False
        self._toldToCancel = False
        self._advancing = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._onTimeout)

    @property
    def isCancelling(self) -> bool:
        """Whether the task was asked to stop and still tidies up."""
        return self._cancelling and self.isRunning

    @property
    def wasCancelled(self) -> bool:
        """Whether the task ended because somebody asked for it."""
        return isinstance(self.error, Cancelled)

    def start(self) -> None:
        """Advance by a timer from now on; returns at once."""
        if self.isRunning:
            self._timer.start(0)

    def wait(self) -> Any:
        """Advance until the end, keeping the application alive, and return the result.

        Raises:
            DiffSegLungError: the task failed or was cancelled.
        """
        if self.isRunning:
            self._timer.stop()
        while self.isRunning:
            self._advance()
            slicer.app.processEvents()
            if self.isRunning:
                time.sleep(STEP_MS / 1000)
        if self.error is not None:
            raise self.error
        return self.result

    def cancel(self) -> None:
        """Ask the task to stop; it ends by itself within seconds, with :attr:`wasCancelled`."""
        self._cancelling = True
        self._advance()

    def stopWithin(self, seconds: float) -> None:
        """Cancel, wait at most so long without handling events, then abort: for the application's end."""
        if self.isRunning:
            self.cancel()
        end = time.monotonic() + seconds
        while self.isRunning and time.monotonic() < end:
            self._advance()
            time.sleep(STEP_MS / 1000)
        self.abort()

    def abort(self) -> None:
        """Stop at once: processes killed, unfinished output removed. Does nothing after the end."""
        if self.isRunning:
            if not self._advancing:
                self._close()
            self._finish(error=Cancelled())

    def _onTimeout(self) -> None:
        self._advance()
        if self.isRunning:
            self._timer.start(self._pauseMs)

    def _advance(self) -> None:
        """One step; a step that handles events meanwhile (a dialog) is not entered a second time."""
        if self._advancing or not self.isRunning:
            return
        self._advancing = True
        try:
            news = self._step()
        except StopIteration as end:
            self._finish(result=end.value)
        except CancelRequested:
            self._finish(error=Cancelled())
        except Exception as error:
            self._finish(error=describedError(error))
        else:
            if self.isRunning:  # else it was aborted within the step
                self._tell(news)
        finally:
            self._advancing = False
            if not self.isRunning:
                self._close()  # what was aborted within the step cleans up now

    def _close(self) -> None:
        """Let the steps clean up; what goes wrong there cannot keep the task from ending."""
        try:
            self._steps.close()
        except Exception as error:
            describedError(error)

    def _tell(self, news: TaskProgress | str | None) -> None:
        if isinstance(news, str):
            self.logged.emit(news)
        elif news is not None:
            self.progress = news
            self.progressed.emit(news)

    def _step(self) -> TaskProgress | str | None:
        if self._cancelling and not self._toldToCancel:
            self._toldToCancel = True
            return self._steps.throw(CancelRequested())
        return next(self._steps)

    def _finish(self, *, result: Any = None, error: DiffSegLungError | None = None) -> None:
        if not self.isRunning:
            return
        self._timer.stop()
        self._timer.deleteLater()  # its connection would keep this task, and its result, for ever
        self.isRunning = False
        self.result, self.error = result, error
        self.finished.emit(self)


def describedError(error: Exception) -> DiffSegLungError:
    """An error for people: as it is where it is one of ours, else a defect, which is logged."""
    if isinstance(error, DiffSegLungError):
        return error
    logging.error("DiffSegLung", exc_info=error)
    return DiffSegLungError(
        "unexpected",
        _("Something unexpected happened ({name}: {text}).").format(name=type(error).__name__, text=error),
        _("This is a defect of the program: please report it with the Python console's output."),
    )
