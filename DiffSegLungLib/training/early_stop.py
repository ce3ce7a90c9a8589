"""When a fine-tuning has learned what it can: held-out patients decide, and the best weights are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

LEAST_GAIN = 0.01
"""A score that is higher by less than this counts as no better: among the few hundred blocks of a validation,
a handful more that find their descriptor by chance move it by half of this."""

Validation = dict[str, float]
Weights = dict[str, Tensor]


def score(now: Validation, before: Validation) -> float:
    """How much better than its parent a model is on held-out patients; above 1 is better.

    The geometric mean of two ratios that count alike: the parent's noise L1 over the model's, and the model's
    retrieval (share of blocks whose own descriptor is among the first five) over the parent's. One block is
    added to the hits of both, so that a parent which finds none can be compared with:

        √( noise_0 / noise · (top5 + 1/N) / (top5_0 + 1/N) ),   N the number of blocks.

    Args:
        now: what :meth:`.trainer.Trainer.validate` says of the model.
        before: what it said of the parent.
    """
    one = now["retrieval_chance"]
    retrieval = (now["retrieval_top5"] + one) / (before["retrieval_top5"] + one)
    return math.sqrt(before["validation_noise"] / now["validation_noise"] * retrieval)


class EarlyStop:
    """Keeps the best averaged weights of a fine-tuning and says when to stop.

    Attributes:
        before: validation of the parent; empty until it is known, and where nothing is held out.
        after: validation of the best weights, the parent's to begin with.
        best_step: step of the best weights, 0 for the parent.
        best_score: their :func:`score`.
        stale: validations since then.
        weights: the best weights on the CPU; empty for the parent.
    """

    def __init__(self) -> None:
        self.before: Validation = {}
        self.after: Validation = {}
        self.best_step, self.best_score, self.stale = 0, 1.0, 0
        self.weights: Weights = {}

    def observe(
        self, step: int, validation: Validation, weights: Callable[[], Weights], *, extra: bool = False
    ) -> None:
        """Take note of a validation; the first one is the parent's.

        Args:
            step: of the validation.
            validation: what :meth:`.trainer.Trainer.validate` says.
            weights: gives the averaged weights, asked only when they are the best so far.
            extra: a validation out of turn: it does not use up patience.
        """
        if not self.before:
            self.before = self.after = validation
            return
        reached = score(validation, self.before)
        if reached > self.best_score + LEAST_GAIN:
            self.best_step, self.best_score, self.after, self.stale = step, reached, validation, 0
            self.weights = {name: value.detach().cpu().clone() for name, value in weights().items()}
        elif not extra:
            self.stale += 1

    def over(self, patience: int) -> bool:
        """Whether ``patience`` validations in a row were no better; a patience of 0 never ends."""
        return 0 < patience <= self.stale

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return dict(vars(self))

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        vars(self).update(state)
