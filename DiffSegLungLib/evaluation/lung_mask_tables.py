"""Tables of the suite of lung masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .markdown import markdown_table
from .readings import SICK, describe_code

MOSTLY = 0.5
"""Share of a square from which on it counts as covered."""

Record = dict[str, Any]


def lung_tables(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Every table that the cases allow, with its caption."""
    ordered = sorted(records, key=lambda record: str(record["case"]))
    head = ["", "lung, ml", "outside the ribs, ml", "Dice", "known lung inside, %", "s"]
    tables = [("The lung mask", markdown_table(head, [_mask(record) for record in ordered]))]
    contours = [
        [str(record["case"]), c["contour"], f"{c['ml']:.1f}", f"{100 * c['inside']:.1f}"]
        for record in ordered
        for c in record["contours"]
    ]
    if contours:
        head = ["", "contour", "ml", "inside the mask, %"]
        tables.append(("Contours of disease inside the lung mask", markdown_table(head, contours)))
    squares = list(_squares(ordered))
    if squares:
        caption = (
            "Squares that were read as sick, inside the lung mask. A square at the border holds chest wall "
            "or mediastinum too, so that even a perfect mask stays below 100 %"
        )
        head = ["", "read", "squares", "covered on average, %", f"at least {100 * MOSTLY:.0f} % covered"]
        tables.append((caption, markdown_table(head, squares)))
    return tables


def lung_numbers(records: Sequence[Record]) -> Record:
    """What sums the suite up, ready for JSON."""
    covered = [square["covered"] for record in records for square in record["squares"]]
    return {
        "outside_ribs_ml": {str(record["case"]): record["outside_ribs_ml"] for record in records},
        "contours": {c["contour"]: c["inside"] for record in records for c in record["contours"]},
        "squares": len(covered),
        "covered": float(np.mean(covered)) if covered else None,
        "mostly_covered": sum(share >= MOSTLY for share in covered),
    }


def _mask(record: Record) -> list[str]:
    known = ["", ""]
    if record["dice"] is not None:
        known = [f"{record['dice']:.3f}", f"{100 * record['inside']:.1f}"]
    outside = f"{record['outside_ribs_ml']:.1f}"
    return [str(record["case"]), f"{record['lung_ml']:.0f}", outside, *known, f"{record['seconds']:.0f}"]


def _squares(records: Sequence[Record]) -> Iterator[list[str]]:
    """One row a CT and code, then one a code, then one for all."""
    each = [(str(record["case"]), s["code"], s["covered"]) for record in records for s in record["squares"]]
    for name in dict.fromkeys(name for name, _, _ in each):
        for code in SICK:
            yield from _row(name, code, [c for own, read, c in each if (own, read) == (name, code)])
    if each:
        for code in SICK:
            yield from _row("together", code, [c for _, read, c in each if read == code])
        yield from _row("**together**", "", [c for _, _, c in each])


def _row(name: str, code: str, covered: Sequence[float]) -> Iterator[list[str]]:
    if covered:
        read = describe_code(code) if code else "all"
        mostly = sum(share >= MOSTLY for share in covered)
        yield [name, read, str(len(covered)), f"{100 * np.mean(covered):.1f}", f"{mostly}/{len(covered)}"]
