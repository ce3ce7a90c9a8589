"""Stored numbers of DICOM slices: padding by its tags, what is only display, files of old archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, RLELossless
from smallchest import SPACING, chest, write_dicom

from DiffSegLungLib.io.ct import CT

y, x = np.ogrid[:64, :64]
OUTSIDE = (y - 31.5) ** 2 + (x - 31.5) ** 2 > 32**2


def padded(
    folder: Path,
    word: int,
    value: int | None,
    limit: int | None = None,
    *,
    signed: bool,
    vr: str,
    hu: np.ndarray,
) -> Path:
    """A series whose stored words outside the circle are ``word``; the tags say ``value`` and ``limit``."""
    scans = write_dicom(folder, hu, PixelRepresentation=int(signed))
    for path in scans.iterdir():
        ds = pydicom.dcmread(path)
        stored = np.frombuffer(ds.PixelData, "<u2").reshape(64, 64).copy()
        stored[OUTSIDE] = word % 65536
        ds.PixelData = stored.tobytes()
        if value is not None:
            ds.add_new("PixelPaddingValue", vr, value)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", vr, limit)
        ds.save_as(path)
    return scans


@pytest.mark.parametrize(
    ("word", "signed", "vr", "value"),
    [
        (63536, False, "US", 63536),  # -2000 as an unsigned number
        (-2000, True, "SS", -2000),
        (-2000, True, "US", 63536),  # the tag's type is wrong
        (63536, False, "SS", -2000),
        (4095, False, "US", 4095),
        (1064, True, "SS", 1064),  # 40 HU
        (1025, False, "US", 1025),  # 1 HU
    ],
)
def test_padding_of_any_value_is_air(word: int, signed: bool, vr: str, value: int, tmp_path: Path) -> None:
    ct = CT.read(padded(tmp_path / "s", word, value, signed=signed, vr=vr, hu=np.maximum(chest(), -1024)))
    assert (ct.hu[:, OUTSIDE] == -1024).all()
    np.testing.assert_array_equal(ct.hu[:, ~OUTSIDE], np.maximum(chest(), -1024)[:, ~OUTSIDE])
    assert len(ct.notes) == 1
    assert "padding" in ct.notes[0]


@pytest.mark.parametrize("value", [1064, 4095])
def test_tissue_and_metal_of_the_value_of_padding_stay(value: int, tmp_path: Path) -> None:
    hu = np.maximum(chest(), -1024)
    hu[:, 30:34, 30:34] = value - 1024
    ct = CT.read(padded(tmp_path / "s", value, value, signed=False, vr="US", hu=hu))
    np.testing.assert_array_equal(ct.hu[:, ~OUTSIDE], hu[:, ~OUTSIDE])


def test_tissue_that_reaches_the_corner_is_no_padding(tmp_path: Path) -> None:
    # A crop within the body, noise around 40 HU, and a tag that says 40 HU.
    hu = chest()
    hu[:, :12] = np.random.default_rng(0).normal(40, 20, (24, 12, 64))
    scans = write_dicom(tmp_path / "s", hu)
    for path in scans.iterdir():
        ds = pydicom.dcmread(path)
        ds.add_new("PixelPaddingValue", "SS", 1064)
        ds.save_as(path)
    np.testing.assert_array_equal(CT.read(scans).hu, hu)


@pytest.mark.parametrize(("first", "last"), [(-3000, -2000), (-2000, -3000), (62536, 63536)])
def test_a_range_of_padding_is_air(first: int, last: int, tmp_path: Path) -> None:
    vr = "US" if first > 0 else "SS"
    ct = CT.read(padded(tmp_path / "s", -2500, first, last, signed=True, vr=vr, hu=chest()))
    assert (ct.hu[:, OUTSIDE] == -1024).all()
    np.testing.assert_array_equal(ct.hu[:, ~OUTSIDE], chest()[:, ~OUTSIDE])


def test_padding_of_compressed_slices_is_air(tmp_path: Path) -> None:
    hu = np.maximum(chest(), -1024)
    scans = padded(tmp_path / "s", 63536, 63536, signed=False, vr="US", hu=hu)
    for path in scans.iterdir():
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless)
        ds.save_as(path)
    ct = CT.read(scans)
    assert (ct.hu[:, OUTSIDE] == -1024).all()
    np.testing.assert_array_equal(ct.hu[:, ~OUTSIDE], hu[:, ~OUTSIDE])


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_compressions_without_loss_are_decoded(compressor: str, tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest())
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    for path in scans.iterdir():
        ds = pydicom.dcmread(path)
        stored = np.frombuffer(ds.PixelData, "<i2").reshape(1, 64, 64)
        writer.SetFileName(str(tmp_path / "packed.dcm"))
        writer.Execute(sitk.GetImageFromArray(stored))
        packed = pydicom.dcmread(tmp_path / "packed.dcm")
        assert packed.file_meta.TransferSyntaxUID.is_compressed
        ds.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        ds["PixelData"] = packed["PixelData"]
        ds.save_as(path)
    np.testing.assert_array_equal(CT.read(scans).hu, chest())


@pytest.mark.parametrize("compressed", [False, True])
def test_monochrome1_is_how_a_picture_is_shown_not_what_it_measures(compressed: bool, tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest(), PhotometricInterpretation="MONOCHROME1")
    for path in scans.iterdir() if compressed else ():
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless)
        ds.save_as(path)
    np.testing.assert_array_equal(CT.read(scans).hu, chest())


def test_files_without_preamble_and_suffix_are_found(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "a", chest())
    (tmp_path / "b").mkdir()
    for k, path in enumerate(sorted(scans.iterdir())):
        whole = path.read_bytes()[132:]
        # With and without the group of tags that says how the rest is written.
        meta = 12 + int.from_bytes(whole[8:12], "little")
        (tmp_path / "b" / f"IM{k}").write_bytes(whole if k % 2 else whole[meta:])
    for place in (tmp_path / "b", tmp_path / "b" / "IM4", tmp_path / "b" / "IM5"):
        np.testing.assert_array_equal(CT.read(place).hu, chest())


def test_overlays_in_the_upper_bits_are_no_part_of_the_numbers(tmp_path: Path) -> None:
    hu = np.maximum(chest(), -1024)
    scans = write_dicom(tmp_path / "s", hu, BitsStored=12, HighBit=11, PixelRepresentation=0)
    for path in scans.iterdir():
        ds = pydicom.dcmread(path)
        stored = np.frombuffer(ds.PixelData, "<u2").reshape(64, 64).copy()
        stored[10:20] |= 0x1000
        ds.PixelData = stored.tobytes()
        ds.add_new((0x6000, 0x0102), "US", 12)
        ds.save_as(path)
    np.testing.assert_array_equal(CT.read(scans).hu, hu)


def test_big_endian_numbers_are_right(tmp_path: Path) -> None:
    scans = write_dicom(tmp_path / "s", chest())
    for path in scans.iterdir():
        little = pydicom.dcmread(path)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, little.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRBigEndian
        ds = FileDataset(str(path), little, file_meta=meta, is_implicit_VR=False, is_little_endian=False)
        ds.PixelData = np.frombuffer(little.PixelData, "<i2").astype(">i2").tobytes()
        ds.preamble = bytes(128)
        ds.save_as(path)
    ct = CT.read(scans)
    np.testing.assert_array_equal(ct.hu, chest())
    assert ct.geometry.spacing == (SPACING,) * 3
