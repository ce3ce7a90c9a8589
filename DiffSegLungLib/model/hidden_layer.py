"""A small classifier of cells: one hidden layer, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BEYOND = 5.0


@dataclass(frozen=True)
class HiddenLayer:
    """One hidden layer, SiLU, from d measures of cells to scores of k classes.

    Attributes:
        mean: (d,) of the measures in training.
        sd: (d,) their standard deviation.
        hidden_weight: (d, h).
        hidden_bias: (h,).
        weight: (h, k).
        bias: (k,).
    """

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, measured: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-probabilities (n, k) float32 of measures (n, d), which count within 5 standard deviations."""
        x = np.clip((measured - self.mean) / self.sd, -_BEYOND, _BEYOND)
        h = x @ self.hidden_weight + self.hidden_bias
        h = h / (1 + np.exp(-h))
        scores = h @ self.weight + self.bias
        scores -= scores.max(axis=1, keepdims=True)
        return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)), np.float32)

    def fault(self, measures: int, classes: int) -> str:
        """Why it cannot take so many measures to so many classes, in the middle of a sentence, or nothing."""
        hidden = len(self.hidden_bias)
        wanted = {
            "mean": (measures,),
            "sd": (measures,),
            "hidden_weight": (measures, hidden),
            "hidden_bias": (hidden,),
            "weight": (hidden, classes),
            "bias": (classes,),
        }
        arrays = vars(self)
        if any(arrays[name].shape != shape for name, shape in wanted.items()):
            return "the parts of its tissue head do not fit together"
        if not all(np.isfinite(array).all() for array in arrays.values()) or not (self.sd > 0).all():
            return "its tissue head holds no numbers"
        return ""
