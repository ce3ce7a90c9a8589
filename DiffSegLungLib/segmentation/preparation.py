"""All that a CT says before any model is asked: lungs, grid, vessels, statistics; once (method.md 1, 5a)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..anatomy.air_offset import AirOffset, air_offset
from ..anatomy.cavities import find_cavities
from ..anatomy.lungs import Lungs, lungs_from_mask, segment_lungs
from ..anatomy.vessels import vessel_mask
from ..grid.canonical import SPACING_ZYX, Canonical, working_volume
from ..grid.cells import Cells, Lattice, Lattices
from ..talk import SILENT, Talk
from .aeration import Aeration, measure_aeration
from .statistics import smoothed, statistics_of_cells, statistics_of_half_cells
from .tissues import tissue_probability

if TYPE_CHECKING:
    from ..config import Config
    from ..io.ct import CT


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class Parenchyma:
    """Parenchyma of both lungs on the working grid: voxels, cells and half cells, and what they measure.

    Attributes:
        canonical: the CT on the working grid, in HU, with lungs and sides.
        smooth: (z, y, x) float32 HU, :func:`.statistics.smoothed` of it.
        vessels: (z, y, x) bool, vessels, airway walls and hila.
        aeration: the patient's healthy level and noise.
        lattice: which lung voxels belong to which cell of 8 mm.
        cells: the cells of 8 mm with their statistics.
        half: the half cells of 4 mm with theirs.
    """

    canonical: Canonical
    smooth: NDArray[np.float32]
    vessels: NDArray[np.bool_]
    aeration: Aeration
    lattice: Lattice
    cells: Cells
    half: Cells

    @classmethod
    def of(cls, canonical: Canonical) -> Parenchyma:
        """Measure the lungs of a CT that is on the working grid already.

        Raises:
            InputError: code ``thin-mask``, the lungs fill no cell.
        """
        ground = _Ground.of(canonical)
        return _measured(ground, vessel_mask(canonical.hu, canonical.lungs, SPACING_ZYX))


@dataclass(frozen=True, eq=False)
class Prepared:
    """Prepared CT: what :func:`.decision.decide` needs of it, whatever the model and the settings.

    Attributes:
        ct: the CT as read (its HU are not air-corrected).
        lungs: lungs and regions on the CT's own grid.
        air: what air reads in this scan.
        correct_air: whether the working grid was to be corrected for it.
        parenchyma: the lungs on the working grid.
        cavities: (z, y, x) bool on that grid.
        looks: (n, 5) float32, p(tissue) of every half cell by its own statistics.
        seconds: how long each stage took.
    """

    ct: CT
    lungs: Lungs
    air: AirOffset
    correct_air: bool
    parenchyma: Parenchyma
    cavities: NDArray[np.bool_]
    looks: NDArray[np.float32]
    seconds: dict[str, float]

    @property
    def shift_hu(self) -> float:
        """Air-offset correction that was added to every voxel of the working grid, HU."""
        return self.air.shift_hu if self.correct_air else 0.0

    def on(self, canonical: Canonical) -> Prepared:
        """The same CT with other HU on its working grid, measured anew."""
        parenchyma, cavities, looks = _everything(_Ground.of(canonical), SILENT)
        return replace(self, parenchyma=parenchyma, cavities=cavities, looks=looks)


def prepare(ct: CT, lungs: NDArray[np.bool_] | None, config: Config, talk: Talk = SILENT) -> Prepared:
    """Prepare a CT: find its lungs, correct its air, resample, measure every cell.

    Args:
        ct: the scan.
        lungs: bool (z, y, x) on its grid, a mask that replaces the built-in one; None finds the lungs.
        config: of which only ``correct_air`` matters.
        talk: progress of the stages ``lungs``, ``grid`` and ``statistics``; the request to stop.

    Raises:
        InputError: no lungs, a mask on another grid or too thin to be described.
        Cancelled: asked to stop.
    """
    seconds: dict[str, float] = {}
    with talk.enter("lungs", seconds) as stage:
        chest = segment_lungs(ct, stage) if lungs is None else lungs_from_mask(ct, lungs)

    with talk.enter("grid", seconds) as stage, ThreadPoolExecutor(1) as beside:
        measuring = beside.submit(air_offset, ct, chest)
        shift_hu = (lambda: measuring.result().shift_hu) if config.correct_air else 0.0
        canonical = working_volume(ct, chest, shift_hu=shift_hu)
        air = measuring.result()
        stage.advance(0.6)
        ground = _Ground.of(canonical)

    with talk.enter("statistics", seconds) as stage:
        parenchyma, cavities, looks = _everything(ground, stage)

    return Prepared(ct, chest, air, config.correct_air, parenchyma, cavities, looks, seconds)


@dataclass(frozen=True, eq=False)
class _Ground:
    """What every measurement stands on."""

    canonical: Canonical
    lattices: Lattices
    smooth: NDArray[np.float32]

    @classmethod
    def of(cls, canonical: Canonical) -> _Ground:
        with ThreadPoolExecutor(1) as beside:
            smoothing = beside.submit(smoothed, canonical.hu)
            return cls(canonical, Lattices.over(canonical.lungs), smoothing.result())


def _everything(ground: _Ground, talk: Talk) -> tuple[Parenchyma, NDArray[np.bool_], NDArray[np.float32]]:
    """The measured lungs, their cavities, and what every half cell looks like."""
    canonical = ground.canonical
    with ThreadPoolExecutor(2) as beside:  # each of the three leaves cores idle
        vessels = beside.submit(vessel_mask, canonical.hu, canonical.lungs, SPACING_ZYX)
        looking = beside.submit(find_cavities, canonical.hu, canonical.lungs, SPACING_ZYX, canonical.slice_mm)
        parenchyma = _measured(ground, vessels)
        talk.advance(0.7)
        looks = tissue_probability(parenchyma.half)
        talk.advance(0.8)
        return parenchyma, looking.result(), looks


def _measured(ground: _Ground, vessels: NDArray[np.bool_] | Future[NDArray[np.bool_]]) -> Parenchyma:
    canonical, smooth = ground.canonical, ground.smooth
    aeration = measure_aeration(canonical.hu, smooth, ground.lattices.core, canonical.side)
    half = statistics_of_half_cells(canonical, smooth, vessels, aeration, ground.lattices.half)
    cells = statistics_of_cells(half, ground.lattices.cells)
    seen = vessels.result() if isinstance(vessels, Future) else vessels
    return Parenchyma(canonical, smooth, seen, aeration, ground.lattices.cells, cells, half)
