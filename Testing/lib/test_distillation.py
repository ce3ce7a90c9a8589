"""InfoNCE, soft positives and block descriptors against numbers that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from DiffSegLungLib.radiomics import NAMES
from DiffSegLungLib.training.distillation import (
    block_descriptors,
    info_nce,
    retrieval_accuracy,
    soft_targets,
)


def test_loss_of_embeddings_that_know_nothing_is_the_log_of_the_number_of_blocks() -> None:
    same = torch.nn.functional.normalize(torch.ones(16, 8), dim=1)
    loss = info_nce(same, same, torch.eye(16), temperature=0.07)
    assert float(loss) == pytest.approx(math.log(16), abs=1e-5)


def test_loss_of_perfect_pairs_has_its_closed_form() -> None:
    """Orthogonal pairs: logits 1/τ on the diagonal, 0 elsewhere."""
    pairs = torch.eye(4)
    loss = info_nce(pairs, pairs, torch.eye(4), temperature=0.5)
    assert float(loss) == pytest.approx(math.log(1 + 3 * math.exp(-2.0)), abs=1e-6)


def test_blocks_without_weight_do_not_count() -> None:
    torch.manual_seed(0)
    student = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    teacher = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    targets = torch.eye(6)
    weights = torch.tensor([1.0, 0, 0, 0, 0, 0])
    alone = info_nce(student, teacher, targets, temperature=0.1, weights=weights)
    logits = student @ teacher.T / 0.1
    expected = -0.5 * (logits.log_softmax(1)[0, 0] + logits.T.log_softmax(1)[0, 0])
    assert float(alone) == pytest.approx(float(expected), abs=1e-5)


def test_soft_targets_follow_radiomic_similarity() -> None:
    rows = torch.zeros(3, 34)
    rows[2] = 1.0  # mean squared difference to the others: 1
    targets = soft_targets(rows, bandwidth=0.5)
    far = math.exp(-1 / (2 * 0.25))
    assert targets[0].tolist() == pytest.approx([1 / (2 + far), 1 / (2 + far), far / (2 + far)], abs=1e-5)
    assert torch.equal(soft_targets(rows, bandwidth=0.0), torch.eye(3))


def test_soft_positives_do_not_push_equal_tissue_apart() -> None:
    """Two blocks alike in descriptor and embedding: hard InfoNCE pulls at them, soft does not."""
    descriptors = torch.zeros(4, 34)
    descriptors[2:] = 3.0
    embedding = torch.zeros(4, 2)
    embedding[:2, 0], embedding[2:, 1] = 1.0, 1.0
    gradients = []
    for bandwidth in (0.0, 0.3):
        student = embedding.clone().requires_grad_()
        targets = soft_targets(descriptors, bandwidth)
        info_nce(student, embedding, targets, temperature=0.07).backward()
        gradients.append(float(student.grad.abs().max()))
    assert gradients[1] < 1e-3 * max(gradients[0], 1e-3) or gradients[1] < 1e-4


def test_retrieval_counts_own_descriptors_among_the_nearest() -> None:
    teacher = torch.eye(4)
    student = teacher[[0, 1, 3, 2]]
    assert retrieval_accuracy(student, teacher) == 0.5
    assert retrieval_accuracy(student, teacher, top=4) == 1.0


def test_descriptors_belong_to_their_block() -> None:
    hu = torch.full((2, 16, 32, 32), -850.0)
    hu[1, 8:, 16:, :16] = -600.0
    lungs = torch.ones(2, 16, 32, 32, dtype=torch.bool)
    lungs[0, :8, :16, :16] = False
    lungs[0, 0, :16, :16] = True  # an eighth of the block: too little
    descriptors, counts = block_descriptors(hu, lungs, (2, 2, 2))
    assert descriptors.shape == (16, len(NAMES))
    assert counts.tolist() == [False] + [True] * 15
    means = descriptors[:, 0]
    assert means[0] == 0.0
    assert means[8 + 4 + 2].item() == pytest.approx(-600.0)
    assert means[9].item() == pytest.approx(-850.0)
