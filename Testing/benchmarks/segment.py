"""Segment CT files as a user would, one process each: class table, wall time, peak memory, time per stage.

python Testing/benchmarks/segment.py CT [CT …] [--preset balanced] [--keep DIR] [-- further options]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CLASSES = ("healthy", "emphysema", "ground_glass", "fibrosis", "consolidation", "cavity", "vessel")


def measure(ct: Path, output: Path, options: list[str]) -> tuple[float, float, dict[str, Any]]:
    """Wall seconds, peak resident GB and the content of result.json of one run."""
    command = [sys.executable, "-m", "DiffSegLungLib", "segment", str(ct), "-o", str(output), "-q", *options]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{ct.name}: exit code {process.returncode}")
    result = json.loads((output / "result.json").read_text(encoding="utf-8"))
    return seconds, usage.ru_maxrss * 1024 / 1e9, result


def row(name: str, seconds: float, peak_gb: float, result: dict[str, Any]) -> str:
    lungs = result["tables"]["regions"][0]
    shares = {c["key"]: c["percent"] for c in lungs["classes"]}
    cells = [f"{shares[key]:.1f}" for key in CLASSES]
    density = lungs["density"]
    cells += [
        f"{lungs['volume_ml']:.0f}",
        f"{density['laa_950_percent']:.1f}",
        f"{result['air']['shift_hu']:.0f}",
    ]
    return f"| {name} | {' | '.join(cells)} | {seconds:.0f} | {peak_gb:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", nargs="+", type=Path)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--keep", type=Path, help="keep the results, one folder a CT")
    options, further = parser.parse_known_args()
    head = [*CLASSES, "lungs ml", "LAA-950 %", "air shift HU", "wall s", "peak GB"]
    print(f"| % of lung | {' | '.join(head)} |\n|{'---|' * (len(head) + 1)}", flush=True)
    timings: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for ct in options.ct:
            output = (options.keep or Path(folder)) / ct.name.split(".")[0]
            extra = ["--preset", options.preset, "--overwrite", *[o for o in further if o != "--"]]
            seconds, peak_gb, result = measure(ct, output, extra)
            timings[ct.name] = result["timings_s"]
            print(row(ct.name, seconds, peak_gb, result), flush=True)
    stages = list(next(iter(timings.values())))
    print(f"\n| seconds | {' | '.join(stages)} |\n|{'---|' * (len(stages) + 1)}")
    for name, spent in timings.items():
        print(f"| {name} | {' | '.join(f'{spent[s]:.1f}' for s in stages)} |")


if __name__ == "__main__":
    main()
