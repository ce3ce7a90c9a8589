"""One library command in a process of its own, spoken to over the JSON-lines protocol of :mod:`progress`.

Its standard output and error go to files, which :meth:`Child.poll` reads on: no pipe can fill up, no thread
is needed, nothing blocks. Its standard input is a pipe that says only one thing: closed, by intent or by the
death of this process, it means stop (``--stop-with-stdin``). Needs the standard library only.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Cancelled, DiffSegLungError, InputError, OutOfMemory
from . import process_tree

GRACE_S = 4.0
"""How long most cancelled commands may take, see :class:`Child`, s."""

_FULL_BYTES = 1_000_000
_CHUNK = 1 << 20
_LAST = 8 << 20
_EXIT_CLASSES = {2: InputError, 4: OutOfMemory}


@dataclass(frozen=True)
class Report:
    """Progress of a command: its stage, the fraction of the whole run (0..1), seconds left where known."""

    stage: str
    fraction: float
    eta_s: float | None


class Child:
    """Runs one command; :meth:`poll` it until :attr:`running` is False.

    Args:
        arguments: of ``diffseglung``, e.g. ``["segment", ct, "-o", folder]``; paths are best absolute.
        folder: existing folder for what the command prints; only ``progress.jsonl`` and ``log.txt`` are made.
        python: the interpreter; this one by default.
        environment: variables to set for the command, beside those of this process.
        background: give way to other programs (lower priority).
        grace_s: how long a cancelled command may take to clean up before its whole process tree is killed, s.

    Attributes:
        result: what the command's last line gives as result, once it has ended well.
        error: why it did not end well: :class:`Cancelled` after :meth:`cancel` or :meth:`kill`.
        exit_code: of the process; negative for a signal; None while it runs.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        background: bool = False,
        grace_s: float = GRACE_S,
    ) -> None:
        self._command = [python or sys.executable, "-m", "DiffSegLungLib", *arguments]
        self._command += ["--json-progress", "--stop-with-stdin"]
        self._folder = folder
        self._environment = dict(environment or {})
        self._background = background
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._finished = False
        self._deadline: float | None = None
        self._last: dict[str, Any] = {}
        self._stage = "start"
        self._log: list[str] = []
        self._last_log_line = ""
        self.result: str | None = None
        self.error: DiffSegLungError | None = None
        self.exit_code: int | None = None

    @property
    def running(self) -> bool:
        """Whether the command has been started and its end has not been seen by :meth:`poll`."""
        return self._process is not None and not self._finished

    @property
    def pid(self) -> int | None:
        """Process id, once started."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the command.

        Raises:
            DiffSegLungError: ``worker-not-started``, the interpreter or the folder cannot be used.
        """
        try:
            with self._path("progress.jsonl").open("wb") as out, self._path("log.txt").open("wb") as err:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    env=self._variables(),
                    **process_tree.own_group(background=self._background),
                )
        except OSError as error:
            raise DiffSegLungError(
                "worker-not-started",
                f"The segmentation process could not be started ({error.strerror or error}).",
                "Check that the disk is not full and that the installation is complete.",
            ) from error
        if self._background:
            process_tree.give_way(self._process.pid)
        self._lines = _Tail(self._path("progress.jsonl"))
        self._errors = _Tail(self._path("log.txt"))

    def poll(self) -> list[Report]:
        """New progress since the last call; notices the end, and kills what outlived its time to clean up."""
        if self._process is None or self._finished:
            return []
        ended = self._process.poll() is not None  # asked first: what it wrote before is then all there
        reports = list(self._read())
        if self._deadline is not None and time.monotonic() > self._deadline:
            self._end()
        elif ended and (self._deadline is None or not process_tree.group_exists(self._process.pid)):
            # A launcher may end before the command that it launched: a cancelled one may still clean up.
            self._end()
        return reports

    def cancel(self) -> None:
        """Ask the command to stop and clean up; :meth:`poll` kills it where it does not in time."""
        if self._process is None or self._finished or self._deadline is not None:
            return
        self._deadline = time.monotonic() + self._grace_s
        self._close_input()
        process_tree.terminate(self._process.pid)

    def kill(self) -> None:
        """End the command and all it started, at once; returns when they are gone."""
        if self._process is None or self._finished:
            return
        self._deadline = self._deadline or time.monotonic()
        self._end()

    def new_log(self) -> str:
        """What the command wrote to standard error since the last call, and whatever was no protocol."""
        if self.running:
            self._log.append(self._errors.read())
        text, self._log = "".join(self._log), []
        self._remember(text)
        return text

    def _end(self) -> None:
        """Nothing of it lives on; what it said last becomes result or error."""
        assert self._process is not None
        self._close_input()
        process_tree.kill(self._process)
        self.exit_code = self._process.returncode
        list(self._read(last=True))
        rest = self._errors.read(last=True)
        self._log.append(rest)
        self._remember(rest)
        self._lines.close()
        self._errors.close()
        self._finished = True
        if isinstance(self._last.get("result"), str):
            self.result = self._last["result"]  # published: whatever happened afterwards does not count
        else:
            self.error = self._why()

    def _why(self) -> DiffSegLungError:
        said = self._last.get("error")
        if self._deadline is not None or (isinstance(said, dict) and said.get("code") == "cancelled"):
            return Cancelled(self._stage)
        if isinstance(said, dict):
            kind = _EXIT_CLASSES.get(self.exit_code or 0, DiffSegLungError)
            return kind(str(said.get("code")), str(said.get("message")), str(said.get("hint", "")))
        if self._disk_is_full():
            return InputError(
                "disk-full",
                "The disk that holds the temporary files is full.",
                "Free some space, or choose another temporary folder.",
            )
        return self._died()

    def _disk_is_full(self) -> bool:
        with contextlib.suppress(OSError):  # somebody removed the folder
            return shutil.disk_usage(self._folder).free < _FULL_BYTES
        return False

    def _died(self) -> DiffSegLungError:
        number = process_tree.signal_of(self.exit_code)
        how = f"exit code {self.exit_code}" if number is None else f"killed by signal {number}"
        hint = "See the log."
        if number == getattr(signal, "SIGKILL", 9):
            hint = (
                "Most often memory ran out: close other programs, use the preset fast, or give the CT "
                "cropped to the lungs."
            )
        elif self._last_log_line:
            hint = f"Its last words: {self._last_log_line}"
        return DiffSegLungError("worker-died", f"The segmentation process ended unexpectedly ({how}).", hint)

    def _read(self, *, last: bool = False) -> Iterator[Report]:
        for line in self._lines.lines(last=last):
            entry = _object(line)
            if "result" in entry or "error" in entry:
                self._last = entry
            elif isinstance(entry.get("fraction"), (int, float)):
                eta = entry.get("eta_s")
                self._stage = str(entry.get("stage", ""))
                fraction = min(max(float(entry["fraction"]), 0.0), 1.0)
                yield Report(self._stage, fraction, float(eta) if isinstance(eta, (int, float)) else None)
            elif line.strip():
                self._log.append(f"{line}\n")

    def _remember(self, text: str) -> None:
        lines = [line for line in text.splitlines() if line.strip()]
        self._last_log_line = lines[-1].strip()[:200] if lines else self._last_log_line

    def _close_input(self) -> None:
        assert self._process is not None
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _variables(self) -> dict[str, str]:
        """The environment: a copy, in which this very library is found first, wherever the command runs."""
        home = str(Path(__file__).resolve().parents[2])
        variables = {**os.environ, **self._environment}
        paths = [home, *variables.get("PYTHONPATH", "").split(os.pathsep)]
        variables["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(p for p in paths if p))
        variables["PYTHONSAFEPATH"] = "1"  # a file in the current folder must not replace a library
        variables["PYTHONIOENCODING"] = "utf-8"
        # Threads that spin while they wait would steal the cores from whoever started this.
        variables.setdefault("OMP_WAIT_POLICY", "passive")
        return variables


class _Tail:
    """A growing text file, read on from where the last call stopped."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._part = ""

    def read(self, *, last: bool = False) -> str:
        """New text: at most 1 MB a call, and the last 8 MB of the rest at the last one."""
        if last:
            size = os.fstat(self._stream.fileno()).st_size
            self._stream.seek(max(self._stream.tell(), size - _LAST))
        return self._decoder.decode(self._stream.read(_LAST if last else _CHUNK), final=last)

    def lines(self, *, last: bool = False) -> list[str]:
        """New whole lines; at the last call also one without its end."""
        # No line of the protocol comes near 1 MB: of one that does not end, its end is enough.
        *whole, self._part = (self._part[-_CHUNK:] + self.read(last=last)).split("\n")
        return [*whole, self._part] if last and self._part else whole

    def close(self) -> None:
        self._stream.close()


def _object(line: str) -> dict[str, Any]:
    """A line of the protocol; empty for anything else."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
