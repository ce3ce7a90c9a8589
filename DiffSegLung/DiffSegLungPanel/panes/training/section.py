"""How the Train section lives in the panel: loaded when first opened, and at peace with everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from ...training.runs import TrainingOutcome, unfinishedRuns
from ...work.tasks import Task
from ..actions import Actions
from ..contract import Comparing, Widgets
from ..dialogs import Dialogs, Room
from ..message_line import MessageLine
from ..table_view import layOut
from .pane import TrainingPane
from .view import runTitle

UI_FILE = Path(__file__).resolve().parents[3] / "Resources" / "UI" / "DiffSegLungTraining.ui"

CLOSING_S = 6.0
"""How long the end of Slicer may wait for a checkpoint; without it the last one counts."""


class TrainingSection:
    """Holds the Train section's place in the panel.

    Args:
        ui: the panel's widgets.
        scene: the scene.
        logic: does the work.
        messages: says how it went.
        dialogs: asks the user.
        actions: the panel's own runs.
        onUpdate: shows the whole panel anew.
        useModel: chooses a model in the Model section.
        options: preset and device as chosen in the Model section, by name; None while the scene is closed.
        log: takes what the library says by the way.
        onCompared: called with the newer of two results that were compared.
    """

    def __init__(
        self,
        ui: Widgets,
        scene: slicer.vtkMRMLScene,
        logic: Comparing,
        messages: MessageLine,
        *,
        dialogs: Dialogs,
        actions: Actions,
        onUpdate: Callable[[], None],
        useModel: Callable[[str], None],
        options: Callable[[], dict[str, str]],
        log: Callable[[str], None],
        onCompared: Callable[[slicer.vtkMRMLSegmentationNode], None],
    ) -> None:
        self._panel, self._scene, self._logic, self._messages = ui, scene, logic, messages
        self._dialogs, self._actions = dialogs, actions
        self._onUpdate, self._useModel = onUpdate, useModel
        self._options, self._log, self._onCompared = options, log, onCompared
        self.ui: Widgets | None = None
        self.pane: TrainingPane | None = None
        self._announced = self._updating = False
        self._question = qt.QTimer()
        self._question.setSingleShot(True)
        self._question.connect("timeout()", self._askAfterClose)
        ui.trainCollapsibleButton.connect("contentsCollapsed(bool)", self._onCollapsed)

    def announce(self) -> None:
        """Say once that a training waits to be resumed; done when the module is opened."""
        if self._announced:
            return
        self._announced = True
        runs = [] if self.pane is not None else unfinishedRuns()
        if runs and not self._messages.text:
            self._messages.info(
                _("A training is unfinished ({title}). Open Train to resume it.").format(
                    title=runTitle(runs[0], running=False)
                )
            )

    def update(self, *, idle: bool) -> None:
        """Show the section anew; ``idle`` says whether no other run of the panel is under way."""
        if self.pane is None or self._updating:
            return
        self._updating = True
        try:
            self._showComparison(idle)
            if not self._panel.trainCollapsibleButton.collapsed:
                self.pane.update()
            if idle:
                self.pane.goOn()
        finally:
            self._updating = False

    def makeRoom(self, then: Callable[[], None]) -> None:
        """Start another run; beside a training only after asking, which may pause it until that has ended."""
        if self.pane is None or not self.pane.isTraining:
            then()
            return
        answer = self._dialogs.makeRoom(
            _(
                "A training is running. It can pause, and go on by itself when the segmentation is done; or "
                "both run at once, slower and with more memory."
            )
        )
        if answer is Room.pause:
            self.pane.pauseFor(then)
        elif answer is Room.both:
            then()

    def onSceneClosed(self) -> None:
        """A training needs no scene: it goes on, and the user is asked when the closing is over."""
        if self.pane is not None:
            self.pane.onSceneClosed()
            if self.pane.isTraining:
                self._question.start(0)

    def close(self) -> None:
        """The panel goes away; a training is paused and waits to be resumed."""
        self._question.stop()
        if self.pane is not None:
            self.pane.close(CLOSING_S)

    def _onCollapsed(self, collapsed: bool) -> None:
        if collapsed:
            return
        if self.pane is None:
            self._load()
        self._onUpdate()

    def _load(self) -> None:
        root = slicer.util.loadUI(str(UI_FILE))
        self._panel.trainCollapsibleButton.layout().addWidget(root)
        root.setMRMLScene(self._scene)
        self.ui = slicer.util.childWidgetVariables(root)
        self.pane = TrainingPane(
            self.ui,
            self._scene,
            self._logic,
            self._messages,
            self._dialogs,
            device=lambda: self._options().get("device", "auto"),
            withPackages=self._actions.withPackages,
            onUpdate=self._onUpdate,
            log=self._log,
        )
        self.ui.compareTableView.visible = False
        self.ui.compareTableView.verticalHeader().visible = False
        self.ui.useModelButton.connect("clicked(bool)", self._onUse)
        self.ui.compareButton.connect("clicked(bool)", self._onCompare)
        self.ui.compareSelector.connect("currentNodeChanged(bool)", self._onCompareChosen)

    def _askAfterClose(self) -> None:
        if self.pane is None or not self.pane.isTraining:
            return
        question = _("The scene was closed; the training goes on without it. Pause it instead?")
        if not slicer.app.testingEnabled() and self._dialogs.pauseAfterClose(question):
            self.pane.pause()
        else:
            self._messages.info(_("The scene was closed; the training goes on."))

    @property
    def _opened(self) -> Widgets:
        """The section's widgets, for what only they can start."""
        assert self.ui is not None
        return self.ui

    def _outcome(self) -> TrainingOutcome | None:
        """How the training that is shown ended; None where none is, or it has not."""
        run = self.pane.run if self.pane is not None else None
        return run.outcome() if run is not None else None

    def _onUse(self, _checked: bool = False) -> None:
        outcome = self._outcome()
        if outcome is not None:
            self._useModel(outcome.model)

    def _onCompareChosen(self, _valid: bool) -> None:
        self._onUpdate()

    def _onCompare(self, _checked: bool = False) -> None:
        self.makeRoom(self._compare)

    def _compare(self) -> None:
        outcome = self._outcome()
        volume = self._opened.compareSelector.currentNode()
        if outcome is None or volume is None:
            return
        self._messages.clear()
        try:
            task = self._logic.compareModels(
                volume, (outcome.parent, outcome.model), **self._options(), waitForCompletion=False
            )
        except DiffSegLungError as error:
            self._messages.error(error)
            return
        self._actions.start(task, self._onCompareDone)

    def _onCompareDone(self, task: Task) -> None:
        cancelled = _("The comparison was cancelled. Results that were finished stay.")
        if self._messages.succeeded(task, cancelled):
            self._onCompared(task.result.after)
            view = self._opened.compareTableView
            view.setMRMLTableNode(task.result.table)
            layOut(view)
            self._messages.success(
                _("Compared. The results are in “{before}” and “{after}”.").format(
                    before=task.result.before.GetName(), after=task.result.after.GetName()
                )
            )
        self._onUpdate()

    def _showComparison(self, idle: bool) -> None:
        ui = self._opened
        view = ui.compareTableView
        table = view.mrmlTableNode()
        if table is not None and not self._scene.IsNodePresent(table):
            view.setMRMLTableNode(None)
        view.visible = view.mrmlTableNode() is not None
        ui.compareButton.enabled = idle and ui.compareSelector.currentNode() is not None
