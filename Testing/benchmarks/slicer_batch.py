"""A batch from Slicer's Python console: one CT broken, one killed in the middle, then the same call again.

    python Testing/benchmarks/slicer_batch.py CT CT CT CT CT -o FOLDER

Copies five CT into a cohort folder beside a broken sixth, calls `logic.segmentFolder(...)`, kills the
processes of the third CT with SIGKILL whenever they appear, prints the summary, and calls again.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]

from headless_slicer import start  # noqa: E402

host = start()

import slicer  # noqa: E402


def cohort(ct: list[Path], folder: Path) -> Path:
    """Five CT and a file that is none."""
    folder.mkdir(parents=True)
    for number, path in enumerate(ct, start=1):
        shutil.copyfile(path, folder / f"case{number}{''.join(path.suffixes[-2:])}")
    (folder / "case6.nii.gz").write_bytes(b"not a CT at all")
    return folder


def spin(task: Any, kill: str = "") -> int:
    """Runs the main loop until the task ends, killing the processes of the named CT; how many were killed."""
    killed = 0
    while task.isRunning:
        slicer.app.processEvents()
        time.sleep(0.1)
        if kill and "Computing" in task.progress.stage and kill in task.progress.stage:
            killed += _kill(kill)
    return killed


def _kill(name: str) -> int:
    count = 0
    for process in psutil.Process().children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if "segment" in line and any(name in Path(part).name for part in line):
            os.kill(process.pid, signal.SIGKILL)
            count += 1
    return count


def show(summary: Path) -> None:
    with summary.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            print(f"  {row['case']}: {row['status']} {row.get('message', '')}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ct", type=Path, nargs=5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    folder = cohort(options.ct, options.output / "cohort")
    results = options.output / "results"
    host.load(ROOT / "DiffSegLung" / "DiffSegLung.py")
    logic = slicer.util.getModuleLogic("DiffSegLung")
    for attempt, kill in (("first call", "case3"), ("second call", ""), ("third call", "")):
        before = {path: path.stat().st_mtime_ns for path in results.glob("*/result.json")}
        begin = time.monotonic()
        task = logic.segmentFolder(folder, results, preset="fast", waitForCompletion=False)
        killed = spin(task, kill)
        print(f"{attempt}: {time.monotonic() - begin:.0f} s, {killed} processes killed, error: {task.error}")
        show(results / "summary.csv")
        now = {path: path.stat().st_mtime_ns for path in results.glob("*/result.json")}
        new = sorted(path.parent.name for path in now if now[path] != before.get(path))
        print(
            f"  results made by this call: {', '.join(new) or 'none'}; kept untouched: {len(now) - len(new)}"
        )


if __name__ == "__main__":
    main()
