"""The working grid keeps HU and the place of every voxel."""

from __future__ import annotations

import numpy as np
import pytest

from DiffSegLungLib.anatomy.lungs import Lungs
from DiffSegLungLib.grid.canonical import CELL, denormalise, normalise, working_geometry, working_volume
from DiffSegLungLib.io.ct import CT, Geometry

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def ball(geometry: Geometry, centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """Voxels of a grid within a radius of a world point (x, y, z)."""
    z, y, x = np.indices(geometry.shape)
    direction = np.asarray(geometry.direction).reshape(3, 3) * np.asarray(geometry.spacing)
    world = np.stack([x, y, z], -1) @ direction.T + np.asarray(geometry.origin)
    return np.linalg.norm(world - centre, axis=-1) <= radius_mm


def chest(geometry: Geometry) -> tuple[CT, Lungs]:
    """A ball of lung with a dense ball inside, at fixed places in the world."""
    mask = ball(geometry, (40.0, 40.0, 40.0), 30.0)
    hu = np.where(mask, -850, 40).astype(np.int16)
    hu[ball(geometry, (50.0, 40.0, 40.0), 8.0)] = 0
    return CT(hu, geometry, "ball"), Lungs(mask.astype(np.uint8), np.zeros_like(mask))


def test_normalisation_can_be_read_back() -> None:
    hu = np.linspace(-1000, 400, 29, dtype=np.float32)
    assert normalise(np.float32(-1000)) == -1.0
    assert normalise(np.float32(400)) == pytest.approx(1.0)
    np.testing.assert_allclose(denormalise(normalise(hu)), hu, atol=1e-3)


def test_cells_lie_on_a_lattice_fixed_in_the_world() -> None:
    geometry = Geometry((80, 80, 80), (1.0, 1.0, 1.0), (0.3, -2.7, 11.1), IDENTITY)
    grid = working_geometry(chest(geometry)[1].mask, geometry)
    corner = np.asarray(grid.origin) - np.asarray(grid.spacing) / 2
    np.testing.assert_allclose(corner % 8.0, 0.0, atol=1e-9)
    assert all(n % c == 0 for n, c in zip(grid.shape, CELL, strict=True))


def test_flipped_and_cropped_file_gives_the_same_canonical_volume() -> None:
    geometry = Geometry((90, 84, 80), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY)
    ct, lungs = chest(geometry)
    straight = working_volume(ct, lungs)

    flipped = Geometry((90, 84, 80), (1.0, 1.0, 1.0), (89.0, 0.0, 0.0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    mirror = working_volume(*chest(flipped))
    assert mirror.geometry == straight.geometry
    np.testing.assert_allclose(mirror.hu, straight.hu, atol=1e-2)

    box = (slice(4, 78), slice(5, 80), slice(6, 82))
    cropped = working_volume(
        CT(ct.hu[box], geometry.crop(box), "cropped"),
        Lungs(lungs.regions[box], lungs.airway[box]),
    )
    assert cropped.geometry == straight.geometry
    np.testing.assert_array_equal(cropped.lungs, straight.lungs)
    np.testing.assert_allclose(cropped.hu[straight.lungs], straight.hu[straight.lungs], atol=1e-2)


def test_volume_of_the_mask_survives_resampling() -> None:
    geometry = Geometry((60, 60, 27), (1.4, 1.4, 3.0), (0.0, 0.0, 0.0), IDENTITY)
    canonical = working_volume(*chest(geometry))
    millilitres = canonical.lungs.sum() * 2.0 / 1000.0
    assert millilitres == pytest.approx(4 / 3 * np.pi * 3.0**3, rel=0.03)


def test_air_shift_moves_the_ct_and_leaves_the_room_around_it_at_air() -> None:
    geometry = Geometry((80, 80, 80), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY)
    ct, lungs = chest(geometry)
    shifted, plain = working_volume(ct, lungs, shift_hu=30.0), working_volume(ct, lungs)
    np.testing.assert_allclose(shifted.hu[plain.lungs], plain.hu[plain.lungs] + 30.0, atol=1e-2)
    assert shifted.hu.min() == plain.hu.min() == -1000.0
