"""``--stop-with-stdin``: a command ends when the program that holds its standard input goes, not before."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
from DiffSegLungLib.running.output_folder import OutputFolder
from DiffSegLungLib.running.progress import JsonLines, private_stdout
from DiffSegLungLib.running.session import Session

def work(session):
    session.plan({"one": 1.0})
    session.output = OutputFolder(Path(sys.argv[1]), ("a.txt",))
    (session.output.path / "a.txt").write_text("x")
    session.check("one")
    BODY
    session.output.commit()
    session.display.result("there", "")

with private_stdout() as stream:
    code = Session(JsonLines(stream), owns_process=True, stop_with_stdin=STOPS).run(work)
time.sleep(0.3)  # as long as a loaded interpreter may take to end
sys.exit(code)
"""

POLLING = "while True: session.check('one'); time.sleep(0.05)"
DEAF = "time.sleep(60)"
SHORT = "time.sleep(0.5)"


def start(
    target: Path, body: str, *, stops: bool = True, stdin: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    program = PROGRAM.replace("BODY", body).replace("STOPS", str(stops))
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(target)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if stdin == subprocess.PIPE:
        assert json.loads(process.stdout.readline())["stage"] == "one"
    return process


def last_line(process: subprocess.Popen[str]) -> dict:
    assert process.stdout is not None
    return dict(json.loads(process.stdout.read().splitlines()[-1]))


@pytest.mark.parametrize("body", [POLLING, DEAF])
def test_its_end_cancels_within_five_seconds_without_debris(body: str, tmp_path: Path) -> None:
    with start(tmp_path / "result", body) as process:
        begin = time.monotonic()
        process.stdin.close()
        assert last_line(process)["error"]["code"] == "cancelled"
        assert process.wait() == 3
        assert time.monotonic() - begin < 5.0
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_there_means_nothing(tmp_path: Path) -> None:
    with start(tmp_path / "result", SHORT) as process:
        process.stdin.write("stop\x03\x04\n" * 20_000)
        process.stdin.flush()
        assert last_line(process) == {"result": "there"}
        assert process.wait() == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_still_work(number: int, tmp_path: Path) -> None:
    with start(tmp_path / "result", POLLING) as process:
        begin = time.monotonic()
        process.send_signal(number)
        assert process.wait() == 3
        assert time.monotonic() - begin < 2.0
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_its_end_after_the_result_does_not_make_it_a_failure(tmp_path: Path) -> None:
    with start(tmp_path / "result", "pass") as process:
        assert json.loads(process.stdout.readline()) == {"result": "there"}
        process.stdin.close()
        assert process.wait() == 0
    assert (tmp_path / "result" / "a.txt").exists()


def test_no_input_at_all_cancels_at_once(tmp_path: Path) -> None:
    with start(tmp_path / "result", POLLING, stdin=subprocess.DEVNULL) as process:
        assert process.wait(5.0) == 3


def test_without_the_option_nobody_listens(tmp_path: Path) -> None:
    with start(tmp_path / "result", SHORT, stops=False, stdin=subprocess.DEVNULL) as process:
        assert process.wait() == 0
    assert (tmp_path / "result" / "a.txt").exists()


def test_the_command_has_the_option(small_ct: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "DiffSegLungLib", "segment", str(small_ct), "-o", str(tmp_path / "r")]
    ended = subprocess.run(
        [*command, "--stop-with-stdin", "--json-progress"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode == 3
    assert json.loads(ended.stdout.splitlines()[-1])["error"]["code"] == "cancelled"
    assert list(tmp_path.iterdir()) == []
