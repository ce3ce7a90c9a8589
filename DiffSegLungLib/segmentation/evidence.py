"""Evidence of disease at every voxel of a CT, and the labels that a sensitivity draws from it.

One number a voxel holds all that the labels need, so that a finished result is redrawn without the model, the
lungs or the CT: how far the voxel leans towards disease, which disease that would be, and what it is
otherwise. Labels of a run are drawn from the same numbers, so a redrawn result is the one that a run with
that sensitivity gives, voxel for voxel.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_ID, CAVITY, CONSOLIDATION, EMPHYSEMA, HEALTHY, VESSEL
from ..io.geometry import Geometry, bounding_box
from ..threads import in_threads, slabs

if TYPE_CHECKING:
    from ..io.geometry import Box

OR_HEALTHY, OR_VESSEL, ALWAYS_VESSEL, ALWAYS_CAVITY = range(4)
"""What a voxel is where it is not diseased: healthy lung, a vessel; or what it is in any case."""

POINTS = {"cautious": 0.25, "balanced": 0.5, "sensitive": 0.75}
"""Sensitivities with a name."""

SPAN = 2.0
"""A sensitivity of 1 adds this to the log-odds of disease, 0 takes it away; 0.5 leaves them as they are."""

CURVE = tuple(step / 20 for step in range(21))
"""Sensitivities at which volumes are told."""

MOST_LEAN = 8.0
"""Log-odds beyond this, either way, are no more certain."""

_EVEN, _STEPS = 128, 15.0  # the byte of even odds, and steps of it a unit of log-odds
_DISEASE, _OTHERWISE = 8, 12  # bits at which the two ids begin

_KINDS = 1 << 14
_LABEL, _SWAPPED, _SICK, _WELL = 7, 3, 0x40, 0x80  # what a sensitivity says of a voxel, as bits

_VOXELS = 1 << 19
"""Voxels of a piece: some ten milliseconds of work."""


def encode(
    lean: NDArray[np.float32], disease: NDArray[np.uint8], otherwise: NDArray[np.uint8]
) -> NDArray[np.uint16]:
    """Evidence (n,) uint16 of lung voxels.

    Args:
        lean: (n,) log-odds of disease against healthy lung, natural logarithm.
        disease: (n,) class id of the most probable disease, 2..5.
        otherwise: (n,) :data:`OR_HEALTHY` and so on.
    """
    byte = np.clip(np.rint(_EVEN + _STEPS * lean), 1, 255).astype(np.uint16)
    ids = disease.astype(np.uint16) << _DISEASE | otherwise.astype(np.uint16) << _OTHERWISE
    return np.asarray(byte | ids, np.uint16)


def disease_probability(evidence: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Probability of disease that evidence holds, at a sensitivity of 0.5; 0 outside the lungs."""
    byte = (evidence & 0xFF).astype(np.float32)
    return np.where(byte > 0, 1 / (1 + np.exp((_EVEN - byte) / np.float32(_STEPS))), np.float32(0))


def least_voxels(island_ml: float, geometry: Geometry) -> int:
    """Voxels of the smallest island that stays on a grid."""
    return max(1, round(island_ml / geometry.voxel_ml))


def draw_labels(evidence: NDArray[np.uint16], sensitivity: float, least: int) -> NDArray[np.uint8]:
    """Labels at a sensitivity.

    A voxel is diseased where its log-odds of disease exceed :data:`SPAN` (1 - 2 · sensitivity). Islands of
    disease, and holes in it, of fewer voxels than ``least`` (6-connected) join their surroundings.

    Args:
        evidence: (z, y, x), :func:`encode` of the lung voxels, 0 elsewhere.
        sensitivity: 0..1.
        least: voxels of the smallest island that stays.

    Returns:
        (z, y, x) uint8 class ids, 0 outside the lungs.
    """
    labels = np.zeros(evidence.shape, np.uint8)
    drawing = _Drawing(evidence, sensitivity, least, labels, bounding_box(evidence))
    for _step in drawing.join(in_threads(drawing.piece, drawing.pieces)):
        pass
    return labels


def drawn_in_steps(
    evidence: NDArray[np.uint16], sensitivity: float, least: int, labels: NDArray[np.uint8]
) -> Iterator[None]:
    """Labels of :func:`draw_labels` in short steps, for who must answer somebody meanwhile.

    Args:
        evidence: see there.
        sensitivity: see there.
        least: see there.
        labels: (z, y, x) uint8, filled.
    """
    boxes = []
    for planes in slabs(0, len(labels), max(1, _VOXELS // max(1, labels[:1].size))):
        labels[planes] = 0
        z, y, x = bounding_box(evidence[planes])
        boxes += [(slice(planes.start + z.start, planes.start + z.stop), y, x)] * (z.stop > 0)
        yield
    drawing = _Drawing(evidence, sensitivity, least, labels, _around(boxes))
    done = []
    for part in drawing.pieces:
        done.append(drawing.piece(part))
        yield
    yield from drawing.join(done)


def count_evidence(evidence: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Voxels (16384,) of every kind of evidence in a volume, for :func:`volumes_by_sensitivity`.

    Raises:
        ValueError: numbers that :func:`encode` gives for no voxel.
    """
    counts = np.zeros(_KINDS, np.int64)
    for planes in slabs(0, len(evidence)):
        counts += np.bincount(evidence[planes].ravel(), minlength=_KINDS)
    if counts[~_legal()].any():
        raise ValueError("numbers that are no evidence")
    return counts


def volumes_by_sensitivity(
    counts: NDArray[np.int64], voxel_ml: float, sensitivities: Sequence[float] = CURVE
) -> dict[str, list[float]]:
    """Volumes of the diseases at every sensitivity, ml by class key; no island, however small, is taken away.

    Args:
        counts: :func:`count_evidence`, or a sum of several.
        voxel_ml: volume of a voxel, ml.
        sensitivities: 0..1.
    """
    volumes: dict[str, list[float]] = {BY_ID[i].key: [] for i in range(EMPHYSEMA, CONSOLIDATION + 1)}
    for sensitivity in sensitivities:
        table = _table(sensitivity)
        sick = (table & _SICK) > 0
        amounts = np.bincount((table & _LABEL)[sick], counts[sick], minlength=VESSEL + 1)
        for number in range(EMPHYSEMA, CONSOLIDATION + 1):
            volumes[BY_ID[number].key].append(round(float(amounts[number] * voxel_ml), 2))
    return volumes


def _around(boxes: Sequence[Box]) -> Box:
    """The box that holds all of these; empty where there is none."""
    ends = [(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True)]
    z, y, x = (slice(*end) for end in ends or [(0, 0)] * 3)
    return z, y, x


def _legal() -> NDArray[np.bool_]:
    """By number: whether it is evidence, which is 0 and what :func:`encode` gives."""
    every = np.arange(_KINDS)
    byte, disease = every & 0xFF, every >> _DISEASE & 0xF
    known = (byte > 0) & (disease >= EMPHYSEMA) & (disease <= CONSOLIDATION)
    return np.asarray(known | (every == 0))


def _table(sensitivity: float) -> NDArray[np.uint8]:
    """By evidence: the label, the label in a small part from bit 3, and whether diseased or healthy."""
    limit = _EVEN + _STEPS * SPAN * (1 - 2 * sensitivity)
    every = np.arange(_KINDS)
    byte, disease, otherwise = every & 0xFF, every >> _DISEASE & 0xF, every >> _OTHERWISE
    lung, open_ = byte > 0, otherwise <= OR_VESSEL
    sick = lung & open_ & (byte > limit)
    well = lung & open_ & ~sick
    other = np.array((HEALTHY, VESSEL, VESSEL, CAVITY))[otherwise] * lung
    ill = np.where(open_, disease * lung, other)
    label, swapped = np.where(sick, ill, other), np.where(well, ill, other)
    return np.asarray(label | swapped << _SWAPPED | sick * _SICK | well * _WELL, np.uint8)


@dataclass(frozen=True)
class _Parts:
    """Connected parts of a mask in a piece of a volume, numbered from 1.

    Attributes:
        size: voxels of every part, from 0 on.
        voxels: flat places, in the whole volume, of all voxels in parts smaller than the least.
        part: the part of each.
        first, last: numbers on the outermost planes, 0 outside the mask.
    """

    size: NDArray[np.int64]
    voxels: NDArray[np.int64]
    part: NDArray[Any]
    first: NDArray[Any]
    last: NDArray[Any]


class _Drawing:
    """Labels of a volume, drawn piece by piece in any order; then :meth:`join` takes small parts away.

    A part of a mask may lie in several pieces. One that has voxels enough within a piece is large, so that
    only the others need be kept until all are known.
    """

    def __init__(
        self,
        evidence: NDArray[np.uint16],
        sensitivity: float,
        least: int,
        labels: NDArray[np.uint8],
        box: Box,
    ) -> None:
        self._evidence, self._labels, self._least = evidence, labels, least
        self._table = _table(sensitivity)
        self._box = box
        depth, rows, columns = box
        plane = max(1, (rows.stop - rows.start) * (columns.stop - columns.start))
        self.pieces = slabs(depth.start, depth.stop, max(1, _VOXELS // plane))

    def piece(self, planes: slice) -> tuple[_Parts, _Parts]:
        """Draw some planes; the parts of disease and of healthy lung there."""
        part = (planes, *self._box[1:])
        said = self._table.take(self._evidence[part])
        self._labels[part] = said & _LABEL
        return self._parts(said & _SICK, part), self._parts(said & _WELL, part)

    def join(self, pieces: Sequence[tuple[_Parts, _Parts]]) -> Iterator[None]:
        """Give all parts that are small in the whole volume to their surroundings, in short steps."""
        flat, evidence = self._labels.ravel(), self._evidence.ravel()
        for parts in zip(*pieces, strict=True):
            sizes = yield from _whole_sizes(parts)
            for piece, size in zip(parts, sizes, strict=True):
                small = piece.voxels[size.take(piece.part) < self._least]
                flat[small] = self._table.take(evidence[small]) >> _SWAPPED & _LABEL
                yield

    def _parts(self, mask: NDArray[Any], place: Box) -> _Parts:
        from scipy.ndimage import label

        number, _ = label(mask)
        size = np.bincount(number.ravel())
        candidate = size < self._least
        candidate[0] = False
        here = np.flatnonzero(candidate.take(number))
        where = [low.start + at for low, at in zip(place, np.unravel_index(here, mask.shape), strict=True)]
        return _Parts(
            size,
            np.ravel_multi_index(where, self._evidence.shape),
            number.ravel()[here],
            number[0].copy(),
            number[-1].copy(),
        )


def _whole_sizes(pieces: Sequence[_Parts]) -> Generator[None, None, list[NDArray[np.int64]]]:
    """For the parts of every piece: voxels of the whole that they belong to, over all pieces."""
    starts = np.concatenate(([0], np.cumsum([len(piece.size) for piece in pieces])))
    pairs = [np.empty((2, 0), np.int64)]
    for above, below, a, b in zip(pieces, pieces[1:], starts, starts[1:], strict=False):
        one, other = above.last.ravel(), below.first.ravel()
        meet = (one > 0) & (other > 0)
        bridge = np.stack((one[meet] + a, other[meet] + b))
        new = np.ones(bridge.shape[1], bool)
        new[1:] = (bridge[:, 1:] != bridge[:, :-1]).any(axis=0)  # runs along a row say the same
        pairs.append(bridge[:, new])
        yield
    one, other = np.concatenate(pairs, axis=1)
    # Each whole takes the lowest of its numbers: scipy's graphs take a tenth of a second to be imported.
    whole, before = np.arange(starts[-1]), np.empty(0, np.int64)
    while not np.array_equal(whole, before):
        before = whole.copy()
        lowest = np.minimum(before[one], before[other])
        np.minimum.at(whole, before[one], lowest)
        np.minimum.at(whole, before[other], lowest)
        whole = whole[whole]
        yield
    sizes = np.bincount(whole, np.concatenate([piece.size for piece in pieces])).astype(np.int64)
    return [sizes[whole[a:b]] for a, b in pairwise(starts)]
