"""Send SIGTERM to a run of the command at a chosen stage; for the tests and for benchmarks/cancel.py."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

STAGES = ("start", "read", "lungs", "grid", "features", "mixture", "labels", "fusion", "output")


def cancel_at(
    stage: str,
    ct: Path,
    target: Path,
    options: list[str],
    delay_s: float = 0.0,
    *,
    popen: type[subprocess.Popen[str]] = subprocess.Popen,
) -> tuple[float, int]:
    """Send SIGTERM ``delay_s`` after a run reports ``stage``; seconds until its end, and exit code."""
    command = [
        sys.executable,
        "-m",
        "DiffSegLungLib",
        "segment",
        str(ct),
        "-o",
        str(target),
        "--json-progress",
    ]
    with popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("stage") == stage:
                break
        time.sleep(delay_s)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        code = process.wait()
        return time.monotonic() - begin, code
