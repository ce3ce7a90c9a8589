"""Lesion family "d": what a reader would look for in each kind, in numbers."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from DiffSegLungLib.evaluation.held_out.families import painters_of
from DiffSegLungLib.lesions.lesions import InsertedLesion, insert_lesion
from DiffSegLungLib.lesions.noise import Noise
from DiffSegLungLib.lesions.patterns import Family

SPACING = (1.2, 0.8, 0.8)
SHAPE = (64, 96, 96)
BASE_HU = -860.0

HU_OF_EXTENT = {
    "ground_glass": (-790, -540),
    "crazy_paving": (-720, -380),
    "part_solid": (-750, -300),
    "consolidation": (-250, 40),
    "reticulation": (-800, -450),
    "honeycombing": (-800, -350),
    "centrilobular_emphysema": (-1000, -915),
    "confluent_emphysema": (-1005, -915),
    "bulla": (-1000, -935),
    "cavity": (-500, -50),
}
"""Mean over the extent, in a lung of -860 HU."""


def lungs() -> NDArray[np.bool_]:
    """A block whose last 20 mm are chest wall."""
    inside = np.ones(SHAPE, bool)
    inside[:, 72:] = False
    return inside


def paint(kind: str, seed: int, family: Family = "d", volume_ml: float = 12.0) -> InsertedLesion:
    """A lesion 13 mm from the chest wall in even lung without noise."""
    hu = np.where(lungs(), BASE_HU, 40).astype(np.float32)
    return insert_lesion(
        hu, lungs(), SPACING, kind,
        volume_ml=volume_ml, rng=np.random.default_rng([seed, zlib.crc32(kind.encode())]),
        centre=(32.0, 56.0, 48.0), painters=painters_of(family), noise=Noise(0, 0.35),
    )  # fmt: skip


@pytest.mark.parametrize("kind", painters_of("d"))
def test_densities_and_extent(kind: str) -> None:
    inside = lungs()
    for seed in range(4):
        lesion = paint(kind, seed)
        mean = float(lesion.hu[lesion.mask].mean())
        low, high = HU_OF_EXTENT[kind]
        assert low < mean < high, seed
        assert not lesion.mask[~inside].any()
        assert lesion.hu[inside].min() >= -1024
        assert lesion.hu[inside].max() < 120
        # Nothing but softness, walls and haze lies outside the extent.
        strange = (np.abs(lesion.hu - BASE_HU) > 20) & inside
        away = ndimage.distance_transform_edt(~lesion.mask, sampling=SPACING)
        assert (strange & (away > 6)).sum() < 0.05 * lesion.mask.sum(), seed


@pytest.mark.parametrize("kind", painters_of("d"))
def test_same_seed_same_voxels_and_other_than_the_other_families(kind: str) -> None:
    lesion, again = paint(kind, 1), paint(kind, 1)
    assert np.array_equal(lesion.hu, again.hu)
    assert np.array_equal(lesion.labels, again.labels)
    assert not np.array_equal(lesion.labels, paint(kind, 2).labels)
    for family in ("a", "c"):
        assert not np.array_equal(lesion.labels, paint(kind, 1, family).labels)


def test_emphysema_is_holes_of_a_few_millimetres_in_lung_that_is_kept() -> None:
    for seed in range(3):
        lesion = paint("centrilobular_emphysema", seed, volume_ml=25)
        depth = ndimage.distance_transform_edt(lesion.mask, sampling=SPACING)
        assert 1.0 < depth.max() < 6.5
        holes, count = ndimage.label(lesion.mask)
        assert count > 5
        box = ndimage.find_objects((holes > 0).astype(int))[0]
        assert 0.05 < float(lesion.mask[box].mean()) < 0.5
        assert np.median(lesion.hu[box][~lesion.mask[box]]) == pytest.approx(BASE_HU, abs=30)


def test_honeycomb_cysts_are_3_to_10_mm_of_air_with_dense_walls() -> None:
    for seed in range(3):
        lesion = paint("honeycombing", seed, volume_ml=25)
        depth = ndimage.distance_transform_edt(lesion.mask & (lesion.hu < -750), sampling=SPACING)
        cysts = (depth == ndimage.maximum_filter(depth, 5)) & (depth > 1)
        assert cysts.sum() > 10
        # Twice the radius of the ball that fits in.
        assert 2.5 < 2 * np.median(depth[cysts]) < 8
        assert depth.max() < 6.5
        assert 0.2 < float((lesion.hu[lesion.mask] > -500).mean()) < 0.75


def test_reticulation_and_crazy_paving_are_lines() -> None:
    for kind in ("reticulation", "crazy_paving"):
        lesion = paint(kind, 0, volume_ml=25)
        inner = ndimage.binary_erosion(lesion.mask, iterations=2)
        ridge = lesion.hu - ndimage.gaussian_filter(lesion.hu, [3 / s for s in SPACING])
        lines = inner & (ridge > 60)
        assert 0.05 < lines.sum() / inner.sum() < 0.5
        assert ndimage.distance_transform_edt(lines, sampling=SPACING).max() < 2.5
        plain = paint("ground_glass", 0, volume_ml=25)
        inner = ndimage.binary_erosion(plain.mask, iterations=2)
        smooth = plain.hu - ndimage.gaussian_filter(plain.hu, [3 / s for s in SPACING])
        assert (smooth[inner] > 60).mean() < 0.03


def test_bulla_is_one_air_space_and_its_wall_is_thin() -> None:
    lesion = paint("bulla", 0)
    _, count = ndimage.label(lesion.mask & (lesion.hu < -900))
    assert count <= 2
    wall = (lesion.hu > BASE_HU + 30) & lungs()
    assert ndimage.distance_transform_edt(wall, sampling=SPACING).max() < 1.7


def test_wall_of_a_cavity_is_closed_towards_the_pleura() -> None:
    for seed in range(4):
        lesion = paint("cavity", seed)
        gas = lesion.mask & (lesion.hu < -600)
        assert gas.sum() * float(np.prod(SPACING)) / 1000 > 0.3
        outside = ndimage.distance_transform_edt(lesion.mask, sampling=SPACING)
        assert outside[gas].min() > 1.5
        assert outside[gas].max() - outside[gas].min() > 2.0
