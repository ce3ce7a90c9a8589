"""Vessels are tubes: what is found of tubes of known radius, and what of bodies that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lung_scene import LUNGS, POSITION, SHAPE, SPACING, Array, ball, plate, scene, tube
from scipy.ndimage import gaussian_filter

from DiffSegLungLib.anatomy.vessels import vessel_mask

WELL_INSIDE = ((POSITION[1] - 65) / 45) ** 2 + ((POSITION[2] - 75) / 52) ** 2 < 1
AWAY_FROM_ENDS = WELL_INSIDE & (POSITION[0] > 8) & (POSITION[0] < 110)


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0)])
@pytest.mark.parametrize("radius", [1.5, 2.0, 3.0, 4.0])
def test_tubes_are_found(radius: float, direction: tuple[int, int, int]) -> None:
    share = tube(radius, direction)
    hu = scene((share, 40.0))
    found = vessel_mask(hu, LUNGS, SPACING)
    core = (share > 0.5) & (hu > -500) & AWAY_FROM_ENDS
    assert found[core].mean() > 0.95
    far_away = gaussian_filter(share, 1.5) < 0.01
    assert not (found & far_away).any()


@pytest.mark.parametrize("radius", [2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0])
def test_nodules_and_masses_are_no_vessels(radius: float) -> None:
    hu = scene((ball(radius), 40.0))
    assert vessel_mask(hu, LUNGS, SPACING)[ball(radius) > 0.5].mean() < 0.02


@pytest.mark.parametrize("thickness", [1.0, 2.0, 4.0])
def test_fissures_and_septa_are_no_vessels(thickness: float) -> None:
    hu = scene((plate(thickness), 40.0))
    assert vessel_mask(hu, LUNGS, SPACING)[(plate(thickness) > 0.5) & LUNGS].mean() < 0.01


def _reticulation() -> Array:
    lines = gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), (1.2, 2.4, 2.4))
    return ball(30, (60, 95, 75)) * np.clip(1 - 4 * np.abs(lines / lines.std()), 0, 1) * 0.7


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("healthy", ()),
        ("ground glass", ((ball(30), -600.0),)),
        ("consolidation on the pleura", ((ball(30, (60, 100, 75)), 20.0),)),
        ("reticulation", ((ball(30, (60, 95, 75)), -660.0), (_reticulation(), 40.0))),
    ],
)
def test_disease_is_no_vessel(name: str, parts: tuple[tuple[Array, float], ...]) -> None:
    found = vessel_mask(scene(*parts), LUNGS, SPACING)
    assert found.sum() < 0.002 * LUNGS.sum(), name


def test_a_vessel_within_ground_glass_is_found() -> None:
    share = tube(2.5, (1, 0, 0))
    hu = scene((ball(30), -600.0), (share, 40.0))
    found = vessel_mask(hu, LUNGS, SPACING)
    assert found[(share > 0.5) & (hu > -400) & (ball(24) > 0.5)].mean() > 0.9
    assert (found & (share < 0.01)).sum() < 0.05 * found.sum()


def test_outside_the_lungs_nothing_is_marked() -> None:
    hu = scene((tube(3, (0, 0, 1)), 40.0))
    assert not (vessel_mask(hu, LUNGS, SPACING) & ~LUNGS).any()
    assert not vessel_mask(hu, np.zeros(SHAPE, bool), SPACING).any()


@pytest.mark.realct
def test_share_of_vessels_in_a_healthy_lung(real_data: Path) -> None:
    """Above -500 HU on 2 × 1 × 1 mm a healthy lung holds 1 to 5 % of its volume in vessels it can resolve."""
    from DiffSegLungLib.anatomy.lungs import segment_lungs
    from DiffSegLungLib.grid.canonical import working_volume
    from DiffSegLungLib.io.ct import CT

    ct = CT.read(real_data / "ct" / "rider-pilot_0117_standard.nii.gz")
    canonical = working_volume(ct, segment_lungs(ct))
    found = vessel_mask(canonical.hu, canonical.lungs, SPACING)
    assert 0.01 < found.sum() / canonical.lungs.sum() < 0.05
    assert (canonical.hu[found] > -500).all()
