"""The loss curve of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.whole_file import writing
from .settings import TrainingSettings


def draw_curve(entries: list[dict[str, Any]], settings: TrainingSettings, path: Path) -> None:
    """Noise loss, InfoNCE and retrieval over the steps of a run, both stages marked; PNG.

    Args:
        entries: lines of the run's log.
        settings: settings of the run.
        path: where the picture goes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    noise, contrast = figure.subplots(2, 1, sharex=True)
    noise.plot(*_series(entries, "noise"), color="#9ab", lw=0.6, label="training")
    noise.plot(*_smooth(*_series(entries, "noise")), color="#246", lw=1.6, label="training, smoothed")
    noise.plot(
        *_series(entries, "validation_noise"), "o-", color="#c60", ms=3, lw=1.0, label="held-out patients"
    )
    noise.set_ylabel("noise L1")
    noise.set_yscale("log")
    noise.yaxis.set_major_formatter("{x:.2g}")
    noise.yaxis.set_minor_formatter("{x:.2g}")
    noise.legend(frameon=False)

    contrast.plot(*_series(entries, "contrast"), color="#9ab", lw=0.6)
    contrast.plot(
        *_smooth(*_series(entries, "contrast")), color="#246", lw=1.6, label="InfoNCE, training (nats)"
    )
    contrast.set_ylabel("InfoNCE")
    contrast.set_xlabel("step")
    share = contrast.twinx()
    share.plot(
        *_series(entries, "retrieval_top5"),
        "o-",
        color="#c60",
        ms=3,
        lw=1.0,
        label="retrieval top 5, held out",
    )
    share.plot(
        *_series(entries, "retrieval_top1"),
        "o-",
        color="#a33",
        ms=3,
        lw=1.0,
        label="retrieval top 1, held out",
    )
    share.set_ylabel("share of blocks")
    share.set_ylim(bottom=0.0)
    handles = [*contrast.get_legend_handles_labels()[0], *share.get_legend_handles_labels()[0]]
    names = [str(handle.get_label()) for handle in handles]
    contrast.legend(handles, names, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    for axes in (noise, contrast):
        axes.axvspan(settings.stage_two, settings.full_weight, color="#ddd", alpha=0.5, lw=0)
        axes.grid(alpha=0.2)
    two_stages = "Stage 1: noise prediction. Stage 2: with radiomic distillation (grey: its weight rises)"
    noise.set_title(
        two_stages if settings.full_weight else "Noise prediction and radiomic distillation", fontsize=10
    )
    with writing(path) as aside:
        figure.savefig(aside, format="png", dpi=120)


def _series(entries: list[dict[str, Any]], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = [(entry["step"], entry[name]) for entry in entries if name in entry]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.asarray(steps, float), np.asarray(values, float)


def _smooth(
    steps: NDArray[np.float64], values: NDArray[np.float64], window: int = 25
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(values) < 2 * window:
        return steps, values
    kernel = np.ones(window) / window
    return steps[window - 1 :], np.convolve(values, kernel, mode="valid")
