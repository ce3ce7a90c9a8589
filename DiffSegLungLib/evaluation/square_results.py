"""Numbers of the suite of readings: sensitivity, healthy squares kept, balanced accuracy, their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Estimate, ratio, two_stage
from .readings import CODES
from .squares import OUTSIDE

SAID = (*CODES, OUTSIDE)

RELIABILITY_BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)

TOGETHER = "together"
"""All CT as one."""

Record = dict[str, Any]
Values = NDArray[np.float64]

_ROW = {code: number for number, code in enumerate(CODES)}
_COLUMN = {code: number for number, code in enumerate(SAID)}
_OWN = range(len(CODES))


class SquareResults:
    """Squares counted by what was read in them and what the product says of them.

    Args:
        records: the cases of the suite, one CT each, which counts as one patient.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = sorted(records, key=lambda record: str(record["case"]))
        self.names = tuple(str(record["case"]) for record in self._records)

    @cached_property
    def sensitivities(self) -> tuple[float, ...]:
        """The points of the curve, in rising order, that every case was measured at."""
        common = set.intersection(*(set(record["sensitivities"]) for record in self._records))
        return tuple(sorted(common))

    @property
    def operating_point(self) -> float:
        """The sensitivity that the settings ask for."""
        return float(self._records[0]["sensitivity"])

    def counts(self, name: str, sensitivity: float | None = None) -> list[Values]:
        """Of each CT (slices, 6 codes that were read, 6 codes that are said and outside the lungs).

        Args:
            name: a case, or :data:`TOGETHER`.
            sensitivity: a point of the curve; None takes the operating point.
        """
        at = self.operating_point if sensitivity is None else sensitivity
        return [_counted(record, at) for record in self._records if name in (record["case"], TOGETHER)]

    def confusion(self, name: str) -> NDArray[np.int64]:
        """(6 codes that were read, 6 that are said and outside the lungs), squares at the operating point."""
        return np.asarray(np.sum([own.sum(axis=0) for own in self.counts(name)], axis=0), np.int64)

    def sensitivity(self, name: str) -> Estimate:
        """Share of the sick squares that are called any disease."""
        return two_stage(self.counts(name), sensitivity)

    def healthy_kept(self, name: str) -> Estimate:
        """Share of the healthy squares, those in the lungs, that are called healthy."""
        return two_stage(self.counts(name), healthy_kept)

    def balanced_accuracy(self, name: str) -> Estimate:
        """Mean over the codes that were read of the share of their squares that is named so.

        A draw that lacks one of these codes has no value.
        """
        read = np.flatnonzero(self.confusion(name).sum(axis=1))
        return two_stage(self.counts(name), lambda counts: recalls(counts)[..., read].mean(-1))

    def named(self, code: str) -> Estimate:
        """Share of the squares of a code that are named so, all CT together."""
        return two_stage(self.counts(TOGETHER), lambda counts: recalls(counts)[..., _ROW[code]])

    def curve(self, name: str) -> list[tuple[float, float, float]]:
        """The points of the ROC: sensitivity of the settings, sensitivity to disease, healthy kept."""
        points = []
        for at in self.sensitivities:
            whole = np.sum([own.sum(axis=0) for own in self.counts(name, at)], axis=0)
            points.append((at, float(sensitivity(whole)), float(healthy_kept(whole))))
        return points

    def reliability(self) -> list[tuple[float, float, int, float]]:
        """Bins of the squares' probability of disease: from, to, squares, share of them read as sick."""
        scored = [
            (square["p"], square["code"] != "H")
            for record in self._records
            for squares in record["slices"].values()
            for square in squares
            if square["code"] in CODES and square["said"][0] != OUTSIDE
        ]
        p, sick = np.array([s[0] for s in scored]), np.array([s[1] for s in scored])
        place = np.clip(np.digitize(p, RELIABILITY_BINS) - 1, 0, len(RELIABILITY_BINS) - 2)
        return [
            (low, high, int((place == i).sum()), float(sick[place == i].mean()))
            for i, (low, high) in enumerate(pairwise(RELIABILITY_BINS))
            if (place == i).any()
        ]

    def numbers(self) -> Record:
        """All of them, ready for JSON."""
        return {
            name: {
                "sensitivity": self.sensitivity(name).plain(),
                "healthy_kept": self.healthy_kept(name).plain(),
                "balanced_accuracy": self.balanced_accuracy(name).plain(),
                "confusion": {
                    code: dict(zip(SAID, map(int, row), strict=True))
                    for code, row in zip(CODES, self.confusion(name), strict=True)
                },
                "curve": [list(point) for point in self.curve(name)],
            }
            for name in (TOGETHER, *self.names)
        }


def sensitivity(counts: Values) -> Values:
    """Sick squares called any disease, of all sick squares; counts (..., 6, 7) to values (...)."""
    sick = counts[..., 1:, :]
    return ratio(sick[..., 1 : len(CODES)].sum((-2, -1)), sick.sum((-2, -1)))


def healthy_kept(counts: Values) -> Values:
    """Healthy squares called healthy, of those in the lungs; counts (..., 6, 7) to values (...)."""
    return ratio(counts[..., 0, 0], counts[..., 0, : len(CODES)].sum(-1))


def recalls(counts: Values) -> Values:
    """Share of the squares of a code that are named so; counts (..., 6, 7) to values (..., 6).

    A square outside the lungs is missed if it is sick, and not counted if it is healthy.
    """
    scored = counts.sum(-1)
    scored[..., 0] -= counts[..., 0, _COLUMN[OUTSIDE]]
    return ratio(counts[..., _OWN, _OWN], scored)


def sick_squares(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Sick squares called any disease, and all sick squares, of a confusion (6, 7)."""
    return int(counts[1:, 1 : len(CODES)].sum()), int(counts[1:].sum())


def _counted(record: Record, sensitivity: float) -> Values:
    """Counts (slices, 6, 7) of a CT."""
    place = record["sensitivities"].index(sensitivity)
    counts = np.zeros((len(record["slices"]), len(CODES), len(SAID)))
    for own, squares in zip(counts, record["slices"].values(), strict=True):
        for square in squares:
            if square["code"] in CODES:
                own[_ROW[square["code"]], _COLUMN[square["said"][place]]] += 1
    return counts
