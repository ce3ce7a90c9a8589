"""A run whose files are damaged, huge, links or of another form is refused in a sentence, or healed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smallchest import chest, image, save
from test_finetune import refusal
from test_training import TINY
from warm_python import WarmPopen

from DiffSegLungLib.anatomy.lungs import Lungs, segment_lungs
from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.errors import Cancelled, InputError
from DiffSegLungLib.io.ct import CT, Geometry
from DiffSegLungLib.io.owners import own_mark
from DiffSegLungLib.io.whole_file import writing
from DiffSegLungLib.talk import Talk
from DiffSegLungLib.training import population, run_folder, store, trainer
from DiffSegLungLib.training.dataset import split_by_patient
from DiffSegLungLib.training.run import TrainingRequest, _begun, train
from DiffSegLungLib.training.run_folder import RunFolder
from DiffSegLungLib.training.store import prepare_store

SETTINGS = replace(TINY, base=16, attention_heads=4, steps=2)
COMMAND = ["--size", "small", "--patch", "8", "32", "32", "--batch", "2", "--workers", "0", "--steps", "2",
           "--stage-two", "20", "--full-weight", "30", "--learning-rate", "1e-3"]  # fmt: skip
DEEP = "[" * 100_000


@pytest.fixture(scope="module", autouse=True)
def _lungs_found_once() -> Iterator[None]:
    """The lungs of a CT that is prepared many times are found the first time; no number here needs care."""
    found: dict[tuple[bytes, Geometry], Lungs] = {}

    def remembered(ct: CT) -> Lungs:
        key = ct.hu.tobytes(), ct.geometry
        if key not in found:
            found[key] = segment_lungs(ct)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "segment_lungs", remembered)
        patch.setattr(trainer, "_STATISTICS_PATCHES", 8)
        patch.setattr(trainer, "_VALIDATION_PATCHES", 4)
        patch.setattr(population, "POPULATION_LESIONS", 2)
        yield


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ct")
    for i in range(2):
        save(image(chest(seed=i), spacing=(3.0, 3.0, 3.0)), place / f"{i}.nii.gz")
    return place


def one_step() -> Talk:
    """A talk that stops a training once it has told of its first step."""
    told: list[str] = []
    return Talk(lambda stage, *_: told.append(stage), cancelled=lambda: told.count("train") > 1)


@pytest.fixture(scope="module")
def stopped(ct: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its first step."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Cancelled):
        train(TrainingRequest((ct,), run, SETTINGS), one_step())
    assert (run / "checkpoint.pt").is_file()
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stopped, tmp_path / "run")


def changed(path: Path, **entries: Any) -> str:
    return json.dumps(json.loads(path.read_text()) | entries)


@pytest.mark.parametrize("name", ["request.json", "settings.json", "cohort.json", "checkpoint.pt"])
@pytest.mark.parametrize("content", ["", "{", "7", "[1]", "[[]]", '{"a": 1}', DEEP, "\udcff"])
def test_a_damaged_file_is_refused_by_name(
    run: Path, capfd: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    (run / name).write_bytes(content.encode(errors="surrogateescape"))
    error = refusal(capfd, "--resume", run)
    assert error["code"] == (
        "bad-setting" if (name, content[:2]) == ("settings.json", '{"') else "run-damaged"
    )
    assert name.split(".", maxsplit=1)[0] in error["message"]


def test_entries_of_another_form_are_refused(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    request = run / "request.json"
    for entries in (
        {"sources": "abc"},
        {"sources": [1]},
        {"parent": 7},
        {"name": None},
        {"minutes": "long"},
        {"minutes": -1},
        {"device": []},
    ):
        kept = request.read_text()
        request.write_text(changed(request, **entries))
        assert refusal(capfd, "--resume", run)["code"] == "run-damaged", entries
        request.write_text(kept)
    request.write_text(changed(request, name="../../x"))
    assert refusal(capfd, "--resume", run)["code"] == "bundle-name"
    request.write_text(changed(request, name="own", device="tpu"))
    assert refusal(capfd, "--resume", run)["code"] == "no-device"
    settings = run / "settings.json"
    for entries in ({"steps": "many"}, {"steps": True}, {"patch": [8, 32]}, {"patch": 8}, {"shell": "x"}):
        kept = settings.read_text()
        settings.write_text(changed(settings, **entries))
        assert refusal(capfd, "--resume", run)["code"] == "bad-setting", entries
        settings.write_text(kept)


@pytest.mark.parametrize("store", ["../../other", "/etc", "", "..", 5])
def test_the_store_of_a_run_is_not_left(run: Path, store: object) -> None:
    lines = json.loads((run / "cohort.json").read_text())
    lines[0]["store"] = store
    (run / "cohort.json").write_text(json.dumps(lines))
    with pytest.raises(InputError, match=r"cohort\.json in the run run is damaged"):
        RunFolder(run).cohort()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
@pytest.mark.parametrize("name", ["request.json", "cohort.json", "log.jsonl"])
def test_a_file_without_end_is_not_read(
    run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    assert name in refusal(capfd, "--resume", run)["message"]
    (run / name).unlink()
    (run / name).symlink_to("/dev/zero")
    assert name in refusal(capfd, "--resume", run)["message"]
    (run / name).unlink()
    (run / name).write_text("[]")
    monkeypatch.setattr(run_folder, "_LARGEST", 1)
    assert name not in ("request.json",) or refusal(capfd, "--resume", run)["code"] == "run-damaged"


def test_a_link_in_the_way_is_replaced_and_never_followed(run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    names = ["log.jsonl", "loss.png", "result.json"]
    (run / "bundle").mkdir()
    (run / "bundle" / f".part-{own_mark()}-card.json").symlink_to(precious)
    (run / f".part-{own_mark()}-checkpoint.pt").symlink_to(precious)
    for name in [*names, *(f".part-{own_mark()}-{name}" for name in names)]:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(precious)
    assert main(["train", "--resume", str(run), "--quiet"]) == 0
    assert precious.read_text() == "precious"
    assert not any((run / name).is_symlink() for name in names)
    assert RunFolder(run).outcome()["steps"] == 2


def test_lines_that_are_none_end_the_log(run: Path) -> None:
    folder = RunFolder(run)
    whole = '{"step": 20}\n'
    for odd in ("7", "[]", '{"noise": 1}', '{"step": "x"}', DEEP, ""):
        folder.log.write_text(f"{whole}{odd}\n{whole}")
        assert folder.entries() == [{"step": 20}]
    folder.log.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"log\.jsonl"):
        folder.entries()


@pytest.mark.parametrize("content", ["", "[1]", '{"pid": "x", "host": 1}', '{"pid": -1}', DEEP])
def test_a_damaged_claim_keeps_nobody_out(run: Path, content: str) -> None:
    (run / "owner.json").write_text(content)
    RunFolder(run).claim()
    assert json.loads((run / "owner.json").read_text())["pid"] == os.getpid()


def test_a_damaged_store_is_made_anew(ct: Path, run: Path) -> None:
    store = run / "store"
    folders = sorted(p for p in store.iterdir() if p.is_dir())
    (folders[0] / "meta.json").write_text("[1")
    (folders[0] / "hu.npy").unlink()
    (store / f"{folders[1].name}.refused.json").write_text('{"code": 1}')
    shutil.rmtree(folders[1])
    usable, refused = prepare_store([ct], store)
    assert len(usable) == 2 and not refused
    assert usable[0].open()[0].dtype == np.int16

    hu, lungs = ((folders[0] / name).read_bytes() for name in ("hu.npy", "lungs.npy"))
    for name, whole in (("hu.npy", hu), ("lungs.npy", lungs)):
        for content in (b"", b"\x93NUMPY\x01\x00", whole[: len(whole) // 2], lungs if whole == hu else hu):
            (folders[0] / name).write_bytes(content)
            assert len(prepare_store([ct], store)[0]) == 2
            assert (folders[0] / name).read_bytes() == whole


@pytest.mark.parametrize("name", ["hu.npy", "lungs.npy"])
def test_a_run_without_a_checkpoint_prepares_again_what_is_half_written(run: Path, name: str) -> None:
    (run / "checkpoint.pt").unlink()
    prepared = next((run / "store").glob(f"*/{name}"))
    whole = prepared.read_bytes()
    prepared.write_bytes(whole[: len(whole) // 2])
    assert main(["train", "--resume", str(run), "--quiet"]) == 0
    assert prepared.read_bytes() == whole
    assert RunFolder(run).outcome()["steps"] == 2


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with CT of four patients, and a run on it that was stopped after its first step."""
    ct, run = tmp_path / "ct", tmp_path / "run"
    ct.mkdir()
    for i in range(4):
        save(image(chest(seed=i), spacing=(3.0, 3.0, 3.0)), ct / f"{i}.nii.gz")
    with pytest.raises(Cancelled):
        train(TrainingRequest((ct,), run, SETTINGS), one_step())
    assert (run / "checkpoint.pt").is_file()
    return ct, run


def split_of(ct: Path, run: Path) -> list[list[str]]:
    """Names of the CT to train on and of those held out, of a run that goes on."""
    request = TrainingRequest((ct,), run, SETTINGS, resumed=True)
    volumes = _begun(request, RunFolder(run), Talk())
    return [[v.name for v in side] for side in split_by_patient(volumes, 0.3, 0)]


def test_a_run_that_has_begun_keeps_its_ct_and_its_split(own: tuple[Path, Path]) -> None:
    ct, run = own
    before = split_of(ct, run)
    cohort = (run / "cohort.json").read_text()
    save(image(chest(seed=9), spacing=(3.0, 3.0, 3.0)), ct / "00.nii.gz")
    first, second, third, _ = json.loads(cohort)
    (run / "store" / first["store"] / "meta.json").write_text("{")
    (run / "store" / second["store"] / "hu.npy").write_bytes(b"")
    meta = run / "store" / third["store"] / "meta.json"
    meta.write_text(changed(meta, fingerprint="0" * 16))
    os.utime(ct / "0.nii.gz", (1, 1))  # the same voxels are the same CT
    assert split_of(ct, run) == before
    assert (run / "cohort.json").read_text() == cohort

    lines = json.loads(cohort)
    for line in lines:  # as earlier versions wrote it
        del line["fingerprint"]
        line["patient"] = f"{int(line['patient']):012x}"
    (run / "cohort.json").write_text(json.dumps(lines))
    (run / "store" / lines[1]["store"] / "meta.json").write_text("{")
    assert split_of(ct, run) == before


def test_a_ct_that_cannot_be_prepared_again_is_named(
    own: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    ct, run = own
    cohort = (run / "cohort.json").read_text()
    (run / "store" / json.loads(cohort)[1]["store"] / "meta.json").unlink()
    save(image(chest(seed=9), spacing=(3.0, 3.0, 3.0)), ct / "1.nii.gz")
    for _ in range(2):
        error = refusal(capfd, "--resume", run)
        assert error["code"] == "store-damaged" and "1.nii.gz" in error["message"]
        (ct / "1.nii.gz").unlink(missing_ok=True)
    assert (run / "cohort.json").read_text() == cohort
    (run / "cohort.json").unlink()
    assert "cohort.json" in refusal(capfd, "--resume", run)["message"]


def test_a_ct_that_could_not_be_read_is_tried_anew(ct: Path, tmp_path: Path) -> None:
    """What a network drive refuses today, it may give tomorrow; with the same size and time as before."""
    moved = tmp_path / "ct" / "0.nii.gz"
    moved.parent.mkdir()
    whole = (ct / "0.nii.gz").read_bytes()
    moved.write_bytes(bytes(len(whole)))
    os.utime(moved, (1, 1))
    assert not prepare_store([moved], tmp_path / "store")[0]
    moved.write_bytes(whole)
    os.utime(moved, (1, 1))
    assert len(prepare_store([moved], tmp_path / "store")[0]) == 1


def test_what_cannot_be_written_is_said_and_is_no_fault_of_the_ct(
    ct: Path, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run / "loss.png").mkdir()
    error = refusal(capfd, "--resume", run)
    assert error["code"] == "not-written" and "loss.png" in error["message"]
    with pytest.raises(InputError, match="cannot be written"), writing(tmp_path / "nowhere" / "x") as aside:
        aside.write_bytes(b"")
    (tmp_path / "store").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written"):
        prepare_store([ct], tmp_path / "store")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    code = f"""
import resource, torch
from pathlib import Path
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.training.run_folder import RunFolder
run = RunFolder(Path({str(tmp_path)!r}))
run.save_checkpoint({{"step": 1}})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    run.save_checkpoint({{"step": 2, "weights": torch.zeros(100_000)}})
except InputError as error:
    print(error.code, run.load_checkpoint("cpu")["step"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "not-written 1\n"


def test_of_several_processes_one_alone_checks(
    ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["train", str(ct), "--out", str(tmp_path / "run"), "--check"]) == 0
    assert not (tmp_path / "run").exists()


def test_settings_without_sense_are_refused_before_any_ct_is_prepared(
    ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    new = ["--out", tmp_path / "new"]
    for wish, code in (
        (["--patch", "10", "32", "32"], "bad-patch"),
        (["--patch", "0", "32", "32"], "bad-patch"),
        (["--workers", "-1"], "bad-setting"),
        (["--seed", "-1"], "bad-setting"),
        (["--seed", "99999999999999999999999"], "bad-setting"),
        (["--learning-rate", "inf"], "bad-setting"),
        (["--lesion-probability", "2"], "bad-setting"),
        (["--contrast-weight", "nan"], "bad-setting"),
        (["--checkpoint-minutes", "-1"], "bad-setting"),
    ):
        assert refusal(capfd, ct, *new, *wish)["code"] == code, wish
    assert not list(tmp_path.glob("new/store/*"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_a_training_that_is_stopped_while_preparing_says_how_to_go_on(ct: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "DiffSegLungLib",
        "train",
        str(ct),
        "--out",
        str(tmp_path / "run"),
        *COMMAND,
    ]
    with WarmPopen([*command, "--json-progress"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["stage"] == "prepare"
        process.send_signal(signal.SIGTERM)
        error = json.loads(process.stdout.read().splitlines()[-1])["error"]
    assert error["code"] == "cancelled"
    assert error["hint"] == "What was done is kept: the same command goes on from there."


def test_a_run_without_a_line_in_its_log_makes_a_model(ct: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["train", str(ct), "--out", str(run), *COMMAND, "--minutes", "1e-9", "--quiet"]) == 0
    assert RunFolder(run).outcome()["stopped"] == "minutes"
    assert json.loads((run / "bundle" / "card.json").read_text())["training"]["last"] == {}
