"""A teacher for a student that has learned already: bundles keep no teacher head."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .distillation import info_nce, soft_targets
from .learner import Batch, Learner, rows_of

TEACHING_PATCHES = 256
_STEPS = 400
_ROWS = 256
_LEARNING_RATE = 1e-3


def fit_teacher(learner: Learner, batches: Iterable[Batch]) -> None:
    """Fit a new teacher head to the student as it stands, by InfoNCE; the student does not move.

    Fine-tuning would otherwise begin with a teacher that knows nothing and pull the student towards it, and
    nobody could say how well the parent's embeddings find their descriptors.

    Args:
        learner: its teacher is changed, in place.
        batches: patches of the training, numbered from 0.
    """
    embedded, described, signal = [], [], []
    first = 0
    for batch in batches:
        hu, lungs = batch["hu"].to(learner.device), batch["lungs"].to(learner.device)
        noised = learner.noise(hu, lungs, first)
        first += len(hu)
        lesson = learner.lesson(hu, lungs, noised.t)
        with torch.no_grad(), learner.autocast():
            features = learner.student.network.encode(noised.x, noised.t)
            rows = rows_of(learner.student.head.blocks(features, learner.block()))
        embedded.append(rows[lesson.counts])
        described.append(lesson.descriptors[lesson.counts])
        signal.append(lesson.signal[lesson.counts])
    students, descriptors, weights = (torch.cat(part) for part in (embedded, described, signal))

    settings = learner.settings
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.Adam(learner.teacher.parameters(), lr=_LEARNING_RATE)
    for _ in range(_STEPS if len(students) > 1 else 0):
        some = torch.randperm(len(students), generator=generator)[:_ROWS].to(learner.device)
        loss = info_nce(
            students[some],
            learner.teacher(descriptors[some]),
            soft_targets(descriptors[some], settings.soft_bandwidth),
            temperature=settings.temperature,
            weights=weights[some],
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
