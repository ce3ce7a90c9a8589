"""Trainings on disk: a folder for each, beside the folder of models; what it says, and its life.

The library writes into a training's folder (``request.json``, ``cohort.json``, ``log.jsonl``,
``result.json``) and this module reads; whatever is missing, half written or damaged counts as not there yet.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import re
import shutil
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.training.finetune import FEW_VOLUMES, LEAST_VOLUMES

from ..places import notWritten, trainingsFolder
from .files import linesOf, listOf, mappingOf, numbersOf, stampOf, wholeOf
from .owner import Owner, myself, ownerOf

FEWEST, ADVISED = LEAST_VOLUMES, FEW_VOLUMES
"""CT that a training needs at least, and those below which it is warned."""

SCANS = "scans"
"""Sub-folder with the volumes that were written out of the scene; gone once they are prepared."""

_OWNER, _BUDGET = "slicer.json", "budget.json"
_ENDING = re.compile(r"\.(nii\.gz|nii|nrrd|nhdr|mha|mhd)$", re.IGNORECASE)
_NEUTRAL = re.compile(r"ct-(\d+)\.mhd")


@dataclass(frozen=True)
class Scan:
    """What was found out about one CT.

    Attributes:
        file: its file's name.
        usable: whether it can be trained on.
        reason: why not, one sentence; empty where it can.
        lungMl: volume of its lungs, None where unknown.
    """

    file: str
    usable: bool
    reason: str = ""
    lungMl: float | None = None

    @property
    def name(self) -> str:
        """What to call it: the file's name without its ending, or "CT 3" for a volume of the scene."""
        neutral = _NEUTRAL.fullmatch(self.file)
        if neutral is not None:
            return _("CT {number}").format(number=int(neutral.group(1)))
        return _ENDING.sub("", self.file)


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training ended.

    Attributes:
        model: the new model, as the panel's list and ``--bundle`` take it.
        parent: the model it was tuned from, likewise.
        bestStep: the step whose weights were kept; 0 is the parent itself.
        steps: how many were made.
        before: validation numbers of the parent on the held-out CT, by name.
        after: those of the new model; both are empty where no patient could be held out.
    """

    model: str
    parent: str
    bestStep: int
    steps: int
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)

    @property
    def isNew(self) -> bool:
        """Whether there is a new model: none is made where no step was better than the parent."""
        return self.model != self.parent


class TrainingRun:
    """One training on disk.

    Args:
        folder: where it is.

    Attributes:
        written: file of every volume that was written out of the scene, by what the volume was then.
        names: what the user calls these files; in memory only, so that no name of a patient is kept.
        source: the folder whose CT were looked at last, None for volumes of the scene.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[Hashable, str] = {}
        self.names: dict[str, str] = {}
        self.source: Path | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainingRun) and other.folder == self.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    @property
    def isBegun(self) -> bool:
        """Whether it can be resumed: it was started, and not only its scans checked."""
        return (self.folder / "request.json").is_file()

    @property
    def isFinished(self) -> bool:
        """Whether its model is there."""
        return self.outcome() is not None

    @property
    def isElsewhere(self) -> bool:
        """Whether another Slicer works on it: one that is alive, or one of another computer."""
        return self._owner() in (Owner.another, Owner.afar)

    @property
    def isAfar(self) -> bool:
        """Whether a Slicer of another computer holds it, which may have crashed: only the user can tell."""
        return self._owner() is Owner.afar

    def elsewhereText(self) -> str:
        """What to say where another Slicer works on it."""
        if not self.isAfar:
            return _("Another Slicer works on this training.")
        since = datetime.datetime.fromtimestamp(stampOf(self.folder / _OWNER)[0] / 1e9)
        return _("Slicer on the computer {host} has held this training since {time}.").format(
            host=mappingOf(self.folder / _OWNER).get("host"), time=since.strftime("%Y-%m-%d %H:%M")
        )

    @property
    def name(self) -> str:
        """Identifier of the model in the making."""
        return str(mappingOf(self.folder / "request.json").get("name") or "")

    @property
    def parent(self) -> str:
        """The model it starts from."""
        return str(mappingOf(self.folder / "request.json").get("parent") or "")

    @property
    def device(self) -> str:
        """Where it trains, as in the settings."""
        return str(mappingOf(self.folder / "request.json").get("device") or "auto")

    @property
    def steps(self) -> int:
        """How many it was asked for; 0 where nobody said."""
        return wholeOf(self.settings().get("steps"))

    @property
    def step(self) -> int:
        """How many are done, as far as the log says."""
        entries = self.entries()
        return wholeOf(entries[-1]["step"]) if entries else 0

    @property
    def seconds(self) -> float:
        """How long it has trained."""
        entries = self.entries()
        seconds = entries[-1].get("seconds") if entries else None
        return float(seconds) if isinstance(seconds, (int, float)) else 0.0

    @property
    def minutes(self) -> float | None:
        """Its budget of time, None where it goes by steps."""
        minutes = mappingOf(self.folder / _BUDGET).get("minutes")
        return float(minutes) if isinstance(minutes, (int, float)) else None

    def settings(self) -> dict[str, Any]:
        """How it trains, as the library wrote it; empty until then."""
        return mappingOf(self.folder / "settings.json")

    def scans(self) -> list[Scan]:
        """What is known by now about its CT, in the library's order."""
        return [_scan(entry) for entry in listOf(self.folder / "cohort.json") if isinstance(entry, dict)]

    def nameOf(self, scan: Scan) -> str:
        """What to call one of its CT: the volume's name while it is known, else that of the file."""
        return self.names.get(scan.file, scan.name)

    def entries(self) -> list[dict[str, Any]]:
        """The lines of its log that are whole, in order."""
        return linesOf(self.folder / "log.jsonl")

    def outcome(self) -> TrainingOutcome | None:
        """How it ended; None while it has not."""
        said = mappingOf(self.folder / "result.json")
        if not isinstance(said.get("model"), str):
            return None
        return TrainingOutcome(
            model=said["model"],
            parent=str(said.get("parent") or ""),
            bestStep=wholeOf(said.get("best_step")),
            steps=wholeOf(said.get("steps")),
            before=numbersOf(said.get("before")),
            after=numbersOf(said.get("after")),
        )

    def stamp(self) -> tuple[object, ...]:
        """Changes whenever one of its files does."""
        names = ("request.json", "cohort.json", "log.jsonl", "result.json")
        return (str(self.folder), *(stampOf(self.folder / name) for name in names))

    def lookAt(self, source: Path | None) -> None:
        """From now on its CT are those of this folder (None: the scene); what was known of others goes.

        Raises:
            InputError: code ``not-written``.
        """
        if source != self.source:
            try:
                (self.folder / "cohort.json").unlink(missing_ok=True)
            except OSError as error:
                raise notWritten(self.folder, error) from error
        self.source = source

    def keepBudget(self, minutes: float | None) -> None:
        """Remember the budget of time, for when it is resumed.

        Raises:
            InputError: code ``not-written``.
        """
        self._write(_BUDGET, {"minutes": minutes})

    def claim(self) -> None:
        """This Slicer works on it now.

        Raises:
            InputError: another one does, or the folder cannot be written.
        """
        if self.isElsewhere:
            needed = _("Pause it there, or start a new one here.")
            if self.isAfar:
                needed = _("Pause it there; where that Slicer is gone, delete {file}.")
                needed = needed.format(file=self.folder / _OWNER)
            raise InputError("training-elsewhere", self.elsewhereText(), needed)
        self._write(_OWNER, myself())

    def takeOver(self) -> None:
        """Free it from a Slicer of another computer, which the user knows to be gone.

        Raises:
            InputError: code ``not-written``.
        """
        try:
            (self.folder / _OWNER).unlink(missing_ok=True)
        except OSError as error:
            raise notWritten(self.folder, error) from error

    def release(self) -> None:
        """This Slicer works on it no more; one whose scans were only checked stays its own."""
        if not (self.isBegun and self.isMine):
            return
        with contextlib.suppress(OSError):
            (self.folder / _OWNER).unlink(missing_ok=True)

    def takeBack(self) -> None:
        """A training that failed before its first step is none: its folder serves another attempt."""
        if not self.entries():
            with contextlib.suppress(OSError):
                (self.folder / "request.json").unlink(missing_ok=True)

    def forgetScans(self) -> None:
        """Remove the volumes that were written out of the scene; what was prepared of them stays."""
        shutil.rmtree(self.folder / SCANS, ignore_errors=True)

    def discard(self) -> None:
        """Remove it for good; a finished training's model stays in the library.

        Raises:
            InputError: code ``not-deleted``.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            raise InputError(
                "not-deleted",
                _("The training could not be removed completely."),
                _("Close the programs that use its files and try again."),
            )

    @property
    def isAbandoned(self) -> bool:
        """Whether only its scans were checked, by a Slicer that is certainly gone."""
        return not self.isBegun and self._owner() is Owner.gone

    @property
    def isMine(self) -> bool:
        """Whether this very Slicer works on it."""
        return self._owner() is Owner.me

    def _owner(self) -> Owner:
        return ownerOf(mappingOf(self.folder / _OWNER))

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        try:
            (self.folder / name).write_text(json.dumps(content) + "\n", encoding="utf-8")
        except OSError as error:
            raise notWritten(self.folder, error) from error


def newRun() -> TrainingRun:
    """A folder that only this user can read, for a new training of this Slicer.

    Raises:
        InputError: code ``not-written``, there can be none.
    """
    home = trainingsFolder()
    now = datetime.datetime.now().strftime("%Y-%m-%d %H.%M.%S")
    try:
        home.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = home / (now if number == 1 else f"{now} {number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                break
    except OSError as error:
        raise notWritten(home, error) from error
    run = TrainingRun(folder)
    run.claim()
    return run


def knownRuns() -> list[TrainingRun]:
    """Trainings that were started, the latest first; checks of scans that a dead Slicer left are removed."""
    try:
        folders = sorted(trainingsFolder().iterdir(), reverse=True)
    except OSError:
        return []
    runs = [TrainingRun(folder) for folder in folders if folder.is_dir()]
    for run in runs:
        if run.isAbandoned:
            shutil.rmtree(run.folder, ignore_errors=True)
    return [run for run in runs if run.isBegun]


def unfinishedRuns() -> list[TrainingRun]:
    """Trainings that wait for somebody to go on with them, the latest first."""
    return [run for run in knownRuns() if not (run.isFinished or run.isElsewhere or run.isMine)]


def _scan(entry: Mapping[str, Any]) -> Scan:
    ml = entry.get("lung_ml")
    return Scan(
        file=str(entry.get("file") or ""),
        usable=bool(entry.get("usable")),
        reason=str(entry.get("reason") or ""),
        lungMl=float(ml) if isinstance(ml, (int, float)) and math.isfinite(ml) else None,
    )
