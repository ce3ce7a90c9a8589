"""A cohort in one command: what fails fails alone, what is done stays done, what is killed leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from cohort import (
    CASES,
    case_process,
    cohort,
    run_batch,
    stages_seen,
    start_batch,
    statuses,
    summary,
    until,
)
from smallchest import chest, quick_image, save

from DiffSegLungLib.commands.batch_summary import COLUMNS
from DiffSegLungLib.io.own_files import OUTPUT_FILES


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int, list[dict], str]:
    """Five cases, one of them broken, the process of another one killed in the middle."""
    folder = tmp_path_factory.mktemp("batch")
    source, target = cohort(folder / "in"), folder / "out"
    with start_batch(source, target) as process:
        said = until(process, "b: lungs")
        case_process(process).kill()
        out, err = process.communicate()
    said += [json.loads(line) for line in out.splitlines()]
    return source, target, process.returncode, said, err


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases, and where their results go."""
    for number, name in enumerate(("one", "two")):
        (tmp_path / "in").mkdir(exist_ok=True)
        save(quick_image(chest(seed=number)), tmp_path / "in" / f"{name}.nii.gz")
    return tmp_path / "in", tmp_path / "out"


def vanish(processes: list[psutil.Process], within_s: float = 5.0) -> bool:
    begin = time.monotonic()
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        time.sleep(0.05)
        if time.monotonic() - begin > within_s:
            return False
    return True


def contents(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_one_broken_and_one_killed_case_cost_one_error_line(disturbed) -> None:
    _, target, exit_code, said, err = disturbed
    assert exit_code == 1
    assert statuses(target) == {c: "failed" if c == "broken" else "done" for c in CASES}
    assert sorted(p.name for p in target.iterdir()) == sorted(
        [*(c for c in CASES if c != "broken"), "summary.csv"]
    )
    for case in set(CASES) - {"broken"}:
        assert sorted(p.name for p in (target / case).iterdir()) == sorted(OUTPUT_FILES)
    assert said[-1] == {"result": str(target / "summary.csv")}
    lines = err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["b", "broken"]
    assert "killed by signal 9" in lines[0]
    assert "tried once more" in lines[0]
    assert summary(target)["broken"]["message"] in lines[1]


def test_the_protocol_names_case_and_stage_and_never_falls(disturbed) -> None:
    *_, said, _ = disturbed
    fractions = [entry["fraction"] for entry in said if "fraction" in entry]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) >= 20
    assert stages_seen(said) == set(CASES)
    assert "site_a: fusion" in {entry.get("stage") for entry in said}


def test_the_summary_says_what_the_results_say(disturbed) -> None:
    _, target, *_ = disturbed
    rows = summary(target)
    assert list(rows) == CASES
    assert tuple(rows["a"]) == COLUMNS
    result = json.loads((target / "a" / "result.json").read_text(encoding="utf-8"))
    lungs = result["tables"]["regions"][0]
    assert float(rows["a"]["lung_ml"]) == pytest.approx(lungs["volume_ml"], abs=0.01)
    assert float(rows["a"]["mass_g"]) == pytest.approx(lungs["density"]["mass_g"], abs=0.01)
    for amount in lungs["classes"]:
        assert float(rows["a"][f"{amount['key']}_ml"]) == pytest.approx(amount["volume_ml"], abs=0.01)
    assert rows["broken"]["lung_ml"] == ""
    assert rows["broken"]["message"].endswith(".")
    raw = (target / "summary.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in raw


def test_no_patient_is_named_anywhere(disturbed) -> None:
    _, target, *_ = disturbed
    for path in target.rglob("*"):
        if path.suffix in {".json", ".csv", ".html"}:
            text = path.read_text(encoding="utf-8")
            assert "Doe^Jane" not in text
            assert '"4711"' not in text
            assert str(target.parent) not in text


def test_the_same_command_again_does_only_what_is_missing(disturbed) -> None:
    source, target, *_ = disturbed
    shutil.rmtree(target / "series")
    os.utime(source / "a.nii.gz")  # copied or touched, its content the same
    before = contents(target)
    exit_code, said, _ = run_batch(source, target)
    assert exit_code == 1
    assert stages_seen(said) == {"broken", "series"}
    after = contents(target)
    unchanged = {p: t for p, t in before.items() if not p.endswith("summary.csv")}
    assert {p: after[p] for p in unchanged} == unchanged
    assert statuses(target) == {c: "failed" if c == "broken" else "done" for c in CASES}


def test_other_settings_are_refused_and_nothing_is_replaced(disturbed, tmp_path: Path) -> None:
    source, target = disturbed[0], shutil.copytree(disturbed[1], tmp_path / "out")
    (source_two := tmp_path / "in").mkdir()
    shutil.copy2(source / "a.nii.gz", source_two / "a.nii.gz")
    save(quick_image(chest(seed=77)), source_two / "b.nrrd")  # another CT under the old name
    before = contents(target)
    exit_code, said, err = run_batch(source_two, target, "--seed", "5")
    assert exit_code == 1
    assert stages_seen(said) == set()
    assert {p: t for p, t in contents(target).items() if "summary" not in p} == {
        p: t for p, t in before.items() if "summary" not in p
    }
    rows = summary(target)
    assert (rows["a"]["status"], rows["b"]["status"]) == ("refused", "refused")
    assert "setting (seed);" in rows["a"]["message"]
    assert "setting (seed) and CT;" in rows["b"]["message"]
    assert rows["series"]["status"] == "done"  # rows of earlier cases stay
    assert "a: " + rows["a"]["message"] in err

    exit_code, said, _ = run_batch(source_two / "a.nii.gz", target, "--seed", "5", "--overwrite")
    assert exit_code == 0
    assert stages_seen(said) == {"a"}
    assert json.loads((target / "a" / "result.json").read_text())["config"]["seed"] == 5


def test_sigkill_of_the_batch_leaves_no_process_and_the_next_run_goes_on(pair) -> None:
    source, target = pair
    with start_batch(source, target) as process:
        until(process, "two: lungs")
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert len(children) == 1
        assert vanish(children)
    assert statuses(target) == {"one": "done", "two": "waiting"}
    exit_code, said, _ = run_batch(source, target)
    assert exit_code == 0
    assert stages_seen(said) == {"two"}
    assert sorted(p.name for p in target.iterdir()) == ["one", "summary.csv", "two"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_case_cleanly_and_keeps_what_is_done(number: int, pair) -> None:
    source, target = pair
    save(quick_image(chest(seed=3)), source / "zero.nii.gz")
    with start_batch(source, target, "--jobs", "2") as process:
        until(process, "one: lungs")
        children = psutil.Process(process.pid).children(recursive=True)
        begin = time.monotonic()
        process.send_signal(number)
        out, _ = process.communicate()
        assert time.monotonic() - begin < 4.0
    assert process.returncode == 3
    assert "same command" in json.loads(out.splitlines()[-1])["error"]["hint"]
    assert vanish(children, 0.5)
    assert statuses(target) == {"one": "cancelled", "two": "cancelled", "zero": "waiting"}
    assert [p.name for p in target.iterdir()] == ["summary.csv"]


def test_two_jobs_run_side_by_side_with_half_the_cores_each(pair) -> None:
    source, target = pair
    with start_batch(source, target, "--jobs", "2", warm=False) as process:
        until(process, "one: lungs")
        together = psutil.Process(process.pid).children()
        threads = [child.environ().get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS") for child in together]
        process.communicate()
    assert len(together) == 2
    assert threads == [str(max(1, len(os.sched_getaffinity(0)) // 2))] * 2
    assert process.returncode == 0
    assert statuses(target) == {"one": "done", "two": "done"}


def test_a_second_batch_into_the_same_folder_is_refused(pair) -> None:
    source, target = pair
    with start_batch(source, target) as process:
        until(process, "one: lungs")
        exit_code, said, _ = run_batch(source, target)
        process.terminate()
        process.communicate()
    assert exit_code == 2
    assert said[-1]["error"]["code"] == "batch-running"


def test_a_batch_stops_with_its_owner(pair) -> None:
    source, target = pair
    with start_batch(source, target, "--stop-with-stdin", stdin=subprocess.PIPE) as process:
        until(process, "one: lungs")
        children = psutil.Process(process.pid).children(recursive=True)
        process.stdin.write("bytes are ignored\n")
        process.stdin.flush()
        time.sleep(0.5)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(5.0) == 3
    assert vanish(children, 0.5)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere", "-o", "out"], "no-such-file"),
        (["empty", "-o", "out"], "no-cases"),
        (["in", "-o", "out", "--jobs", "0"], "bad-arguments"),
        (["in", "-o", "in/one.nii.gz"], "output-is-a-file"),
        (["in", "-o", "out", "--bundle", "nowhere", "--mode", "adapted"], "no-bundle"),
        (["in"], "bad-arguments"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    arguments: list[str],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from DiffSegLungLib.commands.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "in" / "one.nii.gz").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    quick = ["--descriptor", "statistics", "--mode", "per-volume"]
    given = [a for a in quick if "--mode" not in arguments] + arguments
    assert main(["batch", *given, "--json-progress"]) == 2
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["error"]["code"] == code
    assert sorted(tmp_path.rglob("*")) == before


def test_the_results_may_be_named_relative_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from DiffSegLungLib.commands.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.nii.gz").write_bytes(b"x")
    quick = ["--descriptor", "statistics", "--mode", "per-volume"]
    assert main(["batch", "one.nii.gz", "-o", "out", *quick, "-q"]) == 1  # the case fails, the batch does not
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["summary.csv"]
