"""Geometry and resampling: numbers that follow from the definitions."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
from grids import DIRECTIONS, GRIDS, ramp
from smallchest import image

from DiffSegLungLib.io.ct import Geometry, resample
from DiffSegLungLib.io.geometry import IDENTITY, bounding_box, low_passed


def test_index_and_world_by_hand() -> None:
    grid = Geometry((20, 22, 24), (1.5, 1.0, 2.0), (10.0, -20.0, 30.0), DIRECTIONS["permuted"])
    assert grid.shape == (24, 22, 20)
    assert grid.spacing_zyx == (2.0, 1.0, 1.5)
    assert grid.voxel_ml == pytest.approx(0.003)
    # One step of i (1.5 mm) runs to -y, one of j (1 mm) to -z, one of k (2 mm) to +x.
    np.testing.assert_allclose(grid.world([3, 4, 5]), [10 + 6, -20 - 7.5, 30 - 4])
    np.testing.assert_allclose(grid.index([16, -27.5, 26]), [3, 4, 5])


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_world_agrees_with_itk(grid: Geometry) -> None:
    itk_image = image(np.zeros(grid.shape, np.int16), grid.spacing, grid.origin, grid.direction)
    assert Geometry.of(itk_image) == grid
    np.testing.assert_allclose(grid.world([3, 4, 5]), itk_image.TransformIndexToPhysicalPoint((5, 4, 3)))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_crop_keeps_every_voxel_in_place(grid: Geometry) -> None:
    part = grid.crop((slice(3, 10), slice(None), slice(5, -2)))
    assert part.shape == (7, 22, 13)
    np.testing.assert_allclose(part.world([0, 0, 0]), grid.world([3, 0, 5]))
    np.testing.assert_array_equal(ramp(part), ramp(grid)[3:10, :, 5:-2])


def test_crop_refuses_what_is_no_box() -> None:
    for wrong in (slice(5, 5), slice(0, 10, 2), slice(None, None, -1)):
        with pytest.raises(ValueError, match="box"):
            GRIDS["axis-aligned"].crop((wrong, slice(None), slice(None)))


def test_axis_aligned_grid_of_same_spacing_is_the_grid_itself() -> None:
    assert (
        GRIDS["axis-aligned"].axis_aligned(GRIDS["axis-aligned"].spacing_zyx).same_grid(GRIDS["axis-aligned"])
    )


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_axis_aligned_grid_covers_every_voxel(grid: Geometry) -> None:
    cover = grid.axis_aligned((2.0, 1.0, 1.0))
    assert cover.direction == pytest.approx(IDENTITY, abs=1e-6)
    index = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij"), axis=-1)
    inside = cover.index(grid.world(index))
    assert inside.min() >= -0.5 - 1e-3
    assert (inside <= np.array(cover.shape) - 0.5 + 1e-3).all()


def test_same_grid_sees_a_shift_of_a_tenth_of_a_voxel() -> None:
    grid = GRIDS["oblique"]
    x, y, z = grid.origin
    assert grid.same_grid(Geometry(grid.size, grid.spacing, (x + 1e-4, y, z), grid.direction))
    assert not grid.same_grid(Geometry(grid.size, grid.spacing, (x + 0.15, y, z), grid.direction))


# Resampling


@pytest.mark.parametrize("source", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("target", GRIDS.values(), ids=GRIDS.keys())
def test_linear_ramp_is_exact(source: Geometry, target: Geometry) -> None:
    moved = resample(ramp(source), source, target, order="linear", fill=-9999.0)
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), axis=-1)
    where = source.index(target.world(index))
    # Within 3 voxels of the border the low-pass also meets the repeated border values.
    inside = ((where >= 3) & (where <= np.array(source.shape) - 4)).all(axis=-1)
    assert moved.dtype == np.float32
    assert inside.sum() > 100
    np.testing.assert_allclose(moved[inside], ramp(target)[inside], atol=1e-3)
    outside = ((where < -0.51) | (where > np.array(source.shape) - 0.49)).any(axis=-1)
    assert (moved[outside] == -9999.0).all()


def test_nearest_there_and_back_keeps_labels_and_dtype() -> None:
    grid = GRIDS["oblique"]
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:15, 5:15, 5:15] = 3
    fine = grid.axis_aligned((0.5, 0.5, 0.5))
    back = resample(
        resample(labels, grid, fine, order="nearest", fill=0), fine, grid, order="nearest", fill=0
    )
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, labels)
    mask = resample(labels > 0, grid, grid, order="nearest", fill=0)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, labels > 0)


def test_strong_downsampling_averages_instead_of_aliasing() -> None:
    # Slices alternate between -900 and -700: every fourth slice alone would read -900, the tissue is -800.
    fine = Geometry((8, 8, 64), (1.0, 1.0, 0.5))
    coarse = Geometry((8, 8, 14), (1.0, 1.0, 2.0), (0.0, 0.0, 2.0))
    hu = np.full(fine.shape, -900, np.int16)
    hu[1::2] = -700
    np.testing.assert_allclose(resample(hu, fine, coarse, order="linear", fill=-1024), -800, atol=2)


def test_noise_falls_as_the_averaging_predicts() -> None:
    # 0.5 to 2 mm: white noise through a Gaussian of variance s² voxels keeps 1 / (2 s sqrt(pi)) of its
    # variance; s² = (4² - 1) / (8 ln 2) - 1/6 = 2.54, so 0.177; the target's slices meet the source's.
    fine = Geometry((32, 32, 128), (1.0, 1.0, 0.5))
    coarse = Geometry((32, 32, 28), (1.0, 1.0, 2.0), (0.0, 0.0, 4.0))
    noise = np.random.default_rng(0).normal(0, 100, fine.shape).astype(np.float32)
    moved = resample(noise, fine, coarse, order="linear", fill=0)
    assert moved.std() == pytest.approx(100 * np.sqrt(0.177), rel=0.05)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_strong_downsampling_is_itk_s_of_the_low_passed_array_without_a_copy_of_it(dtype: type) -> None:
    fine = Geometry((128, 128, 64), (0.5, 0.6, 0.7), (3.0, 2.0, 1.0), DIRECTIONS["oblique"])
    coarse = Geometry((20, 20, 18), (3.0, 3.0, 2.0), (3.0, 2.0, 1.0), DIRECTIONS["oblique"])
    array = np.random.default_rng(0).integers(0, 200, fine.shape).astype(dtype)
    smooth = low_passed(array, fine, coarse)
    assert smooth.std() < 0.3 * array.std()
    tracemalloc.start()
    found = resample(array, fine, coarse, order="linear", fill=-7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.9 * smooth.nbytes
    itk = sitk.ResampleImageFilter()
    itk.SetReferenceImage(image(np.zeros(coarse.shape), coarse.spacing, coarse.origin, coarse.direction))
    itk.SetDefaultPixelValue(-7)
    itk.SetOutputPixelType(sitk.sitkFloat32)
    there = itk.Execute(image(smooth, fine.spacing, fine.origin, fine.direction))
    np.testing.assert_array_equal(found, sitk.GetArrayFromImage(there))


def test_mild_downsampling_is_plain_interpolation() -> None:
    # 0.7 to 1.0 mm, the usual in-plane step: linear interpolation alone, texture is not blurred twice.
    fine = Geometry((40, 40, 6), (0.7, 0.7, 2.0))
    hu = np.random.default_rng(0).normal(-800, 50, fine.shape).astype(np.float32)
    target = Geometry((20, 20, 6), (1.0, 1.0, 2.0), (2.0, 2.0, 0.0))
    plain = sitk.Resample(
        image(hu, fine.spacing, fine.origin),
        image(np.zeros(target.shape, np.float32), target.spacing, target.origin),
    )
    moved = resample(hu, fine, target, order="linear", fill=0)
    np.testing.assert_allclose(moved, sitk.GetArrayFromImage(plain), atol=1e-3)


@pytest.mark.parametrize("source", GRIDS.values(), ids=GRIDS.keys())
def test_part_of_a_target_is_the_part_of_the_whole(source: Geometry) -> None:
    # Only the reach of the target is filtered; a crop of the target must not show it.
    hu = np.random.default_rng(0).normal(-800, 100, source.shape).astype(np.float32)
    whole = source.axis_aligned((4.0, 4.0, 4.0))
    box = (slice(2, 5), slice(3, 6), slice(2, 4))
    part = resample(hu, source, whole.crop(box), order="linear", fill=0)
    np.testing.assert_allclose(part, resample(hu, source, whole, order="linear", fill=0)[box], atol=1e-3)


def test_target_elsewhere_is_all_fill() -> None:
    away = Geometry((3, 4, 5), (1.0, 1.0, 1.0), (900.0, 0.0, 0.0))
    moved = resample(ramp(GRIDS["oblique"]), GRIDS["oblique"], away, order="linear", fill=-1024)
    assert moved.shape == (5, 4, 3)
    assert (moved == -1024).all()


def test_a_bounding_box_holds_what_is_marked_and_no_more() -> None:
    mask = np.zeros((9, 8, 7), bool)
    assert bounding_box(mask, 2) == (slice(0, 0), slice(0, 0), slice(0, 0))
    mask[3, 1, 6] = mask[5, 4, 2] = True
    assert bounding_box(mask) == (slice(3, 6), slice(1, 5), slice(2, 7))
    assert bounding_box(mask[::-1, :, ::-1]) == (slice(3, 6), slice(1, 5), slice(0, 5))
    assert bounding_box(mask, 2) == (slice(1, 8), slice(0, 7), slice(0, 7))
