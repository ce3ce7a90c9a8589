"""Diseased lung that aerated lung does not show: kept where the shape of the chest tells, named where not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from analytic_chest import AnalyticChest, analytic_chest
from numpy.typing import NDArray

from DiffSegLungLib.anatomy.great_vessels import descending_aorta
from DiffSegLungLib.anatomy.lungs import Lungs, segment_lungs
from DiffSegLungLib.anatomy.shapes import COARSE_MM
from DiffSegLungLib.anatomy.thorax import chest_of
from DiffSegLungLib.io.ct import CT, resample


@pytest.fixture(scope="module")
def chest() -> AnalyticChest:
    return analytic_chest()


@pytest.fixture(scope="module")
def healthy(chest: AnalyticChest) -> Lungs:
    return segment_lungs(chest.ct)


def share(inner: NDArray[np.bool_], outer: NDArray[np.bool_]) -> float:
    """How much of a region lies within another."""
    return float((inner & outer).sum() / inner.sum())


def lower_lobe(chest: AnalyticChest) -> NDArray[np.bool_]:
    """553 ml at the base of the left lung, down to the diaphragm, from the spine to the ribs."""
    _x, y, z = chest.position
    return chest.left & (z < -20) & (y > -20)


def aorta_of(chest: AnalyticChest) -> NDArray[np.bool_]:
    """A tube of 25 mm beside the spine that dents the left lung, up to an arch at 70 mm."""
    x, y, z = chest.position
    return ((x - 36) ** 2 + (y - 42) ** 2 <= 12.5**2) & (z < 70)


def with_blood(chest: AnalyticChest, blood: float, mass: NDArray[np.bool_], tumour: float) -> CT:
    """Aorta and heart in the fat of the mediastinum, and a mass; noise of 15 HU."""
    x, y, z = chest.position
    hu = chest.ct.hu.copy()
    free = ~(chest.right | chest.left | chest.trachea) & (hu < 300)
    fat = free & (np.abs(x) < 60) & (y > -60) & (y < 62) & (np.abs(z) < 125)
    heart = free & (((x - 8) / 30) ** 2 + ((y + 15) / 35) ** 2 <= 1) & (z < 40)
    noise = np.random.default_rng(1).normal(0, 15, hu.shape)
    for part, value in ((fat, -100.0), (mass, tumour), (heart, blood), (aorta_of(chest), blood)):
        hu[part] = np.rint(value + noise[part])
    return chest.ct.with_hu(hu)


@pytest.mark.parametrize(
    ("centre", "radius", "least"),
    [
        ((50, 35, 0), 42.0, 0.85),  # on the mediastinum, 0.53 before
        ((-50, 35, 0), 42.0, 0.95),  # 0.53
        ((72, 40, -75), 45.0, 0.8),  # on the diaphragm, 0.10
        ((-72, 40, -75), 45.0, 0.8),  # 0.09
        ((72, 20, 85), 40.0, 0.85),  # at the apex, 0.32
    ],
)
def test_a_mass_without_lung_towards_the_middle_stays_inside(
    chest: AnalyticChest, healthy: Lungs, centre: tuple[float, float, float], radius: float, least: float
) -> None:
    mass = chest.ball(centre, radius) & (chest.right | chest.left)
    found = segment_lungs(chest.painted(mass, 35))
    assert share(mass, found.mask) > least
    assert not (found.mask & chest.trachea).any()
    # What is added beyond the healthy lungs is a rim: a fifth of the mass at most.
    assert (found.mask & ~healthy.mask).sum() < 0.2 * mass.sum()
    (note,) = found.notes
    taken = re.match(
        r"About (\d+) ml of tissue on mediastinum or diaphragm, at the (\w+) of the (\w+) ", note
    )
    assert taken and note.endswith("or take any segmentation as lungs (--lungs).")
    # Lung around the rest of the mass tells that it is lung: no doubt about that.
    inside_ml = float((found.mask & mass).sum() * chest.ct.geometry.voxel_ml)
    assert 0.35 * inside_ml < float(taken[1]) < 1.25 * inside_ml
    part = "base" if centre[2] < 0 else "apex" if centre[2] > 0 else "middle"
    assert taken.groups()[1:] == (part, "left" if centre[0] > 0 else "right")


@pytest.mark.parametrize(
    ("blood", "tumour", "most_ml"),
    [
        (45, 45, 12.0),  # only the shape of the aorta tells, less its rim: 18 ml before
        (45, 25, 1.0),  # without contrast: 18
        (110, 40, 1.0),  # late after contrast: 18
    ],
)
def test_a_mass_on_the_aorta_does_not_take_it_along(
    chest: AnalyticChest, blood: float, tumour: float, most_ml: float
) -> None:
    aorta = aorta_of(chest)
    mass = chest.ball((55, 35, 0), 42.0) & chest.left & ~aorta
    found = segment_lungs(with_blood(chest, blood, mass, tumour))
    assert share(mass, found.mask) > 0.9
    assert float((found.mask & aorta).sum() * chest.ct.geometry.voxel_ml) < most_ml


def test_the_aorta_is_followed_where_a_mass_touches_it(chest: AnalyticChest) -> None:
    aorta = aorta_of(chest)
    mass = chest.ball((55, 35, 0), 42.0) & chest.left & ~aorta
    lungs = (chest.right | chest.left) & ~mass & ~aorta

    def followed(ct: CT) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """What is found on the coarse grid, and the true aorta there."""
        coarse = chest_of(ct)
        on_it = [resample(m, ct.geometry, coarse.geometry, order="nearest", fill=0) for m in (lungs, aorta)]
        x, y, _z = coarse.geometry.origin
        middle, behind = round(-2 * x / COARSE_MM), round(-y / COARSE_MM)
        return descending_aorta(coarse.hu, on_it[0] > 0, middle, behind), on_it[1] > 0

    found, truth = followed(with_blood(chest, 45, mass, 45))
    assert share(found, truth) > 0.85
    assert share(truth, found) > 0.5  # where it is touched, half of its section is left out with its rim
    assert not followed(chest.painted(mass, 45))[0].any()  # a mediastinum of even tissue shows none


def test_a_consolidated_lower_lobe_stays_inside(chest: AnalyticChest, healthy: Lungs) -> None:
    lobe = lower_lobe(chest)
    found = segment_lungs(chest.painted(lobe, 40))
    assert share(lobe, found.side == 2) > 0.65  # nothing before
    assert (found.mask & ~healthy.mask).sum() < 0.05 * lobe.sum()
    (note,) = found.notes
    assert "at the base of the left lung, was taken for diseased lung" in note


def test_lung_denser_than_aerated_and_less_dense_than_fat_stays_inside(chest: AnalyticChest) -> None:
    lobe = lower_lobe(chest)
    found = segment_lungs(chest.painted(lobe, -300))
    assert share(lobe, found.side == 2) > 0.85  # nothing before
    assert not found.notes


def test_fluid_stays_outside_and_is_named(chest: AnalyticChest) -> None:
    fluid = lower_lobe(chest)
    found = segment_lungs(chest.painted(fluid, 8))
    assert share(fluid, found.mask) < 0.05
    (note,) = found.notes
    assert note.startswith("About 350 ml at the base of the left lung may be diseased lung")
    assert "--lungs" in note


def test_a_raised_diaphragm_stays_outside_and_is_named(chest: AnalyticChest) -> None:
    liver = chest.right & (chest.position[2] < -50)
    found = segment_lungs(chest.painted(liver, 55))
    assert share(liver, found.mask) < 0.05
    assert any("at the base of the right lung" in note for note in found.notes)


def test_healthy_lungs_leave_no_doubt(healthy: Lungs) -> None:
    assert not healthy.notes


@pytest.mark.realct
def test_the_contoured_tumour_of_a_real_ct_stays_inside(real_data: Path) -> None:
    """On aorta and hilum; 14 % of it were kept. Of the lymph nodes between the lungs nothing is lung."""
    ct = CT.read(real_data / "ct" / "4d-lung_113_phase40.nii.gz")
    contours = sitk.GetArrayFromImage(sitk.ReadImage(real_data / "contours" / "4d-lung_113_tumour.nii.gz"))
    found = segment_lungs(ct)
    assert share(contours == 1, found.side == 2) >= 0.9
    assert not (found.mask & (contours == 2)).any()
    assert not any("left out" in note for note in found.notes)


@pytest.mark.realct
@pytest.mark.parametrize(
    ("name", "right_ml", "left_ml"),
    [
        ("cptac-lscc_c3n-00247_b70f", 2652, 1880),  # large heart and pulmonary artery, contrast
        ("acrin-flt-breast_013_b10f", 1317, 976),  # shallow breath; 8 ml of a dense recess are new
        ("cptac-pda_c3l-00189_lung", 495, 463),  # bases alone
    ],
)
def test_lungs_without_hidden_disease_are_as_before(
    real_data: Path, name: str, right_ml: float, left_ml: float
) -> None:
    ct = CT.read(real_data / "ct" / f"{name}.nii.gz")
    found = segment_lungs(ct)
    volumes = [float((found.side == side).sum() * ct.geometry.voxel_ml) for side in (1, 2)]
    assert volumes == pytest.approx([right_ml, left_ml], rel=0.002)
    assert not any("left out" in note for note in found.notes)
