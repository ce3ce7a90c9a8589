"""The two-stage training: noise prediction, then radiomic distillation on top (method.md 2 and 4)."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import Cancelled, DiffSegLungError
from ..model.bundle import Bundle
from ..model.heads import tamed
from ..talk import SILENT, Talk
from .dataset import PatchDataset
from .distillation import block_descriptors, retrieval_accuracy
from .early_stop import EarlyStop
from .learner import Batch, Learner, Student, rows_of
from .patch_workers import beginning, clear, mark_of
from .ranks import Ranks
from .run_folder import RunFolder
from .settings import TrainingSettings
from .teaching import TEACHING_PATCHES, fit_teacher

Log = Callable[[int, dict[str, Any]], None]
"""Called with a step and its entry in the log."""

LOG_EVERY = 20
SKIPS_IN_A_ROW = 2 * LOG_EVERY
"""Steps without finite gradients in a row that end the training."""

_VALIDATION_PATCHES = 24
_STATISTICS_PATCHES = 64
_RETRIEVAL_TIMESTEP = 0.1


class Trainer:
    """Trains a student; every step is a function of (settings, step), so a resumed run is the same run.

    Several processes share every batch out among themselves and compute the gradient that one alone would.

    Args:
        settings: how.
        training: patches to learn from.
        validation: patches of other patients, or None.
        run: where log and checkpoints go.
        device: where the network runs.
        ranks: the processes that train together.
        parent: the model to fine-tune; None begins from random weights.

    Attributes:
        best: the best weights of a fine-tuning, by its held-out patients.
        ended_by: why :meth:`fit` ended: ``steps``, ``patience`` or ``minutes``.

    Raises:
        InputError: the batch cannot be shared out evenly.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        training: PatchDataset,
        validation: PatchDataset | None,
        run: RunFolder,
        device: torch.device,
        *,
        ranks: Ranks | None = None,
        parent: Bundle | None = None,
    ) -> None:
        self.settings, self.run_folder, self.device = settings, run, device
        self.training, self.validation, self.parent = training, validation, parent
        self.best = EarlyStop()
        self.ended_by = "steps"
        self.ranks = ranks or Ranks()
        self.learner = Learner(settings, device, self.ranks)
        self.student = self.learner.student
        self.step = 0
        self.seconds = 0.0
        self._sums: dict[str, Tensor] = {}
        self._validated_at = -1
        self._rehearsal_due = self.ranks.count > 1
        self._mark = mark_of(run.folder, self.ranks.rank)

    def fit(
        self,
        *,
        minutes: float | None = None,
        log: Log = lambda step, entry: None,
        talk: Talk = SILENT,
    ) -> None:
        """Train until ``settings.steps``, or until ``minutes`` of this call are over, and save.

        A fine-tuning begins with a validation of the parent, at step 0, and also ends when
        ``settings.patience`` validations in a row were no better.

        Args:
            minutes: time budget of this call; the run can be resumed afterwards.
            log: called with the step and the entry of every line of the log, in the first process.
            talk: notes; asked whether to stop at every step, and a checkpoint is written before that.

        Raises:
            Cancelled: asked to stop, here or in another process.
            InputError: the checkpoint is damaged.
            DiffSegLungError: no gradient was finite for :data:`SKIPS_IN_A_ROW` steps.
        """
        self.learner.talk = talk
        state = self.ranks.shared(lambda: self.run_folder.load_checkpoint(torch.device("cpu")))
        if state is None:
            self._begin(log)
        else:
            self._take_over(state)
        begun, saved, before = time.monotonic(), time.monotonic(), self.seconds
        stop, over = False, False
        stale = self.best.over(self.settings.patience)
        for batch in () if stale else self._batches(self.step, self.settings.steps):
            self._train_step(batch)
            now = time.monotonic()
            self.seconds = before + now - begun
            if self.step % LOG_EVERY == 0 or self.step == self.settings.steps:
                entry = self._write_log()
                if self.ranks.writes:
                    log(self.step, entry)
            stop, over, due, stale = self.ranks.agreed(
                talk.cancelled(),
                minutes is not None and now - begun > 60.0 * minutes,
                now - saved > 60.0 * self.settings.checkpoint_minutes,
                self.best.over(self.settings.patience),
            )
            if stop or over or stale:
                break
            if due:
                self._save()
                saved = now
        finished = self.step >= self.settings.steps
        self.ended_by = "patience" if stale else "steps" if finished else "minutes"
        if self.ended_by == "minutes" and not stop:
            self._look_once_more()
        self._save()
        if stop:
            raise Cancelled("training")

    def _begin(self, log: Log) -> None:
        """Step 0: the cohort's descriptors; of a fine-tuning the teacher, and how good the parent is."""
        if self.parent is None:
            self.learner.describe_cohort(*self.ranks.shared(self._cohort))
            return
        self.learner.begin_from(self.parent)
        self.learner.teacher.load_state_dict(self.ranks.shared(self._teacher))
        if self.ranks.writes:
            entry = {"step": 0, "lambda": self.settings.contrast_weight_at(0), **self._validated()}
            entry["seconds"] = 0.0
            self.run_folder.append(entry)
            log(0, entry)
        self._save()

    def _look_once_more(self) -> None:
        """Validate what a fine-tuning has reached when its time is over, between two lines of the log."""
        if self.parent is None or not self.ranks.writes or self._validated_at == self.step:
            return
        entry = {"step": self.step, "lambda": self.settings.contrast_weight_at(self.step)}
        entry |= self._validated(extra=True)
        self.run_folder.append({**entry, "seconds": round(self.seconds, 1)})

    def _teacher(self) -> dict[str, Tensor]:
        numbers = _ranges(0, TEACHING_PATCHES, self.learner.micro)
        fit_teacher(self.learner, self._load(self.training, numbers, 0))
        return {name: value.cpu() for name, value in self.learner.teacher.state_dict().items()}

    def _train_step(self, batch: Batch) -> None:
        first = self.step * self.settings.batch + self.ranks.share_of(self.settings.batch).start
        if self._rehearsal_due:
            self.learner.rehearse(batch, first)
            self._rehearsal_due = False
        weight = self.settings.contrast_weight_at(self.step)
        rate = self.settings.learning_rate_at(self.step)
        begins = self.step == 0 and self.parent is None
        parts = self.learner.step(batch, first, weight, rate, begins=begins)
        parts["steps"] = torch.ones((), device=self.device)
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self.step += 1

    def _write_log(self) -> dict[str, Any]:
        """Means since the last line of the log, and a validation when one is due."""
        means = self.ranks.means({**self._sums, "_in_a_row": self.learner.skipped_in_a_row})
        if means.pop("_in_a_row") >= SKIPS_IN_A_ROW:
            raise DiffSegLungError(
                "not-finite",
                f"The last {SKIPS_IN_A_ROW} steps or more had gradients that are not finite numbers.",
                "Give --precision fp32, or a smaller learning rate in another folder.",
            )
        self._sums.clear()
        if not self.ranks.writes:
            return {}
        skipped = round(means.pop("skipped"))
        count = round(means.pop("steps")) - skipped
        entry: dict[str, Any] = {"step": self.step}
        entry |= {name: round(total / count, 6) for name, total in means.items() if count}
        entry |= {"skipped": skipped} if skipped else {}
        entry["lambda"] = self.settings.contrast_weight_at(self.step)
        if self.step % self.settings.validate_every < LOG_EVERY or self.step == self.settings.steps:
            entry |= self._validated()
        entry["seconds"] = round(self.seconds, 1)
        self.run_folder.append(entry)
        return entry

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out noise L1, retrieval (top 1, top 5) and its chance level, with the averaged weights."""
        if self.validation is None:
            return {}
        learner = self.learner
        student = cast(Student, learner.average.module).eval()
        losses, embeddings, teachings = [], [], []
        pieces = _ranges(0, _VALIDATION_PATCHES, learner.micro)
        for piece, batch in zip(pieces, self._load(self.validation, pieces, 0), strict=True):
            hu, lungs = batch["hu"].to(self.device), batch["lungs"].to(self.device)
            noised = learner.noise(hu, lungs, piece.start, stream=1)
            early = int(_RETRIEVAL_TIMESTEP * self.settings.timesteps)
            clearer = learner.noise(hu, lungs, piece.start, stream=1, at=early)
            with learner.autocast():
                predicted, _ = student.network(noised.x, noised.t)
                features = student.network.encode(clearer.x, clearer.t)
                embedded = student.head.blocks(features, learner.block())
            losses.append((predicted.float() - noised.noise).abs().mean(dim=(1, 2, 3, 4)))
            descriptors, counts = learner.describe(hu, lungs)
            embeddings.append(rows_of(embedded)[counts])
            teachings.append(learner.teacher(descriptors[counts]))
        seen, taught = torch.cat(embeddings), torch.cat(teachings)
        return {
            "validation_noise": round(float(torch.cat(losses).mean()), 6),
            "retrieval_top1": round(retrieval_accuracy(seen, taught, 1), 4),
            "retrieval_top5": round(retrieval_accuracy(seen, taught, 5), 4),
            "retrieval_chance": round(1.0 / max(1, len(seen)), 6),
        }

    def _validated(self, *, extra: bool = False) -> dict[str, float]:
        """A validation, which a fine-tuning takes note of."""
        validation = self.validate()
        self._validated_at = self.step
        if self.parent is not None and validation:
            self.best.observe(self.step, validation, self.learner.average.module.state_dict, extra=extra)
        return validation

    def bundle(self, card: dict[str, Any]) -> Bundle:
        """The averaged weights as a bundle with this card; of a fine-tuning, the best ones.

        Raises:
            DiffSegLungError: they are not finite, or would not be as a bundle stores them.
        """
        student = copy.deepcopy(cast(Student, self.learner.average.module)).eval()
        if self.best.weights:
            student.load_state_dict(self.best.weights)
        stored = [value.half() for value in student.state_dict().values()]
        stored += [self.learner.descriptor_mean, self.learner.descriptor_sd]
        if not all(value.isfinite().all() for value in stored):
            raise DiffSegLungError(
                "not-finite",
                "The training ended with weights that are not finite numbers: no model is written.",
                "Train in another folder with a smaller --learning-rate.",
            )
        return Bundle(
            card=card,
            network=student.network,
            head=student.head,
            schedule=self.learner.schedule,
            descriptor_mean=self.learner.descriptor_mean,
            descriptor_sd=self.learner.descriptor_sd,
        )

    def _cohort(self) -> tuple[Tensor, Tensor]:
        """Cohort mean and standard deviation of the descriptors, from the first patches of the training."""
        batch = self.settings.batch
        rows = []
        for piece in self._load(
            self.training, _ranges(0, max(1, _STATISTICS_PATCHES // batch) * batch, 1), 0
        ):
            hu, lungs = piece["hu"].to(self.device), piece["lungs"].to(self.device)
            descriptors, counts = block_descriptors(hu, lungs, self.learner.block())
            rows.append(descriptors[counts])
        every = tamed(torch.cat(rows)).cpu()
        return every.mean(dim=0), every.std(dim=0)

    def _batches(self, first: int, last: int) -> Iterator[Batch]:
        """This process' share of batches ``first`` to ``last``, in order; batch k holds items k·batch …"""
        batch = self.settings.batch
        share = self.ranks.share_of(batch)
        # Not a list: a million steps would take 200 MB.
        numbers = (range(k * batch + share.start, k * batch + share.stop) for k in range(first, last))
        return self._load(self.training, numbers, self.settings.workers)

    def _load(self, patches: PatchDataset, numbers: Iterable[range], workers: int) -> Iterator[Batch]:
        """Items of the given numbers, a batch for every range."""
        clear(self._mark)
        return iter(
            DataLoader(
                patches,
                batch_sampler=(list(n) for n in numbers),
                num_workers=workers,
                prefetch_factor=4 if workers else None,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=beginning(self._mark),
            )
        )

    def _save(self) -> None:
        """Write a checkpoint that holds nothing of how many processes there are; all wait for it."""
        sums = self.ranks.means(self._sums)
        if self.ranks.writes:
            state = {"step": self.step, "seconds": self.seconds, "sums": sums, **self.learner.state()}
            if self.parent is not None:
                state["best"] = self.best.state()
            self.run_folder.save_checkpoint(state)
        self.ranks.together()

    def _take_over(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, unless it is of another training."""
        try:
            self._restore(state)
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise self.run_folder.damaged(self.run_folder.checkpoint) from error

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        # The first version's checkpoints did not say how many steps their sums are of.
        since = {"steps": float(self.step % LOG_EVERY), "skipped": 0.0}
        sums = since | state["sums"] if state["sums"] else {}
        self._sums = {name: torch.tensor(total, device=self.device) for name, total in sums.items()}
        self.learner.restore(state)
        if self.parent is not None:
            self.learner.schedule = self.parent.schedule
            self.best.restore(state["best"])


def _ranges(first: int, last: int, size: int) -> list[range]:
    return [range(i, min(i + size, last)) for i in range(first, last, size)]
