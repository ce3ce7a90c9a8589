"""Slices with their readings and the product's labels side by side, as one PNG; a patient is recognisable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_ID, CLASSES, HEALTHY
from ..io.ct import CT
from ..report.pictures import tint
from .readings import CODES, ReadCT, Square

WINDOW_HU = (-1100.0, 0.0)

_ROW_INCHES, _DPI = 2.6, 80
_MARGIN_MM = 20.0
_BACKGROUND, _LETTERS = "#101418", "#d8dee6"


def write_squares(path: Path, read: ReadCT, ct: CT, labels: NDArray[np.uint8]) -> None:
    """Write every slice that was read as a row: the CT with its readings, the CT with the labels.

    Rows and columns are the file's own, so that the squares are where the readings say.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    _, dy, dx = ct.geometry.spacing_zyx
    shown = {number: squares for number, squares in sorted(read.slices.items()) if squares}
    box = _around([square for squares in shown.values() for square in squares], ct)
    wide = (box[1].stop - box[1].start) * dx / ((box[0].stop - box[0].start) * dy)
    height = _ROW_INCHES * len(shown) + 0.5
    figure = Figure(figsize=(2 * _ROW_INCHES * wide + 0.1, height), dpi=_DPI, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    below = 0.45 / height
    panels = figure.subplots(len(shown), 2, squeeze=False)
    figure.subplots_adjust(left=0, right=1, bottom=below, top=1, wspace=0.01, hspace=0.01)
    low, high = WINDOW_HU
    extent = (box[1].start - 0.5, box[1].stop - 0.5, box[0].stop - 0.5, box[0].start - 0.5)
    for (number, squares), (left, right) in zip(shown.items(), panels, strict=True):
        grey = ((ct.hu[number][box].astype(np.float32) - low) / (high - low)).clip(0.0, 1.0)
        left.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=extent, aspect=dy / dx)
        right.imshow(tint(grey, labels[number][box]), extent=extent, aspect=dy / dx)
        for square in squares:
            _draw(left, square)
        left.text(0.01, 0.98, f"slice {number}", color=_LETTERS, va="top", transform=left.transAxes)
        for axes in (left, right):
            axes.set_axis_off()
    figure.legend(
        handles=[Patch(color=_colour(c.id), label=c.name) for c in CLASSES],
        loc="lower center",
        ncols=4,
        frameon=False,
        labelcolor=_LETTERS,
        fontsize=7,
    )
    figure.savefig(path, facecolor=figure.get_facecolor())


def _draw(axes: Any, square: Square) -> None:
    from matplotlib.patches import Rectangle

    (y0, y1), (x0, x1) = square.rows, square.columns
    class_id = CODES.get(square.code)
    colour = (0.5, 0.5, 0.5) if class_id is None else _colour(class_id)
    sick = class_id not in (None, HEALTHY)
    inside = (x0 + 0.5, y0 + 0.5), x1 - x0 - 2, y1 - y0 - 2
    axes.add_patch(Rectangle(*inside, fill=False, edgecolor=colour, linewidth=1.6 if sick else 0.5))
    axes.text((x0 + x1) / 2, (y0 + y1) / 2, square.code, color=colour, fontsize=6, ha="center", va="center")


def _colour(class_id: int) -> tuple[float, float, float]:
    red, green, blue = BY_ID[class_id].colour
    return red / 255, green / 255, blue / 255


def _around(squares: list[Square], ct: CT) -> tuple[slice, slice]:
    """The part of a slice that holds every square, with a margin."""
    sides = []
    for edges, size, step in (
        ([square.rows for square in squares], ct.hu.shape[1], ct.geometry.spacing_zyx[1]),
        ([square.columns for square in squares], ct.hu.shape[2], ct.geometry.spacing_zyx[2]),
    ):
        margin = round(_MARGIN_MM / step)
        first, last = min(a for a, _ in edges), max(b for _, b in edges)
        sides.append(slice(max(0, first - margin), min(size, last + margin)))
    return sides[0], sides[1]
