"""Every switch of the method with its effect, as one command.

Inference switches act on the shipped model; training switches on short trainings
(:mod:`short_trainings`), which are only compared with one another. Both are measured on the same few cases of
the suite of inserted lesions. Whatever a switch has been measured on is kept.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import Config
from ...errors import InputError
from ...io.fingerprint import fingerprint
from ...io.whole_file import writing
from ...talk import SILENT, Talk
from ..folder import digest_of, file_name, write_json
from ..pool import perform
from ..sources import source_digest
from ..suite_results import SuiteResults
from ..suites import CaseTask, plan
from .bench import Bench, Normalisation, Switch, plain
from .short_trainings import Budget, Trained, train_variants, trained_variants
from .switch_tables import difference, inference_table, training_table
from .switches import ALONE, SWITCHES

CASES = 6
"""Of the suite of inserted lesions, where nobody asks for another number."""

_MEASURED_BY = "evaluation/ablation/bench.py"


def run_ablation(
    volumes: Sequence[Path],
    out: Path,
    *,
    bundle: str = "default",
    config: Config | None = None,
    jobs: int = 2,
    cases: int | None = None,
    training: bool = False,
    budget: Budget | None = None,
    talk: Talk = SILENT,
) -> Path:
    """Measure every switch on a fixed subset of the suite of inserted lesions; write the tables.

    Args:
        volumes: CT files, as the suite gets them.
        out: receives ``ablation.md``, ``ablation.json``, a file a case, and the short trainings.
        bundle: the model, or "default".
        config: settings of the product that the switches start from.
        jobs: cases at a time.
        cases: at most so many, evenly spread; None for :data:`CASES`.
        training: whether to train the variants that are not finished; finished ones are always measured.
        budget: size of the short trainings.
        talk: progress, with a line for people; asked often whether to stop, and what is finished stays.

    Returns:
        ``ablation.md``.

    Raises:
        InputError: a case or a training cannot be made, or a file cannot be written.
        Cancelled: asked to stop.
    """
    from ...model.library import load_model

    (out / "cases").mkdir(parents=True, exist_ok=True)
    trainings = out / "training"
    if training:
        train_variants(training_volumes(volumes), trainings, budget, talk=talk)
    trained = trained_variants(trainings)
    switches = (*SWITCHES, *(s for t in trained for s in _judging(t)))
    model = load_model(bundle)
    tasks = plan("lesions", volumes, cases or CASES)
    work = _Work(
        switches, bundle, model.sha256, config or Config(), out / "cases", source_digest(_MEASURED_BY)
    )
    records = []
    for done, outcome in enumerate(perform(tasks, work, jobs=jobs, talk=talk), start=1):
        if outcome.error:
            raise InputError(
                "ablation-failed", f"{outcome.task.name}: {outcome.error}", "Finished cases are kept."
            )
        records.append(outcome.value)
        talk.advance(done / len(tasks), f"{done} of {len(tasks)} cases")
    results = SuiteResults(sorted(records, key=lambda record: str(record["case"])))
    text = inference_table(results, SWITCHES, model.name)
    if trained:
        text += "\n" + training_table(results, trained)
    write_json(out / "ablation.json", _numbers(results, switches, trained))
    with writing(out / "ablation.md") as aside:
        aside.write_text(text, encoding="utf-8")
    return out / "ablation.md"


def training_volumes(volumes: Sequence[Path]) -> list[Path]:
    """What may be trained on: where an ``index.csv`` beside the data has a column ``use``, only its train."""
    used: dict[str, str] = {}
    for folder in {parent for path in volumes for parent in (path.parent, path.parent.parent)}:
        listing = folder / "index.csv"
        if listing.is_file():
            with listing.open(newline="", encoding="utf-8") as lines:
                rows = csv.DictReader(lines)
                used |= {Path(row["file"]).name: row["use"] for row in rows if "file" in row and "use" in row}
    return [path for path in volumes if used.get(path.name, "train") == "train"]


@dataclass(frozen=True)
class _Work:
    """What a worker does with a case: every switch that has not been measured on it."""

    switches: tuple[Switch, ...]
    bundle: str
    sha256: str
    config: Config
    folder: Path
    source: str

    def __call__(self, task: CaseTask) -> dict[str, Any]:
        place = self.folder / f"{file_name(task.name)}.json"
        known = _read(place)
        marks = {s.key: self._fingerprint(s, task) for s in self.switches}
        methods = {
            key: known["methods"][key]
            for key, mark in marks.items()
            if known.get("fingerprints", {}).get(key) == mark
        }
        record = known | {"methods": methods}
        bench: Bench | None = None
        for switch in self.switches:
            if switch.key in methods:
                continue
            if bench is None:
                bench, facts = self._bench(task)
                record |= facts
            methods[switch.key] = bench.measure(switch)
            record["fingerprints"] = {key: marks[key] for key in methods}
            write_json(place, record)
        record["methods"] = {s.key: methods[s.key] for s in self.switches}
        return record

    def _bench(self, task: CaseTask) -> tuple[Bench, dict[str, Any]]:
        from ...model.library import load_model
        from ..known_truth import CaseKey, make_case

        assert isinstance(task.source, CaseKey)
        case = make_case(task.source)
        facts = {
            "case": task.name,
            "volume": task.source.volume.name.split(".")[0],
            "family": case.family,
            "spacing_zyx": list(case.ct.geometry.spacing_zyx),
            "lesions": len(case.lesions),
        }
        return Bench(case, load_model(self.bundle), self.config), facts

    def _fingerprint(self, switch: Switch, task: CaseTask) -> str:
        from ...model.archive import read_card

        other = read_card(Path(switch.bundle))["sha256"] if switch.bundle else ""
        content = "" if task.path is None else str(fingerprint(task.path)["sha256"])
        shown = {k: v for k, v in plain(switch).items() if k not in ("text", "against", "bundle")}
        return digest_of(self.source, self.sha256, other, self.config.to_json(), shown, task.name, content)


def _judging(trained: Trained) -> list[Switch]:
    """A trained variant by its student's embeddings, and by its bottleneck features alone."""
    seen: Normalisation = "calibrated" if trained.variant.hu_preserving else "z-scored for the network"
    place, changes = str(trained.bundle.absolute()), {**ALONE, "components": 24}
    return [
        Switch(key, trained.variant.text, "", changes, seen, bundle=place, encoder=bare)
        for key, bare in zip(trained.keys, (False, True), strict=True)
    ]


def _numbers(results: SuiteResults, switches: Sequence[Switch], trained: Sequence[Trained]) -> dict[str, Any]:
    """Everything in plain values."""
    return {
        "cases": [record["case"] for record in results.records],
        "switches": {s.key: plain(s) for s in switches},
        "numbers": results.numbers(),
        "effects": {
            s.key: {"mean": difference(results, s.key, s.against).plain(), "against": s.against}
            for s in switches
            if s.against
        },
        "training": {t.variant.key: {"text": t.variant.text, **t.facts} for t in trained},
        "records": results.records,
    }


def _read(place: Path) -> dict[str, Any]:
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        return content if isinstance(content.get("methods"), dict) else {}
    except (OSError, ValueError, AttributeError):
        return {}
