"""DICOM folders as scanners, archives and colleagues leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless
from smallchest import SPACING, chest, edit_dicom, write_dicom

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.ct import CT, Geometry, resample
from DiffSegLungLib.io.dicom_series import choose_series
from DiffSegLungLib.io.geometry import IDENTITY


def test_series_is_read_in_place(tmp_path: Path) -> None:
    ct = CT.read(write_dicom(tmp_path / "scans", chest()))
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.hu.dtype == np.int16
    assert ct.geometry == Geometry((64, 64, 24), (SPACING, SPACING, SPACING), (-160.0, -160.0, 0.0))
    assert ct.source == "scans"
    assert ct.notes == ()


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    write_dicom(tmp_path / "scans", chest(), number=1)
    write_dicom(tmp_path / "scans", chest(8, seed=1), number=2)
    ct = CT.read(tmp_path / "scans" / "02-003.dcm")
    np.testing.assert_array_equal(ct.hu, chest(8, seed=1))
    assert ct.source == "scans"


def test_order_is_by_position_not_by_name_or_number(tmp_path: Path) -> None:
    ct = CT.read(write_dicom(tmp_path / "scans", chest()[::-1], positions=np.arange(24)[::-1] * SPACING))
    np.testing.assert_array_equal(ct.hu, chest())


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (1.0, -8192.0), (2.0, -1024.0)])
def test_slope_and_intercept_are_applied(slope: float, intercept: float, tmp_path: Path) -> None:
    hu = chest() // 2 * 2
    ct = CT.read(write_dicom(tmp_path / "scans", hu, slope=slope, intercept=intercept))
    assert ct.hu.dtype == np.int16
    np.testing.assert_array_equal(ct.hu, hu)


def test_slope_of_a_fraction_gives_float(tmp_path: Path) -> None:
    ct = CT.read(write_dicom(tmp_path / "scans", chest() + 0.25, slope=0.25, intercept=0.0))
    assert ct.hu.dtype == np.float32
    np.testing.assert_array_equal(ct.hu, chest() + 0.25)


def test_axial_series_with_most_slices_is_taken_and_said(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest(8), number=2, ConvolutionKernel="B70f")
    write_dicom(scans, chest(), number=3)
    write_dicom(scans, chest(30), number=4, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])  # coronal, no volume
    write_dicom(scans, chest(6), number=5, Modality="PT")
    write_dicom(scans / "more", chest(40), number=6, ImageType=["DERIVED", "SECONDARY", "MPR"])
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.notes == (
        "The folder holds CT series 2 (8 slices every 5 mm, kernel B70f), 3 (24 slices every 5 mm), "
        "6 (40 slices every 5 mm); series 3 was read.",
        "Passed over beside it: 30 CT images that make no volume, 6 objects of modality PT.",
    )


def test_index_of_a_disk_stands_for_all_of_it(tmp_path: Path) -> None:
    write_dicom(tmp_path / "scans" / "deep" / "er", chest())
    (tmp_path / "scans" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    ct = CT.read(tmp_path / "scans" / "DICOMDIR")
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.source == "scans"


def test_compressed_slices_are_decoded(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest())
    for path in scans.iterdir():
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless)
        ds.save_as(path)
    np.testing.assert_array_equal(CT.read(scans).hu, chest())


def test_series_is_taken_by_number_or_uid(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest(8), number=2, uid="1.2.3.9")
    write_dicom(scans, chest(), number=3)
    for wanted in ("2", "1.2.3.9"):
        assert CT.read(scans, series=wanted).hu.shape == (8, 64, 64)
    with pytest.raises(InputError) as refusal:
        CT.read(scans, series="7")
    assert refusal.value.code == "no-such-series"
    assert "2 (8 slices" in refusal.value.hint
    assert "1.2.3.9" not in str(refusal.value)


def test_volumes_of_one_number_get_letters(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest(8), number=2, uid="1.2.3.1")
    write_dicom(scans / "b", chest(10), number=2, uid="1.2.3.2")
    assert CT.read(scans, series="2a").hu.shape == (8, 64, 64)
    assert CT.read(scans, series="2b").hu.shape == (10, 64, 64)
    assert CT.read(scans, series="2").hu.shape == (10, 64, 64)


def test_phases_with_acquisition_numbers_are_told_apart(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest(), uid="1.2.3.4")
    write_dicom(scans, chest(seed=1), uid="1.2.3.4", first_instance=101, AcquisitionNumber=2)
    np.testing.assert_array_equal(CT.read(scans, series="1a").hu, chest())
    np.testing.assert_array_equal(CT.read(scans, series="1b").hu, chest(seed=1))


def test_localizer_in_the_same_series_is_left_out(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest(), uid="1.2.3.4")
    write_dicom(
        scans, chest(1), uid="1.2.3.4", number=0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
    )  # fmt: skip
    np.testing.assert_array_equal(CT.read(scans).hu, chest())


def test_missing_slice_is_interpolated_and_said(tmp_path: Path) -> None:
    hu, places = chest(), np.arange(24) * SPACING
    keep = np.delete(np.arange(24), 10)
    ct = CT.read(write_dicom(tmp_path / "scans", hu[keep], positions=places[keep]))
    np.testing.assert_array_equal(ct.hu[keep], hu[keep])
    np.testing.assert_array_equal(ct.hu[10], np.rint((hu[9].astype(np.float32) + hu[11]) / 2))
    assert ct.geometry.spacing[2] == SPACING
    assert ct.notes == (
        "Slices are missing or unevenly spaced (5 to 10 mm); interpolated to one every 5 mm.",
    )


def test_uneven_spacing_is_evened_out(tmp_path: Path) -> None:
    # The lower part every 2.5 mm, the upper every 5: a column that rises by 10 HU a mm still does.
    places = np.r_[np.arange(0, 60, 2.5), np.arange(60, 100, 5.0)]
    hu = chest(places.size)
    hu[:, 2, 2] = np.rint(10 * places)
    ct = CT.read(write_dicom(tmp_path / "scans", hu, positions=places))
    assert ct.geometry.spacing[2] == pytest.approx(2.5)
    np.testing.assert_allclose(ct.hu[:, 2, 2], 25 * np.arange(ct.hu.shape[0]), atol=1)
    assert "2.5 to 5 mm" in ct.notes[0]


def test_rounded_positions_are_no_unevenness(tmp_path: Path) -> None:
    # 0.625 mm written with one decimal: 0, 0.6, 1.2, 1.9, 2.5.
    places = np.round(np.arange(64) * 0.625, 1)
    ct = CT.read(write_dicom(tmp_path / "scans", chest(64), positions=places))
    assert ct.notes == ()
    assert ct.geometry.spacing[2] == pytest.approx(0.625, abs=1e-3)


def test_same_slice_twice_counts_once(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest(), uid="1.2.3.4")
    write_dicom(scans, chest()[5:7], positions=[25.0, 30.0], uid="1.2.3.4", first_instance=101)
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.notes == ("2 slices lie where another slice already is and were left out.",)


def test_copied_file_is_no_second_slice(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest())
    (scans / "copy of 01-004.dcm").write_bytes((scans / "01-004.dcm").read_bytes())
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.notes == ()


def test_gantry_tilt_is_straightened_and_said(tmp_path: Path) -> None:
    # Slices shift by 0.2 mm in y per mm of z: a tilt of atan(0.2) = 11.3 degrees, two rows at slice 10.
    ct = CT.read(write_dicom(tmp_path / "scans", chest(), shift=(0.0, 0.2)))
    assert ct.geometry.direction == pytest.approx(IDENTITY, abs=1e-6)
    assert ct.geometry.spacing == pytest.approx((SPACING, SPACING, SPACING))
    np.testing.assert_allclose(ct.hu[10, 2:66], chest()[10], atol=1)
    assert ct.notes == (
        "The slices are sheared by 11.3 degrees (tilted gantry); "
        "the CT was resampled to a grid at right angles.",
    )


def test_slices_out_of_line_are_refused(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest())
    edit_dicom(scans / "01-012.dcm", ImagePositionPatient=[-140, -160, 55])
    with pytest.raises(InputError) as refusal:
        CT.read(scans)
    assert refusal.value.code == "scattered-slices"
    assert "20.0 mm" in refusal.value.message


def test_padding_value_becomes_air(tmp_path: Path) -> None:
    hu = chest().astype(np.int32)
    hu[:, :6, :6] = -3024
    ct = CT.read(write_dicom(tmp_path / "scans", hu))
    assert (ct.hu[:, :6, :6] == -1024).all()
    assert "Padding" in ct.notes[0]


def test_slices_written_from_the_other_corner_show_the_same_patient(tmp_path: Path) -> None:
    # As of a patient who lay prone: rows and columns run the other way.
    turned = write_dicom(tmp_path / "b", chest()[:, ::-1, ::-1], ImageOrientationPatient=[-1, 0, 0, 0, -1, 0])
    for k, path in enumerate(sorted(turned.iterdir())):
        edit_dicom(path, ImagePositionPatient=[-160 + 63 * SPACING, -160 + 63 * SPACING, k * SPACING])
    prone, supine = CT.read(turned), CT.read(write_dicom(tmp_path / "a", chest()))
    back = resample(prone.hu, prone.geometry, supine.geometry, order="nearest", fill=0)
    np.testing.assert_array_equal(back, supine.hu)


def test_nothing_of_the_patient_is_told(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "scans", chest(), SeriesDescription="Doe chest")
    write_dicom(scans, chest(8), number=2, SeriesDescription="Doe chest")
    ct = CT.read(scans)
    told = " ".join([ct.source, *ct.notes, str(choose_series(scans, None)[0])])
    for secret in ("Doe", "Jane", "4711", "1.2.826", str(tmp_path)):
        assert secret not in told


@pytest.mark.realct
def test_real_series_is_the_published_nifti(real_data: Path) -> None:
    series = CT.read(real_data / "dicom" / "acrin-flt-breast_001")
    nifti = CT.read(real_data / "ct" / "acrin-flt-breast_001_soft.nii.gz")
    assert series.hu.shape == (35, 512, 512)
    # The NIfTI is cropped and clipped to [-1024, 1500]; its first voxel lies on one of the series.
    corner = series.geometry.index(nifti.geometry.world([0, 0, 0]))
    np.testing.assert_allclose(corner, np.rint(corner), atol=0.01)
    z, y, x = np.rint(corner).astype(int)
    depth, height, width = nifti.hu.shape
    box = (slice(z, z + depth), slice(y, y + height), slice(x, x + width))
    assert series.geometry.crop(box).same_grid(nifti.geometry)
    np.testing.assert_array_equal(np.clip(series.hu[box], -1024, 1500), nifti.hu)
