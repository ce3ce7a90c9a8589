"""The report's charts, as HTML and SVG: stacked bars of the regions, and the HU histogram."""

from __future__ import annotations

from ..classes import BY_KEY, CLASSES, TissueClass
from .quantify import Quantities, Region


def stacked_bars(quantities: Quantities) -> str:
    """One bar a region, both lungs first, each side with its thirds."""
    shown = [r for r in quantities.regions if not r.name.startswith("lungs ")]
    return f'<div class="bars">{"".join(_bar(region) for region in shown)}</div>'


def colour_key() -> str:
    """Name and colour of every class."""
    entries = "".join(f'<li><i style="background:{colour(c)}"></i>{c.name}</li>' for c in CLASSES)
    return f'<ul class="legend">{entries}</ul>'


def hu_histogram(quantities: Quantities) -> str:
    """Stacked HU histogram as SVG: ml of lung in every bin, one colour a class."""
    edges = quantities.histogram_edges
    width, height, left, bottom = 640.0, 330.0, 46.0, 34.0
    drawn = [c for c in CLASSES if sum(quantities.histogram_ml[c.key]) > 0]
    totals = [sum(quantities.histogram_ml[c.key][b] for c in drawn) for b in range(len(edges) - 1)]
    top = max([*totals, 1e-9]) * 1.05

    def x(hu: float) -> float:
        return left + (hu - edges[0]) / (edges[-1] - edges[0]) * (width - left - 8)

    def y(ml: float) -> float:
        return 8 + (1 - ml / top) * (height - bottom - 8)

    shapes = []
    base = [0.0] * len(totals)
    for c in drawn:
        raised = [b + v for b, v in zip(base, quantities.histogram_ml[c.key], strict=True)]
        upper = [f"{x(e):.1f},{y(v):.1f}" for b, v in enumerate(raised) for e in edges[b : b + 2]]
        lower = [f"{x(e):.1f},{y(v):.1f}" for b, v in enumerate(base) for e in edges[b : b + 2]]
        shapes.append(f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour(c)}"/>')
        base = raised
    ticks = "".join(
        f'<line x1="{x(hu):.1f}" x2="{x(hu):.1f}" y1="{y(0):.1f}" y2="{y(0) + 4:.1f}"/>'
        f'<text x="{x(hu):.1f}" y="{y(0) + 17:.1f}" text-anchor="middle">{hu}</text>'
        for hu in range(-1000, 301, 200)
    )
    ticks += "".join(
        f'<line class="grid" x1="{left}" x2="{width - 8}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{number(v, 0)}</text>'
        for v in (top / 1.05 / 2, top / 1.05)
    )
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="HU histogram by class">'
        f'{ticks}{"".join(shapes)}<line x1="{left}" x2="{width - 8}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
        f'<text x="{width - 8}" y="{height - 2}" text-anchor="end">HU</text>'
        f'<text x="{left - 6}" y="{y(0) + 4:.1f}" text-anchor="end">0</text></svg>'
    )


def region_name(name: str) -> str:
    """A region as a reader names it; thirds are called so, because a lobe may be called the same."""
    side, _, third = name.partition(" ")
    if third:
        return f"Both lungs, {third} third" if side == "lungs" else f"{side.capitalize()} {third} third"
    return {"lungs": "Both lungs", "right": "Right lung", "left": "Left lung"}.get(name, name.capitalize())


def colour(tissue: TissueClass) -> str:
    """A class's colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*tissue.colour)


def number(value: float | None, digits: int) -> str:
    """A number with a narrow space between thousands and a true minus; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return text.replace("-", "\u2212")


def _bar(region: Region) -> str:
    pieces = "".join(
        f'<i style="width:{c.percent:.3f}%;background:{colour(BY_KEY[c.key])}" '
        f'title="{BY_KEY[c.key].name}: {number(c.percent, 1)} %"></i>'
        for c in region.classes
        if c.percent > 0
    )
    major = " " not in region.name
    return (
        f'<div class="bar{" major" if major else ""}"><span>{region_name(region.name)}</span>'
        f"<div>{pieces}</div><em>{number(region.volume_ml, 0)} ml</em></div>"
    )
