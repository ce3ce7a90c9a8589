"""HU-guided naming: tissues of known HU get their names, relative to the patient's own level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lung_block import LEVEL_HU, ball, block
from scipy.ndimage import gaussian_filter

from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from DiffSegLungLib.grid.cells import Cells
from DiffSegLungLib.segmentation.naming import cell_posterior, interpolated, name_components, neighbourly
from DiffSegLungLib.segmentation.preparation import Parenchyma
from DiffSegLungLib.segmentation.statistics import STATISTIC_COLUMNS, STATISTIC_NAMES
from DiffSegLungLib.segmentation.tissues import TISSUES, load_network, measures, tissue_probability


def cells_in_a_row(count: int) -> Cells:
    """Cells that have nothing but statistics, all 0."""
    return Cells(
        shape=(count, 1, 1),
        index=np.arange(count),
        fraction=np.ones(count, np.float32),
        features=np.zeros((count, len(STATISTIC_COLUMNS)), np.float32),
        kinds=("statistics",) * len(STATISTIC_COLUMNS),
        names=STATISTIC_COLUMNS,
    )


def looks_like(*tissues: int) -> np.ndarray:
    """p(tissue) of cells that plainly look like these."""
    return (np.array(tissues)[:, None] == np.array(TISSUES)).astype(np.float32)


def names_inside(canonical, inside) -> set[int]:
    """Classes of the cells that lie wholly inside a region, but for a tenth of them."""
    cells = Parenchyma.of(canonical).cells
    z, y, x = cells.shape
    share = inside.reshape(z, 4, y, 8, x, 8).mean(axis=(1, 3, 5)).ravel()[cells.index]
    named = np.array(TISSUES)[tissue_probability(cells).argmax(axis=1)]
    found, count = np.unique(named[share == 1], return_counts=True)
    assert count.sum() >= 20
    return set(found[count > 0.1 * count.sum()].tolist())


def grid_lines(shape) -> np.ndarray:
    """Walls 2 mm thick, 8 mm apart, along x and y: a caricature of honeycombing."""
    _, y, x = np.indices(shape)
    return ((y % 8) < 2) | ((x % 8) < 2)


INSIDE = ball((48, 96, 96), (24, 44, 44), 32.0)


@pytest.mark.parametrize("shift", [0.0, 60.0])
def test_ground_glass_is_named_at_full_and_at_shallow_inspiration(shift):
    canonical = block(noise_hu=25.0)
    canonical.hu[canonical.lungs] += shift
    canonical.hu[INSIDE] += 240
    assert names_inside(canonical, INSIDE) == {GROUND_GLASS}


def test_shallow_inspiration_is_healthy():
    canonical = block(noise_hu=25.0)
    canonical.hu[canonical.lungs] += 100  # -760 HU everywhere
    cells = Parenchyma.of(canonical).cells
    assert (tissue_probability(cells).argmax(axis=1) == TISSUES.index(HEALTHY)).all()


def test_emphysema_and_consolidation_are_absolute():
    canonical = block(noise_hu=25.0)
    canonical.hu[INSIDE] = -980 + 10 * np.random.default_rng(0).normal(size=INSIDE.sum())
    assert names_inside(canonical, INSIDE) == {EMPHYSEMA}
    canonical.hu[INSIDE] += 980
    assert names_inside(canonical, INSIDE) == {CONSOLIDATION}


def test_emphysema_stays_emphysema_when_it_fills_the_lung():
    canonical = block(noise_hu=10.0)
    canonical.hu[canonical.lungs] += -975 - LEVEL_HU
    cells = Parenchyma.of(canonical).cells
    assert (tissue_probability(cells).argmax(axis=1) == TISSUES.index(EMPHYSEMA)).mean() > 0.95


def test_lines_are_fibrosis_and_the_same_mean_without_lines_is_ground_glass():
    canonical = block(noise_hu=25.0)
    lines = np.where(grid_lines(canonical.hu.shape), 560.0, 60.0).astype(np.float32)
    lines = gaussian_filter(lines, (0, 0.7, 0.7))
    lined = canonical.hu.copy()
    lined[INSIDE] += lines[INSIDE]
    assert names_inside(replace(canonical, hu=lined), INSIDE) == {FIBROSIS}
    even = canonical.hu.copy()
    even[INSIDE] += lines[INSIDE].mean()
    assert names_inside(replace(canonical, hu=even), INSIDE) == {GROUND_GLASS}


def test_the_network_is_shown_shares_a_limited_mean_and_texture():
    statistics = np.arange(20, dtype=np.float32)[None]
    shown = measures(statistics)
    assert shown.shape == (1, len(load_network().mean)) == (1, 18)
    shares = [i for i, name in enumerate(STATISTIC_NAMES) if "share" in name]
    np.testing.assert_array_equal(shown[0, :12], [*(i**2 for i in shares), *((i + 10) ** 2 for i in shares)])
    assert shown[0, 12:].tolist() == [0, 3, 8, 9, 18, 19]


def test_density_alone_is_monotonous():
    """More of a half cell raised above the healthy level is never more probably healthy."""
    row = np.zeros((20, 20), np.float32)
    for limit, (least, most) in {60: (0.15, 0.95), 150: (0.04, 0.8), 280: (0.01, 0.4)}.items():
        at = STATISTIC_NAMES.index(f"raised {limit} share")
        row[:, [at, at + 10]] = np.sqrt(np.linspace(least, most, 20))[:, None]
    row[:, [0, 10]] = np.linspace(0.4, 2.5, 20)[:, None]
    healthy = tissue_probability(replace(cells_in_a_row(20), features=row))[:, TISSUES.index(HEALTHY)]
    assert healthy[0] > 0.9 and healthy[-1] < 0.1
    assert (np.diff(healthy) < 1e-3).all()


def test_components_take_the_name_of_their_cells_and_share_names():
    looks = np.repeat(looks_like(HEALTHY, CONSOLIDATION, CONSOLIDATION), 10, axis=0)
    responsibility = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    assignment = name_components(cells_in_a_row(30), looks, responsibility)
    assert assignment.classes.tolist() == [HEALTHY, CONSOLIDATION, CONSOLIDATION]
    assert [e["share_of_cells"] for e in assignment.evidence] == pytest.approx([1 / 3] * 3)


def test_a_component_between_tissues_is_healthy_but_passes_its_doubt_on():
    looks = looks_like(HEALTHY, CONSOLIDATION, GROUND_GLASS, EMPHYSEMA)
    assignment = name_components(cells_in_a_row(4), looks, np.ones((4, 1), np.float32))
    assert assignment.classes.tolist() == [HEALTHY]
    np.testing.assert_allclose(np.sort(assignment.probabilities[0]), [0, 0.25, 0.25, 0.25, 0.25], atol=1e-6)


def test_component_weight_goes_from_the_cell_to_the_mixture():
    cells, looks = cells_in_a_row(2), looks_like(HEALTHY, GROUND_GLASS)
    responsibility = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    named = responsibility @ name_components(cells, looks, responsibility).probabilities
    np.testing.assert_allclose(cell_posterior(cells, named, looks, 1.0), named, atol=1e-3)
    expected = np.exp(neighbourly(np.log(looks + 1e-6), cells))
    np.testing.assert_allclose(
        cell_posterior(cells, named, looks, 0.0),
        expected / expected.sum(axis=1, keepdims=True),
        atol=1e-3,
    )


def test_a_neighbour_counts_half_as_much_as_the_cell_itself():
    cells = cells_in_a_row(3)
    log = np.zeros((3, 1), np.float32)
    log[1] = 6.0
    np.testing.assert_allclose(neighbourly(log, cells)[:, 0], [2.0, 3.0, 2.0], rtol=1e-6)


def test_half_cells_lie_between_their_cells():
    cells = replace(cells_in_a_row(2), shape=(2, 1, 1))
    half = replace(cells_in_a_row(16), shape=(4, 2, 2))
    values = interpolated(np.array([[0.0], [4.0]], np.float32), cells, half).reshape(4, 2, 2)
    np.testing.assert_allclose(values[:, 0, 0], [0, 1, 3, 4], atol=1e-6)
    np.testing.assert_allclose(values[:, 0, 0], values[:, 1, 1])
