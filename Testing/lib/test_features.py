"""Cells and their features: counted by hand on blocks of known HU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from lung_block import LEVEL_HU, block, geometry_of

from DiffSegLungLib.errors import Cancelled
from DiffSegLungLib.grid.canonical import CELL, normalise
from DiffSegLungLib.grid.cells import HALF_CELL, Lattice, Lattices, inner, spread
from DiffSegLungLib.grid.tiles import tile_cells, tile_weight, world_noise
from DiffSegLungLib.segmentation.aeration import measure_aeration
from DiffSegLungLib.segmentation.diffusion_features import diffusion_features, network_features
from DiffSegLungLib.segmentation.preparation import Parenchyma
from DiffSegLungLib.segmentation.statistics import smoothed, statistics_of_half_cells
from DiffSegLungLib.talk import Talk


def test_lattice_takes_cells_from_a_quarter_of_lung():
    lungs = np.zeros((4, 8, 24), bool)
    lungs[:, :, :8] = True  # whole cell: 256 voxels
    lungs[:, :2, 8:16] = True  # 64 of 256: exactly a quarter
    lungs[:, :1, 16:] = True  # 32 of 256: an eighth
    lattice = Lattice.over(lungs, inner(lungs), CELL)
    assert lattice.shape == (1, 1, 3)
    assert lattice.index.tolist() == [0, 1]
    assert lattice.fraction.tolist() == [1.0, 0.25]


def test_cell_sums_equal_the_direct_sums():
    canonical = block(seed=1)
    lattice = Lattices.over(canonical.lungs).cells
    values = canonical.hu.ravel()[lattice.voxels]
    chosen = np.zeros(canonical.hu.size, bool)
    chosen[lattice.voxels] = True
    masked = np.where(chosen.reshape(canonical.hu.shape), canonical.hu, 0).astype(np.float64)
    z, y, x = lattice.shape
    direct = masked.reshape(z, 4, y, 8, x, 8).sum(axis=(1, 3, 5))
    np.testing.assert_allclose(lattice.sums(values), direct, rtol=1e-6, atol=1e-6)


def test_a_soft_window_keeps_the_total_and_weighs_a_neighbour_by_one_half():
    lattice = np.zeros((5, 5, 5))
    lattice[2, 2, 2] = 8.0
    wide = spread(lattice)
    assert wide.sum() == pytest.approx(8.0)
    assert wide[2, 2, 2] == pytest.approx(1.0)
    assert wide[2, 2, 3] == pytest.approx(0.5)


def test_statistics_of_known_tissue():
    canonical = block(noise_hu=0.0)
    canonical.hu[12:24, 24:48, 24:48] = -980.0
    lattices = Lattices.over(canonical.lungs)
    aeration = measure_aeration(canonical.hu, canonical.hu, lattices.core, canonical.side)
    assert aeration.level_hu == pytest.approx(LEVEL_HU, abs=5)
    nothing = np.zeros_like(canonical.lungs)
    half = statistics_of_half_cells(canonical, canonical.hu, nothing, aeration, lattices.half)
    place = half.index.tolist().index(int(np.ravel_multi_index((8, 8, 8), half.shape)))
    values = dict(zip(half.names, half.features[place], strict=True))
    assert values["emphysema share 7 mm"] == pytest.approx(1.0)
    assert values["raised 60 share 7 mm"] == 0.0
    assert values["mean 7 mm"] == pytest.approx((-980 - aeration.level_hu) / 100, abs=1e-4)
    corner = half.index.tolist().index(int(np.ravel_multi_index((6, 6, 6), half.shape)))
    # A corner of the hole: along each axis its own half and one neighbour, 3/4; the feature is a root.
    share = half.column("emphysema share 7 mm")[corner]
    assert share == pytest.approx(np.sqrt(0.75**3), abs=1e-3)


def test_cells_are_the_means_of_their_half_cells():
    measured = Parenchyma.of(block(noise_hu=20.0, seed=4))
    cells, half = measured.cells, measured.half
    assert half.shape == tuple(2 * n for n in cells.shape)
    lattice = half.to_lattice(half.features * half.fraction[:, None])
    weight = half.to_lattice(half.fraction)
    place = len(cells) // 2
    z, y, x = (2 * i for i in np.unravel_index(cells.index[place], cells.shape))
    part = (slice(z, z + 2), slice(y, y + 2), slice(x, x + 2))
    expected = lattice[part].sum(axis=(0, 1, 2)) / weight[part].sum()
    np.testing.assert_allclose(cells.features[place], expected, rtol=1e-4, atol=1e-5)


def test_noise_is_not_texture():
    quiet = Parenchyma.of(block(noise_hu=8.0, seed=1)).half
    noisy = Parenchyma.of(block(noise_hu=40.0, seed=1)).half
    for name in ("fine energy 14 mm", "ridges 14 mm"):
        assert abs(np.median(quiet.column(name))) < 0.2
        assert abs(np.median(noisy.column(name))) < 0.2
    assert np.median(noisy.column("emphysema share 14 mm")) < 0.05


def test_lines_have_ridges_and_fine_energy():
    canonical = block(noise_hu=10.0)
    lined = canonical.hu.copy()
    lined[12:36, 24:72, 24:72:6] += 400
    half = Parenchyma.of(replace(canonical, hu=lined)).half
    middle = half.index.tolist().index(int(np.ravel_multi_index((12, 12, 12), half.shape)))
    assert half.column("fine energy 7 mm")[middle] > 2
    assert half.column("ridges 7 mm")[middle] > 0.5


def test_statistics_follow_the_patients_own_level():
    shallow = block(seed=3)
    deep = replace(shallow, hu=shallow.hu + 60.0)
    a, b = Parenchyma.of(shallow), Parenchyma.of(deep)
    assert b.aeration.level_hu == pytest.approx(LEVEL_HU + 60, abs=5)
    np.testing.assert_allclose(a.cells.column("mean 7 mm"), b.cells.column("mean 7 mm"), atol=0.05)


def test_aeration_finds_level_gradient_and_noise():
    canonical = block(noise_hu=20.0)
    canonical.hu[...] += 0.5 * (np.arange(96, dtype=np.float32) - 47.5)[None, :, None]
    smooth = smoothed(canonical.hu)
    aeration = measure_aeration(canonical.hu, smooth, canonical.lungs, canonical.side)
    for lung in (aeration.right, aeration.left):
        assert lung.slope_hu_per_mm == pytest.approx(0.5, abs=0.1)
        assert lung.along(96)[48] == pytest.approx(LEVEL_HU, abs=6)
    # Of white noise a Gaussian of 0.5, 1, 1 voxels takes nearly all away.
    assert 15 < aeration.noise_hu < 21


def test_aeration_of_a_lung_that_is_mostly_sick():
    canonical = block(noise_hu=15.0)
    canonical.hu[:, :64] -= 110  # two thirds emphysema at -970 HU
    canonical.hu[:, 80:] += 260  # the rest of the back ground glass
    aeration = measure_aeration(canonical.hu, smoothed(canonical.hu), canonical.lungs, canonical.side)
    assert aeration.level_hu == pytest.approx(LEVEL_HU, abs=20)


def test_one_lung_may_trap_air():
    canonical = block(noise_hu=15.0)
    canonical.hu[..., 48:] += 80
    aeration = measure_aeration(canonical.hu, smoothed(canonical.hu), canonical.lungs, canonical.side)
    assert aeration.right.level_hu == pytest.approx(LEVEL_HU, abs=8)
    assert aeration.left.level_hu == pytest.approx(LEVEL_HU + 80, abs=8)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_tiles_cover_every_lung_cell_and_no_tile_is_empty(overlap):
    occupied = np.zeros((13, 17, 29), bool)
    occupied[2:11, 3:16, 1:9] = True
    occupied[2:11, 3:16, 20:28] = True
    covered = np.zeros((40, 40, 60), bool)
    for tile in tile_cells(occupied, (8, 12, 12), overlap):
        assert occupied[tile].any()
        covered[tile] = True
    assert covered[:13, :17, :29][occupied].all()


def test_tile_weight_is_symmetric_and_never_zero():
    weight = tile_weight((4, 6, 6))
    assert weight.min() > 0
    assert weight.max() == 1.0
    np.testing.assert_allclose(weight, weight[::-1, ::-1, ::-1])


def test_noise_stays_where_it_is_in_the_world():
    canonical = block()
    noise = world_noise(canonical, seed=5)
    part = replace(
        canonical,
        hu=canonical.hu[8:, 16:, 24:],
        geometry=geometry_of((40, 80, 72), origin=(24.5, 16.5, 17.0)),
    )
    np.testing.assert_array_equal(world_noise(part, seed=5), noise[8:, 16:, 24:])
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    assert not np.array_equal(world_noise(canonical, seed=6), noise)


class _MeanOfCells:
    """A network without context: a cell's code is its own mean of both channels, plus the timestep."""

    patch = (16, 32, 32)

    class schedule:
        @staticmethod
        def add_noise(x0, noise, t):
            return x0 + 0.01 * noise * t.reshape(-1, 1, 1, 1, 1)

    class network:
        @staticmethod
        def to(_):
            return _MeanOfCells.network

        @staticmethod
        def encode(x, t):
            from torch.nn.functional import avg_pool3d

            return avg_pool3d(x, (4, 8, 8)) + t.reshape(-1, 1, 1, 1, 1)

        @staticmethod
        def describe(x, t):
            from torch.nn.functional import avg_pool3d

            return _MeanOfCells.network.encode(x, t), avg_pool3d(x, (2, 4, 4)) * t.reshape(-1, 1, 1, 1, 1)

    class head:
        def __new__(cls, features):
            from torch.nn.functional import normalize

            return normalize(features.repeat(1, 64, 1, 1, 1), dim=1)

        @staticmethod
        def to(_):
            return _MeanOfCells.head


def test_diffusion_features_do_not_depend_on_the_tiling():
    canonical = block(seed=2)
    cells = Parenchyma.of(canonical).cells
    runs = [
        diffusion_features(
            canonical, cells, _MeanOfCells(), timesteps=(1, 7), overlap=overlap, seed=4, device="cpu"
        )
        for overlap in (0.0, 0.25, 0.5)
    ]
    assert runs[0].shape == (len(cells), 256)
    np.testing.assert_allclose(np.linalg.norm(runs[0][:, :128], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(runs[1], runs[0], atol=2e-2)  # bfloat16 autocast may round
    np.testing.assert_allclose(runs[2], runs[0], atol=2e-2)


def test_decoder_features_lie_at_their_half_cells():
    canonical = block(seed=2)
    lungs = Parenchyma.of(canonical)
    found = [
        network_features(
            canonical, lungs.cells, lungs.half, _MeanOfCells(),
            timesteps=(7,), decoder_timesteps=(2, 7), overlap=overlap, device="cpu",
        )
        for overlap in (0.0, 0.25)
    ]  # fmt: skip
    z, y, x = (n // c for n, c in zip(canonical.hu.shape, HALF_CELL, strict=True))
    x0 = normalise(canonical.hu) + 0.01 * 2 * world_noise(canonical, 0)
    mean = x0.reshape(z, HALF_CELL[0], y, HALF_CELL[1], x, HALF_CELL[2]).mean(axis=(1, 3, 5))
    for one in found:  # two channels a timestep, the first of which is the CT; bfloat16 may round
        assert one.decoder.shape == (len(lungs.half), 4)
        np.testing.assert_allclose(one.decoder[:, 0], 2 * mean.ravel()[lungs.half.index], atol=2e-2)
    alone = diffusion_features(canonical, lungs.cells, _MeanOfCells(), timesteps=(7,), device="cpu")
    np.testing.assert_allclose(found[0].student, alone, atol=2e-2)


def test_threads_of_one_core_are_nobody_elses():
    import torch

    before = torch.get_num_threads()
    canonical = block()
    cells = Parenchyma.of(canonical).cells
    torch.set_num_threads(3)
    try:
        diffusion_features(canonical, cells, _MeanOfCells(), timesteps=(1,), device="cpu")
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 3 == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_diffusion_features_stop_when_asked():
    canonical = block()
    cells = Parenchyma.of(canonical).cells
    with pytest.raises(Cancelled):
        diffusion_features(
            canonical, cells, _MeanOfCells(), timesteps=(1,), talk=Talk(cancelled=lambda: True)
        )
