"""Send SIGTERM at every stage of a run: seconds until it ends, exit code, what it leaves behind.

python Testing/benchmarks/cancel.py CT [--preset balanced] [--delay 0.5]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = ("start", "read", "lungs", "grid", "features", "mixture", "labels", "fusion", "output")


def cancel_at(
    stage: str, ct: Path, target: Path, options: list[str], delay_s: float = 0.0
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
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", type=Path)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--delay", type=float, default=0.5, help="seconds into the stage")
    options, further = parser.parse_known_args()
    print("| stage | seconds to exit | exit code | left behind |\n|---|---|---|---|")
    for stage in STAGES:
        with tempfile.TemporaryDirectory() as folder:
            extra = ["--preset", options.preset, *further]
            seconds, code = cancel_at(stage, options.ct, Path(folder) / "result", extra, options.delay)
            left = ", ".join(p.name for p in Path(folder).iterdir()) or "nothing"
            print(f"| {stage} | {seconds:.1f} | {code} | {left} |", flush=True)


if __name__ == "__main__":
    main()
