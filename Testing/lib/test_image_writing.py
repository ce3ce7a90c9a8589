"""NIfTI written slab by slab: the bytes that ITK would write, from any grid, and read by everyone."""

from __future__ import annotations

import gzip
import os
import threading
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io import nifti_slabs
from DiffSegLungLib.io.geometry import Geometry, to_image
from DiffSegLungLib.io.image_file import quiet, read_volume, write_image

OBLIQUE = tuple(float(v) for v in np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].ravel())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float16, bool])
@pytest.mark.parametrize("direction", [Geometry((1, 1, 1), (1, 1, 1)).direction, OBLIQUE])
@pytest.mark.parametrize("piece", [1, 1 << 23])
def test_a_nifti_holds_the_bytes_that_itk_writes(monkeypatch, tmp_path, dtype, direction, piece):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(nifti_slabs, "_BYTES", piece)
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
