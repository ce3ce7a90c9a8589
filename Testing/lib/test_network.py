"""The noise predictor: shapes, the lossless fold, and what the feature path may and may not depend on."""

from __future__ import annotations

import math

import pytest
import torch

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model.heads import StudentHead, TeacherHead, standardise, tamed
from DiffSegLungLib.model.network import (
    STRIDE,
    Architecture,
    NoiseUNet,
    fold_plane,
    sinusoidal_embedding,
    unfold_plane,
)
from DiffSegLungLib.radiomics import NAMES


@pytest.fixture(scope="module")
def network() -> NoiseUNet:
    torch.manual_seed(0)
    network = NoiseUNet(Architecture(base=8, attention_heads=2)).eval()
    # The zero-initialised layers would hide what the rest does.
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network


def test_fold_is_lossless_and_keeps_neighbours_together() -> None:
    x = torch.arange(2 * 2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 2, 4, 4)
    folded = fold_plane(x)
    assert folded.shape == (1, 8, 2, 2, 2)
    torch.testing.assert_close(folded[0, :4, 0, 0, 0], x[0, 0, 0, :2, :2].flatten())
    torch.testing.assert_close(unfold_plane(folded), x)


def test_shapes_of_noise_and_features(network: NoiseUNet) -> None:
    noise, features = network(torch.randn(2, 2, 16, 32, 24), torch.tensor([0, 249]))
    assert noise.shape == (2, 1, 16, 32, 24)
    assert features.shape == (2, network.feature_channels, 16 // STRIDE[0], 32 // STRIDE[1], 24 // STRIDE[2])


def test_feature_path_equals_the_features_of_the_whole_network(network: NoiseUNet) -> None:
    x, t = torch.randn(1, 2, 8, 16, 16), torch.tensor([50])
    torch.testing.assert_close(network.encode(x, t), network(x, t)[1])


def test_decoder_is_described_on_the_way_up(network: NoiseUNet) -> None:
    x, t = torch.randn(2, 2, 8, 16, 24), torch.tensor([3, 200])
    seen = []
    hook = network.up_mid.register_forward_hook(lambda *told: seen.append(told[2]))
    network(x, t)
    hook.remove()
    features, mid = network.describe(x, t)
    assert mid.shape == (2, 2 * network.architecture.base, 4, 4, 6)
    torch.testing.assert_close(mid, seen[0])
    torch.testing.assert_close(features, network.encode(x, t))


def test_inference_gives_what_training_sees(network: NoiseUNet) -> None:
    x, t = torch.randn(2, 2, 8, 16, 16), torch.tensor([10, 200])
    with torch.no_grad():
        features = network.encode(x, t)
    torch.testing.assert_close(features, network.encode(x, t).detach(), atol=1e-5, rtol=1e-4)


def test_items_of_a_batch_do_not_see_each_other(network: NoiseUNet) -> None:
    x, t = torch.randn(3, 2, 8, 16, 16), torch.tensor([10, 50, 200])
    torch.testing.assert_close(
        network.encode(x, t)[1:2], network.encode(x[1:2], t[1:2]), atol=1e-5, rtol=1e-4
    )


def test_timestep_and_lung_mask_matter(network: NoiseUNet) -> None:
    x = torch.randn(1, 2, 8, 16, 16)
    early = network.encode(x, torch.tensor([10]))
    assert not torch.allclose(early, network.encode(x, torch.tensor([200])))
    masked = x.clone()
    masked[:, 1] = 0
    assert not torch.allclose(early, network.encode(masked, torch.tensor([10])))


def test_wrong_patch_and_wrong_architecture_are_refused(network: NoiseUNet) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        network.encode(torch.zeros(1, 2, 6, 16, 16), torch.tensor([0]))
    for bad in ({"base": 12}, {"base": 100_000}, {"base": 8, "attention_heads": 5}, {"timesteps": 0}):
        with pytest.raises(InputError):
            Architecture(**bad)


def test_embedding_of_time_zero_is_sine_zero_cosine_one() -> None:
    embedding = sinusoidal_embedding(torch.tensor([0]), 8)
    torch.testing.assert_close(embedding, torch.tensor([[0.0, 0, 0, 0, 1, 1, 1, 1]]))


def test_heads_give_unit_vectors_and_a_cell_stands_alone() -> None:
    torch.manual_seed(1)
    head, features = StudentHead(32), torch.randn(1, 32, 2, 4, 4)
    embedded = head(features)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(1, 2, 4, 4))
    elsewhere = features.clone()
    elsewhere[..., 1:, :] += 3.0
    torch.testing.assert_close(head(elsewhere)[..., 0, :], embedded[..., 0, :])
    torch.testing.assert_close(TeacherHead(34)(torch.randn(5, 34)).norm(dim=1), torch.ones(5))


def test_block_embedding_of_one_cell_is_that_cells_embedding() -> None:
    head, features = StudentHead(16), torch.randn(2, 16, 2, 2, 2)
    torch.testing.assert_close(head.blocks(features, (1, 1, 1)), head(features))
    assert head.blocks(features, (2, 2, 2)).shape == (2, 128, 1, 1, 1)


def test_energies_are_tamed_and_hu_are_not() -> None:
    row = torch.zeros(1, 34)
    row[0, NAMES.index("hu_mean")], row[0, NAMES.index("glcm_contrast")] = -850.0, 99.0
    tame = tamed(row)
    assert tame[0, NAMES.index("hu_mean")] == -850.0
    assert float(tame[0, NAMES.index("glcm_contrast")]) == pytest.approx(math.log(100.0))


def test_standardised_descriptors_are_cut_at_five_deviations() -> None:
    mean, sd = torch.zeros(34), torch.full((34,), 2.0)
    rows = torch.zeros(2, 34)
    rows[0, 0], rows[1, 0] = 4.0, 400.0
    assert standardise(rows, mean, sd)[:, 0].tolist() == [2.0, 5.0]
