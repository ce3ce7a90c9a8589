"""From the canonical grid back to the CT's own: at every lung voxel the tissue most probable just there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import Geometry, bounding_box, low_pass_sigma, low_passed
from ..talk import SILENT, Talk
from ..threads import in_threads, slabs

Field = NDArray[np.float32]
Real = TypeVar("Real", np.float32, np.float64)

_UNDECIDED = 0
_VOXELS = 1 << 18
"""Voxels of the CT that a thread takes at a time."""

Receiver = Callable[
    [tuple[slice, ...], tuple[NDArray[np.intp], ...], list[NDArray[np.uint8]], list[Field]], None
]
"""Takes the box of a slab of the CT, the places (z, y, x) of its lung voxels within, their ids in every map
and their values of every field, (n,)."""


class ClassMap:
    """Class ids on the canonical grid, with what decides between two of them.

    An id on the CT is that of the largest of the interpolated rows, the first where all are 0. Where all
    canonical voxels around agree it is theirs, and nothing need be interpolated.

    Args:
        labels: (z, y, x) uint8, 0 outside the lungs.
        rows: (1 + m, k) float32, a row of zeros and then one for each lung voxel in flat order; the largest
            entry of a row belongs to the voxel's id.
        classes: id of each column of ``rows``.
        source: the canonical grid.
        target: the CT's grid.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        rows: Field,
        classes: tuple[int, ...],
        source: Geometry,
        target: Geometry,
    ) -> None:
        # What is no lung counts: the only lung around may lie where the interpolation's weight is 0.
        high, low = labels, labels
        row = np.zeros(labels.shape, np.int32)
        row[labels > 0] = np.arange(1, len(rows), dtype=np.int32)
        sigma = low_pass_sigma(source, target)
        if any(sigma):
            high, low = _window(high, low, sigma)
            rows, row = _low_passed_rows(rows, row, high > 0, source, target)
        for axis in range(3):
            first, second = (tuple(s if a == axis else slice(None) for a in range(3)) for s in _PAIR)
            high, low = np.maximum(high[first], high[second]), np.minimum(low[first], low[second])
        self._agreed = np.where(high == low, high, np.uint8(_UNDECIDED))
        self._row, self._rows = row.reshape(-1), rows
        self._classes, self._shape = np.array(classes, np.uint8), labels.shape

    def at(
        self, cells: list[NDArray[np.intp]], corner: NDArray[np.intp], fractions: list[NDArray[np.float64]]
    ) -> NDArray[np.uint8]:
        """Ids (n,) between eight canonical voxels, the first of them given by axis and flat."""
        ids = self._agreed[cells[0], cells[1], cells[2]]
        open_ = np.flatnonzero(ids == _UNDECIDED)
        rows = self._between(corner[open_], [f[open_] for f in fractions])
        ids[open_] = self._classes[rows.argmax(axis=1)]
        return ids

    def _between(self, corner: NDArray[np.intp], fractions: list[NDArray[np.float64]]) -> Field:
        """Rows (n, k) between eight canonical voxels.

        They are summed up in double precision and then rounded, as by ITK: half-way between two voxels that
        are alike but for the order of two classes both are equal, whatever was added first.
        """
        total = np.zeros((len(corner), self._rows.shape[1]))
        for offset, weight in _corners(fractions, self._shape):
            total += self._rows[self._row[corner + offset]] * weight[:, None]
        return total.astype(np.float32)


class Carrier:
    """Takes maps of classes and fields from the canonical grid to a CT.

    Args:
        maps: the maps of classes.
        fields: (z, y, x) float32 on ``source``, interpolated linearly.
        source: the canonical grid.
        target: the CT's grid.
    """

    def __init__(
        self, maps: Sequence[ClassMap], fields: Sequence[Field], source: Geometry, target: Geometry
    ) -> None:
        if any(low_pass_sigma(source, target)):
            fields = [low_passed(field, source, target) for field in fields]
        self._maps, self._fields = maps, [field.reshape(-1) for field in fields]
        self._shape, self._source, self._target = source.shape, source, target

    def carry(self, lungs: NDArray[Any], into: Receiver, talk: Talk = SILENT) -> None:
        """Hand over what lies at every voxel of the target's ``lungs`` (z, y, x), slab by slab.

        Raises:
            Cancelled: asked to stop.
        """
        if not lungs.any():
            return
        planes, rows, columns = bounding_box(lungs)

        def one(slab: slice) -> None:
            talk.check()
            part = (slab, rows, columns)
            place = np.nonzero(lungs[part])
            index = tuple(i + s.start for i, s in zip(place, part, strict=True))
            into(part, place, *self._at(index))

        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        in_threads(one, slabs(planes.start, planes.stop, max(1, _VOXELS // area)))

    def _at(self, index: tuple[NDArray[np.intp], ...]) -> tuple[list[NDArray[np.uint8]], list[Field]]:
        """Ids of every map and values of every field (n,) at voxels (z, y, x) of the target."""
        step = np.linalg.inv(self._source.matrix) @ self._target.matrix
        first = self._source.index(self._target.origin)
        cells: list[NDArray[np.intp]] = []
        fractions: list[NDArray[np.float64]] = []
        for axis in range(3):
            place = np.full(len(index[0]), first[axis])
            for along in np.flatnonzero(np.abs(step[2 - axis]) > 1e-12):
                place += step[2 - axis, along] * index[2 - along]
            cell = np.clip(place.astype(np.intp), 0, self._shape[axis] - 2)
            cells.append(cell)
            fractions.append(np.clip(place - cell, 0, 1))
        corner = np.ravel_multi_index(tuple(cells), self._shape)
        single = [fraction.astype(np.float32) for fraction in fractions]
        ids = [found.at(cells, corner, fractions) for found in self._maps]
        return ids, [_interpolated(field, corner, single, self._shape) for field in self._fields]


_PAIR = (slice(None, -1), slice(1, None))


def _corners(fractions: list[NDArray[Real]], shape: tuple[int, ...]) -> list[tuple[int, NDArray[Real]]]:
    """Flat offset and trilinear weight (n,) of the eight voxels around points."""
    z, y, x = ((1 - f, f) for f in fractions)
    return [((a * shape[1] + b) * shape[2] + c, z[a] * y[b] * x[c]) for a, b, c in product((0, 1), repeat=3)]


def _interpolated(
    flat: Field, corner: NDArray[np.intp], fractions: list[Field], shape: tuple[int, ...]
) -> Field:
    """A field (n,) between eight voxels."""
    total = np.zeros(len(corner), np.float32)
    for offset, weight in _corners(fractions, shape):
        total += flat.take(corner + offset) * weight
    return total


def _window(
    high: NDArray[np.uint8], low: NDArray[np.uint8], sigma: tuple[float, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Largest and least label that the low-pass mixes into a voxel."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = [2 * int(3 * s + 0.5) + 1 for s in sigma]
    return maximum_filter(high, size), minimum_filter(low, size)


def _low_passed_rows(
    posterior: Field, row: NDArray[np.int32], support: NDArray[np.bool_], source: Geometry, target: Geometry
) -> tuple[Field, NDArray[np.int32]]:
    """The posterior after the low-pass, with rows for all voxels that it reaches, and their numbers."""
    wide = np.zeros((1 + np.count_nonzero(support), posterior.shape[1]), np.float32)
    for column, out in zip(posterior.T, wide.T, strict=True):
        out[1:] = low_passed(column[row], source, target)[support]
    number = np.zeros(row.shape, np.int32)
    number[support] = np.arange(1, len(wide), dtype=np.int32)
    return wide, number
