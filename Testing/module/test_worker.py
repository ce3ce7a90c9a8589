"""The worker against real processes: the library's own command, and programs that behave badly."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest
import slicer
from DiffSegLungPanel.work.worker import GRACE_S, Worker, pythonExecutable
from odd_worker import odd_worker

from DiffSegLungLib.errors import Cancelled, DiffSegLungError, InputError, OutOfMemory
from DiffSegLungLib.running.child import Child

CHECKOUT = Path(__file__).resolve().parents[2]
QUICK = ["--descriptor", "statistics", "--mode", "per-volume", "--components", "4"]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and scripts as programs")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "private"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    sys.path.append(str(CHECKOUT / "Testing" / "lib"))
    from smallchest import quick_image, save

    return save(quick_image(), tmp_path_factory.mktemp("ct") / "chest.nii.gz")


def finish(worker, timeout_s=60.0):
    """Poll a worker to its end; all progress."""
    said, begin = [], time.monotonic()
    while worker.isRunning:
        said += worker.poll()
        time.sleep(0.02)
        assert time.monotonic() - begin < timeout_s
    return said


def wait_for_progress(worker):
    begin = time.monotonic()
    while not (said := worker.poll()):
        time.sleep(0.01)
        assert time.monotonic() - begin < 30
    return said


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def odd(folder, body):
    worker = Worker(["segment"], folder, python=odd_worker(folder, body))
    worker.start()
    return worker


def test_a_segmentation_reports_and_delivers(ct, folder):
    before = dict(os.environ)
    worker = Worker(["segment", str(ct), "-o", str(folder / "result"), *QUICK], folder)
    assert not worker.isRunning
    begin = time.monotonic()
    worker.start()
    said = wait_for_progress(worker)
    assert time.monotonic() - begin < 2.0
    longest = 0.0
    while worker.isRunning:
        begin = time.process_time()
        said += worker.poll()
        longest = max(longest, time.process_time() - begin)
        time.sleep(0.05)
    assert longest < 0.1
    fractions = [p.fraction for p in said]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) >= 20
    assert said[0].stage == "start"
    assert worker.result == str(folder / "result")
    assert (worker.error, worker.exitCode, worker.newLog()) == (None, 0, "")
    assert (folder / "result" / "labels.nii.gz").exists()
    assert dict(os.environ) == before
    assert worker.poll() == []


def test_a_refusal_is_the_librarys_own(folder):
    worker = Worker(["segment", str(folder / "nowhere.nii.gz"), "-o", str(folder / "result")], folder)
    worker.start()
    finish(worker)
    assert isinstance(worker.error, InputError)
    assert worker.error.code == "no-such-file"
    assert worker.exitCode == 2
    assert worker.result is None


def test_cancelling_a_segmentation_leaves_no_process_and_no_file(ct, folder):
    worker = Worker(["segment", str(ct), "-o", str(folder / "result"), *QUICK], folder)
    worker.start()
    while not any(p.stage == "features" for p in worker.poll()):
        time.sleep(0.01)
    begin = time.monotonic()
    worker.cancel()
    worker.cancel()
    finish(worker)
    assert time.monotonic() - begin < 5.0
    assert isinstance(worker.error, Cancelled)
    assert worker.exitCode == 3
    assert not alive(worker.pid)
    assert {p.name for p in folder.iterdir()} == {"progress.jsonl", "log.txt"}


@POSIX
def test_one_that_ignores_everything_is_killed_with_its_child(folder):
    worker = odd(
        folder,
        "deaf(); child = subprocess.Popen(SLEEP)\nsay(stage=str(child.pid), fraction=0.2, eta_s=None)\n"
        "while True: time.sleep(1)",
    )
    said = wait_for_progress(worker)
    while len(said) < 2:
        said += worker.poll()
    begin = time.monotonic()
    worker.cancel()
    finish(worker)
    assert GRACE_S <= time.monotonic() - begin < 5.0
    assert isinstance(worker.error, Cancelled)
    assert not alive(worker.pid)
    assert not alive(int(said[-1].stage))


@POSIX
def test_kill_ends_the_whole_tree_at_once_also_what_left_the_group(folder):
    worker = odd(
        folder,
        "deaf(); child = subprocess.Popen(SLEEP, start_new_session=True)\n"
        "say(stage=str(child.pid), fraction=0.2, eta_s=None)\nwhile True: time.sleep(1)",
    )
    said = wait_for_progress(worker)
    while len(said) < 2:
        said += worker.poll()
    begin = time.monotonic()
    worker.kill()
    assert time.monotonic() - begin < 1.0
    assert not worker.isRunning
    assert isinstance(worker.error, Cancelled)
    assert not alive(worker.pid)
    assert not alive(int(said[-1].stage))
    worker.kill()
    worker.cancel()


@POSIX
def test_kill_reaches_the_group_without_psutil(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    worker = odd(
        folder,
        "child = subprocess.Popen(SLEEP)\nsay(stage=str(child.pid), fraction=0.2, eta_s=None)\n"
        "time.sleep(600)",
    )
    said = wait_for_progress(worker)
    while len(said) < 2:
        said += worker.poll()
    worker.kill()
    assert not worker.isRunning
    monkeypatch.undo()
    assert not alive(worker.pid)
    assert not alive(int(said[-1].stage))


@POSIX
def test_a_launcher_that_dies_first_leaves_time_to_clean_up(folder):
    """As PythonSlicer does: the command is the child of a launcher that SIGTERM ends at once."""
    done = folder / "done"
    cleanup = (
        "import signal, sys, time, pathlib\n"
        f"def stop(*_): time.sleep(0.5); pathlib.Path({str(done)!r}).touch(); sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, stop)\ntime.sleep(600)"
    )
    worker = odd(
        folder,
        f"child = subprocess.Popen([sys.executable, '-c', {cleanup!r}]); time.sleep(0.5)\n"
        "say(stage='ready', fraction=0.2, eta_s=None); child.wait()",
    )
    while not any(p.stage == "ready" for p in worker.poll()):
        time.sleep(0.01)
    begin = time.monotonic()
    worker.cancel()
    finish(worker)
    assert time.monotonic() - begin < GRACE_S
    assert done.exists()


@POSIX
def test_a_death_by_signal_is_said_with_advice_and_its_child_dies_too(folder):
    worker = odd(
        folder,
        "child = subprocess.Popen(SLEEP)\nsay(stage=str(child.pid), fraction=0.2, eta_s=None)\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    child = int(finish(worker)[-1].stage)
    assert worker.error.code == "worker-died"
    assert worker.error.message == "The segmentation process ended unexpectedly (killed by signal 9)."
    assert "memory" in worker.error.hint
    assert worker.exitCode == -signal.SIGKILL
    assert not alive(child)


@POSIX
@pytest.mark.parametrize(
    ("body", "how", "hint"),
    [
        ("sys.exit(0)", "exit code 0", "log"),
        ("sys.exit(137)", "killed by signal 9", "memory"),
        ("raise RuntimeError('no such library')", "exit code 1", "no such library"),
    ],
)
def test_an_end_without_a_last_line_is_a_death(folder, body, how, hint):
    worker = odd(folder, body)
    finish(worker)
    assert worker.error.code == "worker-died"
    assert how in worker.error.message
    assert hint in worker.error.hint


@POSIX
def test_garbage_and_half_a_line_are_no_progress_but_kept_in_the_log(folder):
    worker = odd(
        folder,
        "print('[1, 2]'); print('hello'); print('{\"stage\": 3'); print('{}'); say(stage='x', fraction='y')\n"
        "sys.stdout.buffer.write(b'\\xff\\xfe\\n'); say(stage='lungs', fraction=7, eta_s='soon')\n"
        'sys.stdout.write(\'{"stage": "feat\'); sys.stdout.flush(); os._exit(9)',
    )
    said = finish(worker)
    assert [(p.stage, p.fraction, p.etaS) for p in said] == [("read", 0.1, None), ("lungs", 1.0, None)]
    log = worker.newLog()
    assert "hello" in log
    assert '{"stage": "feat' in log
    assert worker.error.code == "worker-died"


@POSIX
def test_a_line_that_comes_in_two_pieces_is_one_line(folder):
    worker = odd(
        folder,
        'sys.stdout.write(\'{"stage": "lungs", "frac\'); sys.stdout.flush(); time.sleep(0.3)\n'
        "print('tion\": 0.5, \"eta_s\": 3.5}', flush=True); time.sleep(0.3); say(result='there')",
    )
    said = finish(worker)
    assert [(p.stage, p.fraction, p.etaS) for p in said] == [("read", 0.1, None), ("lungs", 0.5, 3.5)]
    assert worker.result == "there"
    assert "frac" not in worker.newLog()


@POSIX
def test_a_crash_after_the_result_is_no_failure(folder):
    worker = odd(folder, "say(result='there'); os.kill(os.getpid(), signal.SIGSEGV)")
    finish(worker)
    assert (worker.result, worker.error) == ("there", None)


@POSIX
@pytest.mark.parametrize(
    ("exit_code", "kind"), [(1, DiffSegLungError), (2, InputError), (3, Cancelled), (4, OutOfMemory)]
)
def test_an_error_line_becomes_the_same_error_here(folder, exit_code, kind):
    code = "cancelled" if exit_code == 3 else "some-code"
    worker = odd(
        folder, f"say(error=dict(code={code!r}, message='It is so.', hint='Do so.')); sys.exit({exit_code})"
    )
    finish(worker)
    assert type(worker.error) is kind
    assert worker.error.code == code
    if exit_code != 3:
        assert (worker.error.message, worker.error.hint) == ("It is so.", "Do so.")


@POSIX
def test_much_output_blocks_nobody_and_the_log_comes_in_pieces(folder):
    body = "sys.stderr.write('x' * 3_000_000 + chr(10)); sys.stderr.flush(); say(result='there')"
    worker = odd(folder, body)
    process = psutil.Process(worker.pid)
    begin = time.monotonic()
    while alive(process.pid):  # without a single poll
        time.sleep(0.01)
        assert time.monotonic() - begin < 20
    first = worker.newLog()
    finish(worker)
    assert 0 < len(first) < 3_000_000
    assert len(first + worker.newLog()) == 3_000_001
    assert worker.newLog() == ""


@POSIX
def test_hundreds_of_megabytes_without_an_end_of_line_cost_neither_time_nor_memory(folder):
    body = "for _ in range(300): sys.stdout.write('x' * 1_000_000)\nprint(flush=True); say(result='there')"
    worker = odd(folder, body)
    wait_for_progress(worker)
    while alive(worker.pid):
        time.sleep(0.01)
    tracemalloc.start()
    begin = time.monotonic()
    for _ in range(20):
        worker.poll()
    finish(worker)
    assert time.monotonic() - begin < 5
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()
    assert worker.result == "there"
    assert len(worker.newLog()) < 20_000_000


@POSIX
def test_a_death_is_reported_also_when_its_folder_is_gone(folder):
    worker = odd(folder, "time.sleep(600)")
    wait_for_progress(worker)
    shutil.rmtree(folder)
    os.kill(worker.pid, signal.SIGKILL)
    finish(worker)
    assert worker.error.code == "worker-died"


OWNER = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from DiffSegLungLib.running.child import Child
child = Child(["segment", {ct!r}, "-o", {target!r}, *{quick!r}], Path({folder!r}))
child.start()
while not any(r.stage == "lungs" for r in child.poll()):
    time.sleep(0.01)
print(child.pid, flush=True)
time.sleep(600)
"""


@POSIX
def test_when_slicer_dies_the_command_stops_by_itself(ct, folder):
    program = OWNER.format(
        paths=[str(CHECKOUT)], ct=str(ct), target=str(folder / "result"), quick=QUICK, folder=str(folder)
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        pid = int(owner.stdout.readline())
        assert alive(pid)
        owner.kill()
    begin = time.monotonic()
    while alive(pid):
        time.sleep(0.02)
        assert time.monotonic() - begin < 5.0
    assert {p.name for p in folder.iterdir()} == {"progress.jsonl", "log.txt"}
    assert "cancelled" in (folder / "progress.jsonl").read_text()


@POSIX
def test_the_command_gives_way_to_slicer(folder):
    worker = odd(folder, "say(stage=str(os.getpriority(os.PRIO_PROCESS, 0)), fraction=0.2); time.sleep(600)")
    said = wait_for_progress(worker)
    while len(said) < 2:
        said += worker.poll()
    worker.kill()
    # It may have asked before it was told.
    assert int(said[-1].stage) in (0, 5)


@POSIX
def test_the_library_beside_this_module_is_the_one_that_runs(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    worker = odd(
        folder,
        "say(result=json.dumps([sys.argv[1:], os.environ['PYTHONPATH'], os.environ['PYTHONSAFEPATH']]))",
    )
    finish(worker)
    arguments, path, safe = json.loads(worker.result)
    assert arguments == ["-m", "DiffSegLungLib", "segment", "--json-progress", "--stop-with-stdin"]
    assert path == f"{CHECKOUT}{os.pathsep}/somewhere/else"
    assert safe == "1"


def test_a_missing_interpreter_or_folder_is_an_error_not_a_crash(folder):
    for wrong in (
        Worker(["models"], folder, python=str(folder / "nowhere")),
        Worker(["models"], folder / "nowhere"),
    ):
        with pytest.raises(DiffSegLungError) as caught:
            wrong.start()
        assert caught.value.code == "worker-not-started"
        assert not wrong.isRunning
        wrong.kill()
        assert wrong.newLog() == ""
        assert wrong.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system of a fixed size to fill")
def test_a_full_disk_is_named(folder):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        worker = Worker(["segment"], folder, python=odd_worker(folder, "while True: say(stage='x' * 4000)"))
        worker.start()
        finish(worker)
        assert worker.error.code == "disk-full"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_pythonslicer_is_preferred_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.app, "slicerHome", str(tmp_path))
    assert pythonExecutable() == sys.executable
    launcher = tmp_path / "bin" / ("PythonSlicer.exe" if os.name == "nt" else "PythonSlicer")
    launcher.parent.mkdir()
    launcher.touch()
    assert pythonExecutable() == str(launcher)


@pytest.mark.skipif(os.name == "nt", reason="needs a file that counts as a program")
def test_pythonslicer_of_a_build_tree_is_found_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.app, "slicerHome", str(tmp_path / "Slicer-build"))
    launcher = tmp_path / "PythonSlicer"
    launcher.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert pythonExecutable() == str(launcher)


def test_without_slicer_it_is_this_interpreter(monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer", None)
    assert pythonExecutable() == sys.executable


def test_a_child_may_get_variables_of_its_own(folder, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    program = odd_worker(folder, "say(result=os.environ['OMP_NUM_THREADS'] + os.environ['OMP_WAIT_POLICY'])")
    child = Child(["x"], folder, python=program, environment={"OMP_NUM_THREADS": "7"})
    child.start()
    while child.running:
        child.poll()
    assert child.result == "7passive"


def test_cancelling_a_batch_stops_its_cases_too(ct, folder):
    cohort, target = folder / "in", folder / "out"
    cohort.mkdir()
    for name in ("one", "two"):
        (cohort / f"{name}.nii.gz").write_bytes(ct.read_bytes())
    worker = Worker(["batch", str(cohort), "-o", str(target), "--jobs", "2", *QUICK], folder)
    worker.start()
    seen = set()
    while not {"one: lungs", "two: lungs"} <= seen:
        seen |= {p.stage for p in worker.poll()}
        time.sleep(0.01)
    tree = psutil.Process(worker.pid).children(recursive=True)
    begin = time.monotonic()
    worker.cancel()
    finish(worker)
    assert time.monotonic() - begin < 5.0
    assert isinstance(worker.error, Cancelled)
    assert len(tree) == 2
    assert not any(alive(process.pid) for process in tree)
    assert [p.name for p in target.iterdir()] == ["summary.csv"]
