"""The report's HU histogram as the template draws it."""

from __future__ import annotations

from dataclasses import dataclass

from ..classes import CLASSES, TissueClass
from .quantify import Quantities

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 640, 330, 46, 34, 8


@dataclass(frozen=True)
class Histogram:
    """Stacked HU histogram in the units of its picture, y growing downwards.

    Attributes:
        width, height: of the picture.
        left, right, floor: where the axes lie.
        ticks: x and HU of each mark of the horizontal axis.
        levels: y and ml of each line of the vertical axis.
        shapes: every class that occurs and the corners of its area, as SVG writes them.
    """

    width: int
    height: int
    left: int
    right: int
    floor: int
    ticks: tuple[tuple[float, int], ...]
    levels: tuple[tuple[float, float], ...]
    shapes: tuple[tuple[TissueClass, str], ...]


def hu_histogram(quantities: Quantities) -> Histogram:
    """Histogram of HU: ml of lung in every bin, one area a class, stacked."""
    edges = quantities.histogram_edges
    right, floor = _WIDTH - _EDGE, _HEIGHT - _BOTTOM
    drawn = [c for c in CLASSES if sum(quantities.histogram_ml[c.key]) > 0]
    totals = [sum(quantities.histogram_ml[c.key][b] for c in drawn) for b in range(len(edges) - 1)]
    highest = max([*totals, 1e-9])
    top = highest * 1.05

    def x(hu: float) -> float:
        return round(_LEFT + (hu - edges[0]) / (edges[-1] - edges[0]) * (right - _LEFT), 1)

    def y(ml: float) -> float:
        return round(_EDGE + (1 - ml / top) * (floor - _EDGE), 1)

    shapes = []
    base = [0.0] * len(totals)
    for c in drawn:
        raised = [b + v for b, v in zip(base, quantities.histogram_ml[c.key], strict=True)]
        upper = [f"{x(e)},{y(v)}" for b, v in enumerate(raised) for e in edges[b : b + 2]]
        lower = [f"{x(e)},{y(v)}" for b, v in enumerate(base) for e in edges[b : b + 2]]
        shapes.append((c, " ".join(upper + lower[::-1])))
        base = raised
    return Histogram(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=right,
        floor=floor,
        ticks=tuple((x(hu), hu) for hu in range(-1000, 301, 200)),
        levels=tuple((y(ml), ml) for ml in (highest / 2, highest)),
        shapes=tuple(shapes),
    )
