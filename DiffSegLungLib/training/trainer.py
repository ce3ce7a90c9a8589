"""The two-stage training: noise prediction, then radiomic distillation on top (method.md 2 and 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ..canonical import CELL, normalise
from ..errors import Cancelled
from ..model.bundle import Bundle
from ..model.diffusion import NoiseSchedule
from ..model.heads import StudentHead, TeacherHead, standardise, tamed
from ..model.network import Architecture, NoiseUNet, bfloat16_pays
from ..radiomics import NAMES
from .dataset import PatchDataset
from .distillation import block_descriptors, info_nce, retrieval_accuracy, soft_targets
from .run_folder import RunFolder
from .settings import TrainingSettings

LOG_EVERY = 20
_VALIDATION_PATCHES = 24
_STATISTICS_PATCHES = 64
_RETRIEVAL_TIMESTEP = 0.1

Batch = dict[str, Tensor]


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


class Trainer:
    """Trains a student; every step is a function of (settings, step), so a resumed run is the same run.

    Args:
        settings: how.
        training: patches to learn from.
        validation: patches of other patients, or None.
        run: where log and checkpoints go.
        device: where the network runs.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        training: PatchDataset,
        validation: PatchDataset | None,
        run: RunFolder,
        device: torch.device,
    ) -> None:
        self.settings, self.run_folder, self.device = settings, run, device
        self.training, self.validation = training, validation
        torch.manual_seed(settings.seed)
        architecture = Architecture(settings.base, settings.attention_heads, settings.timesteps)
        self.student = Student(architecture).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.teacher = TeacherHead(len(NAMES)).to(device)
        self.average = AveragedModel(
            self.student,
            multi_avg_fn=get_ema_multi_avg_fn(settings.ema),  # type: ignore[no-untyped-call]
        )
        self.schedule = NoiseSchedule(settings.timesteps)
        parameters = [*self.student.parameters(), *self.teacher.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
        self.step = 0
        self.seconds = 0.0
        self._sums: dict[str, float] = {}
        self.descriptor_mean = torch.zeros(len(NAMES), device=device)
        self.descriptor_sd = torch.ones(len(NAMES), device=device)
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and bfloat16_pays(device))

    def fit(
        self,
        *,
        minutes: float | None = None,
        progress: Callable[[int, dict[str, Any]], None] = lambda *_: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until ``settings.steps``, or until ``minutes`` of this call are over, and save.

        Args:
            minutes: time budget of this call; the run can be resumed afterwards.
            progress: called with the step and the entry of every line of the log.
            cancelled: asked at every step; a checkpoint is written before :class:`Cancelled` is raised.
        """
        state = self.run_folder.load_checkpoint(self.device)
        if state is None:
            self._measure_descriptors()
        else:
            self._restore(state)
        begun, saved, before = time.monotonic(), time.monotonic(), self.seconds
        for batch in self._batches(self.training, self.step, self.settings.steps):
            for name, value in self._train_step(batch).items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self.step += 1
            now = time.monotonic()
            self.seconds = before + now - begun
            if self.step % LOG_EVERY == 0 or self.step == self.settings.steps:
                progress(self.step, self._write_log())
            if now - saved > 60.0 * self.settings.checkpoint_minutes:
                self._save()
                saved = now
            if cancelled() or (minutes is not None and now - begun > 60.0 * minutes):
                break
        self._save()
        if cancelled():
            raise Cancelled("training")

    def _write_log(self) -> dict[str, Any]:
        """Means since the last line of the log, with a validation when one is due."""
        count = (self.step - 1) % LOG_EVERY + 1
        entry: dict[str, Any] = {"step": self.step}
        entry |= {name: round(total / count, 6) for name, total in self._sums.items()}
        entry["lambda"] = self.settings.contrast_weight_at(self.step)
        if self.step % self.settings.validate_every < LOG_EVERY or self.step == self.settings.steps:
            entry |= self.validate()
        entry["seconds"] = round(self.seconds, 1)
        self._sums.clear()
        self.run_folder.append(entry)
        return entry

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out noise L1, retrieval (top 1, top 5) and its chance level, with the averaged weights."""
        if self.validation is None:
            return {}
        student = cast(Student, self.average.module).eval()
        losses, embeddings, teachings = [], [], []
        count = _VALIDATION_PATCHES // self.settings.batch * self.settings.batch
        for number, batch in enumerate(
            self._batches(self.validation, 0, max(1, count // self.settings.batch), 0)
        ):
            hu, lungs = batch["hu"].to(self.device), batch["lungs"].to(self.device)
            noised = self._noise(hu, lungs, -1 - number)
            early = torch.full_like(noised.t, int(_RETRIEVAL_TIMESTEP * self.settings.timesteps))
            clearer = self._noise(hu, lungs, -1 - number, early)
            with self._autocast():
                predicted, _ = student.network(noised.x, noised.t)
                features = student.network.encode(clearer.x, early)
                embedded = student.head.blocks(features, self._block())
            losses.append((predicted.float() - noised.noise).abs().mean().item())
            descriptors, counts = self._describe(hu, lungs)
            embeddings.append(_rows(embedded)[counts])
            teachings.append(self.teacher(descriptors[counts]))
        seen, taught = torch.cat(embeddings), torch.cat(teachings)
        return {
            "validation_noise": round(sum(losses) / len(losses), 6),
            "retrieval_top1": round(retrieval_accuracy(seen, taught, 1), 4),
            "retrieval_top5": round(retrieval_accuracy(seen, taught, 5), 4),
            "retrieval_chance": round(1.0 / max(1, len(seen)), 6),
        }

    def bundle(self, card: dict[str, Any]) -> Bundle:
        """The averaged weights as a bundle with this card."""
        student = cast(Student, self.average.module).eval()
        return Bundle(
            card=card,
            network=student.network,
            head=student.head,
            schedule=self.schedule,
            descriptor_mean=self.descriptor_mean,
            descriptor_sd=self.descriptor_sd,
        )

    def _train_step(self, batch: Batch) -> dict[str, float]:
        hu, lungs = batch["hu"].to(self.device), batch["lungs"].to(self.device)
        noised = self._noise(hu, lungs, self.step)
        weight = self.settings.contrast_weight_at(self.step)
        with self._autocast():
            predicted, features = self.student.network(noised.x, noised.t)
        noise_loss = (predicted.float() - noised.noise).abs().mean()
        loss, parts = noise_loss, {"noise": noise_loss}
        if weight > 0.0:
            parts["contrast"] = self._contrast(features, hu, lungs, noised.t)
            loss = noise_loss + weight * parts["contrast"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), self.settings.clip)
        self.optimizer.step()
        self.average.update_parameters(self.student)
        return {name: value.item() for name, value in parts.items()}

    def _contrast(self, features: Tensor, hu: Tensor, lungs: Tensor, t: Tensor) -> Tensor:
        """InfoNCE of this batch; a block counts as much as its noisy patch still holds signal."""
        if self.settings.detach:
            features = features.detach()
        with self._autocast():
            embedded = _rows(self.student.head.blocks(features, self._block()))
        descriptors, counts = self._describe(hu, lungs)
        if int(counts.sum()) < 2:
            return embedded.sum() * 0.0
        signal = self.schedule.alpha_bar.to(self.device)[t].repeat_interleave(len(embedded) // len(hu))
        return info_nce(
            embedded[counts],
            self.teacher(descriptors[counts]),
            soft_targets(descriptors[counts], self.settings.soft_bandwidth),
            temperature=self.settings.temperature,
            weights=signal[counts],
        )

    def _describe(self, hu: Tensor, lungs: Tensor) -> tuple[Tensor, Tensor]:
        descriptors, counts = block_descriptors(hu, lungs, self._block())
        return standardise(descriptors, self.descriptor_mean, self.descriptor_sd), counts

    def _block(self) -> tuple[int, int, int]:
        if self.settings.dense:
            return self.settings.block
        z, y, x = (n // c for n, c in zip(self.settings.patch, CELL, strict=True))
        return z, y, x

    def _noise(self, hu: Tensor, lungs: Tensor, step: int, t: Tensor | None = None) -> Noised:
        """Noise a batch with random numbers that depend on the seed and the step alone."""
        generator = torch.Generator(self.device).manual_seed(
            (self.settings.seed * 1_000_003 + step) & 0x7FFFFFFF
        )
        clean = normalise(hu)[:, None]
        noise = torch.randn(clean.shape, generator=generator, device=self.device)
        if t is None:
            share = torch.rand(len(hu), generator=generator, device=self.device)
            t = (self.settings.timesteps * share**self.settings.timestep_power).long()
        noisy = self.schedule.add_noise(clean, noise, t)
        x = torch.cat([noisy, lungs[:, None].to(noisy.dtype)], dim=1)
        return Noised(x.contiguous(memory_format=torch.channels_last_3d), t, noise)

    def _measure_descriptors(self) -> None:
        """Cohort mean and standard deviation of the descriptors, from the first patches of the training."""
        rows = []
        for batch in self._batches(self.training, 0, max(1, _STATISTICS_PATCHES // self.settings.batch), 0):
            descriptors, counts = block_descriptors(
                batch["hu"].to(self.device), batch["lungs"].to(self.device), self._block()
            )
            rows.append(descriptors[counts])
        every = tamed(torch.cat(rows))
        self.descriptor_mean, self.descriptor_sd = every.mean(dim=0), every.std(dim=0)

    def _batches(
        self, patches: PatchDataset, first: int, last: int, workers: int | None = None
    ) -> Iterator[Batch]:
        """Batches ``first`` to ``last``, in order; batch k holds items k·batch … (k+1)·batch - 1."""
        numbers = range(first * self.settings.batch, last * self.settings.batch)
        workers = self.settings.workers if workers is None else workers
        return iter(
            DataLoader(
                patches,
                batch_size=self.settings.batch,
                sampler=numbers,
                num_workers=workers,
                prefetch_factor=4 if workers else None,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=_single_thread,
            )
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def _save(self) -> None:
        self.run_folder.save_checkpoint(
            {
                "step": self.step,
                "seconds": self.seconds,
                "sums": dict(self._sums),
                "student": self.student.state_dict(),
                "teacher": self.teacher.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "descriptor_mean": self.descriptor_mean,
                "descriptor_sd": self.descriptor_sd,
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self._sums = dict(state["sums"])
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.descriptor_mean, self.descriptor_sd = state["descriptor_mean"], state["descriptor_sd"]


def _rows(embeddings: Tensor) -> Tensor:
    """(B, E, d, h, w) → (B·d·h·w, E)."""
    return embeddings.movedim(1, -1).flatten(0, 3)


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)
