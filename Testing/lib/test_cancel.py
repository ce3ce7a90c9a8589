"""SIGTERM at any stage of a real run: exit code 3 within five seconds, nothing left behind or kept unsaid."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cancelling import cancel_at
from warm_python import WarmPopen

QUICK = ["--descriptor", "statistics", "--mode", "per-volume", "--components", "4"]


@pytest.mark.parametrize("stage", ["start", "read", "lungs", "features", "fusion", "output"])
def test_sigterm_ends_a_run_cleanly(stage: str, small_ct: Path, tmp_path: Path) -> None:
    popen = subprocess.Popen if stage in ("start", "read") else WarmPopen  # amid the imports, or after them
    seconds, code = cancel_at(stage, small_ct, tmp_path / "deep" / "result", QUICK, popen=popen)
    assert code == 3
    assert seconds < 5.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (["batch", "CT", "-o"], "Finished cases are kept"),
        (["evaluate", "--suite", "phantom", "-o"], "Finished cases are kept"),
        (["train", "CT", "--out"], "What was done is kept"),
        (["segment", "CT", "-o"], "No output was written"),
    ],
)
def test_what_a_cancelled_command_keeps_is_said_from_its_first_moment(
    command: list[str], kept: str, small_ct: Path, tmp_path: Path
) -> None:
    arguments = [str(small_ct) if word == "CT" else word for word in command]
    with subprocess.Popen(
        [sys.executable, "-m", "DiffSegLungLib", *arguments, str(tmp_path / "out"), "--json-progress"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        error = json.loads(process.stdout.read().splitlines()[-1])["error"]
    assert error["code"] == "cancelled"
    assert error["hint"].startswith(kept)
