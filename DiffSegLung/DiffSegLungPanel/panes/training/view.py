"""What a training looks like to the user: its state, its curves, and what it has changed in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...models import shownName
from ...training.runs import TrainingOutcome, TrainingRun
from ...wording import numberText
from ..contract import Widgets
from .plot import LOSS, RETRIEVAL, TrainingPlot


@dataclass(frozen=True)
class _Measure:
    """A number by which models are compared on held-out CT."""

    key: str
    name: str
    lowerIsBetter: bool
    isShare: bool

    def text(self, value: float | None) -> str:
        """With as many digits as mean something."""
        if value is None:
            return "–"
        if self.isShare:
            return _("{share} %").format(share=numberText(100 * value, 1))
        return numberText(value, 4)

    def gain(self, before: float, after: float) -> int:
        """1 better, -1 worse, 0 the same within what chance does."""
        change = before - after if self.lowerIsBetter else after - before
        change /= 1.0 if self.isShare else before or 1.0
        return 0 if abs(change) < 0.005 else 1 if change > 0 else -1


def _measures() -> list[_Measure]:
    return [
        _Measure("validation_noise", _("error of the noise prediction"), lowerIsBetter=True, isShare=False),
        _Measure("retrieval_top1", _("tissue found again at once"), lowerIsBetter=False, isShare=True),
        _Measure("retrieval_top5", _("tissue found again among five"), lowerIsBetter=False, isShare=True),
    ]


class RunView:
    """Shows one training.

    Args:
        ui: the widgets of the Train section.
        scene: where the curves' nodes are made, once somebody wants to see them.
    """

    def __init__(self, ui: Widgets, scene: slicer.vtkMRMLScene) -> None:
        self._ui = ui
        self.plot = TrainingPlot(scene)
        self._run: TrainingRun | None = None
        ui.lossCurveButton.connect("clicked(bool)", self._onLoss)
        ui.retrievalCurveButton.connect("clicked(bool)", self._onRetrieval)

    def show(self, run: TrainingRun | None, *, live: bool) -> None:
        """Show this training.

        Args:
            run: which; None for none.
            live: it is running: its curves are drawn anew.
        """
        self._run = run
        entries = run.entries() if run is not None else []
        outcome = run.outcome() if run is not None else None
        if live and entries:
            self.plot.fill(entries)
        self._ui.trainCurvesWidget.visible = bool(entries)
        state = _stateText(run, entries) if run is not None and outcome is None else ""
        self._ui.trainStateLabel.text = state
        self._ui.trainStateLabel.visible = bool(state)
        self._ui.trainResultWidget.visible = outcome is not None
        self._ui.trainNewModelWidget.visible = outcome is not None and outcome.isNew
        self._ui.trainResultLabel.text = _resultHtml(outcome) if outcome is not None else ""

    def showCurve(self, which: str) -> None:
        """Bring a curve of the training shown into the plot view."""
        entries = self._run.entries() if self._run is not None else []
        if entries:
            self.plot.fill(entries)
            self.plot.show(which)

    def _onLoss(self, _checked: bool = False) -> None:
        self.showCurve(LOSS)

    def _onRetrieval(self, _checked: bool = False) -> None:
        self.showCurve(RETRIEVAL)


def runTitle(run: TrainingRun, *, running: bool) -> str:
    """What to call a training in a list."""
    outcome = run.outcome()
    if outcome is not None:
        return _("{name}, finished").format(name=shownName(outcome.model))
    name = run.name or _("New model")
    if running:
        return _("{name}, running").format(name=name)
    if run.isElsewhere:
        return _("{name}, running in another Slicer").format(name=name)
    return _("{name}, step {step}").format(name=name, step=numberText(run.step))


def verdict(outcome: TrainingOutcome) -> tuple[bool, str]:
    """Whether anything got better, and a sentence that says what did and what did not."""
    name = shownName(outcome.model)
    parts, gains = [], []
    for measure in _measures():
        before, after = outcome.before.get(measure.key), outcome.after.get(measure.key)
        if before is not None and after is not None:
            gains.append(measure.gain(before, after))
            parts.append(_("{name}: {word}").format(name=measure.name, word=_gainWord(gains[-1])))
    if not outcome.isNew:
        text = _(
            "Training finished: in {steps} steps nothing was better than “{name}”, so no model was made."
        )
        return False, text.format(steps=numberText(outcome.steps), name=name)
    if not gains:
        text = _(
            "Training finished: “{name}” is ready. No patient was held out to compare it with its parent."
        )
        return True, text.format(name=name)
    better = max(gains) > 0
    text = (
        _("Training finished: on held-out CT “{name}” is better than its parent ({list}).")
        if better
        else _("Training finished, but on held-out CT “{name}” is no better than its parent ({list}).")
    )
    return better, text.format(name=name, list="; ".join(parts))


def _gainWord(gain: int) -> str:
    return {1: _("better"), 0: _("the same"), -1: _("worse")}[gain]


def _stateText(run: TrainingRun, entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return ""
    step, steps = numberText(run.step), run.steps
    parts = [
        _("Step {step} of {steps}").format(step=step, steps=numberText(steps))
        if steps and run.minutes is None
        else _("Step {step}").format(step=step)
    ]
    tested = [entry for entry in entries if isinstance(entry.get("validation_noise"), (int, float))]
    for measure in _measures() if tested else []:
        first, last = tested[0].get(measure.key), tested[-1].get(measure.key)
        if not isinstance(last, (int, float)) or measure.key == "retrieval_top1":
            continue
        text = _("{name} {value}").format(name=measure.name, value=measure.text(last))
        if tested[0]["step"] == 0 and len(tested) > 1 and isinstance(first, (int, float)):
            text = _("{text} (parent {value})").format(text=text, value=measure.text(first))
        parts.append(text)
    return " · ".join(parts)


def _resultHtml(outcome: TrainingOutcome) -> str:
    head = ["", _("Parent"), _("New"), ""]
    right = "align='right' style='padding-left: 10px'"
    rows = ["".join(f"<td {right}><b>{escape(text)}</b></td>" for text in head)]
    for measure in _measures():
        before, after = outcome.before.get(measure.key), outcome.after.get(measure.key)
        if before is None or after is None:
            continue
        name = measure.name[:1].upper() + measure.name[1:]
        cells = [measure.text(before), measure.text(after)]
        row = f"<td>{escape(name)}</td>" + "".join(f"<td {right}>{escape(cell)}</td>" for cell in cells)
        rows.append(f"{row}<td {right}>{escape(_gainWord(measure.gain(before, after)))}</td>")
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    title, kept = _("No model was made."), _("No step was better than the parent on held-out CT.")
    if outcome.isNew:
        title = _("“{name}” is in the list of models.").format(name=shownName(outcome.model))
        kept = _("Kept: the state after step {best} of {steps}.").format(
            best=numberText(outcome.bestStep), steps=numberText(outcome.steps)
        )
    elif outcome.before == outcome.after:
        return f"<b>{escape(title)}</b> {escape(kept)}"
    tableHtml = f"<table cellspacing='0' cellpadding='2'>{table}</table>" if len(rows) > 1 else ""
    return f"<b>{escape(title)}</b> {escape(kept)}{tableHtml}"
