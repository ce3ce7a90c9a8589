"""What would ask a person, open a program or touch the user's settings: recorded, and answered by the test.

```python
from headless_slicer.qt.dialogs import dialogs
dialogs.reset()
dialogs.answers["QFileDialog.getSaveFileName"] = "report.html"  # a value or a function of the arguments
dialogs.answers["QMessageBox.question"] = qt.QMessageBox.Yes
...
assert dialogs.shown[-1] == ("QMessageBox.question", ("DiffSegLung", "Replace the edited result?"))
```
Without an answer a file dialog is cancelled ("" or []), a question is answered with No or Cancel, a dialog
is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtWidgets

from .values import EnumValue
from .wrapper import InstanceWrapper, replacements


class Dialogs:
    """What was shown, and what to answer."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.shown: list[tuple[str, tuple]] = []

    def reset(self) -> None:
        self.answers.clear()
        self.shown.clear()

    def ask(self, name: str, args: tuple, otherwise: Any) -> Any:
        """Record the call and return the configured answer (called with `args` if it is a function)."""
        self.shown.append((name, args))
        answer = self.answers.get(name, otherwise)
        return answer(*args) if callable(answer) else answer


dialogs = Dialogs()


def _static(name: str, otherwise: Any) -> Callable:
    def shown(*args: Any) -> Any:
        return dialogs.ask(
            name, tuple(a for a in args if not isinstance(a, InstanceWrapper) and a is not None), otherwise
        )

    return shown


def _exec_dialog(wrapper: InstanceWrapper) -> int:
    """`dialog.exec_()`: by the class's name; a message box records its text and informative text."""
    box = wrapper._obj
    kind = "QMessageBox" if isinstance(box, QtWidgets.QMessageBox) else "QDialog"
    name = f"{type(wrapper).__name__}.exec"
    if kind == "QMessageBox":
        answer = dialogs.ask(name, (box.windowTitle(), box.text(), box.informativeText()), None)
        if answer is None:
            answer = _refusal(box)
        button = box.button(
            answer.member if isinstance(answer, EnumValue) else QtWidgets.QMessageBox.StandardButton(answer)
        )
        if button is not None:
            button.click()
        return answer
    return dialogs.ask(name, (box.windowTitle(),), 0)


def _refusal(box: QtWidgets.QMessageBox) -> EnumValue:
    kinds = QtWidgets.QMessageBox.StandardButton
    for kind in (kinds.Cancel, kinds.No, kinds.Close, kinds.Ok):
        if box.button(kind) is not None:
            return EnumValue(kind)
    return EnumValue(kinds.NoButton)


def install() -> None:
    """Put the replacements in place; done once by qt_facade."""
    buttons = QtWidgets.QMessageBox.StandardButton
    replacements["QFileDialog"] = {
        "getOpenFileName": _static("QFileDialog.getOpenFileName", ""),
        "getOpenFileNames": _static("QFileDialog.getOpenFileNames", []),
        "getSaveFileName": _static("QFileDialog.getSaveFileName", ""),
        "getExistingDirectory": _static("QFileDialog.getExistingDirectory", ""),
    }
    replacements["QMessageBox"] = {
        "question": _static("QMessageBox.question", EnumValue(buttons.No)),
        "information": _static("QMessageBox.information", EnumValue(buttons.Ok)),
        "warning": _static("QMessageBox.warning", EnumValue(buttons.Ok)),
        "critical": _static("QMessageBox.critical", EnumValue(buttons.Ok)),
        "about": _static("QMessageBox.about", None),
    }
    replacements["QInputDialog"] = {
        name: _static(f"QInputDialog.{name}", "" if name in ("getText", "getItem", "getMultiLineText") else 0)
        for name in ("getText", "getItem", "getMultiLineText", "getInt", "getDouble")
    }
    replacements["QDialog"] = {"exec": _exec_dialog}
    replacements["QMenu"] = {"exec": lambda menu, *args: dialogs.ask("QMenu.exec", (), None)}
    replacements["QDesktopServices"] = {
        "openUrl": lambda url: dialogs.ask("QDesktopServices.openUrl", (url.toString(),), True)
    }
