"""Fine-tuning: what a model passes on to the one that is made from it, and how the new one is kept.

The child has its parent's form and teaching: architecture, patch, blocks, noise schedule, and the statistics
by which descriptors are standardised. Nothing heavy is imported before a model is installed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..io.whole_file import writing
from ..model.archive import CARD, check_identity, read
from ..model.library import BUILT_IN, SHIPPED, Library, Model
from .settings import SIZES, TrainingSettings

LEAST_VOLUMES = 3
FEW_VOLUMES = 10

DEFAULTS: dict[str, Any] = {
    "steps": 1500,
    "learning_rate": 1e-4,
    "stage_two": 0,
    "full_weight": 0,
    "validate_every": 100,
    "validation_share": 0.2,
    "checkpoint_minutes": 1.0,
    "patience": 5,
}
"""Where a fine-tuning differs from a training: distillation has its full weight from the first step."""

_INHERITED = ("timestep_power", "temperature", "dense", "block", "soft_bandwidth")
_CURVE_LINES = 100


@dataclass(frozen=True)
class Parent:
    """The model that is fine-tuned.

    Attributes:
        words: how to ask for it.
        place: folder or zip.
        card: what it says about itself.
    """

    words: str
    place: Path
    card: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, str]:
        """What the child's card says about it."""
        return {key: str(self.card[key]) for key in ("id", "version", "sha256")}

    @property
    def child(self) -> str:
        """Identifier of the child, unless the user gives one."""
        return f"{self.card['id']}-tuned"

    def trained_on(self, fingerprint: str) -> bool:
        """Whether its weights have seen a CT, as far as its card says."""
        return fingerprint in self.card.get("data", {}).get("training_fingerprints", ())


def choose_parent(words: str) -> tuple[Parent, str]:
    """The model that a user wants to fine-tune, and what there is to say about the choice.

    Raises:
        InputError: there is no such model, or it is damaged.
    """
    library = Library()
    choice = library.choose(words)
    place = SHIPPED if choice.place == BUILT_IN else Path(choice.place)
    named = choice.place == BUILT_IN or place.parent == library.folder
    return Parent(choice.words if named else str(place), place, read(place).card), choice.note


def settings_for(parent: Parent, asked: Mapping[str, Any]) -> TrainingSettings:
    """Settings of a fine-tuning: the parent's form, the user's wishes, else :data:`DEFAULTS`.

    Args:
        parent: its card says what cannot be chosen.
        asked: what the user chose, by the names of :class:`TrainingSettings`.

    Raises:
        InputError: a wish contradicts the parent, or its card cannot be understood.
    """
    form = _form(parent)
    for name, told in (("base", _told_size), ("patch", _told_patch), ("dense", _told_dense)):
        if name in asked and asked[name] != form[name]:
            raise InputError(
                "parent-differs",
                f"The model {parent.words} was trained with {told(form[name])}, not {told(asked[name])}.",
                "A fine-tuned model keeps the form of its parent: leave the option out.",
            )
    return TrainingSettings(**{**form, **DEFAULTS, **asked})


def check_child(name: str, run: Path) -> None:
    """Refuse a name that no model can have, and a library that cannot take one, before any work is done.

    Raises:
        InputError: the name is not one, or is that of the built-in model, or the library cannot be written.
    """
    library = Library()
    check_identity({"id": name, "version": library.next_version(name)}, run.name)
    shipped = library.models()[0]
    if name.casefold() == str(shipped.card.get("id", "")).casefold():
        raise InputError(
            "model-exists", f"The built-in model is called {name}.", "Give the new one another --name."
        )
    library.prepare()


def register(bundle: Path) -> Model:
    """Install a new model under its identifier, with a version that is one more than the highest there is.

    A model that is there already, the same to the bit, is left as it is: a run that was killed after this
    does not install it twice.

    Args:
        bundle: folder of the model; the version on its card is set.

    Raises:
        InputError: the library cannot be written.
    """
    library, packed = Library(), read(bundle)
    for model in library.models():
        same = (model.card.get("id"), model.card.get("sha256")) == (packed.card["id"], packed.card["sha256"])
        if same and not model.problem:
            return model
    while True:
        card = packed.card | {"version": library.next_version(packed.card["id"])}
        with writing(bundle / CARD) as aside:
            aside.write_bytes(json.dumps(card, indent=2).encode() + b"\n")
        try:
            return library.install(bundle)[0]
        except InputError as error:
            # Another training may have taken this version in the meantime.
            if error.code != "model-exists" or card["version"] == library.next_version(card["id"]):
                raise


def made_before(bundle: Path, card: Mapping[str, Any]) -> bool:
    """Whether the folder holds a whole model of the same identifier from the same training."""
    with contextlib.suppress(InputError):
        there = read(bundle).card
        training = json.loads(json.dumps(card["training"]))
        return bool(there["id"] == card["id"] and there.get("training") == training)
    return False


def curve_of(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of a log for a card: every validation, and of the other lines so many that it stays short."""
    every = max(1, -(-len(entries) // _CURVE_LINES))
    return [e for i, e in enumerate(entries) if "validation_noise" in e or i % every == 0]


def _form(parent: Parent) -> dict[str, Any]:
    """Settings that the parent decides."""
    card = parent.card
    known = card.get("training", {}).get("settings", {})
    plain = TrainingSettings()
    try:
        architecture = card["architecture"]
        form: dict[str, Any] = {
            "base": int(architecture["base"]),
            "attention_heads": int(architecture["attention_heads"]),
            "timesteps": int(architecture["timesteps"]),
            "patch": _three(card["patch"]),
        }
        for name in _INHERITED:
            value, kind = known.get(name, getattr(plain, name)), type(getattr(plain, name))
            form[name] = _three(value) if kind is tuple else kind(value)
        if card["schedule"]["timesteps"] != form["timesteps"]:
            raise ValueError("two numbers of timesteps")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            "bundle-broken",
            f"The card of {parent.words} does not say how it was trained.",
            "Fine-tune another model.",
        ) from error
    return form


def _three(values: Any) -> tuple[int, int, int]:
    z, y, x = values
    return int(z), int(y), int(x)


def _told_size(base: int) -> str:
    return f"--size {next((name for name, width in SIZES.items() if width == base), base)}"


def _told_patch(patch: tuple[int, int, int]) -> str:
    return f"--patch {' '.join(map(str, patch))}"


def _told_dense(dense: bool) -> str:
    return "one descriptor a block" if dense else "one descriptor a patch"
