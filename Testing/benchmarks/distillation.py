"""Did stage 2 move the encoder? Retrieval and a linear probe, with the gradient and without.

    python Testing/benchmarks/distillation.py RUN CT... --checkpoint STAGE_1.pt --steps 600

RUN is a training run on these CT, STAGE_1.pt a checkpoint of it from before distillation. From there two
stage 2 trainings of equal length start, one whose InfoNCE reaches the encoder and one that is detached as
in the reference code. Reported on patches of held-out patients, for the averaged weights:

* retrieval: share of 16 mm blocks whose own descriptor is the nearest (top 1) or among the five nearest
  (top 5) of all held-out blocks;
* probe: R² of a ridge regression from the frozen bottleneck features to the 34 descriptors, fitted on
  training patches. It needs no trained head, so it sees the encoder alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from DiffSegLungLib.evaluation.ablation.probe import probe
from DiffSegLungLib.training.dataset import PatchDataset, PatchSettings, split_by_patient
from DiffSegLungLib.training.run_folder import RunFolder
from DiffSegLungLib.training.settings import TrainingSettings
from DiffSegLungLib.training.store import prepare_store
from DiffSegLungLib.training.trainer import Trainer


def main() -> None:
    """Train the variants and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("ct", type=Path, nargs="+")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()

    settings = TrainingSettings.from_mapping(json.loads((options.run / "settings.json").read_text()))
    volumes, _ = prepare_store(options.ct, options.run / "store")
    training, held_out = split_by_patient(volumes, settings.validation_share, settings.seed)
    patches = PatchSettings(settings.patch, settings.lesion_probability, seed=settings.seed)
    sets = PatchDataset(training, patches), PatchDataset(held_out, replace(patches, seed=settings.seed + 1))

    def trainer(folder: Path, checkpoint: Path, steps: int, *, detach: bool) -> Trainer:
        run = RunFolder(folder)
        shutil.copy(checkpoint, run.checkpoint)
        begin = int(torch.load(checkpoint, weights_only=True)["step"])
        plan = replace(settings, steps=begin + steps, stage_two=begin, full_weight=begin, detach=detach)
        return Trainer(plan, *sets, run, torch.device("cpu"))

    print("| encoder | steps | retrieval top 1 | top 5 | chance | probe R² |\n|---|---|---|---|---|---|")
    variants = [
        ("after stage 1, heads untrained", options.checkpoint, 0, False),
        ("stage 2, gradient detached", options.checkpoint, options.steps, True),
        ("stage 2, gradient reaches the encoder", options.checkpoint, options.steps, False),
        ("the run as it is", options.run / "checkpoint.pt", 0, False),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, checkpoint, steps, detach) in enumerate(variants):
            learner = trainer(Path(folder) / str(number), checkpoint, steps, detach=detach)
            learner.fit()
            seen = learner.validate()
            r2 = probe(learner.bundle({"patch": settings.patch}), *sets, settings.block)
            print(
                f"| {name} | {learner.step} | {seen['retrieval_top1']:.3f} | {seen['retrieval_top5']:.3f} | "
                f"{seen['retrieval_chance']:.4f} | {r2:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
