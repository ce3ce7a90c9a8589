"""``fidelity.md``, ``fidelity.json`` and a picture of samples beside real patches."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...io.whole_file import writing
from ..markdown import markdown_table
from .distances import RANDOM_FEATURES, RANDOM_SEED, SHOWN_PERCENTILES, Distances, Patches, TissueRange

MARKDOWN, NUMBERS, PICTURE = "fidelity.md", "fidelity.json", "samples.png"
_SHOWN = 8
_WINDOW = (-1050.0, 150.0)


@dataclass(frozen=True)
class Reconstruction:
    """How well patches come back from the noise of a timestep.

    Attributes:
        timestep: t.
        method: who took the noise away.
        ssim: mean structural similarity.
        psnr_db: mean peak signal-to-noise ratio over 1400 HU, dB.
    """

    timestep: int
    method: str
    ssim: float
    psnr_db: float


@dataclass(frozen=True)
class Fidelity:
    """All that was measured.

    Attributes:
        bundle: name of the model.
        bundle_sha256: of its weights.
        count: patches of each kind.
        rebuilt: patches that were noised and reconstructed.
        steps: most steps of the solver.
        first_timestep: where the samples begin.
        timesteps: T.
        seed: of patches and noise.
        patients: number of patients behind the reference, and behind the masks of the samples.
        trained_on: how many of the CT the model has seen in training, and how many there are.
        distances: by kind of patch, the reference being the same for all.
        tissues: HU a tissue.
        reconstructions: by timestep and method.
    """

    bundle: str
    bundle_sha256: str
    count: int
    rebuilt: int
    steps: int
    first_timestep: int
    timesteps: int
    seed: int
    patients: tuple[int, int]
    trained_on: tuple[int, int]
    distances: dict[str, Distances]
    tissues: list[TissueRange]
    reconstructions: list[Reconstruction]


def write_report(found: Fidelity, real: Patches, drawn: Patches, folder: Path) -> None:
    """Write the three files into a folder."""
    with writing(folder / NUMBERS) as aside:
        aside.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    with writing(folder / MARKDOWN) as aside:
        aside.write_text(markdown(found), encoding="utf-8")
    draw_grid(real, drawn, folder / PICTURE)


def markdown(found: Fidelity) -> str:
    """The report as Markdown."""
    seen, total = found.trained_on
    distances = [
        [kind, f"{d.radiomic:.2f}", f"{d.random:.2f}", f"{d.hu:.1f}"] for kind, d in found.distances.items()
    ]
    tissues = [
        [t.tissue, _percentiles(t.real), _percentiles(t.drawn), f"{100 * t.within:.1f} %"]
        for t in found.tissues
    ]
    rebuilt = [
        [str(r.timestep), r.method, f"{r.ssim:.3f}", f"{r.psnr_db:.1f}"] for r in found.reconstructions
    ]
    shown = ", ".join(f"{p}" for p in SHOWN_PERCENTILES)
    return f"""\
# Fidelity of samples of {found.bundle}

{found.count} patches of each kind; DPM-Solver++(2M), at most {found.steps} steps from timestep
{found.first_timestep} of {found.timesteps}; seed {found.seed}. The reference is real patches of
{found.patients[0]} patients; samples fill the lungs of real patches of {found.patients[1]} other patients.
{seen} of the {total} CT were in the training of the model.

## Distance from the reference

Squared Fréchet distance over the 34 radiomic descriptors of each patch's lung, and over {RANDOM_FEATURES}
means and spreads of the responses of a random convolutional network (seed {RANDOM_SEED}); both scaled by the
reference. Neither needs a download, and neither compares with a FID of Inception features. Few samples bias
both upwards. HU: Wasserstein distance between the HU of all lung voxels. Smaller is closer; the first two
rows are what real patches score.

{markdown_table(["patches", "radiomic", "random network", "HU"], distances)}
## HU a tissue

Percentiles {shown} in HU, cut to [-1000, 400]. The last column is the share of drawn voxels between the real
ones' first and last percentile shown; real patches have 98 %.

{markdown_table(["tissue", "real", "drawn", "within"], tissues)}
## Reconstruction

{found.rebuilt} real patches with the noise of timestep t (of {found.timesteps}), which is then taken away.
SSIM is three-dimensional with a Gaussian window of 7 voxels, PSNR over 1400 HU (MONAI). The Gaussian has the
width that suits these very patches best.

{markdown_table(["t", "by", "SSIM", "PSNR dB"], rebuilt)}
![samples]({PICTURE})

Above real patches, axial and coronal; below the samples for the same lung masks;
{_WINDOW[0]:g} to {_WINDOW[1]:g} HU.
"""


def draw_grid(real: Patches, drawn: Patches, path: Path) -> None:
    """Eight real patches above eight samples for the same lung masks, axial and coronal."""
    from matplotlib.figure import Figure

    columns = min(_SHOWN, len(real.hu))
    figure = Figure(figsize=(1.5 * columns, 5.4), layout="constrained")
    axes = figure.subplots(4, columns, squeeze=False, height_ratios=(2, 1, 2, 1))
    for row, (name, patches) in enumerate((("real", real), ("drawn", drawn))):
        for column in range(columns):
            axial, coronal = _cuts(patches.hu[column])
            _show(axes[2 * row][column], axial, 1.0)
            _show(axes[2 * row + 1][column], coronal, 2.0)
        axes[2 * row][0].set_title(name, loc="left", fontsize=9)
    figure.savefig(path, dpi=110)


def _cuts(hu: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The middle axial and coronal plane, head up."""
    depth, height, _ = hu.shape
    return hu[depth // 2], hu[::-1, height // 2]


def _show(axes: object, plane: NDArray[np.float32], aspect: float) -> None:
    axes.imshow(plane, cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1], aspect=aspect)  # type: ignore[attr-defined]
    axes.axis("off")  # type: ignore[attr-defined]


def _percentiles(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:.0f}" for v in values)
