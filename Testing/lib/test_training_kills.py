"""A training that is killed while it prepares, writes a checkpoint or the bundle ends like one left alone.

Fifty kills at random moments: benchmarks/training_kills.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from killing import OPTIONS, Training, differences, make_ct
from warm_python import WarmPopen

from DiffSegLungLib.io.owners import own_mark
from DiffSegLungLib.running.process_tree import own_group
from DiffSegLungLib.training.patch_workers import clear, mark_of
from DiffSegLungLib.training.run_folder import RunFolder

STEPS = 24


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL nor process groups")
def test_a_training_killed_at_every_stage_ends_like_the_unbroken_one(tmp_path: Path) -> None:
    ct = make_ct(tmp_path / "ct", 2)
    unbroken, killed = (Training(ct, tmp_path / name, STEPS, WarmPopen) for name in ("unbroken", "killed"))
    unbroken.go()
    assert unbroken.leftovers() == []

    for _ in range(5):  # a busy machine may see the folder and kill only when it is whole
        shutil.rmtree(killed.run, ignore_errors=True)
        assert killed.go(lambda t: any(t.run.glob("store/.part-*"))).stage == "prepare"
        if killed.half_written():
            break
    assert killed.half_written()
    host = own_mark().rsplit("-", 1)[0]  # as a fine-tuning leaves it that is killed at its very start
    (killed.run / f".part-{host}-{2**22 + 1}-parent.zip").touch()
    for step in range(4, 14, 2):  # here too it may be whole when the signal arrives
        death = killed.go(lambda t, step=step: t.step() >= step and t.writes("checkpoint.pt"))
        assert death.stage == "train"
        if "checkpoint.pt" in death.half_written:
            break
    assert "checkpoint.pt" in death.half_written
    assert killed.go(lambda t: t.at("train") and t.step() >= 16, group=False).stage == "train"
    assert killed.go(lambda t: t.at("bundle")).stage == "bundle"
    assert killed.go().stage == "end"
    assert differences(killed, unbroken) == []
    assert killed.leftovers() == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")
def test_a_request_to_stop_to_the_whole_group_leaves_a_checkpoint(tmp_path: Path) -> None:
    """Ctrl-C, SLURM and the panel ask all processes; those that prepare patches must not go first."""
    ct, run = make_ct(tmp_path / "ct", 2), tmp_path / "run"
    command = [sys.executable, "-m", "DiffSegLungLib", "train", str(ct), "--out", str(run), *OPTIONS]
    command += ["--steps", "4000", "--checkpoint-minutes", "99"]
    with WarmPopen(command, stdout=subprocess.DEVNULL, **own_group()) as process:
        while not (run / "log.jsonl").is_file():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 3
    state = RunFolder(run).load_checkpoint(torch.device("cpu"))
    assert state is not None
    assert state["step"] >= 20


def test_only_what_trainers_left_that_are_gone_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mark = mark_of(tmp_path / "run", 0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        owners = {
            "pymp-alive": f"{mark}-{ended.pid}-{alive.pid}",
            "pymp-other": f"{mark_of(tmp_path / 'other', 0)}-{ended.pid}-{ended.pid}",
            "pymp-gone": f"{mark}-{ended.pid}-{ended.pid}",
        }
        for folder, owner in owners.items():
            (tmp_path / folder).mkdir()
            (tmp_path / folder / owner).touch()
        clear(mark)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["pymp-alive", "pymp-other"]
        alive.communicate(b"\n")
