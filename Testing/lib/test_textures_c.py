"""Mathematics of the held-out lesion family, each with a number that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from DiffSegLungLib.evaluation.held_out.textures_c import (
    airway,
    gradient_noise,
    line_depth,
    merged,
    network,
    scattered,
    scattered_balls,
    split_cells,
    star_body,
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


def test_gradient_noise_has_unit_variance_and_its_scale(grid: Grid) -> None:
    fields = [gradient_noise(grid, 8.0, np.random.default_rng(seed), octaves=2) for seed in range(4)]
    assert np.mean([f.mean() for f in fields]) == pytest.approx(0, abs=0.1)
    assert np.mean([f.std() for f in fields]) == pytest.approx(1, abs=0.12)
    plain = gradient_noise(grid, 8.0, np.random.default_rng(9))
    # Neighbours an eighth of a cell apart are alike, two cells apart they are unrelated.
    near = np.corrcoef(plain[:-1].ravel(), plain[1:].ravel())[0, 1]
    far = np.corrcoef(plain[:-16].ravel(), plain[16:].ravel())[0, 1]
    assert near > 0.9
    assert abs(far) < 0.2


def test_gradient_noise_is_the_same_function_on_a_finer_grid() -> None:
    axis = np.arange(0, 20, 1.0)
    fine = np.arange(0, 19.5, 0.5)
    coarse_field, fine_field = (
        gradient_noise(Grid(a, a, a), 6.0, np.random.default_rng(5)) for a in (axis, fine)
    )
    assert np.allclose(coarse_field, fine_field[::2, ::2, ::2], atol=1e-4)


def test_star_body_has_the_volume_of_its_ball(grid: Grid) -> None:
    volumes = [
        (star_body(12.0, np.random.default_rng(seed), rough=0.25).depth(grid) > 0).sum() for seed in range(5)
    ]
    assert volumes == pytest.approx([4 / 3 * np.pi * 12**3] * 5, rel=0.03)


def test_smooth_star_is_a_ball_with_depth_in_millimetres(grid: Grid) -> None:
    depth = star_body(10.0, np.random.default_rng(0), rough=1e-6, centre=(2.0, 0.0, 0.0)).depth(grid)
    assert depth[26, 24, 24] == pytest.approx(10, abs=0.01)
    assert depth[24, 24, 32] == pytest.approx(10 - np.hypot(2, 8), abs=0.01)


def test_split_cells_are_small_and_divided_by_their_faces(points: np.ndarray) -> None:
    cells = split_cells(points, 10.0, np.random.default_rng(1))
    extents = [np.ptp(points[cells.cell == c], axis=0).max() for c in range(cells.count)]
    assert max(extents) < 15
    assert np.median(extents) > 5
    # A face lies between a point and any point of another cell.
    one = np.argmax(cells.face_mm)
    away = np.linalg.norm(points - points[one], axis=1)
    assert away[cells.cell != cells.cell[one]].min() >= cells.face_mm[one] - 1e-3


def test_scattered_points_and_balls_keep_apart(points: np.ndarray) -> None:
    from scipy.spatial.distance import pdist, squareform

    kept = scattered(points, 6.0, np.random.default_rng(2))
    assert pdist(kept).min() >= 6 - 1e-3
    # Random sequential addition jams at 38 % of the volume: 64000 / 113 balls of 3 mm radius, times 0.38.
    assert 100 < len(kept) < 230
    centres, radii = scattered_balls(points, np.array([2.0, 4.0]), 1.0, np.random.default_rng(3))
    gap = squareform(pdist(centres)) - radii[:, None] - radii[None]
    assert gap[~np.eye(len(gap), dtype=bool)].min() >= 1 - 1e-3
    assert set(radii) == {2.0, 4.0}


def test_one_soft_ball_keeps_its_radius_and_two_flow_together(grid: Grid) -> None:
    alone = merged(grid, np.zeros((1, 3), np.float32), np.array([6.0]))
    assert (alone > 0).sum() == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.03)
    two = np.array([[0, 0, -7], [0, 0, 7]], np.float32)
    both = merged(grid, two, np.array([6.0, 6.0]))
    assert both[24, 24, 24] > 0 > alone[24, 24, 31]


def test_tubes_have_their_radius(grid: Grid) -> None:
    line = np.stack([np.linspace(-20, 20, 400), np.zeros(400), np.zeros(400)], axis=1).astype(np.float32)
    spots = np.array([[0, 0, 0], [0, 1.5, 0], [0, 0, 5]], np.float32)
    assert line_depth(spots, line, 2.0) == pytest.approx([2, 0.5, -3], abs=0.06)
    assert len(line_depth(spots, line[:0], 2.0)) == 3


def test_networks_join_neighbours_and_airways_taper() -> None:
    rng = np.random.default_rng(0)
    nodes = np.array([[0, 0, 0], [0, 0, 6], [0, 6, 0], [6, 0, 0], [6, 6, 6]], np.float32)
    joined = network(nodes, rng)
    assert all(np.linalg.norm(joined - node, axis=1).min() < 0.01 for node in nodes)
    points, radii = airway(np.zeros(3), np.array([0.0, 0.0, 30.0]), 2.0, rng)
    assert radii[0] == 2.0
    assert radii.min() < 0.6
    assert np.linalg.norm(points[-1]) < 60
