"""Passes of a scanner that share a series, repeated slices, and slices that say too little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from smallchest import SPACING, chest, edit_dicom, write_dicom

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.ct import CT

HALF = np.arange(24) * SPACING + SPACING / 2


def two_passes(folder: Path, count: int = 24, **tags: object) -> Path:
    """Two breaths under one series UID, the second one half a slice off."""
    write_dicom(folder, chest(), uid="1.2.3.4")
    return write_dicom(
        folder, chest(seed=1)[:count], uid="1.2.3.4", positions=HALF[:count], first_instance=101, **tags
    )


@pytest.mark.parametrize(
    "tags",
    [
        {"AcquisitionNumber": 2},
        {"ConvolutionKernel": "B70f"},
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]},
        {"TemporalPositionIdentifier": 2},
        {"SliceThickness": 1.0},
        {"AcquisitionTime": "101010"},
        {"SeriesNumber": 7},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_interleaved_passes_are_never_one_volume(tags: dict, tmp_path: Path) -> None:
    scans = two_passes(tmp_path / "s", **tags)
    ct = CT.read(scans)
    assert ct.geometry.spacing[2] == SPACING
    second = np.array_equal(ct.hu, chest(seed=1))
    np.testing.assert_array_equal(ct.hu, chest(seed=int(second)))
    assert ct.notes[0].startswith("The folder holds CT series ")
    names = ["1", "7"] if "SeriesNumber" in tags else ["1a", "1b"]
    seeds = [np.array_equal(CT.read(scans, series=name).hu, chest(seed=1)) for name in names]
    assert sorted(seeds) == [False, True], "each can be reached"


def test_a_short_pass_between_is_named_and_left_out(tmp_path: Path) -> None:
    ct = CT.read(two_passes(tmp_path / "s", 10, AcquisitionNumber=2))
    np.testing.assert_array_equal(ct.hu, chest())
    assert "1b (10 slices every 5 mm, acquisition 2)" in ct.notes[0]
    few = CT.read(two_passes(tmp_path / "t", 3, AcquisitionNumber=2))
    np.testing.assert_array_equal(few.hu, chest())
    assert few.notes == ("Passed over beside it: 3 CT images that make no volume.",)


@pytest.mark.parametrize("shift", [SPACING / 2, 1.0])
def test_passes_that_no_tag_tells_apart_are_refused(shift: float, tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest(), uid="1.2.3.4")
    write_dicom(scans, chest(seed=1), uid="1.2.3.4", positions=HALF - 2.5 + shift, first_instance=101)
    with pytest.raises(InputError) as refusal:
        CT.read(scans)
    assert refusal.value.code == "several-phases"


def test_stations_of_a_long_scan_stay_together(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest()[:12], uid="1.2.3.4")
    places = np.arange(12, 24) * SPACING
    write_dicom(scans, chest()[12:], uid="1.2.3.4", positions=places, first_instance=13, AcquisitionNumber=2)
    np.testing.assert_array_equal(CT.read(scans).hu, chest())


def test_a_tag_that_strays_in_some_slices_splits_nothing(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest())
    for name in ("01-004.dcm", "01-005.dcm", "01-011.dcm"):
        edit_dicom(scans / name, ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "HEADER_CORRECTED"])
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.notes == ()


def test_a_pass_named_by_its_file_is_the_one_that_is_read(tmp_path: Path) -> None:
    scans = two_passes(tmp_path / "s", AcquisitionNumber=2)
    np.testing.assert_array_equal(CT.read(scans / "01-103.dcm").hu, chest(seed=1))


def test_many_phases_are_all_reached(tmp_path: Path) -> None:
    scans = tmp_path / "s"
    for phase in range(28):
        write_dicom(
            scans,
            chest(6, seed=phase),
            uid="1.2.3.4",
            first_instance=100 * phase,
            AcquisitionNumber=phase + 10,
        )
    np.testing.assert_array_equal(CT.read(scans, series="1ab").hu, chest(6, seed=27))


@pytest.mark.parametrize("jitter", [1e-4, 4e-4])
def test_orientation_that_jitters_drops_no_slice(jitter: float, tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest())
    rng = np.random.default_rng(0)
    for path in scans.iterdir():
        axes = np.array([1, 0, 0, 0, 1, 0]) + rng.uniform(-jitter, jitter, 6) + [0, 5e-4, 0, -5e-4, 0, 0]
        edit_dicom(path, ImageOrientationPatient=[f"{v:.6f}" for v in axes])
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.geometry.spacing == pytest.approx((SPACING,) * 3, abs=1e-4)
    assert ct.notes == ()


def test_orientation_missing_in_some_slices_is_that_of_the_others(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest())
    for path in sorted(scans.iterdir())[1::2]:
        edit_dicom(path, ImageOrientationPatient=None)
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.notes == ("12 of 24 slices say nothing of their orientation; that of the others was taken.",)


def test_orientation_missing_in_all_slices_is_refused(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest(), ImageOrientationPatient=None)
    with pytest.raises(InputError, match="24 CT images without ImageOrientationPatient"):
        CT.read(scans)


def test_slices_that_share_a_uid_are_all_read(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest())
    for k, path in enumerate(sorted(scans.iterdir())):
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k // 2}"
        ds.save_as(path)
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.notes == ()


def test_a_scan_of_one_uid_and_its_copies_are_one_scan(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest(), SOPInstanceUID="1.2.3.4.5")
    for path in list(scans.iterdir()):
        (scans / f"copy of {path.name}").write_bytes(path.read_bytes())
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.notes == ()


def test_a_doubled_scan_of_other_uids_counts_once(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest(), uid="1.2.3.4")
    ct = CT.read(write_dicom(scans, chest(), uid="1.2.3.4", first_instance=101))
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.notes == ("24 slices lie where another slice already is and were left out.",)


@pytest.mark.parametrize("present", [True, False])
def test_slices_with_and_without_rescale_are_refused(present: bool, tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest())
    for path in sorted(scans.iterdir())[5:9]:
        ds = pydicom.dcmread(path)
        if present:
            ds.RescaleIntercept = 0
        else:
            del ds.RescaleIntercept, ds.RescaleSlope
        ds.save_as(path)
    with pytest.raises(
        InputError, match=r"jumps by about 1000 HU between slices \(2 of 23 times\)"
    ) as refusal:
        CT.read(scans)
    assert refusal.value.code == "mixed-rescale"


def test_rescale_that_differs_rightly_is_applied(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest()[:12], uid="1.2.3.4")
    write_dicom(
        scans, chest()[12:], uid="1.2.3.4", intercept=0.0, first_instance=13,
        positions=np.arange(12, 24) * SPACING,
    )  # fmt: skip
    np.testing.assert_array_equal(CT.read(scans).hu, chest())


@pytest.mark.parametrize(("step", "noted"), [(9.0, False), (12.75, True), (20.0, True)])
def test_slices_far_apart_are_estimates(step: float, noted: bool, tmp_path: Path) -> None:
    ct = CT.read(write_dicom(tmp_path / "s", chest(8), positions=step * np.arange(8)))
    assert ct.geometry.spacing[2] == pytest.approx(step)
    assert ["estimates" in note for note in ct.notes] == [True] * noted


def test_slices_too_far_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="voxel spacing of") as refusal:
        CT.read(write_dicom(tmp_path / "s", chest(8), positions=21.25 * np.arange(8)))
    assert refusal.value.code == "bad-spacing"
    keep = np.delete(np.arange(12), 5)
    with pytest.raises(InputError, match=r"lacks slices: a gap of 25\.5 mm") as refusal:
        CT.read(write_dicom(tmp_path / "t", chest(12)[keep], positions=12.75 * keep))
    assert refusal.value.code == "missing-slices"


def test_several_patients_are_never_one_volume(tmp_path: Path) -> None:
    """Neither stacked nor interleaved, whatever UID they share; nobody's name or ID is told."""
    stacked = write_dicom(tmp_path / "stacked", chest()[:16], uid="1.2.3.4", PatientID="Secret1")
    write_dicom(
        stacked, chest()[16:], uid="1.2.3.4", positions=np.arange(16, 24) * SPACING, first_instance=17,
        PatientID="Secret2",
    )  # fmt: skip
    mixed = two_passes(tmp_path / "mixed", PatientID="Secret2")
    beside = write_dicom(tmp_path / "beside", chest(), PatientID="Secret1")
    write_dicom(beside / "other", chest(seed=1), number=2, PatientID="Secret2")
    for scans, count in ((stacked, 16), (mixed, 24), (beside, 24)):
        ct = CT.read(scans)
        np.testing.assert_array_equal(ct.hu, chest()[:count])
        assert ct.notes[0].startswith("The folder holds scans of 2 patients; only series 1")
        assert "Secret" not in " ".join(ct.notes)
    for path in sorted(stacked.iterdir())[::2]:
        edit_dicom(path, PatientID="")
    for path in sorted(stacked.iterdir())[1::2]:
        edit_dicom(path, PatientID="Secret1")
    whole = CT.read(stacked)  # an ID that is missing tells nobody apart
    np.testing.assert_array_equal(whole.hu, chest())
    assert whole.notes == ()


def test_passes_that_share_their_numbers_are_refused(tmp_path: Path) -> None:
    """Half a slice off, they are as even as one scan of half the spacing; stations stay together."""
    scans = write_dicom(tmp_path / "s", chest(), uid="1.2.3.4")
    write_dicom(scans / "again", chest(seed=1), uid="1.2.3.4", positions=HALF)
    with pytest.raises(InputError) as refusal:
        CT.read(scans)
    assert refusal.value.code == "several-phases"
    stations = write_dicom(tmp_path / "t", chest()[:12], uid="1.2.3.4")
    above = np.arange(12, 24) * SPACING
    write_dicom(stations / "above", chest()[12:], uid="1.2.3.4", positions=above)
    np.testing.assert_array_equal(CT.read(stations).hu, chest())
