"""``evaluation.md`` and ``evaluation.json`` of an evaluation: every table under the command that made it."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from .. import __version__
from ..io.whole_file import writing
from ..segmentation.provenance import now
from .folder import FORMAT, EvaluationFolder, write_json
from .lung_mask_tables import lung_numbers, lung_tables
from .markdown import markdown_table
from .plots import draw_plots
from .pool import cores
from .real_tables import real_tables
from .square_results import SquareResults
from .square_tables import draw_roc, square_tables
from .suite_results import MEAN, TISSUES, SuiteResults
from .suites import SUITES
from .truth_tables import truth_tables

Record = dict[str, Any]

_TITLES = {
    "phantom": "Generated chests",
    "lesions": "Lesions in real lungs",
    "real": "Real CT without labels",
    "regions": "Real slices that were read square by square",
    "lungs": "The lung mask",
    "ablation": "Ablations",
}

_HEAD = """\
# What was measured

Written by `diffseglung evaluate`; `make evaluation DATA=...` writes it anew. What was measured in other
ways stands in [measurements.md](measurements.md). Nothing here was measured against expert labels: the
lesions and the generated chests are **synthetic**, and what is known of real disease are readings of squares
of 20 mm (suite `regions`), which are as good as their readers. The families of lesions and their seeds are
held out from training and tuning; the lungs they are inserted into are not: the network that tells tissues
saw them healthy, as it saw the `train` CT of the readings; [method.md](method.md) has the readings with
each patient left out. The product beside seven rivals stands in [evaluation-rivals.md](evaluation-rivals.md).

How to read it:

- Brackets hold a 95 % confidence interval: percentiles of 1000 bootstrap draws over lesions (over cases for
  healthy lung, vessels, AUROC and false pathology; over chests for generated ones, which are too few for more
  than a hint).
- Dice is pooled: 2 TP / (2 TP + FP + FN) over the volumes of all lesions of a class. A false positive counts
  against the nearest lesion of its class in the case; in a case without one it counts by itself.
- A lesion is matched where the 26-connected components of its class that touch it cover at least 25 % of it;
  HD95 (MONAI) is then measured between the lesion and the whole of these components.
- False pathology is the share of lesion-free lung that got the label of any pathology. Voxels that
  were denser than -600 HU before (vessels, walls), and a patient's own disease, are not scored.
- A square that was read (`regions`) is called sick where all diseases fill at least 25 % of its labelled
  voxels, and gets the disease with the largest share. Of less than 10 % labelled, a sick square counts as
  missed, a healthy one not at all. Codes for vessels, no lung and no agreement are not scored. Intervals:
  patients (one CT each) are drawn, then slices within each.
- Outside the ribs (`lungs`) is what lies beyond the convex outline of the ribs in an axial section, shoulder
  blades left out: a lower bound, since what lies between two ribs counts as inside.
"""

_GOALS = (
    ("mean Dice of the four tissues at least 75 %", "mean", 0.75),
    ("no tissue below 60 %", "least", 0.60),
    ("cavity at least 50 %", "cavity", 0.50),
    ("median HD95 of matched lesions at most 10 mm", "border", 10.0),
    ("AUROC of entropy against error at least 0.80", "auroc", 0.80),
)


def describe_run(command: str, model: Record | None, jobs: int) -> Record:
    """What every table is headed by, in plain values.

    Args:
        command: what the user typed.
        model: ``name`` and ``sha256``; None where none took part.
        jobs: cases at a time.
    """
    named = {"name": "", "sha256": ""} if model is None else model
    return {
        "command": command,
        "model": named["name"],
        "sha256": named["sha256"],
        "diffseglung": __version__,
        "commit": commit(),
        "created": now(),
        "cores": cores(),
        "jobs": jobs,
        "processor": _processor(),
    }


def truth_section(records: Sequence[Record], run: Record, suite: str, folder: EvaluationFolder) -> Record:
    """A suite whose truth is known, as an entry of ``evaluation.json``; draws its plots."""
    results = SuiteResults(records)
    run = run | _extent(records)
    parts = [_tables(truth_tables(results), run)]
    if suite == "lesions":
        parts.insert(0, _tables([("Goals", _goals(results, results.methods[0]))], run))
    parts += [_picture(*drawn) for drawn in draw_plots(results, suite, folder.plots)]
    return _section(suite, run, "\n".join(parts), results.numbers(), records)


def real_section(records: Sequence[Record], run: Record) -> Record:
    """The suite of real CT, as an entry of ``evaluation.json``."""
    run = run | _extent(records)
    return _section("real", run, _tables(real_tables(list(records)), run), {}, records)


def regions_section(records: Sequence[Record], run: Record, folder: EvaluationFolder) -> Record:
    """The suite of readings, as an entry of ``evaluation.json``; draws its ROC."""
    run = run | _extent(records)
    results = SquareResults(records)
    name, caption = draw_roc(results, folder.plots)
    parts = [_tables(square_tables(results), run), _picture(name, caption)]
    return _section("regions", run, "\n".join(parts), results.numbers(), records)


def lungs_section(records: Sequence[Record], run: Record) -> Record:
    """The suite of lung masks, as an entry of ``evaluation.json``."""
    run = run | _extent(records)
    return _section("lungs", run, _tables(lung_tables(records), run), lung_numbers(records), records)


def ablation_section(table: Path, run: Record) -> Record:
    """The ablations, whose tables come ready made, their numbers beside them."""
    numbers = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
    return _section("ablation", run, table.read_text(encoding="utf-8").strip() + "\n", numbers, ())


def write_evaluation(folder: EvaluationFolder, suites: Record) -> None:
    """Write both files anew from the sections of all suites."""
    ordered = {name: suites[name] for name in SUITES if name in suites}
    write_json(folder.numbers, {"format": FORMAT, "suites": ordered})
    text = "\n".join([_HEAD, *(entry["markdown"] for entry in ordered.values())])
    with writing(folder.table) as aside:
        aside.write_text(text, encoding="utf-8")


def commit() -> str:
    """The commit of the checkout that the library runs from; empty for an installed one."""
    home = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(home), *arguments], capture_output=True, text=True, check=False, timeout=20
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not (home / ".git").exists():
            return ""
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "DiffSegLungLib")
        return git("rev-parse", "--short", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.SubprocessError):  # no git here
        return ""


def _section(suite: str, run: Record, body: str, numbers: Record, records: Sequence[Record]) -> Record:
    markdown = f"## {_TITLES[suite]}\n\n{_long_head(run)}\n\n{body}"
    return {"run": run, "numbers": numbers, "cases": list(records), "markdown": markdown}


def _tables(tables: Sequence[tuple[str, str]], run: Record) -> str:
    return "\n".join(f"**{caption}**\n\n{_short_head(run)}\n\n{table}" for caption, table in tables)


def _picture(name: str, caption: str) -> str:
    return f"![{caption}](evaluation/{name})\n\n{caption}.\n"


def _long_head(run: Record) -> str:
    place = f"{run['cores']} cores of {run['processor']}, {_count(run['jobs'], 'case')} at a time"
    source = f"diffseglung {run['diffseglung']}" + (f", commit {run['commit']}" if run["commit"] else "")
    extent = ""
    if "cases" in run:
        lesions = f", {run['lesions']} lesions" if run["lesions"] else ""
        failed = f", {run['failed']} failed" if run.get("failed") else ""
        extent = f" {_count(run['cases'], 'case')}{lesions}{failed}, {_duration(run['wall_s'])} of wall time."
    model = f"Model {run['model']} (SHA-256 {run['sha256'][:12]})" if run["model"] else "Without a model"
    return f"`{run['command']}`\n\n{model}; {source}; {run['created']}; {place}.{extent}"


def _short_head(run: Record) -> str:
    lesions = f", {run['lesions']} lesions" if run.get("lesions") else ""
    command = run["command"]
    command = command if len(command) <= 140 else f"{command[:138]} …"
    model = f"{run['model']} {run['sha256'][:12]}, " if run["model"] else ""
    return f"<sub>`{command}`: {model}{run['created'][:10]}{lesions}</sub>"


def _goals(results: SuiteResults, method: str) -> str:
    borders = results.borders(method, "", lambda record, unit: bool(unit["kind"]))
    found = {
        "mean": results.dice(method, MEAN).value,
        "least": min((results.dice(method, key).value for key in TISSUES), default=float("nan")),
        "cavity": results.dice(method, "cavity").value,
        "border": borders[0].value,
        "auroc": results.of_cases(method, "auroc").value,
    }
    rows = []
    for goal, name, limit in _GOALS:
        value = found[name]
        met = value <= limit if name == "border" else value >= limit
        shown = f"{value:.1f} mm" if name == "border" else f"{value:.3f}"
        rows.append([goal, shown if isfinite(value) else "", "met" if met else "**missed**"])
    return markdown_table(["", "measured", ""], rows)


def _extent(records: Sequence[Record]) -> Record:
    return {
        "cases": len(records),
        "lesions": sum(len(record.get("lesions", ())) for record in records),
        "wall_s": _wall_s(records),
    }


def _wall_s(records: Sequence[Record]) -> float:
    """Seconds in which at least one case was at work: pauses of a resumed evaluation do not count."""
    total, reached = 0.0, float("-inf")
    for began, ended in sorted((record["began"], record["ended"]) for record in records):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _processor() -> str:
    with_names = Path("/proc/cpuinfo")
    if with_names.is_file():
        for line in with_names.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
