"""SIGTERM at any stage of a real run: exit code 3 within five seconds, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from cancelling import cancel_at

QUICK = ["--descriptor", "statistics", "--mode", "per-volume", "--components", "4"]


@pytest.mark.parametrize("stage", ["start", "read", "lungs", "features", "fusion", "output"])
def test_sigterm_ends_a_run_cleanly(stage: str, small_ct: Path, tmp_path: Path) -> None:
    seconds, code = cancel_at(stage, small_ct, tmp_path / "deep" / "result", QUICK)
    assert code == 3
    assert seconds < 5.0
    assert list(tmp_path.iterdir()) == []
