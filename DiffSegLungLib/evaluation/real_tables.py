"""Tables of the suite of real CT without labels, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..classes import CLASSES, PATHOLOGY
from .markdown import markdown_table
from .real import KERNEL_PAIRS, NEAR_HEALTHY, PROGRESSION

LARGEST_DIFFERENCE_PERCENT = 15.0
LARGEST_DIFFERENCE_OF_LUNG = 1.0
"""Two kernels of one scan agree on a class within either of these."""

MOST_FALSE_PATHOLOGY_PERCENT = 3.0

Record = dict[str, Any]


def real_tables(records: list[Record]) -> list[tuple[str, str]]:
    """Every table that the cases allow, with its caption."""
    cases = {record["case"]: record for record in records}
    tables = [("What the product says of every CT, % of the lung", volumes_table(records))]
    kernels = list(kernel_rows(cases))
    if kernels:
        caption = (
            "Kernel agreement, one scan reconstructed twice: passed within "
            f"{LARGEST_DIFFERENCE_PERCENT:g} % of the larger volume "
            f"or {LARGEST_DIFFERENCE_OF_LUNG:g} % of the lung"
        )
        head = ["scan", "class", "soft, ml", "sharp, ml", "% of the larger", "% of the lung", ""]
        tables.append((caption, markdown_table(head, kernels)))
    again = [row for record in records if "again" in record for row in _again_rows(record)]
    if again:
        head = ["", *(c.name for c in CLASSES)]
        tables.append(("Run to run: Dice of a class between two runs", markdown_table(head, again)))
    checks = list(_checks(cases))
    if checks:
        tables.append(("What is known of these patients", markdown_table(["", "measured", ""], checks)))
    return tables


def volumes_table(records: list[Record]) -> str:
    """One line a CT."""
    head = ["", *(c.name for c in CLASSES), "LAA-950", "air shift, HU", "lung, ml", "lung Dice", "CPU s"]
    rows = []
    for record in sorted(records, key=lambda r: str(r["case"])):
        shares = [f"{record['classes'][c.key]['percent']:.1f}" for c in CLASSES]
        drawn = "" if record["lung_dice"] is None else f"{record['lung_dice']:.3f}"
        shift, lung = f"{record['shift_hu']:+.0f}", f"{record['lung_ml']:.0f}"
        laa = f"{record['laa_950_percent']:.1f}"
        rows.append(
            [record["case"], *shares, laa, shift, lung, drawn, f"{record['product_cpu_seconds']:.0f}"]
        )
    return markdown_table(head, rows)


def kernel_rows(cases: dict[str, Record]) -> Iterator[list[str]]:
    """One row a pair and class that either of the two has."""
    for soft, sharp in KERNEL_PAIRS:
        if soft not in cases or sharp not in cases:
            continue
        both = [cases[name] for name in (soft, sharp)]
        lung_ml = sum(record["lung_ml"] for record in both) / 2
        for c in CLASSES:
            first, second = (record["classes"][c.key]["ml"] for record in both)
            if not max(first, second):
                continue
            apart = abs(first - second)
            relative, of_lung = 100 * apart / max(first, second), 100 * apart / lung_ml
            passed = relative <= LARGEST_DIFFERENCE_PERCENT or of_lung <= LARGEST_DIFFERENCE_OF_LUNG
            yield [
                f"{soft} / {sharp.rsplit('_', 1)[-1]}",
                c.name,
                f"{first:.1f}",
                f"{second:.1f}",
                f"{relative:.1f}",
                f"{of_lung:.2f}",
                _verdict(passed),
            ]


def _again_rows(record: Record) -> Iterator[list[str]]:
    for name, run in record["again"].items():
        found = [run["classes"][c.key] for c in CLASSES]
        cells = ["" if entry["dice"] is None else f"{entry['dice']:.3f}" for entry in found]
        same = " (identical)" if run["identical"] else ""
        yield [f"{record['case']}, {name.replace('_', ' ')}{same}", *cells]


def _checks(cases: dict[str, Record]) -> Iterator[list[str]]:
    for name in NEAR_HEALTHY:
        if name in cases:
            share = pathology_percent(cases[name])
            passed = share < MOST_FALSE_PATHOLOGY_PERCENT
            yield [
                f"{name} is near-healthy: pathology below {MOST_FALSE_PATHOLOGY_PERCENT:g} % of the lung",
                f"{share:.2f} %",
                _verdict(passed),
            ]
    if all(name in cases for name in PROGRESSION):
        before, after = (cases[name]["classes"]["emphysema"]["percent"] for name in PROGRESSION)
        seen = f"{before:.1f} % → {after:.1f} %"
        yield ["elastix-lumc: emphysema has progressed at follow-up", seen, _verdict(after > before)]


def pathology_percent(record: Record) -> float:
    """Share of the lung with any pathology."""
    return float(sum(record["classes"][c.key]["percent"] for c in CLASSES if c.id in PATHOLOGY))


def _verdict(passed: bool) -> str:
    return "passed" if passed else "**missed**"
