"""Generated disease: widths, sizes, densities, extents and labels that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.lesions.diseases import DISEASES, fall_ill, sicken
from DiffSegLungLib.lesions.lesions import KINDS, Inserted
from DiffSegLungLib.lesions.lobules import slab_share, tessellate
from DiffSegLungLib.lesions.noise import Noise
from DiffSegLungLib.lesions.painters import PAINTERS
from DiffSegLungLib.lesions.textures import Grid

SPACING = (2.0, 1.0, 1.0)
BASE = -860.0
SILENT = Noise(0.0, 0.35)

Chest = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""HU and lungs, (z, y, x)."""


@pytest.fixture(scope="module")
def chest() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Two ellipsoids of even lung, -860 HU, in soft tissue, with a vessel 4 mm wide in each."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (56, 110, 150)), indexing="ij")
    lungs = np.zeros(z.shape, bool)
    for middle in (38, 112):
        lungs |= ((z - 28) / 25) ** 2 + ((y - 55) / 48) ** 2 + ((x - middle) / 32) ** 2 < 1
    hu = np.where(lungs, BASE, 40.0).astype(np.float32)
    hu[:, 53:57, 36:40] = hu[:, 53:57, 110:114] = 40
    return hu, lungs


def made(chest: Chest, disease: str, seed: int, extent: float | None = None) -> Inserted:
    hu, lungs = chest
    return sicken(
        hu, lungs, SPACING, np.random.default_rng(seed), disease=disease, extent=extent, noise=SILENT
    )


def test_a_slab_thinner_than_a_voxel_keeps_its_volume() -> None:
    """Wherever a wall of 0.4 or 1.5 mm lies in a row of voxels of 1 mm, their shares add up to its width."""
    for width in (0.4, 1.5):
        for shift in (0.0, 0.21, 0.5):
            away = np.abs(np.arange(-8, 8) + shift).astype(np.float32)
            assert slab_share(away, width, 1.0).sum() == pytest.approx(width, abs=1e-5)


def test_cells_are_those_of_the_nearest_seeds() -> None:
    """The distance to a face from all seeds' own distances: half the difference of squares over their gap."""
    grid = Grid(np.arange(0, 40, 2.0), np.arange(60.0), np.arange(60.0))
    for size in (4.0, 11.0):
        cells = tessellate(grid, size, np.random.default_rng(1))
        # One seed a cell: the voxel nearest to it shows where it is, to half a voxel's diagonal.
        middle = np.array(
            [
                grid.points()[np.argmin(np.where(cells.own == n, cells.seed_mm, np.inf))]
                for n in np.unique(cells.own)[:40]
            ]
        )
        assert np.all(cKDTree(middle).query(middle, k=2)[0][:, 1] > 0.6 * size)
        volume = cells.own.size * 2 / len(np.unique(cells.own))
        # Border cells count whole though they are cut.
        assert 0.45 * size**3 < volume < 1.3 * size**3


def test_where_nothing_is_wanted_there_is_no_wall() -> None:
    grid = Grid(np.arange(0, 40, 2.0), np.arange(40.0), np.arange(40.0))
    cells = tessellate(grid, 8.0, np.random.default_rng(1), where=np.zeros(grid.shape, bool))
    assert cells.walls(1.0)[10:].max() == 0


def test_a_mesh_has_lines_of_its_width_at_its_distance() -> None:
    """Twice the width, twice the volume; septa 5 to 15 mm apart along any line through a slice."""
    grid = Grid(np.arange(0, 80, 1.0), np.arange(0, 80, 1.0), np.arange(0, 80, 1.0))
    for size in (9.0, 17.0):
        cells = tessellate(grid, size, np.random.default_rng(2))
        thin, thick = (float(cells.walls(w).sum()) for w in (0.6, 1.2))
        assert thick / thin == pytest.approx(2, rel=0.03)
        crossings = np.count_nonzero(np.diff(cells.own, axis=2)) / (80 * 80)
        assert 4.5 < 79 / crossings < 15


def test_septal_lines_part_normal_lung_and_all_of_it_is_fibrosis(
    chest: Chest,
) -> None:
    for seed in range(4):
        disease = made(chest, "septal_lines", seed, 1.0)
        inside = disease.truth == FIBROSIS
        between = float(np.percentile(disease.hu[inside], 35))
        assert abs(between - BASE) < 75
        assert np.percentile(disease.hu[inside], 97) > between + 150
        assert inside.sum() > 0.9 * np.count_nonzero(chest[1] & (chest[0] < -700)) or seed


def test_honeycombs_have_cysts_and_walls_of_the_glossary(
    chest: Chest,
) -> None:
    """Cysts of 3 to 10 mm, walls of 1 to 3 mm between neighbours."""
    for seed in range(4):
        disease = made(chest, "honeycombing", seed, 1.0)
        inside = disease.truth == FIBROSIS
        air = inside & (disease.hu < -650)
        diameters, gaps = [], []
        for z in range(16, 40, 4):
            labels, count = ndimage.label(air[z])
            area = np.bincount(labels.ravel())[1:]
            diameters += list(2 * np.sqrt(area[area > 4] / np.pi))
            ridge = ndimage.distance_transform_edt(inside[z] & ~air[z])
            gaps += list(ridge[(ridge > 0) & (ndimage.maximum_filter(ridge, 3) == ridge)] * 2 - 1)
            assert count > 5
        assert 3 <= np.median(diameters) <= 10
        assert 1 <= np.median(gaps) <= 3.5


def test_ground_glass_comes_in_every_grade_and_vessels_show_through(
    chest: Chest,
) -> None:
    hu, _ = chest
    lifts = []
    for seed in range(12):
        disease = made(chest, "ground_glass", seed, 0.6)
        glass = disease.truth == GROUND_GLASS
        lifts.append(float(np.median(disease.hu[glass]) - BASE))
        vessel = (hu > 0) & ndimage.binary_dilation(glass, iterations=3) & chest[1]
        assert disease.hu[vessel].mean() > np.median(disease.hu[glass]) + 300
    assert 40 < min(lifts) < 150
    assert 250 < max(lifts) < 420


def test_crazy_paving_is_ground_glass_with_lines(
    chest: Chest,
) -> None:
    for seed in range(3):
        disease = made(chest, "crazy_paving", seed, 0.8)
        paved = disease.truth == GROUND_GLASS
        assert set(np.unique(disease.truth)) == {0, GROUND_GLASS}
        assert np.percentile(disease.hu[paved], 95) > np.median(disease.hu[paved]) + 60


def test_consolidation_within_ground_glass_is_consolidation(
    chest: Chest,
) -> None:
    disease = made(chest, "lobar_pneumonia", 1, 0.6)
    dense, hazy = (disease.truth == c for c in (CONSOLIDATION, GROUND_GLASS))
    assert dense.any()
    assert hazy.any()
    assert np.median(disease.hu[dense]) > -150
    assert np.median(disease.hu[hazy]) < -400


def test_organising_pneumonia_has_a_dense_part_in_ground_glass(
    chest: Chest,
) -> None:
    for seed in range(4):
        disease = (
            made(chest, "organising_pneumonia", seed, 0.5) if seed else made(chest, "organising_pneumonia", 9)
        )
        dense, hazy = (disease.truth == c for c in (CONSOLIDATION, GROUND_GLASS))
        assert 0.005 < dense.sum() / (dense | hazy).sum() < 0.8
        assert disease.hu[dense].mean() > disease.hu[hazy].mean() + 150


def test_centrilobular_holes_are_small_dark_and_without_walls(
    chest: Chest,
) -> None:
    for seed in range(3):
        disease = made(chest, "centrilobular_emphysema", seed, 1.0)
        holes = disease.truth == EMPHYSEMA
        labels, _ = ndimage.label(holes[28])
        area = np.bincount(labels.ravel())[1:]
        assert 2.5 <= np.median(2 * np.sqrt(area[area > 2] / np.pi)) <= 10
        assert disease.hu[holes].mean() < -915
        # Nothing in a lung without vessels is denser than it was: holes have no walls.
        assert disease.hu[chest[1] & (chest[0] < -700)].max() < BASE + 1


def test_bullae_are_air_with_hairline_walls(chest: Chest) -> None:
    for seed in range(4):
        disease = made(chest, "bulla", seed, 0.4)
        bulla = disease.truth == EMPHYSEMA
        assert np.median(disease.hu[bulla]) < -950
        widest = 2 * ndimage.distance_transform_edt(bulla, sampling=SPACING).max()
        assert 5 < widest < 62
        # A wall far thinner than a voxel never reads as dense as one that fills it.
        rim = ndimage.binary_dilation(bulla, iterations=2) & ~bulla & chest[1]
        deep = ndimage.binary_erosion(chest[1], iterations=4) & (chest[0] < -700)
        assert disease.hu[rim & deep].max(initial=-1000) < -300


@pytest.mark.parametrize("extent", [0.1, 0.5, 1.0])
def test_extent_is_the_one_asked_for(chest: Chest, extent: float) -> None:
    shares = []
    for seed in range(4):
        disease = made(chest, "panlobular_emphysema", seed, extent)
        ill = np.count_nonzero(disease.truth)
        # One lung alone may be ill: then it is the share of that lung.
        sides = [disease.truth[:, :, :75].any(), disease.truth[:, :, 75:].any()]
        lung = np.count_nonzero(chest[1] & (chest[0] < -700))
        shares.append(
            min((ill / lung, 2 * ill / lung)[: 1 + (not all(sides))], key=lambda s: abs(s - extent))
        )
    assert np.mean(shares) == pytest.approx(extent, abs=0.06 + 0.1 * extent)


@pytest.mark.parametrize("disease", [*DISEASES, *PAINTERS])
def test_disease_stays_in_the_lungs_and_is_the_same_for_the_same_seed(chest: Chest, disease: str) -> None:
    hu, lungs = chest
    before = hu.copy()
    first, again, other = (made(chest, disease, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.truth, again.truth)
    assert not np.array_equal(first.hu, other.hu)
    assert np.array_equal(hu, before)
    assert first.truth.any()
    assert not first.truth[~lungs].any()
    # Tissue fills the half-aerated rim of the mask, 2 mm at most.
    beyond = ~ndimage.binary_dilation(lungs, iterations=2)
    assert np.array_equal(first.hu[beyond], hu[beyond])
    assert np.array_equal(first.truth > 0, first.owner > 0)
    for lesion in first.lesions:
        classes = set(np.unique(first.truth[first.owner == lesion.number]))
        assert classes <= {KINDS[lesion.kind], CONSOLIDATION}
        assert lesion.volume_ml == pytest.approx((first.owner == lesion.number).sum() * 0.002)


def test_thick_slices_make_lines_fainter(chest: Chest) -> None:
    hu, lungs = chest
    peaks = [
        float(np.percentile(
            sicken(
                hu, lungs, SPACING, np.random.default_rng(1), disease="septal_lines", extent=1.0,
                slice_mm=slice_mm, noise=SILENT,
            ).hu[lungs], 95,
        ))
        for slice_mm in (None, 8.0)
    ]  # fmt: skip
    assert peaks[1] < peaks[0] - 40


def test_half_of_the_lungs_that_may_fall_ill_do(
    chest: Chest,
) -> None:
    part = (slice(20, 36), slice(30, 80), slice(10, 60))
    hu, lungs = chest[0][part], chest[1][part]
    rng = np.random.default_rng(0)
    ill = 0
    for _ in range(40):
        after, truth = fall_ill(hu, lungs, SPACING, rng)
        ill += bool(truth.any())
        assert bool(truth.any()) <= bool((after != hu).any())
    assert 10 <= ill <= 28


def test_bad_requests_are_refused(chest: Chest) -> None:
    with pytest.raises(InputError, match="no disease 'gout'"):
        made(chest, "gout", 0)
    with pytest.raises(InputError, match="no share"):
        made(chest, "emphysema", 0, 1.5)
    with pytest.raises(InputError, match="empty"):
        made((chest[0], np.zeros_like(chest[1])), "emphysema", 0)
