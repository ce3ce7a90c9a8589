"""Make every picture of Resources/Screenshots anew, from generated chests: no patient, no network.

    python Testing/benchmarks/screenshots.py [--only session|training]

Generates a chest, runs the module on it in the headless host (slicer_session.py), trains on five small ones
(slicer_training.py), and puts the pictures in place. The sessions themselves, with their numbers, stay in
runs/screenshots.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib import image

ROOT = Path(__file__).resolve().parents[2]
WORK, TARGET = ROOT / "runs" / "screenshots", ROOT / "Resources" / "Screenshots"
BENCHMARKS = Path(__file__).resolve().parent
GAP = 10
"""Pixels between two pictures that stand side by side."""


def run(*command: str | Path) -> None:
    """A command of this interpreter, on this checkout."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *map(str, command)], check=True, env=environment)


def session() -> None:
    """The panel after a run on the generated chest, two slices and the findings in 3D."""
    chest, out = WORK / "chest", WORK / "session"
    run("-m", "DiffSegLungLib", "phantom", "-o", chest)
    run(BENCHMARKS / "slicer_session.py", chest / "phantom.nii.gz", "-o", out)
    shutil.copy(out / "panel_after.png", TARGET / "panel.png")
    for name in ("axial.png", "coronal.png", "three_d.png"):
        shutil.copy(out / name, TARGET / name)


def training() -> None:
    """Scans checked, training running, training finished; and both curves."""
    out = WORK / "training"
    run(BENCHMARKS / "slicer_training.py", "-o", out, "--steps", "220")
    side_by_side([out / f"{name}.png" for name in ("2_checked", "3_running", "7_finished")], "training")
    side_by_side([out / f"{name}.png" for name in ("4_loss", "5_retrieval")], "training-curves")


def side_by_side(paths: list[Path], name: str) -> None:
    """Several pictures as one, on white, aligned at the top."""
    pictures = [image.imread(path)[..., :3] for path in paths]
    height = max(picture.shape[0] for picture in pictures)
    columns = []
    for picture in pictures:
        missing = height - picture.shape[0]
        columns.append(np.pad(picture, ((0, missing), (0, GAP), (0, 0)), constant_values=1.0))
    image.imsave(TARGET / f"{name}.png", np.hstack(columns)[:, :-GAP])


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("session", "training"))
    only = parser.parse_args().only
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for part in (session, training):
        if only in (None, part.__name__):
            part()


if __name__ == "__main__":
    main()
