"""Send SIGTERM at every stage of a run: seconds until it ends, exit code, what it leaves behind.

python Testing/benchmarks/cancel.py CT [--preset balanced] [--delay 0.5]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
from cancelling import STAGES, cancel_at


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", type=Path)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--delay", type=float, default=0.5, help="seconds into the stage")
    parser.add_argument("--only", nargs="*", choices=STAGES, help="only these stages")
    options, further = parser.parse_known_args()
    print("| stage | seconds to exit | exit code | left behind |\n|---|---|---|---|")
    for stage in options.only or STAGES:
        with tempfile.TemporaryDirectory() as folder:
            extra = ["--preset", options.preset, *further]
            seconds, code = cancel_at(stage, options.ct, Path(folder) / "result", extra, options.delay)
            left = ", ".join(p.name for p in Path(folder).iterdir()) or "nothing"
            print(f"| {stage} | {seconds:.1f} | {code} | {left} |", flush=True)


if __name__ == "__main__":
    main()
