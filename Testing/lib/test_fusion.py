"""Fusion: conservation, the heat kernel, edges, the streaming maximum, islands and the way back to the CT."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from lung_block import LEVEL_HU, ball, block, geometry_of, labels_where_fused
from scipy.ndimage import gaussian_filter

from DiffSegLungLib.classes import CAVITY, CONSOLIDATION, EMPHYSEMA, GROUND_GLASS, HEALTHY, VESSEL
from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import Cancelled, InputError
from DiffSegLungLib.io.ct import Geometry, resample
from DiffSegLungLib.segmentation.aeration import Aeration, Line
from DiffSegLungLib.segmentation.edge_diffusion import diffuse, sobel_conductance
from DiffSegLungLib.segmentation.evidence import (
    ALWAYS_CAVITY,
    OR_HEALTHY,
    OR_VESSEL,
    SPAN,
    disease_probability,
    draw_labels,
    encode,
)
from DiffSegLungLib.segmentation.fusion import DISEASES, Fusion, fuse, upsample
from DiffSegLungLib.segmentation.islands import merge_islands
from DiffSegLungLib.segmentation.likelihood import HU_BINS, hu_likelihood
from DiffSegLungLib.segmentation.preparation import Parenchyma
from DiffSegLungLib.segmentation.shell import take_from_below
from DiffSegLungLib.segmentation.tissues import TISSUES, tissue_probability
from DiffSegLungLib.talk import SILENT, Talk


def test_diffusion_conserves_the_total_without_flux_through_the_border():
    rng = np.random.default_rng(0)
    field = rng.random((9, 11, 13)).astype(np.float32)
    conductance = rng.random(field.shape).astype(np.float32)
    conductance[0] = 0
    outside, total = field[0].copy(), field.sum(dtype=np.float64)
    diffuse(field, conductance, 1 / 6, 40)
    assert field.sum(dtype=np.float64) == pytest.approx(total, rel=1e-6)
    np.testing.assert_array_equal(field[0], outside)
    assert field.min() >= 0
    assert field.max() <= 1


def test_diffusion_keeps_the_sum_over_tissues():
    rng = np.random.default_rng(1)
    maps = rng.dirichlet(np.ones(5), (6, 7, 8)).astype(np.float32).transpose(3, 0, 1, 2).copy()
    conductance = rng.random((6, 7, 8)).astype(np.float32)
    for field in maps:
        diffuse(field, conductance, 1 / 6, 10)
    np.testing.assert_allclose(maps.sum(axis=0), 1, atol=1e-5)


def test_diffusion_with_open_edges_is_the_heat_kernel():
    field = np.zeros((41, 61, 61), np.float32)
    field[20, 30, 30] = 1.0
    tau, steps = 1 / 6, 60
    diffuse(field, np.ones_like(field), tau, steps)
    time = tau * steps  # mm²: a Gaussian of variance 2t along every axis
    z, y, x = np.ogrid[-20:21, -30:31, -30:31]
    squared = (2.0 * z) ** 2 + y**2 + x**2
    kernel = 2.0 * np.exp(-squared / (4 * time)) / (4 * np.pi * time) ** 1.5  # 2 mm³ a voxel
    np.testing.assert_allclose(field, kernel, atol=0.02 * kernel.max())


def test_an_edge_holds_diffusion_back():
    hu = np.full((8, 20, 40), LEVEL_HU, np.float32)
    hu[..., 20:] = 0.0
    lungs = np.ones(hu.shape, bool)
    conductance = sobel_conductance(hu, lungs, kappa=50.0)
    # A step of 860 HU over two Sobel samples is 430 HU/mm: exp(-(430/50)²) is nothing.
    assert conductance[..., 19:21].max() < 1e-20
    assert conductance[..., :18].min() == 1.0
    field = (hu < -400).astype(np.float32)
    diffuse(field, conductance, 1 / 6, 50)
    np.testing.assert_allclose(field[..., :20], 1, atol=1e-5)
    np.testing.assert_allclose(field[..., 20:], 0, atol=1e-5)


def test_sobel_gradient_of_a_ramp_is_its_slope():
    x = np.arange(24, dtype=np.float32)
    ramp = np.broadcast_to(30.0 * x, (10, 12, 24)).copy()
    conductance = sobel_conductance(ramp, np.ones(ramp.shape, bool), kappa=30.0)
    np.testing.assert_allclose(conductance[2:-2, 2:-2, 2:-2], np.exp(-1.0), rtol=1e-4)


def test_upsampling_is_linear_between_cell_centres():
    lattice = np.zeros((3, 3, 3), np.float32)
    lattice[:, :, 1], lattice[:, :, 2] = 1.0, 2.0
    fine = upsample(lattice, (12, 24, 24))
    assert fine.shape == (12, 24, 24)
    # Cell centres lie at 3.5, 11.5 and 19.5 voxels.
    np.testing.assert_allclose(fine[5, 11, 4:20], (np.arange(4, 20) - 3.5) / 8, atol=1e-6)


def test_islands_below_the_limit_join_what_surrounds_them():
    labels = np.full((10, 20, 20), HEALTHY, np.uint8)
    labels[5, 4:8, 4:8] = GROUND_GLASS  # 16 voxels
    labels[5, 12:16, 12:17] = EMPHYSEMA  # 20 voxels
    labels[2, 2, 2:12] = VESSEL  # 10 voxels, kept
    labels[:, :, -2:] = 0
    merged = merge_islands(labels, 20, keep=(VESSEL,))
    assert not (merged == GROUND_GLASS).any()
    assert (merged == EMPHYSEMA).sum() == 20
    assert (merged == VESSEL).sum() == 10
    assert (merged[:, :, -2:] == 0).all()


def test_an_island_between_two_tissues_is_shared_out():
    labels = np.full((3, 3, 15), HEALTHY, np.uint8)
    labels[:, :, 9:] = CONSOLIDATION
    labels[:, :, 6:9] = GROUND_GLASS
    merged = merge_islands(labels, 28)
    # Layer by layer from both sides: the middle layer sees both and takes the lower class.
    assert merged[1, 1].tolist() == [HEALTHY] * 8 + [CONSOLIDATION] * 7


def test_an_island_without_neighbours_keeps_its_label():
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[2, 2, 2] = CAVITY
    np.testing.assert_array_equal(merge_islands(labels, 10), labels)


def test_the_rim_takes_what_lies_beneath():
    lungs = np.zeros((24, 40, 40), bool)
    lungs[4:20, 5:35, 5:35] = True
    field = np.zeros(lungs.shape, np.float32)
    field[lungs] = 1.0
    field[8:16, 8:32, 8:32] = 0.0  # deeper than 3 mm in plane and 4 voxels craniocaudally
    field[:, :, 20:] += 2.0
    values, shell = field[lungs], np.zeros_like(lungs)
    shell[lungs] = take_from_below([values], lungs)
    field[lungs] = values
    assert shell[12, 20, 5:8].all() and not shell[12, 20, 8]
    assert shell[4:6, 20, 20].all() and not shell[6, 20, 20]
    assert field[12, 20, 5] == 0.0
    assert field[12, 20, 34] == 2.0


@pytest.mark.parametrize(
    ("hu", "tissue"), [(-985, EMPHYSEMA), (LEVEL_HU, HEALTHY), (-620, GROUND_GLASS), (20, CONSOLIDATION)]
)
def test_the_likelihood_prefers_the_tissue_of_its_prior(hu, tissue):
    line = Line(LEVEL_HU, 0.0, 0.0)
    table = hu_likelihood(Aeration(line, line, noise_hu=15.0), 4)
    assert table.shape == (5, 3, 4, len(HU_BINS))
    place = int((hu - HU_BINS[0]) // (HU_BINS[1] - HU_BINS[0]))
    assert TISSUES[int(table[:, 1, 0, place].argmax())] == tissue


@pytest.mark.parametrize(
    ("level", "hu", "tissue"),
    [
        (-860, -920, EMPHYSEMA),  # a small hole, blurred
        (-900, -910, HEALTHY),  # full inspiration
        (-720, -850, HEALTHY),  # air trapped in expiration
        (-720, -930, EMPHYSEMA),
    ],
)
def test_a_blurred_hole_is_emphysema_and_trapped_air_is_not(level, hu, tissue):
    line = Line(float(level), 0.0, 0.0)
    table = hu_likelihood(Aeration(line, line, noise_hu=15.0), 4)
    place = int((hu - HU_BINS[0]) // (HU_BINS[1] - HU_BINS[0]))
    assert TISSUES[int(table[:2, 1, 0, place].argmax())] == tissue


def sick_block():
    canonical = block(noise_hu=20.0)
    lesions = {GROUND_GLASS: (24, 30, 28), CONSOLIDATION: (24, 66, 30), EMPHYSEMA: (24, 48, 70)}
    truth = np.where(canonical.lungs, HEALTHY, 0)
    for class_id, centre in lesions.items():
        inside = ball(canonical.hu.shape, centre, 15.0)
        canonical.hu[inside] += {GROUND_GLASS: 230, CONSOLIDATION: 870, EMPHYSEMA: -120}[class_id]
        truth[inside] = class_id
    return canonical, truth


def fuse_by_looks(canonical, vessels=None, cavities=None, talk=SILENT):
    """Fusion of what every half cell looks like by itself, without vessels and cavities unless given."""
    nothing = np.zeros_like(canonical.lungs)
    lungs = replace(Parenchyma.of(canonical), vessels=nothing if vessels is None else vessels)
    looks = tissue_probability(lungs.half)
    return fuse(lungs, nothing if cavities is None else cavities, looks, Config(), talk)


@pytest.fixture(scope="module")
def fused():
    canonical, truth = sick_block()
    return canonical, truth, fuse_by_looks(canonical)


def test_lesions_of_known_shape_are_found(fused):
    _, truth, fusion = fused
    labels = labels_where_fused(fusion, Config())
    for class_id in (GROUND_GLASS, CONSOLIDATION, EMPHYSEMA):
        a, b = labels == class_id, truth == class_id
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85


def test_posterior_and_evidence_agree(fused):
    canonical, _, fusion = fused
    inside = canonical.lungs
    rows = fusion.posterior[1:]
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-4)
    assert not fusion.posterior[0].any()
    assert (np.array(DISEASES)[rows[:, 1:].argmax(axis=1)] == fusion.disease[inside]).mean() > 0.99
    odds = np.log((1 - rows[:, 0]).clip(1e-6) / rows[:, 0].clip(1e-6)).clip(-8, 8)
    assert fusion.entropy.min() >= 0
    assert fusion.entropy.max() <= 1
    evidence, entropy = fusion.onto(canonical.geometry, inside)
    np.testing.assert_allclose((evidence[inside] & 0xFF) / 15 - 128 / 15, odds, atol=0.04)
    assert ((evidence[inside] >> 8 & 0xF) == fusion.disease[inside]).mean() > 0.9999
    assert (evidence[~inside] == 0).all() and (evidence[inside] > 0).all()
    np.testing.assert_allclose(entropy, np.where(inside, fusion.entropy, 0), atol=2e-3)


def test_back_on_a_finer_grid_volumes_stay(fused):
    canonical, _, fusion = fused
    z, y, x = canonical.hu.shape
    fine = Geometry(
        size=(2 * x, 2 * y, z),
        spacing=(0.5, 0.5, 2.0),
        origin=tuple(
            o - s / 4 if i < 2 else o for i, (o, s) in enumerate(zip((0.5, 0.5, 1.0), (1, 1, 2), strict=True))
        ),
        direction=geometry_of((1, 1, 1)).direction,
    )
    lungs = canonical.lungs.repeat(2, axis=1).repeat(2, axis=2)
    labels, own = draw_labels(fusion.onto(fine, lungs)[0], 0.5, 200), labels_where_fused(fusion, Config())
    # Consolidation has a rim of one canonical voxel that is too dense for healthy lung: called a vessel.
    for classes in ((HEALTHY,), (EMPHYSEMA,), (GROUND_GLASS,), (CONSOLIDATION, VESSEL)):
        fine_voxels, voxels = (np.isin(found, classes).sum() for found in (labels, own))
        assert fine_voxels / 4 == pytest.approx(voxels, rel=0.02)


def turned(degrees: float) -> tuple[float, ...]:
    """Direction of a grid turned about the patient's long axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("spacing", "direction"),
    [
        ((0.7, 0.8, 1.1), geometry_of((1, 1, 1)).direction),
        ((1.1, 0.9, 1.3), turned(12.0)),
        ((0.9, 0.9, 6.0), geometry_of((1, 1, 1)).direction),  # thick slices: the maps are smoothed before
        ((0.8, 0.8, 2.0), (0.0, 0.0, -1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)),  # sagittal, from left to right
    ],
)
def test_on_the_ct_a_voxel_takes_the_largest_of_all_interpolated_maps(fused, spacing, direction):
    canonical, _, fusion = fused
    z, y, x = canonical.hu.shape
    size = tuple(int(n / s) for n, s in zip((76, 72, 72), spacing, strict=True))
    middle = np.array([x / 2, y / 2, float(z)])
    corner = np.reshape(direction, (3, 3)) @ ((np.array(size) - 1) / 2 * spacing)
    target = Geometry(size, spacing, tuple(float(o) for o in middle - corner), direction)
    lungs = resample(canonical.lungs, canonical.geometry, target, order="nearest", fill=0)
    lungs &= np.random.default_rng(0).random(lungs.shape) > 0.2
    evidence, entropy = fusion.onto(target, lungs)
    maps = np.zeros((len(DISEASES), *canonical.hu.shape), np.float32)
    maps[:, canonical.lungs] = fusion._of_diseases()[1:].T

    def carried(field):
        return resample(field, canonical.geometry, target, order="linear", fill=0)

    expected = np.where(lungs, np.array(DISEASES)[np.argmax([carried(m) for m in maps], axis=0)], 0)
    assert lungs.mean() > 0.3 and len(np.unique(expected)) > 3
    np.testing.assert_array_equal(evidence >> 8 & 0xF, expected)
    sick, well = carried(fusion.sick), carried(fusion.well)
    sick = np.where(lungs, sick / np.maximum(sick + well, 1e-6), 0)
    np.testing.assert_allclose(disease_probability(evidence), sick, atol=0.01)
    np.testing.assert_allclose(entropy, np.where(lungs, carried(fusion.entropy), 0), atol=1e-3)


def fusion_of(disease, otherwise, rows) -> Fusion:
    """A fusion of given maps (z, y, x), the posterior of its lung voxels (m, 5) and no doubt."""
    posterior = np.concatenate([np.zeros((1, 5), np.float32), np.asarray(rows, np.float32)])
    nothing = np.zeros(disease.shape, np.float32)
    return Fusion(posterior, disease, otherwise, nothing, geometry_of(disease.shape))


def test_on_the_ct_lung_of_no_weight_is_not_called_diseased():
    # One canonical lung voxel; the CT's voxels along x lie at 2.5, 3, 3.5 … 5.5 of it, all called lung.
    disease = np.zeros((8, 8, 8), np.uint8)
    disease[4, 4, 4] = CONSOLIDATION
    fusion = fusion_of(disease, (disease > 0).astype(np.uint8), [[0, 0, 0, 0, 1]])
    x, y, z = fusion.geometry.origin
    target = Geometry((7, 1, 1), (0.5, 1.0, 2.0), (x + 2.5, y + 4, z + 8))
    evidence, _ = fusion.onto(target, np.ones(target.shape, bool))
    expected = [HEALTHY, HEALTHY, *(CONSOLIDATION,) * 3, HEALTHY, HEALTHY]
    assert draw_labels(evidence, 0.5, 1).ravel().tolist() == expected
    assert draw_labels(evidence, 1.0, 1).ravel().tolist() == expected


def test_on_the_ct_two_classes_that_tie_give_the_first():
    # Two planes alike but for ground glass and consolidation, which change places; the CT's lies half-way.
    disease = np.full((2, 40, 40), GROUND_GLASS, np.uint8)
    disease[1] = CONSOLIDATION
    larger = np.random.default_rng(0).uniform(0.5, 1, 1600).astype(np.float32)
    rows = np.zeros((3200, 5), np.float32)
    rows[:1600, 2] = rows[1600:, 4] = larger
    rows[:1600, 4] = rows[1600:, 2] = 1 - larger
    fusion = fusion_of(disease, np.ones(disease.shape, np.uint8), rows)
    x, y, z = fusion.geometry.origin
    target = Geometry((50, 50, 1), (0.77, 0.77, 2.0), (x + 0.3, y + 0.4, z + 1))
    evidence, _ = fusion.onto(target, np.ones(target.shape, bool))
    assert (draw_labels(evidence, 0.5, 1) == GROUND_GLASS).all()


def test_vessels_and_cavities_are_set_last():
    canonical, _ = sick_block()
    vessels, cavities = np.zeros_like(canonical.lungs), np.zeros_like(canonical.lungs)
    vessels[20:28, 44:48, 40:44] = True
    cavities[20:28, 70:78, 60:70] = True
    vessels[0] = True  # outside the lungs: ignored
    labels = labels_where_fused(fuse_by_looks(canonical, vessels, cavities), Config(sensitivity=1.0))
    assert (labels[vessels & canonical.lungs] == VESSEL).all()
    assert (labels[cavities] == CAVITY).all()
    assert (labels[0] == 0).all()


def evidence_of(lean, disease=GROUND_GLASS, otherwise=OR_HEALTHY):
    lean = np.asarray(lean, np.float32)
    parts = (np.broadcast_to(np.uint8(part), lean.shape).ravel() for part in (disease, otherwise))
    return encode(lean.ravel(), *parts).reshape(lean.shape)


@pytest.mark.parametrize("sensitivity", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_a_sensitivity_moves_the_odds_that_count_as_disease(sensitivity):
    odds = np.linspace(-4, 4, 161, dtype=np.float32)[None, None]
    labels = draw_labels(evidence_of(odds), sensitivity, 1)
    clear = np.abs(odds - SPAN * (1 - 2 * sensitivity)) > 0.07
    np.testing.assert_array_equal(
        labels[clear], np.where(odds > SPAN * (1 - 2 * sensitivity), GROUND_GLASS, HEALTHY)[clear]
    )


def test_more_sensitive_is_never_less_diseased():
    rng = np.random.default_rng(0)
    evidence = evidence_of(gaussian_filter(rng.normal(size=(12, 30, 30)), 2.0) * 20)
    sick = [draw_labels(evidence, s, 1) == GROUND_GLASS for s in np.linspace(0, 1, 9)]
    assert 0 < sick[0].sum() < sick[-1].sum()
    assert all((less <= more).all() for less, more in pairwise(sick))


def test_small_islands_and_holes_join_what_is_around_them():
    lean = np.full((5, 20, 20), -2.0)
    lean[1:4, 2:9, 2:9] = 2.0
    lean[2, 5, 5] = -2.0  # a hole of one voxel
    lean[2, 15, 15] = 2.0  # an island of one
    labels = draw_labels(evidence_of(lean), 0.5, 5)
    assert labels[2, 5, 5] == GROUND_GLASS
    assert labels[2, 15, 15] == HEALTHY
    assert (labels == GROUND_GLASS).sum() == 3 * 7 * 7


def test_what_is_a_vessel_unless_diseased_and_what_is_a_cavity_anyway():
    odds = np.array([-2.0, 2.0])[None, None]
    assert draw_labels(evidence_of(odds, otherwise=OR_VESSEL), 0.5, 1).tolist() == [[[VESSEL, GROUND_GLASS]]]
    assert draw_labels(evidence_of(odds, otherwise=ALWAYS_CAVITY), 1.0, 1).tolist() == [[[CAVITY, CAVITY]]]


def test_fusion_stops_when_asked():
    canonical, _ = sick_block()
    with pytest.raises(Cancelled):
        fuse_by_looks(canonical, talk=Talk(cancelled=lambda: True))


def test_an_unstable_step_is_refused():
    with pytest.raises(InputError):
        Config(tau=0.2)
