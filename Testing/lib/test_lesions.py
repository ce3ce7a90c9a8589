"""Inserted lesions: right place, right density, right size, and nothing touched elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from densities import DENSITIES
from numpy.typing import NDArray

from DiffSegLungLib.classes import CAVITY, CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.evaluation.held_out.families import painters_of
from DiffSegLungLib.lesions.lesions import (
    KINDS,
    InsertedLesion,
    insert_each,
    insert_lesion,
    insert_random,
)
from DiffSegLungLib.lesions.noise import Noise, estimate_noise, scanner_noise
from DiffSegLungLib.lesions.patterns import Family

SPACING = (2.0, 1.0, 1.0)
SHAPE = (48, 96, 96)
CENTRE = (24.0, 48.0, 48.0)

FAMILIES: tuple[Family, ...] = ("a", "c", "d")
KINDS_OF_FAMILIES = [(family, kind) for family in FAMILIES for kind in painters_of(family)]


@pytest.fixture(scope="module")
def lung() -> NDArray[np.float32]:
    """A block of even lung, -860 HU, with noise of 20 HU and one bright vessel 5 mm wide."""
    hu = Noise(20.0, 0.7).sample(SHAPE, np.random.default_rng(0)) - 860
    hu[:, 46:51, 46:51] = 40
    return hu.astype(np.float32)


def insert(
    lung: NDArray[np.float32], kind: str, *, seed: int = 0, family: Family = "a", volume_ml: float = 20.0
) -> InsertedLesion:
    lungs = np.ones(SHAPE, bool)
    rng = np.random.default_rng(seed)
    return insert_lesion(
        lung,
        lungs,
        SPACING,
        kind,
        volume_ml=volume_ml,
        rng=rng,
        centre=CENTRE,
        painters=painters_of(family),
    )


@pytest.mark.parametrize(("family", "kind"), KINDS_OF_FAMILIES)
def test_lesion_changes_the_lung_at_its_place_only(
    lung: NDArray[np.float32], kind: str, family: Family
) -> None:
    lesion = insert(lung, kind, family=family)
    assert lesion.class_id == KINDS[kind]
    changed = np.argwhere(lesion.hu != lung) - np.array(CENTRE)
    reach = np.linalg.norm(changed * SPACING, axis=1).max()
    # 20 ml is a ball of 16.8 mm; the box of a lesion reaches 1.7 radii, its corner sqrt(3) times that.
    assert reach < 3**0.5 * (1.7 * 16.8 + 6)
    assert lesion.mask.any()
    assert np.abs(lesion.hu[lesion.mask].mean() - lung[lesion.mask].mean()) > 50


@pytest.mark.parametrize(("family", "kind"), [p for p in KINDS_OF_FAMILIES if p[1] != "cavity"])
def test_mean_density_is_that_of_the_tissue(lung: NDArray[np.float32], kind: str, family: Family) -> None:
    mean_hu, sd_hu = DENSITIES[KINDS[kind]]
    means = []
    for seed in range(4):
        lesion = insert(lung, kind, seed=seed, family=family, volume_ml=10)
        core = (lesion.labels == KINDS[kind]) & (lung < -700)
        means.append(float(lesion.hu[core].mean()))
    # Air bronchograms thin a consolidation, a soft edge fills a small hole: 1.5 prior deviations, not one;
    # the walls of a row of air spaces count, even where they are hairlines.
    assert abs(np.mean(means) - mean_hu) < (3 if kind == "paraseptal_emphysema" else 1.5) * sd_hu


@pytest.mark.parametrize("family", FAMILIES)
def test_volume_is_about_the_intended_one(lung: NDArray[np.float32], family: Family) -> None:
    volumes = [insert(lung, "bulla", seed=s, family=family).mask.sum() * 0.002 for s in range(6)]
    assert np.mean(volumes) == pytest.approx(20, rel=0.35)


@pytest.mark.parametrize("family", FAMILIES)
def test_vessel_shows_through_ground_glass_but_not_through_a_bulla(
    lung: NDArray[np.float32], family: Family
) -> None:
    vessel = (slice(23, 26), slice(47, 50), slice(47, 50))
    hazy = insert(lung, "ground_glass", family=family)
    around = hazy.hu[hazy.mask].mean()
    assert hazy.hu[vessel].mean() > around + 400
    assert not hazy.mask[vessel].any()
    assert insert(lung, "bulla", family=family).hu[vessel].mean() < -900


def test_noise_survives(lung: NDArray[np.float32]) -> None:
    for kind in ("ground_glass", "panlobular_emphysema"):
        lesion = insert(lung, kind, volume_ml=60)
        inner = (slice(20, 28), slice(36, 60), slice(54, 60))
        difference = np.diff(lesion.hu[inner], axis=2)
        before = np.diff(lung[inner], axis=2)
        assert difference.std() == pytest.approx(before.std(), rel=0.35)


def test_noise_estimate_recovers_strength_and_grain() -> None:
    """It looks at the quietest tenth of the lung: on pure noise it may be a third too low, never too high."""
    lungs = np.ones((8, 128, 128), bool)
    for sd, grain in ((15.0, 0.5), (30.0, 0.8), (20.0, 1.2)):
        hu = Noise(sd, grain).sample(lungs.shape, np.random.default_rng(1)) - 860
        found = estimate_noise(hu, lungs)
        assert 0.65 * sd < found.sd < 1.05 * sd
        assert found.grain == pytest.approx(grain, abs=0.2)


def test_noise_of_a_scan_is_told_from_soft_tissue() -> None:
    """A lung whose texture reads as 40 HU beside muscle with a noise of 12 HU: the noise is 12."""
    shape = (24, 96, 96)
    lungs = np.zeros(shape, bool)
    lungs[:, :, :48] = True
    texture = Noise(40.0, 1.4).sample(shape, np.random.default_rng(2)) - 860
    hu = np.where(lungs, texture, 50) + Noise(12.0, 0.6).sample(shape, np.random.default_rng(3))
    found = scanner_noise(hu, lungs)
    assert found.sd == pytest.approx(12, rel=0.15)
    assert found.grain == pytest.approx(0.6, abs=0.1)
    assert estimate_noise(hu, lungs).sd > 18
    # Nowhere soft tissue: what the lung says.
    assert scanner_noise(hu, np.ones(shape, bool)).sd > 15


def test_lesion_stays_inside_the_lung(lung: NDArray[np.float32]) -> None:
    lungs = np.zeros(SHAPE, bool)
    lungs[:, :, :48] = True
    rng = np.random.default_rng(3)
    lesion = insert_lesion(lung, lungs, SPACING, "bulla", volume_ml=20, rng=rng, centre=(24, 48, 44))
    assert not lesion.mask[:, :, 48:].any()
    # Its wall may fill the half-aerated rim of the mask, at most 1.5 mm wide.
    assert np.array_equal(lesion.hu[:, :, 50:], lung[:, :, 50:])


def test_texture_does_not_depend_on_the_voxel_size() -> None:
    """Honeycomb walls take the same share of a lesion at 1 mm and at 0.6 x 0.6 x 1.2 mm."""
    shares = []
    for spacing in (SPACING, (1.2, 0.6, 0.6)):
        shape = tuple(int(96 / s) for s in spacing)
        hu = np.full(shape, -860, np.float32)
        found = []
        for seed in range(3):
            lesion = insert_lesion(
                hu, np.ones(shape, bool), spacing, "honeycombing",
                volume_ml=30, rng=np.random.default_rng(seed), centre=tuple(n / 2 for n in shape),
            )  # fmt: skip
            found.append(float((lesion.hu[lesion.mask] > -500).mean()))
        shares.append(np.mean(found))
    assert shares[0] == pytest.approx(shares[1], abs=0.12)


def test_thick_slices_average_thin_structure() -> None:
    """In 8 mm slices septal lines are fainter than in 1 mm slices."""
    peaks = []
    for spacing in ((1.0, 1.0, 1.0), (8.0, 1.0, 1.0)):
        shape = (int(64 / spacing[0]), 64, 64)
        hu = np.full(shape, -860, np.float32)
        centre = tuple(n / 2 for n in shape)
        found = []
        for seed in range(6):
            lesion = insert_lesion(
                hu, np.ones(shape, bool), spacing, "septal_lines",
                volume_ml=30, rng=np.random.default_rng(seed), centre=centre, noise=Noise(0, 0.35),
            )  # fmt: skip
            found.append(np.percentile(lesion.hu[lesion.mask], 97))
        peaks.append(np.mean(found))
    assert peaks[1] < peaks[0] - 60


def test_same_seed_same_lesion(lung: NDArray[np.float32]) -> None:
    for family in FAMILIES:
        first, second = (insert(lung, "reticulation", seed=4, family=family) for _ in range(2))
        assert np.array_equal(first.hu, second.hu)
        assert np.array_equal(first.mask, second.mask)


def test_insert_random_leaves_input_alone_and_reports_what_it_did(lung: NDArray[np.float32]) -> None:
    before = lung.copy()
    lungs = np.ones(SHAPE, bool)
    rng = np.random.default_rng(0)
    hit = 0
    for _ in range(12):
        hu, truth = insert_random(lung, lungs, SPACING, rng, probability=0.5, volume_range_ml=(2, 8))
        changed = bool((hu != lung).any())
        assert changed == bool(truth.any())
        hit += changed
    assert 2 <= hit <= 10
    assert np.array_equal(before, lung)


def test_part_solid_lesion_is_ground_glass_with_a_core_of_consolidation(lung: NDArray[np.float32]) -> None:
    for family in FAMILIES:
        lesion = insert(lung, "part_solid", family=family)
        core, rim = lesion.labels == CONSOLIDATION, lesion.labels == GROUND_GLASS
        assert 0.03 < core.sum() / lesion.mask.sum() < 0.5
        assert lesion.hu[core].mean() > -200
        assert lesion.hu[rim].mean() == pytest.approx(-560, abs=130)


def test_sharp_and_soft_kernels_show_the_same_lesion_differently() -> None:
    """Honeycomb walls of about 1 mm lose contrast where the grain says that the kernel is soft."""
    contrast = []
    for grain in (0.36, 1.4):
        hu = Noise(12.0, grain).sample(SHAPE, np.random.default_rng(1)) - 860
        made = insert_each(
            hu, np.ones(SHAPE, bool), SPACING, np.random.default_rng(3), kinds=("honeycombing",)
        )
        contrast.append(float(made.hu[made.truth > 0].std()))
    assert contrast[1] < contrast[0] - 20


def test_lesions_keep_clear_of_each_other_and_of_what_is_to_be_avoided(lung: NDArray[np.float32]) -> None:
    from scipy import ndimage

    avoid = np.zeros(SHAPE, bool)
    avoid[:, :, :20] = True
    made = insert_each(
        lung, np.ones(SHAPE, bool), SPACING, np.random.default_rng(4),
        kinds=("ground_glass", "bulla", "cavity"), volume_range_ml=(2, 4),
        painters=painters_of("c"), avoid=avoid,
    )  # fmt: skip
    assert [lesion.number for lesion in made.lesions] == [1, 2, 3]
    assert not made.truth[avoid].any()
    grown = [ndimage.binary_dilation(made.owner == n, iterations=2) for n in (1, 2, 3)]
    assert not (grown[0] & grown[1]).any()
    assert not (grown[1] & grown[2]).any()


def test_insert_each_paints_every_class_once(lung: NDArray[np.float32]) -> None:
    kinds = ("ground_glass", "reticulation", "bulla", "cavity")
    made = insert_each(
        lung, np.ones(SHAPE, bool), SPACING, np.random.default_rng(2), kinds=kinds, volume_range_ml=(2, 4)
    )
    assert set(np.unique(made.truth)) == {0, GROUND_GLASS, FIBROSIS, EMPHYSEMA, CAVITY}


@pytest.mark.parametrize("family", FAMILIES)
def test_cavity_has_air_enclosed_by_a_dense_wall(lung: NDArray[np.float32], family: Family) -> None:
    from scipy import ndimage

    enclosed = 0
    for seed in range(6):
        lesion = insert(lung, "cavity", family=family, seed=seed)
        air = lesion.mask & (lesion.hu < -900)
        assert air.sum() * 0.002 > 1
        assert np.percentile(lesion.hu[lesion.mask], 90) > -100
        # Flooding from outside through anything that is not wall never reaches the lumen.
        labels, _ = ndimage.label(~ndimage.binary_dilation(lesion.mask & (lesion.hu > -200)))
        enclosed += int(np.bincount(labels[air]).argmax() != labels[0, 0, 0])
    # One wall in six may be thinner than a slice somewhere.
    assert enclosed >= 4


def test_bad_requests_are_refused(lung: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(0)
    lungs = np.ones(SHAPE, bool)
    with pytest.raises(InputError, match="no lesion kind 'polyp'"):
        insert_lesion(lung, lungs, SPACING, "polyp", volume_ml=5, rng=rng)
    with pytest.raises(InputError, match="cannot be made"):
        insert_lesion(lung, lungs, SPACING, "cavity", volume_ml=0, rng=rng)
    with pytest.raises(InputError, match="empty"):
        insert_lesion(lung, ~lungs, SPACING, "cavity", volume_ml=5, rng=rng)
