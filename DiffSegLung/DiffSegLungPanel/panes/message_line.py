"""One line at the top of the panel that says how things went; it never interrupts."""

from __future__ import annotations

import qt

from DiffSegLungLib.errors import DiffSegLungError

from ..work.tasks import Task
from .contract import Widgets

_STYLES = {
    "success": ("#2e8b57", "rgba(46, 139, 87, 38)"),
    "info": ("#3a7bbf", "rgba(58, 123, 191, 38)"),
    "warning": ("#c08a00", "rgba(224, 165, 0, 46)"),
    "error": ("#c0392b", "rgba(192, 57, 43, 46)"),
}
"""Edge and tint of each kind; translucent, so that the text keeps its contrast in light and dark themes."""


class MessageLine:
    """Shows one message until it is dismissed or replaced.

    Args:
        ui: the panel's widgets (``messageFrame``, ``messageLabel``, ``dismissButton``).
    """

    def __init__(self, ui: Widgets) -> None:
        self._frame, self._label = ui.messageFrame, ui.messageLabel
        self.kind = ""
        ui.dismissButton.connect("clicked(bool)", self._onDismiss)
        self.clear()

    @property
    def text(self) -> str:
        """What is shown, empty when nothing is."""
        return self._label.text if self.kind else ""

    def success(self, text: str) -> None:
        """Something is done."""
        self._show("success", text)

    def info(self, text: str) -> None:
        """Something to know."""
        self._show("info", text)

    def warning(self, text: str) -> None:
        """Something needs attention, nothing failed."""
        self._show("warning", text)

    def error(self, error: DiffSegLungError) -> None:
        """Something failed: what was seen, and what is needed."""
        self._show("error", f"{error.message} {error.hint}".strip())

    def succeeded(self, task: Task, cancelled: str) -> bool:
        """Whether a task that has ended gave its result; says ``cancelled``, or what failed, if not."""
        if task.wasCancelled:
            self.info(cancelled)
        elif task.error is not None:
            self.error(task.error)
        return task.error is None

    def clear(self) -> None:
        """Show nothing."""
        self.kind = ""
        self._frame.visible = False

    def _show(self, kind: str, text: str) -> None:
        edge, tint = _STYLES[kind]
        self.kind = kind
        self._frame.setStyleSheet(
            f"QFrame#messageFrame {{ border: 0px; border-left: 4px solid {edge}; background: {tint}; }}"
        )
        self._label.textFormat = qt.Qt.PlainText
        self._label.text = text
        self._frame.visible = True

    def _onDismiss(self, _checked: bool = False) -> None:
        self.clear()
