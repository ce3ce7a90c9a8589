"""Honeycombed bases stay inside the lungs; bowel and stomach, as dark and as porous, stay outside."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_chest import AnalyticChest, analytic_chest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from DiffSegLungLib.anatomy.lungs import segment_lungs
from DiffSegLungLib.io.ct import CT

DIAPHRAGM_HU = 45.0


@pytest.fixture(scope="module")
def chest() -> AnalyticChest:
    return analytic_chest()


def share(inner: NDArray[np.bool_], outer: NDArray[np.bool_]) -> float:
    """How much of a region lies within another."""
    return float((inner & outer).sum() / inner.sum())


def base(chest: AnalyticChest, side: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The back of a lung's lower third, 280 ml, from the spine to the ribs and down to the diaphragm."""
    _x, y, z = chest.position
    return side & (z < -45) & (y > -10)


def cysts(chest: AnalyticChest, pitch_mm: float, radius_mm: float) -> NDArray[np.bool_]:
    """Balls in a lattice, every second layer shifted by half a pitch."""
    x, y, z = chest.position
    layer = np.floor(z / pitch_mm)
    shift = np.mod(layer, 2) * pitch_mm / 2
    across = [np.mod(p + shift, pitch_mm) - pitch_mm / 2 for p in (x, y)]
    up = z - (layer + 0.5) * pitch_mm
    return np.asarray(across[0] ** 2 + across[1] ** 2 + up**2 <= radius_mm**2)


def honeycombed(
    chest: AnalyticChest, where: NDArray[np.bool_], pitch_mm: float = 8.0, radius_mm: float = 3.9
) -> CT:
    """Cysts of -870 HU in walls of 20 HU."""
    holes = cysts(chest, pitch_mm, radius_mm)
    walled = chest.painted(where, 20)
    hu = walled.hu.copy()
    hu[where & holes] = -870
    return walled.with_hu(hu)


def under_the_diaphragm(
    chest: AnalyticChest, x_mm: tuple[float, float], gas_hu: float, size_mm: float
) -> tuple[CT, NDArray[np.bool_]]:
    """Food or stool, 28 mm high, 3 mm below a left diaphragm that stands 60 mm high; three fifths are gas."""
    x, y, z = chest.position
    filled = chest.left & (x > x_mm[0]) & (x < x_mm[1]) & (np.abs(y) < 40) & (z < -53) & (z > -81)
    noise = np.random.default_rng(3).normal(size=filled.shape)
    bubbles = gaussian_filter(noise, [size_mm / 2 / s for s in chest.ct.geometry.spacing[::-1]])
    hu = chest.painted(chest.left & (z < -50), DIAPHRAGM_HU).hu.copy()
    hu[filled] = np.where(bubbles > np.quantile(bubbles[filled], 0.4), gas_hu, 20)[filled]
    return chest.ct.with_hu(hu), filled


@pytest.mark.parametrize("left", [False, True])
def test_a_honeycombed_base_stays_inside(chest: AnalyticChest, left: bool) -> None:
    side = chest.left if left else chest.right
    sick = base(chest, side)
    found = segment_lungs(honeycombed(chest, sick))
    assert share(sick, found.side == (2 if left else 1)) > 0.8  # 0.12 before
    (note,) = found.notes
    assert (
        f"between the {'left' if left else 'right'} lung and the ribs were taken for honeycombed lung" in note
    )


def test_both_bases_alike_stay_inside(chest: AnalyticChest) -> None:
    """No lung tells what the other should look like."""
    sick = base(chest, chest.left | chest.right)
    assert share(sick, segment_lungs(honeycombed(chest, sick)).mask) > 0.8


def test_bowel_with_bubbles_of_gas_stays_outside(chest: AnalyticChest) -> None:
    """At the ribs and beside lung, as a honeycomb is; only the gas tells: without that rule 82 % are lung."""
    ct, bowel = under_the_diaphragm(chest, (75, 120), gas_hu=-1000, size_mm=6.0)
    assert share(bowel, segment_lungs(ct).mask) < 0.1


def test_a_stomach_full_of_food_stays_outside(chest: AnalyticChest) -> None:
    """Without gas that fills a voxel; only the ribs tell, without that rule 82 % are lung."""
    ct, stomach = under_the_diaphragm(chest, (35, 80), gas_hu=-870, size_mm=3.0)
    assert share(stomach, segment_lungs(ct).mask) < 0.1
