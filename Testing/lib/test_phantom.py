"""The generated chest: right HU everywhere, exact truth, repeatable, and a chest to the segmenter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from DiffSegLungLib.classes import (
    CAVITY,
    CLASSES,
    CONSOLIDATION,
    EMPHYSEMA,
    FIBROSIS,
    GROUND_GLASS,
    HEALTHY,
    VESSEL,
)  # fmt: skip
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.evaluation.metrics import dice
from DiffSegLungLib.lesions.textures import Grid
from DiffSegLungLib.phantom.phantom import Phantom, generate_phantom
from DiffSegLungLib.phantom.trees import grow, occupancy


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(0, "small")


def test_every_class_is_there_with_its_density(phantom: Phantom) -> None:
    def mean(class_id: int) -> float:
        return float(phantom.ct.hu[phantom.truth == class_id].mean())

    assert set(np.unique(phantom.truth)) == {0, *(c.id for c in CLASSES)}
    assert mean(HEALTHY) == pytest.approx(-850, abs=40)
    assert mean(EMPHYSEMA) == pytest.approx(-955, abs=25)
    assert mean(GROUND_GLASS) == pytest.approx(-620, abs=110)
    assert mean(FIBROSIS) == pytest.approx(-550, abs=150)
    assert mean(CONSOLIDATION) == pytest.approx(-40, abs=90)
    assert mean(VESSEL) > -500
    wall_and_lumen = phantom.ct.hu[phantom.truth == CAVITY]
    assert np.percentile(wall_and_lumen, 5) < -900
    assert np.percentile(wall_and_lumen, 95) > -100


def test_each_lesion_class_fills_a_little_of_the_lung(phantom: Phantom) -> None:
    lung = np.count_nonzero(phantom.lungs)
    for class_id in (EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION, CAVITY):
        assert 0.004 < np.count_nonzero(phantom.truth == class_id) / lung < 0.06


def test_two_lungs_of_adult_size_hold_all_truth(phantom: Phantom) -> None:
    _, bodies = ndimage.label(ndimage.binary_opening(phantom.lungs, iterations=2))
    assert bodies == 2
    assert 2500 < np.count_nonzero(phantom.lungs) * phantom.ct.geometry.voxel_ml < 6000
    assert np.array_equal(phantom.truth > 0, phantom.lungs)


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    return generate_phantom(1, "small", lesions=False)


def test_gravity_makes_the_back_of_the_lung_denser(healthy: Phantom) -> None:
    assert set(np.unique(healthy.truth)) == {0, HEALTHY, VESSEL}
    plain = ndimage.binary_erosion(healthy.truth == HEALTHY)
    y = np.nonzero(plain)[1]
    hu = healthy.ct.hu[plain]
    assert hu[y > np.percentile(y, 80)].mean() > hu[y < np.percentile(y, 20)].mean() + 20


def test_body_outside_the_lungs_has_the_hu_of_its_tissues(phantom: Phantom) -> None:
    geometry, hu = phantom.ct.geometry, phantom.ct.hu

    def around(x: float, y: float, z: float) -> float:
        i, j, k = (
            round((p - o) / s) for p, o, s in zip((x, y, z), geometry.origin, geometry.spacing, strict=True)
        )
        return float(hu[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2].mean())

    assert around(-80, -150, 0) == pytest.approx(-1000, abs=30)  # air in front of the chest
    assert around(20, -28, -42) == pytest.approx(42, abs=40)  # heart
    assert around(0, 8, 70) == pytest.approx(-990, abs=40)  # trachea
    assert around(-60, 0, -100) == pytest.approx(58, abs=40)  # liver
    assert around(0, 58, 30) > 60  # vertebra or disc


def test_same_seed_same_voxels_and_another_seed_another_chest(phantom: Phantom, healthy: Phantom) -> None:
    again = generate_phantom(0, "small")
    assert np.array_equal(phantom.ct.hu, again.ct.hu)
    assert np.array_equal(phantom.truth, again.truth)
    assert not np.array_equal(phantom.lungs, healthy.lungs)


def test_lung_segmentation_finds_the_lungs(phantom: Phantom) -> None:
    from DiffSegLungLib.anatomy.lungs import segment_lungs

    assert dice(segment_lungs(phantom.ct).mask, phantom.lungs) > 0.95


def test_unknown_size_is_refused() -> None:
    with pytest.raises(InputError, match="no phantom size 'huge'"):
        generate_phantom(0, "huge")  # type: ignore[arg-type]


def test_tree_reaches_every_point_and_thickens_towards_the_root() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 40, (64, 3))
    tree = grow(np.zeros(3), points, 0.5, rng)
    reached = np.abs(tree.end[:, None] - points[None]).max(axis=2).min(axis=0)
    assert reached.max() < 1e-9
    # 64 leaves of 0.5 mm join to 0.5 * 64^(1/2.7) = 2.33 mm.
    assert tree.radius[0] == pytest.approx(2.333, abs=0.001)
    assert tree.radius.min() == 0.5


def test_thin_tubes_keep_their_volume() -> None:
    """A tube of radius 0.4 mm on a 1 mm grid: no voxel is full, yet the volume is pi r^2 l."""
    from DiffSegLungLib.phantom.trees import Tree

    axis = np.arange(-5.0, 36.0)
    tube = Tree(np.array([[0.0, 0.3, 0.4]]), np.array([[30.0, 0.3, 0.4]]), np.array([0.4]))
    share = occupancy(tube, Grid(axis, axis, axis))
    assert share.max() < 1
    assert share.sum() == pytest.approx(np.pi * 0.4**2 * 30, rel=1e-3)
