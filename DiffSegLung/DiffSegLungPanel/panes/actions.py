"""What the panel's buttons start: install, segment, test a device; the user is asked before it matters."""

from __future__ import annotations

import time
from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from ..scene import segmentation
from ..scene.results import resultsOf
from ..scene.segments import classSegments
from ..steps.install import Installer
from ..steps.request import Request
from ..wording import durationText
from ..work.tasks import Task
from .contract import Segmenting
from .dialogs import Answer, Dialogs
from .message_line import MessageLine
from .run_pane import RunPane


class Actions:
    """Starts tasks and says how they ended.

    Args:
        logic: does the work.
        run: shows the task, its button cancels it.
        messages: says how it ended.
        dialogs: asks the user.
        installer: installs what the worker needs.
        request: what the user has chosen, with or without the permission to replace edits.
        onSegmented: called with a new result.
    """

    def __init__(
        self,
        logic: Segmenting,
        run: RunPane,
        messages: MessageLine,
        dialogs: Dialogs,
        installer: Installer,
        *,
        request: Callable[..., Request],
        onSegmented: Callable[[slicer.vtkMRMLSegmentationNode], None],
    ) -> None:
        self._logic, self._run, self._messages = logic, run, messages
        self._dialogs, self._installer = dialogs, installer
        self._request, self._onResult = request, onSegmented
        self._task: Task | None = None
        self._started = 0.0

    def apply(self) -> None:
        """Segment with what is chosen; asks before it installs or replaces anything."""
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be started.")):
            self._messages.clear()
            self.withPackages(self._segment)

    def testDevice(self, _checked: bool = False) -> None:
        """Run the model once on the chosen device."""
        with slicer.util.tryWithErrorDisplay(_("The device could not be tested.")):
            self._messages.clear()
            self.withPackages(self._testDevice)

    def start(self, task: Task, onDone: Callable[[Task], None]) -> None:
        """Start a task of the panel's own and show it."""
        self._follow(task, onDone)
        task.start()

    def stop(self) -> bool:
        """End whatever runs, at once and without a word; whether anything ran."""
        task, self._task = self._task, None
        running = self._logic.isBusy or (task is not None and task.isRunning)
        self._run.release()
        if task is not None:
            task.abort()
        self._logic.stop()  # also what a script started without waiting for it
        return running

    def withPackages(self, then: Callable[[], None]) -> None:
        """Go on at once, or after what is missing was installed with the user's consent."""
        missing = self._installer.missing()
        if not missing:
            then()
            return
        if not self._dialogs.confirmInstall(self._installer.question(missing), "\n".join(missing)):
            self._messages.info(_("Nothing was installed. DiffSegLung cannot run without these packages."))
            return

        def onInstalled(task: Task) -> None:
            cancelled = _("The installation was cancelled. What is installed already stays.")
            if self._messages.succeeded(task, cancelled):
                then()

        self.start(Task(self._installer.steps(missing)), onInstalled)

    def _follow(self, task: Task, onDone: Callable[[Task], None]) -> None:
        self._started = time.monotonic()
        self._task = task
        self._run.follow(task, onDone)

    def _segment(self) -> None:
        answer = self._mayReplace(self._request())
        if answer is Answer.cancel:
            return
        request = self._request(replaceEdited=answer is Answer.replace)
        output = None if answer is Answer.makeNew else request.outputSegmentation
        try:
            task = self._logic.segment(
                request.inputVolume,
                outputSegmentation=output,
                lungs=request.lungs,
                lungsSegmentID=request.lungsSegmentID,
                bundle=request.bundle,
                preset=request.preset,
                device=request.device,
                settings=request.settings,
                replaceEdited=request.replaceEdited,
                waitForCompletion=False,
            )
        except DiffSegLungError as error:
            self._messages.error(error)
            return
        self._run.clearLog()
        self._follow(task, self._onSegmented)

    def _mayReplace(self, request: Request) -> Answer | None:
        """Ask before the user's work, or the result of another CT, is replaced; None where there is none."""
        output = request.outputSegmentation
        if output is None or not classSegments(output):
            return None
        if segmentation.isEdited(output):
            question = _("“{name}” was edited by hand. Replace it, or make a new segmentation?")
        elif resultsOf(output).volume is not request.inputVolume:
            question = _("“{name}” belongs to another CT. Replace it, or make a new segmentation?")
        else:
            return None
        return self._dialogs.replaceOrNew(question.format(name=output.GetName()))

    def _testDevice(self) -> None:
        request = self._request()
        try:
            task = self._logic.testDevice(request.device, bundle=request.bundle, waitForCompletion=False)
        except DiffSegLungError as error:
            self._messages.error(error)
            return
        self._follow(task, self._onDeviceTested)

    def _onSegmented(self, task: Task) -> None:
        if self._messages.succeeded(task, _("Cancelled. Nothing was changed.")):
            took, name = durationText(time.monotonic() - self._started), task.result.GetName()
            self._onResult(task.result)
            self._messages.success(
                _("Finished in {time}. The result is in “{name}”.").format(time=took, name=name)
            )

    def _onDeviceTested(self, task: Task) -> None:
        if self._messages.succeeded(task, _("The test was cancelled.")):
            self._messages.success(str(task.result))
