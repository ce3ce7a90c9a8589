"""A folder of results appears whole or not at all, and never over someone's files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.running.output_folder import OutputFolder, other_users

NAMES = ("a.txt", "b.txt")


def filled(target: Path, text: str = "new", *, overwrite: bool = False) -> OutputFolder:
    output = OutputFolder(target, NAMES, overwrite=overwrite)
    for name in NAMES:
        (output.path / name).write_text(text)
    return output


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_nothing_is_seen_before_commit_and_everything_after(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result"
    output = filled(target)
    assert not target.exists()
    assert output.commit()
    assert tree(tmp_path) == {"deep/result/a.txt": "new", "deep/result/b.txt": "new"}
    assert list((tmp_path / "deep").iterdir()) == [target]


def test_discard_leaves_no_trace_not_even_the_parents(tmp_path: Path) -> None:
    filled(tmp_path / "deep" / "result").discard()
    assert list(tmp_path.iterdir()) == []


def test_discard_after_commit_keeps_the_result(tmp_path: Path) -> None:
    output = filled(tmp_path / "result")
    output.commit()
    output.discard()
    assert tree(tmp_path / "result") == {"a.txt": "new", "b.txt": "new"}


def test_commit_after_discard_publishes_nothing(tmp_path: Path) -> None:
    output = filled(tmp_path / "result")
    output.discard()
    assert not output.commit()
    assert list(tmp_path.iterdir()) == []


def test_earlier_results_are_refused_and_untouched(tmp_path: Path) -> None:
    filled(tmp_path, "old").commit()
    with pytest.raises(InputError) as caught:
        OutputFolder(tmp_path, NAMES)
    assert caught.value.code == "output-exists"
    assert tree(tmp_path) == {"a.txt": "old", "b.txt": "old"}


@pytest.mark.parametrize("there", [False, True])
def test_of_two_runs_at_once_the_second_to_end_replaces_nothing(
    tmp_path: Path, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result"
    if there:
        target.mkdir()
    first = filled(target, "first")
    monkeypatch.setattr(os, "getpid", os.getppid)  # a process of its own, and alive
    second = OutputFolder(target, NAMES[:1])
    (second.path / "a.txt").write_text("second")
    assert first.commit()
    with pytest.raises(InputError) as caught:
        second.commit()
    assert caught.value.code == "output-exists"
    second.discard()
    assert tree(tmp_path) == {"result/a.txt": "first", "result/b.txt": "first"}


def test_overwrite_replaces_results_and_spares_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    filled(tmp_path, "old").commit()
    output = filled(tmp_path, "new", overwrite=True)
    assert tree(tmp_path)["a.txt"] == "old"
    output.commit()
    assert tree(tmp_path) == {"mine.txt": "mine", "a.txt": "new", "b.txt": "new"}


def test_a_failure_while_replacing_puts_the_old_files_back(tmp_path: Path) -> None:
    filled(tmp_path, "old").commit()
    output = filled(tmp_path, "new", overwrite=True)
    (tmp_path / "b.txt").unlink()
    (tmp_path / "b.txt").mkdir()  # a folder in the way, with something in it
    (tmp_path / "b.txt" / "mine").write_text("mine")
    (output.path / "replaced").mkdir()
    (output.path / "replaced" / "b.txt").mkdir()
    (output.path / "replaced" / "b.txt" / "x").write_text("so that moving b.txt aside fails")
    with pytest.raises(OSError, match=r"."):
        output.commit()
    output.discard()
    assert tree(tmp_path) == {"a.txt": "old", "b.txt/mine": "mine"}


def test_a_file_as_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        OutputFolder(tmp_path / "file", NAMES)
    assert caught.value.code == "output-is-a-file"


def test_a_file_among_the_parents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        OutputFolder(tmp_path / "file" / "result", NAMES)
    assert caught.value.code == "not-written"


def test_debris_of_a_killed_run_is_removed_but_not_that_of_a_living_one(tmp_path: Path) -> None:
    killed = (
        "import os, signal, sys; from pathlib import Path\n"
        "from DiffSegLungLib.running.output_folder import OutputFolder\n"
        "o = OutputFolder(Path(sys.argv[1]), ()); (o.path / 'part').write_text('x')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    target = tmp_path / "result"
    subprocess.run([sys.executable, "-c", killed, str(target)], check=False)
    (debris,) = tmp_path.iterdir()
    living = debris.with_name(debris.name.replace(debris.name.split("-")[3], str(os.getppid())))
    living.mkdir()
    filled(target).commit()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([living.name, "result"])


def test_a_number_that_another_program_got_meanwhile_owns_nothing(tmp_path: Path) -> None:
    """Process numbers are given again: a program started days after the folder was left has not made it."""
    begun = filled(tmp_path / "old")
    week_ago = psutil.Process().create_time() - 7 * 86_400
    os.utime(begun.path, (week_ago, week_ago))
    assert other_users(tmp_path, "old") == []
    assert not begun.path.exists()


def test_only_runs_into_the_very_folder_are_company(tmp_path: Path) -> None:
    begun = filled(tmp_path / "site-batch")
    assert other_users(tmp_path, "batch") == []
    assert other_users(tmp_path, "site-batch") == [begun.path]
