"""How to train: the model to start from, the new one's name, the budget, and what it means in time."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model.archive import check_identity
from DiffSegLungLib.model.library import Library

from ...models import DEFAULT, installedModels, readCard, shownName
from ...training.training_estimate import estimateText
from ...training.training_steps import TrainingPlan
from ..contract import Widgets

TIME, STEPS = 0, 1
_MINUTES_SETTING, _STEPS_SETTING = "DiffSegLung/trainingMinutes", "DiffSegLung/trainingSteps"


class PlanPane:
    """Asks how to train.

    Args:
        ui: the widgets of the Train section.
        onChanged: called when the user has changed something.

    Attributes:
        problem: why one cannot train so, a sentence; empty when one can.
    """

    def __init__(self, ui: Widgets, onChanged: Callable[[], None]) -> None:
        self._ui, self._onChanged = ui, onChanged
        self._parents: list[str] = []
        self.problem = ""
        ui.trainBudgetComboBox.addItems([_("Time"), _("Steps")])
        ui.trainMinutesSpinBox.value = slicer.util.settingsValue(_MINUTES_SETTING, 20, converter=int)
        ui.trainStepsSpinBox.value = slicer.util.settingsValue(_STEPS_SETTING, 1500, converter=int)
        ui.trainParentComboBox.connect("activated(int)", self._onEdited)
        ui.trainBudgetComboBox.connect("activated(int)", self._onEdited)
        ui.trainNameLineEdit.connect("textChanged(QString)", self._onEdited)
        ui.trainMinutesSpinBox.connect("valueChanged(int)", self._onEdited)
        ui.trainStepsSpinBox.connect("valueChanged(int)", self._onEdited)

    def show(self, *, new: bool, enabled: bool, device: str, scans: int) -> None:
        """Show what is chosen and what it means.

        Args:
            new: whether a new training is to be planned; one that has begun keeps its plan.
            enabled: whether the user may choose now.
            device: where to train.
            scans: how many CT there are, 0 where nobody knows.
        """
        ui = self._ui
        for widget in (
            *(ui.trainParentLabel, ui.trainParentComboBox, ui.trainNameLabel, ui.trainNameLineEdit),
            *(ui.trainBudgetLabel, ui.trainBudgetComboBox, ui.trainEstimateLabel),
        ):
            widget.visible = new
            widget.enabled = enabled
        byTime = ui.trainBudgetComboBox.currentIndex == TIME
        ui.trainMinutesSpinBox.visible, ui.trainStepsSpinBox.visible = new and byTime, new and not byTime
        ui.trainMinutesSpinBox.enabled = ui.trainStepsSpinBox.enabled = enabled
        if not new:
            self.problem = ""
            return
        self._showParents()
        ui.trainNameLineEdit.placeholderText = self._usualName()
        self.problem = self._findProblem()
        plan = self.plan(device)
        ui.trainEstimateLabel.text = estimateText(plan.parent, device, scans, plan.minutes, plan.steps)

    def plan(self, device: str) -> TrainingPlan:
        """What is chosen."""
        ui = self._ui
        byTime = ui.trainBudgetComboBox.currentIndex == TIME
        slicer.app.userSettings().setValue(_MINUTES_SETTING, ui.trainMinutesSpinBox.value)
        slicer.app.userSettings().setValue(_STEPS_SETTING, ui.trainStepsSpinBox.value)
        return TrainingPlan(
            parent=self._parent(),
            name=ui.trainNameLineEdit.text.strip() or self._usualName(),
            minutes=float(ui.trainMinutesSpinBox.value) if byTime else None,
            steps=None if byTime else int(ui.trainStepsSpinBox.value),
            device=device,
        )

    def _parent(self) -> str:
        index = self._ui.trainParentComboBox.currentIndex
        return self._parents[index] if 0 <= index < len(self._parents) else DEFAULT

    def _showParents(self) -> None:
        chosen, self._parents = self._parent(), installedModels()
        names = [shownName(words) for words in self._parents]
        combo = self._ui.trainParentComboBox
        if [combo.itemText(i) for i in range(combo.count)] != names:
            combo.clear()
            combo.addItems(names)
        combo.currentIndex = self._parents.index(chosen) if chosen in self._parents else 0

    def _usualName(self) -> str:
        """The library's own choice: that of the parent, and "tuned"."""
        library = Library()
        try:
            model = library.default()[0] if self._parent() == DEFAULT else library.find(self._parent())
        except InputError:
            model = None
        identifier = str(model.card.get("id", "")) if model is not None else ""
        return f"{identifier or 'own'}-tuned"

    def _findProblem(self) -> str:
        name = self._ui.trainNameLineEdit.text.strip() or self._usualName()
        try:
            readCard(self._parent())
            check_identity({"id": name, "version": "1"}, "")
        except InputError as error:
            if error.code == "bundle-name":
                text = _("“{name}” cannot be a model's name; use letters, digits and . _ + -")
                return text.format(name=name)
            return f"{error.message} {error.hint}".strip()
        return ""

    def _onEdited(self, _value: object = None) -> None:
        self._onChanged()
