"""Enhanced and legacy-converted CT, and objects of other kinds beside a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from enhanced_ct import ENHANCED, LEGACY, OTHERS, write_enhanced, write_other
from pydicom.uid import CTImageStorage, RLELossless
from smallchest import SPACING, chest, edit_dicom, write_dicom

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.ct import CT, Geometry


@pytest.mark.parametrize("sop_class", [ENHANCED, LEGACY])
def test_frames_become_slices_in_place(sop_class: str, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(24)
    path = write_enhanced(
        tmp_path / "scan" / "one", chest()[order], sop_class=sop_class, positions=order * SPACING
    )
    for place in (path, path.parent):
        ct = CT.read(place)
        np.testing.assert_array_equal(ct.hu, chest())
        assert ct.geometry == Geometry((64, 64, 24), (SPACING,) * 3, (-160.0, -160.0, 0.0))
        assert ct.notes == ()


def test_every_frame_has_its_own_rescale(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "a.dcm", chest(), intercepts=[-1024.0 - 10 * k for k in range(24)])
    np.testing.assert_array_equal(CT.read(path).hu, chest())


def test_compressed_frames_are_decoded(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "a.dcm", chest())
    ds = pydicom.dcmread(path)
    ds.compress(RLELossless)
    ds.save_as(path)
    np.testing.assert_array_equal(CT.read(path).hu, chest())


@pytest.mark.parametrize("sop_class", [ENHANCED, LEGACY])
def test_stacks_of_one_object_are_volumes_of_their_own(sop_class: str, tmp_path: Path) -> None:
    both = np.concatenate([chest(), chest(20, seed=1)])
    path = write_enhanced(
        tmp_path / "a.dcm",
        both,
        sop_class=sop_class,
        positions=[*(SPACING * np.arange(24)), *(SPACING * np.arange(20) + 2.5)],
        stacks=["1"] * 24 + ["2"] * 20,
    )
    np.testing.assert_array_equal(CT.read(path).hu, chest())
    np.testing.assert_array_equal(CT.read(path, series="1b").hu, chest(20, seed=1))


def test_parts_of_one_large_object_are_joined(tmp_path: Path) -> None:
    shared = {"uid": "1.2.3.4", "ConcatenationUID": "1.2.3.5"}
    write_enhanced(tmp_path / "s" / "a", chest()[:12], **shared)
    write_enhanced(tmp_path / "s" / "b", chest()[12:], positions=SPACING * np.arange(12, 24), **shared)
    np.testing.assert_array_equal(CT.read(tmp_path / "s").hu, chest())


def test_an_object_whose_frames_are_cut_off_is_refused_by_its_name(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "scan7.dcm", chest())
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(InputError, match=r"scan7\.dcm is damaged") as refusal:
        CT.read(path)
    assert refusal.value.code == "unreadable"


def test_what_lies_beside_a_scan_is_named_and_not_read(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest(), number=3)
    for modality in OTHERS:
        write_other(scans / f"{modality}.dcm", modality)
    write_enhanced(scans / "few", chest(8), number=4)
    write_dicom(scans, chest(2), number=5, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (scans / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    (scans / "half.dcm").write_bytes((scans / "03-004.dcm").read_bytes()[:5000])
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    listed, passed = ct.notes
    assert listed.endswith("3 (24 slices every 5 mm), 4 (8 slices every 5 mm); series 3 was read.")
    for seen in (*OTHERS, "2 CT images that are localizers", "2 damaged DICOM files"):
        assert seen in passed
    assert "Doe" not in listed + passed


def test_maps_of_a_material_are_never_taken_for_the_scan(tmp_path: Path) -> None:
    iodine = np.clip((chest() - 20) / 10, 0, 200)
    for number, told in enumerate((
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "IODINE"]},
        {"RescaleType": "MGML"},
    )):  # fmt: skip
        scans = write_dicom(tmp_path / f"s{number}", iodine, number=2, **told)
        with pytest.raises(InputError, match="not HU") as refusal:
            CT.read(scans)
        assert refusal.value.code == "not-hu"
        write_dicom(scans, chest(12), number=4)
        ct = CT.read(scans)
        np.testing.assert_array_equal(ct.hu, chest(12))
        assert "2 (24 slices every 5 mm, not in HU)" in ct.notes[0]


def test_a_scan_of_usual_energy_is_preferred(tmp_path: Path) -> None:
    derived = ["DERIVED", "PRIMARY", "AXIAL"]
    scans = write_dicom(tmp_path / "s", chest(seed=1), number=2, ImageType=[*derived, "MONOENERGETIC"])
    write_dicom(scans, chest(seed=2), number=3, ImageType=derived, SeriesDescription="Chest 40 keV")
    write_dicom(scans, chest(), number=4, ImageType=derived, SeriesDescription="Chest 70 keV")
    np.testing.assert_array_equal(CT.read(scans).hu, chest())


@pytest.mark.parametrize(
    ("tags", "seen"),
    [
        ({"Modality": "PT"}, "24 objects of modality PT"),
        ({"Modality": "MR"}, "24 objects of modality MR"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "24 secondary captures"),
    ],
)
def test_other_objects_alone_are_refused_by_what_they_are(tags: dict, seen: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=seen) as refusal:
        CT.read(write_dicom(tmp_path / "s", chest(), **tags))
    assert refusal.value.code == "not-ct"


def test_a_scan_that_lost_its_modality_is_a_ct_by_its_class(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest(), SOPClassUID=CTImageStorage)
    for path in scans.iterdir():
        ds = pydicom.dcmread(path)
        del ds.Modality
        ds.save_as(path)
    np.testing.assert_array_equal(CT.read(scans).hu, chest())


def test_images_without_pixel_size_are_refused_with_that_reason(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest())
    for path in scans.iterdir():
        edit_dicom(path, PixelSpacing=None, ImagerPixelSpacing=[SPACING, SPACING])
    with pytest.raises(InputError, match="24 CT images without PixelSpacing"):
        CT.read(scans)
