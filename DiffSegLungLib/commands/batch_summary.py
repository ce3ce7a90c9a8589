"""``summary.csv`` of a batch: one row a case, whole at any moment, readable in Excel and by any script.

Columns: ``case``; ``status`` (``done``, ``failed``, ``refused``, ``cancelled``, ``waiting``, or ``skipped``
for a folder or an archive without CT to segment); ``message``, one sentence unless done; ``seconds`` of the
segmentation; ``lung_ml``; ``mean_hu``, ``laa_950_percent``, ``laa_910_percent``, ``perc15_hu``,
``haa_percent`` and ``mass_g`` of both lungs, as :mod:`quantify` defines them; ``air_shift_hu``, which was
added to every HU; ``<class>_ml`` and ``<class>_percent`` of the lungs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..classes import CLASSES
from ..io.whole_file import writing

Status = Literal["done", "failed", "refused", "cancelled", "waiting", "skipped"]
Row = dict[str, str]

FILE = "summary.csv"
DENSITY = ("mean_hu", "laa_950_percent", "laa_910_percent", "perc15_hu", "haa_percent", "mass_g")
COLUMNS = (
    "case", "status", "message", "seconds", "lung_ml", *DENSITY, "air_shift_hu",
    *[f"{c.key}_{unit}" for c in CLASSES for unit in ("ml", "percent")],
)  # fmt: skip


def row(case: str, status: Status, message: str = "") -> Row:
    """The row of a case without numbers."""
    return {"case": case, "status": status, "message": message}


def row_of_result(case: str, result: Mapping[str, Any]) -> Row:
    """The row of a finished case, from its ``result.json``."""
    lungs = result["tables"]["regions"][0]
    numbers: dict[str, float | None] = {
        "seconds": result["run"]["seconds"],
        "lung_ml": lungs["volume_ml"],
        "air_shift_hu": result["air"]["shift_hu"],
        **{name: lungs["density"][name] for name in DENSITY},
    }
    for amount in lungs["classes"]:
        numbers[f"{amount['key']}_ml"] = amount["volume_ml"]
        numbers[f"{amount['key']}_percent"] = amount["percent"]
    shown = {name: "" if value is None else f"{value:.2f}" for name, value in numbers.items()}
    return {**row(case, "done"), **shown}


def read_rows(folder: Path) -> list[Row]:
    """The rows of an earlier summary; none where there is none, or where it cannot be understood."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error:
        return []
    return [{name: str(entry.get(name) or "") for name in COLUMNS} for entry in rows if entry.get("case")]


def write_rows(folder: Path, rows: list[Row]) -> None:
    """Replace the summary in one step; the byte order mark tells Excel that it is UTF-8."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with writing(folder / FILE) as aside:
        aside.write_text(text.getvalue(), encoding="utf-8-sig", newline="")
