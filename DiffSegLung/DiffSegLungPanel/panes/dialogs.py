"""The few questions the panel asks. Tests replace this class; everything else stays real."""

from __future__ import annotations

import enum
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _


class Answer(enum.Enum):
    """What to do with a segmentation that holds somebody's work."""

    replace = "replace"
    makeNew = "makeNew"
    cancel = "cancel"


class Room(enum.Enum):
    """What to do with a training when something else is to run."""

    pause = "pause"
    both = "both"
    cancel = "cancel"


class Dialogs:
    """Modal questions and file dialogues.

    Args:
        parent: the widget they belong to.
    """

    def __init__(self, parent: qt.QWidget) -> None:
        self._parent = parent

    def replaceOrNew(self, question: str) -> Answer:
        """Ask whether to replace a segmentation or to make a new one; Escape cancels."""
        if slicer.app.testingEnabled():
            return Answer.cancel
        box = qt.QMessageBox(self._parent)
        box.windowTitle = _("DiffSegLung")
        box.icon = qt.QMessageBox.Question
        box.text = question
        box.setStandardButtons(qt.QMessageBox.Yes | qt.QMessageBox.No | qt.QMessageBox.Cancel)
        box.button(qt.QMessageBox.Yes).text = _("Replace")
        box.button(qt.QMessageBox.No).text = _("Make a new one")
        box.setDefaultButton(qt.QMessageBox.No)
        box.setEscapeButton(qt.QMessageBox.Cancel)
        answer = box.exec_()
        box.deleteLater()
        return {qt.QMessageBox.Yes: Answer.replace, qt.QMessageBox.No: Answer.makeNew}.get(
            answer, Answer.cancel
        )

    def makeRoom(self, question: str) -> Room:
        """Ask whether a training is paused for another run or goes on beside it; Escape cancels."""
        if slicer.app.testingEnabled():
            return Room.cancel
        box = qt.QMessageBox(self._parent)
        box.windowTitle = _("DiffSegLung")
        box.icon = qt.QMessageBox.Question
        box.text = question
        box.setStandardButtons(qt.QMessageBox.Yes | qt.QMessageBox.No | qt.QMessageBox.Cancel)
        box.button(qt.QMessageBox.Yes).text = _("Pause the training")
        box.button(qt.QMessageBox.No).text = _("Run both")
        box.setDefaultButton(qt.QMessageBox.Yes)
        box.setEscapeButton(qt.QMessageBox.Cancel)
        answer = box.exec_()
        box.deleteLater()
        return {qt.QMessageBox.Yes: Room.pause, qt.QMessageBox.No: Room.both}.get(answer, Room.cancel)

    def pauseAfterClose(self, question: str) -> bool:
        """Ask whether a training pauses, now that the scene was closed; going on is the default."""
        return bool(
            slicer.util.confirmYesNoDisplay(question, windowTitle=_("DiffSegLung"), parent=self._parent)
        )

    def confirmDiscard(self, question: str) -> bool:
        """Ask whether a training may be removed for good."""
        return bool(
            slicer.util.confirmOkCancelDisplay(question, windowTitle=_("DiffSegLung"), parent=self._parent)
        )

    def confirmInstall(self, text: str, details: str) -> bool:
        """Ask whether packages may be installed."""
        return bool(
            slicer.util.confirmOkCancelDisplay(
                text, windowTitle=_("DiffSegLung"), parent=self._parent, detailedText=details
            )
        )

    def openModel(self, folder: str) -> str:
        """Ask for a model; the path of the chosen file, empty when cancelled."""
        return str(
            qt.QFileDialog.getOpenFileName(
                self._parent, _("Choose a model"), folder, _("DiffSegLung models (card.json *.zip)")
            )
            or ""
        )

    def saveFile(self, title: str, suggestion: str, pattern: str) -> Path | None:
        """Ask where to save a file; None when cancelled."""
        chosen = qt.QFileDialog.getSaveFileName(self._parent, title, suggestion, pattern)
        return Path(chosen) if chosen else None

    def saveAs(self, title: str, name: str, ending: str, pattern: str) -> Path | None:
        """As :meth:`saveFile`, with this ending (no dot); adding it, asks before another file is hit."""
        chosen = self.saveFile(title, f"{name}.{ending}", pattern)
        if chosen is None or chosen.suffix.lower() == f".{ending}":
            return chosen
        target = chosen.with_name(f"{chosen.name}.{ending}")
        question = _("“{name}” is there already. Replace it?").format(name=target.name)
        return target if not target.exists() or self.confirm(question) else None

    def confirm(self, question: str) -> bool:
        """Ask whether to do what cannot be undone."""
        return bool(
            slicer.util.confirmOkCancelDisplay(question, windowTitle=_("DiffSegLung"), parent=self._parent)
        )
