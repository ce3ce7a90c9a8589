"""Tasks on several processes: what dies, what fails, what is cancelled, and who outlives whom."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pooltasks import Do, do

from DiffSegLungLib.errors import Cancelled
from DiffSegLungLib.evaluation.pool import perform
from DiffSegLungLib.talk import Talk


def test_groups_stay_with_one_process_and_errors_stay_alone() -> None:
    tasks = [Do("double", group, number) for group in "ab" for number in range(3)]
    found = {o.task: o for o in perform([*tasks, Do("fail", "a")], do, jobs=2)}
    assert {task.number: found[task].value[0] for task in tasks} == {0: 0, 1: 2, 2: 4}
    workers = {group: {found[t].value[1] for t in tasks if t.group == group} for group in "ab"}
    assert len(workers["a"] | workers["b"]) <= 2
    assert os.getpid() not in workers["a"] | workers["b"]
    failed = found[Do("fail", "a")]
    assert failed.error == "ValueError: it cannot be done"
    assert "Traceback" in failed.trace


def test_a_killed_worker_is_replaced_and_its_task_tried_once_more(tmp_path: Path) -> None:
    once, always = Do("die once", "a", 4, str(tmp_path)), Do("die", "b", 5, str(tmp_path))
    found = {o.task: o for o in perform([once, always], do, jobs=1)}
    assert found[once].value[0] == 8
    assert "twice" in found[always].error


def test_cancelling_leaves_no_process(tmp_path: Path) -> None:
    tasks = [Do("sleep", "a", 1, str(tmp_path))]
    with pytest.raises(Cancelled):
        list(perform(tasks, do, jobs=1, talk=Talk(cancelled=lambda: _pid(tmp_path / "a-1") > 0)))
    assert not psutil.pid_exists(_pid(tmp_path / "a-1"))


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, str(here / "pooltasks.py"), str(tmp_path)], env={**os.environ, "PYTHONPATH": paths}
    )
    try:
        marks = [tmp_path / "a-1", tmp_path / "b-2"]
        _wait(lambda: all(_pid(mark) > 0 for mark in marks))
    finally:
        parent.kill()
        parent.wait()
    _wait(lambda: not any(_lives(_pid(mark)) for mark in marks))


def _pid(mark: Path) -> int:
    return int(mark.read_text() or 0) if mark.is_file() else 0


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(reached, seconds: float = 30.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)
