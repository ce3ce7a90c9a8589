"""The command ``models`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from modelfiles import change_card, make

from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.model.archive import read
from DiffSegLungLib.model.library import Library


def say(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(list(arguments))
    seen = capfd.readouterr()
    return code, seen.out + seen.err


def test_the_command_from_import_to_delete(
    library: Library, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text = say(capfd, "models", "import", str(folder))
    assert code == 0
    assert "own 1 is installed" in text
    assert "no population mixture" in text  # said before a segmentation fails
    assert "was there already" in say(capfd, "models", "import", str(folder))[1]
    assert "* diffseglung-ct" in say(capfd, "models")[1]
    assert say(capfd, "models", "default", "own", "1")[1] == "The default is own 1, installed.\n"
    assert "* own 1" in say(capfd, "models", "list")[1]
    assert "runs own 1 in" in say(capfd, "device", "--device", "cpu")[1]
    assert "runs diffseglung-ct" in say(capfd, "device", "--device", "cpu", "--bundle", "built-in")[1]
    assert say(capfd, "models", "delete", "own")[0] == 2
    library.set_default("built-in")
    assert "runs own 1 in" in say(capfd, "device", "--device", "cpu", "--bundle", "own 1")[1]
    assert say(capfd, "models", "export", "own", "1", str(tmp_path / "x.zip"))[0] == 0
    assert say(capfd, "models", "delete", "own", "-q") == (0, "own 1\n")
    code, text = say(capfd, "device", "--bundle", "own 1", "--json-progress")
    assert code == 2
    assert json.loads(text)["error"]["code"] == "no-bundle"
    assert "id: own" in say(capfd, "models", str(tmp_path / "x.zip"))[1]


def test_a_default_that_is_gone_is_told_and_the_run_goes_on(
    stocked: Library, capfd: pytest.CaptureFixture[str]
) -> None:
    stocked.set_default("own 2")
    (stocked.folder / "own 2.zip").unlink()
    code, text = say(capfd, "device", "--device", "cpu")
    assert code == 0
    assert "runs diffseglung-ct" in text
    assert "The default model own 2 is not installed any more; the built-in model " in text


def test_programs_get_one_json_line(stocked: Library, capfd: pytest.CaptureFixture[str]) -> None:
    _, text = say(capfd, "models", "--json-progress")
    assert json.loads(text)["result"].splitlines()[1:] == ["own 1", "own 2", "own 10"]
    assert json.loads(say(capfd, "models", "own 2", "--json-progress")[1]) == {"result": "own 2"}
    _, text = say(capfd, "models", "--json-progress", "delete", "nothing")
    assert json.loads(text)["error"]["code"] == "no-bundle"


def test_what_cannot_be_installed_can_still_be_shown_and_used_in_its_place(
    library: Library, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change_card(folder, id="a/b", version=1)
    assert "id: a/b" in say(capfd, "models", str(folder))[1]
    assert "runs a/b 1 in" in say(capfd, "device", "--device", "cpu", "--bundle", str(folder))[1]


def test_a_card_cannot_command_the_terminal(
    library: Library, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change_card(folder, data={"statement": "\x1b[2J3 CT\nof mine \ud800"})
    library.install(folder)
    for arguments in (["models"], ["models", "own"], ["models", "compare", "own", "built-in"]):
        code, text = say(capfd, *arguments)
        assert code == 0
        assert "[2J3 CT" in text
        assert "\x1b" not in text
    assert len(say(capfd, "models")[1].splitlines()) == 4


def test_a_comparison_shows_what_differs_and_no_more(
    library: Library, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = make(tmp_path / "other", version="2", shift=1.0)
    settings = {"batch": 4, "seed": 0}
    change_card(folder, training={"settings": settings}, data={"fingerprints": list("abcdef")})
    change_card(other, training={"settings": settings | {"batch": 8}}, data={"fingerprints": list("defgh")})
    code, text = say(capfd, "models", "compare", str(folder), str(other))
    assert code == 0
    lines = text.splitlines()
    assert lines[0].split() == ["own", "1", "own", "2"]
    assert ["training", "settings", "batch", "4", "8"] in [line.split() for line in lines]
    assert "6 entries, 3 only here  5 entries, 2 only here" in text
    for place in (folder, other):
        assert read(place).card["sha256"] in text
    assert lines[-1] == "the same: architecture, schedule, patch, format"
    assert "the same model" in say(capfd, "models", "compare", str(folder), str(folder))[1]
