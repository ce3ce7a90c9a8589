"""An evaluation on disk: one file a finished case, whole or not at all, so that a killed run resumes."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from ..errors import not_written
from ..io.whole_file import writing

FORMAT = 1


class EvaluationFolder:
    """Files of an evaluation.

    ``cases/SUITE-CASE.json``, ``pictures/CASE.png`` (of patients: never to be passed on),
    ``evaluation.json``, ``evaluation.md`` and the plots that it shows, ``evaluation/*.png``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases = folder / "cases"
        self.pictures = folder / "pictures"
        self.plots = folder / "evaluation"
        self.table = folder / "evaluation.md"
        self.numbers = folder / "evaluation.json"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            InputError: they cannot be made.
        """
        try:
            for folder in (self.cases, self.pictures, self.plots):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(f"The folder {self.folder}", error) from error

    def read_case(self, suite: str, name: str) -> dict[str, Any] | None:
        """What is known of a case; None where it was never finished."""
        try:
            content = json.loads(self._case(suite, name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and content.get("format") == FORMAT else None

    def write_case(self, suite: str, name: str, content: dict[str, Any]) -> None:
        """Keep a finished case."""
        write_json(self._case(suite, name), {"format": FORMAT, "suite": suite, "case": name, **content})

    def read_suites(self) -> dict[str, Any]:
        """The suites of ``evaluation.json``; empty where there is none."""
        try:
            content = json.loads(self.numbers.read_text(encoding="utf-8"))
            return dict(content["suites"]) if content.get("format") == FORMAT else {}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def _case(self, suite: str, name: str) -> Path:
        return self.cases / f"{suite}-{file_name(name)}.json"


def file_name(name: str) -> str:
    """A case's name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")


def write_json(path: Path, content: Any) -> None:
    """Write plain values, NaN as null, whole or not at all."""
    with writing(path) as aside:
        aside.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def digest_of(*parts: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
