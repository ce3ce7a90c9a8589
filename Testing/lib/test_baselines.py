"""The rivals on volumes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tinymodel import tiny_bundle

from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from DiffSegLungLib.evaluation.rivals.attention import attention_maps, merged_segments
from DiffSegLungLib.evaluation.rivals.baselines import (
    DiffSeg,
    HUBands,
    NetworkMixture,
    kmeans,
    rivals,
    untrained,
)
from DiffSegLungLib.evaluation.rivals.descriptions import (
    block_of_cells,
    block_radiomics,
    describe_blocks,
    encoder_features,
    plain_statistics,
)
from DiffSegLungLib.evaluation.rivals.kept import once, student
from DiffSegLungLib.evaluation.rivals.naming import (
    NAMES,
    cell_looks,
    label_by_clusters,
    label_by_segments,
    names_of,
)
from DiffSegLungLib.grid.canonical import Canonical
from DiffSegLungLib.io.ct import Geometry
from DiffSegLungLib.lesions.noise import Noise
from DiffSegLungLib.segmentation.diffusion_features import diffusion_features
from DiffSegLungLib.segmentation.preparation import Parenchyma

BLOCKS = (3, 6, 6)
LOOKS = {
    HEALTHY: (-860, Noise(30, 0.35)),
    EMPHYSEMA: (-970, Noise(15, 0.35)),
    GROUND_GLASS: (-600, Noise(60, 1.4)),
    FIBROSIS: (-550, Noise(330, 1.5)),
    CONSOLIDATION: (-20, Noise(60, 0.8)),
}


def canonical_of(hu: NDArray[np.float32], lungs: NDArray[np.bool_] | None = None) -> Canonical:
    """A volume on the working grid that is lung all over, if not told otherwise."""
    mask = np.ones(hu.shape, bool) if lungs is None else lungs
    x, y, z = hu.shape[::-1]
    return Canonical(hu, mask, mask.astype(np.uint8), Geometry((x, y, z), (1.0, 1.0, 2.0)))


@pytest.fixture(scope="module")
def mosaic() -> tuple[Parenchyma, NDArray[np.uint8]]:
    """Blocks of 16 mm of five tissues, mostly healthy, and the truth."""
    rng = np.random.default_rng(0)
    truth = rng.choice(list(LOOKS), BLOCKS, p=(0.6, 0.1, 0.1, 0.1, 0.1)).astype(np.uint8)
    for axis, size in enumerate((8, 16, 16)):
        truth = np.repeat(truth, size, axis=axis)
    hu = np.zeros(truth.shape, np.float32)
    for tissue, (mean, noise) in LOOKS.items():
        hu = np.where(truth == tissue, mean + noise.sample(truth.shape, rng), hu)
    return Parenchyma.of(canonical_of(hu.astype(np.float32))), truth


def test_bands_follow_the_limits_exactly() -> None:
    hu = np.repeat(np.array([-1000, -950, -751, -750, -400, 0], np.float32), 16 * 16).reshape(6, 16, 16)
    labels = HUBands(median=1).predict(canonical_of(hu))
    assert labels[:, 0, 0].tolist() == [EMPHYSEMA, HEALTHY, HEALTHY, GROUND_GLASS, FIBROSIS, CONSOLIDATION]


def test_median_removes_single_voxels() -> None:
    hu = np.full((8, 16, 16), -850, np.float32)
    hu[4, 8, 8] = 300
    assert (HUBands().predict(canonical_of(hu)) == HEALTHY).all()
    assert (HUBands(median=1).predict(canonical_of(hu)) == CONSOLIDATION).sum() == 1


def test_blocks_are_described_in_order(mosaic: tuple[Parenchyma, NDArray[np.uint8]]) -> None:
    lungs, _ = mosaic
    index, numbers = describe_blocks(lungs.canonical)
    assert index.tolist() == list(range(int(np.prod(BLOCKS))))
    assert numbers.shape == (len(index), 34)
    # Block 8 is (0, 1, 2): its first number is the mean HU there, cut to -1000.
    inside = np.clip(lungs.canonical.hu[:8, 16:32, 32:48], -1000, 400)
    assert numbers[8, 0] == pytest.approx(inside.mean(), abs=0.1)
    # The eight cells of a block share its description.
    of_cells, block = block_radiomics(lungs), block_of_cells(lungs.cells)
    assert (np.bincount(block) == 8).all()
    assert np.allclose(of_cells[:, 0], numbers[block, 0])


def test_plain_statistics_of_an_even_lung() -> None:
    hu = np.full((16, 32, 32), -900, np.float32)
    numbers = plain_statistics(Parenchyma.of(canonical_of(hu)))
    # mean, log(0 + 10), log(0 + 5), then the shares of the bands: all between -950 and -750; twice.
    expected = [-900, np.log(10), np.log(5), 0, 1, 0, 0, 0]
    assert numbers == pytest.approx(np.tile(expected, (len(numbers), 2)), abs=0.02)


def test_the_class_table_names_its_own_tissues_at_any_breath() -> None:
    for level in (-860, -780):
        shift = level + 860
        mean = np.array([-860 + shift, -965, -600 + shift, -550 + shift, -20])
        names = names_of(mean, np.array([40, 20, 60, 190, 90]), level)
        assert [NAMES[i] for i in names] == [HEALTHY, EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION]
    # Half vessel, half lung: no disease spreads that much.
    assert NAMES[names_of(np.array([-600.0]), np.array([320.0]), -860)[0]] == HEALTHY


def test_hard_clusters_and_one_hot_ones_are_the_same(mosaic: tuple[Parenchyma, NDArray[np.uint8]]) -> None:
    lungs, _ = mosaic
    segment = kmeans(plain_statistics(lungs), 6)
    one_hot = np.eye(6, dtype=np.float32)[segment]
    assert np.array_equal(label_by_segments(lungs, segment), label_by_clusters(lungs, one_hot))


def test_names_come_from_looks_and_never_from_order(mosaic: tuple[Parenchyma, NDArray[np.uint8]]) -> None:
    lungs, truth = mosaic
    mean, sd = cell_looks(lungs)
    own = np.eye(len(mean), dtype=np.float32)
    labels = label_by_clusters(lungs, own)
    assert (labels == truth).mean() > 0.8
    assert np.array_equal(labels, label_by_clusters(lungs, own[:, ::-1]))
    assert (sd >= 0).all()


def test_clusterings_find_the_tissues(mosaic: tuple[Parenchyma, NDArray[np.uint8]]) -> None:
    lungs, truth = mosaic
    methods = rivals(network=tiny_bundle())
    for name in ("k-means on radiomics", "GMM on local statistics", "k-means on HU and local deviation"):
        assert (methods[name](lungs) == truth).mean() > 0.7, name
    assert "diffusion features, no distillation" not in methods
    assert "diffusion features, no distillation" in rivals(tiny_bundle(), tiny_bundle())


def test_no_rival_labels_anything_outside_the_lungs() -> None:
    hu = np.random.default_rng(0).normal(-850, 60, (16, 64, 64)).astype(np.float32)
    lungs = np.ones(hu.shape, bool)
    lungs[:, :20] = False
    parenchyma = Parenchyma.of(canonical_of(hu, lungs))
    for name, method in rivals(tiny_bundle(), tiny_bundle()).items():
        labels = method(parenchyma)
        assert labels.dtype == np.uint8, name
        assert not labels[~lungs].any(), name
        assert labels[lungs].all(), name


def test_encoder_features_follow_the_product_through_the_head(
    mosaic: tuple[Parenchyma, NDArray[np.uint8]],
) -> None:
    """The tiles, the noise and the blending are the product's: with its head the features are the same."""
    lungs, _ = mosaic
    bundle = tiny_bundle(patch=[24, 96, 96])
    bare = encoder_features(lungs, bundle, (3, 10))
    assert bare.shape == (len(lungs.cells), 2 * 32)
    student = diffusion_features(
        lungs.canonical, lungs.cells, bundle, timesteps=(3, 10), device="cpu", overlap=0.0
    )
    with torch.inference_mode():
        code = bundle.head(torch.from_numpy(bare[:, :32]).T[None, :, :, None, None])
    assert code[0, :, :, 0, 0].T.numpy() == pytest.approx(student[:, :128], abs=0.02)


def test_student_embeddings_are_kept(mosaic: tuple[Parenchyma, NDArray[np.uint8]]) -> None:
    lungs, _ = mosaic
    bundle = tiny_bundle()
    first = student(lungs, bundle, (10,))
    both = student(lungs, bundle, (3, 10))
    assert np.array_equal(both[:, 128:], first)
    assert both[:, :128] == pytest.approx(
        diffusion_features(lungs.canonical, lungs.cells, bundle, timesteps=(3,), device="cpu")
    )
    calls = []
    for _ in range(2):
        once(lungs, "counted", lambda: calls.append(1))
    assert calls == [1]


@torch.inference_mode()
def test_attention_maps_are_those_of_the_network() -> None:
    """Applied to the values, they give what the attention block adds."""
    bundle = tiny_bundle()
    torch.nn.init.normal_(bundle.network.middle_attention.out.weight)
    attention, seen = bundle.network.middle_attention, []
    handle = attention.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    x, t = torch.randn(2, 2, 8, 32, 32), torch.tensor([3, 3])
    maps = attention_maps(bundle.network, x, t)
    handle.remove()
    assert torch.allclose(maps.sum(dim=-1), torch.ones(2, maps.shape[1]), atol=1e-5)
    inside, outside = seen[0]
    tokens = attention.norm(inside).flatten(2)
    values = attention.qkv(tokens)[:, 64:]
    added = attention.out(values @ maps.transpose(1, 2)).reshape(inside.shape)
    assert torch.allclose(inside + added, outside, atol=1e-4)


def test_merging_finds_groups_that_attend_to_themselves() -> None:
    group = torch.tensor([0] * 5 + [1] * 9 + [2] * 4)
    alike = (group[:, None] == group[None, :]).float() + 0.01
    maps = alike / alike.sum(dim=1, keepdim=True)
    segments = merged_segments(maps, torch.arange(0, 18, 2), threshold=0.5)
    assert len(set(segments.tolist())) == 3
    for number in range(3):
        assert len(set(segments[group == number].tolist())) == 1
    # With a threshold above every divergence all is one.
    assert merged_segments(maps, torch.arange(0, 18, 2), threshold=100.0).unique().tolist() == [0]


def test_untrained_network_is_random_but_always_the_same() -> None:
    bundle = tiny_bundle()
    first, second = untrained(bundle), untrained(bundle)
    weight = "stem.weight"
    assert torch.equal(first.network.state_dict()[weight], second.network.state_dict()[weight])
    other = untrained(bundle, seed=1)
    assert not torch.equal(first.network.state_dict()[weight], other.network.state_dict()[weight])
    assert NetworkMixture(first).bundle is first
    assert DiffSeg(first).bundle is first
