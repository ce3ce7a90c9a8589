"""Tasks: steps run by a timer or to the end, cancelled, aborted, failing, each with its clean-up."""

import gc
import weakref

import pytest
import qt
import slicer
from DiffSegLungPanel.work.tasks import CancelRequested, Task, TaskProgress, spanned

from DiffSegLungLib.errors import Cancelled, DiffSegLungError, InputError


def counting(steps, trace, result="done"):
    """Steps that write down what happens to them and tidy up in two more steps when cancelled."""
    try:
        for number in range(steps):
            try:
                yield TaskProgress("count", number / steps)
            except CancelRequested:
                trace.append("cancelling")
                yield None
                raise
        return result
    finally:
        trace.append("tidy")


def spin_until(condition, timeout_ms=3000):
    watch = qt.QElapsedTimer()
    watch.start()
    while not condition():
        slicer.app.processEvents()
        assert watch.elapsed() < timeout_ms


def test_waiting_returns_what_the_steps_return():
    trace, seen = [], []
    task = Task(counting(5, trace))
    task.progressed.connect(lambda progress: seen.append(progress.fraction))
    assert task.wait() == "done"
    assert seen == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert trace == ["tidy"]
    assert not task.isRunning
    assert task.error is None


def test_a_timer_runs_the_steps_between_events():
    finished = []
    task = Task(counting(3, []))
    task.finished.connect(finished.append)
    task.start()
    assert task.isRunning, "starting returns before the first step"
    spin_until(lambda: not task.isRunning)
    assert finished == [task]
    assert task.result == "done"


def test_cancelled_steps_go_on_until_they_are_tidy():
    trace = []
    task = Task(counting(1000, trace))
    task.start()
    spin_until(lambda: task.progress.fraction > 0)
    task.cancel()
    assert task.isCancelling
    assert trace == ["cancelling"]
    task.cancel()
    spin_until(lambda: not task.isRunning)
    assert trace == ["cancelling", "tidy"], "cancelling twice is cancelling once"
    assert task.wasCancelled
    assert not task.isCancelling
    assert task.result is None


def test_steps_that_finish_in_spite_of_a_request_keep_their_result():
    def stubborn():
        try:
            while True:
                yield TaskProgress("work", 0.5)
        except CancelRequested:
            yield None
        return 7

    task = Task(stubborn())
    task.start()
    spin_until(lambda: task.progress.fraction > 0)
    task.cancel()
    spin_until(lambda: not task.isRunning)
    assert task.result == 7
    assert not task.wasCancelled


def test_aborting_tidies_up_at_once():
    trace = []
    task = Task(counting(1000, trace))
    task.start()
    spin_until(lambda: task.progress.fraction > 0)
    task.abort()
    assert trace == ["tidy"]
    assert task.wasCancelled
    task.abort()
    assert trace == ["tidy"]


def test_aborting_from_within_a_step_tidies_up_after_it():
    trace = []

    def steps():
        try:
            yield None
            task.abort()  # a scene that closes while a step handles events
            trace.append("rest of the step")
            yield TaskProgress("never shown", 0.5)
        finally:
            trace.append("tidy")

    shown = []
    task = Task(steps())
    task.progressed.connect(shown.append)
    with pytest.raises(Cancelled):
        task.wait()
    assert trace == ["rest of the step", "tidy"]
    assert shown == []


def test_a_refusal_is_raised_by_waiting_and_kept_by_the_timer():
    def refusing():
        yield None
        raise InputError("no-input", "No CT is chosen.", "Choose one.")

    with pytest.raises(InputError, match="No CT is chosen"):
        Task(refusing()).wait()
    task = Task(refusing())
    task.start()
    spin_until(lambda: not task.isRunning)
    assert task.error.code == "no-input"
    assert not task.wasCancelled


def test_a_defect_becomes_one_sentence_and_a_logged_traceback(caplog):
    def broken():
        yield None
        raise KeyError("oops")

    with pytest.raises(DiffSegLungError, match=r"Something unexpected happened \(KeyError"):
        Task(broken()).wait()
    assert "Traceback" in caplog.text


def test_text_goes_to_the_log():
    def talking():
        yield "first line\n"
        yield TaskProgress("talk", 0.5)
        yield "second line\n"

    task, log = Task(talking()), []
    task.logged.connect(log.append)
    task.wait()
    assert log == ["first line\n", "second line\n"]


def test_spanned_steps_move_progress_and_pass_everything_else_on():
    trace = []
    steps = spanned(counting(2, trace, result="inner"), 0.5, 0.7, prefix="CT 2 of 3: ")
    assert next(steps) == TaskProgress("CT 2 of 3: count", 0.5)
    assert next(steps).fraction == pytest.approx(0.6)
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value == "inner"

    trace.clear()
    steps = spanned(counting(2, trace), 0.0, 1.0)
    next(steps)
    assert steps.throw(CancelRequested()) is None
    with pytest.raises(CancelRequested):
        next(steps)
    assert trace == ["cancelling", "tidy"]

    trace.clear()
    steps = spanned(counting(2, trace), 0.0, 1.0)
    next(steps)
    steps.close()
    assert trace == ["tidy"]


def test_a_task_that_has_ended_keeps_nothing_alive():
    """PythonQt holds what is connected to a signal: without care every result would stay in memory."""
    ended = []
    task = Task(counting(2, []))
    task.finished.connect(lambda which: ended.append(weakref.ref(which)))
    task.start()
    del task
    spin_until(lambda: ended and gc.collect() is not None and ended[0]() is None)


def test_a_task_that_has_ended_can_be_asked_again():
    task = Task(counting(2, []))
    assert task.wait() == "done"
    slicer.app.processEvents()
    task.start()
    assert task.wait() == "done"
    task.cancel()
    task.abort()
    assert task.result == "done"
