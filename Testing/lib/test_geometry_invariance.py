"""The same chest stored on other grids gets the same labels (the full table: benchmarks/geometry.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from tinymodel import tiny_bundle
from variants import VARIANTS, dice_by_class

from DiffSegLungLib.anatomy.lungs import Lungs, lungs_from_mask
from DiffSegLungLib.config import Config
from DiffSegLungLib.grid.canonical import working_volume
from DiffSegLungLib.grid.cells import pool
from DiffSegLungLib.grid.tiles import world_noise
from DiffSegLungLib.io.ct import CT, Geometry, resample
from DiffSegLungLib.model.mixture import KINDS, Mixture
from DiffSegLungLib.phantom.phantom import Phantom, generate_phantom
from DiffSegLungLib.segmentation.pipeline import Segmenter
from DiffSegLungLib.segmentation.preparation import Parenchyma
from DiffSegLungLib.segmentation.result import Result
from DiffSegLungLib.segmentation.statistics import STATISTIC_COLUMNS

CONFIG = Config(descriptor="statistics", mode="adapted")


def childs_chest(seed: int) -> Phantom:
    """The generated chest with voxels of 0.7 times their size: every tissue, a third of the lung."""
    made = generate_phantom(seed, "small")
    grid = made.ct.geometry
    x, y, z = (0.7 * s for s in grid.spacing)
    return replace(made, ct=CT(made.ct.hu, Geometry(grid.size, (x, y, z), grid.origin)))


@pytest.fixture(scope="module")
def chest() -> sitk.Image:
    return childs_chest(0).ct.to_image()


@pytest.fixture(scope="module")
def segmenter(chest: sitk.Image) -> Segmenter:
    """A model whose population is one other chest; the network takes no part in statistics."""
    other = childs_chest(1)
    canonical = working_volume(other.ct, lungs_from_mask(other.ct, other.lungs))
    mixture = Mixture.fit(pool([Parenchyma.of(canonical).cells]), KINDS["statistics"], 16).to_arrays()
    arrays = {f"statistics.{name}": array for name, array in mixture.items()}
    return Segmenter(tiny_bundle(arrays, population={"statistics": list(STATISTIC_COLUMNS)}), CONFIG)


@pytest.fixture(scope="module")
def straight(segmenter: Segmenter, chest: sitk.Image) -> Result:
    return segmenter.run(CT.from_image(chest))


@pytest.mark.parametrize("name", ["flipped", "permuted", "cropped"])
def test_storage_does_not_change_the_labels(
    name: str, segmenter: Segmenter, straight: Result, chest: sitk.Image
) -> None:
    run = segmenter.run(CT.from_image(VARIANTS[name](chest)))
    back = resample(run.labels, run.ct.geometry, straight.ct.geometry, order="nearest", fill=0)
    dice = dice_by_class(straight.labels, back, straight.ct.geometry.voxel_ml)
    assert len(dice) >= 6
    assert min(dice.values()) > 0.97


def test_the_noise_stays_where_it_is_in_the_world() -> None:
    """Two working grids of one patient, of which the second begins 16 mm further inside."""
    hu = np.full((60, 60, 60), -850, np.int16)
    ct = CT(hu, Geometry.of(sitk.GetImageFromArray(hu)))
    fields = []
    for first in (4, 20):
        mask = np.zeros(hu.shape, bool)
        mask[first:56, first:56, first:56] = True
        regions = mask.astype(np.uint8)
        canonical = working_volume(ct, Lungs(regions, ~mask))
        fields.append((canonical.geometry, world_noise(canonical, 3)))
    (large, whole), (small, part) = fields
    z, y, x = (round(float(v)) for v in large.index(small.world([0, 0, 0])))
    assert (z, y, x) != (0, 0, 0)
    depth, height, width = part.shape
    np.testing.assert_array_equal(part, whole[z : z + depth, y : y + height, x : x + width])
    assert whole.std() == pytest.approx(1.0, abs=0.02)
