"""Cavities of known lumen and wall, and the many air-filled things that are none."""

from __future__ import annotations

import numpy as np
import pytest
from lung_scene import CENTRE, LUNGS, POSITION, SHAPE, SPACING, Array, ball, scene, tube

from DiffSegLungLib.cavities import find_cavities

VOXEL_ML = float(np.prod(SPACING)) / 1000


@pytest.mark.parametrize(("lumen", "wall"), [(5, 2), (5, 6), (8, 3), (10, 2), (10, 5), (15, 4), (20, 8)])
def test_lumen_and_wall_are_marked(lumen: float, wall: float) -> None:
    hu = scene((ball(lumen + wall), 30.0), (ball(lumen), -990.0))
    found = find_cavities(hu, LUNGS, SPACING)
    truth = ball(lumen + wall) > 0.5
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93
    # 4/3 π r³ of the outer wall
    assert found.sum() * VOXEL_ML == pytest.approx(4 / 3 * np.pi * (lumen + wall) ** 3 / 1000, rel=0.12)


def test_of_a_thick_wall_ten_millimetres_count() -> None:
    found = find_cavities(scene((ball(26), 30.0), (ball(6), -990.0)), LUNGS, SPACING)
    assert found.sum() * VOXEL_ML == pytest.approx(4 / 3 * np.pi * 16**3 / 1000, rel=0.12)


def test_a_cavity_drained_by_a_bronchus_is_still_one() -> None:
    drain = tube(1.5, (0, 1, 0)) * (POSITION[1] > CENTRE[1])
    found = find_cavities(scene((ball(14), 30.0), (ball(9), -990.0), (drain, -950.0)), LUNGS, SPACING)
    assert found.sum() * VOXEL_ML == pytest.approx(4 / 3 * np.pi * 14**3 / 1000, rel=0.15)


def _honeycombing() -> Array:
    """Cysts of 7 mm, 8.5 mm apart, in a dense block: walls of 1.5 mm."""
    cysts = np.zeros(SHAPE)
    for dz in range(-2, 3):
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                centre = [c + 8.5 * d for c, d in zip(CENTRE, (dz, dy, dx), strict=True)]
                cysts = np.maximum(cysts, ball(3.5, centre))
    return cysts


@pytest.mark.parametrize(
    ("name", "parts", "lung_hu"),
    [
        ("emphysema", (), -965.0),
        ("bulla without a wall", ((ball(15), -990.0),), -900.0),
        ("bulla with a wall of 1 mm", ((ball(16), 30.0), (ball(15), -990.0)), -900.0),
        ("bronchus", ((tube(5.5, (1, 0, 0)), 30.0), (tube(4, (1, 0, 0)), -990.0)), -860.0),
        ("oblique bronchus", ((tube(5, (1, 1, 0)), 30.0), (tube(3, (1, 1, 0)), -990.0)), -860.0),
        ("air bronchogram", ((ball(25), 20.0), (tube(2, (1, 1, 1)) * (ball(25) > 0.9), -950.0)), -860.0),
        ("lobule of healthy lung in consolidation", ((ball(25), 20.0), (ball(10), -820.0)), -860.0),
        ("honeycombing", ((ball(26), 0.0), (_honeycombing() * (ball(26) > 0.9), -940.0)), -860.0),
        ("solid mass", ((ball(15), 30.0),), -860.0),
    ],
)
def test_what_is_no_cavity(name: str, parts: tuple[tuple[Array, float], ...], lung_hu: float) -> None:
    assert not find_cavities(scene(*parts, lung_hu=lung_hu), LUNGS, SPACING).any(), name


def test_gas_on_the_border_of_the_mask_is_no_cavity() -> None:
    """Stomach or trachea that a bad lung mask includes has no wall within the mask."""
    gas = ball(12) > 0.5
    hu = scene((ball(30), 40.0), (ball(12), -1000.0))
    assert not find_cavities(hu, (LUNGS & (ball(30) < 0.5)) | gas, SPACING).any()


def test_no_lung_no_cavity() -> None:
    assert not find_cavities(scene(), np.zeros(SHAPE, bool), SPACING).any()
