"""Apply, Cancel, progress and log: what one task looks like to the user."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Generator
from typing import Any

import qt
from slicer.i18n import tr as _

from ..wording import durationText
from ..work.tasks import Steps, Task, TaskProgress
from .contract import Widgets

SHORTCUT = "Ctrl+Return"
BUSY_S = 0.1
"""How long steps may keep the application busy before it may draw and listen again."""


class RunState(enum.Enum):
    """What the one button means."""

    idle = "idle"
    running = "running"
    cancelling = "cancelling"


class RunPane:
    """One button that starts and cancels, and how far the task is.

    Args:
        ui: the panel's widgets.
        onApply: called when the user wants to start.
        onState: called when the state has changed.

    Attributes:
        state: what the button means now.
    """

    def __init__(self, ui: Widgets, onApply: Callable[[], None], onState: Callable[[], None]) -> None:
        self._ui, self._onApply, self._onState = ui, onApply, onState
        self._task: Task | None = None
        self._onDone: Callable[[Task], None] | None = None
        self._problem = self._stage = ""
        self._started = 0.0
        self.state = RunState.idle
        self._conclusion = qt.QTimer()
        self._conclusion.setSingleShot(True)
        self._conclusion.connect("timeout()", self._conclude)
        ui.applyButton.connect("clicked(bool)", self._onClicked)
        self._show()

    def setProblem(self, problem: str) -> None:
        """Why Apply cannot be pressed now; empty when it can."""
        self._problem = problem
        self._show()

    def follow(self, task: Task, onDone: Callable[[Task], None]) -> None:
        """Show a task that has been started; ``onDone`` is called with it when it ends, however it ends."""
        self._task, self._onDone = task, onDone
        self._stage, self._started = "", time.monotonic()
        task.progressed.connect(self._onProgress)
        task.logged.connect(self.log)
        task.finished.connect(self._onFinished)
        self._onProgress(task.progress)
        self._setState(RunState.running)

    def log(self, text: str) -> None:
        """Add to the log, which keeps its last lines."""
        if text.strip():
            self._ui.logTextEdit.appendPlainText(text.rstrip("\n"))

    def clearLog(self) -> None:
        """Forget what earlier tasks said."""
        self._ui.logTextEdit.clear()

    def release(self) -> None:
        """Stop following: the scene or the panel is going away."""
        self._conclusion.stop()
        if self._task is not None:
            self._task.progressed.disconnect(self._onProgress)
            self._task.logged.disconnect(self.log)
            self._task.finished.disconnect(self._onFinished)
        self._task = self._onDone = None
        self._setState(RunState.idle)

    def _onClicked(self, _checked: bool = False) -> None:
        if self.state is RunState.idle:
            self._onApply()
        elif self.state is RunState.running and self._task is not None:
            self._setState(RunState.cancelling)
            self._task.cancel()

    def _onProgress(self, progress: TaskProgress) -> None:
        self._ui.progressBar.value = round(1000 * progress.fraction)
        self._ui.progressLabel.text = progressText(progress)
        if progress.stage and progress.stage != self._stage:
            self._stage = progress.stage
            self.log(f"{time.monotonic() - self._started:6.1f} s  {progress.stage}")

    def _onFinished(self, _task: Task) -> None:
        self._conclusion.start(0)  # showing a result takes a moment: not in one go with the task's last step

    def _conclude(self) -> None:
        task, onDone = self._task, self._onDone
        self.release()
        if task is not None and onDone is not None:
            onDone(task)

    def _setState(self, state: RunState) -> None:
        self.state = state
        self._show()
        self._onState()

    def _show(self) -> None:
        ui = self._ui
        idle = self.state is RunState.idle
        text = {
            RunState.idle: _("Apply"),
            RunState.running: _("Cancel"),
            RunState.cancelling: _("Cancelling…"),
        }[self.state]
        if ui.applyButton.text != text:
            ui.applyButton.text = text
            ui.applyButton.shortcut = qt.QKeySequence(SHORTCUT)  # a new text clears it
        ui.applyButton.enabled = not self._problem if idle else self.state is RunState.running
        ui.applyButton.toolTip = (
            self._problem or _("Segment the CT ({keys})").format(keys=SHORTCUT)
            if idle
            else _("Stop; nothing is changed by a run that was stopped ({keys})").format(keys=SHORTCUT)
        )
        ui.problemLabel.text = self._problem
        ui.problemLabel.visible = idle and bool(self._problem)
        ui.progressWidget.visible = not idle


def announced(stage: str, steps: Generator[Any, None, Any], busyS: float = BUSY_S) -> Steps:
    """Steps that do not say what they do, under one name; many short ones are taken at a time."""
    try:
        yield TaskProgress(stage, 0.0)
        while True:
            begin = time.monotonic()
            while time.monotonic() - begin < busyS:
                next(steps)
            yield None
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def progressText(progress: TaskProgress) -> str:
    """``"Computing features, 43 %, about 20 s left"``."""
    text = _("{stage}, {percent} %").format(
        stage=progress.stage or _("Starting"), percent=round(100 * progress.fraction)
    )
    if progress.etaS is None:
        return text
    return _("{text}, about {time} left").format(text=text, time=durationText(progress.etaS))
