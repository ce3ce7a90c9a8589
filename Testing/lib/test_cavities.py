"""Cavities of known lumen and wall, and the many air-filled things that are none."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from lung_scene import CENTRE, LUNGS, POSITION, SHAPE, SPACING, Array, ball, scene, tube
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from scipy.ndimage import gaussian_filter

from DiffSegLungLib.anatomy.cavities import find_cavities
from DiffSegLungLib.grid.canonical import slice_mm
from DiffSegLungLib.io.geometry import Geometry

Parts = tuple[tuple[Array, float], ...]
VOXEL_ML = float(np.prod(SPACING)) / 1000


def in_slices(hu: NDArray[np.float32], mm: float, start_mm: float = 0.0) -> NDArray[np.float32]:
    """A scene as slices of this thickness show it, interpolated back to its own planes."""
    edges = np.arange(SHAPE[0] + 1) * SPACING[0]
    integral = np.concatenate([np.zeros((1, *SHAPE[1:])), np.cumsum(hu, axis=0, dtype=float)]) * SPACING[0]
    cuts = np.arange(edges[0] + start_mm, edges[-1], mm)
    at = interp1d(edges, integral, axis=0)(cuts)
    slices = interp1d((cuts[:-1] + cuts[1:]) / 2, np.diff(at, axis=0) / mm, axis=0, fill_value="extrapolate")
    return np.asarray(slices(edges[:-1] + SPACING[0] / 2), np.float32)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


@pytest.mark.parametrize(("lumen", "wall"), [(5, 2), (5, 6), (8, 3), (10, 2), (10, 5), (15, 4), (20, 8)])
def test_lumen_and_wall_are_marked(lumen: float, wall: float) -> None:
    hu = scene((ball(lumen + wall), 30.0), (ball(lumen), -990.0))
    found = find_cavities(hu, LUNGS, SPACING)
    truth = ball(lumen + wall) > 0.5
    assert dice(found, truth) > 0.93
    # 4/3 π r³ of the outer wall
    assert found.sum() * VOXEL_ML == pytest.approx(4 / 3 * np.pi * (lumen + wall) ** 3 / 1000, rel=0.12)


@lru_cache(1)
def _cavity(lumen: float, wall: float) -> NDArray[np.float32]:
    return scene((ball(lumen + wall), 30.0), (ball(lumen), -970.0), noise_hu=50.0)


@pytest.mark.parametrize("start_mm", [0.0, 3.0])
@pytest.mark.parametrize(
    ("mm", "lumen", "wall", "least"),
    [
        (5, 7, 3, 0.85), (5, 9, 3, 0.85), (5, 8, 6, 0.9), (5, 17, 3, 0.9),
        (8, 8, 4, 0.8), (8, 10, 4, 0.8), (8, 12, 6, 0.85), (8, 20, 4, 0.9),
    ],
)  # fmt: skip
def test_cavities_in_thick_slices(
    mm: float, lumen: float, wall: float, least: float, start_mm: float
) -> None:
    hu = _cavity(lumen, wall)
    found = find_cavities(in_slices(hu, mm, start_mm), LUNGS, SPACING, mm)
    assert dice(found, ball(lumen + wall) > 0.5) > least


def test_slices_are_counted_along_the_patient() -> None:
    coronal = Geometry((50, 60, 40), (0.7, 8.0, 0.7), (0, 0, 0), (1, 0, 0, 0, 0, 1, 0, -1, 0))
    assert slice_mm(coronal) == 8.0


def test_of_a_thick_wall_ten_millimetres_count() -> None:
    found = find_cavities(scene((ball(26), 30.0), (ball(6), -990.0)), LUNGS, SPACING)
    assert found.sum() * VOXEL_ML == pytest.approx(4 / 3 * np.pi * 16**3 / 1000, rel=0.12)


def test_a_cavity_drained_by_a_bronchus_is_still_one() -> None:
    drain = tube(1.5, (0, 1, 0)) * (POSITION[1] > CENTRE[1])
    found = find_cavities(scene((ball(14), 30.0), (ball(9), -990.0), (drain, -950.0)), LUNGS, SPACING)
    assert found.sum() * VOXEL_ML == pytest.approx(4 / 3 * np.pi * 14**3 / 1000, rel=0.15)


def _in_consolidation(what: Array, hu: float) -> Parts:
    return (ball(25), 20.0), (what, hu)


def _honeycombing() -> Array:
    """Cysts of 7 mm, 8.5 mm apart, in a dense block: walls of 1.5 mm."""
    cysts = np.zeros(SHAPE)
    for dz in range(-2, 3):
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                centre = [c + 8.5 * d for c, d in zip(CENTRE, (dz, dy, dx), strict=True)]
                cysts = np.maximum(cysts, ball(3.5, centre))
    return cysts


def _beads() -> tuple[tuple[Array, float], ...]:
    """A bronchus along the patient, 6 mm wide with swellings of 10 mm, walls of 1 mm."""
    beads = [ball(5, (CENTRE[0] + d, *CENTRE[1:])) for d in (-20, 0, 20)]
    walls = [ball(6, (CENTRE[0] + d, *CENTRE[1:])) for d in (-20, 0, 20)]
    along = (1, 0, 0)
    return (np.maximum.reduce([tube(4, along), *walls]), 0.0), (
        np.maximum.reduce([tube(3, along), *beads]),
        -960.0,
    )


def _bronchus(radius: float, half_mm: float, along: tuple[float, float, float]) -> Parts:
    """A closed piece of a bronchus, walls of 2 mm."""
    t = sum((p - c) * a / np.linalg.norm(along) for p, c, a in zip(POSITION, CENTRE, along, strict=True))
    return (tube(radius + 2, along) * (np.abs(t) < half_mm + 2), 30.0), (
        tube(radius, along) * (np.abs(t) < half_mm),
        -980.0,
    )


def _cysts(radius: float, wall: float) -> Parts:
    """Three cysts that touch."""
    centres = [
        (CENTRE[0], CENTRE[1] + d, CENTRE[2] + e)
        for d, e in ((0, 0), (2 * radius + wall, 0), (radius + wall / 2, 1.73 * (radius + wall / 2)))
    ]
    outer = np.maximum.reduce([ball(radius + wall, c) for c in centres])
    return (outer, 20.0), (np.maximum.reduce([ball(radius, c) for c in centres]), -980.0)


def _dilated_bronchi() -> Array:
    """Twelve bronchi of 5 mm along the patient, in two rings around the centre."""
    places = [
        (CENTRE[1] + away * np.sin(angle), CENTRE[2] + away * np.cos(angle))
        for count, away, first in ((5, 8.5, 0.0), (7, 13.5, 0.3))
        for angle in first + np.linspace(0, 2 * np.pi, count, endpoint=False)
    ]
    shares = [np.clip(3.1 - np.hypot(POSITION[1] - y, POSITION[2] - x), 0, 1) for y, x in places]
    return np.asarray(np.maximum.reduce(shares))


def _holes() -> Array:
    """Air without walls in most of a ball of lung, vessels between."""
    rng = np.random.default_rng(1)
    field = gaussian_filter(rng.normal(size=SHAPE), (2, 4, 4))
    return np.asarray(np.clip(field / field.std() + 1, 0, 1) * ball(30))


@lru_cache(1)
def _made(parts: Callable[[], Parts], lung_hu: float, noise_hu: float) -> NDArray[np.float32]:
    return scene(*parts(), lung_hu=lung_hu, noise_hu=noise_hu)


@pytest.mark.parametrize("mm", [2.0, 5.0, 8.0])
@pytest.mark.parametrize(
    ("name", "parts", "lung_hu"),
    [
        ("emphysema", lambda: (), -965.0),
        ("bulla without a wall", lambda: ((ball(15), -990.0),), -900.0),
        ("bulla with a wall of 1 mm", lambda: ((ball(16), 30.0), (ball(15), -990.0)), -900.0),
        ("bronchus", lambda: ((tube(5.5, (1, 0, 0)), 30.0), (tube(4, (1, 0, 0)), -990.0)), -860.0),
        ("oblique bronchus", lambda: ((tube(5, (1, 1, 0)), 30.0), (tube(3, (1, 1, 0)), -990.0)), -860.0),
        ("air bronchogram", lambda: _in_consolidation(tube(2, (1, 1, 1)) * (ball(25) > 0.9), -950.0), -860.0),
        ("lobule of healthy lung in consolidation", lambda: _in_consolidation(ball(10), -820.0), -860.0),
        ("honeycombing", lambda: ((ball(26), 0.0), (_honeycombing() * (ball(26) > 0.9), -940.0)), -860.0),
        ("bronchiectasis", _beads, -860.0),
        ("wide bronchus in the plane", lambda: _bronchus(5, 20, (0, 1, 0)), -860.0),
        ("wide oblique bronchus", lambda: _bronchus(5, 22, (0.5, 1, 0)), -860.0),
        ("confluent emphysema", lambda: ((_holes(), -985.0),), -860.0),
        ("solid mass", lambda: ((ball(15), 30.0),), -860.0),
    ],
)
def test_what_is_no_cavity(name: str, parts: Callable[[], Parts], lung_hu: float, mm: float) -> None:
    hu = _made(parts, lung_hu, 25.0 if mm == 2 else 50.0)
    seen = hu if mm == 2 else in_slices(hu, mm, 1.0)
    assert not find_cavities(seen, LUNGS, SPACING, mm).any(), name


def test_a_small_lumen_among_dilated_bronchi_is_no_cavity() -> None:
    block = ((ball(25), 0.0), (_dilated_bronchi() * (ball(25) > 0.9), -960.0), (ball(5), -980.0))
    assert not find_cavities(scene(*block), LUNGS, SPACING).any()
    assert find_cavities(scene(block[0], block[2]), LUNGS, SPACING).any()


def test_cysts_that_touch_are_no_cavities() -> None:
    assert not find_cavities(scene(*_cysts(7, 2.5)), LUNGS, SPACING).any()


@pytest.mark.parametrize("mm", [2.0, 5.0, 8.0])
def test_gas_on_the_border_of_the_mask_is_no_cavity(mm: float) -> None:
    """Stomach or trachea that a bad lung mask includes has no wall within the mask."""
    gas = ball(12) > 0.5
    hu = scene((ball(30), 40.0), (ball(12), -1000.0))
    seen = hu if mm == 2 else in_slices(hu, mm)
    assert not find_cavities(seen, (LUNGS & (ball(30) < 0.5)) | gas, SPACING, mm).any()


def test_no_lung_no_cavity() -> None:
    assert not find_cavities(scene(), np.zeros(SHAPE, bool), SPACING).any()
