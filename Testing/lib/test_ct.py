"""Geometry, resampling, reading, masks and padding: numbers that follow from the definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from smallchest import chest, image, save

from DiffSegLungLib.ct import CT, Geometry, read_mask, resample, write_image
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.imagefile import replacing


def rotation(degrees_x: float, degrees_z: float) -> tuple[float, ...]:
    """Direction of a grid turned about two axes."""
    a, b = np.radians([degrees_x, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return tuple((about_x @ about_z).ravel())


PERMUTED = (
    0,
    0,
    1,
    -1,
    0,
    0,
    0,
    -1,
    0,
)  # index axes run posterior-to-anterior, superior-to-inferior, to left
LEFT_HANDED = (1, 0, 0, 0, 1, 0, 0, 0, -1)
OBLIQUE = rotation(30, 30)


def centred(direction: tuple[float, ...]) -> Geometry:
    """A grid of 20 x 22 x 24 voxels of 1.5 x 1 x 2 mm around the point (10, -20, 30)."""
    grid = Geometry((20, 22, 24), (1.5, 1.0, 2.0), direction=direction)
    x, y, z = np.array([10, -20, 30]) - grid.world([11.5, 10.5, 9.5])
    return Geometry(grid.size, grid.spacing, (x, y, z), direction)


GRIDS = [centred(d) for d in ((1, 0, 0, 0, 1, 0, 0, 0, 1), LEFT_HANDED, PERMUTED, OBLIQUE)]
IDS = [
    Geometry((20, 22, 24), (1.5, 1.0, 2.0), (10.0, -20.0, 30.0)),
    Geometry((20, 22, 24), (1.5, 1.0, 2.0), (10.0, -20.0, 30.0), LEFT_HANDED),
    Geometry((20, 22, 24), (1.5, 1.0, 2.0), (10.0, -20.0, 30.0), PERMUTED),
    Geometry((20, 22, 24), (1.5, 1.0, 2.0), (10.0, -20.0, 30.0), OBLIQUE),
]
IDS = ["axis-aligned", "left-handed", "permuted", "oblique"]


def ramp(geometry: Geometry) -> np.ndarray:
    """f(x, y, z) = 2 x - 3 y + 5 z + 7 at every voxel centre, float32 (z, y, x)."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return (geometry.world(index) @ [2.0, -3.0, 5.0] + 7.0).astype(np.float32)


# Geometry


def test_index_and_world_by_hand() -> None:
    grid = Geometry((20, 22, 24), (1.5, 1.0, 2.0), (10.0, -20.0, 30.0), PERMUTED)
    assert grid.shape == (24, 22, 20)
    assert grid.spacing_zyx == (2.0, 1.0, 1.5)
    assert grid.voxel_ml == pytest.approx(0.003)
    # One step of i (1.5 mm) runs to -y, one of j (1 mm) to -z, one of k (2 mm) to +x.
    np.testing.assert_allclose(grid.world([3, 4, 5]), [10 + 6, -20 - 7.5, 30 - 4])
    np.testing.assert_allclose(grid.index([16, -27.5, 26]), [3, 4, 5])


@pytest.mark.parametrize("grid", GRIDS, ids=IDS)
def test_world_agrees_with_itk(grid: Geometry) -> None:
    itk_image = image(np.zeros(grid.shape, np.int16), grid.spacing, grid.origin, grid.direction)
    assert Geometry.of(itk_image) == grid
    np.testing.assert_allclose(grid.world([3, 4, 5]), itk_image.TransformIndexToPhysicalPoint((5, 4, 3)))


@pytest.mark.parametrize("grid", GRIDS, ids=IDS)
def test_crop_keeps_every_voxel_in_place(grid: Geometry) -> None:
    part = grid.crop((slice(3, 10), slice(None), slice(5, -2)))
    assert part.shape == (7, 22, 13)
    np.testing.assert_allclose(part.world([0, 0, 0]), grid.world([3, 0, 5]))
    np.testing.assert_array_equal(ramp(part), ramp(grid)[3:10, :, 5:-2])


def test_crop_refuses_what_is_no_box() -> None:
    for wrong in (slice(5, 5), slice(0, 10, 2), slice(None, None, -1)):
        with pytest.raises(ValueError, match="box"):
            GRIDS[0].crop((wrong, slice(None), slice(None)))


def test_axis_aligned_grid_of_same_spacing_is_the_grid_itself() -> None:
    assert GRIDS[0].axis_aligned(GRIDS[0].spacing_zyx).same_grid(GRIDS[0])


@pytest.mark.parametrize("grid", GRIDS, ids=IDS)
def test_axis_aligned_grid_covers_every_voxel(grid: Geometry) -> None:
    cover = grid.axis_aligned((2.0, 1.0, 1.0))
    assert cover.is_axis_aligned
    index = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij"), axis=-1)
    inside = cover.index(grid.world(index))
    assert inside.min() >= -0.5 - 1e-3
    assert (inside <= np.array(cover.shape) - 0.5 + 1e-3).all()


def test_same_grid_sees_a_shift_of_a_tenth_of_a_voxel() -> None:
    grid = GRIDS[3]
    x, y, z = grid.origin
    assert grid.same_grid(Geometry(grid.size, grid.spacing, (x + 1e-4, y, z), grid.direction))
    assert not grid.same_grid(Geometry(grid.size, grid.spacing, (x + 0.15, y, z), grid.direction))


# Resampling


@pytest.mark.parametrize("source", GRIDS, ids=IDS)
@pytest.mark.parametrize("target", GRIDS, ids=IDS)
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
    grid = GRIDS[3]
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


# Reading and writing


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("grid", GRIDS, ids=IDS)
def test_every_format_keeps_values_and_place(suffix: str, grid: Geometry, tmp_path: Path) -> None:
    hu = chest(24)[:, 20:42, 22:42]
    path = save(image(hu, grid.spacing, grid.origin, grid.direction), tmp_path / f"scan{suffix}")
    ct = CT.read(path)
    assert ct.hu.dtype == np.int16
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.geometry.same_grid(grid, 1e-4)
    assert ct.source == path.name
    assert ct.notes == ()


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_whole_numbers_become_int16_whatever_their_type(dtype: type, tmp_path: Path) -> None:
    ct = CT.read(save(image(chest().astype(dtype)), tmp_path / "scan.nii.gz"))
    assert ct.hu.dtype == np.int16
    np.testing.assert_array_equal(ct.hu, chest())


def test_fractions_stay_float32(tmp_path: Path) -> None:
    hu = chest().astype(np.float64) + 0.25
    ct = CT.read(save(image(hu), tmp_path / "scan.mha"))
    assert ct.hu.dtype == np.float32
    np.testing.assert_array_equal(ct.hu, hu)


def test_written_image_comes_back_and_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "entropy.nii.gz"
    values = ramp(GRIDS[3])
    write_image(path, values, GRIDS[3])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), replacing(path) as aside:
        aside.write_bytes(before[:1000])
        raise RuntimeError("the disk is full")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["entropy.nii.gz"]


def test_image_round_trip() -> None:
    ct = CT.from_image(image(chest(), direction=OBLIQUE), source="scene volume")
    again = CT.from_image(ct.to_image())
    np.testing.assert_array_equal(again.hu, chest())
    assert again.geometry == ct.geometry
    assert ct.source == "scene volume"
    with pytest.raises(ValueError, match="shape"):
        ct.with_hu(ct.hu[1:])


def test_sheared_volume_is_put_at_right_angles(tmp_path: Path) -> None:
    # Slices shift by 1 mm in y per 5 mm of z, as a gantry tilted by atan(0.2) = 11.3 degrees makes them.
    tilt = np.hypot(1.0, 0.2)
    sheared = Geometry(
        (64, 64, 24), (5.0, 5.0, 5.0 * tilt), (0, 0, 0), (1, 0, 0, 0, 1, 0.2 / tilt, 0, 0, 1 / tilt)
    )
    ct = CT.read(
        save(image(chest(), sheared.spacing, sheared.origin, sheared.direction), tmp_path / "scan.mha")
    )
    assert ct.geometry.is_axis_aligned
    assert ct.geometry.spacing == pytest.approx((5.0, 5.0, 5.0))
    assert any("11.3" in note for note in ct.notes)
    # The same point of the patient keeps its value: slice 10 moved by 50 mm * 0.2 = 10 mm, two rows.
    np.testing.assert_allclose(ct.hu[10, 2:66], chest()[10], atol=1)


# Padding


@pytest.mark.parametrize("value", [-2048, -3024, -2000, 0])
def test_padding_outside_the_circle_becomes_air(value: int, tmp_path: Path) -> None:
    hu = chest()
    y, x = np.mgrid[:64, :64]
    outside = np.broadcast_to((x - 31.5) ** 2 + (y - 31.5) ** 2 > 31.5**2, hu.shape)
    padded = np.where(outside, np.int16(value), hu)
    ct = CT.read(save(image(padded), tmp_path / "scan.nrrd"))
    assert (ct.hu[outside] == -1024).all()
    np.testing.assert_array_equal(ct.hu[~outside], hu[~outside])
    assert ct.notes == (
        f"Padding outside the field of view ({100 * outside.mean():.1f} % of the voxels) was read as air.",
    )


def test_padding_of_a_rotated_volume_becomes_air() -> None:
    grid = Geometry((64, 64, 24), (5.0, 5.0, 5.0))
    turned = grid.crop((slice(None), slice(None), slice(None)))
    target = Geometry((80, 80, 30), (5.0, 5.0, 5.0), (0.0, -60.0, -30.0), rotation(10, 20))
    inside = resample(np.ones(grid.shape, bool), turned, target, order="nearest", fill=0)
    hu = (
        np.where(inside, resample(chest(), turned, target, order="linear", fill=0), 0)
        .round()
        .astype(np.int16)
    )
    ct = CT.from_image(image(hu))
    assert (ct.hu[~inside] == -1024).mean() > 0.99
    np.testing.assert_array_equal(ct.hu[inside & (hu != 0)], hu[inside & (hu != 0)])


def test_tissue_of_exactly_zero_is_no_padding() -> None:
    hu = chest()
    hu[:, 28:36, 28:36] = 0  # a vessel that is cut by the first and the last slice
    np.testing.assert_array_equal(CT.from_image(image(hu)).hu, hu)


def test_noise_of_air_is_kept() -> None:
    # Air that reads -1030 with noise of 30 HU must stay measurable.
    hu = chest()
    air = hu < -950
    hu[air] = np.random.default_rng(1).normal(-1030, 30, air.sum())
    np.testing.assert_array_equal(CT.from_image(image(hu)).hu, hu)


# Masks


def test_every_label_counts_as_lung(tmp_path: Path) -> None:
    grid = GRIDS[3]
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:10, 5:10, 5:10], labels[12:14, 5:10, 5:10] = 1, 7
    write_image(tmp_path / "lungs.nrrd", labels, grid)
    np.testing.assert_array_equal(read_mask(tmp_path / "lungs.nrrd", grid), labels > 0)


def test_cropped_or_finer_mask_lands_in_place(tmp_path: Path) -> None:
    # Slicer saves a segmentation cropped to its segments; other tools save it on a finer grid.
    grid = GRIDS[3]
    mask = np.zeros(grid.shape, bool)
    mask[5:15, 6:16, 7:17] = True
    box = (slice(4, 20), slice(5, 20), slice(3, 20))
    write_image(tmp_path / "cropped.nrrd", mask[box], grid.crop(box))
    np.testing.assert_array_equal(read_mask(tmp_path / "cropped.nrrd", grid), mask)
    fine = grid.axis_aligned((0.4, 0.4, 0.4))
    write_image(tmp_path / "fine.nii.gz", resample(mask, grid, fine, order="nearest", fill=0), fine)
    found = read_mask(tmp_path / "fine.nii.gz", grid)
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.99


def test_layers_of_a_segmentation_are_joined(tmp_path: Path) -> None:
    layers = np.zeros((24, 22, 20, 2), np.uint8)
    layers[2:5, :, :, 0], layers[4:9, :, :, 1] = 1, 1
    joined = sitk.GetImageFromArray(layers, isVector=True)
    joined.SetSpacing((2.0, 2.0, 2.0))
    save(joined, tmp_path / "lungs.seg.nrrd")
    mask = read_mask(tmp_path / "lungs.seg.nrrd", Geometry((20, 22, 24), (2.0, 2.0, 2.0)))
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == list(range(2, 9))


@pytest.mark.parametrize(
    ("fill", "origin", "code"), [(0, (0, 0, 0), "empty-mask"), (1, (900, 0, 0), "mask-elsewhere")]
)
def test_useless_mask_is_refused(fill: int, origin: tuple[float, ...], code: str, tmp_path: Path) -> None:
    save(image(np.full((24, 22, 20), fill, np.uint8), (2, 2, 2), origin), tmp_path / "lungs.nrrd")
    with pytest.raises(InputError) as refusal:
        read_mask(tmp_path / "lungs.nrrd", Geometry((20, 22, 24), (2.0, 2.0, 2.0)))
    assert refusal.value.code == code


@pytest.mark.realct
def test_real_volumes_are_read_without_a_false_refusal(real_data: Path) -> None:
    paths = sorted((real_data / "ct").glob("*.nii.gz"))
    assert len(paths) >= 15
    for path in paths[::3]:
        ct = CT.read(path)
        assert ct.hu.dtype == np.int16
        assert ct.hu.min() >= -1500
        assert ct.notes == () or "Padding" in ct.notes[0]
