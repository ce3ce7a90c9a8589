"""Undecided regions: found, measured and pointed at where an analytic entropy map puts them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from smallchest import chest, save
from smallchest import image as sitk_image

from DiffSegLungLib.anatomy.regions import side_of, third_of
from DiffSegLungLib.classes import BY_ID, CONSOLIDATION, FIBROSIS, GROUND_GLASS, HEALTHY
from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.io.geometry import Geometry
from DiffSegLungLib.segmentation import uncertainty
from DiffSegLungLib.segmentation.uncertainty import LEAST_ML, MOST_REGIONS, STOP_MM, uncertain_regions

SPACING = (1.0, 2.0, 4.0)


def scene(shape: tuple[int, int, int] = (20, 30, 40)) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """Certain healthy lung everywhere, on voxels of 1 × 2 × 4 mm = 0.008 ml."""
    size = (shape[2], shape[1], shape[0])
    grid = Geometry(size, SPACING, (5.0, -7.0, 11.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    return np.zeros(shape, np.float32), np.full(shape, HEALTHY, np.uint8), grid


def test_two_boxes_are_found_measured_and_sorted_by_volume_times_entropy() -> None:
    entropy, labels, grid = scene()
    entropy[2:5, 2:7, 2:12] = 0.9  # 150 voxels, 1.2 ml × 0.9
    entropy[10:15, 10:16, 20:30] = 0.6  # 300 voxels, 2.4 ml × 0.6
    labels[10:15, 10:16, 20:24] = FIBROSIS
    labels[10:15, 10:16, 24:30] = GROUND_GLASS
    first, second = uncertain_regions(entropy, labels, grid)
    assert first.volume_ml == pytest.approx(2.4)
    assert first.entropy == pytest.approx(0.6)
    assert (first.class_key, first.second) == ("ground_glass", "fibrosis")
    assert second.volume_ml == pytest.approx(1.2)
    assert (second.class_key, second.second) == ("healthy", None)


def test_the_point_lies_deepest_inside_its_region_in_millimetres() -> None:
    entropy, labels, grid = scene()
    entropy[4:9, 5:16, 10:31] = 0.8  # 21 × 22 × 20 mm about the voxel (20, 10, 6)
    (region,) = uncertain_regions(entropy, labels, grid)
    assert region.index == (20, 10, 6)


def test_the_point_of_a_bent_region_is_one_of_its_voxels() -> None:
    entropy, labels, grid = scene()
    entropy[4:6, 5:25, 10:12] = entropy[4:6, 23:25, 10:35] = 0.7
    (region,) = uncertain_regions(entropy, labels, grid)
    assert entropy[region.index[::-1]] == pytest.approx(0.7)


def test_what_is_small_decided_or_outside_the_lungs_is_left_out() -> None:
    entropy, labels, grid = scene()
    entropy[0, 0, :24] = 0.9  # 0.19 ml
    entropy[5:10, 5:10, 5:30] = 0.45
    entropy[15:, 15:, 15:] = 0.9
    labels[15:, 15:, 15:] = 0
    assert uncertain_regions(entropy, labels, grid) == []
    entropy[0, 0, 24] = 0.9  # 0.2 ml
    (region,) = uncertain_regions(entropy, labels, grid)
    assert region.volume_ml == pytest.approx(LEAST_ML)


def test_a_region_wider_than_one_view_is_cut_and_nothing_of_it_is_lost() -> None:
    entropy, labels, grid = scene((20, 50, 90))  # 90 × 100 × 80 mm
    entropy[...] = 0.8
    labels[...] = CONSOLIDATION
    regions = uncertain_regions(entropy, labels, grid)
    assert len(regions) == 3 * 3 * 2
    assert sum(r.volume_ml for r in regions) == pytest.approx(720.0)
    assert max(r.volume_ml for r in regions) == pytest.approx(STOP_MM**3 / 1000)


def test_there_are_never_more_than_a_reader_will_visit() -> None:
    entropy, labels, grid = scene((20, 60, 300))
    entropy[:, ::4, :] = 0.8
    assert len(uncertain_regions(entropy, labels, grid)) == MOST_REGIONS


@pytest.mark.parametrize("planes", [1, 3])
def test_regions_through_many_slabs_are_those_of_the_whole(monkeypatch, planes: int) -> None:
    entropy, labels, grid = scene((20, 60, 80))
    noise = np.random.default_rng(0)
    entropy[...] = np.where(noise.random(entropy.shape) < 0.4, 0.75, 0)  # a maze, many ties
    labels[3:7, 20:25] = 0
    labels[:, :, 50:] = FIBROSIS
    monkeypatch.setattr(uncertainty, "_PLANES", 100)  # one slab: what scipy calls connected
    whole = uncertain_regions(entropy, labels, grid)
    assert len(whole) > 5
    monkeypatch.setattr(uncertainty, "_PLANES", planes)
    assert uncertain_regions(entropy, labels, grid) == whole


def test_looking_for_them_takes_no_copy_of_the_lungs() -> None:
    entropy, labels, grid = scene((400, 100, 100))
    entropy[40:44, 50:60, 50:60] = entropy[-5:, :10, :10] = 0.8
    tracemalloc.start()
    assert len(uncertain_regions(entropy, labels, grid)) == 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * labels.nbytes


def test_sides_and_thirds_share_one_map() -> None:
    regions = np.arange(7, dtype=np.uint8)
    assert side_of(regions).tolist() == [0, 1, 1, 1, 2, 2, 2]
    assert third_of(regions).tolist() == [0, 1, 2, 3, 1, 2, 3]
    assert side_of(regions).dtype == third_of(regions).dtype == np.uint8


def test_a_run_writes_both(tmp_path: Path) -> None:
    hu = chest()
    lesion = np.random.default_rng(1).normal(-300, 150, (8, 16, 10))  # haze, lines or solid?
    hu[8:16, 22:38, 40:50] = lesion
    small_ct = save(sitk_image(hu), tmp_path / "chest.nii.gz")
    target = tmp_path / "result"
    quick = ["--descriptor", "statistics", "--mode", "per-volume", "--components", "4"]
    assert main(["segment", str(small_ct), "-o", str(target), "-q", *quick]) == 0
    image = sitk.ReadImage(str(target / "regions.nii.gz"))
    regions = sitk.GetArrayFromImage(image)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(target / "labels.nii.gz")))
    entropy = sitk.GetArrayFromImage(sitk.ReadImage(str(target / "entropy.nii.gz")))
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(regions > 0, labels > 0)
    result = json.loads((target / "result.json").read_text(encoding="utf-8"))
    volumes = {r["name"]: r["volume_ml"] for r in result["tables"]["regions"]}
    for number, name in enumerate(["right upper", "right middle", "right lower", "left upper"], start=1):
        assert (regions == number).sum() * 0.125 == pytest.approx(volumes[name])
    assert result["uncertain_regions"]
    keys = {tissue.key for tissue in BY_ID.values()}
    for region in result["uncertain_regions"]:
        i, j, k = region["index"]
        assert labels[k, j, i] > 0
        assert entropy[k, j, i] >= 0.49
        assert region["class"] in keys
        assert region["second"] in {None, *keys}
