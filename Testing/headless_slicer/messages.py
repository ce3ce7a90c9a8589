"""What Slicer would show in message boxes: recorded, and answered by the test.

`slicer.util`'s own functions run; only the place where they would raise a box is taken over. In testing mode
(the start state) they do what Slicer does in testing mode: log, and return without asking. `host.answer(...)`
gives the answers of a user instead; without testing mode a question nobody answers is an error of the test.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import slicer


@dataclass(frozen=True)
class Message:
    """One message: `level` is "info", "warning" or "error", `question` where it had more than one button."""

    level: str
    text: str
    question: bool
    details: str = ""


class Messages(list[Message]):
    """All messages since the last reset, newest last, and the answers still to give."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: list[bool] = []

    def install(self) -> None:
        """Takes the place of the function in slicer.util that every message goes through."""
        self._real = slicer.util._messageDisplay
        slicer.util._messageDisplay = self._display

    def reset(self) -> None:
        self.clear()
        self._answers.clear()

    def answer(self, *answers: bool) -> None:
        """The answers to the next questions: True for the affirmative button (Yes, OK, Retry)."""
        self._answers.extend(answers)

    @property
    def errors(self) -> list[str]:
        return [message.text for message in self if message.level == "error"]

    def _display(
        self, level: int, text: str, testing_value: Any, mainWindowNeeded: bool = False, **kwargs: Any
    ) -> Any:
        import qt

        box = qt.QMessageBox
        buttons = {
            int(box.Yes | box.No): (box.Yes, box.No),
            int(box.Ok | box.Cancel): (box.Ok, box.Cancel),
            int(box.Retry | box.Close): (box.Retry, box.Close),
        }.get(int(kwargs.get("standardButtons") or 0))
        message = Message(
            logging.getLevelName(level).lower(),
            text,
            buttons is not None,
            str(kwargs.get("detailedText", "")),
        )
        self.append(message)
        if buttons is not None and self._answers:
            logging.log(level, text)
            return buttons[0] if self._answers.pop(0) else buttons[1]
        if buttons is not None and not slicer.app.testingEnabled():
            raise AssertionError(f"Slicer would ask, and the test gave no answer: {text}")
        return self._real(level, text, testing_value, mainWindowNeeded, **kwargs)
