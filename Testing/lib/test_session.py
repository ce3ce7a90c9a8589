"""A command's life: it answers signals at once, says errors in one sentence, and has the right exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from DiffSegLungLib.errors import DiffSegLungError, InputError
from DiffSegLungLib.running.progress import Progress
from DiffSegLungLib.running.session import Session

PROLOGUE = """
import sys, time
from pathlib import Path
from DiffSegLungLib.errors import Cancelled
from DiffSegLungLib.running.output_folder import OutputFolder
from DiffSegLungLib.running.progress import JsonLines, private_stdout
from DiffSegLungLib.running.session import Session

def work(session):
    session.plan({"one": 1.0, "two": 1.0})
    session.output = OutputFolder(Path(sys.argv[1]), ("a.txt",))
    (session.output.path / "a.txt").write_text("x")
    session.check("one")
    BODY
    session.output.commit()
    session.display.result("there", "")

with private_stdout() as stream:
    code = Session(JsonLines(stream), owns_process=True).run(work)
time.sleep(0.3)  # as long as a loaded interpreter may take to end
sys.exit(code)
"""

POLLING = "while True: session.check('one'); time.sleep(0.05)"
DEAF = "time.sleep(60)"
LOUD = "print('a library prints'); session.check('two')"


class Recorder:
    """Keeps what a session says."""

    def __init__(self) -> None:
        self.fractions: list[tuple[str, float, float | None]] = []
        self.errors: list[DiffSegLungError] = []

    def progress(self, stage: str, fraction: float, eta_s: float | None) -> None:
        self.fractions.append((stage, fraction, eta_s))

    def result(self, path: str, summary: str) -> None:
        raise AssertionError("these works end in errors")

    def error(self, error: DiffSegLungError) -> None:
        self.errors.append(error)


def start(target: Path, body: str) -> subprocess.Popen[str]:
    program = PROLOGUE.replace("BODY", body)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("body", [POLLING, DEAF])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_within_five_seconds_without_debris(
    tmp_path: Path, body: str, number: signal.Signals
) -> None:
    with start(tmp_path / "result", body) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["stage"] == "one"
        begin = time.monotonic()
        process.send_signal(number)
        last = process.stdout.read().splitlines()[-1]
        assert process.wait() == 3
        assert time.monotonic() - begin < 5.0
    assert json.loads(last)["error"]["code"] == "cancelled"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [POLLING, DEAF])
def test_work_that_keeps_something_says_so_when_it_is_cancelled(tmp_path: Path, body: str) -> None:
    with start(
        tmp_path / "result", f"session.kept = 'All is kept.'; session.check('one')\n    {body}"
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        error = json.loads(process.stdout.read().splitlines()[-1])["error"]
    assert (error["code"], error["hint"]) == ("cancelled", "All is kept.")


def test_standard_output_carries_the_protocol_alone(tmp_path: Path) -> None:
    with start(tmp_path / "result", LOUD) as process:
        out, err = process.communicate()
    entries = [json.loads(line) for line in out.splitlines()]
    assert [set(e) for e in entries[:-1]] == [{"stage", "fraction", "eta_s"}] * 2
    assert entries[-1] == {"result": "there"}
    assert "a library prints" in err
    assert process.returncode == 0
    assert (tmp_path / "result" / "a.txt").exists()


def test_a_signal_after_the_result_does_not_make_it_a_failure(tmp_path: Path) -> None:
    with start(tmp_path / "result", "session.check('two')") as process:
        assert process.stdout is not None
        while "result" not in json.loads(process.stdout.readline()):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert (tmp_path / "result" / "a.txt").exists()


def test_a_reader_that_goes_away_stops_the_run(tmp_path: Path) -> None:
    body = "t = time.monotonic()\n    while True: session.check('one'); "
    body += "session.progress('one', min(1.0, (time.monotonic() - t) / 5)); time.sleep(0.05)"
    with start(tmp_path / "result", body) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=10) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (InputError("bad", "It is bad.", "Make it good."), 2, "bad"),
        (MemoryError(), 4, "out-of-memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: Failed to allocate memory"), 4, "out-of-memory"),
        (ZeroDivisionError("division by zero"), 1, "unexpected"),
    ],
)
def test_every_kind_of_error_has_its_exit_code_and_one_sentence(
    error: Exception, exit_code: int, code: str
) -> None:
    def work(session: Session) -> None:
        session.check("lungs")
        raise error

    said = Recorder()
    assert Session(said).run(work) == exit_code
    assert [e.code for e in said.errors] == [code]
    assert "\n" not in said.errors[0].message
    assert said.errors[0].message.endswith(".")


def test_progress_is_that_of_the_whole_run_and_never_falls() -> None:
    said = Recorder()
    progress = Progress(said, {"read": 1.0, "features": 3.0})
    for stage, fraction in [
        ("read", 0.0),
        ("read", 1.0),
        ("features", 0.5),
        ("features", 0.2),
        ("features", 1.0),
    ]:
        progress(stage, fraction)
    fractions = [f for _, f, _ in said.fractions]
    assert fractions == pytest.approx([0.0, 0.25, 0.625, 1.0]) or fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert (("features", 0.625)) in [(s, round(f, 3)) for s, f, _ in said.fractions]
