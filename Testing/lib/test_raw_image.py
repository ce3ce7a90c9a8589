"""Raw volumes, as Slicer and its worker exchange them, against SimpleITK as writer and as reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import GRIDS, ramp

from DiffSegLungLib.io.geometry import Geometry
from DiffSegLungLib.io.raw_image import ELEMENTS, geometry_of, read_raw, write_raw


def write(path: Path, values: np.ndarray, grid: Geometry) -> list[float]:
    return list(write_raw(path, grid, values.dtype, np.array_split(values, 4)))


@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_itk_reads_what_was_written(dtype: np.dtype, grid: Geometry, tmp_path: Path) -> None:
    values = ramp(grid).astype(dtype)
    fractions = write(tmp_path / "map.mhd", values, grid)
    image = sitk.ReadImage(str(tmp_path / "map.mhd"))
    written = sitk.GetArrayFromImage(image)
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, values)
    assert Geometry.of(image).same_grid(grid, 1e-9)
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_what_itk_wrote_is_read(grid: Geometry, tmp_path: Path) -> None:
    values = ramp(grid).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    sitk.WriteImage(image, str(tmp_path / "map.mhd"))
    found = np.empty_like(values)
    for _none in read_raw(tmp_path / "map.mhd", found):
        pass
    np.testing.assert_array_equal(found, values)
    assert geometry_of(tmp_path / "map.mhd").same_grid(grid, 1e-9)


def test_what_stops_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    grid = Geometry((8, 8, 8), (1.0, 1.0, 1.0))
    steps = write_raw(tmp_path / "map.mhd", grid, np.dtype(np.int16), np.zeros((4, 2, 8, 8), np.int16))
    next(steps)
    steps.close()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_so_and_leaves_nothing(tiny_disk: Path) -> None:
    grid = Geometry((64, 64, 24), (1.0, 1.0, 1.0))
    with pytest.raises(OSError, match="No space"):
        write(tiny_disk / "map.mhd", np.zeros(grid.shape, np.int16), grid)
    assert not list(tiny_disk.iterdir())
