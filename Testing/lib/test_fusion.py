"""Fusion: conservation, the heat kernel, edges, the streaming maximum, islands and the way back to the CT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lung_block import LEVEL_HU, ball, block, geometry_of

from DiffSegLungLib.classes import CAVITY, CONSOLIDATION, EMPHYSEMA, GROUND_GLASS, HEALTHY, VESSEL
from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import Cancelled, InputError
from DiffSegLungLib.io.ct import Geometry, resample
from DiffSegLungLib.segmentation.aeration import Aeration, Line
from DiffSegLungLib.segmentation.edge_diffusion import diffuse, sobel_conductance
from DiffSegLungLib.segmentation.fusion import CLASS_ORDER, Fusion, fuse, upsample
from DiffSegLungLib.segmentation.islands import merge_islands
from DiffSegLungLib.segmentation.likelihood import HU_BINS, hu_likelihood
from DiffSegLungLib.segmentation.preparation import Parenchyma
from DiffSegLungLib.segmentation.shell import take_from_below
from DiffSegLungLib.segmentation.signs import TISSUES, tissue_probability
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
    for class_id in (GROUND_GLASS, CONSOLIDATION, EMPHYSEMA):
        a, b = fusion.labels == class_id, truth == class_id
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85


def test_posterior_and_labels_agree(fused):
    canonical, _, fusion = fused
    inside = canonical.lungs
    rows = fusion.posterior[1:]
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-4)
    assert not fusion.posterior[0].any()
    assert (np.array(CLASS_ORDER)[rows.argmax(axis=1)] == fusion.labels[inside]).mean() > 0.9999
    assert (fusion.labels[~inside] == 0).all()
    assert fusion.entropy.min() >= 0
    assert fusion.entropy.max() <= 1


def test_back_on_the_same_grid_nothing_changes(fused):
    canonical, _, fusion = fused
    labels, entropy = fusion.onto(canonical.geometry, canonical.lungs)
    assert (labels == fusion.labels).mean() > 0.9999
    np.testing.assert_allclose(entropy, np.where(canonical.lungs, fusion.entropy, 0), atol=2e-3)


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
    labels, _ = fusion.onto(fine, lungs)
    for class_id in (HEALTHY, EMPHYSEMA, GROUND_GLASS, CONSOLIDATION):
        assert (labels == class_id).sum() / 4 == pytest.approx((fusion.labels == class_id).sum(), rel=0.02)


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
    labels, entropy = fusion.onto(target, lungs)
    maps = np.zeros((len(CLASS_ORDER), *canonical.hu.shape), np.float32)
    maps[:, canonical.lungs] = fusion.posterior[1:].T
    there = [resample(m, canonical.geometry, target, order="linear", fill=0) for m in maps]
    expected = np.where(lungs, np.array(CLASS_ORDER)[np.argmax(there, axis=0)], 0)
    assert lungs.mean() > 0.3 and len(np.unique(expected)) > 3
    np.testing.assert_array_equal(labels, expected)
    doubt = resample(fusion.entropy, canonical.geometry, target, order="linear", fill=0)
    np.testing.assert_allclose(entropy, np.where(lungs, doubt, 0), atol=1e-3)


def test_on_the_ct_lung_of_no_weight_gives_no_label():
    # One canonical lung voxel; the CT's voxels along x lie at 2.5, 3, 3.5 … 5.5 of it, all called lung.
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[4, 4, 4] = CONSOLIDATION
    posterior = np.zeros((2, len(CLASS_ORDER)), np.float32)
    posterior[1, CLASS_ORDER.index(CONSOLIDATION)] = 1
    fusion = Fusion(labels, posterior, np.zeros(labels.shape, np.float32), geometry_of(labels.shape))
    x, y, z = fusion.geometry.origin
    target = Geometry((7, 1, 1), (0.5, 1.0, 2.0), (x + 2.5, y + 4, z + 8))
    found, _ = fusion.onto(target, np.ones(target.shape, bool))
    expected = [HEALTHY, HEALTHY, *(CONSOLIDATION,) * 3, HEALTHY, HEALTHY]  # the first class where none is
    assert found.ravel().tolist() == expected


def test_on_the_ct_two_classes_that_tie_give_the_first():
    # Two planes alike but for healthy lung and vessels, which change places; the CT's lies half-way.
    shape = (2, 40, 40)
    labels = np.full(shape, HEALTHY, np.uint8)
    labels[1] = VESSEL
    larger = np.random.default_rng(0).uniform(0.5, 1, 1600).astype(np.float32)
    posterior = np.zeros((1 + labels.size, len(CLASS_ORDER)), np.float32)
    first, last = CLASS_ORDER.index(HEALTHY), CLASS_ORDER.index(VESSEL)
    posterior[1:1601, first] = posterior[1601:, last] = larger
    posterior[1:1601, last] = posterior[1601:, first] = 1 - larger
    fusion = Fusion(labels, posterior, np.zeros(shape, np.float32), geometry_of(shape))
    x, y, z = fusion.geometry.origin
    target = Geometry((50, 50, 1), (0.77, 0.77, 2.0), (x + 0.3, y + 0.4, z + 1))
    found, _ = fusion.onto(target, np.ones(target.shape, bool))
    assert (found == HEALTHY).all()


def test_vessels_and_cavities_are_set_last():
    canonical, _ = sick_block()
    vessels, cavities = np.zeros_like(canonical.lungs), np.zeros_like(canonical.lungs)
    vessels[20:28, 44:48, 40:44] = True
    cavities[20:28, 70:78, 60:70] = True
    vessels[0] = True  # outside the lungs: ignored
    fusion = fuse_by_looks(canonical, vessels, cavities)
    assert (fusion.labels[vessels & canonical.lungs] == VESSEL).all()
    assert (fusion.labels[cavities] == CAVITY).all()
    assert (fusion.labels[0] == 0).all()


def test_fusion_stops_when_asked():
    canonical, _ = sick_block()
    with pytest.raises(Cancelled):
        fuse_by_looks(canonical, talk=Talk(cancelled=lambda: True))


def test_an_unstable_step_is_refused():
    with pytest.raises(InputError):
        Config(tau=0.2)
