"""What a user may hand over by mistake: every malformed input with the code that refuses it.

Shared by the reader's tests, the command line's tests and Testing/benchmarks/bad_input.py.
"""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from smallchest import chest, image, save, write_dicom

_MHD = b"""ObjectType = Image
NDims = 3
DimSize = %b
ElementType = MET_SHORT
ElementSpacing = 5 5 5
ElementDataFile = gone.raw
"""

Builder = Callable[[Path], Path]


@dataclass(frozen=True)
class Malformed:
    """One malformed input.

    Attributes:
        name: a few words that say what it is.
        code: the code of the refusal.
        build: makes it in an empty folder and returns the path to hand over.
        readable: True where the file itself is a CT in HU, so that only the lung search refuses it.
    """

    name: str
    code: str
    build: Builder
    readable: bool = False


def _values(change: Callable[[np.ndarray], np.ndarray], suffix: str = ".nrrd") -> Builder:
    """A well-formed file whose voxel values are changed."""
    return lambda folder: save(image(change(chest())), folder / f"scan{suffix}")


def _grid(suffix: str = ".mha", **geometry: tuple[float, ...]) -> Builder:
    """A well-formed file with another spacing."""
    return lambda folder: save(image(chest(), **geometry), folder / f"scan{suffix}")


def _cut(suffix: str, compressed: bool) -> Builder:
    """A file of which only the first half was copied."""

    def build(folder: Path) -> Path:
        path = save(image(chest()), folder / f"scan{suffix}", compressed=compressed)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return build


def _bytes(name: str, content: bytes) -> Builder:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def _header(suffix: str, old: bytes, new: bytes) -> Builder:
    """A file whose text header is edited."""

    def build(folder: Path) -> Path:
        path = save(image(chest()), folder / f"scan{suffix}")
        content = path.read_bytes()
        if content.count(old) != 1:
            raise ValueError(f"{old!r} is not in the header")
        path.write_bytes(content.replace(old, new))
        return path

    return build


def _nrrd_grid(lines: str) -> Builder:
    """An NRRD file that says of its grid what these header lines say."""

    def build(folder: Path) -> Path:
        values = chest()
        sizes = " ".join(map(str, values.shape[::-1]))
        header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nencoding: raw\nendian: little\n"
        (folder / "scan.nrrd").write_bytes((header + lines + "\n").encode() + values.astype("<i2").tobytes())
        return folder / "scan.nrrd"

    return build


def _nan_and_more(suffix: str, more: bytes) -> Builder:
    """A file with a NaN voxel and bytes behind the last one."""

    def build(folder: Path) -> Path:
        path = _values(_with(np.nan), suffix)(folder)
        opened = gzip.open if suffix.endswith(".gz") else open
        with opened(path, "rb") as stream:
            content = stream.read()
        with opened(path, "wb") as stream:
            stream.write(content + more)
        return path

    return build


def _nifti(*edits: tuple[int, str, tuple[float, ...]]) -> Builder:
    """A NIfTI file whose binary header is edited: (offset as in nifti1.h, struct format, values)."""

    def build(folder: Path) -> Path:
        path = save(image(chest()), folder / "scan.nii")
        content = bytearray(path.read_bytes())
        for offset, form, numbers in edits:
            struct.pack_into("<" + form, content, offset, *numbers)
        path.write_bytes(content)
        return path

    return build


def _half_as_its_bits_say(folder: Path) -> Path:
    """Half of the voxels, which are int16, in a file that gives 8 bits a voxel."""
    path = _nifti((72, "h", (8,)))(folder)
    path.write_bytes(path.read_bytes()[: 352 + chest().size])
    return path


def _empty_folder(folder: Path) -> Path:
    (folder / "scans").mkdir()
    return folder / "scans"


def _folder_of_documents(folder: Path) -> Path:
    scans = _empty_folder(folder)
    (scans / "report.txt").write_text("no findings")
    (scans / "image").write_bytes(b"\x89PNG\r\n")
    return scans


def _huge(folder: Path) -> Path:
    """A header and a data file of 2.2 GB that takes no room on the disk."""
    (folder / "scan.mhd").write_bytes((_MHD % b"1300 1300 1300").replace(b"MET_SHORT", b"MET_CHAR"))
    with (folder / "gone.raw").open("wb") as stream:
        stream.truncate(1300**3)
    return folder / "scan.mhd"


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        archive.writestr("slice.dcm", b"\0" * 128 + b"DICM")
    return folder / "scan.zip"


def _time_series(folder: Path) -> Path:
    return save(sitk.JoinSeries([image(chest(seed=s)) for s in (0, 1)]), folder / "scan.nii.gz")


def _vector(components: int, dtype: type, suffix: str) -> Builder:
    def build(folder: Path) -> Path:
        values = np.stack([np.clip(chest(), 0, 255).astype(dtype)] * components, axis=-1)
        return save(sitk.GetImageFromArray(values, isVector=True), folder / f"scan{suffix}")

    return build


def _with(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(hu: np.ndarray) -> np.ndarray:
        values = hu.astype(np.float32)
        values[3, 4, 5] = value
        return values

    return change


def _slice(folder: Path) -> Path:
    return save(sitk.GetImageFromArray(chest()[12]), folder / "scan.nrrd")


def _eight_bit(hu: np.ndarray) -> np.ndarray:
    """A window of -1000 to 400 HU as grey levels."""
    return ((np.clip(hu, -1000, 400) + 1000) * (255 / 1400)).astype(np.uint8)


def _pet(hu: np.ndarray) -> np.ndarray:
    """Standardised uptake: a long tail of small positive numbers."""
    return np.random.default_rng(0).gamma(0.5, 3, hu.shape).astype(np.float32)


def _labels(hu: np.ndarray) -> np.ndarray:
    return (hu < -700).astype(np.uint8) + 2 * (hu > 300).astype(np.uint8)


def _mr(hu: np.ndarray) -> np.ndarray:
    """Air and lung dark, tissues of many brightnesses, as in a T1 image."""
    rng = np.random.default_rng(0)
    return np.where(hu > -200, rng.uniform(200, 1500, hu.shape), rng.rayleigh(15, hu.shape)).astype(np.int16)


def _without_lungs(folder: Path) -> Path:
    """A cylinder of water in air, as it is scanned to check a scanner."""
    hu = chest()
    y, x = np.mgrid[:64, :64]
    inside = np.broadcast_to((x - 32) ** 2 + (y - 32) ** 2 < 30**2, hu.shape)
    hu[inside] = np.random.default_rng(0).normal(0, 20, int(inside.sum()))
    return save(image(hu), folder / "scan.nrrd")


def _dicom(**changes: object) -> Builder:
    return lambda folder: write_dicom(folder / "scans", chest(), **changes)  # type: ignore[arg-type]


def _dicom_gap(folder: Path) -> Path:
    hu, places = chest(), np.arange(24) * 5.0
    keep = np.r_[0:8, 14:24]
    return write_dicom(folder / "scans", hu[keep], positions=places[keep])


def _dicom_phases(folder: Path) -> Path:
    scans = write_dicom(folder / "scans", chest(), uid="1.2.3.4")
    return write_dicom(scans, chest(seed=1), uid="1.2.3.4", first_instance=101)


def _dicom_pair(folder: Path) -> Path:
    return write_dicom(folder / "scans", chest()[:2])


def _dicom_raw(folder: Path, signed: int = 1) -> Path:
    return write_dicom(folder / "scans", chest() + 1024, intercept=0.0, PixelRepresentation=signed)


def _dicom_cut(folder: Path) -> Path:
    scans = write_dicom(folder / "scans", chest())
    path = scans / "01-007.dcm"
    path.write_bytes(path.read_bytes()[:3000])
    return scans


MALFORMED: tuple[Malformed, ...] = (
    Malformed("path that does not exist", "no-such-file", lambda folder: folder / "scan.nii.gz"),
    Malformed("empty folder", "no-images", _empty_folder),
    Malformed("folder of documents", "no-images", _folder_of_documents),
    Malformed("empty file", "empty-file", _bytes("scan.nrrd", b"")),
    Malformed("text named .nii.gz", "unreadable", _bytes("scan.nii.gz", b"hello, this is no image")),
    Malformed("text named .mha", "unreadable", _bytes("scan.mha", b"hello, this is no image")),
    Malformed("picture", "unsupported-format", _bytes("scan.png", b"\x89PNG\r\n\x1a\n")),
    Malformed("zip archive", "archive", _zip),
    Malformed("encrypted file", "archive", _bytes("scan.nii.gz.gpg", b"\x85\x01\x0c\x03" + bytes(100))),
    Malformed("text named .dcm", "unreadable", _bytes("scan.dcm", b"hello, this is no image")),
    Malformed("half a .nii", "truncated", _cut(".nii", False)),
    Malformed("half a .nii.gz", "truncated", _cut(".nii.gz", True)),
    Malformed("half a .nii with a wrong number of bits", "truncated", _half_as_its_bits_say),
    Malformed("half a .nrrd", "truncated", _cut(".nrrd", False)),
    Malformed("half a compressed .nrrd", "truncated", _cut(".nrrd", True)),
    Malformed("half a .mha", "truncated", _cut(".mha", False)),
    Malformed("half a compressed .mha", "truncated", _cut(".mha", True)),
    Malformed("header without its data file", "unreadable", _bytes("scan.mhd", _MHD % b"64 64 24")),
    Malformed("2,197 million voxels", "too-large", _huge),
    Malformed("header of 93 axes", "unreadable", _header(".mha", b"NDims = 3", b"NDims = 93")),
    Malformed("header with a broken line", "unreadable", _header(".mha", b"Compressed", b"Com\npressed")),
    Malformed("single slice", "not-3d", _slice),
    Malformed("volume of one slice", "not-3d", _values(lambda hu: hu[12:13], ".nii.gz")),
    Malformed("time series", "not-3d", _time_series),
    Malformed("colour image", "not-scalar", _vector(3, np.uint8, ".nrrd")),
    Malformed("displacement field", "not-scalar", _vector(2, np.float32, ".mha")),
    Malformed("complex numbers", "not-scalar", _values(lambda hu: hu.astype(np.complex64))),
    Malformed("constant volume", "constant", _values(lambda hu: np.full_like(hu, -1000))),
    Malformed("volume of zeros", "constant", _values(np.zeros_like, ".nii.gz")),
    Malformed("NaN voxel", "not-finite", _values(_with(np.nan))),
    Malformed("infinite voxel", "not-finite", _values(_with(np.inf), ".nii.gz")),
    Malformed("8-bit picture of a CT", "eight-bit", _values(_eight_bit)),
    Malformed("HU + 1024", "hu-offset", _values(lambda hu: np.maximum(hu + 1024, 0).astype(np.uint16))),
    Malformed("HU + 1000", "hu-offset", _values(lambda hu: np.maximum(hu + 1000, 0))),
    Malformed("HU - 1024 (intercept applied twice)", "hu-offset", _values(lambda hu: hu - 1024)),
    Malformed("HU + 32768", "hu-offset", _values(lambda hu: (hu + 32768.0).astype(np.uint16))),
    Malformed("values 0 to 1", "normalised", _values(lambda hu: np.float32((hu + 1200) / 1800))),
    Malformed("soft-tissue window", "windowed", _values(lambda hu: np.clip(hu, -160, 240))),
    Malformed("MR-like values", "not-hu", _values(_mr)),
    Malformed("PET (SUV)", "not-hu", _values(_pet)),
    Malformed("label map", "label-map", _values(_labels)),
    Malformed("water phantom without lungs", "no-lungs", _without_lungs, readable=True),
    Malformed("3 slices", "too-small", _values(lambda hu: hu[:3])),
    Malformed("cube of 10 mm", "too-small", _grid(spacing=(0.4, 0.4, 0.4))),
    Malformed("spacing 100 mm", "bad-spacing", _grid(spacing=(5, 5, 100))),
    Malformed("spacing 0 (NIfTI)", "bad-spacing", _nifti((80, "f", (0.0,)))),
    Malformed("spacing NaN (NIfTI)", "bad-spacing", _nifti((84, "f", (float("nan"),)))),
    Malformed("spacing 0 (MetaImage)", "bad-spacing", _header(".mha", b"= 5 5 5", b"= 5 0 5")),
    Malformed("spacing negative (MetaImage)", "bad-spacing", _header(".mha", b"= 5 5 5", b"= 5 5 -5")),
    Malformed("spacing NaN (NRRD)", "bad-spacing", _header(".nrrd", b"(0,5,0)", b"(0,nan,0)")),
    Malformed("spacing of 0 (NRRD)", "bad-spacing", _header(".nrrd", b"(0,5,0)", b"(0,0,0)")),
    Malformed("no spacing (NRRD)", "bad-spacing", _nrrd_grid("")),
    Malformed("thicknesses only (NRRD)", "bad-spacing", _nrrd_grid("thicknesses: 5 5 5\n")),
    Malformed("one spacing NaN (NRRD)", "bad-spacing", _nrrd_grid("spacings: 5 5 nan\n")),
    Malformed("two spacings (NRRD)", "bad-spacing", _nrrd_grid("spacings: 5 5\n")),
    Malformed("negative spacing (NRRD)", "bad-spacing", _nrrd_grid("spacings: 5 -5 5\n")),
    Malformed(
        "an origin that is no number (MetaImage)", "bad-direction",
        _header(".mha", b"Offset = -160 -160 0", b"Offset = nan -160 0"),
    ),
    Malformed("no spacing (MetaImage)", "bad-spacing", _header(".mha", b"ElementSpacing = 5 5 5\n", b"")),
    Malformed("spacing NaN (MetaImage)", "bad-spacing", _header(".mha", b"= 5 5 5", b"= 5 5 nan")),
    Malformed("spacing beside the sform's (NIfTI)", "bad-spacing", _nifti((80, "3f", (1.0, 1.0, 1.0)))),
    Malformed("NaN voxels and a byte too many", "not-finite", _nan_and_more(".nii", b"\0")),
    Malformed("NaN voxels and bytes too many (.nii.gz)", "not-finite", _nan_and_more(".nii.gz", b"\0" * 7)),
    Malformed("NaN voxels and a byte too many (.mha)", "not-finite", _nan_and_more(".mha", b"\0")),
    Malformed("NaN voxels and a byte too many (.nrrd)", "not-finite", _nan_and_more(".nrrd", b"\0")),
    Malformed("NaN voxels, data file (.mhd)", "not-finite", _values(_with(np.nan), ".mhd")),
    Malformed("infinite voxel, data file (.nhdr)", "not-finite", _values(_with(np.inf), ".nhdr")),
    Malformed("singular direction (NRRD)", "bad-direction", _header(".nrrd", b"(0,5,0)", b"(5,0,0)")),
    Malformed("singular direction (MHA)", "bad-direction", _header(".mha", b"1 0 0 0 1 0", b"1 0 0 1 0 0")),
    Malformed("sheared NIfTI sform", "bad-direction", _nifti((280, "4f", (5, 3, 0, 0)), (252, "h", (0,)))),
    Malformed(
        "NIfTI sform of infinity beside a good qform",
        "bad-direction",
        _nifti((312, "4f", (56.0, 4.8905316404936116e-42, float("-inf"), 0.0))),
    ),
    Malformed("NIfTI sform of NaN", "bad-direction", _nifti((280, "f", (float("nan"),)), (252, "h", (0,)))),
    Malformed("NIfTI with negative size", "unreadable", _nifti((42, "h", (-64,)))),
    Malformed("MR series", "not-ct", _dicom(Modality="MR")),
    Malformed("CT localizers only", "no-volume", _dicom(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
    Malformed("two slices of a series", "no-volume", _dicom_pair),
    Malformed("series with a hole of 35 mm", "missing-slices", _dicom_gap),
    Malformed("series of two phases in one", "several-phases", _dicom_phases),
    Malformed("series with a slice cut off", "unreadable", _dicom_cut),
    Malformed("series without rescale intercept", "hu-offset", _dicom_raw),
    Malformed("series without rescale intercept, unsigned", "hu-offset", partial(_dicom_raw, signed=0)),
)  # fmt: skip
