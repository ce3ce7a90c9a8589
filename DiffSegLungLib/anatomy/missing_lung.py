"""Diseased lung that no ray from the middle of the chest meets, told by columns and by the other lung.

A mass on the mediastinum or a consolidated lower lobe has no aerated lung between itself and the middle of
the chest. Behind the heart and beside the aorta, soft tissue that has lung above and below itself in the same
column is diseased lung: the aorta stands upright and has none. What is an aorta by its shape, or blood by
its HU, is left out. Where soft tissue has lung on one end alone, a thick piece where the other lung,
mirrored, has lung is a consolidated base or apex, unless it reads like fluid or the whole diaphragm stands
high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import bounding_box
from .dense_lung import FAT_HU, TISSUE_HU, tissue_of
from .great_vessels import descending_aorta, like_blood
from .lung_shape import LEFT, RIGHT, seen_along
from .shapes import COARSE_MM, VOXEL_ML, Mask, closed, components, dilated, eroded, opened, reaching
from .thorax import Chest

CLEAR_MM, LARGE_VESSELS_MM = {RIGHT: 15.0, LEFT: 40.0}, {RIGHT: 15.0, LEFT: 30.0}
"""Nearer to the middle no core lies and nothing is added: there are aorta and arch and the vessels of the
hilum. Nor does a core lie in front of the other lung's middle, where the heart is."""

COLUMN_MM, REACH_MM = 60.0, 100.0
"""So far above and below a core, and what grows from it, lung is looked for."""

DEPTH_MM, CORE_MM = 5.0, 5.0
END_DEPTH_MM, END_MM = 7.5, 12.5
"""How deep in the mirror image a core has to lie, and half its thickness, between lung and at its ends. Of
fourteen patients, only three with masses have any."""

GROWN_MM, END_GROWN_MM = 25.0, 60.0
FORWARD_MM, END_FORWARD_MM = {RIGHT: 60.0, LEFT: 0.0}, {RIGHT: 60.0, LEFT: 20.0}
BESIDE_HEART_MM = 60.0
ROUNDED_MM = {RIGHT: 8.5, LEFT: 11.25}
"""Columns do not reach the round sides of a mass; on the left the aorta is told from it."""

PLEURA_MM, SMOOTHING_MM, CORNER_MM = 6.5, 5.0, 7.5
"""Beyond the mirror image of the pleura nothing is added. What is thinner than 15 mm then, together with lung
beside it, is a corner of these limits or a strip of a vessel."""

DENT_MM = 60.0
"""Heart and aorta reach no farther to one side behind the heart."""

LEAST_ML, FLUID_HU, LIKE_HU = 2.0, 15.0, 40.0
"""Effusion reads 0 to 15 HU, masses and consolidated lobes more, and within 40 HU of their core."""

RAISED_MM, DOME_MM, BASE_SHARE = 30.0, 5.0, 0.05
"""In front, where no consolidated lower lobe reaches, the base of one lung of fourteen patients stood up to
28 mm above the other's."""

DOUBT_MM, LEAST_DOUBT_ML = 10.0, 75.0
"""Of fourteen patients' lungs pieces so thick (half of it) are left out of at most 39 ml."""

LEAST_ROWS = 200


@dataclass(frozen=True)
class Piece:
    """Tissue that one lung has or lacks: ml, 1 right or 2 left, and ``base``, ``middle`` or ``apex``."""

    ml: float
    side: int
    part: str

    @classmethod
    def of(cls, mask: Mask, side: int, expected: Mask) -> Piece:
        """Measure a coarse mask in a lung that is expected where the other one's mirror image is."""
        return cls(float(mask.sum() * VOXEL_ML), side, _part(mask, expected))


@dataclass(frozen=True)
class Missing:
    """Lung that is missing from what was found.

    Attributes:
        sides: uint8 coarse (z, y, x), 1 right and 2 left: tissue that is lung; 0 elsewhere.
        taken: how much of it there is, for the user: vessels and nodes may be part of it.
        left_out: what may be lung and was left out.
    """

    sides: NDArray[np.uint8]
    taken: tuple[Piece, ...]
    left_out: tuple[Piece, ...]


def missing_lung(chest: Chest, sides: NDArray[np.uint8]) -> Missing:
    """Diseased lung that aerated lung does not show by itself.

    Args:
        chest: the chest.
        sides: uint8 coarse (z, y, x), 0 outside, 1 right and 2 left lung, solid.

    Returns:
        Nothing where only one lung is seen or the field of view cuts one of them everywhere.
    """
    found = np.zeros(sides.shape, np.uint8)
    taken, left_out = [], []
    middle = _twice_the_middle(chest, sides)
    if middle is not None:
        box = bounding_box(sides > 0, 1)
        hu, lungs = chest.hu[box], sides[box]
        free = (hu < TISSUE_HU) & ~chest.exterior[box] & (lungs == 0)
        near = _Near(hu, free, tissue_of(chest)[box], middle - 2 * box[2].start)
        for side, other in ((RIGHT, LEFT), (LEFT, RIGHT)):
            lung = _OneLung.of(near, lungs == side, lungs == other, side)
            missing = lung.between() | lung.at_its_ends()
            near.free[missing] = False
            found[box][missing] = side
            if missing.any():
                taken.append(Piece.of(missing, side, lung.expected))
            doubtful = lung.left_out(missing)
            if doubtful.sum() * VOXEL_ML >= LEAST_DOUBT_ML:
                left_out.append(Piece.of(doubtful, side, lung.expected))
    return Missing(found, tuple(taken), tuple(left_out))


@dataclass(frozen=True)
class _Near:
    """The box around both lungs; coarse arrays (z, y, x).

    Attributes:
        hu: HU.
        free: neither lung nor bone nor air outside.
        tissue: what may be diseased lung by its HU.
        middle: twice the column of the middle of the chest.
    """

    hu: NDArray[np.float32]
    free: Mask
    tissue: Mask
    middle: int


@dataclass(frozen=True)
class _OneLung:
    """One lung in the box around both; coarse arrays (z, y, x).

    Attributes:
        hu: HU.
        own: the lung.
        lungs: both.
        expected: the other lung's mirror image.
        beside_spine: the same, behind the heart as far as the spine: aorta and heart do not dent both lungs.
        tissue: what may be diseased lung.
        clear: where a core may lie.
        outer: where something may be added.
        beside_heart: columns (x) farther to the side than what the heart dents.
        side: 1 right, 2 left.
        middle: twice the column of the middle of the chest.
        behind: the row of the other lung's middle.
        higher_mm: how far in front its diaphragm stands above the other lung's.
    """

    hu: NDArray[np.float32]
    own: Mask
    lungs: Mask
    expected: Mask
    beside_spine: Mask
    tissue: Mask
    clear: Mask
    outer: Mask
    beside_heart: Mask
    side: int
    middle: int
    behind: int
    higher_mm: float

    @classmethod
    def of(cls, near: _Near, own: Mask, other: Mask, side: int) -> _OneLung:
        """Learn from the other lung what to expect of one."""
        columns = np.arange(own.shape[2])
        away_mm = np.abs(columns - near.middle / 2) * COARSE_MM
        on_its_side = columns < near.middle / 2 if side == RIGHT else columns > near.middle / 2
        dented = on_its_side & (away_mm < DENT_MM)
        expected = _mirrored(other, near.middle)
        behind = round(float(np.average(np.arange(own.shape[1]), weights=other.sum(axis=(0, 2)))))
        beside_spine = expected.copy()
        beside_spine[:, behind:, dented] |= _towards_the_middle(expected[:, behind:, dented], side)
        tissue = near.free & near.tissue
        clear = tissue & (away_mm > CLEAR_MM[side])
        clear[:, :behind] = False
        outer = near.free & (away_mm > LARGE_VESSELS_MM[side]) & dilated(beside_spine | own, PLEURA_MM)
        return cls(
            near.hu,
            own,
            own | other,
            expected,
            beside_spine,
            tissue,
            clear,
            outer,
            away_mm >= DENT_MM,
            side,
            near.middle,
            behind,
            _higher(own, expected, behind),
        )

    def between(self) -> Mask:
        """Tissue between lung above and lung below."""
        column = self._above(COLUMN_MM) & self._below(COLUMN_MM)
        core = self._solid(opened(self.clear & column & eroded(self.expected, DEPTH_MM), CORE_MM))
        if not core.any():
            return core
        vessels = self._vessels(core)
        core = opened(core & ~vessels, COARSE_MM)
        room = self._room(FORWARD_MM[self.side]) & ~vessels
        column = self.tissue & self._above(REACH_MM) & self._below(REACH_MM) & room
        found = reaching(core, column & dilated(core, GROWN_MM) & self._like(core))
        found |= dilated(found, ROUNDED_MM[self.side]) & room
        found |= closed(self.own | found, SMOOTHING_MM) & dilated(found, SMOOTHING_MM) & room
        return opened(self.own | found, CORNER_MM) & found

    def at_its_ends(self) -> Mask:
        """Thick tissue with lung on one side alone, where the other lung has lung."""
        above, below = self._above(REACH_MM), self._below(REACH_MM)
        core = self.clear & (above ^ below) & eroded(self.beside_spine, END_DEPTH_MM)
        if self.higher_mm > RAISED_MM:
            return np.zeros_like(core)
        core = self._solid(opened(core, END_MM))
        if not core.any():
            return core
        # Nothing is added below where this side's own diaphragm may stand.
        steps = round((max(0.0, self.higher_mm) + DOME_MM) / COARSE_MM)
        room = (above | below) & self.tissue & self._room(END_FORWARD_MM[self.side]) & self.beside_spine
        room[:steps] = False  # below the box nothing is known to be beside the spine
        room[steps:] &= self.beside_spine[: max(0, len(room) - steps)]
        found = reaching(core, room & dilated(core, END_GROWN_MM) & self._like(core))
        return found | (closed(self.own | found, SMOOTHING_MM) & dilated(found, SMOOTHING_MM) & room)

    def left_out(self, missing: Mask) -> Mask:
        """What the other lung says is lung, and was not taken for it."""
        room = self.clear & self.beside_spine & ~missing
        return dilated(opened(room & eroded(self.beside_spine, END_DEPTH_MM), DOUBT_MM), END_DEPTH_MM) & room

    def _room(self, forward_mm: float) -> Mask:
        """Where something may be added, so far in front of the other lung's middle and behind it."""
        room = self.outer.copy()
        for where, mm in ((self.beside_heart, BESIDE_HEART_MM), (~self.beside_heart, forward_mm)):
            room[:, : max(0, self.behind - round(mm / COARSE_MM)), where] = False
        return room

    def _like(self, core: Mask) -> Mask:
        """What reads like a core: contrast tells heart and spleen."""
        from scipy.ndimage import uniform_filter

        smooth = uniform_filter(np.clip(self.hu, FAT_HU[1], TISSUE_HU), 3)
        mean = max(float(self.hu[core].mean(dtype=np.float64)), FAT_HU[1])
        return np.asarray(np.abs(smooth - mean) < LIKE_HU) | core

    def _vessels(self, core: Mask) -> Mask:
        """The aorta beside a left lung, and what reads like heart and great vessels rather than a core."""
        vessels = like_blood(self.hu, self.lungs, core)
        if self.side == LEFT:
            vessels |= descending_aorta(self.hu, self.lungs, self.middle, self.behind)
        return vessels

    def _above(self, mm: float) -> Mask:
        return seen_along(self.own, (-1, 0, 0), mm)

    def _below(self, mm: float) -> Mask:
        return seen_along(self.own, (1, 0, 0), mm)

    def _solid(self, mask: Mask) -> Mask:
        """The pieces that are large enough and no fluid."""
        labels, counts = components(mask)
        keep = counts * VOXEL_ML >= LEAST_ML
        keep[0] = False
        for n in np.flatnonzero(keep):
            mean = self.hu[labels == n].mean(dtype=np.float64)
            keep[n] = mean > FLUID_HU or mean < -FLUID_HU
        return np.asarray(keep[labels])


def _towards_the_middle(mask: Mask, side: int) -> Mask:
    """What lies in every row of a mask beyond its last voxel on the way to the middle of the chest."""
    wide = np.flip(mask, 2) if side == RIGHT else mask
    beyond = wide.any(axis=2, keepdims=True) & ~np.logical_or.accumulate(wide, axis=2)
    return np.flip(beyond, 2) if side == RIGHT else beyond


def _higher(own: Mask, expected: Mask, behind: int) -> float:
    """How many mm the base of a lung lies above the other's, in front: its lowest twentieth counts."""
    levels = []
    for mask in (own, expected):
        filled = np.cumsum(np.count_nonzero(mask[:, :behind], axis=(1, 2)))
        levels.append(int(np.searchsorted(filled, BASE_SHARE * filled[-1])))
    return (levels[0] - levels[1]) * COARSE_MM


def _twice_the_middle(chest: Chest, sides: NDArray[np.uint8]) -> int | None:
    """Twice the column half-way between the outer borders of both lungs, where the field cuts neither."""
    right, left = sides == RIGHT, sides == LEFT
    rows = right.any(axis=2) & left.any(axis=2)
    width = sides.shape[2]
    first = right[rows].argmax(axis=1)
    last = width - 1 - left[rows][:, ::-1].argmax(axis=1)
    field, each = np.pad(chest.field[rows], ((0, 0), (2, 2))), np.arange(len(first))
    whole = field[each, first] & field[each, last + 4]
    if np.count_nonzero(whole) < LEAST_ROWS:
        return None
    return round(float(np.median((first + last)[whole])))


def _mirrored(mask: Mask, middle: int) -> Mask:
    """A mask mirrored left to right."""
    width = mask.shape[2]
    from_column = middle - np.arange(width)
    within = (from_column >= 0) & (from_column < width)
    image = np.zeros_like(mask)
    image[:, :, within] = mask[:, :, from_column[within]]
    return image


def _part(mask: Mask, expected: Mask) -> str:
    """In which third of its height a lung has a piece."""
    heights = np.flatnonzero(expected.any(axis=(1, 2)))
    at = float(np.average(np.arange(len(mask)), weights=mask.sum(axis=(1, 2))))
    share = (at - heights[0]) / max(1, heights[-1] - heights[0])
    return "base" if share < 1 / 3 else "apex" if share > 2 / 3 else "middle"
