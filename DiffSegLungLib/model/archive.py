"""A bundle as a file to pass on: read with suspicion, written the same way every time.

Nothing heavy is imported, so that a program can show what models there are before it loads any.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..io.whole_file import writing

CARD, WEIGHTS = "card.json", "model.safetensors"
RESERVED = ("default", "built-in")
"""What a user may write in place of a model's name; no model is called so."""

FORMAT = 1
LARGEST_PATCH = 512
"""Canonical voxels along one side of a patch."""

_CELL = (4, 8, 8)
"""As in ``canonical``, which is too heavy for a program that only shows cards."""

_LISTS = (
    ("data", "training_fingerprints"),
    ("data", "held_out_fingerprints"),
    ("population", "timesteps"),
    ("population", "statistics"),
    ("tissues", "timesteps"),
    ("tissues", "statistics"),
)
_LARGEST = {CARD: 4 * 1024**2, WEIGHTS: 2 * 1024**3}
_DENSEST = 100  # weights hardly compress; what unpacks to more than this many times its size is an attack
_NEEDED = ("id", "version", "format", "architecture", "schedule", "patch", "sha256")
_ID = re.compile(r"[^\W_][\w.+-]*(?: [\w.+-]+)*")
_VERSION = re.compile(r"[^\W_][\w.+-]*")
_LONGEST_NAME = 80
_MOMENT = (1980, 1, 1, 0, 0, 0)
_AGAIN = "Export or download it again."


@dataclass(frozen=True)
class Packed:
    """A bundle as it lies on disk, its weights checked against the SHA-256 on its card.

    Attributes:
        card: what ``card.json`` says.
        weights: content of ``model.safetensors``.
    """

    card: dict[str, Any]
    weights: bytes

    @property
    def name(self) -> str:
        """Identifier and version."""
        return name_of(self.card)

    def write(self, target: Path) -> None:
        """Write a zip that appears whole or not at all; the same bundle always gives the same bytes.

        Raises:
            InputError: the folder is missing, or may not be written to, or is full.
        """
        with writing(target) as aside:
            self.pack(aside)

    def pack(self, aside: Path) -> None:
        """Write the bytes of :meth:`write` under a name that nobody reads yet."""
        with zipfile.ZipFile(aside, "x", zipfile.ZIP_STORED) as archive:
            card = json.dumps(self.card, indent=2) + "\n"
            for name, content in ((CARD, card.encode()), (WEIGHTS, self.weights)):
                member = zipfile.ZipInfo(name, _MOMENT)
                member.create_system = 3  # the same bytes on Windows
                member.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(member, content)


def read(place: Path, *, follow_links: bool = True) -> Packed:
    """A bundle from a folder or a zip.

    Args:
        place: where it is.
        follow_links: whether the files in a folder may lie elsewhere; in a zip they never may.

    Raises:
        InputError: nothing there, not a bundle, anything in a zip beside the two files of a bundle, a link
            that may not be followed, weights that do not match their SHA-256.
    """
    with _opened(place, follow_links=follow_links) as source:
        card = _parsed(source.read(CARD), place.name)
        weights = source.read(WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != card["sha256"]:
        raise InputError(
            "bundle-tampered",
            f"The weights in {place.name} do not match the SHA-256 on their card.",
            f"The file is damaged or was changed. {_AGAIN}",
        )
    return Packed(card, weights)


def read_card(place: Path) -> dict[str, Any]:
    """The card of a bundle in a folder or a zip; its weights are not read.

    Raises:
        InputError: nothing there, or not a bundle.
    """
    with _opened(place) as source:
        return _parsed(source.read(CARD), place.name)


def name_of(card: dict[str, Any]) -> str:
    """Identifier and version of a card."""
    return f"{card['id']} {card['version']}"


def check_identity(card: Mapping[str, Any], place: str) -> None:
    """Refuse a card whose identifier or version cannot be in the name of a file on every system.

    Raises:
        InputError: code ``bundle-name``.
    """
    identifier, version = card["id"], card["version"]
    if not (isinstance(identifier, str) and isinstance(version, str)):
        raise InputError(
            "bundle-name", f"The id or the version on the card of {place} is no text.", "Both must be text."
        )
    name = f"{identifier} {version}"
    plain = unicodedata.is_normalized("NFC", name) and len(name) <= _LONGEST_NAME
    fits = _ID.fullmatch(identifier) and _VERSION.fullmatch(version)
    if not (plain and fits) or identifier.casefold() in RESERVED:
        raise InputError(
            "bundle-name",
            f"The model in {place} is called {name[:_LONGEST_NAME]!r}, which cannot be a model's name.",
            f"At most {_LONGEST_NAME} letters, digits and . _ + - are allowed, single spaces in the id, and "
            f"not {' or '.join(RESERVED)}.",
        )


class _Folder:
    def __init__(self, place: Path, *, follow_links: bool) -> None:
        self._place, self._follow_links = place, follow_links

    def read(self, name: str) -> bytes:
        path = self._place / name
        if path.is_symlink() and not self._follow_links:
            raise _broken(f"{name} in {self._place.name} is a link.", "A bundle holds its files itself.")
        if not path.is_file():
            raise _incomplete(f"The folder {self._place}", name)
        if path.stat().st_size > _LARGEST[name]:
            raise _too_large(name, self._place.name)
        return path.read_bytes()


class _Zip:
    def __init__(self, archive: zipfile.ZipFile, place: Path) -> None:
        self._archive, self._place = archive, place
        self._members: dict[str, zipfile.ZipInfo] = {}
        parts = [(m, PurePosixPath(m.filename)) for m in archive.infolist() if not m.is_dir()]
        parts = [(m, path) for m, path in parts if not _left_by_macos(path)]
        for name in (CARD, WEIGHTS):
            if name not in {path.name for _, path in parts}:
                raise _incomplete(f"The zip {place.name}", name)
        for member, path in parts:
            self._check(member, path)
            self._members[path.name] = member
        homes = {path.parent for _, path in parts}
        if len(homes) > 1:
            raise _broken(f"{CARD} and {WEIGHTS} lie in different folders of {place.name}.", _AGAIN)

    def _check(self, member: zipfile.ZipInfo, path: PurePosixPath) -> None:
        place, shown = self._place.name, repr(member.filename)[:80]
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
            raise _broken(f"{place} holds a file that points elsewhere: {shown}.", "Do not use this file.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _broken(f"{place} holds a link: {shown}.", "Do not use this file.")
        if path.name not in _LARGEST:
            raise _broken(
                f"{place} holds {shown}, which is no part of a bundle.",
                f"A bundle holds {CARD} and {WEIGHTS} and nothing else.",
            )
        if path.name in self._members:
            raise _broken(f"{place} holds {path.name} twice.", "Do not use this file.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise _broken(f"{place} is encrypted or packed in an unusual way.", "Pack it as an ordinary zip.")
        bomb = member.file_size > 1024**2 and member.file_size > _DENSEST * member.compress_size
        if bomb or member.file_size > _LARGEST[path.name]:
            raise _too_large(path.name, place)

    def read(self, name: str) -> bytes:
        member = self._members[name]
        with self._archive.open(member) as file:
            # Without a bound all of it is unpacked, even what its header does not admit to.
            return file.read(member.file_size)


@contextlib.contextmanager
def _opened(place: Path, *, follow_links: bool = True) -> Iterator[_Folder | _Zip]:
    """The files of a bundle, whatever holds them; what goes wrong in reading becomes a sentence."""
    try:
        if place.is_dir():
            yield _Folder(place, follow_links=follow_links)
        elif place.is_file() and zipfile.is_zipfile(place):
            with zipfile.ZipFile(place) as archive:
                yield _Zip(archive, place)
        else:
            seen = "is neither a folder nor a whole zip" if place.exists() else "does not exist"
            raise InputError(
                "no-bundle", f"The model bundle {place} {seen}.", f"A bundle holds {WEIGHTS} and {CARD}."
            )
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise _broken(f"{place.name} is damaged.", _AGAIN) from error
    except OSError as error:
        raise _broken(f"{place.name} cannot be read ({error.strerror or error}).", _AGAIN) from error


def _left_by_macos(path: PurePosixPath) -> bool:
    return path.parts[:1] == ("__MACOSX",) or path.name == ".DS_Store"


def _parsed(content: bytes, place: str) -> dict[str, Any]:
    try:
        card = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _broken(f"{CARD} in {place} is not readable JSON.", _AGAIN) from error
    missing = [key for key in _NEEDED if key not in card] if isinstance(card, dict) else list(_NEEDED)
    if missing:
        raise _broken(f"{CARD} in {place} lacks {', '.join(missing)}.", _AGAIN)
    if card["format"] != FORMAT:
        raise InputError(
            "bundle-format",
            f"The bundle {place} has format {str(card['format'])[:20]}.",
            f"This version of DiffSegLung reads format {FORMAT}.",
        )
    fault = _fault(card)
    if fault:
        raise _broken(f"The model in {place} is of no use: {fault}.", _AGAIN)
    return dict(card)


def _fault(card: Mapping[str, Any]) -> str:
    """What a segmentation or a training would stumble over in a card of all parts; empty for nothing."""
    blocks = tuple(2 * c for c in _CELL)
    patch = _three(card["patch"])
    if any(not 0 < p <= LARGEST_PATCH or p % b for p, b in zip(patch, blocks, strict=True)):
        return f"its patch is not three multiples of {', '.join(map(str, blocks))} up to {LARGEST_PATCH}"
    for name in ("data", "training", "population", "tissues"):
        if not isinstance(card.get(name, {}), dict):
            return f"the part {name!r} of its card is not one"
    for part, name in _LISTS:
        seen = card.get(part, {}).get(name, [])
        if not isinstance(seen, list) or not all(isinstance(one, (str, int)) for one in seen):
            return f"the {name.replace('_', ' ')} on its card are not a list of texts or numbers"
    settings = card.get("training", {}).get("settings", {})
    if not isinstance(settings, dict):
        return "the settings of its training are none"
    block = _three(settings.get("block", [1, 1, 1]))
    if any(b < 1 or p // c % b for p, c, b in zip(patch, _CELL, block, strict=True)):
        return "its patch does not hold whole blocks"
    return ""


def _three(values: Any) -> tuple[int, ...]:
    """Three whole numbers of a card; zeros where they are something else."""
    whole = isinstance(values, list) and len(values) == 3 and all(type(value) is int for value in values)
    return tuple(values) if whole else (0, 0, 0)


def _broken(seen: str, needed: str) -> InputError:
    return InputError("bundle-broken", seen, needed)


def _incomplete(place: str, name: str) -> InputError:
    return InputError("no-bundle", f"{place} has no {name}.", f"A bundle holds {WEIGHTS} and {CARD}.")


def _too_large(name: str, place: str) -> InputError:
    return _broken(f"{name} in {place} would unpack to more than any model needs.", "Do not use this file.")
