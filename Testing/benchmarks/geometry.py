"""The same CT on other grids: Dice a class of each run, mapped back, against the straight run.

python Testing/benchmarks/geometry.py CT [--least-ml 1] [--only NAME …] [segment's options]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from DiffSegLungLib.classes import BY_ID
from DiffSegLungLib.io.geometry import Geometry, resample

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
from variants import VARIANTS, dice_by_class

OUTSIDE = 255


def labels_of(image: sitk.Image, folder: Path, options: list[str]) -> tuple[NDArray[np.uint8], Geometry]:
    """Segment an image by the command line; its labels and their grid."""
    folder.mkdir()
    sitk.WriteImage(image, str(folder / "ct.nii.gz"), True)
    command = [sys.executable, "-m", "DiffSegLungLib", "segment", str(folder / "ct.nii.gz"), "-q"]
    subprocess.run([*command, "-o", str(folder / "result"), *options], check=True, stdout=subprocess.DEVNULL)
    labels = sitk.ReadImage(str(folder / "result" / "labels.nii.gz"))
    return sitk.GetArrayFromImage(labels), Geometry.of(labels)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ct", type=Path)
    parser.add_argument(
        "--least-ml", type=float, default=1.0, help="classes below this volume are not judged"
    )
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), help="only these variants")
    options, further = parser.parse_known_args()
    image = sitk.ReadImage(str(options.ct))
    with tempfile.TemporaryDirectory() as folder:
        straight, geometry = labels_of(image, Path(folder) / "straight", further)
        judged = list(dice_by_class(straight, straight, geometry.voxel_ml, options.least_ml))
        head = [BY_ID[i].key for i in judged]
        print(f"| Dice | {' | '.join(head)} |\n|{'---|' * (len(head) + 1)}", flush=True)
        for number, name in enumerate(options.only or VARIANTS):
            labels, own = labels_of(VARIANTS[name](image), Path(folder) / f"variant{number}", further)
            back = resample(labels, own, geometry, order="nearest", fill=OUTSIDE)
            seen = back != OUTSIDE  # a crop is judged where it still shows something
            dice = dice_by_class(straight * seen, back * seen, geometry.voxel_ml, options.least_ml)
            print(f"| {name} | {' | '.join(f'{dice.get(k, 1.0):.3f}' for k in judged)} |", flush=True)


if __name__ == "__main__":
    main()
