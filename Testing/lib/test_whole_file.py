"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.owners import own_mark
from DiffSegLungLib.io.whole_file import writing, writing_together


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_older_file_stays_until_the_newer_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    path.write_text("old")
    with writing(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
        assert aside.suffix == ".json"
    assert path.read_text() == "new"
    with pytest.raises(ValueError, match="mine"), writing(path) as aside:
        aside.write_text("half")
        raise ValueError("mine")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["numbers.json"]


def test_a_folder_takes_the_place_of_another_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "old").touch()
    with writing(folder) as aside:
        aside.mkdir()
        (aside / "new").touch()
        assert names(folder) == ["old"]
    assert names(folder) == ["new"]
    assert names(tmp_path) == ["volume"]


def test_of_two_that_belong_together_none_changes_alone(tmp_path: Path) -> None:
    one, other = tmp_path / "weights", tmp_path / "card"
    one.write_text("1")
    other.write_text("1")
    with pytest.raises(InputError), writing_together(one, other) as (first, _second):
        first.write_text("2")  # the second is never written
    assert one.read_text() == other.read_text() == "1"
    with writing_together(one, other) as asides:
        for aside in asides:
            aside.write_text("2")
    assert one.read_text() == other.read_text() == "2"


def test_what_cannot_be_written_is_one_refusal(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused, writing(tmp_path / "nowhere" / "x.csv") as aside:
        aside.write_text("x")
    assert refused.value.code == "not-written"
    assert refused.value.message == "x.csv cannot be written (No such file or directory)."
    with pytest.raises(InputError, match="No space left"), writing(tmp_path / "x.csv") as aside:
        aside.write_text("half")
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_links_in_the_way_are_never_followed(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "x"
    precious.write_text("precious")
    path.symlink_to(precious)
    (tmp_path / f".part-{own_mark()}-x").symlink_to(precious)
    with writing(path) as aside:
        aside.write_text("new")
    assert precious.read_text() == "precious"
    assert path.read_text() == "new" and not path.is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_process_left_goes_with_the_next_file_and_that_of_a_living_one_stays(
    tmp_path: Path,
) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from DiffSegLungLib.io.whole_file import writing
with writing(Path(sys.argv[1])) as aside:
    aside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "killed")], check=False)
    assert len(names(tmp_path)) == 1
    host = own_mark().rsplit("-", 1)[0]
    living = tmp_path / f".part-{host}-{os.getppid()}-living"
    living.touch()
    elsewhere = tmp_path / ".part-another_computer-1-x"
    elsewhere.touch()
    with writing(tmp_path / "next") as aside:
        aside.touch()
    assert names(tmp_path) == sorted([elsewhere.name, living.name, "next"])
