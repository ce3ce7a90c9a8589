"""The models a user can choose: built-in, installed, used before, and what their cards say (no torch)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model.archive import CARD, WEIGHTS, name_of, read, read_card
from DiffSegLungLib.model.comparison import compare
from DiffSegLungLib.model.library import SHIPPED, Library, Model

DEFAULT, BUILT_IN = "default", "built-in"
RECENT_SETTING = "DiffSegLung/recentModels"
MOST_RECENT = 5
_LONGEST_CELL = 90


@dataclass(frozen=True)
class ModelCard:
    """What a model says about itself.

    Attributes:
        bundle: ``"default"``, ``"built-in"``, the name of an installed model, or the path of a folder or zip.
        name: identifier and version.
        facts: (heading, text) in the order in which to read them.
        fittedTimesteps: at which the population mixture was fitted; empty when the model has none.
        lastTimestep: the highest noise level the model knows, 0 when its card does not say.
    """

    bundle: str
    name: str
    facts: tuple[tuple[str, str], ...]
    fittedTimesteps: tuple[int, ...]
    lastTimestep: int

    def html(self) -> str:
        """The facts for a label."""
        return "<br>".join(f"<b>{escape(heading)}</b> {escape(text)}" for heading, text in self.facts)


def readCard(bundle: str) -> ModelCard:
    """The card of a model.

    Args:
        bundle: ``"default"``, ``"built-in"``, the name of an installed model, or the path of a folder or zip.

    Raises:
        InputError: nothing there, or not a model.
    """
    place = placeOf(bundle)
    card = read_card(place)
    if place.is_dir() and not (place / WEIGHTS).is_file():
        raise _noModel(place)
    try:
        return ModelCard(
            bundle=bundle,
            name=name_of(card),
            facts=_facts(card),
            fittedTimesteps=tuple(int(t) for t in card.get("population", {}).get("timesteps", ())),
            lastTimestep=max(0, int(card["schedule"]["timesteps"]) - 1),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _noModel(place) from error


def placeOf(bundle: str) -> Path:
    """Where a model lies: a folder or a zip.

    Raises:
        InputError: there is no such model.
    """
    chosen = bundle if Path(bundle).is_absolute() else Library().choose(bundle).place
    return SHIPPED if chosen == BUILT_IN else Path(chosen)


def requireInstalled(bundle: str) -> str:
    """The words for a model that the library of models holds.

    Raises:
        InputError: it lies elsewhere.
    """
    if Path(bundle).is_absolute():
        raise InputError(
            "not-installed",
            _("{name} is not an installed model.").format(name=shownName(bundle)),
            _("Import it first."),
        )
    return bundle


def requireDeletable(bundle: str) -> Model:
    """The installed model that may be deleted.

    Raises:
        InputError: it is the built-in one or the default one, or not installed.
    """
    library = Library()
    default = library.default()[0]
    model = default if bundle == DEFAULT else library.find(requireInstalled(bundle))
    if model is None:
        raise InputError("no-bundle", _("The model {name} is gone.").format(name=bundle), "")
    if model.built_in:
        raise InputError(
            "model-kept", _("The built-in model cannot be deleted."), _("It is part of the program.")
        )
    if model.place == default.place:
        raise InputError(
            "model-kept",
            _("“{name}” is the default model.").format(name=model.name),
            _("Choose another model and press Make default first."),
        )
    return model


def replacedBy(place: str) -> str:
    """Name of the installed model that an import of this folder or zip would replace; empty for none.

    The same model is replaced where the installed one is damaged; to know, its weights are read.

    Raises:
        InputError: it is not a model.
    """
    card = read_card(Path(place))
    there = Library().find(name_of(card))
    if there is None or there.built_in or (there.card == card and _isWhole(there)):
        return ""
    return there.name


def comparisonHtml(first: str, second: str) -> str:
    """What the cards of two models say differently, as a table.

    Raises:
        InputError: one of them cannot be read, or is nested too deeply.
    """
    try:
        differences, same = compare(read_card(placeOf(first)), read_card(placeOf(second)))
    except RecursionError as error:
        raise InputError("bundle-broken", _("The two cards cannot be compared."), "") from error
    if not differences:
        return _("Both are the same model.")
    rows = "".join(
        f"<tr><td><i>{_cell(d.entry)}</i></td><td>{_cell(d.first)}</td><td>{_cell(d.second)}</td></tr>"
        for d in differences
    )
    names = (f"<th align='left'>{_cell(shownName(bundle))}</th>" for bundle in (first, second))
    table = f"<table cellspacing='4'><tr><th></th>{''.join(names)}</tr>{rows}</table>"
    return table + (_("The same: {entries}").format(entries=escape(", ".join(same))) if same else "")


def _cell(text: str) -> str:
    """Text for a narrow column: shortened, and with places to break long words at."""
    shown = text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"
    words = ("\u200b".join(w[i : i + 14] for i in range(0, len(w), 14)) for w in shown.split(" "))
    return escape(" ".join(words))


def installedModels() -> list[str]:
    """What there is beside files: the default, the built-in model if that is another, and installed ones."""
    library = Library()
    try:
        names = [model.name for model in library.models() if not (model.built_in or model.problem)]
    except InputError:  # an unreadable folder of models keeps nobody from using the built-in one
        names = []
    return [DEFAULT, *([] if library.default()[0].built_in else [BUILT_IN]), *names]


def shownName(bundle: str) -> str:
    """What to call a model in a list; one that cannot be read keeps its name or the end of its path."""
    if bundle not in (DEFAULT, BUILT_IN):
        return Path(bundle).name
    model = Library().default()[0] if bundle == DEFAULT else Library().find(BUILT_IN)
    assert model is not None, "the built-in model comes with the library"
    text = _("Built-in ({name})") if model.built_in else _("Default ({name})")
    return text.format(name=model.name)


def bundleFromFile(path: str) -> str:
    """The model that a file in a file dialogue stands for: a zip itself, otherwise the folder it lies in."""
    chosen = Path(path)
    return str(chosen if chosen.suffix.lower() == ".zip" or chosen.is_dir() else chosen.parent)


def recentModels() -> list[str]:
    """Models used before that are still there, latest first."""
    stored = slicer.util.settingsValue(RECENT_SETTING, "[]")
    try:
        paths = json.loads(stored)
    except (TypeError, ValueError):
        return []
    return [path for path in paths if isinstance(path, str) and Path(path).exists()][:MOST_RECENT]


def rememberModel(bundle: str) -> None:
    """Put a file or folder first in the list of recent ones."""
    if Path(bundle).is_absolute():
        paths = [bundle, *(path for path in recentModels() if path != bundle)]
        slicer.app.userSettings().setValue(RECENT_SETTING, json.dumps(paths[:MOST_RECENT]))


def _isWhole(model: Model) -> bool:
    try:
        read(model.place)
    except InputError:
        return False
    return True


def _noModel(place: Path) -> InputError:
    return InputError(
        "no-bundle",
        _("{place} is not a DiffSegLung model.").format(place=place.name or str(place)),
        _("A model is a folder or zip with {card} and {weights}.").format(card=CARD, weights=WEIGHTS),
    )


def _facts(card: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    training, data = card.get("training", {}), card.get("data", {})
    facts = [
        (
            _("What:"),
            _("3D diffusion model with {count} noise levels").format(count=card["schedule"]["timesteps"]),
        ),
        (_("Trained on:"), str(data.get("statement", ""))),
        (_("Labels used:"), str(data.get("labels", ""))),
        (_("Training:"), _trainingText(training)),
        (_("Licence:"), str(card.get("licence", ""))),
        (_("Limits:"), str(card.get("limits", ""))),
        (_("Use:"), str(card.get("intended_use", ""))),
    ]
    return tuple((heading, text) for heading, text in facts if text)


def _trainingText(training: Mapping[str, Any]) -> str:
    if "steps" not in training:
        return ""
    text = _("{steps} steps").format(steps=f"{int(training['steps']):,}")
    if "hours" in training:
        text = _("{text} in {hours} hours").format(text=text, hours=training["hours"])
    return text
