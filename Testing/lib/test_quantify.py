"""The numbers of a segmentation, against values worked out by hand."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, HEALTHY
from DiffSegLungLib.report.quantify import Quantities, Tally

VOXEL_ML = 0.002


def quantify(*volume: np.ndarray, voxel_ml: float = VOXEL_ML, shift_hu: float = 0.0) -> Quantities:
    """The numbers of HU, labels, side and third, counted in one piece."""
    tally = Tally(voxel_ml, shift_hu=shift_hu)
    tally.add(*volume)
    return tally.result()


def blocks() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Right lung: 600 healthy voxels of -870 and 200 emphysema of -960; left lung: 200 solid ones of 0 HU."""
    hu = np.full((10, 10, 12), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    side, third = np.zeros_like(labels), np.zeros_like(labels)
    hu[:, :, :6], labels[:, :, :6] = -870, HEALTHY
    hu[:, :, 6:8], labels[:, :, 6:8] = -960, EMPHYSEMA
    hu[:, :, 8:10], labels[:, :, 8:10] = 0, CONSOLIDATION
    side[:, :, :8], side[:, :, 8:10] = 1, 2
    third[:3], third[3:6], third[6:] = 3, 2, 1
    third[side == 0] = 0
    return hu, labels, side, third


@pytest.fixture
def measured() -> Quantities:
    hu, labels, side, third = blocks()
    return quantify(hu, labels, side, third)


def test_volumes_shares_and_means_of_the_classes(measured: Quantities) -> None:
    by_key = {c.key: c for c in measured.lungs.classes}
    assert measured.lungs.volume_ml == pytest.approx(1000 * VOXEL_ML)
    assert by_key["healthy"].volume_ml == pytest.approx(1.2)
    assert by_key["healthy"].percent == pytest.approx(60.0)
    assert by_key["emphysema"].percent == pytest.approx(20.0)
    assert by_key["emphysema"].mean_hu == pytest.approx(-960.0)
    assert by_key["fibrosis"].volume_ml == 0.0
    assert by_key["fibrosis"].mean_hu is None


def test_densitometry_follows_its_definitions(measured: Quantities) -> None:
    density = measured.lungs.density
    assert density.mean_hu == pytest.approx(0.6 * -870 + 0.2 * -960)
    assert density.laa_950_percent == pytest.approx(20.0)
    assert density.laa_910_percent == pytest.approx(20.0)
    assert density.perc15_hu == pytest.approx(-960.0)
    assert density.haa_percent == 0.0
    # 130, 40 and 1000 mg/ml in 600, 200 and 200 voxels of 2 µl
    assert density.mass_g == pytest.approx((600 * 0.13 + 200 * 0.04 + 200 * 1.0) * VOXEL_ML)


def test_thresholds_are_where_the_definitions_say() -> None:
    hu = np.array([[[-951, -950, -910, -911, -600, -250, -249, -601]]], np.int16)
    ones = np.ones(hu.shape, np.uint8)
    density = quantify(hu, ones, ones, ones, voxel_ml=1.0).lungs.density
    assert density.laa_950_percent == pytest.approx(100 * 1 / 8)
    assert density.laa_910_percent == pytest.approx(100 * 3 / 8)
    assert density.haa_percent == pytest.approx(100 * 2 / 8)


def test_regions_partition_the_lungs(measured: Quantities) -> None:
    regions = {r.name: r for r in measured.regions}
    assert regions["right"].volume_ml == pytest.approx(1.6)
    assert regions["left"].volume_ml == pytest.approx(0.4)
    assert regions["right upper"].volume_ml == pytest.approx(0.4 * 1.6)
    thirds = sum(regions[f"lungs {name}"].volume_ml for name in ("upper", "middle", "lower"))
    assert thirds == pytest.approx(measured.lungs.volume_ml)
    assert regions["left"].classes[4].percent == pytest.approx(100.0)


def test_an_absent_lung_has_no_region() -> None:
    hu, labels, side, third = blocks()
    side[side == 2] = 0
    names = [r.name for r in quantify(hu, labels, side, third).regions]
    assert "right" in names
    assert not any(name.startswith("left") for name in names)


def test_the_air_shift_moves_every_hu() -> None:
    hu, labels, side, third = blocks()
    shifted = quantify(hu, labels, side, third, shift_hu=20.0).lungs
    assert shifted.classes[0].mean_hu == pytest.approx(-850.0)
    assert shifted.density.laa_950_percent == 0.0
    assert shifted.density.laa_910_percent == pytest.approx(20.0)


def test_the_histogram_holds_every_voxel_of_a_class_once(measured: Quantities) -> None:
    for c in measured.lungs.classes:
        assert sum(measured.histogram_ml[c.key]) == pytest.approx(c.volume_ml)
    emphysema = measured.histogram_ml["emphysema"]
    place = emphysema.index(max(emphysema))
    assert measured.histogram_edges[place] <= -960 < measured.histogram_edges[place + 1]


def test_the_csv_says_the_same(measured: Quantities) -> None:
    rows = list(csv.DictReader(io.StringIO(measured.to_csv())))
    lung = next(r for r in rows if r["region"] == "lungs" and r["class"] == "lung")
    healthy = next(r for r in rows if r["region"] == "lungs" and r["class"] == "healthy")
    assert float(lung["laa_950_percent"]) == pytest.approx(20.0)
    assert float(healthy["percent_of_region"]) == pytest.approx(60.0)
    assert healthy["laa_950_percent"] == ""
    assert len(rows) == 8 * len(measured.regions)


def noisy_lungs(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random HU with random classes, sides and thirds: nothing agrees by symmetry."""
    rng = np.random.default_rng(3)
    shape = (40, 12, 14)
    hu = rng.normal(-750, 250, shape).astype(dtype)
    labels = rng.integers(0, 8, shape, np.uint8)
    side, third = rng.integers(0, 3, shape, np.uint8), rng.integers(1, 4, shape, np.uint8)
    return hu, labels, side, third


@pytest.mark.parametrize(("dtype", "exact"), [("int16", 1e-9), ("float32", 0.13)])
def test_the_joint_histogram_gives_what_the_voxels_give(dtype: str, exact: float) -> None:
    """numpy on the voxels themselves, in float64; fractions of HU are counted to the nearest quarter."""
    hu, labels, side, third = noisy_lungs(dtype)
    chosen = (side == 2) & (third == 3)
    values = hu[chosen].astype(np.float64) + 7.5
    found = quantify(hu, labels, side, third, shift_hu=7.5)
    region = next(r for r in found.regions if r.name == "left lower")
    assert region.density.mean_hu == pytest.approx(values.mean(), abs=exact)
    assert region.density.perc15_hu == pytest.approx(np.percentile(values, 15), abs=exact)
    mass = np.maximum(values + 1000, 0).sum() / 1000 * VOXEL_ML
    assert region.density.mass_g == pytest.approx(mass, abs=exact * len(values) / 1000 * VOXEL_ML)
    assert region.density.laa_950_percent == pytest.approx(100 * (values < -950).mean(), abs=0.6)
    for c in region.classes:
        own = labels[chosen] == c.id
        assert c.volume_ml == pytest.approx(own.sum() * VOXEL_ML)
        assert c.mean_hu == pytest.approx(values[own].mean(), abs=exact)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "int32"])
def test_pieces_add_up_to_the_whole(dtype: str) -> None:
    hu, labels, side, third = noisy_lungs(dtype)
    tally = Tally(VOXEL_ML, shift_hu=-3.25)
    for part in (slice(30, 40), slice(0, 1), slice(1, 30)):
        tally.add(hu[part], labels[part], side[part], third[part])
    assert tally.result() == quantify(hu, labels, side, third, shift_hu=-3.25)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_whole_values_count_alike_in_every_type(dtype: str) -> None:
    """numpy 2.0, as Slicer 5.10 has it, refuses a limit of Python's that int16 does not reach."""
    hu, labels, side, third = noisy_lungs("int16")
    whole = quantify(hu, labels, side, third)
    assert quantify(hu.astype(dtype), labels, side, third) == whole


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_unsigned_values_are_measured_as_they_are(dtype: str) -> None:
    hu, labels, side, third = noisy_lungs("int16")
    plain = hu % 200
    whole = quantify(plain, labels, side, third)
    assert quantify(plain.astype(dtype), labels, side, third) == whole


def test_fractions_may_come_late() -> None:
    hu, labels, side, third = noisy_lungs("int16")
    late = hu.astype(np.float32)
    late[-1, -1, -1] += 0.25
    side[-1, -1, -1] = 1
    found = quantify(late, labels, side, third)
    whole = quantify(hu, labels, side, third)
    voxels = (side > 0).sum()
    assert found.lungs.density.mean_hu - whole.lungs.density.mean_hu == pytest.approx(0.25 / voxels)


def test_a_piece_without_lung_changes_nothing() -> None:
    hu, labels, side, third = noisy_lungs("int16")
    tally = Tally(VOXEL_ML)
    tally.add(hu, labels, np.zeros_like(side), third)
    assert tally.result().regions == ()


def test_the_numbers_survive_json(measured: Quantities) -> None:
    assert Quantities.from_mapping(json.loads(json.dumps(measured.to_mapping()))) == measured
