"""Parity and throughput of the radiomic descriptor against pyradiomics + scikit-image, as Markdown tables.

    python Testing/benchmarks/radiomic_descriptors.py [--parity 50] [--batch 32] [--timed 8] [--threads 2]

The file cannot be called radiomics.py: it would hide pyradiomics, whose import name that is.

Parity: ``--parity`` made-up masked patches of 16×48×48 voxels, described by both sides. Throughput: patches
of 32×96×96, ours a batch at a time, the reference on the first ``--timed`` of the same patches, in turns
within this one run, medians. Wall time is what a user waits, the reference in one process as it comes, and
suffers from other work on the machine; processor time adds up all threads, so its ratio is that of two sides
which both use every core without loss.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Threads that wait should sleep: on a machine with other work, spinning takes the cores from whoever works.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import radiomics_reference as reference

from DiffSegLungLib.radiomics import NAMES, describe

Seconds = reference.Floats
PARITY_SHAPE = (16, 48, 48)
SHAPE = (32, 96, 96)
BLOCKS = (128, 8, 16, 16)
FAMILIES: dict[str, tuple[slice, Callable[[reference.Volume, reference.Mask], reference.Floats]]] = {
    "first order (pyradiomics)": (slice(0, 5), reference.first_order),
    "GLCM (pyradiomics)": (slice(5, 11), reference.glcm),
    "LBP (scikit-image)": (slice(11, 21), reference.lbp),
    "Gabor (scikit-image)": (slice(21, 34), reference.gabor),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--parity", type=int, default=50)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--timed", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _print_parity(options.parity)
    _print_throughput(options.batch, min(options.timed, options.batch))
    _print_blocks()


def _print_parity(count: int) -> None:
    hu, lungs = _patches(count, PARITY_SHAPE)
    ours = describe(torch.from_numpy(hu), torch.from_numpy(lungs)).numpy()
    theirs = np.stack([reference.describe(*patch) for patch in zip(hu, lungs, strict=True)])
    error = reference.relative_error(ours, theirs)
    print(
        f"Parity on {count} masked patches of {PARITY_SHAPE}: |ours - reference| / max(|reference|, 1e-6)\n"
    )
    print("| family | largest | 99th percentile | where |\n|---|---|---|---|")
    for name, (columns, _) in FAMILIES.items():
        block = error[:, columns]
        worst = NAMES[columns][int(block.max(0).argmax())]
        print(f"| {name} | {block.max():.1e} | {np.quantile(block, 0.99):.1e} | {worst} |")


def _print_throughput(batch: int, timed: int) -> None:
    hu, lungs = _patches(batch, SHAPE)
    tensors = torch.from_numpy(hu), torch.from_numpy(lungs)
    describe(*tensors)
    ours: list[Seconds] = []
    theirs: dict[str, list[Seconds]] = {name: [] for name in FAMILIES}
    for patch in list(zip(hu, lungs, strict=True))[:timed]:
        ours.append(_seconds(lambda: describe(*tensors)) / batch)
        for name, (_, compute) in FAMILIES.items():
            theirs[name].append(_seconds(functools.partial(compute, *patch)))
    print(f"\nThroughput, {SHAPE}, {torch.get_num_threads()} threads, batch {batch}; seconds a patch\n")
    print("| what | wall | processor |\n|---|---|---|")
    medians = {name: np.median(seconds, axis=0) for name, seconds in theirs.items()}
    total = np.sum(list(medians.values()), axis=0)
    mine = np.median(ours, axis=0)
    for name, (wall, cpu) in {**medians, "reference, all 34": total}.items():
        print(f"| {name} | {wall:.3f} | {cpu:.3f} |")
    print(f"| ours, all 34 | {mine[0]:.4f} | {mine[1]:.4f} |")
    print("| **ratio** | **{:.0f}** | **{:.0f}** |".format(*(total / mine)))


def _print_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    hu = torch.randn(BLOCKS, generator=generator) * 150 - 700
    lungs = torch.rand(BLOCKS, generator=generator) > 0.3
    wall, cpu = 1000 * np.median([_seconds(lambda: describe(hu, lungs)) for _ in range(15)], axis=0)
    print(f"\n{BLOCKS[0]} blocks of {BLOCKS[1:]}, as in training: {wall:.0f} ms wall, {cpu:.0f} ms processor")


def _patches(count: int, shape: tuple[int, int, int]) -> tuple[reference.Volume, reference.Mask]:
    """Half with whole HU as a scanner gives them, half with fractional HU as after resampling."""
    patches = [reference.random_patch(seed, shape, whole_hu=seed % 2 == 0) for seed in range(count)]
    return np.stack([p[0] for p in patches]), np.stack([p[1] for p in patches])


def _seconds(work: Callable[[], object]) -> Seconds:
    """Wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


if __name__ == "__main__":
    main()
