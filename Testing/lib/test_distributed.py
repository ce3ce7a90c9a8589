"""Training by several processes: the same curve as one, nothing lost when one of them dies or is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from test_training import TINY, trainer, volume
from warm_python import WarmPopen

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model.library import Library
from DiffSegLungLib.training.ranks import Ranks, joined
from DiffSegLungLib.training.run_folder import RunFolder
from DiffSegLungLib.training.store import PreparedVolume
from DiffSegLungLib.training.trainer import Trainer

SETTINGS = replace(TINY, stage_two=10, full_weight=15, validate_every=60, learning_rate=2e-4)
KILLED = replace(SETTINGS, checkpoint_minutes=0.0)
ROOT = Path(__file__).resolve().parents[2]

Entries = list[dict[str, Any]]


def launch(*command: str | Path) -> subprocess.Popen[str]:
    """A command in two processes, as ``torchrun --nproc-per-node=2`` starts it."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return WarmPopen(
        [*torchrun, *command], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def rank(process: subprocess.Popen[str], number: int) -> psutil.Process:
    """One of the two processes, which are started in the order of their ranks."""
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    return sorted(children, key=lambda child: child.pid)[number]


def volumes_in(folder: Path) -> list[PreparedVolume]:
    return [volume(folder / f"v{i}", f"v{i}", f"p{i % 3}", i) for i in range(3)]


def wait_for_lines(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    """Until the file has as many lines, or the process has ended."""
    while process.poll() is None and not (path.exists() and path.read_text().count("\n") >= lines):
        time.sleep(0.02)


def first_gradients(trainer: Trainer) -> torch.Tensor:
    """Gradient of both losses by every parameter for the first batch, with weights that no symmetry holds."""
    torch.manual_seed(1)
    learner = trainer.learner
    before = {name: value.clone() for name, value in learner.student.state_dict().items()}
    for parameter in learner.student.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    share = trainer.ranks.share_of(trainer.settings.batch)
    learner.gradients(next(trainer._batches(0, 1)), share.start, 1.0)
    learner.student.load_state_dict(before)
    return torch.cat([p.grad.flatten() for m in (learner.student, learner.teacher) for p in m.parameters()])


def assert_same_curve(entries: Entries, expected: Entries) -> None:
    """Sums over patches have another order in two processes: six digits agree at first, then fewer."""
    assert [e["step"] for e in entries] == [e["step"] for e in expected][: len(entries)]
    for one, other in zip(entries, expected, strict=False):
        for name in {"noise", "contrast", "validation_noise"} & other.keys():
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_two_processes_learn_what_one_does_and_one_goes_on_when_the_other_is_killed(tmp_path: Path) -> None:
    volumes = volumes_in(tmp_path)
    alone = trainer(volumes, tmp_path / "alone", SETTINGS)
    gradients = first_gradients(alone)
    alone.fit()
    expected = alone.run_folder.entries()
    assert [e["step"] for e in expected] == [20, 40, 60]

    process = launch(__file__, tmp_path)
    wait_for_lines(tmp_path / "two" / "log.jsonl", 2, process)
    rank(process, 1).send_signal(signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0, told
    for number in range(2):
        away = torch.load(tmp_path / f"gradients{number}.pt") - gradients
        assert float(away.norm()) < 1e-5 * float(gradients.norm())
    together = RunFolder(tmp_path / "two")
    state = together.load_checkpoint(torch.device("cpu"))
    assert state is not None
    assert 39 <= state["step"] < 60
    assert_same_curve(together.entries(), expected)

    trainer(volumes, tmp_path / "two", SETTINGS).fit()
    assert len(together.entries()) == 3
    assert_same_curve(together.entries(), expected)


def test_stopping_one_process_stops_all_with_a_checkpoint(small_ct: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--size", "small", "--patch", "8", "32", "32", "--batch", "2", "--workers", "0"]
    process = launch("-m", "DiffSegLungLib", "train", small_ct, "--out", run, *options)
    wait_for_lines(run / "log.jsonl", 1, process)
    rank(process, 1).send_signal(signal.SIGTERM)
    said, told = process.communicate(timeout=60)
    assert said == ""
    assert told.count("cancelled during training") == 1
    assert told.count("Traceback") == 1, "torchrun's own"
    state = RunFolder(run).load_checkpoint(torch.device("cpu"))
    assert state is not None
    assert state["step"] >= 20
    assert not (run / "bundle").exists()


def test_a_fine_tuning_of_two_processes_goes_on_with_one(tmp_path: Path, library: Library) -> None:
    from smallchest import chest, image, save
    from tinymodel import tiny_bundle

    from DiffSegLungLib.commands.cli import main

    (tmp_path / "ct").mkdir()
    for i in range(3):
        save(image(chest(seed=i), spacing=(3.0, 3.0, 3.0)), tmp_path / "ct" / f"ct{i}.nii.gz")
    tiny_bundle(patch=[8, 32, 32]).save(tmp_path / "parent")
    run = tmp_path / "run"
    options = [
        "--steps",
        "40",
        "--validate-every",
        "20",
        "--batch",
        "2",
        "--workers",
        "0",
        "--precision",
        "fp32",
    ]
    options += ["--checkpoint-minutes", "0", "--from", str(tmp_path / "parent")]
    process = launch("-m", "DiffSegLungLib", "train", tmp_path / "ct", "--out", run, *options)
    wait_for_lines(run / "log.jsonl", 2, process)
    rank(process, 1).send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    state = RunFolder(run).load_checkpoint(torch.device("cpu"))
    assert state is not None
    assert state["best"]["before"]["validation_noise"] == RunFolder(run).entries()[0]["validation_noise"]
    assert not (run / "result.json").exists()

    assert main(["train", "--resume", str(run)]) == 0
    assert [e["step"] for e in RunFolder(run).entries()] == [0, 20, 40]
    outcome = RunFolder(run).outcome()
    assert (outcome["steps"], outcome["stopped"]) == (40, "steps")
    tuned = [m.name for m in library.models()[1:]]
    assert tuned == (["tiny-tuned 1"] if outcome["best_step"] else [])


def test_a_batch_that_cannot_be_shared_out_is_refused_in_one_sentence() -> None:
    assert list(Ranks(1, 2).share_of(6)) == [3, 4, 5]
    with pytest.raises(InputError, match=r"4 patches .* among 3 processes\. Give --batch a multiple of 3\."):
        Ranks(0, 3).share_of(4)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as together:
        where = Path(sys.argv[1])
        learner = trainer(volumes_in(where / f"{together.rank}"), where / "two", KILLED, together)
        torch.save(first_gradients(learner), where / f"gradients{together.rank}.pt")
        learner.fit()
