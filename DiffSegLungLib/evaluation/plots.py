"""Pictures of a suite whose truth is known: charts only, no patient is seen in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..classes import BY_KEY
from .metrics import DOUBT_BINS
from .suite_results import DISEASES, MEAN, SuiteResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#16325c", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#888888", "#5ab4d6")
DPI = 110


def draw_plots(results: SuiteResults, suite: str, folder: Path) -> list[tuple[str, str]]:
    """Draw what the results allow.

    Returns:
        File name and caption of every picture.
    """
    drawn = []
    for name, caption, figure in (
        ("dice", f"Dice a class, with 95 % intervals over {results.drawn}", _dice(results)),
        ("calibration", "How often a voxel is wrong, by its entropy", _calibration(results)),
        ("size", f"Dice of every lesion of {results.methods[0]} against its volume", _sizes(results)),
    ):
        if figure is not None:
            figure.savefig(folder / f"{name}-{suite}.png", dpi=DPI)
            drawn.append((f"{name}-{suite}.png", caption))
    return drawn


def _dice(results: SuiteResults) -> Figure:
    keys = [*(k for k in results.classes if k in DISEASES), MEAN]
    figure, axes = new_axes(9.5, 4.6)
    width = 0.8 / max(len(results.methods), 1)
    for number, method in enumerate(results.methods):
        estimates = [results.dice(method, key) for key in keys]
        value, low, high = (np.array([getattr(e, n) for e in estimates]) for n in ("value", "low", "high"))
        x = np.arange(len(keys)) - 0.4 + (number + 0.5) * width
        axes.bar(x, value, 0.86 * width, color=COLOURS[number % len(COLOURS)], label=method)
        spread = np.maximum((value - low, high - value), 0)  # draws that are all alike differ by rounding
        axes.errorbar(x, value, spread, fmt="none", ecolor="#222", elinewidth=0.9, capsize=2)
    axes.set_xticks(range(len(keys)), ["mean of four" if k == MEAN else BY_KEY[k].name for k in keys])
    axes.set_ylabel("Dice")
    axes.set_ylim(0, 1)
    axes.tick_params(axis="x", length=0)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _calibration(results: SuiteResults) -> Figure | None:
    counts = results.doubt(results.methods[0])
    if counts is None:
        return None
    right, wrong = (np.array(c, float) for c in counts)
    voxels = right + wrong
    rate = np.divide(wrong, voxels, out=np.full(DOUBT_BINS, np.nan), where=voxels >= 100)
    middle = (np.arange(DOUBT_BINS) + 0.5) / DOUBT_BINS
    figure, axes = new_axes(5.6, 4.0)
    axes.bar(
        middle, voxels / max(voxels.sum(), 1), 0.9 / DOUBT_BINS, color="#cdd6e4", label="share of the voxels"
    )
    axes.plot(middle, rate, "o-", color=COLOURS[0], ms=4, label="share that is wrong")
    axes.set_xlabel("entropy of the class posterior")
    axes.set_ylabel("share")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8, loc="upper center")
    return figure


def _sizes(results: SuiteResults) -> Figure | None:
    lesions = [u for u in results.lesions(results.methods[0]) if u["kind"]]
    if not lesions:
        return None
    figure, axes = new_axes(6.4, 4.4)
    for key in (k for k in results.classes if k in DISEASES):
        own = [u for u in lesions if u["class_key"] == key]
        dice = [2 * u["tp_ml"] / (2 * u["tp_ml"] + u["fp_ml"] + u["fn_ml"]) for u in own]
        colour = tuple(c / 255 for c in BY_KEY[key].colour)
        axes.scatter(
            [u["volume_ml"] for u in own], dice, s=16, color=colour, label=BY_KEY[key].name, alpha=0.8
        )
    axes.set_xscale("log")
    for axis_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_format(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "125" else "")
    axes.set_xlabel("true volume of the lesion, ml")
    axes.set_ylabel("Dice of the lesion")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def new_axes(width: float, height: float) -> tuple[Figure, Any]:
    """An empty chart of so many inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
