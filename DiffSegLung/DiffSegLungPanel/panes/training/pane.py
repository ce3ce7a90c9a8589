"""The Train section: start, pause, stop, resume and discard a training, and what comes of it.

A training runs in a process of its own and lives in a folder, so that neither closing the scene nor another
run harms it: pausing is stopping with a checkpoint, resuming is the library's ``train --resume``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial

import qt
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from ...training.runs import TrainingRun, knownRuns, newRun
from ...training.training_estimate import learnFrom
from ...wording import numberText
from ...work.tasks import Task, TaskProgress
from ..contract import Training, Widgets
from ..dialogs import Dialogs
from ..message_line import MessageLine
from ..run_pane import progressText
from .plan import PlanPane
from .plot import LOSS
from .scans import ScansPane
from .view import RunView, runTitle, verdict

WATCH_MS = 500
"""How often the files of a running training are looked at."""


class Activity(enum.Enum):
    """What the section does."""

    idle = "idle"
    checking = "checking"
    training = "training"
    finishing = "finishing"
    stopping = "stopping"


class TrainingPane:
    """Runs one training at a time.

    Args:
        ui: the widgets of the section.
        scene: whose volumes can be trained on, and where the curves go.
        logic: does the work.
        messages: says how it went.
        dialogs: asks the user.
        device: where to train, as the Model section says.
        withPackages: goes on once the library's packages are there.
        onUpdate: called when a model may have come or gone.
        log: takes what the library says by the way.

    Attributes:
        run: the training shown, None for a new one.
        activity: what is going on.
    """

    def __init__(
        self,
        ui: Widgets,
        scene: slicer.vtkMRMLScene,
        logic: Training,
        messages: MessageLine,
        dialogs: Dialogs,
        *,
        device: Callable[[], str],
        withPackages: Callable[[Callable[[], None]], None],
        onUpdate: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._log = log
        self._ui, self._logic, self._messages, self._dialogs = ui, logic, messages, dialogs
        self._device, self._withPackages, self._onUpdate = device, withPackages, onUpdate
        self.run: TrainingRun | None = None
        self.activity = Activity.idle
        self._draft: TrainingRun | None = None
        self._waiting: TrainingRun | None = None
        self._runs: list[TrainingRun | None] = [None]
        self._task: Task | None = None
        self._afterwards: Callable[[], None] | None = None
        self._seen: tuple[object, ...] = ()
        self._showsCurve = self._updating = False
        self._view = RunView(ui, scene)
        self._plan = PlanPane(ui, self.update)
        self._scans = ScansPane(ui, scene, self.update)
        self._watch = self._timer(WATCH_MS, self._onWatch, single=False)
        self._conclusion = self._timer(0, self._conclude, single=True)
        ui.trainRunComboBox.connect("activated(int)", self._onRunChosen)
        ui.checkScansButton.connect("clicked(bool)", self._onCheck)
        ui.startTrainingButton.connect("clicked(bool)", self._onStart)
        ui.pauseTrainingButton.connect("clicked(bool)", self._onPause)
        ui.stopTrainingButton.connect("clicked(bool)", self._onStop)
        ui.discardTrainingButton.connect("clicked(bool)", self._onDiscard)
        unfinished = [run for run in knownRuns() if not run.isFinished and not run.isElsewhere]
        self.run = unfinished[0] if unfinished else None

    @property
    def isTraining(self) -> bool:
        """Whether a training runs that another run would have to share the computer with for long."""
        return self.activity is Activity.training

    def update(self) -> None:
        """Show everything anew."""
        if self._updating:
            return
        self._updating = True
        try:
            self._showRuns()
            self._showFiles()
            idle, new = self.activity is Activity.idle, self.run is None
            self._plan.show(new=new, enabled=idle, device=self._device(), scans=self._scans.count)
            self._ui.checkScansButton.visible = new
            problem = self._problem()
            self._ui.trainProblemLabel.text = problem
            self._ui.trainProblemLabel.visible = idle and bool(problem)
            self._showButtons(problem)
            self._ui.trainProgressWidget.visible = not idle
        finally:
            self._updating = False

    def pause(self, afterwards: Callable[[], None] | None = None) -> None:
        """Stop with a checkpoint; ``afterwards`` is called once everything has ended."""
        self._afterwards = afterwards
        if self._task is None:
            self._conclude()
            return
        self.activity = Activity.stopping
        self._ui.trainProgressLabel.text = _("Stopping: what is in hand comes to its end first")
        self._task.cancel()
        self.update()

    def pauseFor(self, then: Callable[[], None]) -> None:
        """Pause for another run, which ``then`` starts; :meth:`goOn` goes on when it has ended."""
        run = self._current

        def between() -> None:
            then()
            self._waiting = run
            self._onUpdate()  # where nothing was started after all, it goes on at once

        self.pause(between)

    def goOn(self) -> None:
        """Go on with the training that was paused for another run, unless the user wants otherwise by now."""
        if self._waiting is not None and self.activity is Activity.idle:
            run, self._waiting = self._waiting, None
            if run.isBegun:
                self.resume(run)

    def resume(self, run: TrainingRun | None = None) -> None:
        """Go on with a training, with the one shown unless another is given."""
        run = run or self.run
        if run is not None and not run.isFinished and self.activity is Activity.idle:
            self.run = run
            self._begin(
                Activity.training, run, lambda: self._logic.resumeTraining(run, waitForCompletion=False)
            )

    def close(self, seconds: float) -> None:
        """The panel goes away: a training writes its checkpoint if that takes no longer than this."""
        task, self._task = self._task, None
        if task is not None:
            task.stopWithin(seconds)
        for timer in (self._watch, self._conclusion):  # after the task, whose end starts the second
            timer.stop()
        self._scans.close()
        if self._draft is not None and not self._draft.isBegun:
            self._draft.discard()

    def onSceneClosed(self) -> None:
        """The nodes of the curves are gone; those of a running training come back."""
        self._seen = ()
        self.update()

    # What the buttons do

    def _onCheck(self, _checked: bool = False) -> None:
        self._messages.clear()
        self._withPackages(self._check)

    def _onStart(self, _checked: bool = False) -> None:
        self._messages.clear()
        if self._isFree(self.run):
            self._withPackages(self._train if self.run is None else self.resume)

    def _onPause(self, _checked: bool = False) -> None:
        self.pause()

    def _onStop(self, _checked: bool = False) -> None:
        if self.activity is Activity.idle:
            if self._isFree(self.run):
                self._finish(self.run)
        elif self.activity is Activity.training and self._current.step > 0:
            self.pause(partial(self._finish, self._current))
        else:
            self.pause()

    def _onDiscard(self, _checked: bool = False) -> None:
        run = self.run
        if run is None or self.activity is not Activity.idle or not self._isFree(run):
            return
        question = (
            _("Remove this training's scans and curve? Its model stays in the list of models.")
            if run.isFinished
            else _("Remove this training for good? What it has learned by now is lost.")
        )
        if not self._dialogs.confirmDiscard(question):
            return
        if run == self._waiting:
            self._waiting = None
        with self._said():
            run.discard()
        self._view.plot.remove()
        self.run = None
        self.update()

    def _isFree(self, run: TrainingRun | None) -> bool:
        """Whether a training can be changed here; where another computer holds it, the user is asked."""
        if run is None or not run.isAfar:
            return True
        question = _("{seen} If it still works there, pause it there first. Take it over?")
        if self._dialogs.confirm(question.format(seen=run.elsewhereText())):
            with self._said():
                run.takeOver()
                return True
        return False

    def _check(self) -> None:
        with self._said():
            data = self._scans.data()
            data.check()
            run = self._draft = self._emptyRun()
            self._begin(
                Activity.checking, run, lambda: self._logic.checkScans(data, run, waitForCompletion=False)
            )

    def _train(self) -> None:
        with self._said():
            data, plan = self._scans.data(), self._plan.plan(self._device())
            data.check()
            run = self._emptyRun()
            self._draft, self.run, self._showsCurve = None, run, True
            self._begin(
                Activity.training,
                run,
                lambda: self._logic.train(data, plan, run=run, waitForCompletion=False),
            )

    def _emptyRun(self) -> TrainingRun:
        """A folder for a new training: the one where scans were checked, if it is still there."""
        return self._draft if self._draft is not None and self._draft.folder.is_dir() else newRun()

    def _finish(self, run: TrainingRun | None) -> None:
        if run is not None and not run.isFinished:
            self._begin(
                Activity.finishing, run, lambda: self._logic.finishTraining(run, waitForCompletion=False)
            )

    def _begin(self, activity: Activity, run: TrainingRun, start: Callable[[], Task]) -> None:
        if activity is not Activity.checking:
            self._waiting = None
        with self._said():
            self._current = run
            self._task = start()
            self.activity = activity
            self._task.progressed.connect(self._onProgress)
            self._task.logged.connect(self._log)
            self._task.finished.connect(self._onFinished)
            self._onProgress(self._task.progress)
            self._watch.start()
        self._afterFailedStart(run)
        self.update()

    def _afterFailedStart(self, run: TrainingRun) -> None:
        """A training that has not begun is none yet: its folder serves the next attempt."""
        if self._task is None and not run.isBegun:
            self.run, self._draft = None, run

    # What its task says

    def _onProgress(self, progress: TaskProgress) -> None:
        self._ui.trainProgressBar.value = round(1000 * progress.fraction)
        if self.activity is not Activity.stopping:
            self._ui.trainProgressLabel.text = progressText(progress)

    def _onFinished(self, _task: Task) -> None:
        self._watch.stop()
        self._conclusion.start()

    def _conclude(self) -> None:
        """The task has ended: say so, outside of its own last step."""
        task, self._task = self._task, None
        activity, self.activity = self.activity, Activity.idle
        afterwards, self._afterwards = self._afterwards, None
        if task is not None:
            self._afterFailedStart(self._current)
            self._tell(task, activity, quiet=afterwards is not None)
            self._seen = ()
        self.update()
        self._onUpdate()
        if afterwards is not None:
            afterwards()

    def _tell(self, task: Task, activity: Activity, *, quiet: bool) -> None:
        run = self._current
        if activity is not Activity.checking:
            learnFrom(run)
        if task.error is not None and not task.wasCancelled:
            self._messages.error(task.error)
        elif task.wasCancelled:
            if not quiet:
                self._messages.info(self._pausedText(run))
        elif task.result is not None:
            better, text = verdict(task.result)
            self._messages.success(text) if better else self._messages.warning(text)

    def _pausedText(self, run: TrainingRun) -> str:
        if run is not self.run:
            return _("Stopped. What was checked by now is kept.")
        if not run.step:
            return _("Paused. The scans prepared by now are kept; Resume goes on from there.")
        return _("Paused at step {step}. Everything is kept; Resume goes on from there.").format(
            step=numberText(run.step)
        )

    # What is shown

    def _onWatch(self) -> None:
        if (self.activity, *self._current.stamp()) != self._seen:
            self.update()

    def _showFiles(self) -> None:
        """The table, the state and the curves, read anew only where a file has changed."""
        shown = self.run or self._draft
        idle = self.activity is Activity.idle
        self._scans.show(shown, chosen=self.run is None, enabled=idle)
        stamp = (self.activity, *(shown.stamp() if shown is not None else ()))
        if stamp == self._seen:
            return
        self._seen = stamp
        self._view.show(self.run, live=self.activity is Activity.training)
        if self._showsCurve and self.run is not None and self.run.entries():
            self._showsCurve = False
            self._view.showCurve(LOSS)

    def _showRuns(self) -> None:
        known: list[TrainingRun | None] = [None, *knownRuns()]
        if self.run is not None:
            known = [self.run if run == self.run else run for run in known]
            known += [] if self.run in known else [self.run]
        busy = self.activity is not Activity.idle
        titles = [
            _("New training") if run is None else runTitle(run, running=busy and run is self.run)
            for run in known
        ]
        combo = self._ui.trainRunComboBox
        if [combo.itemText(i) for i in range(combo.count)] != titles:
            combo.clear()
            combo.addItems(titles)
        self._runs = known
        combo.currentIndex = known.index(self.run)
        combo.enabled = not busy

    def _showButtons(self, problem: str) -> None:
        ui, run = self._ui, self.run
        idle, training = self.activity is Activity.idle, self.activity is Activity.training
        finished = run is not None and run.isFinished
        afar = run is not None and run.isAfar
        barred = run is not None and run.isElsewhere and not afar
        ui.startTrainingButton.text = _("Start") if run is None else _("Resume")
        ui.startTrainingButton.enabled = idle and (afar or not problem) and not finished
        ui.pauseTrainingButton.enabled = training
        canFinish = run is not None and run.step > 0 and not finished and not barred
        ui.stopTrainingButton.enabled = training or self.activity is Activity.checking or (idle and canFinish)
        ui.discardTrainingButton.enabled = idle and run is not None and not barred
        ui.checkScansButton.enabled = idle and not self._dataProblem()

    def _problem(self) -> str:
        """Why it cannot be started or resumed: the first thing that is wrong, as a sentence."""
        if self.run is not None:
            elsewhere = self.run.isElsewhere and not self.run.isFinished
            return self.run.elsewhereText() if elsewhere else ""
        return self._dataProblem() or self._plan.problem

    def _dataProblem(self) -> str:
        try:
            self._scans.data().check()
        except DiffSegLungError as error:
            return f"{error.message} {error.hint}".strip()
        return ""

    def _onRunChosen(self, index: int) -> None:
        self.run = self._runs[index]
        self._seen = ()
        self.update()

    def _said(self) -> _Said:
        return _Said(self._messages)

    @staticmethod
    def _timer(milliseconds: int, receiver: Callable[[], None], *, single: bool) -> qt.QTimer:
        timer = qt.QTimer()
        timer.setSingleShot(single)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", receiver)
        return timer


class _Said:
    """Errors within this block become the message line's."""

    def __init__(self, messages: MessageLine) -> None:
        self._messages = messages

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, DiffSegLungError):
            return False
        self._messages.error(error)
        return True
