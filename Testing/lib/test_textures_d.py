"""Mathematics of lesion family "d", each with a number that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from DiffSegLungLib.evaluation.held_out.lobules_d import (
    Place,
    layered_seeds,
    power_cells,
    shaken_lattice,
    swayed,
)
from DiffSegLungLib.evaluation.held_out.textures_d import (
    Tubes,
    bronchial_tree,
    crooked_tubes,
    ellipsoid_depth,
    faceted_body,
    matern_field,
)
from DiffSegLungLib.lesions.textures import Grid

CUBE = np.arange(-24, 24.5, 1.0)


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid(CUBE, CUBE, CUBE)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """20,000 points of a cube of 40 mm."""
    return np.random.default_rng(0).uniform(-20, 20, (20000, 3)).astype(np.float32)


def test_matern_field_has_unit_variance_and_its_correlation(grid: Grid) -> None:
    fields = [matern_field(grid, 4.0, np.random.default_rng(seed)) for seed in range(4)]
    assert np.mean([f.mean() for f in fields]) == pytest.approx(0, abs=0.1)
    assert np.mean([f.std() for f in fields]) == pytest.approx(1, abs=0.1)
    # (1 + s) exp(-s) with s = sqrt(3) at the scale, 2 sqrt(3) at twice the scale.
    for lag, expected in ((4, 0.483), (8, 0.140)):
        found = np.mean([np.mean(f[lag:] * f[:-lag]) / np.mean(f**2) for f in fields])
        assert found == pytest.approx(expected, abs=0.08)


def test_faceted_body_has_the_volume_of_its_ball(grid: Grid) -> None:
    for lumps, centre in ((0, (0.0, 0.0, 0.0)), (2, (3.0, -2.0, 1.0))):
        volumes = [
            (
                faceted_body(10.0, np.random.default_rng(seed), uneven=0.2, lumps=lumps, centre=centre).depth(
                    grid
                )
                > 0
            ).sum()
            for seed in range(4)
        ]
        assert volumes == pytest.approx([4 / 3 * np.pi * 10**3] * 4, rel=0.04)


def test_small_body_in_a_large_grid_stays_finite(grid: Grid) -> None:
    depth = faceted_body(2.0, np.random.default_rng(0), uneven=0.2).depth(grid)
    assert np.isfinite(depth).all()
    assert depth[24, 24, 24] > 0 > depth[24, 24, 30]


def test_plain_power_cells_are_those_of_the_nearest_seed(points: np.ndarray) -> None:
    seeds = np.array([[0, 0, -6], [0, 0, 6], [0, 12, 0]], np.float32)
    cells = power_cells(points, seeds, np.random.default_rng(0), faces=2)
    nearest = np.linalg.norm(points[:, None] - seeds, axis=2).argmin(axis=1)
    assert np.array_equal(cells.cell, nearest)
    # Between the first two seeds lies the plane x = 0.
    low = (cells.cell < 2) & (points[:, 1] < -10)
    assert cells.near_mm[low] == pytest.approx(np.abs(points[low, 2]), abs=1e-3)


def test_weights_move_the_face(points: np.ndarray) -> None:
    """Seeds 12 mm apart whose weights differ by w: the plane lies w / 24 off the middle."""
    seeds = np.array([[0, 0, -6], [0, 0, 6]], np.float32)
    rng = np.random.default_rng(3)
    drawn = np.random.default_rng(3).uniform(0, 1, 2)
    # A larger lift is a smaller weight: 36 mm2 times the number drawn.
    shift = 36 * (drawn[1] - drawn[0]) / 24
    cells = power_cells(points, seeds, rng, contrast_mm=6.0)
    assert np.array_equal(cells.cell == 0, points[:, 2] < shift)


def test_corners_of_cells_are_rounded_inwards(points: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    cells = power_cells(points, shaken_lattice(points, 8.0, rng), rng, faces=6)
    rounded = cells.rounded_mm(0.5)
    assert (rounded <= cells.near_mm + 1e-5).all()
    # Six faces at the same distance take 0.5 ln 6 = 0.9 mm at most.
    assert (cells.near_mm - rounded).max() <= 0.5 * np.log(6) + 1e-3


def test_lattice_has_its_gap_and_covers_the_points(points: np.ndarray) -> None:
    from scipy.spatial import cKDTree

    even = shaken_lattice(points, 8.0, np.random.default_rng(2), shake=0.0)
    away = np.asarray(cKDTree(even).query(even, k=2)[0])[:, 1]
    assert away == pytest.approx(np.full(len(even), 8.0), abs=1e-3)
    # No point of a face-centred cubic lattice is further from a node than half a cell edge: 5.7 mm.
    assert np.max(cKDTree(even).query(points)[0]) < 8 / 2**0.5 + 1e-3


def test_layered_seeds_keep_apart_and_lie_in_layers(points: np.ndarray) -> None:
    from scipy.spatial.distance import pdist

    from_wall = points[:, 0] + 20
    seeds = layered_seeds(points, from_wall, (8.0, 8.0), np.random.default_rng(0))
    assert pdist(seeds).min() >= 8 - 1e-3
    # Layers 0.85 * 8 mm apart: chance would put half of the seeds that near to the middle of a layer.
    off = np.abs((seeds[:, 0] + 20) / 6.8 % 1 - 0.5)
    assert (off < 0.25).mean() > 0.62


def test_swaying_moves_points_a_little(points: np.ndarray) -> None:
    moved = swayed(points, 20.0, 1.0, np.random.default_rng(0)) - points
    assert 0.3 < moved.std() < 1.0
    assert np.abs(moved).max() < 1.5


def test_net_lies_between_cells_and_thins_out_with_missing_faces(grid: Grid) -> None:
    depth = np.full(grid.shape, 9, np.float32)
    shares = [
        float(Place(grid, depth, np.random.default_rng(5)).net(9.0, (1.0, 1.0), missing).mean())
        for missing in (0.0, 0.5)
    ]
    assert 0.15 < shares[0] < 0.5
    assert shares[1] == pytest.approx(shares[0] / 2, rel=0.3)


def test_ellipsoids_keep_about_the_volume_of_their_balls(grid: Grid) -> None:
    centres = np.array([[-10, -10, -10], [10, 10, 10]], np.float32)
    depth = ellipsoid_depth(grid, centres, np.array([6.0, 6.0]), np.random.default_rng(0))
    assert (depth > 0).sum() == pytest.approx(2 * 4 / 3 * np.pi * 6**3, rel=0.4)
    assert depth[14, 14, 14] == pytest.approx(6, abs=0.1)
    assert depth.min() == -2


def test_tubes_have_their_radius(grid: Grid) -> None:
    tube = Tubes(np.array([[0.0, 0, -20]]), np.array([[0.0, 0, 20]]), np.array([[3.0, 1.0]]))
    depth = tube.depth(grid)
    assert depth[24, 24, 24] == pytest.approx(2, abs=1e-3)
    assert depth[24, 25, 4] == pytest.approx(2, abs=0.06)
    assert depth[24, 40, 24] == -2


def test_bronchi_divide_in_two_and_keep_murrays_law() -> None:
    tubes = bronchial_tree(np.zeros(3), np.array([1.0, 0, 0]), 2.0, 4, np.random.default_rng(0))
    # 1 + 2 + 4 + 8 bronchi of two pieces.
    assert len(tubes.radii) == 30
    assert tubes.radii.max() == 2.0
    daughters = np.unique(tubes.radii[::2, 0].round(9))
    cubes = np.sort(daughters**3)[::-1]
    assert cubes[0] == pytest.approx(8)
    assert cubes[1:].sum() == pytest.approx(3 * 8, rel=1e-6)


def test_crooked_tubes_start_where_they_should() -> None:
    starts = np.array([[1.0, 2, 3], [4, 5, 6]])
    tubes = crooked_tubes(starts, (1.0, 2.0), np.random.default_rng(0))
    assert all(np.abs(tubes.starts - start).sum(axis=1).min() == 0 for start in starts)
    assert 6 <= len(tubes.radii) <= 10
    assert 0.75 <= tubes.radii.min() <= tubes.radii.max() <= 2.5
