"""The ``.seg.nrrd`` that Slicer opens, read back by slicerio, its independent reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicerio

from DiffSegLungLib.classes import CLASSES
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.ct import Geometry, read_mask, write_segmentation

GRID = Geometry((12, 11, 10), (0.8, 0.8, 2.5), (-30.0, 20.0, -400.0), (0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1))


@pytest.fixture
def labels() -> np.ndarray:
    """Healthy lung in a box, one voxel of ground glass, nothing else; uint8 (z, y, x)."""
    made = np.zeros(GRID.shape, np.uint8)
    made[2:5, 3:9, 1:12] = 1
    made[7, 8, 9] = 3
    return made


def test_slicerio_reads_what_was_meant(labels: np.ndarray, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "labels.seg.nrrd", labels, GRID, algorithm="DiffSegLung base 0.1")
    read = slicerio.read_segmentation(tmp_path / "labels.seg.nrrd")

    # slicerio keeps NRRD's axis order (x, y, z).
    np.testing.assert_array_equal(read["voxels"].T, labels)
    matrix = read["ijkToLPS"]
    np.testing.assert_allclose(matrix[:3, :3] @ [9, 8, 7] + matrix[:3, 3], GRID.world([7, 8, 9]))
    assert len(read["segments"]) == len(CLASSES)
    for segment, tissue in zip(read["segments"], CLASSES, strict=True):
        assert segment["id"] == f"Segment_{tissue.key}"
        assert segment["name"] == tissue.name
        assert segment["labelValue"] == tissue.id
        assert segment["layer"] == 0
        np.testing.assert_allclose(segment["color"], np.array(tissue.colour) / 255, atol=1e-6)
        assert segment["terminology"]["type"] == [tissue.type.scheme, tissue.type.value, tissue.type.meaning]
        assert segment["terminology"]["anatomicRegion"][1] == "39607008"
        assert segment["tags"]["DiffSegLung.class"] == tissue.key
        assert segment["tags"]["DICOM.SegmentAlgorithmType"] == "AUTOMATIC"
        assert segment["tags"]["DICOM.SegmentAlgorithmName"] == "DiffSegLung base 0.1"


def test_extents_are_first_and_last_voxel_along_x_y_z(labels: np.ndarray, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "labels.seg.nrrd", labels, GRID)
    extents = {
        s["id"]: s["extent"] for s in slicerio.read_segmentation(tmp_path / "labels.seg.nrrd")["segments"]
    }
    assert extents["Segment_healthy"] == [1, 11, 3, 8, 2, 4]
    assert extents["Segment_ground_glass"] == [9, 9, 8, 8, 7, 7]
    assert extents["Segment_cavity"] == [0, -1, 0, -1, 0, -1]


def test_slicerio_finds_a_segment_by_its_tag_after_renumbering(labels: np.ndarray, tmp_path: Path) -> None:
    # Slicer renumbers labels when a segment is edited; the tag is what identifies the class.
    write_segmentation(tmp_path / "labels.seg.nrrd", labels, GRID)
    read = slicerio.read_segmentation(tmp_path / "labels.seg.nrrd")
    wanted = [(s["name"], s["labelValue"] + 10) for s in read["segments"]]
    moved = slicerio.extract_segments(read, wanted)
    assert np.unique(moved["voxels"]).tolist() == [0, 11, 13]
    by_class = {s["tags"]["DiffSegLung.class"]: s["labelValue"] for s in moved["segments"]}
    assert by_class["ground_glass"] == 13


def test_own_segmentation_serves_as_lung_mask(labels: np.ndarray, tmp_path: Path) -> None:
    big = np.kron(labels, np.ones((4, 4, 4), np.uint8))
    grid = Geometry((48, 44, 40), (0.8, 0.8, 2.5), GRID.origin, GRID.direction)
    write_segmentation(tmp_path / "labels.seg.nrrd", big, grid)
    np.testing.assert_array_equal(read_mask(tmp_path / "labels.seg.nrrd", grid), big > 0)


def test_nothing_is_left_when_the_folder_is_gone(labels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_segmentation(tmp_path / "gone" / "labels.seg.nrrd", labels, GRID)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_segmentation(tiny_disk: Path) -> None:
    grid = Geometry((64, 64, 24), (1.0, 1.0, 1.0))
    noise = np.random.default_rng(0).integers(0, 8, grid.shape, np.uint8)
    (tiny_disk / "other").write_bytes(bytes(48 << 10))
    with pytest.raises(InputError, match=r"labels\.seg\.nrrd cannot be written") as refusal:
        write_segmentation(tiny_disk / "labels.seg.nrrd", noise, grid)
    assert refusal.value.code == "not-written"
    assert [path.name for path in tiny_disk.iterdir()] == ["other"]
