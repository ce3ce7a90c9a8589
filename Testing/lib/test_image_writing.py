"""NIfTI and NRRD written slab by slab: the bytes that ITK would write, from any grid, for every reader."""

from __future__ import annotations

import gzip
import os
import threading
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io import gzip_slabs
from DiffSegLungLib.io.geometry import Geometry, to_image
from DiffSegLungLib.io.image_file import quiet, read_volume, write_image, write_parts

OBLIQUE = tuple(float(v) for v in np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].ravel())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float16, bool])
@pytest.mark.parametrize("direction", [Geometry((1, 1, 1), (1, 1, 1)).direction, OBLIQUE])
@pytest.mark.parametrize("piece", [1, 1 << 23])
def test_a_nifti_holds_the_bytes_that_itk_writes(monkeypatch, tmp_path, dtype, direction, piece):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(gzip_slabs, "_BYTES", piece)
    geometry = Geometry((7, 6, 40), (0.7, 0.8, 1.25), (-12.5, 3.0, 100.1), direction)
    array = (np.random.default_rng(1).random(geometry.shape) * 3).astype(dtype)
    write_image(tmp_path / "ours.nii.gz", array, geometry)
    sitk.WriteImage(to_image(array, geometry), str(tmp_path / "itk.nii"))
    assert gzip.decompress((tmp_path / "ours.nii.gz").read_bytes()) == (tmp_path / "itk.nii").read_bytes()
    values, own, notes = read_volume(tmp_path / "ours.nii.gz")
    np.testing.assert_array_equal(values, to_numbers(array))
    assert own.same_grid(geometry)
    assert not notes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["itk.nii", "ours.nii.gz"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, bool])
@pytest.mark.parametrize("direction", [Geometry((1, 1, 1), (1, 1, 1)).direction, OBLIQUE])
@pytest.mark.parametrize("piece", [1, 1 << 23])
def test_an_nrrd_has_the_header_and_the_voxels_that_itk_writes(
    monkeypatch, tmp_path, dtype, direction, piece
):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(gzip_slabs, "_BYTES", piece)
    geometry = Geometry((7, 6, 40), (0.7, 0.8, 1 / 3), (-12.5, 3.0, 100.1), direction)
    array = (np.random.default_rng(1).random(geometry.shape) * 3).astype(dtype)
    fields = {"Segment0_Name": "two\nlines and a\\stroke", "sizes": "2 2 2", "A key": "µ := 1"}
    write_image(tmp_path / "ours.nrrd", array, geometry, fields)
    image = to_image(array, geometry)
    for key, value in fields.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / "itk.nrrd"), useCompression=True)
    (ours, our_voxels), (itk, itk_voxels) = (
        (tmp_path / name).read_bytes().split(b"\n\n", 1) for name in ("ours.nrrd", "itk.nrrd")
    )
    assert ours == itk
    assert gzip.decompress(our_voxels) == gzip.decompress(itk_voxels)
    values, own, notes = read_volume(tmp_path / "ours.nrrd")
    np.testing.assert_array_equal(values, to_numbers(array))
    assert own.same_grid(geometry)
    assert not notes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["itk.nrrd", "ours.nrrd"]


def to_numbers(array):
    """The array as its file holds it."""
    return array.astype({"bool": np.uint8, "float16": np.float32}.get(array.dtype.name, array.dtype))


def test_a_file_is_one_stream_for_readers_that_know_no_other(tmp_path):
    geometry = Geometry((50, 40, 60), (1.0, 1.0, 1.0))
    array = np.random.default_rng(2).integers(-1000, 1000, geometry.shape, np.int16)
    write_image(tmp_path / "a.nii.gz", array, geometry)
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    whole = reader.decompress((tmp_path / "a.nii.gz").read_bytes())
    assert reader.eof and not reader.unused_data
    assert whole[352:] == array.tobytes()


def test_an_nrrd_is_written_without_a_copy_of_its_volume(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    asked = []

    def part(planes: slice) -> np.ndarray:
        asked.append(planes.stop - planes.start)
        return np.zeros((asked[-1], 1024, 1024), np.uint8)

    write_parts(tmp_path / "a.nrrd", Geometry((1024, 1024, 40), (1.0, 1.0, 1.0)), np.uint8, part)
    assert sum(asked) == 40 and max(asked) == 2


def test_an_array_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match="shape"):
        write_image(tmp_path / "a.nii.gz", np.zeros((2, 3, 4)), Geometry((2, 3, 4), (1, 1, 1)))


def test_standard_error_comes_back_when_the_last_thread_needs_it_no_more(capfd):
    inside, leave = threading.Barrier(3, timeout=20), threading.Event()

    def silent(wait: bool) -> None:
        with quiet():
            inside.wait()
            if wait:
                leave.wait(20)
            os.write(2, b"noise\n")

    threads = [threading.Thread(target=silent, args=(wait,)) for wait in (False, True)]
    for thread in threads:
        thread.start()
    inside.wait()
    threads[0].join(20)
    leave.set()
    threads[1].join(20)
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, bool])
def test_a_metaimage_with_a_file_of_its_own_holds_plain_voxels(tmp_path, dtype):
    geometry = Geometry((7, 6, 5), (0.7, 0.8, 1.25), (-12.5, 3.0, 100.1), OBLIQUE)
    array = (np.random.default_rng(1).random(geometry.shape) * 3).astype(dtype)
    write_image(tmp_path / "a.mhd", array, geometry)
    assert (tmp_path / "a.raw").read_bytes() == to_numbers(array).tobytes()
    values, own, _notes = read_volume(tmp_path / "a.mhd")
    np.testing.assert_array_equal(values, to_numbers(array))
    assert own.same_grid(geometry)
    with pytest.raises(InputError, match=r"a\.mhd cannot be written"):
        write_image(tmp_path / "nowhere" / "a.mhd", array, geometry)
