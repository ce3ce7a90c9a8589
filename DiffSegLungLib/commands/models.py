"""The command ``models``: which models there are, and what can be done with them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..model.comparison import compare, comparison_text
from ..model.library import BUILT_IN, DEFAULT, VARIABLE, Library, Model

if TYPE_CHECKING:
    from ..running.session import Session, Work

_DESCRIPTION = """\
List the models on this computer, the one that ships and those that were imported, or do one of the actions.
A model goes by its name (id and version, such as 'own 1'), by its id alone (the newest), or by the path of a
folder or zip; 'default' and 'built-in' are always there."""

_EPILOG = f"""\
examples:
  diffseglung models import own.zip          checked, then kept in the folder that 'models' names last
  diffseglung models compare 'own 1' built-in
  diffseglung models default own 1           from now on used wherever no --bundle is given
  diffseglung segment ct.nii.gz -o out --bundle 'own 1'

{VARIABLE} names another folder of models."""


def with_action(arguments: Sequence[str]) -> list[str]:
    """The command line with its action spelled out: alone it lists, with a model or path it shows."""
    if list(arguments[:1]) != ["models"]:
        return list(arguments)
    rest = list(arguments[1:])
    action = next((word for word in rest if not word.startswith("-")), None)
    if action in _ACTIONS:
        rest.remove(action)
    elif action is not None:
        action = "show"
    elif not {"-h", "--help"} & set(rest):
        action = "list"
    return ["models", *([] if action is None else [action]), *rest]


def add_arguments(
    parser: argparse.ArgumentParser, add_session: Callable[[argparse.ArgumentParser], None]
) -> None:
    """The actions of ``models``; ``add_session`` adds the options that all commands share."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = {name: actions.add_parser(name, help=text) for name, (text, _) in _ACTIONS.items()}
    for name in ("show", "delete", "default", "export"):
        made[name].add_argument(
            "model",
            nargs="*" if name in ("show", "default") else "+",
            help="its name, such as own 1" if name == "delete" else "name, id or path",
        )
    made["compare"].add_argument("models", nargs=2, metavar="MODEL", help="name in quotes, id or path")
    made["import"].add_argument("file", type=Path, help="zip, or the folder that a training wrote")
    made["export"].add_argument("file", type=Path, help="zip to write")
    for name in ("import", "export"):
        made[name].add_argument("--overwrite", action="store_true", help="replace what has the same name")
    for name, action in made.items():
        add_session(action)
        action.set_defaults(work=_ACTIONS[name][1])


def _list(_options: argparse.Namespace) -> Work:
    def work(session: Session) -> None:
        library = Library()
        default, note = library.default()
        if note:
            session.display.note(note)
        models = library.models(verify=True)
        lines = [_line(model, default=model.place == default.place) for model in models]
        lines += ["", f"* the default. Folder of installed models: {library.folder}"]
        names = "\n".join(m.name for m in models if not m.problem)
        session.display.result(_printable(names), "\n".join(lines))

    return work


def _line(model: Model, *, default: bool) -> str:
    mark = "*" if default else " "
    if model.problem:
        return _printable(f"{mark} {model.name:<24} broken: {model.problem}", keep="")
    known = [
        BUILT_IN if model.built_in else "installed",
        str(model.card.get("created", "")),
        f"SHA-256 {str(model.card['sha256'])[:12]}",
        str(model.card.get("data", {}).get("statement", "")),
    ]
    return _printable(f"{mark} {model.name:<24} {_cut(', '.join(filter(None, known)), 84)}", keep="")


def _printable(text: str, *, keep: str = "\n") -> str:
    """Text from somebody else's card without what a terminal would obey."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _show(options: argparse.Namespace) -> Work:
    def work(session: Session) -> None:
        from ..model.archive import name_of

        card = Library().read(" ".join(options.model) or DEFAULT).card
        session.display.result(_printable(name_of(card)), _printable(_card_text(card)))

    return work


def _compare(options: argparse.Namespace) -> Work:
    def work(session: Session) -> None:
        library = Library()
        first, second = (library.read(words) for words in options.models)
        names = (first.name, second.name) if first.name != second.name else tuple(options.models)
        differences, same = compare(first.card, second.card)
        text = comparison_text((names[0], names[1]), differences, same)
        told = ", ".join(d.entry for d in differences)
        session.display.result(
            _printable(f"different: {told}") if differences else "the same",
            _printable(text if differences else f"{names[0]} and {names[1]} are the same model."),
        )

    return work


def _import(options: argparse.Namespace) -> Work:
    def work(session: Session) -> None:
        session.plan({"check": 1.0})
        session.check("check")
        library = Library()
        model, new = library.install(options.file.expanduser(), overwrite=options.overwrite)
        told = f"{model.name} is installed" if new else f"{model.name} was there already, the same to the bit"
        session.display.result(model.name, f"{told}: {model.place}\n{_use(model)}")

    return work


def _use(model: Model) -> str:
    """How to use a model with the usual settings, or why those do not fit it."""
    from ..model.bundle import Bundle
    from ..segmentation.pipeline import Segmenter

    try:
        Segmenter(Bundle.load(model.place)).load_bundle()
    except InputError as error:
        return f"Mind: {error.message} {error.hint}"
    return f"Use it with: --bundle '{model.name}'"


def _export(options: argparse.Namespace) -> Work:
    def work(session: Session) -> None:
        target = options.file.expanduser().absolute()
        packed = Library().export(" ".join(options.model), target, overwrite=options.overwrite)
        session.display.result(
            str(target), f"{packed.name} is in {target}\nSHA-256 of its weights: {packed.card['sha256']}"
        )

    return work


def _delete(options: argparse.Namespace) -> Work:
    def work(session: Session) -> None:
        model = Library().delete(" ".join(options.model))
        session.display.result(model.name, f"{model.name} is deleted.")

    return work


def _default(options: argparse.Namespace) -> Work:
    def work(session: Session) -> None:
        library = Library()
        if options.model:
            model = library.set_default(" ".join(options.model))
        else:
            model, note = library.default()
            if note:
                session.display.note(note)
        kind = "the built-in model" if model.built_in else "installed"
        session.display.result(model.name, f"The default is {model.name}, {kind}.")

    return work


_ACTIONS: dict[str, tuple[str, Callable[[argparse.Namespace], Work]]] = {
    "list": ("all models, with what is wrong with broken ones (also without an action)", _list),
    "show": ("what a model is: training, data, licences, limits", _show),
    "compare": ("two models side by side: what differs", _compare),
    "import": ("install a model, after checking it", _import),
    "export": ("write a model into one file, to pass on", _export),
    "delete": ("remove an installed model", _delete),
    "default": ("choose the model that is used when none is named, or say which it is", _default),
}


def _card_text(card: Mapping[str, object], indent: str = "") -> str:
    """A card (nested mappings) as lines of text."""
    lines = []
    for key, value in card.items():
        name = indent + key.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{name}:", _card_text(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{name}: {', '.join(str(item) for item in value)}")
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)
