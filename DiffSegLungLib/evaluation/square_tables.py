"""Tables and the ROC of the suite of readings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .bootstrap import Estimate
from .markdown import markdown_table
from .plots import COLOURS, DPI, new_axes
from .readings import CODES, describe_code
from .square_results import SAID, TOGETHER, SquareResults, sick_squares

_HEALTHY = "H"
_OUTSIDE_THE_LUNGS = "outside the lungs"


def square_tables(results: SquareResults) -> list[tuple[str, str]]:
    """Every table with its caption."""
    head = ["", "sick squares found, %", "healthy squares kept, %", "balanced accuracy, %", "not counted"]
    tables = [
        (
            "Squares at the operating point. Not counted: healthy squares of which less than a tenth lies in "
            "the product's lungs",
            markdown_table(head, [_rates(results, name) for name in (*results.names, TOGETHER)]),
        ),
        (
            "Every code that was read, all CT together",
            markdown_table(["read", "called sick, %", "named right, %"], list(_codes(results))),
        ),
        (
            "What was read (rows) and what the product says (columns), squares",
            markdown_table(
                ["", "read", *(describe_code(code) for code in CODES), _OUTSIDE_THE_LUNGS],
                [row for name in (TOGETHER, *results.names) for row in _confusion(results, name)],
            ),
        ),
    ]
    if len(results.sensitivities) > 1:
        head = ["sensitivity", "sick squares found, %", "healthy squares kept, %", "least kept in a CT, %"]
        tables.append(("What the sensitivity does", markdown_table(head, list(_handle(results)))))
    head = ["mean probability of disease in the square", "squares", "read as sick, %"]
    rows = [
        [f"{low:g} to {high:g}", f"{count:,}", f"{100 * sick:.1f}"]
        for low, high, count, sick in results.reliability()
    ]
    tables.append(("Reliability: what the product thinks, and what was read", markdown_table(head, rows)))
    return tables


def draw_roc(results: SquareResults, folder: Path) -> tuple[str, str]:
    """Draw the ROC of every CT with sick squares, and of all CT together.

    Returns:
        File name and caption of the picture.
    """
    figure, axes = new_axes(6.0, 5.2)
    ill = [name for name in results.names if sick_squares(results.confusion(name))[1]]
    for number, name in enumerate((TOGETHER, *ill)):
        points = sorted(results.curve(name))
        colour = COLOURS[number % len(COLOURS)]
        false, true = (np.array(values) for values in ([1 - p[2] for p in points], [p[1] for p in points]))
        own = [p[0] for p in points].index(results.operating_point)
        axes.plot(false, true, "-", color=colour, lw=2.2 if name == TOGETHER else 1.2, alpha=0.9)
        axes.plot(false[own], true[own], "o", color=colour, ms=8 if name == TOGETHER else 6, label=name)
    axes.plot((0, 1), (0, 1), color="#bbb", lw=0.8, ls=":")
    axes.set_xlabel("healthy squares called sick")
    axes.set_ylabel("sick squares called sick")
    axes.set_xlim(-0.02, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(folder / "roc-regions.png", dpi=DPI)
    caption = (
        "ROC over squares, a CT with sick squares at a time and together; the dot is the operating point "
        f"(sensitivity {results.operating_point:g})"
    )
    return "roc-regions.png", caption


def _rates(results: SquareResults, name: str) -> list[str]:
    confusion = results.confusion(name)
    found, sick = sick_squares(confusion)
    kept, healthy = int(confusion[0, 0]), int(confusion[0, : len(CODES)].sum())
    return [
        f"**{name}**" if name == TOGETHER else name,
        _share(found, sick, results.sensitivity(name)),
        _share(kept, healthy, results.healthy_kept(name)),
        _percent(results.balanced_accuracy(name)),
        str(int(confusion[0, -1])),
    ]


def _codes(results: SquareResults) -> Iterator[list[str]]:
    confusion = results.confusion(TOGETHER)
    for number, code in enumerate(CODES):
        row = confusion[number]
        scored = int(row.sum() - (row[-1] if code == _HEALTHY else 0))
        if scored:
            sick = int(row[1 : len(CODES)].sum())
            yield [
                describe_code(code),
                f"{100 * sick / scored:.1f} ({sick:,}/{scored:,})",
                _share(int(row[number]), scored, results.named(code)),
            ]


def _confusion(results: SquareResults, name: str) -> Iterator[list[str]]:
    for code, row in zip(CODES, results.confusion(name), strict=True):
        if row.sum():
            cells = [
                f"**{count}**" if said == code and count else str(count or "")
                for said, count in zip(SAID, map(int, row), strict=True)
            ]
            yield [name, describe_code(code), *cells]


def _handle(results: SquareResults) -> Iterator[list[str]]:
    each = [results.curve(name) for name in results.names]
    for number, (at, found, kept) in enumerate(results.curve(TOGETHER)):
        least = np.nanmin([curve[number][2] for curve in each])
        own = f"**{at:g}**" if at == results.operating_point else f"{at:g}"
        yield [own, f"{100 * found:.1f}", f"{100 * kept:.1f}", f"{100 * least:.1f}"]


def _share(part: int, whole: int, estimate: Estimate) -> str:
    return f"{_percent(estimate)} ({part:,}/{whole:,})" if whole else ""


def _percent(estimate: Estimate) -> str:
    if not np.isfinite(estimate.value):
        return ""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
