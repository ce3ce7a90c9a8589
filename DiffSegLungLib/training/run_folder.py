"""A training run on disk: request, settings, log, checkpoint, result. No SIGKILL at any moment spoils it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError, not_written
from ..io.owners import identity
from ..io.whole_file import writing
from .candidates import Candidate
from .settings import FREE_SETTINGS, TrainingSettings

if TYPE_CHECKING:
    import torch

Content = TypeVar("Content", dict[str, Any], list[Any])

_LARGEST = 64 * 1024**2
"""Bytes of a file of a run that is read at once; the log of a million steps has a tenth of that."""

_NUMBER = (int, float)
_REQUEST: dict[str, tuple[type, ...]] = {
    "sources": (list,),
    "parent": (str, type(None)),
    "parent_sha256": (str, type(None)),
    "name": (str,),
    "data": (str,),
    "device": (str,),
    "minutes": (*_NUMBER, type(None)),
}
"""What is kept of a request, and as what."""


class RunFolder:
    """Files of one run.

    Args:
        folder: of the run; made if missing.

    Attributes:
        log: a line every few steps.
        checkpoint: all that the training needs to go on.
        curve: picture of the log.
        bundle: folder of the model.
        store: folder of the prepared CT.
        parent: the model that is fine-tuned, as it was when the run began.
        result: what came out; there when the run has ended.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.jsonl"
        self.checkpoint = folder / "checkpoint.pt"
        self.curve = folder / "loss.png"
        self.bundle = folder / "bundle"
        self.store = folder / "store"
        self.parent = folder / "parent.zip"
        self.result = folder / "result.json"
        self._owner = folder / "owner.json"
        self._settings = folder / "settings.json"
        self._request = folder / "request.json"
        self.cohort_file = folder / "cohort.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(f"The folder {folder}", error) from error

    def claim(self) -> None:
        """Keep other processes out of this run until this one ends, however it ends.

        Raises:
            InputError: a living process of this computer is at work in it.
        """
        import psutil

        now, said = identity(psutil.Process()), {}
        with contextlib.suppress(InputError):  # damaged: nobody can be at work whom it does not name
            said = self._read(self._owner, dict) or {}
        other = {name: said.get(name) for name in now}
        pid, alive = other["pid"], False
        with contextlib.suppress(psutil.Error, TypeError, ValueError, OverflowError):
            alive = other["host"] == now["host"] and other == identity(psutil.Process(pid))
        if alive and other != now and not self._is_copy(said):
            raise InputError(
                "run-busy",
                f"Another process ({pid}) is training in {self.folder.name}.",
                "Stop it first, or wait until it has ended.",
            )
        _write_json(self._owner, now | self._place())

    def agree_on(self, settings: TrainingSettings) -> None:
        """Remember the settings; on resume only ``steps`` and how the work is done may differ."""
        wanted = json.loads(json.dumps(settings.to_mapping()))
        if self.checkpoint.is_file():
            before = self._read(self._settings, dict) or wanted
            changed = sorted(k for k in wanted if k not in FREE_SETTINGS and before.get(k) != wanted[k])
            if changed:
                raise InputError(
                    "settings-changed",
                    f"The run in {self.folder.name} was started with other settings: {', '.join(changed)}.",
                    "Resume it with the same ones, or name another folder with --out.",
                )
        _write_json(self._settings, wanted)

    def settings(self) -> TrainingSettings:
        """The settings that the run has now.

        Raises:
            InputError: they are missing or damaged.
        """
        known = self._read(self._settings, dict)
        if known is None:
            raise self.damaged(self._settings)
        return TrainingSettings.from_mapping(known)

    def request(self) -> dict[str, Any]:
        """What was asked for when the run began; empty for a folder without a run, or with one of old.

        Raises:
            InputError: it is damaged.
        """
        known = self._read(self._request, dict)
        if known is None:
            return {}
        whole = all(name in known and isinstance(known[name], kinds) for name, kinds in _REQUEST.items())
        if not whole or not all(isinstance(source, str) for source in known["sources"]):
            raise self.damaged(self._request)
        if known["minutes"] is not None and not known["minutes"] > 0:
            raise self.damaged(self._request)
        return known

    def remember_request(self, request: dict[str, Any]) -> None:
        """Keep what the run needs to go on by itself."""
        _write_json(self._request, request)

    def cohort(self) -> list[Candidate]:
        """The CT that were looked at, usable or not.

        Raises:
            InputError: the list is damaged.
        """
        try:
            return [Candidate.from_mapping(dict(entry)) for entry in self._read(self.cohort_file, list) or []]
        except (TypeError, ValueError) as error:
            raise self.damaged(self.cohort_file) from error

    def remember_cohort(self, cohort: list[Candidate]) -> None:
        """Keep which CT were looked at, and what came of it."""
        _write_json(self.cohort_file, [one.to_mapping() for one in cohort])

    def finish(self, result: dict[str, Any]) -> None:
        """Say that the run has ended, and with what."""
        _write_json(self.result, result)

    def outcome(self) -> dict[str, Any]:
        """What :meth:`finish` said; empty for a run that has not ended."""
        return self._read(self.result, dict) or {}

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by a newer one, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        import torch

        with writing(self.checkpoint) as aside, aside.open("xb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # PyTorch's writer, when the disk is full
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise

    def load_checkpoint(self, device: torch.device) -> dict[str, Any] | None:
        """The last checkpoint, or None for a new run; the log is cut back to it.

        Raises:
            InputError: it is damaged.
        """
        import torch

        if not self.checkpoint.is_file():
            self.log.unlink(missing_ok=True)
            return None
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location=device, weights_only=True)
            step = int(state["step"])
        except Exception as error:  # PyTorch's reader fails in many ways
            raise self.damaged(self.checkpoint) from error
        self._cut_log(step)
        return state

    def append(self, entry: dict[str, Any]) -> None:
        """Add one line to the log."""
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise not_written(self.log.name, error) from error

    def entries(self) -> list[dict[str, Any]]:
        """The lines of the log up to the first that is none: a kill cuts one off.

        Raises:
            InputError: it is no file of text.
        """
        lines: list[dict[str, Any]] = []
        for line in (self._text(self.log) or "").split("\n"):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
                break
            lines.append(entry)
        return lines

    def damaged(self, path: Path) -> InputError:
        """What a user reads when a file of the run cannot be used."""
        return InputError(
            "run-damaged",
            f"{path.name} in the run {self.folder.name} is damaged or missing.",
            "Begin the training anew in another folder.",
        )

    def _place(self) -> dict[str, Any]:
        """What tells this folder from its copies: a moved one keeps its inode, a mounted one its path."""
        return {"folder": str(self.folder.resolve()), "inode": self.folder.stat().st_ino}

    def _is_copy(self, said: dict[str, Any]) -> bool:
        """Whether what a claim said was said in another folder, of which this one is a copy."""
        place = self._place()
        return place.keys() <= said.keys() and all(said[name] != place[name] for name in place)

    def _read(self, path: Path, kind: type[Content]) -> Content | None:
        """A JSON file of the run; None where there is none."""
        text = self._text(path)
        if text is None:
            return None
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.damaged(path) from error
        if not isinstance(content, kind):
            raise self.damaged(path)
        return content

    def _text(self, path: Path) -> str | None:
        try:
            if not path.exists():
                return None
            # A device or a pipe never ends, and what is larger than this was not written by a training.
            if path.is_file() and path.stat().st_size <= _LARGEST:
                return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise self.damaged(path) from error
        raise self.damaged(path)

    def _cut_log(self, step: int) -> None:
        kept = [entry for entry in self.entries() if entry["step"] <= step]
        with writing(self.log) as aside:
            aside.write_bytes("".join(json.dumps(entry) + "\n" for entry in kept).encode())


def _write_json(path: Path, content: Any) -> None:
    with writing(path) as aside:
        aside.write_bytes(json.dumps(content, indent=2).encode() + b"\n")
