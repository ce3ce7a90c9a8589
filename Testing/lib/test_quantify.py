"""The numbers of a segmentation, against values worked out by hand."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, HEALTHY
from DiffSegLungLib.quantify import Quantities, quantify

VOXEL_ML = 0.002


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
    return quantify(hu, labels, side, third, VOXEL_ML)


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
    density = quantify(hu, ones, ones, ones, 1.0).lungs.density
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
    names = [r.name for r in quantify(hu, labels, side, third, VOXEL_ML).regions]
    assert "right" in names
    assert not any(name.startswith("left") for name in names)


def test_the_air_shift_moves_every_hu() -> None:
    hu, labels, side, third = blocks()
    shifted = quantify(hu, labels, side, third, VOXEL_ML, shift_hu=20.0).lungs
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
