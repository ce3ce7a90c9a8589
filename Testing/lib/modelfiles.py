"""Models on disk for tests, whole and altered."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tinymodel import tiny_bundle

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model.archive import CARD, WEIGHTS


def make(folder: Path, identifier: str = "own", version: str = "1", shift: float = 0.0) -> Path:
    """A bundle on disk; another ``shift`` makes other weights."""
    bundle = tiny_bundle(id=identifier, version=version)
    with torch.no_grad():
        next(bundle.network.parameters()).add_(shift)
    bundle.save(folder)
    return folder


def refused(action: Callable[[], object]) -> InputError:
    with pytest.raises(InputError) as seen:
        action()
    assert seen.value.message.endswith(".")
    assert "\n" not in seen.value.message + seen.value.hint
    return seen.value


def content(place: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in place.iterdir()} if place.is_dir() else {}


def pack(source: Path, target: Path, *, under: str = "", compress: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(target, "w", compress) as archive:
        for name in (CARD, WEIGHTS):
            archive.write(source / name, under + name)
    return target


def change_card(place: Path, **entries: object) -> None:
    card = json.loads((place / CARD).read_text())
    (place / CARD).write_text(json.dumps(card | entries))
