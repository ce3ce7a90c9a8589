"""A training run on disk: settings, log, checkpoint. Everything in it survives a SIGKILL at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from .settings import TrainingSettings


class RunFolder:
    """Files of one run: ``settings.json``, ``log.jsonl``, ``checkpoint.pt``, ``loss.png``, ``bundle/``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.jsonl"
        self.checkpoint = folder / "checkpoint.pt"
        self.curve = folder / "loss.png"
        self.bundle = folder / "bundle"
        self.store = folder / "store"
        self._settings = folder / "settings.json"
        folder.mkdir(parents=True, exist_ok=True)

    def agree_on(self, settings: TrainingSettings) -> None:
        """Remember the settings; on resume only ``steps`` and how the work is done may differ."""
        free = {"steps", "workers", "precision", "checkpoint_minutes", "validate_every"}
        wanted = json.loads(json.dumps(settings.to_mapping()))
        if self._settings.is_file():
            before: dict[str, Any] = json.loads(self._settings.read_text(encoding="utf-8"))
            changed = sorted(k for k in wanted if k not in free and before.get(k) != wanted[k])
            if changed and self.checkpoint.is_file():
                raise InputError(
                    "settings-changed",
                    f"The run in {self.folder.name} was started with other settings: {', '.join(changed)}.",
                    "Resume it with the same ones, or name another folder with --out.",
                )
        write_aside(self._settings, json.dumps(wanted, indent=2).encode() + b"\n")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by a newer one, whole or not at all."""
        aside = self.checkpoint.with_suffix(".part")
        with aside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.checkpoint)

    def load_checkpoint(self, device: torch.device) -> dict[str, Any] | None:
        """The last checkpoint, or None for a new run; the log is cut back to it."""
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

    def _cut_log(self, step: int) -> None:
        kept = [entry for entry in self.entries() if entry["step"] <= step]
        write_aside(self.log, "".join(json.dumps(entry) + "\n" for entry in kept).encode())


def write_aside(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_bytes(content)
    aside.replace(path)
