"""What long work talks with: how far it is, what the user should know, whether it is to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from .errors import Cancelled


@dataclass(frozen=True)
class Talk:
    """Talk between long work and whoever started it: progress, notes, the request to stop.

    A caller makes one, ``Talk(progress=..., cancelled=...)``, and hands it to a run; the run gives a part of
    it to each of its steps, which need not know what share of the whole they are.

    Attributes:
        progress: called with the stage's name, the fraction of it that is done, 0..1, and what people read in
            place of the name (mostly empty).
        note: called with a sentence that the user should know.
        cancelled: asked often, also from other threads; True stops the work.
        stage: name of the stage at work.
        begin: fraction of the stage at which this part of it begins, 0..1.
        end: fraction at which it ends.
    """

    progress: Callable[[str, float, str], None] = lambda stage, fraction, text: None
    note: Callable[[str], None] = lambda sentence: None
    cancelled: Callable[[], bool] = lambda: False
    stage: str = ""
    begin: float = 0.0
    end: float = 1.0

    def at(self, stage: str) -> Talk:
        """The talk of a stage, from its begin to its end."""
        return replace(self, stage=stage, begin=0.0, end=1.0)

    def part(self, begin: float, end: float) -> Talk:
        """The talk of a step that goes from fraction ``begin`` to ``end`` of this one."""
        span = self.end - self.begin
        return replace(self, begin=self.begin + begin * span, end=self.begin + end * span)

    def advance(self, fraction: float, text: str = "") -> None:
        """Report that ``fraction``, 0..1, of this part is done.

        Raises:
            Cancelled: the work is to stop.
        """
        self.check()
        self.progress(self.stage, self.begin + fraction * (self.end - self.begin), text)

    def check(self) -> None:
        """Go on, unless the work is to stop.

        Raises:
            Cancelled: it is.
        """
        if self.cancelled():
            raise Cancelled(self.stage)

    @contextmanager
    def enter(self, stage: str, seconds: dict[str, float]) -> Iterator[Talk]:
        """Begin a stage, end it, and keep how long it took in ``seconds``."""
        inside = self.at(stage)
        inside.advance(0.0)
        start = time.monotonic()
        yield inside
        seconds[stage] = time.monotonic() - start
        inside.advance(1.0)


SILENT = Talk()
"""Nobody listens, and nothing stops the work."""
