"""The pictures of a real CT as one PNG, to look through many cases; a patient is recognisable in it."""

from __future__ import annotations

import math
from pathlib import Path

from ..classes import BY_KEY, CLASSES
from ..report.notation import number
from ..report.pictures import Panel
from ..report.quantify import Quantities


def write_overview(path: Path, panels: list[Panel], quantities: Quantities) -> None:
    """Write the panels as one PNG: CT above, labels below, with a legend of the classes that occur."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    widths = [panel.ct.shape[1] / panel.ct.shape[0] for panel in panels]
    figure = Figure(figsize=(4.0 * sum(widths) + 0.3, 8.9), dpi=110, facecolor="#101418")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, 3, width_ratios=widths, left=0.01, right=0.99, top=0.95, bottom=0.10, wspace=0.03, hspace=0.03
    )
    for row, kind in enumerate(("ct", "overlay")):
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(getattr(panel, kind), interpolation="antialiased")
            axes.set_axis_off()
            if row == 0:
                axes.set_title(f"{panel.plane}  {panel.position}", color="#d8dee6", fontsize=10)
    named = _legend(quantities)
    patches = [
        Patch(color=tuple(v / 255 for v in c.colour), label=named[c.id]) for c in CLASSES if c.id in named
    ]
    figure.legend(
        handles=patches,
        loc="lower center",
        ncols=math.ceil(len(patches) / 2),
        frameon=False,
        labelcolor="#d8dee6",
        fontsize=9,
    )
    figure.savefig(path, facecolor=figure.get_facecolor())


def _legend(quantities: Quantities) -> dict[int, str]:
    """Class id -> name with its share of the lungs, for the classes that occur."""
    return {
        c.id: f"{BY_KEY[c.key].name}  {number(c.percent, 1)} %"
        for c in quantities.lungs.classes
        if c.volume_ml > 0
    }
