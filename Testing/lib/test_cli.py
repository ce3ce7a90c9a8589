"""The command as a user meets it: outputs, refusals, protocol, exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from malformed import MALFORMED, Malformed
from smallchest import QUICK_SPACING

from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.io.own_files import OUTPUT_FILES, RAW_FILES

QUICK = ["--descriptor", "statistics", "--mode", "per-volume", "--components", "4"]


@pytest.fixture(scope="module")
def segmented(small_ct: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The result folder of a run with ``--json-progress``, and what it printed."""
    target = tmp_path_factory.mktemp("out") / "result"
    command = [sys.executable, "-m", "DiffSegLungLib", "segment", str(small_ct), "-o", str(target)]
    ended = subprocess.run([*command, *QUICK, "--json-progress"], check=True, capture_output=True, text=True)
    assert ended.stderr == ""
    return target, ended.stdout


def refusal(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Run a command that must be refused with exit code 2; its error."""
    assert main([*arguments, "--json-progress"]) == 2
    error = json.loads(capfd.readouterr().out.splitlines()[-1])["error"]
    assert error["message"].endswith(".")
    assert "\n" not in error["message"] + error["hint"]
    return dict(error)


def test_all_outputs_are_there_and_nothing_else(segmented: tuple[Path, str]) -> None:
    target, _ = segmented
    assert sorted(p.name for p in target.iterdir()) == sorted(OUTPUT_FILES)
    assert [p.name for p in target.parent.iterdir()] == ["result"]


def test_raw_results_are_the_same_maps_and_numbers(
    segmented: tuple[Path, str], small_ct: Path, tmp_path: Path
) -> None:
    """What a program reads at once is what people get as NIfTI."""
    target, _ = segmented
    name = ["--name", "Thorax 3"]
    assert main(["segment", str(small_ct), "-o", str(tmp_path / "raw"), *QUICK, "--raw", *name, "-q"]) == 0
    assert sorted(p.name for p in (tmp_path / "raw").iterdir()) == sorted(RAW_FILES)
    for what in ("labels", "regions", "entropy"):
        plain, raw = (
            sitk.ReadImage(str(path))
            for path in (target / f"{what}.nii.gz", tmp_path / "raw" / f"{what}.mhd")
        )
        assert raw.GetPixelID() == plain.GetPixelID()
        assert raw.GetDirection() == pytest.approx(plain.GetDirection(), abs=1e-6)
        assert raw.GetOrigin() == pytest.approx(plain.GetOrigin(), abs=1e-4)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(raw), sitk.GetArrayFromImage(plain))
    first, second = (json.loads((place / "result.json").read_text()) for place in (target, tmp_path / "raw"))
    assert second["tables"] == first["tables"]
    assert second["source"] == "Thorax 3"


def test_the_outputs_agree_with_each_other(segmented: tuple[Path, str], small_ct: Path) -> None:
    target, _ = segmented
    ct = sitk.ReadImage(str(small_ct))
    labels = sitk.ReadImage(str(target / "labels.nii.gz"))
    assert labels.GetSize() == ct.GetSize()
    assert labels.GetOrigin() == pytest.approx(ct.GetOrigin())
    values = sitk.GetArrayFromImage(labels)
    np.testing.assert_array_equal(
        values, sitk.GetArrayFromImage(sitk.ReadImage(str(target / "labels.seg.nrrd")))
    )
    result = json.loads((target / "result.json").read_text())
    healthy = result["tables"]["regions"][0]["classes"][0]
    assert healthy["volume_ml"] == pytest.approx((values == 1).sum() * QUICK_SPACING**3 / 1000)
    entropy = sitk.GetArrayFromImage(sitk.ReadImage(str(target / "entropy.nii.gz")))
    assert 0.0 <= entropy.min() <= entropy.max() <= 1.0


def test_the_protocol_goes_from_0_to_1_and_ends_with_the_result(segmented: tuple[Path, str]) -> None:
    target, printed = segmented
    entries = [json.loads(line) for line in printed.splitlines()]
    fractions = [e["fraction"] for e in entries[:-1]]
    assert fractions == sorted(fractions)
    assert 0.0 <= fractions[0] < 0.1
    assert 0.85 < fractions[-1] <= 1.0
    assert entries[-1] == {"result": str(target)}
    stages = list(dict.fromkeys(e["stage"] for e in entries[:-1]))
    assert stages == [
        "start",
        "read",
        "lungs",
        "grid",
        "statistics",
        "features",
        "mixture",
        "fusion",
        "output",
    ]


def test_the_report_needs_no_network_and_names_no_path(segmented: tuple[Path, str]) -> None:
    target, _ = segmented

    text = (target / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="(.{22})', text)
    assert len(sources) >= 9
    assert set(sources) == {"data:image/png;base64,"}
    assert "url(" not in text
    assert str(target.parent) not in text
    assert "Research use only" in text


def test_existing_results_are_refused_then_replaced_on_request(
    segmented: tuple[Path, str], small_ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = shutil.copytree(segmented[0], tmp_path / "result")
    (target / "table.csv").write_text("mine")
    error = refusal(capfd, "segment", str(small_ct), "-o", str(target), *QUICK)
    assert error["code"] == "output-exists"
    assert (target / "table.csv").read_text() == "mine"
    assert main(["segment", str(small_ct), "-o", str(target), *QUICK, "--overwrite", "-q"]) == 0
    assert (target / "table.csv").read_text().startswith("region,")
    assert sorted(p.name for p in target.iterdir()) == sorted(OUTPUT_FILES)


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_malformed_input_gets_one_sentence_exit_code_2_and_no_file(
    case: Malformed, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    error = refusal(capfd, "segment", str(case.build(source)), "-o", str(target / "result"), *QUICK)
    assert error["code"] == case.code
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["segment"], "bad-arguments"),
        (["segment", "ct.nii.gz"], "bad-arguments"),
        (["sgment", "ct.nii.gz"], "bad-arguments"),
        (["segment", "ct.nii.gz", "-o", "out", "--preset", "slow"], "bad-arguments"),
        (["segment", "ct.nii.gz", "-o", "out", "--timesteps", "50;100"], "bad-setting"),
        (["segment", "ct.nii.gz", "-o", "out", "--timesteps", "0"], "bad-setting"),
        (["segment", "ct.nii.gz", "-o", "out", "--components", "1"], "bad-setting"),
        (["segment", "ct.nii.gz", "-o", "out", "--components", "many"], "bad-arguments"),
        (["segment", "ct.nii.gz", "-o", "out", "--seed", "-1"], "bad-setting"),
        (["segment", "ct.nii.gz", "-o", "out", "--config", "nowhere.json"], "bad-config"),
        (["segment", "nowhere.nii.gz", "-o", "out", *QUICK], "no-such-file"),
        (["models", "nowhere"], "no-bundle"),
        (["evaluate", "--suite", "lesions", "-o", "out"], "bad-arguments"),
        (["evaluate", "ct.nii.gz", "-o", "out"], "bad-arguments"),
        (["evaluate", "-o", "out", "--cases", "0"], "bad-arguments"),
        (["train"], "bad-arguments"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    arguments: list[str],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(capfd, *arguments)["code"] == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad-config"),
        ("[]", "bad-config"),
        ('{"speed": 1}', "unknown-setting"),
        ('{"tau": 1}', "bad-setting"),
    ],
)
def test_a_wrong_settings_file_is_refused_by_name(
    text: str, code: str, tmp_path: Path, small_ct: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(text)
    error = refusal(capfd, "segment", str(small_ct), "-o", str(tmp_path / "out"), "--config", str(settings))
    assert error["code"] == code
    assert list(tmp_path.iterdir()) == [settings]


def test_a_mask_elsewhere_is_refused(
    tmp_path: Path, small_ct: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mask = sitk.GetImageFromArray(np.ones((4, 4, 4), np.uint8))
    mask.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(tmp_path / "mask.nrrd"))
    error = refusal(
        capfd,
        "segment",
        str(small_ct),
        "-o",
        str(tmp_path / "out"),
        "--lungs",
        str(tmp_path / "mask.nrrd"),
        *QUICK,
    )
    assert error["code"] == "mask-elsewhere"


def test_options_win_over_the_settings_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    from DiffSegLungLib.commands.cli import _parser, config_from

    settings = tmp_path / "settings.json"
    settings.write_text('{"preset": "fast", "seed": 7, "overlap": 0.1}')
    arguments = [
        "segment",
        "ct",
        "-o",
        "out",
        "--config",
        str(settings),
        "--seed",
        "9",
        "--timesteps",
        "10,20",
    ]
    config = config_from(_parser().parse_args(arguments))
    assert (config.preset, config.seed, config.overlap, config.timesteps) == ("fast", 9, 0.1, (10, 20))


@pytest.mark.usefixtures("small_phantom")
def test_a_full_disk_is_said_so(tiny_disk: Path, small_ct: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for command in (["segment", str(small_ct), *QUICK], ["phantom"]):
        error = refusal(capfd, *command, "-o", str(tiny_disk / "out"))
        assert error["code"] == "not-written"
        assert list(tiny_disk.iterdir()) == []


def test_the_card_of_the_model_that_ships_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show"]) == 0
    shown = capfd.readouterr().out
    assert "labels: none" in shown
    assert "{" not in shown


def test_help_and_the_library_load_without_anything_heavy() -> None:
    program = (
        "import sys, DiffSegLungLib, DiffSegLungLib.commands.cli\n"
        "heavy = {'torch', 'numpy', 'scipy', 'SimpleITK', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(heavy)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.stderr.strip() == ""
    helped = subprocess.run(
        [sys.executable, "-m", "DiffSegLungLib", "--help"], check=True, capture_output=True, text=True
    )
    for command in ("segment", "train", "evaluate", "models", "demo"):
        assert command in helped.stdout


@pytest.mark.parametrize("arguments", [["segment", "--help"], ["models"]])
def test_an_output_that_lacks_letters_fails_no_command(tmp_path: Path, arguments: list[str]) -> None:
    folder = tmp_path / "Płuca"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "DIFFSEGLUNG_MODELS": str(folder)}
    ended = subprocess.run(
        [sys.executable, "-m", "DiffSegLungLib", *arguments],
        check=False,
        capture_output=True,
        env=environment,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert rb"\u" in ended.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a shell that closes standard streams")
@pytest.mark.parametrize(
    ("closed", "talk"), [(">&-", "--quiet"), ("2>&-", "--quiet"), ("<&- >&- 2>&-", "--json-progress")]
)
def test_a_program_without_standard_streams_gets_its_result_and_exit_code(
    closed: str, talk: str, small_ct: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "DiffSegLungLib", "segment", str(small_ct), "-o", "result", *QUICK]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command, talk]
    ended = subprocess.run(shell, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert {path.name for path in (tmp_path / "result").iterdir()} == set(OUTPUT_FILES)
