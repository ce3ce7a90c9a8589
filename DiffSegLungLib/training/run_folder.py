"""A training run on disk: request, settings, log, checkpoint, result. No SIGKILL at any moment spoils it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .aside import write_aside
from .cohort import Candidate
from .settings import FREE_SETTINGS, TrainingSettings

if TYPE_CHECKING:
    import psutil
    import torch


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
            raise InputError(
                "output-not-writable",
                f"The folder {folder} cannot be made ({error.strerror or error}).",
                "Name a folder for the run that you may write to.",
            ) from error

    def claim(self) -> None:
        """Keep other processes out of this run until this one ends, however it ends.

        Raises:
            InputError: a living process of this computer is at work in it.
        """
        import psutil

        now = _identity(psutil.Process())
        other = self._read(self._owner) or {}
        with contextlib.suppress(psutil.Error, KeyError):
            if (
                other != now
                and other["host"] == now["host"]
                and other == _identity(psutil.Process(other["pid"]))
            ):
                raise InputError(
                    "run-busy",
                    f"Another process ({other['pid']}) is training in {self.folder.name}.",
                    "Stop it first, or wait until it has ended.",
                )
        _write_json(self._owner, now)

    def agree_on(self, settings: TrainingSettings) -> None:
        """Remember the settings; on resume only ``steps`` and how the work is done may differ."""
        wanted = json.loads(json.dumps(settings.to_mapping()))
        if self._settings.is_file():
            before: dict[str, Any] = json.loads(self._settings.read_text(encoding="utf-8"))
            changed = sorted(k for k in wanted if k not in FREE_SETTINGS and before.get(k) != wanted[k])
            if changed and self.checkpoint.is_file():
                raise InputError(
                    "settings-changed",
                    f"The run in {self.folder.name} was started with other settings: {', '.join(changed)}.",
                    "Resume it with the same ones, or name another folder with --out.",
                )
        _write_json(self._settings, wanted)

    def settings(self) -> TrainingSettings:
        """The settings that the run has now."""
        return TrainingSettings.from_mapping(self._read(self._settings) or {})

    def request(self) -> dict[str, Any]:
        """What was asked for when the run began; empty for a folder without a run, or with one of old."""
        return self._read(self._request) or {}

    def remember_request(self, request: dict[str, Any]) -> None:
        """Keep what the run needs to go on by itself."""
        _write_json(self._request, request)

    def cohort(self) -> list[Candidate]:
        """The CT that were looked at, usable or not."""
        return [Candidate(**entry) for entry in self._read(self.cohort_file) or []]

    def remember_cohort(self, cohort: list[Candidate]) -> None:
        """Keep which CT were looked at, and what came of it."""
        _write_json(self.cohort_file, [asdict(one) for one in cohort])

    def finish(self, result: dict[str, Any]) -> None:
        """Say that the run has ended, and with what."""
        _write_json(self.result, result)

    def outcome(self) -> dict[str, Any]:
        """What :meth:`finish` said; empty for a run that has not ended."""
        return self._read(self.result) or {}

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by a newer one, whole or not at all."""
        import torch

        aside = self.checkpoint.with_suffix(".part")
        with aside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.checkpoint)

    def load_checkpoint(self, device: torch.device) -> dict[str, Any] | None:
        """The last checkpoint, or None for a new run; the log is cut back to it."""
        import torch

        if not self.checkpoint.is_file():
            self.log.unlink(missing_ok=True)
            return None
        state: dict[str, Any] = torch.load(self.checkpoint, map_location=device, weights_only=True)
        self._cut_log(int(state["step"]))
        return state

    def append(self, entry: dict[str, Any]) -> None:
        """Add one line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """The lines of the log; a line cut off by a kill is left out."""
        if not self.log.is_file():
            return []
        lines = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(
                "run-damaged",
                f"{path.name} in the run {self.folder.name} cannot be read.",
                "Name another folder with --out.",
            ) from error

    def _cut_log(self, step: int) -> None:
        kept = [entry for entry in self.entries() if entry["step"] <= step]
        write_aside(self.log, "".join(json.dumps(entry) + "\n" for entry in kept).encode())


def _identity(process: psutil.Process) -> dict[str, Any]:
    """What tells a process from others, also from later ones with its number."""
    return {"pid": process.pid, "begun": round(process.create_time()), "host": socket.gethostname()}


def _write_json(path: Path, content: Any) -> None:
    write_aside(path, json.dumps(content, indent=2).encode() + b"\n")
