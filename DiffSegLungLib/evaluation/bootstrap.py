"""Confidence intervals by drawing units with replacement: lesions, or patients and then their slices.

The percentile bootstrap (Efron and Tibshirani 1993): 1000 draws, 2.5 and 97.5 percentiles, the same draws for
every method: that makes the difference of two methods a paired one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

DRAWS = 1000
_SEED = 20260101


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval.

    Attributes:
        value: of all units; NaN where there is none.
        low: 2.5 percentile of the draws.
        high: 97.5 percentile of the draws.
        draws: (1000,) the value of every draw.
    """

    value: float
    low: float
    high: float
    draws: Values

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference; both must come from the same draws."""
        return summarised(self.value - other.value, self.draws - other.draws)

    def plain(self) -> dict[str, float]:
        """Value and interval for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def pooled_dice(units: Sequence[dict[str, Any]], stream: int = 0) -> Estimate:
    """Dice 2 TP / (2 TP + FP + FN) of the volumes of all units together.

    Args:
        units: with ``tp_ml``, ``fp_ml`` and ``fn_ml``.
        stream: draws of different streams are independent: one stream a class.
    """
    tp, fp, fn = (_column(units, name) for name in ("tp_ml", "fp_ml", "fn_ml"))
    return _drawn(len(units), lambda d: ratio(2 * tp[d].sum(-1), (2 * tp + fp + fn)[d].sum(-1)), stream)


def mean(values: Sequence[float | None]) -> Estimate:
    """Mean of the finite values."""
    kept = _finite(values)
    return _drawn(len(kept), lambda d: kept[d].mean(-1))


def median(values: Sequence[float | None]) -> Estimate:
    """Median of the finite values."""
    kept = _finite(values)
    return _drawn(len(kept), lambda d: np.median(kept[d], axis=-1))


def two_stage(counts: Sequence[Values], statistic: Callable[[Values], Values]) -> Estimate:
    """A statistic of summed counts, drawing patients first and then slices within each that was drawn.

    Args:
        counts: of each patient, (slices, ...): what was counted in every slice.
        statistic: takes sums (..., of counts) with any leading axes to values with those axes.
    """
    if not counts:
        return summarised(float("nan"), np.full(DRAWS, np.nan))
    rng = np.random.default_rng([_SEED, len(counts)])
    drawn = np.zeros((DRAWS, *counts[0].shape[1:]))
    for patients in rng.integers(0, len(counts), (len(counts), DRAWS)):
        for number, own in enumerate(counts):
            at = np.flatnonzero(patients == number)
            drawn[at] += own[rng.integers(0, len(own), (len(at), len(own)))].sum(axis=1)
    whole = np.sum([own.sum(axis=0) for own in counts], axis=0)
    return summarised(float(statistic(whole)), statistic(drawn))


def average(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of several estimates of different streams."""
    if not estimates:
        return summarised(float("nan"), np.full(DRAWS, np.nan))
    return summarised(
        float(np.mean([e.value for e in estimates])), np.mean([e.draws for e in estimates], axis=0)
    )


def verdict(difference: Estimate) -> str:
    """Where a rival stands, given product less rival: below, above, or not told apart."""
    if difference.low > 0:
        return "below"
    return "above" if difference.high < 0 else "not told apart"


def summarised(value: float, draws: Values) -> Estimate:
    """A value with the interval of its draws."""
    kept = draws[np.isfinite(draws)]
    low, high = np.percentile(kept, [2.5, 97.5]) if len(kept) else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high), draws)


def _drawn(count: int, statistic: Callable[[NDArray[np.intp]], Values], stream: int = 0) -> Estimate:
    if count == 0:
        return summarised(float("nan"), np.full(DRAWS, np.nan))
    chosen = np.random.default_rng([_SEED, stream, count]).integers(0, count, (DRAWS, count))
    return summarised(float(statistic(np.arange(count))), np.asarray(statistic(chosen), float))


def ratio(above: Values, below: Values) -> Values:
    """Quotients; NaN where the divisor is 0."""
    return np.asarray(
        np.divide(above, below, out=np.full(np.shape(below), np.nan), where=np.asarray(below) > 0)
    )


def _column(units: Sequence[dict[str, Any]], name: str) -> Values:
    return np.array([unit[name] for unit in units], float)


def _finite(values: Sequence[float | None]) -> Values:
    kept = np.array([np.nan if v is None else v for v in values], float)
    return np.asarray(kept[np.isfinite(kept)])
