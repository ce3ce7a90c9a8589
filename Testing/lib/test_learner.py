"""One step of the training: short memory changes nothing, a gradient that is not finite teaches nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import TINY, trainer, volume
from torch import Tensor, nn

from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.radiomics import describe, glcm
from DiffSegLungLib.radiomics import first_order as statistics
from DiffSegLungLib.radiomics.first_order import scattered_occurrences
from DiffSegLungLib.talk import Talk
from DiffSegLungLib.training.distillation import info_nce, soft_targets
from DiffSegLungLib.training.store import PreparedVolume
from DiffSegLungLib.training.trainer import SKIPS_IN_A_ROW, Trainer

SETTINGS = replace(TINY, batch=3, stage_two=0, full_weight=0)


@pytest.fixture
def volumes(tmp_path: Path) -> list[PreparedVolume]:
    return [volume(tmp_path / f"v{i}", f"v{i}", f"p{i}", i) for i in range(2)]


def gradient(trained: Trainer) -> Tensor:
    """Gradient of both losses for the first batch by all parameters, none of which is 0."""
    torch.manual_seed(1)
    learner = trained.learner
    for parameter in learner.student.parameters():
        parameter.data = parameter.data.abs() + 0.05 * torch.rand(parameter.shape)
    learner.step(next(trained._batches(0, 1)), 0, 1.0, SETTINGS.learning_rate, begins=True)
    return torch.cat([p.grad.flatten() for m in (learner.student, learner.teacher) for p in m.parameters()])


def test_a_batch_in_pieces_has_the_gradient_of_the_whole(
    volumes: list[PreparedVolume], tmp_path: Path
) -> None:
    whole = gradient(trainer(volumes, tmp_path / "whole", SETTINGS))

    said: list[str] = []
    short = trainer(volumes, tmp_path / "short", SETTINGS)
    short.learner.talk = Talk(note=said.append)

    def runs_out(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 1:
            raise torch.cuda.OutOfMemoryError("out of memory")

    short.student.network.register_forward_pre_hook(runs_out)
    pieces = gradient(short)
    assert short.learner.micro == 1
    assert float((whole - pieces).norm()) < 1e-5 * float(whole.norm())
    short.fit(minutes=0.0, talk=short.learner.talk)
    assert said == [
        "Memory is short: 1 instead of 3 patches are worked on at a time. "
        "The result is the same, each step takes longer."
    ]


def test_memory_too_short_for_one_patch_is_an_error(volumes: list[PreparedVolume], tmp_path: Path) -> None:
    learner = trainer(volumes, tmp_path / "run", SETTINGS)

    def runs_out(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("out of memory")

    learner.student.network.register_forward_pre_hook(runs_out)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        learner.fit()


def test_a_step_without_finite_gradients_is_skipped_and_counted(
    volumes: list[PreparedVolume], tmp_path: Path
) -> None:
    run = trainer(volumes, tmp_path / "run", replace(SETTINGS, steps=20))
    spoil = run.student.network.stem.weight.register_hook(lambda g: g * float("nan"))
    batch = next(run._batches(0, 1))
    before = {name: value.clone() for name, value in run.student.state_dict().items()}
    run._train_step(batch)
    for name, value in run.student.state_dict().items():
        assert torch.equal(value, before[name]), name
    spoil.remove()
    run.learner.restore(run.learner.state())
    for _ in range(19):
        run._train_step(batch)
    entry = run._write_log()
    assert entry["skipped"] == 1
    assert entry["noise"] == pytest.approx(0.8, abs=0.1)
    assert float(run.learner.skipped_in_a_row) == 0.0
    assert {float(s["step"]) for s in run.learner.optimizer.state.values()} == {19.0}


def test_a_training_that_only_skips_ends_with_a_reason(volumes: list[PreparedVolume], tmp_path: Path) -> None:
    run = trainer(volumes, tmp_path / "run", replace(SETTINGS, steps=200, batch=1))
    run.student.network.stem.weight.register_hook(lambda g: g * float("inf"))
    with pytest.raises(DiffSegLungError, match="not finite numbers"):
        run.fit()
    assert run.step == SKIPS_IN_A_ROW


def test_a_checkpoint_of_the_first_version_is_taken_over(
    volumes: list[PreparedVolume], tmp_path: Path
) -> None:
    """It was written by an optimiser that is not fused, and did not count what it skipped."""
    run = trainer(volumes, tmp_path / "run", replace(SETTINGS, steps=6))
    run.fit(minutes=0.0)
    state: dict[str, Any] = torch.load(run.run_folder.checkpoint)
    del state["sums"]["skipped"], state["sums"]["steps"]
    for group in state["optimizer"]["param_groups"]:
        group["fused"] = None
    run.run_folder.save_checkpoint(state)
    later = trainer(volumes, tmp_path / "run", replace(SETTINGS, steps=6))
    later.student.network.stem.weight.register_hook(lambda g: g * float("nan"))
    later.fit()
    assert later.step == 6
    assert later.run_folder.entries()[-1]["skipped"] == 5
    assert torch.equal(later.student.network.stem.weight, state["student"]["network.stem.weight"])


@pytest.mark.parametrize("bandwidth", [0.0, 0.3])
def test_blocks_that_do_not_count_are_as_good_as_not_there(bandwidth: float) -> None:
    torch.manual_seed(0)
    student, teacher = (nn.functional.normalize(torch.randn(9, 8), dim=1) for _ in range(2))
    descriptors, weights = 0.2 * torch.randn(9, 34), torch.rand(9)
    counts = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1, 0], dtype=torch.bool)
    student.requires_grad_()
    masked = info_nce(
        student, teacher, soft_targets(descriptors, bandwidth, counts),
        temperature=0.07, weights=weights, counts=counts,
    )  # fmt: skip
    picked = info_nce(
        student[counts], teacher[counts], soft_targets(descriptors[counts], bandwidth),
        temperature=0.07, weights=weights[counts],
    )  # fmt: skip
    torch.testing.assert_close(masked, picked)
    for one, other in zip(*(torch.autograd.grad(loss, student) for loss in (masked, picked)), strict=True):
        torch.testing.assert_close(one, other)
    nothing = info_nce(
        student, teacher, torch.eye(9), temperature=0.07, counts=torch.zeros(9, dtype=torch.bool)
    )
    assert nothing.item() == 0.0


def test_counting_by_scattering_as_on_cuda_gives_the_same_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    hu, lungs = -800 + 150 * torch.randn(3, 8, 16, 16), torch.rand(3, 8, 16, 16) > 0.3
    expected = describe(hu, lungs)
    for module in (statistics, glcm):
        monkeypatch.setattr(module, "occurrences", scattered_occurrences)
    assert torch.equal(describe(hu, lungs), expected)
