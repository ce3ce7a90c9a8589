"""A short training that is killed again and again, and what it must look like then and in the end.

For test_training_kills.py and benchmarks/training_kills.py. The training is the real command, with a process
that prepares patches and a checkpoint after every step, on three generated CT.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from smallchest import chest, image, save

from DiffSegLungLib.model.archive import read
from DiffSegLungLib.running.process_tree import own_group

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = [
    "--size", "small", "--patch", "8", "32", "32", "--batch", "2", "--workers", "1", "--stage-two", "20",
    "--full-weight", "30", "--validate-every", "20", "--precision", "fp32", "--device", "cpu",
    "--checkpoint-minutes", "0", "--json-progress",
]  # fmt: skip
_POLL_S = 0.001
_GONE_S = 15.0
"""How long processes may stay whose parent was killed: PyTorch's workers look every five seconds."""

_SPACING_MM = 2.9  # with smallchest's 64 voxels a chest as small as is still taken for one


def make_ct(folder: Path, count: int = 3) -> Path:
    """Small CT, each of a patient of its own."""
    folder.mkdir(parents=True)
    for number in range(count):
        save(image(chest(seed=number), spacing=(_SPACING_MM,) * 3), folder / f"c{number}.nii.gz")
    return folder


@dataclass
class Death:
    """How one run of the command ended.

    Attributes:
        stage: what it was doing: start, prepare, train, population or bundle; ``end`` when nobody killed it.
        half_written: what it was writing, by the names that files and folders have until they are whole.
        step: of the checkpoint that it left, -1 for none.
    """

    stage: str
    half_written: list[str]
    step: int


@dataclass
class Training:
    """One training that may be started many times, with a temporary folder of its own.

    Attributes:
        popen: how the command is started.
        seen: seconds after its start at which the last run reached each stage.
    """

    ct: Path
    home: Path
    steps: int
    popen: type[subprocess.Popen[bytes]] = subprocess.Popen
    seen: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.run = self.home / "run"
        self.home.mkdir(parents=True)
        self.temporary = Path(tempfile.mkdtemp())  # the paths of sockets in it must be short
        weakref.finalize(self, shutil.rmtree, self.temporary, ignore_errors=True)
        self._processes: set[int] = set()
        self._known: tuple[tuple[int, int], int] = ((0, 0), -1)

    def go(
        self, kill: Callable[[Training], bool] = lambda _: False, *, delay_s: float = 0.0, group: bool = True
    ) -> Death:
        """Run the command; SIGKILL ``delay_s`` after ``kill`` first says so, and nothing may be torn then.

        Args:
            kill: asked once a millisecond.
            delay_s: how long after that.
            group: kill all processes at once; False kills the main one, the others have to notice.
        """
        command = [sys.executable, "-m", "DiffSegLungLib", "train", str(self.ct), "--out", str(self.run)]
        environment = os.environ | {
            "TMPDIR": str(self.temporary),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        self.seen, self._began, self._began_at = {}, time.monotonic(), time.time()
        self._heard = 0
        self.said = self.home / "said.jsonl"
        before = self.step()
        with self.said.open("wb") as said, (self.home / "told.txt").open("wb") as told:
            process = self.popen(
                [*command, *OPTIONS, "--steps", str(self.steps)],
                env=environment, stdout=said, stderr=told, **own_group(),
            )  # fmt: skip
            while process.poll() is None and not (self._notice() or kill(self)):
                time.sleep(_POLL_S)
            if process.poll() is None:
                time.sleep(delay_s)
            death = self._kill(process, group=group)
        assert (death.stage == "end") == (process.returncode == 0), (self.home / "told.txt").read_text()
        assert death.step >= before, "the training went back"
        return death

    def at(self, stage: str) -> bool:
        """Whether this run has reached a stage."""
        return stage in self.seen

    def for_seconds(self) -> float:
        """Since this run began."""
        return time.monotonic() - self._began

    def writes(self, name: str) -> bool:
        """Whether this run has a file of this name half-written now."""
        with contextlib.suppress(FileNotFoundError):
            return any(left.stat().st_mtime > self._began_at for left in self.run.glob(f".part-*-{name}"))
        return False

    def step(self) -> int:
        """Step of the checkpoint, which must be whole; -1 for none. What was read once is not read again."""
        path = self.run / "checkpoint.pt"
        if not path.exists():
            return -1
        seen = path.stat()
        which = (seen.st_ino, seen.st_mtime_ns)
        if which != self._known[0]:
            self._known = which, int(torch.load(path, weights_only=True)["step"])
        return self._known[1]

    def assert_whole(self) -> None:
        """Everything that has its final name can be read and fits together."""
        if (self.run / "settings.json").exists():
            json.loads((self.run / "settings.json").read_text())
        for folder in self.run.glob("store/[!.]*"):
            meta = json.loads((folder / "meta.json").read_text())
            for name in ("hu.npy", "lungs.npy"):
                assert list(np.load(folder / name).shape) == meta["shape"]
        steps = [entry["step"] for entry in self.log()]
        assert steps == sorted(set(steps))
        if (self.run / "bundle" / "card.json").exists():
            read(self.run / "bundle")  # compares the weights with the card

    def log(self) -> list[dict[str, Any]]:
        """Lines of the log without their times."""
        path = self.run / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]

    def files(self) -> set[str]:
        """All files and folders of the run."""
        return {str(path.relative_to(self.run)) for path in self.run.rglob("*")}

    def leftovers(self) -> list[str]:
        """What has no business to be there after the end: half-written files, temporary ones, processes."""
        shared = [p.name for p in Path("/dev/shm").glob("*") if self._ours(p.name)]
        # PyTorch makes the folder of its compiler's cache when it is imported.
        temporary = [p.name for p in self.temporary.iterdir() if not p.name.startswith("torchinductor_")]
        living = [f"process {pid}" for pid in self._processes if _lives(pid)]
        return sorted([*self.half_written(), *temporary, *shared, *living])

    def half_written(self) -> list[str]:
        """Files and folders with the names that they have until they are whole."""
        return sorted(name for name in self.files() if Path(name).name.startswith(".part-"))

    def _notice(self) -> bool:
        if self.said.stat().st_size > self._heard:
            text = self.said.read_text()
            self._heard = len(text)
            for stage in re.findall(r'"stage": "(\w+)"', text):
                self.seen.setdefault(stage, self.for_seconds())
        if (self.run / "bundle").exists() and self.at("population"):
            self.seen.setdefault("bundle", self.for_seconds())
        return False

    def _kill(self, process: subprocess.Popen[bytes], *, group: bool) -> Death:
        children: list[psutil.Process] = []
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            os.killpg(process.pid, signal.SIGSTOP)  # looking at it takes longer than writing a file
            children = psutil.Process(process.pid).children(recursive=True)
        if process.poll() is None:
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)
        process.wait()
        self._processes |= {process.pid, *(child.pid for child in children)}
        self._notice()
        _, alive = psutil.wait_procs(children, _GONE_S)
        assert not alive, f"orphans: {alive}"
        self.assert_whole()
        stage = "end" if process.returncode == 0 else next(reversed(self.seen), "start")
        if stage == "prepare" and (children or self.writes("checkpoint.pt")):
            stage = "train"
        final = [re.sub(r".*\.part-[^-]+-\d+-", "", name) for name in self.half_written()]
        return Death(stage, [name for name in final if self.writes(name)], self.step())

    def _ours(self, name: str) -> bool:
        return any(str(pid) in re.findall(r"\d+", name) for pid in self._processes)


def differences(training: Training, unbroken: Training) -> list[str]:
    """In what two finished trainings differ; nothing is rounded."""
    found = [f"file {name}" for name in sorted(training.files() ^ unbroken.files())]
    found += [] if training.log() == unbroken.log() else ["log"]
    one, other = (
        torch.load(t.run / "checkpoint.pt", weights_only=True) | {"seconds": 0} for t in (training, unbroken)
    )
    found += [f"checkpoint {name}" for name in _different(one, other)]
    files = ["bundle/model.safetensors", *(n for n in unbroken.files() if n.endswith(".npy"))]
    found += [n for n in files if (training.run / n).read_bytes() != (unbroken.run / n).read_bytes()]
    found += [f"card {name}" for name in _different(_card(training), _card(unbroken))]
    return found


def _card(training: Training) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((training.run / "bundle" / "card.json").read_text())
    del card["created"], card["training"]["hours"], card["training"]["last"]["seconds"]
    return card


def _different(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of the leaves of two nested mappings that differ in any bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            found
            for key in {**one, **other}
            for found in _different(one.get(key), other.get(key), f"{name}.{key}".lstrip("."))
        ]
    same = torch.equal(one, other) if torch.is_tensor(one) and torch.is_tensor(other) else one == other
    return [] if same else [name]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
