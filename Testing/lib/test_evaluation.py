"""``diffseglung evaluate`` from its arguments to its tables, on a very small chest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from DiffSegLungLib.classes import CLASSES
from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.evaluation import harness
from DiffSegLungLib.evaluation.ablation import run as ablation
from DiffSegLungLib.evaluation.folder import EvaluationFolder, file_name
from DiffSegLungLib.evaluation.pool import TaskOutcome
from DiffSegLungLib.evaluation.real import KERNEL_PAIRS, NEAR_HEALTHY, PROGRESSION
from DiffSegLungLib.evaluation.real_tables import kernel_rows, real_tables
from DiffSegLungLib.evaluation.sources import imported
from DiffSegLungLib.evaluation.suites import drawn_lungs, plan, spread
from DiffSegLungLib.evaluation.writing import truth_section, write_evaluation

LIBRARY = Path(__file__).resolve().parents[2] / "DiffSegLungLib"
METHODS = ("DiffSegLung", "HU bands")


def said(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capfd.readouterr().out.splitlines()[-1]))


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The code of the error that these arguments end in."""
    assert main(["evaluate", *arguments, "--json-progress"]) == 2
    return str(said(capfd)["error"]["code"])


def test_an_evaluation_measures_once_and_goes_on(
    small_ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "evaluation"
    monkeypatch.chdir(tmp_path)  # a relative folder must do as well as an absolute one
    arguments = ["evaluate", str(small_ct), "--suite", "lesions", "--cases", "1", "-o", "evaluation"]
    arguments += ["--json-progress", "--methods"]
    assert main([*arguments, "hu-bands,DiffSegLung"]) == 0
    assert said(capfd)["result"] == str(out / "evaluation.md")
    (file,) = (out / "cases").iterdir()
    case = json.loads(file.read_text())
    assert list(case["methods"]) == list(METHODS)
    assert len(case["lesions"]) == 10
    assert 0 < case["methods"]["DiffSegLung"]["auroc"] <= 1
    text = (out / "evaluation.md").read_text()
    assert "--methods hu-bands,DiffSegLung" in text
    assert "| HU bands |" in text
    for picture in ("dice-lesions.png", "calibration-lesions.png", "size-lesions.png"):
        assert f"(evaluation/{picture})" in text
        assert (out / "evaluation" / picture).is_file()
    numbers = json.loads((out / "evaluation.json").read_text())["suites"]["lesions"]
    assert set(numbers["numbers"]) == set(METHODS)
    assert len(numbers["cases"]) == 1

    # The second time nothing is left to do; under other conditions the case is measured again.
    os.utime(file, (1, 1))
    assert main([*arguments, "DiffSegLung,HU bands"]) == 0
    assert file.stat().st_mtime == 1
    # In this process now: the first time it went well in another.
    monkeypatch.setattr(harness, "perform", lambda tasks, work, **_: [TaskOutcome(t, work(t)) for t in tasks])
    assert main([*arguments, "HU bands"]) == 0
    again = json.loads(file.read_text())
    assert list(again["methods"]) == ["HU bands"]
    assert again["methods"]["HU bands"]["units"] == case["methods"]["HU bands"]["units"]
    assert not list(out.glob(".diffseglung*"))


def test_what_cannot_be_measured_is_refused_in_one_sentence(
    small_ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, empty = str(tmp_path / "out"), tmp_path / "empty"
    empty.mkdir()
    data = str(small_ct)
    assert refused(capfd, "--suite", "lesions", "-o", out) == "bad-arguments"
    assert refused(capfd, data, "--suite", "phantom", "-o", out) == "bad-arguments"
    assert refused(capfd, "--suite", "real", "--data", str(tmp_path / "none"), "-o", out) == "no-such-file"
    assert refused(capfd, "--suite", "real", "--data", str(empty), "-o", out) == "no-cases"
    assert refused(capfd, data, "--suite", "lesions", "--cases", "0", "-o", out) == "bad-arguments"
    assert refused(capfd, data, "--suite", "lesions", "--jobs", "0", "-o", out) == "bad-arguments"
    assert refused(capfd, data, "--suite", "lesions", "--methods", "magic", "-o", out) == "unknown-method"
    assert refused(capfd, data, "--suite", "real", "--bundle", str(empty), "-o", out) == "no-bundle"
    assert refused(capfd, data, "--suite", "real", "-o", data) == "output-is-a-file"
    assert not Path(out).exists()


def test_two_evaluations_do_not_write_into_one_folder(
    small_ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / ".diffseglung-partial-another_computer-1-evaluate").mkdir(parents=True)
    assert refused(capfd, str(small_ct), "--suite", "real", "-o", str(out)) == "evaluation-running"


def test_full_chests_are_planned_where_there_are_any(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.nii.gz" for name in ("lidc-idri_0001_standard", "other")]
    names = [task.name for task in plan("lesions", paths, None)]
    assert names[0].startswith("lidc-idri_0001_standard c #0")
    assert len(names) == len(set(names)) == 4
    assert [task.name for task in plan("real", paths, None)] == ["lidc-idri_0001_standard", "other"]
    assert len(plan("lesions", paths[1:], None)) == 4
    assert len(plan("phantom", [], 3)) == 3


def test_cases_are_spread_evenly() -> None:
    assert spread(range(36), 4) == [0, 9, 18, 27]
    assert spread(range(3), 5) == [0, 1, 2]


def test_a_mask_beside_the_data_is_found(tmp_path: Path) -> None:
    mask = tmp_path / "lung_masks" / "a_right-lung.nii.gz"
    mask.parent.mkdir()
    mask.touch()
    assert drawn_lungs(tmp_path / "ct" / "a.nii.gz") == mask
    assert drawn_lungs(tmp_path / "ct" / "b.nii.gz") is None


def test_case_names_become_file_names() -> None:
    assert file_name("lidc-idri_0001_standard c #1") == "lidc-idri_0001_standard_c_1"


def made_case(number: int, good: float) -> dict[str, Any]:
    """A case with two lesions of every class, of which the product finds 90 % and a rival ``good``."""
    rng = np.random.default_rng(number)
    lesions = [
        (key, float(rng.uniform(5, 80)))
        for key in ("emphysema", "ground_glass", "fibrosis", "consolidation", "cavity")
        for _ in range(2)
    ]

    def measured(share: float) -> dict[str, Any]:
        units = [
            {"class_key": key, "lesion": n, "kind": key, "volume_ml": ml, "tp_ml": share * ml, "fp_ml": 0.0,
             "fn_ml": (1 - share) * ml, "hd95_mm": 4.0 if share > 0.5 else None}
            for n, (key, ml) in enumerate(lesions, start=1)
        ]  # fmt: skip
        classes = {key: {"dice": 2 * share / (1 + share), "truth_ml": ml} for key, ml in lesions}
        return {
            "units": units,
            "classes": classes,
            "false_pathology_percent": 1.0,
            "seconds": 2.0,
            "cpu_seconds": 3.0,
        }

    product = measured(0.9) | {"auroc": 0.85, "right": [900] * 20, "wrong": [100] * 20}
    return {
        "case": f"case {number}", "volume": f"ct {number % 2}", "family": "c", "spacing_zyx": [2.5, 0.7, 0.7],
        "began": 100.0 * number, "ended": 100.0 * number + 60, "lesions": [{}] * 10,
        "methods": {"DiffSegLung": product, "rival": measured(good)},
    }  # fmt: skip


def test_tables_say_who_is_ahead_and_which_goals_are_met(tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path)
    folder.prepare()
    run = {
        "command": "diffseglung evaluate", "model": "m 1", "sha256": "0" * 64, "commit": "abc", "cores": 2,
        "created": "2026-01-01 00:00:00 UTC", "jobs": 2, "processor": "P", "diffseglung": "0.1.0",
    }  # fmt: skip
    section = truth_section([made_case(n, 0.3) for n in range(6)], run, "lesions", folder)
    text = section["markdown"]
    # Dice of 90 % found without false positives: 1.8 / 1.9; of 30 %: 0.6 / 1.3.
    assert "| DiffSegLung | 94.7 [94.7, 94.7] |" in text
    assert "+48.6 [48.6, 48.6] below, apart" in text
    assert "missed" not in text
    assert "Every rival is below DiffSegLung in every disease, with intervals apart." in text
    assert "| rival | 0/60 | 0/12 |" in text
    assert "6 cases, 60 lesions, 6 min of wall time" in text
    assert section["numbers"]["DiffSegLung"]["hd95_mm"]["cavity"]["matched"] == 12
    close = truth_section([made_case(n, 0.9) for n in range(6)], run, "lesions", folder)["markdown"]
    assert "- rival, cavity: not told apart" in close
    alone = [made_case(n, 0.3) for n in range(6)]
    for case in alone:
        del case["methods"]["DiffSegLung"]
    assert truth_section(alone, run, "lesions", folder)["markdown"].count("**missed**") == 5


def test_only_code_that_is_imported_counts(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "start.py").write_text("def f():\n    from .other import g\n    return g()\n")
    (package / "other.py").write_text("from . import third\ng = third.h\n")
    (package / "third.py").write_text("def h():\n    return 1\n")
    (package / "apart.py").write_text("import third\n")
    assert {path.name for path in imported(package / "start.py")} == {"start.py", "other.py", "third.py"}
    names = {path.name for path in imported(LIBRARY / "evaluation" / "suites.py")}
    assert {"pipeline.py", "fusion.py", "baselines.py", "metrics.py", "descriptor.py"} <= names
    assert not {"cli.py", "harness.py", "tables.py", "trainer.py", "batch.py"} & names


def real_case(name: str, **shares: float) -> dict[str, Any]:
    """A segmented CT with a lung of 2000 ml, of which the named classes have so many percent."""
    percent = {c.key: shares.get(c.key, 0.0) for c in CLASSES}
    percent["healthy"] = 100 - sum(shares.values())
    return {
        "case": name, "lung_ml": 2000.0, "laa_950_percent": 1.0, "shift_hu": 0.0, "lung_dice": None,
        "product_cpu_seconds": 30.0, "classes": {k: {"percent": p, "ml": 20 * p} for k, p in percent.items()},
    }  # fmt: skip


def test_kernels_agree_relative_to_the_class_or_to_the_lung() -> None:
    soft, sharp = KERNEL_PAIRS[0]
    cases = {
        soft: real_case(soft, emphysema=10.0, fibrosis=0.1, consolidation=4.0),
        sharp: real_case(sharp, emphysema=9.0, fibrosis=0.9, consolidation=6.0),
    }
    verdicts = {row[1]: row[-1] for row in kernel_rows(cases)}
    # 10 % of the larger; 0.8 % of the lung; a third of the larger and 2 % of the lung.
    assert verdicts == {
        "Healthy lung": "passed", "Emphysema": "passed", "Fibrosis": "passed", "Consolidation": "**missed**",
    }  # fmt: skip


def test_what_is_known_of_the_patients_is_checked() -> None:
    records = [
        real_case(NEAR_HEALTHY[0], ground_glass=2.0, fibrosis=0.9),
        real_case(NEAR_HEALTHY[1], ground_glass=2.0, fibrosis=1.1),
        real_case(PROGRESSION[0], emphysema=9.0),
        real_case(PROGRESSION[1], emphysema=26.0),
    ]
    checks = dict(real_tables(records))["What is known of these patients"].splitlines()[2:]
    assert [line.split("|")[2:4] for line in checks] == [
        [" 2.90 % ", " passed "], [" 3.10 % ", " **missed** "], [" 9.0 % → 26.0 % ", " passed "],
    ]  # fmt: skip


def test_ablations_take_their_place_beside_the_other_suites(
    small_ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def run_ablation(volumes: list[Path], out: Path, **options: Any) -> Path:
        asked.update(options, volumes=volumes)
        options["talk"].at("ablation").advance(1.0, "1 of 1 cases")
        out.mkdir()
        (out / "ablation.json").write_text('{"effect": 0.1}')
        (out / "ablation.md").write_text("| switch | effect |\n")
        return out / "ablation.md"

    monkeypatch.setattr(ablation, "run_ablation", run_ablation)
    folder = EvaluationFolder(tmp_path)
    write_evaluation(folder, {"real": {"markdown": "## Real CT\n", "run": {}}})
    arguments = [
        "evaluate",
        str(small_ct),
        "--suite",
        "ablation",
        "--jobs",
        "3",
        "--train",
        "-o",
        str(tmp_path),
    ]
    assert main([*arguments, "--json-progress"]) == 0
    stages = [json.loads(line).get("stage") for line in capfd.readouterr().out.splitlines()]
    assert "ablation: 1 of 1 cases" in stages
    assert (asked["volumes"], asked["jobs"], asked["training"]) == ([small_ct], 3, True)
    text = folder.table.read_text()
    assert text.index("## Real CT") < text.index("## Ablations") < text.index("| switch | effect |")
    assert folder.read_suites()["ablation"]["numbers"] == {"effect": 0.1}
