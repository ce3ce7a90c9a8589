"""Which slices of a DICOM series make one volume: passes that share a series are told apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .dicom_headers import Header

LEAST_SLICES = 5
SAME_PLACE_MM = 0.1
"""Positions are often written with one decimal."""

_AXES_TOLERANCE = 5e-3
"""Directions that differ by less are one: exports round them, some to three decimals."""

_MOST_PASSES = 10


def planes(slices: Iterable[Header]) -> list[list[Header]]:
    """Slices of one series by orientation, voxel size and shape.

    A slice without orientation joins the others where the series has but one; elsewhere it is left out.
    """
    groups: list[list[Header]] = []
    lacking: list[Header] = []
    for one in slices:
        if not one.axes:
            lacking.append(one)
            continue
        fitting = next((g for g in groups if _same_grid(g[0], one) and _same_axes(g[0], one)), None)
        if fitting is None:
            groups.append([one])
        else:
            fitting.append(one)
    for one in lacking:
        around = [g for g in groups if _same_grid(g[0], one)]
        if len(around) == 1:
            around[0].append(replace(one, axes=around[0][0].axes, axes_lent=True))
    return groups


def common_axes(slices: Iterable[Header]) -> NDArray[np.float64]:
    """What the orientations of slices have in common, (2, 3), made unit vectors at right angles."""
    column, row = np.median([s.axes for s in slices], axis=0).reshape(2, 3)
    column = column / np.linalg.norm(column)
    row = row - (row @ column) * column
    return np.array([column, row / np.linalg.norm(row)])


def passes(slices: Sequence[Header]) -> list[list[Header]]:
    """Slices of one plane as volumes, each sorted along the normal.

    Slices that differ in a tag (acquisition, kernel, image type, phase, ...) are volumes of their own where
    they overlap: two breaths must never become one scan of half the spacing. Where one lies beyond the other,
    as in the stations of a long scan, they stay together; so they do where one fills the holes of the other,
    since then the tag says nothing.
    """
    normal = np.cross(*common_axes(slices))
    ordered = _sort_along(slices, normal)
    for mark in range(len(ordered[0].marks)):
        labels = [s.marks[mark] for s in ordered]
        names = sorted(set(labels))
        changes = 1 + sum(a != b for a, b in zip(labels[1:], labels[:-1], strict=True))
        if changes == len(names):  # each value in one stretch
            continue
        parts = [[s for s in ordered if s.marks[mark] == name] for name in names]
        volumes = sum(len(part) for part in parts if len(part) >= LEAST_SLICES)
        if 2 * volumes >= len(ordered) and not _complete_each_other(ordered, parts, normal):
            return [volume for part in parts for volume in passes(part)]
    return [ordered]


def runs_twice(slices: Sequence[Header], normal: NDArray[np.float64]) -> bool:
    """Whether slices in the order of their numbers, or whose numbers come again, cover a stretch twice."""
    if _numbers_again(slices, normal):
        return True
    ordered = sorted(slices, key=lambda s: (s.instance, s.path, s.frame))
    runs: list[list[float]] = []
    sign = 0.0
    for place in (float(np.dot(normal, s.position)) for s in ordered):
        way = float(np.sign(place - runs[-1][-1])) if runs else 0.0
        if runs and way and (sign in (0.0, way)):
            runs[-1].append(place)
            sign = way
        else:
            runs.append([place])
            sign = 0.0
    if not 1 < len(runs) <= _MOST_PASSES or min(map(len, runs)) < LEAST_SLICES:
        return False
    stretches = sorted((min(run), max(run)) for run in runs)
    return any(second[0] < first[1] for first, second in pairwise(stretches))


def _numbers_again(slices: Sequence[Header], normal: NDArray[np.float64]) -> bool:
    """Whether each number belongs to several slices, and the passes so numbered overlap; stations do not."""
    places: dict[int, list[float]] = {}
    for one in slices:
        places.setdefault(one.instance, []).append(float(np.dot(normal, one.position)))
    uses = {len(shared) for shared in places.values()}
    if len(places) < LEAST_SLICES or len(uses) > 1 or uses == {1}:
        return False
    ranks = np.sort(np.array(list(places.values())), axis=1).T
    return any(float(above.min()) < float(below.max()) for below, above in pairwise(ranks))


def along(slices: Sequence[Header], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Position of each slice along the normal, mm."""
    return np.array([s.position for s in slices]) @ normal


def _sort_along(slices: Iterable[Header], normal: NDArray[np.float64]) -> list[Header]:
    """Slices by their place, then by their number."""
    return sorted(
        slices, key=lambda s: (round(float(np.dot(normal, s.position)), 2), s.instance, s.path, s.frame)
    )


def is_even(places: NDArray[np.float64]) -> bool:
    """Whether ascending positions follow each other at one distance, rounding allowed."""
    if places.size < 3:
        return True
    steps = np.linspace(places[0], places[-1], places.size)
    return bool(np.abs(places - steps).max() <= max(SAME_PLACE_MM, 0.1 * float(np.median(np.diff(places)))))


def _complete_each_other(
    union: Sequence[Header], parts: Sequence[Sequence[Header]], normal: NDArray[np.float64]
) -> bool:
    """Whether parts are one even volume together, and not each for itself."""
    places = along(union, normal)
    if (np.diff(places) < SAME_PLACE_MM).any() or not is_even(places):
        return False
    return not all(len(part) >= LEAST_SLICES and is_even(along(part, normal)) for part in parts)


def _same_grid(a: Header, b: Header) -> bool:
    return a.shape == b.shape and bool(np.allclose(a.spacing, b.spacing, rtol=1e-3, atol=1e-4))


def _same_axes(a: Header, b: Header) -> bool:
    return bool(np.allclose(a.axes, b.axes, rtol=0, atol=_AXES_TOLERANCE))
