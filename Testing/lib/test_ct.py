"""Reading, writing, padding and masks: the same voxels at the same place of the patient."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import DIRECTIONS, GRIDS, ramp, rotation
from scipy.ndimage import gaussian_filter
from smallchest import chest, image, save

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.ct import CT, Geometry, read_mask, resample, write_image
from DiffSegLungLib.io.geometry import IDENTITY, to_image
from DiffSegLungLib.io.image_file import read_volume
from DiffSegLungLib.io.whole_file import writing


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
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
    values = ramp(GRIDS["oblique"])
    write_image(path, values, GRIDS["oblique"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), writing(path) as aside:
        aside.write_bytes(before[:1000])
        raise RuntimeError("the disk is full")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["entropy.nii.gz"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("free", [0, 4 << 10, 64 << 10])
def test_a_file_cut_by_a_full_disk_does_not_pass_for_one(tiny_disk: Path, suffix: str, free: int) -> None:
    grid = Geometry((64, 64, 24), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    noise = np.random.default_rng(0).integers(-1000, 400, grid.shape).astype(np.int16)
    (tiny_disk / "other").write_bytes(bytes((64 << 10) - free))
    with pytest.raises(InputError, match=r"the disk may be full|No space left on device"):
        write_image(tiny_disk / f"image{suffix}", noise, grid)
    assert [path.name for path in tiny_disk.iterdir()] == ["other"]


def test_image_round_trip() -> None:
    ct = CT.from_image(image(chest(), direction=DIRECTIONS["oblique"]), source="scene volume")
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
    assert ct.geometry.direction == pytest.approx(IDENTITY, abs=1e-6)
    assert ct.geometry.spacing == pytest.approx((5.0, 5.0, 5.0))
    assert any("11.3" in note for note in ct.notes)
    # The same point of the patient keeps its value: slice 10 moved by 50 mm * 0.2 = 10 mm, two rows.
    np.testing.assert_allclose(ct.hu[10, 2:66], chest()[10], atol=1)


@pytest.mark.parametrize(
    ("header", "note"),
    [
        (
            b"NRRD0004\ntype: short\ndimension: 3\nsizes: 64 64 24\nspacings: 5 5 5\n"
            b"encoding: raw\nendian: little\n\n",
            0,
        ),
        (
            b"ObjectType = Image\nNDims = 3\nDimSize = 64 64 24\nElementType = MET_SHORT\n"
            b"ElementSize = 5 5 5\nElementDataFile = LOCAL\n",
            1,
        ),
    ],
)
def test_what_a_header_leaves_open_is_noted(header: bytes, note: int, tmp_path: Path) -> None:
    path = tmp_path / ("scan.mha" if note else "scan.nrrd")
    path.write_bytes(header + chest().astype("<i2").tobytes())
    ct = CT.read(path)
    assert ct.geometry.spacing == (5.0, 5.0, 5.0)
    assert "does not say how it lies in the patient" in ct.notes[note]
    assert not note or "size of its voxels and not their distance" in ct.notes[0]


def test_messages_and_source_bear_the_name_that_the_user_knows(tmp_path: Path) -> None:
    ct = CT.read(save(image(chest()), tmp_path / "ct.mhd"), name="Thorax 3")
    assert ct.source == "Thorax 3"
    for wrong in (chest()[:3], chest() + 1024, np.zeros_like(chest())):
        with pytest.raises(InputError) as refusal:
            CT.read(save(image(wrong), tmp_path / "ct.mhd"), name="Thorax 3")
        assert "Thorax 3" in str(refusal.value)
        assert "ct.mhd" not in str(refusal.value)
    (tmp_path / "ct.raw").unlink()
    for path in (tmp_path / "ct.mhd", tmp_path / "gone.mhd"):
        with pytest.raises(InputError, match="Thorax 3"):
            CT.read(path, name="Thorax 3")


@pytest.mark.parametrize(("apart", "notes"), [(9.0, 0), (10.0, 1), (20.0, 1)])
def test_slices_far_apart_are_noted(apart: float, notes: int, tmp_path: Path) -> None:
    ct = CT.read(save(image(chest(5), (5.0, 5.0, apart)), tmp_path / "scan.nii.gz"))
    assert len(ct.notes) == notes
    assert all(f"{apart:g} mm apart: the volumes are estimates" in note for note in ct.notes)


def test_slices_too_far_apart_are_refused() -> None:
    with pytest.raises(InputError) as refusal:
        CT.from_image(image(chest(5), (5.0, 5.0, 21.0)))
    assert refusal.value.code == "bad-spacing"


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


@pytest.mark.parametrize(
    ("value", "noise"),
    [*((v, 0) for v in (32767, 3071, 40, 1, -1, -500, -900, -1300)), *((v, 2) for v in (3071, 40, 1, -500))],
)
@pytest.mark.parametrize("shape", ["circle", "stripe", "slices"])
def test_padding_of_any_value_becomes_air(value: int, noise: int, shape: str) -> None:
    hu = np.repeat(np.repeat(chest(), 2, axis=1), 2, axis=2)
    z, y, x = np.mgrid[:24, :128, :128]
    outside = {
        "circle": (x - 63.5) ** 2 + (y - 63.5) ** 2 > 64**2,
        "stripe": x < 12,
        "slices": (z >= 8) & (z < 12) & (np.hypot(x - 63.5, y - 63.5) > 64),
    }[shape]
    rng = np.random.default_rng(3)
    hu[outside] = np.clip(rng.normal(value, noise, int(outside.sum())), -1400, 32767).round()
    ct = CT.from_image(image(hu, (2.5, 2.5, 5)))
    # Of noisy padding slivers at the rim of the circle may stay, thinner than a block of 4 pixels.
    assert (ct.hu[outside] == -1024).mean() > (0.94 if noise else 0.999)
    assert (ct.hu != hu)[~outside].mean() < 0.005
    assert "was read as air" in ct.notes[0]


@pytest.mark.parametrize("noise", [0, 2])
def test_padding_may_differ_from_slice_to_slice(noise: int) -> None:
    hu = np.repeat(np.repeat(chest(8), 4, axis=1), 4, axis=2)
    y, x = np.mgrid[:256, :256]
    outside = np.hypot(x - 127.5, y - 127.5) > 128
    rng = np.random.default_rng(4)
    hu += np.rint(rng.normal(0, 10, hu.shape)).astype(np.int16)
    padded = hu.copy()
    for k, plane in enumerate(padded):
        plane[outside] = np.rint(rng.normal(20 * k, noise, int(outside.sum())))
    ct = CT.from_image(image(padded, (1.25, 1.25, 5)))
    assert (ct.hu[:, outside] == -1024).mean() > (0.94 if noise else 0.999)
    assert (ct.hu != hu)[:, ~outside].mean() < 0.005


@pytest.mark.parametrize("noise", [5.0, 12.0])
def test_tissue_in_the_corners_is_no_padding(noise: float) -> None:
    hu = chest()[:, 12:52, 12:52].astype(float)  # cropped into the body
    smooth = gaussian_filter(np.random.default_rng(2).normal(0, 1, hu.shape), (0, 0.6, 0.6))
    hu[(hu > -100) & (hu < 200)] = 40
    hu = np.rint(hu + noise * smooth / smooth.std()).astype(np.int16)
    read = CT.from_image(image(hu))
    np.testing.assert_array_equal(read.hu, hu)
    assert read.notes == ()


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
    grid = GRIDS["oblique"]
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:10, 5:10, 5:10], labels[12:14, 5:10, 5:10] = 1, 7
    write_image(tmp_path / "lungs.nrrd", labels, grid)
    np.testing.assert_array_equal(read_mask(tmp_path / "lungs.nrrd", grid), labels > 0)


def test_cropped_or_finer_mask_lands_in_place(tmp_path: Path) -> None:
    # Slicer saves a segmentation cropped to its segments; other tools save it on a finer grid.
    grid = GRIDS["oblique"]
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
    assert "lungs.nrrd" in refusal.value.message
    with pytest.raises(InputError) as refusal:  # a copy, whose own name tells the user nothing
        read_mask(tmp_path / "lungs.nrrd", Geometry((20, 22, 24), (2.0, 2.0, 2.0)), "The lung mask")
    assert refusal.value.message.startswith("The lung mask ")
    assert "lungs.nrrd" not in refusal.value.message


@pytest.mark.realct
def test_real_volumes_are_read_without_a_false_refusal(real_data: Path) -> None:
    paths = sorted((real_data / "ct").glob("*.nii.gz"))
    assert len(paths) >= 15
    for path in paths[::5]:
        ct = CT.read(path)
        assert ct.hu.dtype == np.int16
        assert ct.hu.min() >= -1500
        assert ct.notes == () or "Padding" in ct.notes[0]


def test_what_the_system_refuses_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        CT.read(tmp_path / ("x" * 300 + ".nii"))
    assert refusal.value.code == "unreadable"
    assert "(file name too long)" in refusal.value.message


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("change", ["none", "slope", "swapped"])
def test_a_nifti_is_read_as_itk_reads_it(kind: type, suffix: str, change: str, tmp_path: Path) -> None:
    """Voxels that lie plainly are unpacked once, by the check; slopes and foreign byte orders are ITK's."""
    values = np.random.default_rng(1).integers(0, 100, (5, 6, 7)).astype(kind)
    written = to_image(values, Geometry((7, 6, 5), (0.7, 0.8, 1.25), (-12.5, 3.0, 100.1)))
    sitk.WriteImage(written, str(tmp_path / "a.nii"))
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    if change == "slope":
        raw[112:120] = struct.pack("<2f", 2.0, -10.0)
    if change == "swapped":
        raw = swapped_nifti(raw, values.dtype)
    path = tmp_path / f"b{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix == ".nii.gz" else raw)
    image = sitk.ReadImage(str(path))
    got, geometry, _ = read_volume(path)
    np.testing.assert_array_equal(got, sitk.GetArrayFromImage(image))
    assert got.dtype == sitk.GetArrayViewFromImage(image).dtype
    assert geometry == Geometry.of(image)


def test_the_type_of_a_nifti_decides_where_its_number_of_bits_says_another_size(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    values = np.random.default_rng(1).integers(0, 100, (5, 6, 7)).astype(np.int16)
    write_image(path, values, Geometry((7, 6, 5), (0.7, 0.8, 1.25)))
    raw = bytearray(path.read_bytes())
    for bits in (8, 32):
        struct.pack_into("<h", raw, 72, bits)
        path.write_bytes(raw)
        np.testing.assert_array_equal(read_volume(path)[0], values)


@pytest.mark.parametrize("place", [80, 280])  # of the spacing and of the matrix form
def test_nothing_begins_for_a_nifti_whose_header_is_refused(place: int, tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    write_image(path, np.zeros((5, 6, 7), np.int16), Geometry((7, 6, 5), (4.0, 4.0, 4.0)))
    raw, begun = bytearray(path.read_bytes()), []
    struct.pack_into("<f", raw, place, np.nan)
    path.write_bytes(raw)
    with pytest.raises(InputError):
        CT.read(path, begun=lambda: begun.append(True))
    assert not begun


@pytest.mark.parametrize("offset", [0.0, 100.0, 348.0])
def test_no_byte_of_a_nifti_header_is_taken_for_a_voxel(offset: float, tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    write_image(path, np.full((5, 6, 7), 77, np.int16), Geometry((7, 6, 5), (0.7, 0.8, 1.25)))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 108, offset)
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_volume(path)[0], sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def swapped_nifti(raw: bytes | bytearray, dtype: np.dtype) -> bytearray:
    """A NIfTI-1 file as a computer of the other byte order would have written it."""
    other = bytearray(raw)
    fields = [("i", 0), ("i", 32), *(("h", 36 + 0),), *(("h", 40 + 2 * n) for n in range(8))]
    fields += [("f", 56), ("f", 60), ("f", 64), ("h", 68), ("h", 70), ("h", 72), ("h", 74)]
    fields += [("f", 76 + 4 * n) for n in range(8)] + [("f", 108), ("f", 112), ("f", 116), ("h", 120)]
    fields += [("f", 124 + 4 * n) for n in range(4)] + [("h", 252), ("h", 254)]
    fields += [("f", 256 + 4 * n) for n in range(18)]
    for kind, place in fields:
        other[place : place + struct.calcsize(kind)] = raw[place : place + struct.calcsize(kind)][::-1]
    other[352:] = np.frombuffer(bytes(raw[352:]), dtype).byteswap().tobytes()
    return other
