"""Short trainings that differ in one switch each, from one shared stage 1 (method.md 4).

They are far shorter than the shipped training and compare with one another alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...talk import SILENT, Talk
from ...training.settings import Precision, TrainingSettings
from ..folder import write_json
from .probe import probe

if TYPE_CHECKING:
    from ...training.dataset import PatchDataset
    from ...training.trainer import Trainer

_DESCRIBED_PATCHES = 64
_FACTS = "facts.json"


@dataclass(frozen=True)
class Budget:
    """Size of the trainings: every variant ends after the same number of steps.

    Attributes:
        stage_one: steps of noise prediction alone.
        stage_two: steps with distillation.
        base: width of the network's finest level.
        patch: (z, y, x) canonical voxels.
        batch: patches a step.
        precision: arithmetic of the network.
    """

    stage_one: int = 800
    stage_two: int = 400
    base: int = 16
    patch: tuple[int, int, int] = (16, 64, 64)
    batch: int = 4
    precision: Precision = "auto"

    def settings(self) -> TrainingSettings:
        """The reference: dense, soft positives, gradient reaching the encoder, after a warm-up."""
        return TrainingSettings(
            steps=self.stage_one + self.stage_two,
            base=self.base,
            patch=self.patch,
            batch=self.batch,
            learning_rate=3e-4,
            stage_two=self.stage_one,
            full_weight=self.stage_one,
            validate_every=max(1, (self.stage_one + self.stage_two) // 4),
            precision=self.precision,
            workers=0,
        )


@dataclass(frozen=True)
class Variant:
    """One training.

    Attributes:
        key: name of its folder.
        text: what a reader calls it.
        changes: settings that differ from the reference's.
        shares_stage_one: whether it starts from the shared stage 1, or is trained from the beginning.
        hu_preserving: whether the network sees calibrated HU, or HU z-scored over each patient's lungs.
    """

    key: str
    text: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    shares_stage_one: bool = True
    hu_preserving: bool = True


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        variant: what was trained.
        bundle: its folder.
        facts: size of the training, held-out retrieval and the probe's R², as plain values.
    """

    variant: Variant
    bundle: Path
    facts: Mapping[str, Any]

    @property
    def keys(self) -> tuple[str, str]:
        """Names under which it is judged: by the student's embeddings, and by the bottleneck features."""
        return f"trained_{self.variant.key}", f"trained_{self.variant.key}_no_head"


REFERENCE = "reference"
UNDISTILLED = "no_distillation"

VARIANTS: tuple[Variant, ...] = (
    Variant(REFERENCE, "reference: dense, soft positives, gradient reaching the encoder, warm-up"),
    Variant(UNDISTILLED, "no distillation: stage 1 goes on", {"contrast_weight": 0.0}),
    Variant("detached", "gradient detached before the encoder (reference code)", {"detach": True}),
    Variant("patch", "one descriptor a patch (paper)", {"dense": False}),
    Variant("hard", "hard positives (paper)", {"soft_bandwidth": 0.0}),
    Variant(
        "z_scored",
        "not HU-preserving: network input z-scored over each patient's lungs",
        shares_stage_one=False,
        hu_preserving=False,
    ),
    Variant(
        "no_warm_up",
        "no warm-up: distillation from step 0",
        {"stage_two": 0, "full_weight": 0},
        shares_stage_one=False,
    ),
)


def train_variants(
    ct_paths: Sequence[Path],
    out: Path,
    budget: Budget | None = None,
    *,
    variants: Sequence[Variant] = VARIANTS,
    talk: Talk = SILENT,
) -> list[Trained]:
    """Train every variant that is not finished yet, on the CPU.

    Args:
        ct_paths: CT to train on; one patient in eight, at least one, is held out.
        out: folder of the trainings, one sub-folder each; what an earlier call did is resumed.
        budget: size of the trainings.
        variants: what to train.
        talk: told one line now and then; asked whether to stop at every step, and checkpoints are kept.

    Returns:
        The finished trainings.

    Raises:
        InputError: no usable CT.
        Cancelled: asked to stop.
    """
    settings = (budget or Budget()).settings()
    for variant in variants:
        folder = out / variant.key
        plan = replace(settings, **variant.changes)
        if not (folder / "bundle" / "card.json").is_file():
            if variant.shares_stage_one:
                start = _stage_one(ct_paths, out, settings, talk)
                _branch(start, folder, ct_paths, out, plan)
            learner = trainer(ct_paths, out, folder, plan, hu_preserving=variant.hu_preserving)
            _fit(learner, variant.key, talk)
            card = {"id": f"ablation-{variant.key}", "version": "1", "patch": list(settings.patch)}
            learner.bundle(card).save(folder / "bundle")
        if not (folder / _FACTS).is_file():
            write_json(folder / _FACTS, _facts(ct_paths, out, folder, settings, variant))
            talk.advance(0.0, f"{variant.key}: finished")
    return trained_variants(out, variants)


def trained_variants(out: Path, variants: Sequence[Variant] = VARIANTS) -> list[Trained]:
    """The trainings in a folder that are finished."""
    finished = []
    for variant in variants:
        try:
            facts = json.loads((out / variant.key / _FACTS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        finished.append(Trained(variant, out / variant.key / "bundle", facts))
    return finished


def _facts(
    ct_paths: Sequence[Path], out: Path, folder: Path, settings: TrainingSettings, variant: Variant
) -> dict[str, Any]:
    """What is known of a finished training without a single lesion."""
    from ...model.bundle import Bundle
    from ...training.run_folder import RunFolder

    sets = patch_sets(ct_paths, out, settings, hu_preserving=variant.hu_preserving)
    entries = RunFolder(folder).entries()
    validated: dict[str, Any] = next((e for e in reversed(entries) if "retrieval_top1" in e), {})
    return {
        "steps": settings.steps,
        "stage_one": settings.stage_two,
        "base": settings.base,
        "batch": settings.batch,
        "patch": list(settings.patch),
        **{name: validated.get(name) for name in ("retrieval_top1", "retrieval_top5", "retrieval_chance")},
        "probe_r2": probe(Bundle.load(folder / "bundle"), *sets, settings.block),
    }


def patch_sets(
    ct_paths: Sequence[Path], out: Path, settings: TrainingSettings, *, hu_preserving: bool = True
) -> tuple[PatchDataset, PatchDataset]:
    """Patches to train on, and patches of held-out patients; the CT are prepared once, under ``out``."""
    from ...training.dataset import PatchDataset, PatchSettings, split_by_patient
    from ...training.store import prepare_store

    volumes, _ = prepare_store(list(ct_paths), out / "store")
    training, held_out = split_by_patient(volumes, settings.validation_share, settings.seed)
    patches = PatchSettings(
        settings.patch, settings.lesion_probability, seed=settings.seed, hu_preserving=hu_preserving
    )
    return PatchDataset(training, patches), PatchDataset(held_out, replace(patches, seed=settings.seed + 1))


def trainer(
    ct_paths: Sequence[Path],
    out: Path,
    folder: Path,
    settings: TrainingSettings,
    *,
    hu_preserving: bool = True,
) -> Trainer:
    """The trainer of one variant, which resumes from the checkpoint in ``folder`` if there is one."""
    import torch

    from ...training.run_folder import RunFolder
    from ...training.trainer import Trainer

    sets = patch_sets(ct_paths, out, settings, hu_preserving=hu_preserving)
    return Trainer(settings, *sets, RunFolder(folder), torch.device("cpu"))


def _stage_one(ct_paths: Sequence[Path], out: Path, settings: TrainingSettings, talk: Talk) -> Path:
    """The checkpoint at the end of the shared stage 1, trained if need be."""
    plan = replace(settings, steps=settings.stage_two)
    learner = trainer(ct_paths, out, out / "stage_one", plan)
    _fit(learner, "stage 1", talk)
    return learner.run_folder.checkpoint


def _fit(learner: Trainer, name: str, talk: Talk) -> None:
    def log(step: int, entry: dict[str, Any]) -> None:
        if step % 100 == 0:
            talk.progress(talk.stage, 0.0, f"{name}: " + " ".join(f"{k}={v}" for k, v in entry.items()))

    learner.fit(log=log, talk=talk)
    talk.check()


def _branch(
    start: Path, folder: Path, ct_paths: Sequence[Path], out: Path, settings: TrainingSettings
) -> None:
    """Begin a variant at the end of the shared stage 1, unless it has begun."""
    import torch

    from ...training.run_folder import RunFolder

    run = RunFolder(folder)
    if run.checkpoint.is_file():
        return
    state = torch.load(start, map_location="cpu", weights_only=True)
    if not settings.dense:
        # Descriptors of whole patches spread less than those of blocks: they get a cohort of their own.
        patches, _ = patch_sets(ct_paths, out, settings)
        state["descriptor_mean"], state["descriptor_sd"] = _cohort(patches, settings)
    run.save_checkpoint(state)


def _cohort(patches: PatchDataset, settings: TrainingSettings) -> tuple[Any, Any]:
    """Mean and standard deviation (34,) of the tamed descriptors of whole patches."""
    import torch

    from ...grid.canonical import CELL
    from ...model.heads import tamed
    from ...training.distillation import block_descriptors

    z, y, x = (n // c for n, c in zip(settings.patch, CELL, strict=True))
    rows = []
    for number in range(_DESCRIBED_PATCHES):
        item = patches[number]
        descriptors, counts = block_descriptors(item["hu"][None], item["lungs"][None], (z, y, x))
        rows.append(descriptors[counts])
    every = tamed(torch.cat(rows))
    return every.mean(dim=0), every.std(dim=0)
