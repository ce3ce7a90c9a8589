"""What is trained, and one step of it: losses, gradients in pieces that fit into memory, averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from ..grid.canonical import CELL, normalise
from ..model.bundle import Bundle
from ..model.diffusion import NoiseSchedule
from ..model.heads import StudentHead, TeacherHead, standardise
from ..model.network import Architecture, NoiseUNet, bfloat16_pays
from ..radiomics import NAMES
from ..talk import SILENT
from .distillation import block_descriptors, info_nce, soft_targets
from .ranks import Ranks
from .settings import TrainingSettings

Batch = dict[str, Tensor]
Gather = Callable[[Tensor], Tensor]


class Student(nn.Module):
    """The network and its head: what is averaged, and what is kept after training."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.network = NoiseUNet(architecture)
        self.head = StudentHead(self.network.feature_channels)


@dataclass(frozen=True)
class Noised:
    """A batch as the student sees it: the noisy input, the timesteps, the noise to predict."""

    x: Tensor
    t: Tensor
    noise: Tensor

    def __getitem__(self, piece: slice) -> Noised:
        return Noised(self.x[piece], self.t[piece], self.noise[piece])


@dataclass(frozen=True)
class Lesson:
    """What the teacher has to say about a batch.

    Attributes:
        descriptors: (N, 34) of every block, in cohort standard deviations.
        counts: (N,) bool, which blocks are lung.
        signal: (N,) share of signal that the block's noisy patch still holds.
    """

    descriptors: Tensor
    counts: Tensor
    signal: Tensor


class Learner:
    """The student, its teacher, their optimiser and the averaged weights.

    Nothing here makes the host wait for the device: whether a step was skipped is known to the device alone
    until somebody reads it.

    Args:
        settings: how to train.
        device: where the network runs.
        ranks: the processes that train together.

    Attributes:
        micro: patches worked on at a time; less than this process' share where memory is short.
        skipped_in_a_row: scalar on the device, steps without finite gradients since the last good one.
    """

    def __init__(self, settings: TrainingSettings, device: torch.device, ranks: Ranks) -> None:
        self.settings, self.device, self.ranks = settings, device, ranks
        self.talk = SILENT
        self.micro = len(ranks.share_of(settings.batch))
        torch.manual_seed(settings.seed)
        architecture = Architecture(settings.base, settings.attention_heads, settings.timesteps)
        self.student = Student(architecture).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.teacher = TeacherHead(len(NAMES)).to(device)
        self.average = AveragedModel(self.student)
        self.schedule = NoiseSchedule(settings.timesteps)
        # Fused is faster, and it alone can skip a step by a flag that stays on the device.
        self.optimizer = torch.optim.Adam(
            [*self.student.parameters(), *self.teacher.parameters()], lr=settings.learning_rate, fused=True
        )
        self.descriptor_mean = torch.zeros(len(NAMES), device=device)
        self.descriptor_sd = torch.ones(len(NAMES), device=device)
        self.skipped_in_a_row = torch.zeros((), device=device)
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and bfloat16_pays(device))
        self._parallel: DistributedDataParallel | None = None
        if ranks.count > 1:
            self._parallel = DistributedDataParallel(
                self.student.network,
                device_ids=[device.index] if device.type == "cuda" else None,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )

    def step(
        self, batch: Batch, first: int, weight: float, rate: float, *, begins: bool
    ) -> dict[str, Tensor]:
        """One step of the optimiser, skipped where a gradient is not finite.

        Args:
            batch: this process' share of the global batch.
            first: number of its first patch.
            weight: λ of this step.
            rate: learning rate of this step.
            begins: whether this is the first step of the run: the average starts from it.

        Returns:
            Losses (scalars on the device, 0 for a skipped step) and ``skipped``, 0 or 1.

        Raises:
            torch.cuda.OutOfMemoryError: even a single patch does not fit.
        """
        parts = self._fitting(batch, first, weight)
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), self.settings.clip)
        taught = [p.grad for p in self.teacher.parameters() if p.grad is not None]
        whole = torch.stack([norm, *torch._foreach_norm(taught)]) if taught else norm
        skipped = 1.0 - whole.isfinite().all().float()
        self.optimizer.found_inf = skipped  # type: ignore[attr-defined]
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.skipped_in_a_row = (self.skipped_in_a_row + 1.0) * skipped
        self._follow(begins)
        done = {name: torch.where(skipped > 0, 0.0, part) for name, part in parts.items()}
        return done | {"skipped": skipped}

    def rehearse(self, batch: Batch, first: int) -> None:
        """Find out how many patches fit into memory while no process depends on another yet."""
        self._fitting(batch, first, 1.0, alone=True)
        self.optimizer.zero_grad(set_to_none=True)
        self.micro = self.ranks.least(self.micro)

    def gradients(self, batch: Batch, first: int, weight: float, *, alone: bool = False) -> dict[str, Tensor]:
        """Losses of a batch; their gradient is left in the parameters, averaged over the processes.

        A batch that does not fit into memory is worked on in pieces, and the outcome is the same: the
        gradient of InfoNCE by every embedding is computed from all of them before any piece is learned from
        (Gao 2021, GradCache), at the price of a second pass through the encoder.

        Args:
            batch: this process' share of the global batch.
            first: number of its first patch.
            weight: λ of this step.
            alone: exchange nothing with other processes.
        """
        self.optimizer.zero_grad(set_to_none=True)
        hu, lungs = (batch[name].to(self.device, non_blocking=True) for name in ("hu", "lungs"))
        noised = self.noise(hu, lungs, first)
        lesson = self.lesson(hu, lungs, noised.t) if weight > 0.0 else None
        gather: Gather = _repeater(self.ranks.count) if alone else self.ranks.gathered
        pieces = [slice(i, i + self.micro) for i in range(0, len(hu), self.micro)]
        parallel = None if alone else self._parallel

        noise_loss = torch.zeros((), device=self.device)
        contrast: Tensor | None = None
        pull: Tensor | None = None
        if lesson is not None and len(pieces) > 1:
            rows = self._embeddings_of(noised, pieces).requires_grad_()
            contrast = self._contrast(rows, lesson, gather)
            (weight * contrast).backward()  # type: ignore[no-untyped-call]
            pull = rows.grad
        for piece in pieces:
            part = noised[piece]
            last = piece is pieces[-1]
            with parallel.no_sync() if parallel is not None and not last else contextlib.nullcontext():
                with self.autocast():
                    predicted, features = (parallel or self.student.network)(part.x, part.t)
                loss = (predicted.float() - part.noise).abs().mean() * (len(part.t) / len(hu))
                noise_loss += loss.detach()
                if lesson is not None and pull is None:
                    contrast = self._contrast(self._embed(features), lesson, gather)
                    loss = loss + weight * contrast
                elif pull is not None:
                    a_patch = len(pull) // len(hu)
                    mine = pull[a_patch * piece.start : a_patch * piece.stop]
                    loss = loss + (self._embed(features) * mine).sum()
                loss.backward()
        if not alone:
            self.ranks.average_gradients([*self.student.head.parameters(), *self.teacher.parameters()])
        return {"noise": noise_loss} | ({} if contrast is None else {"contrast": contrast.detach()})

    def noise(
        self, hu: Tensor, lungs: Tensor, first: int, *, stream: int = 0, at: int | None = None
    ) -> Noised:
        """Noise patches with random numbers that depend on the seed and each patch's number alone.

        Args:
            hu: (B, D, H, W) in HU.
            lungs: (B, D, H, W) bool.
            first: number of the first patch.
            stream: 0 for training, 1 for validation.
            at: timestep of all patches instead of random ones.
        """
        clean = normalise(hu)[:, None]
        noise, share = torch.empty_like(clean), torch.empty(len(hu), device=self.device)
        generator = torch.Generator(self.device)
        for i in range(len(hu)):
            key = np.random.SeedSequence([self.settings.seed, stream, first + i])
            generator.manual_seed(int(key.generate_state(1)[0]))
            noise[i].normal_(generator=generator)
            share[i].uniform_(generator=generator)
        t = (self.settings.timesteps * share**self.settings.timestep_power).long()
        if at is not None:
            t = torch.full_like(t, at)
        noisy = self.schedule.add_noise(clean, noise, t)
        x = torch.cat([noisy, lungs[:, None].to(noisy.dtype)], dim=1)
        return Noised(x.contiguous(memory_format=torch.channels_last_3d), t, noise)

    def describe(self, hu: Tensor, lungs: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised descriptors (N, 34) of every block, and which of them count (N,)."""
        descriptors, counts = block_descriptors(hu, lungs, self.block())
        return standardise(descriptors, self.descriptor_mean, self.descriptor_sd), counts

    def lesson(self, hu: Tensor, lungs: Tensor, t: Tensor) -> Lesson:
        """What the teacher has to say about patches (B, D, H, W) that were noised to timesteps t (B,)."""
        descriptors, counts = self.describe(hu, lungs)
        signal = self.schedule.alpha_bar_on(self.device)[t]
        return Lesson(descriptors, counts, signal.repeat_interleave(len(counts) // len(hu)))

    def block(self) -> tuple[int, int, int]:
        """Cells (z, y, x) that share one descriptor."""
        if self.settings.dense:
            return self.settings.block
        z, y, x = (n // c for n, c in zip(self.settings.patch, CELL, strict=True))
        return z, y, x

    def autocast(self) -> torch.autocast:
        """The network's arithmetic."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def describe_cohort(self, mean: Tensor, sd: Tensor) -> None:
        """Standardise descriptors by the mean and standard deviation (34,) of the training's."""
        self.descriptor_mean, self.descriptor_sd = mean.to(self.device), sd.to(self.device)

    def begin_from(self, parent: Bundle) -> None:
        """Take over the network, head, schedule and descriptor statistics of a model.

        The averaged weights begin as the parent's, too: what it knows is left step by step, not at the first.
        """
        self.schedule = parent.schedule
        for student in (self.student, cast(Student, self.average.module)):
            student.network.load_state_dict(parent.network.state_dict())
            student.head.load_state_dict(parent.head.state_dict())
        self.describe_cohort(parent.descriptor_mean, parent.descriptor_sd)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs of it; the same for any number of processes."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "descriptor_mean": self.descriptor_mean,
            "descriptor_sd": self.descriptor_sd,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave, here or in an earlier version."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.average.load_state_dict(state["average"])
        # An optimiser takes over how the saved one worked, and only a fused one can skip a step.
        for group in state["optimizer"]["param_groups"]:
            group |= {"fused": True, "foreach": None}
        self.optimizer.load_state_dict(state["optimizer"])
        self.describe_cohort(state["descriptor_mean"], state["descriptor_sd"])

    def _fitting(self, batch: Batch, first: int, weight: float, *, alone: bool = False) -> dict[str, Tensor]:
        """The gradients of a batch, in smaller pieces from the moment that memory runs out."""
        before = self.micro
        while True:
            try:
                parts = self.gradients(batch, first, weight, alone=alone)
                break
            except torch.cuda.OutOfMemoryError:
                # Processes in the middle of an exchange cannot begin anew; they have rehearsed.
                if self.micro == 1 or (self._parallel is not None and not alone):
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.micro = (self.micro + 1) // 2
        if self.micro < before:
            self.talk.note(
                f"Memory is short: {self.micro} instead of {before} patches are worked on at a time. "
                "The result is the same, each step takes longer."
            )
        return parts

    def _embed(self, features: Tensor) -> Tensor:
        """One embedding a block: bottleneck features (B, C, d, h, w) → (N, 128)."""
        if self.settings.detach:
            features = features.detach()
        with self.autocast():
            return rows_of(self.student.head.blocks(features, self.block()))

    @torch.no_grad()
    def _embeddings_of(self, noised: Noised, pieces: list[slice]) -> Tensor:
        """Embeddings of all pieces, without the decoder and without gradient."""
        rows = []
        for piece in pieces:
            with self.autocast():
                features = self.student.network.encode(noised[piece].x, noised[piece].t)
            rows.append(self._embed(features))
        return torch.cat(rows)

    def _contrast(self, embedded: Tensor, lesson: Lesson, gather: Gather) -> Tensor:
        """InfoNCE over the blocks of all processes; one counts as much as its patch still holds signal."""
        beside = torch.stack([lesson.signal, lesson.counts.float()], dim=1)
        every = gather(torch.cat([lesson.descriptors, beside], dim=1))
        descriptors, signal, counts = every[:, :-2], every[:, -2], every[:, -1] > 0
        return info_nce(
            gather(embedded),
            self.teacher(descriptors),
            soft_targets(descriptors, self.settings.soft_bandwidth, counts),
            temperature=self.settings.temperature,
            weights=signal,
            counts=counts,
        )

    @torch.no_grad()
    def _follow(self, begins: bool) -> None:
        """Let the averaged weights follow the student, as :class:`AveragedModel` does, but without asking the
        device how often it did."""
        averaged: list[Tensor] = list(self.average.module.parameters())
        current: list[Tensor] = list(self.student.parameters())
        if begins:
            torch._foreach_copy_(averaged, current)
        else:
            torch._foreach_lerp_(averaged, current, 1.0 - self.settings.ema)
        self.average.n_averaged += 1


def rows_of(embeddings: Tensor) -> Tensor:
    """(B, E, d, h, w) → (B·d·h·w, E)."""
    return embeddings.movedim(1, -1).flatten(0, 3)


def _repeater(count: int) -> Gather:
    """Stands in for the rows of other processes: as many of them, so that memory is needed alike."""
    return lambda rows: rows.repeat(count, 1)
