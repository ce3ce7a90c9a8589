"""The lung mask against closed-form anatomy, against the masks of two real CTs, and at its limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from analytic_chest import LUNG_ML, AnalyticChest, analytic_chest
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, distance_transform_edt, label

from DiffSegLungLib.anatomy.air_offset import air_offset
from DiffSegLungLib.anatomy.lung_border import closed_across
from DiffSegLungLib.anatomy.lungs import Lungs, lungs_from_mask, segment_lungs
from DiffSegLungLib.anatomy.shapes import COARSE_MM, components, dilated, eroded, squared_steps
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.ct import CT, Geometry, read_mask, resample


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum of both."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture(scope="module")
def chest() -> AnalyticChest:
    return analytic_chest()


@pytest.fixture(scope="module")
def lungs(chest: AnalyticChest) -> Lungs:
    return segment_lungs(chest.ct)


def test_lungs_of_known_volume(chest: AnalyticChest, lungs: Lungs) -> None:
    assert dice(lungs.side == 1, chest.right) > 0.99
    assert dice(lungs.side == 2, chest.left) > 0.99
    assert (lungs.side == 1).sum() * chest.ct.geometry.voxel_ml == pytest.approx(LUNG_ML, rel=0.01)
    assert np.array_equal(lungs.mask, lungs.side > 0)


def test_the_trachea_is_apart(chest: AnalyticChest, lungs: Lungs) -> None:
    assert dice(lungs.airway, chest.trachea) > 0.95
    assert not (lungs.mask & chest.trachea).any()


def test_thirds_hold_a_third_each_from_top_to_bottom(chest: AnalyticChest, lungs: Lungs) -> None:
    z = chest.position[2]
    for side in (1, 2):
        inside = lungs.side == side
        shares = [(lungs.third[inside] == k).mean() for k in (1, 2, 3)]
        # One slice of 2.5 mm holds up to 1.7 % of an ellipsoid 220 mm high.
        assert shares == pytest.approx([1 / 3] * 3, abs=0.017)
        assert z[(lungs.third == 1) & inside].min() > z[(lungs.third == 3) & inside].max()


def test_lungs_that_touch_are_parted(chest: AnalyticChest) -> None:
    touching = analytic_chest(gap_mm=-16.0)
    found = segment_lungs(touching.ct)
    assert dice(found.side == 1, touching.right) > 0.985
    assert dice(found.side == 2, touching.left) > 0.985


@pytest.mark.parametrize("flipped", [False, True])
def test_a_lone_lung_knows_its_side(flipped: bool) -> None:
    single = analytic_chest(right_only=True)
    ct = single.ct
    if flipped:  # the mirror image of a right lung, trachea on its medial side, is a left lung
        ct = CT(np.ascontiguousarray(ct.hu[:, :, ::-1]), ct.geometry)
    found = segment_lungs(ct)
    truth = single.right[:, :, ::-1] if flipped else single.right
    assert dice(found.side == (2 if flipped else 1), truth) > 0.97


@pytest.mark.parametrize(
    ("centre", "radius"), [((-118, 10, 0), 22.0), ((-100, 50, -20), 30.0), ((72, 0, -60), 25.0)]
)
def test_dense_disease_stays_inside(
    chest: AnalyticChest, centre: tuple[float, float, float], radius: float
) -> None:
    disease = chest.ball(centre, radius) & (chest.right | chest.left)
    found = segment_lungs(chest.painted(disease, 30))
    assert (found.mask & disease).sum() > 0.9 * disease.sum()
    # What is added to the lungs is at most a rim of pleura and wall beside it.
    assert (found.mask & ~(chest.right | chest.left)).sum() * chest.ct.geometry.voxel_ml < 0.01 * 2 * LUNG_ML


def test_a_bulla_stays_inside(chest: AnalyticChest) -> None:
    bulla = chest.ball((100, 20, 40), 30) & chest.left
    found = segment_lungs(chest.painted(bulla, -1000))
    assert (found.mask & bulla).sum() > 0.97 * bulla.sum()


def test_flipped_and_permuted_files_give_the_same_lungs(chest: AnalyticChest, lungs: Lungs) -> None:
    for moved in (
        sitk.Flip(chest.ct.to_image(), [True, True, True]),
        sitk.PermuteAxes(chest.ct.to_image(), [2, 0, 1]),
    ):
        ct = CT.from_image(moved)
        found = segment_lungs(ct)
        for mine, theirs in ((found.side, lungs.side), (found.third, lungs.third)):
            back = resample(mine, ct.geometry, chest.ct.geometry, order="nearest", fill=0)
            assert (back != theirs).sum() < 0.002 * lungs.mask.sum()


@pytest.mark.parametrize("spacing_zyx", [(10.0, 1.0, 1.0), (0.8, 2.0, 2.0)])
def test_thick_and_thin_slices(spacing_zyx: tuple[float, float, float]) -> None:
    other = analytic_chest(spacing_zyx)
    found = segment_lungs(other.ct)
    assert dice(found.side == 1, other.right) > 0.98
    assert dice(found.side == 2, other.left) > 0.98


def test_an_oblique_scan_gives_the_same_lungs(chest: AnalyticChest, lungs: Lungs) -> None:
    turn = np.reshape(sitk.Euler3DTransform((0, 0, 0), np.pi / 6, 0, np.pi / 6).GetMatrix(), (3, 3))
    size, spacing = 180, 2.4
    origin = tuple(float(o) for o in turn @ np.full(3, -(size - 1) / 2 * spacing))
    grid = Geometry((size,) * 3, (spacing,) * 3, origin, tuple(float(d) for d in turn.ravel()))
    hu = resample(chest.ct.hu, chest.ct.geometry, grid, order="linear", fill=-1024)
    found = segment_lungs(CT(np.rint(hu).astype(np.int16), grid))
    back = resample(found.side, grid, chest.ct.geometry, order="nearest", fill=0)
    assert dice(back == 1, lungs.side == 1) > 0.97
    assert dice(back == 2, lungs.side == 2) > 0.97


def test_a_cropped_field_of_view(chest: AnalyticChest) -> None:
    box = (slice(0, 60), slice(15, 140), slice(12, 194))
    ct = CT(chest.ct.hu[box], chest.ct.geometry.crop(box))
    found = segment_lungs(ct)
    assert dice(found.side == 1, chest.right[box]) > 0.98
    assert dice(found.side == 2, chest.left[box]) > 0.98


@pytest.mark.parametrize("width_mm", [3.0, 8.0, 18.0])
def test_a_tube_from_the_lung_through_the_wall_is_no_lung(
    chest: AnalyticChest, lungs: Lungs, width_mm: float
) -> None:
    x, y, z = chest.position
    tube = (np.hypot(y, z) < max(width_mm / 2, 1.3)) & (x > 100)
    found = segment_lungs(chest.painted(tube, -1000))
    assert dice(found.mask, lungs.mask) > 0.995
    assert dice(found.side, lungs.side) > 0.995


def test_an_open_mouth_does_not_let_the_lungs_out(chest: AnalyticChest, lungs: Lungs) -> None:
    x, y, z = chest.position
    mouth = (np.hypot(x, z - 140) < 8) & (y < 5)
    bronchi = (np.hypot(y - 5, z - 38) < 6) & (np.abs(x) < 25)
    found = segment_lungs(chest.painted(mouth | bronchi, -1000))
    assert dice(found.mask, lungs.mask) > 0.98
    assert (found.airway & chest.trachea).sum() > 0.5 * chest.trachea.sum()


@pytest.mark.parametrize("hu", [40, 3071])
def test_lungs_within_padding(chest: AnalyticChest, lungs: Lungs, hu: int) -> None:
    x, y, _z = chest.position
    padded = CT.from_image(chest.painted(np.hypot(x, 1.37 * y) > 165, hu).to_image())
    assert dice(segment_lungs(padded).mask, lungs.mask) > 0.995


def test_a_field_of_view_within_the_lungs(chest: AnalyticChest) -> None:
    box = (slice(20, 90), slice(40, 110), slice(48, 158))  # every lung is cut on three sides
    ct = CT(chest.ct.hu[box], chest.ct.geometry.crop(box))
    found = segment_lungs(ct)
    assert dice(found.mask, (chest.right | chest.left)[box]) > 0.97
    assert any("cuts the lungs" in note for note in found.notes)
    assert air_offset(ct, found).shift_hu == 0


def test_padding_in_the_last_slice_is_no_lung(chest: AnalyticChest) -> None:
    box = (slice(40, 80), slice(None), slice(None))  # the scan ends within the lungs, above and below
    thick = replace(chest.ct.geometry.crop(box), spacing=(*chest.ct.geometry.spacing[:2], 5.0))
    hu = chest.ct.hu[box].copy()
    hu[0, :, : hu.shape[2] // 2] = -1024  # of a turned volume, which ends aslant
    found = segment_lungs(CT(hu, thick))
    truth = (chest.right | chest.left)[box]
    truth[0, :, : hu.shape[2] // 2] = False
    assert found.mask[0, :, : hu.shape[2] // 2].sum() < 10
    assert dice(found.mask, truth) > 0.97


@pytest.mark.parametrize("noise", [0, 12])
def test_slices_of_padding_or_room_beside_a_cut_lung_change_nothing(
    chest: AnalyticChest, noise: float
) -> None:
    box = (slice(40, 80), slice(None), slice(None))
    cut = chest.ct.geometry.crop(box)
    hu = np.pad(chest.ct.hu[box], ((3, 2), (0, 0), (0, 0)), constant_values=-1024)
    if noise:
        hu[[0, 1, 2, -2, -1]] = np.random.default_rng(0).normal(-1000, noise, (5, *hu.shape[1:]))
    nx, ny, nz = cut.size
    x, y, z = cut.world([-3, 0, 0])
    longer = replace(cut, size=(nx, ny, nz + 5), origin=(float(x), float(y), float(z)))
    found, plain = segment_lungs(CT(hu, longer)), segment_lungs(CT(chest.ct.hu[box], cut))
    np.testing.assert_array_equal(found.regions[3:-2], plain.regions)
    np.testing.assert_array_equal(found.airway[3:-2], plain.airway)
    assert found.notes == plain.notes
    assert not found.regions[:3].any()
    assert not found.regions[-2:].any()


def test_a_small_field_of_view_in_wide_padding_loses_no_slice(chest: AnalyticChest) -> None:
    """Padding is no darkness of the slice: here it is nine tenths of it, and the lung has no vessels."""
    box = (slice(20, 90), slice(50, 90), slice(60, 100))
    hu = np.full(chest.ct.hu.shape, -1024, chest.ct.hu.dtype)[box[0]]
    hu[:, box[1], box[2]] = chest.ct.hu[box]
    whole = CT(hu, chest.ct.geometry.crop((box[0], slice(None), slice(None))))
    narrow = segment_lungs(CT(chest.ct.hu[box], chest.ct.geometry.crop(box)))
    assert dice(segment_lungs(whole).mask[:, box[1], box[2]], narrow.mask) > 0.95


def test_a_strip_of_one_lung_knows_its_side(chest: AnalyticChest) -> None:
    box = (slice(None), slice(None), slice(0, 60))  # ribs and half of the right lung
    found = segment_lungs(CT(chest.ct.hu[box], chest.ct.geometry.crop(box)))
    assert dice(found.side == 1, chest.right[box]) > 0.97
    alone = "Only one lung was found; it was taken for the right one, not the left."
    assert any(note.startswith(alone) and note.endswith("may be wrong.") for note in found.notes)


def test_the_lungs_of_a_newborn_are_measured(chest: AnalyticChest) -> None:
    small = replace(chest.ct.geometry, spacing=(0.5, 0.5, 0.8))
    found = segment_lungs(CT(chest.ct.hu, small))
    assert found.mask.sum() * small.voxel_ml < 150
    assert dice(found.side == 1, chest.right) > 0.98
    assert any("those of a child" in note for note in found.notes)


def test_dense_aerated_lung_is_noted(chest: AnalyticChest, lungs: Lungs) -> None:
    assert not any("expiration" in note for note in lungs.notes)
    hu = chest.ct.hu.copy()
    hu[chest.right | chest.left] += 220
    assert any("expiration" in note for note in segment_lungs(chest.ct.with_hu(hu)).notes)


def test_foam_and_cut_lung_pass_for_no_air(chest: AnalyticChest, lungs: Lungs) -> None:
    """What reads above -1000 HU shifts nothing unless much pure air says so."""
    _x, y, _z = chest.position
    hu = chest.ct.hu.copy()
    hu[(hu < -900) & (y > -90) & ~chest.trachea & ~chest.right & ~chest.left] += 55  # foam beside a trachea
    hu[chest.trachea] += 45
    assert air_offset(chest.ct.with_hu(hu), lungs).shift_hu == 0


def _without_lungs(chest: AnalyticChest, kind: str) -> NDArray[np.int16]:
    x, y, z = chest.position
    hu = np.where((x / 150) ** 2 + (y / 105) ** 2 < 1, 40.0, -1000.0)
    if kind == "air":
        hu[:] = -1000
    elif kind == "tissue":
        hu[:] = 40
    elif kind == "bowel":
        for centre in ((-60, -50, 0), (40, -60, 30), (80, -20, -40)):
            hu[chest.ball(centre, 32)] = -1000
    elif kind == "head":
        inside = (x / 75) ** 2 + (y / 95) ** 2 + (z / 110) ** 2
        hu = np.where(inside < 1, np.where(inside > 0.85, 1000.0, 35.0), -1000.0)
        hu[chest.ball((20, -60, -50), 17) | chest.ball((-20, -60, -50), 17)] = -1000
    return np.rint(hu + np.random.default_rng(0).normal(0, 10, hu.shape)).astype(np.int16)


@pytest.mark.parametrize("kind", ["water", "air", "tissue", "bowel", "head"])
def test_a_scan_without_lungs_is_refused(chest: AnalyticChest, kind: str) -> None:
    with pytest.raises(InputError) as refused:
        segment_lungs(chest.ct.with_hu(_without_lungs(chest, kind)))
    assert refused.value.code == "no-lungs"


def test_the_users_mask_is_kept_as_it_is(chest: AnalyticChest) -> None:
    mask = (chest.right | chest.left) & (chest.position[2] > -60)
    taken = lungs_from_mask(chest.ct, mask)
    assert np.array_equal(taken.mask, mask)
    assert dice(taken.side == 1, mask & chest.right) > 0.999
    assert set(np.unique(taken.third[mask])) == {1, 2, 3}


def test_a_mask_beyond_the_field_of_view_has_a_side_everywhere(chest: AnalyticChest) -> None:
    hu = chest.ct.hu.copy()
    hu[:, :, :40] = -2000  # padding: nothing of it is on the coarse grid
    mask = chest.right | chest.left
    mask[:, 20:-20, 5:60] |= chest.position[2][:, 20:-20, 5:60] > -60
    taken = lungs_from_mask(chest.ct.with_hu(hu), mask)
    assert np.array_equal(taken.mask, mask)
    assert (taken.side[:, :, 5:30][mask[:, :, 5:30]] == 1).all()


def test_a_useless_mask_is_refused(chest: AnalyticChest) -> None:
    with pytest.raises(InputError, match="empty"):
        lungs_from_mask(chest.ct, np.zeros(chest.ct.hu.shape, bool))
    with pytest.raises(InputError, match="grid"):
        lungs_from_mask(chest.ct, np.ones((3, 3, 3), bool))


@pytest.mark.parametrize(("offset", "shift"), [(0, 0), (10, 0), (-30, 30), (40, -40), (-90, 60)])
def test_air_is_brought_to_minus_1000(chest: AnalyticChest, lungs: Lungs, offset: int, shift: float) -> None:
    moved = chest.ct.with_hu((chest.ct.hu + offset).astype(np.int16))
    found = air_offset(moved, lungs)
    assert found.measured_hu == pytest.approx(-1000 + offset, abs=4)
    assert found.shift_hu == pytest.approx(shift, abs=4)


def test_blurred_trachea_does_not_shift_a_calibrated_scan(chest: AnalyticChest, lungs: Lungs) -> None:
    found = air_offset(chest.painted(chest.trachea, -955), lungs)
    assert found.source == "outside"
    assert found.shift_hu == 0


def test_blurred_trachea_does_not_shift_a_scan_whose_outer_air_is_right(
    chest: AnalyticChest, lungs: Lungs
) -> None:
    """Within 15 HU of the outer air the trachea counts, but neither is shifted farther than both say."""
    hu = chest.ct.hu.astype(np.float32)
    hu[(hu < -900) & ~chest.right & ~chest.left] += 3
    hu[chest.trachea] += 14
    found = air_offset(chest.ct.with_hu(hu), lungs)
    assert found.measured_hu == pytest.approx(-983, abs=4)
    assert found.shift_hu == 0


@pytest.mark.realct
@pytest.mark.parametrize(
    ("name", "part", "ml"),
    [
        # Its darkest fifth, beside the chest wall, went for gas of the bowel, and 260 ml were lost.
        ("lung-fused-ct-path_0001_b31f", slice(None), 1280),
        ("lung-pet-ct-dx_a0002_b70f", slice(None), 2828),
        ("lung-pet-ct-dx_a0002_b70f", slice(14, None), 1538),
    ],
)
def test_dark_lung_beside_the_wall_is_no_gas_of_the_bowel(
    real_data: Path, name: str, part: slice, ml: float
) -> None:
    ct = CT.read(real_data / "ct" / f"{name}.nii.gz")
    box = (part, slice(None), slice(None))
    seen = CT(ct.hu[box], ct.geometry.crop(box))
    assert segment_lungs(seen).mask.sum() * seen.geometry.voxel_ml == pytest.approx(ml, rel=0.02)


@pytest.mark.realct
def test_a_narrow_field_of_view_between_the_lungs_loses_neither(real_data: Path) -> None:
    ct = CT.read(real_data / "ct" / "lung-pet-ct-dx_a0002_b70f.nii.gz")
    whole = segment_lungs(ct).mask
    rows, columns = np.nonzero(whole.any(axis=0))
    y, x = ((a.min() + a.max()) // 2 for a in (rows, columns))
    box = (slice(None), slice(y - 123, y + 123), slice(x - 123, x + 123))  # 160 mm
    found = segment_lungs(CT(ct.hu[box], ct.geometry.crop(box)))
    assert dice(found.mask, whole[box]) > 0.98


@pytest.mark.realct
def test_a_wedge_of_padding_above_a_cut_lung_does_not_let_it_out(real_data: Path) -> None:
    """A volume turned by 6 degrees is padded aslant: thinner than a coarse cube where the wedge ends."""
    ct = CT.read(real_data / "ct" / "cptac-pda_c3l-00189_lung.nii.gz")
    image = ct.to_image()
    middle = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    turn = sitk.Euler3DTransform(middle, 0.0, 0.1, 0.0)
    turned = CT.from_image(sitk.Resample(image, image, turn, sitk.sitkLinear, -1024.0))
    lung = sitk.GetImageFromArray(segment_lungs(ct).mask.astype(np.uint8))
    lung.CopyInformation(image)
    truth = sitk.GetArrayFromImage(sitk.Resample(lung, image, turn, sitk.sitkNearestNeighbor)) > 0
    assert dice(segment_lungs(turned).mask, truth) > 0.97


@pytest.mark.realct
@pytest.mark.parametrize("name", ["baseline", "followup"])
def test_dice_with_the_masks_of_elastix(real_data: Path, name: str) -> None:
    ct = CT.read(real_data / "ct" / f"elastix-lumc_{name}.nii.gz")
    truth = read_mask(real_data / "lung_masks" / f"elastix-lumc_{name}_right-lung.nii.gz", ct.geometry)
    found = segment_lungs(ct)
    assert dice(found.side == 1, truth) >= 0.98
    assert air_offset(ct, found).shift_hu == pytest.approx(35, abs=5)


@pytest.mark.realct
def test_consolidation_of_a_real_ct_stays_inside(real_data: Path) -> None:
    ct = CT.read(real_data / "ct" / "midrc-ricord-1a_001012_standard.nii.gz")
    found = segment_lungs(ct)
    # Read off the pictures: (z, y, x) voxels.
    consolidated = [
        (70, 272, 87),
        (80, 269, 86),
        (90, 266, 99),
        (100, 264, 104),
        (132, 234, 82),
        (140, 241, 94),
    ]
    for place in consolidated:
        assert found.side[place] == 1, f"consolidation at {place} is not in the right lung"
        assert ct.hu[place] > -100
    elsewhere = {
        "liver": (45, 150, 120),
        "heart": (90, 130, 220),
        "stomach gas": (14, 110, 300),
        "aorta": (124, 205, 260),
        "spine": (90, 242, 214),
        "air outside": (150, 15, 20),
    }
    for name, place in elsewhere.items():
        assert not found.mask[place], f"{name} at {place} is taken for lung"


@pytest.mark.realct
def test_a_hilar_mass_of_a_real_ct_stays_inside(real_data: Path) -> None:
    ct = CT.read(real_data / "ct" / "lung-pet-ct-dx_a0002_b70f.nii.gz")
    found = segment_lungs(ct)
    mass = (slice(12, 15), slice(220, 241), slice(132, 153))
    assert np.median(ct.hu[mass]) > 0
    assert (found.side[mass] == 1).mean() > 0.95
    assert not found.mask[13, 120:180, 200:260].any(), "the heart is taken for lung"


@pytest.mark.parametrize("limit", [1, 2, 16, 144])
def test_short_distances_are_those_of_the_whole_transform(limit: int) -> None:
    mask = np.random.default_rng(limit).random((9, 21, 30)) > 0.995
    assert mask.any()
    whole = np.rint(distance_transform_edt(~mask) ** 2)
    assert np.array_equal(squared_steps(mask, limit), np.minimum(whole, limit + 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sections_are_closed_as_scipy_closes_them(axis: int) -> None:
    rng = np.random.default_rng(axis)
    for share in (0.02, 0.3, 0.9):
        mask = rng.random((6, 9, 30)) < share
        sections = [binary_closing(section, iterations=2) for section in np.moveaxis(mask, axis, 0)]
        np.testing.assert_array_equal(closed_across(mask, axis), np.moveaxis(np.stack(sections), 0, axis))


def test_components_are_counted_and_numbered_as_scipy_does() -> None:
    mask = np.random.default_rng(0).random((9, 20, 30)) < 0.2
    mask[:2] = False
    for some in (mask, np.zeros_like(mask), np.ones_like(mask)):
        labels, counts = components(some)
        expected, _ = label(some)
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(counts, np.bincount(expected.ravel()))


def test_a_ball_grows_and_shrinks_to_its_radius() -> None:
    place = np.stack(np.meshgrid(*[np.arange(31) - 15] * 3, indexing="ij")).astype(float)
    away_mm = COARSE_MM * np.linalg.norm(place, axis=0)
    point = away_mm == 0
    assert np.array_equal(dilated(point, 15.0), away_mm <= 15.0)
    assert np.array_equal(dilated(point, 4.0), away_mm <= 4.0)
    assert np.array_equal(eroded(dilated(point, 15.0), 15.0), point)
    assert eroded(np.ones((4, 4, 4), bool), 5.0).all()
