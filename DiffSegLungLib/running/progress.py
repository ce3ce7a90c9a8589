"""How a run speaks: a single live line for people, or one JSON object a line for programs.

The protocol (``--json-progress``), on standard output: any number of ``{"stage", "fraction", "eta_s"}``, then
one ``{"result": path}`` or one ``{"error": {"code", "message", "hint"}}``. ``fraction`` is that of the whole
run, 0..1, and never falls; ``eta_s`` is null until there is something to estimate from.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Protocol, TextIO

from ..errors import DiffSegLungError


class Display(Protocol):
    """Where progress, the result and errors go."""

    def progress(self, stage: str, fraction: float, eta_s: float | None) -> None:
        """Show that ``fraction`` (0..1) of the whole run is done, now in ``stage``."""

    def result(self, path: str, summary: str) -> None:
        """Say where the result is, and what it says in a few lines."""

    def error(self, error: DiffSegLungError) -> None:
        """Say what went wrong and what is needed."""

    def note(self, text: str) -> None:
        """Say something by the way, on standard error."""


class JsonLines:
    """The protocol for programs, on a stream that nothing else writes to (see :func:`private_stdout`)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def progress(self, stage: str, fraction: float, eta_s: float | None) -> None:
        eta = None if eta_s is None else round(eta_s, 1)
        self._write({"stage": stage, "fraction": round(fraction, 4), "eta_s": eta})

    def result(self, path: str, summary: str) -> None:
        self._write({"result": path})

    def error(self, error: DiffSegLungError) -> None:
        self._write({"error": {"code": error.code, "message": error.message, "hint": error.hint}})

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _write(self, entry: Mapping[str, object]) -> None:
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()


class Console:
    """For people: one line that rewrites itself on a terminal, one line a stage elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._live = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._stage = ""
        self._start = time.monotonic()

    def progress(self, stage: str, fraction: float, eta_s: float | None) -> None:
        if self._live:
            filled = round(24 * fraction)
            left = "" if eta_s is None else f"  about {_duration(eta_s)} left"
            bar = "━" * filled + "╌" * (24 - filled)
            sys.stderr.write(f"\r\x1b[2K{bar} {fraction:4.0%}  {stage}{left}")
        elif stage != self._stage and not self._quiet:
            sys.stderr.write(f"{time.monotonic() - self._start:6.1f} s  {stage}\n")
        self._stage = stage
        sys.stderr.flush()

    def result(self, path: str, summary: str) -> None:
        self._clear()
        sys.stdout.write(f"{summary}\n" if summary and not self._quiet else f"{path}\n")

    def error(self, error: DiffSegLungError) -> None:
        self._clear()
        sys.stderr.write(f"diffseglung: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"{error.hint}\n")

    def note(self, text: str) -> None:
        self._clear()
        sys.stderr.write(f"{text}\n")

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


class Silent:
    """For a process that works beside another one which speaks for both; only a defect of its own is told."""

    def progress(self, stage: str, fraction: float, eta_s: float | None) -> None:
        """Nothing."""

    def result(self, path: str, summary: str) -> None:
        """Nothing."""

    def error(self, error: DiffSegLungError) -> None:
        if error.code in {"unexpected", "out-of-memory", "no-device"}:
            Console().error(error)

    def note(self, text: str) -> None:
        """Nothing."""


class Progress:
    """Turns each stage's own fraction into that of the whole run, with an estimate of the time left.

    Args:
        display: where to show it.
        shares: expected duration of each stage in order, in any unit.
    """

    def __init__(self, display: Display, shares: Mapping[str, float]) -> None:
        self._display = display
        total = sum(shares.values())
        done = 0.0
        self._span: dict[str, tuple[float, float]] = {}
        for stage, share in shares.items():
            self._span[stage] = (done / total, share / total)
            done += share
        self._start = time.monotonic()
        self._fraction = 0.0
        self._shown = ("", -1.0)
        self._lock = threading.Lock()

    def __call__(self, stage: str, fraction: float, text: str = "") -> None:
        """Report that ``fraction`` (0..1) of ``stage`` is done; ``text`` is shown in place of its name."""
        with self._lock:
            begin, share = self._span.get(stage, (self._fraction, 0.0))
            self._fraction = max(self._fraction, begin + share * min(max(fraction, 0.0), 1.0))
            shown = text or stage
            if shown == self._shown[0] and self._fraction - self._shown[1] < 0.005:
                return
            self._shown = (shown, self._fraction)
            elapsed = time.monotonic() - self._start
            enough = self._fraction > 0.05 and elapsed > 1.0
            eta_s = elapsed * (1.0 - self._fraction) / self._fraction if enough else None
            self._display.progress(shown, self._fraction, eta_s)


@contextlib.contextmanager
def private_stdout() -> Iterator[TextIO]:
    """Standard output for the protocol alone: whatever a library prints goes to standard error meanwhile."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(kept, "w", encoding="utf-8")
    try:
        yield stream
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        with contextlib.suppress(OSError):  # nobody reads any more
            stream.close()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
