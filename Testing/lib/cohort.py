"""A small cohort on disk, the batch command run on it, and ways to disturb both."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
from smallchest import QUICK_SPACING, chest, quick_image, save, write_dicom
from warm_python import WarmPopen

QUICK = ["--descriptor", "statistics", "--mode", "per-volume", "--components", "4"]


def cohort(folder: Path) -> Path:
    """Five cases: two files, one of the same name in a sub-folder, a DICOM series, and a broken file."""
    (folder / "site").mkdir(parents=True)
    for number, name in enumerate(["a.nii.gz", "b.nrrd", "site/a.nii.gz"]):
        save(quick_image(chest(seed=number)), folder / name)
    write_dicom(
        folder / "series",
        chest(seed=9),
        positions=np.arange(24) * QUICK_SPACING,
        PixelSpacing=[QUICK_SPACING, QUICK_SPACING],
        SliceThickness=QUICK_SPACING,
    )
    (folder / "broken.nii.gz").write_bytes(b"not a volume")
    return folder


CASES = ["a", "b", "broken", "series", "site_a"]


def start_batch(
    source: Path, target: Path, *options: str, stdin: int | None = None, warm: bool = True
) -> subprocess.Popen[str]:
    """The command, its protocol on a pipe; ``warm``, neither it nor its cases import what was imported."""
    command = [sys.executable, "-m", "DiffSegLungLib", "batch", str(source), "-o", str(target)]
    return (WarmPopen if warm else subprocess.Popen)(
        [*command, *QUICK, "--json-progress", *options],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_batch(source: Path, target: Path, *options: str) -> tuple[int, list[dict], str]:
    """Exit code, protocol entries and standard error of a whole run."""
    with start_batch(source, target, *options) as process:
        out, err = process.communicate()
        return process.returncode, [json.loads(line) for line in out.splitlines()], err


def until(process: subprocess.Popen[str], stage: str) -> list[dict]:
    """Read the protocol up to a stage, e.g. ``"b: lungs"``; what was said."""
    said: list[dict] = []
    assert process.stdout is not None
    while not said or said[-1].get("stage") != stage:
        said.append(json.loads(process.stdout.readline()))
    return said


def case_process(process: subprocess.Popen[str]) -> psutil.Process:
    """The process of the case that is being segmented."""
    (child,) = psutil.Process(process.pid).children()
    return child


def summary(target: Path) -> dict[str, dict[str, str]]:
    """Rows of ``summary.csv`` by case."""
    with (target / "summary.csv").open(newline="", encoding="utf-8-sig") as lines:
        return {row["case"]: row for row in csv.DictReader(lines)}


def statuses(target: Path) -> dict[str, str]:
    """Status by case."""
    return {case: row["status"] for case, row in summary(target).items()}


def stages_seen(said: list[dict]) -> set[str]:
    """Names of the cases that were worked on."""
    return {entry["stage"].partition(": ")[0] for entry in said if ": " in entry.get("stage", "")}
