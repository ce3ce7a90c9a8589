"""The models on this computer: the one that ships, and those that the user has installed.

An installed model is one zip in the user's folder, named after its card: it appears, is replaced and goes in
one step. Nothing heavy is imported until a model is installed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, not_written
from ..io.whole_file import writing
from .archive import CARD, RESERVED, Packed, check_identity, name_of, read, read_card

if TYPE_CHECKING:
    from .bundle import Bundle

DEFAULT, BUILT_IN = RESERVED
SHIPPED = Path(__file__).resolve().parents[1] / "weights"
VARIABLE = "DIFFSEGLUNG_MODELS"
_CHOICE = "default.json"


@dataclass(frozen=True)
class Model:
    """One model of the library.

    Attributes:
        name: identifier and version; the file's name where the card cannot be read.
        place: its zip, or the folder of the one that ships.
        card: what it says about itself; empty where it cannot be read.
        problem: why it cannot be used, one sentence; empty when it can.
    """

    name: str
    place: Path
    card: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def built_in(self) -> bool:
        """Whether it is the one that ships."""
        return self.place == SHIPPED


@dataclass(frozen=True)
class Choice:
    """The model that a user's words stand for.

    Attributes:
        place: as :func:`load_model` takes it: ``"built-in"``, or a path.
        words: how to ask for the same model again.
        note: why it is not the one that the user had made the default; mostly empty.
    """

    place: str
    words: str
    note: str = ""


def models_folder() -> Path:
    """Where installed models are kept: ``DIFFSEGLUNG_MODELS``, or what is usual on this system."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen:
        return Path(os.path.expanduser(chosen)).absolute()  # noqa: PTH111 - never raises, unlike Path's own
    home = Path(os.path.expanduser("~"))  # noqa: PTH111
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "DiffSegLung" / "models"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "DiffSegLung" / "models"
    data = Path(os.environ.get("XDG_DATA_HOME", ""))  # the standard: a relative path counts as unset
    return (data if data.is_absolute() else home / ".local" / "share") / "diffseglung" / "models"


def load_model(words: str | Path = DEFAULT) -> Bundle:
    """The model that words stand for, see :meth:`Library.choose`, or the one that lies at a path.

    Raises:
        InputError: there is none, or it is of no use.
    """
    from .bundle import Bundle

    return Bundle.load(Library().place(words))


class Library:
    """The models in one folder, beside the one that ships.

    Args:
        folder: where they are; :func:`models_folder` unless given. Made when the first one is installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or models_folder()

    def models(self, *, verify: bool = False) -> list[Model]:
        """The model that ships, then the installed ones by name; broken ones say why they are.

        Args:
            verify: also compare all weights with their SHA-256, which reads them.

        Raises:
            InputError: the folder cannot be read.
        """
        try:
            paths = sorted(
                p for p in self.folder.iterdir() if not p.name.startswith(".") and p.name != _CHOICE
            )
        except FileNotFoundError:
            paths = []
        except OSError as error:
            raise InputError(
                "models-folder",
                f"The folder of models {self.folder} cannot be read ({error.strerror or error}).",
                f"Set {VARIABLE} to a folder that you may read and write.",
            ) from error
        found = [_shipped(verify=verify), *(_installed(path, verify=verify) for path in paths)]
        return [found[0], *sorted(found[1:], key=lambda model: _order(model.name))]

    def find(self, words: str) -> Model | None:
        """The model with this name, or the newest usable one with this identifier."""
        if words == BUILT_IN:
            return _shipped()
        models = self.models()
        exact = next((m for m in models if m.name == words), None)
        if exact is not None:
            return exact
        same = [m for m in models if m.card.get("id") == words and not m.problem]
        return max(same, key=lambda m: _order(str(m.card["version"])), default=None)

    def default(self) -> tuple[Model, str]:
        """The default model; and what to say when it is not the one the user chose, else nothing."""
        path, shipped = self.folder / _CHOICE, _shipped()
        try:
            name = json.loads(path.read_text(encoding="utf-8"))["model"]
        except FileNotFoundError:
            return shipped, ""
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return shipped, f"{path} cannot be read; the built-in model {shipped.name} is used."
        with contextlib.suppress(InputError):
            found = next((m for m in self.models() if m.name == name), None)
            if found is not None:
                return found, ""
        seen = f"The default model {str(name)[:80]} is not installed any more"
        hint = "'diffseglung models default built-in' keeps it so."
        return shipped, f"{seen}; the built-in model {shipped.name} is used. {hint}"

    def choose(self, words: str) -> Choice:
        """The model that a user asks for: ``default``, ``built-in``, a name, an identifier or a path.

        Raises:
            InputError: there is none, it is broken, or the words stand for two.
        """
        note = ""
        path = Path(os.path.expanduser(words))  # noqa: PTH111
        if words == DEFAULT:
            model, note = self.default()
        else:
            found = None if _spelled_as_path(words) else self.find(words)
            if found is None:
                if path.exists():
                    return Choice(str(path.absolute()), words)
                raise self._unknown(words)
            if words != BUILT_IN and (path.is_file() or (path / CARD).is_file()):
                raise InputError(
                    "two-models",
                    f"{words!r} is an installed model, and also a file or folder here.",
                    f"Write './{words}' for the file or folder, or run the command elsewhere.",
                )
            model = found
        _refuse_broken(model)
        if model.built_in:
            return Choice(BUILT_IN, BUILT_IN, note)
        return Choice(str(model.place), model.name, note)

    def read(self, words: str) -> Packed:
        """Card and weights of a model, by name or path."""
        return read(self.place(words))

    def place(self, words: str | Path) -> Path:
        """Where a model lies: as :meth:`choose`, or a path as it is. Warns when the default model has gone.

        Raises:
            InputError: there is no such model.
        """
        if isinstance(words, Path):
            return words
        choice = self.choose(words)
        if choice.note:
            warnings.warn(choice.note, stacklevel=3)
        return SHIPPED if choice.place == BUILT_IN else Path(choice.place)

    def install(self, source: Path, *, overwrite: bool = False) -> tuple[Model, bool]:
        """Install a model from a zip or a folder, after it has been loaded and checked.

        Args:
            source: the zip, or the folder with card and weights.
            overwrite: replace another model of the same name, or one that is damaged.

        Returns:
            The installed model, and whether it is new: False when the same was there already.

        Raises:
            InputError: not a usable bundle, another of that name is there, or the folder cannot be written.
        """
        packed = read(source, follow_links=False)
        check_identity(packed.card, source.name)
        there = next((m for m in self.models() if m.name.casefold() == packed.name.casefold()), None)
        if there is not None:
            damaged = bool(there.problem)
            try:
                if not damaged and read(there.place) == packed:
                    return there, False
            except InputError:
                damaged = True
            if there.built_in or there.name != packed.name:  # the case of letters alone: one file on a Mac
                raise InputError(
                    "model-exists",
                    f"There is another model called {there.name} already.",
                    "Give the new one another id or version.",
                )
            if not overwrite:
                seen = (
                    f"The model installed as {there.name} is damaged."
                    if damaged
                    else f"Another model is already installed as {there.name}."
                )
                raise InputError(
                    "model-exists",
                    seen,
                    "Add --overwrite to replace it, or give the new one another id or version.",
                )
        self.prepare()
        target = self.folder / f"{packed.name}.zip"
        from .bundle import Bundle

        with writing(target) as aside:
            packed.pack(aside)
            Bundle.load(aside)
        return _installed(target, verify=False), True

    def next_version(self, identifier: str) -> str:
        """The version of a new model with this identifier: one more than the highest there is, else 1."""
        begin = f"{identifier} ".casefold()
        names = [m.name.casefold() for m in self.models()]
        taken = [name.removeprefix(begin) for name in names if name.startswith(begin)]
        return str(max((int(v) for v in taken if v.isascii() and v.isdecimal()), default=0) + 1)

    def export(self, words: str, target: Path, *, overwrite: bool = False) -> Packed:
        """Write a model into a zip that :meth:`install` takes, on this computer or another.

        Raises:
            InputError: no such model, a damaged one, or the file is there or cannot be written.
        """
        packed = self.read(words)
        if target.suffix.lower() != ".zip" or target.is_dir():
            raise InputError("bad-arguments", f"{target} is not the name of a zip.", "Let it end with .zip.")
        if target.exists() and not overwrite:
            raise InputError(
                "output-exists", f"{target} is already there.", "Choose another, or add --overwrite."
            )
        packed.write(target)
        return packed

    def delete(self, words: str) -> Model:
        """Remove an installed model: never the one that ships, nor the default.

        Raises:
            InputError: there is no such model, or more than one, or it must stay.
        """
        models = self.models()
        found = [m for m in models if m.name == words] or [m for m in models if m.card.get("id") == words]
        if not found and words != BUILT_IN:
            raise self._not_installed(words)
        if len(found) > 1:
            told = ", ".join(m.name for m in found)
            raise InputError("two-models", f"There are several models {words}: {told}.", "Name one of them.")
        if words == BUILT_IN or found[0].built_in:
            raise InputError(
                "model-kept", "The built-in model cannot be deleted.", "It is part of the program."
            )
        model = found[0]
        if model.place == self.default()[0].place:
            raise InputError(
                "model-kept",
                f"{model.name} is the default model.",
                "Choose another default first, such as: diffseglung models default built-in",
            )
        if model.place.is_dir() and not model.place.is_symlink():
            raise InputError("model-kept", f"{model.place} is a folder.", "Remove it by hand.")
        try:
            model.place.unlink()
        except OSError as error:
            raise InputError(
                "not-deleted",
                f"{model.name} cannot be deleted ({error.strerror or error}).",
                "Close the programs that use it, and look who may write to its folder.",
            ) from error
        return model

    def set_default(self, words: str) -> Model:
        """Make a model the one that is used when none is named.

        Raises:
            InputError: it is not installed, or broken, or the choice cannot be kept.
        """
        model = self.find(words)
        if model is None:
            raise self._not_installed(words)
        _refuse_broken(model)
        choice = self.folder / _CHOICE
        if not model.built_in:
            with writing(choice) as aside:
                aside.write_text(json.dumps({"model": model.name}) + "\n", encoding="utf-8")
            return model
        try:
            choice.unlink(missing_ok=True)
        except OSError as error:
            raise not_written(choice.name, error) from error
        return model

    def _unknown(self, words: str) -> InputError:
        if _spelled_as_path(words):
            return InputError(
                "no-bundle", f"The model bundle {words} does not exist.", "It is a folder or a zip."
            )
        return InputError(
            "no-bundle",
            f"There is no model {words!r}, neither installed nor as a file or folder.",
            f"{self._told()} Others are added with: diffseglung models import FILE",
        )

    def _not_installed(self, words: str) -> InputError:
        return InputError("no-bundle", f"There is no installed model {words!r}.", self._told())

    def _told(self) -> str:
        return f"There are: {', '.join(m.name for m in self.models())}."

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            InputError: it cannot be made or written to.
        """
        try:
            if not self.folder.is_absolute():
                raise FileNotFoundError("no home folder")
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            hint = f"Set {VARIABLE} to a folder that you may read and write."
            raise not_written(f"The folder of models {self.folder}", error, hint) from error


_REINSTALL = "Import it again with --overwrite, or delete it."


def _refuse_broken(model: Model) -> None:
    if model.problem and not model.built_in:  # of that one, loading says what is wrong, where it is needed
        raise InputError("bundle-broken", f"The model {model.name} is broken: {model.problem}", _REINSTALL)


def _shipped(*, verify: bool = False) -> Model:
    try:
        card = read(SHIPPED).card if verify else read_card(SHIPPED)
    except InputError as error:
        return Model(BUILT_IN, SHIPPED, problem=f"{error.message} Install DiffSegLung again.")
    return Model(name_of(card), SHIPPED, card)


def _installed(path: Path, *, verify: bool) -> Model:
    """What a file in the library's folder is."""
    name = path.name.removesuffix(".zip")
    if path.is_symlink() or not path.is_file() or path.suffix != ".zip":
        return Model(name, path, problem="It was not put there by an import.")
    try:
        card = read(path).card if verify else read_card(path)
    except InputError as error:
        return Model(name, path, problem=error.message)
    if name_of(card) != name:
        return Model(name, path, problem=f"Its card says {name_of(card)}: it was not put there by an import.")
    return Model(name, path, card)


def _spelled_as_path(words: str) -> bool:
    return "/" in words or os.sep in words or words.startswith((".", "~")) or words.lower().endswith(".zip")


def _order(name: str) -> list[tuple[int, str]]:
    """Sorts 10 after 9."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)]
