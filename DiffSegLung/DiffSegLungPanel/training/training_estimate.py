"""How long a training will take on this computer, before it is started; every training corrects it.

A step's time goes with the voxels of a batch and the square of the network's width. The first figure is that
of the built-in model's own training (two cores of an AMD EPYC); see docs/model-card.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model.library import Library
from DiffSegLungLib.training.settings import TrainingSettings

from ..wording import durationText, numberText
from .runs import TrainingRun

SETTING = "DiffSegLung/trainingSecondsPerWork"
SECONDS_PER_WORK = 2.3e-9
PREPARE_S, MIXTURE_S = 12.0, 25.0
"""Seconds for every CT, to prepare it and to fit the mixture of tissues to it at the end."""

_FEWEST_STEPS = 40
_BATCH = TrainingSettings().batch
"""Patches a step of the panel's trainings, whatever the parent's own were."""

_USUAL = {"base": 32, "batch": _BATCH, "patch": [16, 64, 64]}


def estimateText(parent: str, device: str, scans: int, minutes: float | None, steps: int | None) -> str:
    """What a budget means: about how many steps, and how long in all.

    Args:
        parent: the model to start from.
        device: as in the settings.
        scans: how many CT; 0 where nobody knows yet.
        minutes: the budget of time, or None.
        steps: the budget of steps, or None.
    """
    each = _secondsPerWork(device) * _work(_settingsOf(parent))
    around = (PREPARE_S + MIXTURE_S) * scans
    if steps is None:
        seconds = 60.0 * (minutes or 0.0)
        count = numberText(_rounded(seconds / each))
        if not scans:
            return _("About {count} steps, plus preparation").format(count=count)
        return _("About {count} steps; {time} in all").format(
            count=count, time=durationText(seconds + around)
        )
    text = _("About {time} in all") if scans else _("About {time}, plus preparation")
    return text.format(time=durationText(steps * each + around))


def learnFrom(run: TrainingRun) -> None:
    """Correct the next estimate for its device by what a training took."""
    if run.step < _FEWEST_STEPS or run.seconds <= 0:
        return
    settings = run.settings()
    measured = run.seconds / run.step / _work(settings if "base" in settings else _settingsOf(run.parent))
    slicer.app.userSettings().setValue(f"{SETTING}/{run.device}", measured)


def _secondsPerWork(device: str) -> float:
    stored = slicer.util.settingsValue(f"{SETTING}/{device}", SECONDS_PER_WORK, converter=float)
    return stored if 0 < stored < math.inf else SECONDS_PER_WORK


def _settingsOf(model: str) -> Mapping[str, Any]:
    """How the panel tunes a model: with the network and the patch of its card."""
    library = Library()
    try:
        found = library.default()[0] if model == "default" else library.find(model)
    except InputError:
        found = None
    training = found.card.get("training") if found is not None else None
    settings = training.get("settings") if isinstance(training, dict) else None
    return {**settings, "batch": _BATCH} if isinstance(settings, dict) else _USUAL


def _work(settings: Mapping[str, Any]) -> float:
    try:
        values = {**_USUAL, **settings}
        work = float(values["base"]) ** 2 * float(values["batch"]) * math.prod(map(float, values["patch"]))
    except (TypeError, ValueError, OverflowError):
        work = 0.0
    return work if 0 < work < math.inf else _work(_USUAL)


def _rounded(count: float) -> float:
    """To two digits: nobody knows it better."""
    if count < 1:
        return 1.0
    unit = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return round(count / unit) * unit
