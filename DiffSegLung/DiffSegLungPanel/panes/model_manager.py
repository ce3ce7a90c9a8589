"""Manage models, inside the Model section: import, export, delete, make default, compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model.library import Library

from ..models import (
    bundleFromFile,
    comparisonHtml,
    installedModels,
    recentModels,
    replacedBy,
    requireDeletable,
    requireInstalled,
    shownName,
)
from ..work.tasks import Steps, Task
from ..work.temporary import temporaryFolder
from ..work.worker import workerSteps
from .actions import Actions
from .contract import Widgets
from .dialogs import Dialogs
from .message_line import MessageLine
from .ui_files import loadInto


class ModelManager:
    """Acts on the model that is chosen in the Model section.

    What loads or copies weights is done by the worker; what reads cards only is done at once.

    Args:
        ui: the panel's widgets.
        scene: the scene.
        messages: says how it went.
        dialogs: asks the user.
        actions: starts what the worker does.
        chosen: the chosen model, None while the scene is closed.
        choose: chooses another one.
        onUpdate: shows the whole panel anew.
    """

    def __init__(
        self,
        ui: Widgets,
        scene: slicer.vtkMRMLScene,
        messages: MessageLine,
        dialogs: Dialogs,
        actions: Actions,
        *,
        chosen: Callable[[], str | None],
        choose: Callable[[str], None],
        onUpdate: Callable[[], None],
    ) -> None:
        self._panel, self._scene = ui, scene
        self._messages, self._dialogs, self._actions = messages, dialogs, actions
        self._chosen, self._choose, self._onUpdate = chosen, choose, onUpdate
        self._others: list[str] = []
        self.ui: Widgets | None = None
        ui.manageCollapsibleButton.connect("contentsCollapsed(bool)", self._onCollapsed)

    def update(self, *, idle: bool) -> None:
        """Show what can be done with the chosen model; while a run uses models, none comes or goes."""
        if self.ui is None or self._panel.manageCollapsibleButton.collapsed:
            return
        chosen = self._chosen()
        for button in (self.ui.importModelButton, self.ui.exportModelButton, self.ui.deleteModelButton):
            button.enabled = idle and chosen is not None
        self.ui.defaultModelButton.enabled = chosen is not None
        self._others = ["", *(b for b in (*installedModels(), *recentModels()) if b != chosen)]
        names = [_("(no other)"), *(shownName(bundle) for bundle in self._others[1:])]
        combo = self.ui.compareModelComboBox
        if [combo.itemText(i) for i in range(combo.count)] != names:
            now = combo.currentText
            combo.clear()
            combo.addItems(names)
            combo.currentIndex = names.index(now) if now in names else 0
        self._compare(self.ui, chosen)

    def _onCollapsed(self, collapsed: bool) -> None:
        if collapsed:
            return
        if self.ui is None:
            self.ui = loadInto(self._panel.manageCollapsibleButton, "DiffSegLungModels.ui", self._scene)
            self.ui.importModelButton.connect("clicked(bool)", self._onImport)
            self.ui.exportModelButton.connect("clicked(bool)", self._onExport)
            self.ui.deleteModelButton.connect("clicked(bool)", self._onDelete)
            self.ui.defaultModelButton.connect("clicked(bool)", self._onMakeDefault)
            self.ui.compareModelComboBox.connect("activated(int)", self._onCompareChosen)
        self._onUpdate()

    def _onImport(self, _checked: bool = False) -> None:
        file = self._dialogs.openModel("")
        if not file:
            return
        place = bundleFromFile(file)
        try:
            replaced = replacedBy(place)
        except InputError as error:
            self._messages.error(error)
            return
        question = _("A model is already installed as “{name}”. Replace it?").format(name=replaced)
        if replaced and not self._dialogs.confirm(question):
            return
        arguments = ["models", "import", place, *(["--overwrite"] if replaced else [])]

        def onDone(task: Task) -> None:
            if self._succeeded(task, _("The import was cancelled. Nothing was installed.")):
                self._choose(task.result)
                self._messages.success(_("“{name}” is installed and chosen.").format(name=task.result))

        self._start(arguments, onDone)

    def _onExport(self, _checked: bool = False) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        try:
            name = Library().choose(chosen).words if not Path(chosen).is_absolute() else Path(chosen).stem
        except InputError as error:
            self._messages.error(error)
            return
        target = self._dialogs.saveAs(_("Export the model"), name, "zip", _("DiffSegLung models (*.zip)"))
        if target is None:
            return

        def onDone(task: Task) -> None:
            if self._succeeded(task, _("The export was cancelled.")):
                self._messages.success(_("The model is in {file}.").format(file=task.result))

        # The dialogue has asked whether to replace the file.
        self._start(["models", "export", chosen, str(target), "--overwrite"], onDone)

    def _onDelete(self, _checked: bool = False) -> None:
        self._messages.clear()
        try:
            model = requireDeletable(self._chosen() or "")
            question = _("Delete the model “{name}” from this computer? It cannot be brought back.")
            if not self._dialogs.confirm(question.format(name=model.name)):
                return
            Library().delete(model.name)
        except InputError as error:
            self._messages.error(error)
            return
        self._choose("default")
        self._messages.info(_("“{name}” is deleted.").format(name=model.name))

    def _onMakeDefault(self, _checked: bool = False) -> None:
        self._messages.clear()
        try:
            model = Library().set_default(requireInstalled(self._chosen() or ""))
        except InputError as error:
            self._messages.error(error)
            return
        self._onUpdate()
        self._messages.success(
            _("“{name}” is the default: it is used wherever no other model is chosen.").format(
                name=model.name
            )
        )

    def _onCompareChosen(self, _index: int) -> None:
        self._onUpdate()

    def _compare(self, ui: Widgets, chosen: str | None) -> None:
        index = ui.compareModelComboBox.currentIndex
        other = self._others[index] if 0 <= index < len(self._others) else ""
        browser = ui.compareModelBrowser
        browser.visible = chosen is not None and bool(other)
        if chosen is not None and other:
            try:
                browser.setHtml(comparisonHtml(chosen, other))
            except InputError as error:
                browser.setPlainText(error.message)

    def _start(self, arguments: list[str], onDone: Callable[[Task], None]) -> None:
        self._messages.clear()
        self._actions.withPackages(lambda: self._actions.start(Task(_steps(arguments)), onDone))

    def _succeeded(self, task: Task, cancelled: str) -> bool:
        self._onUpdate()
        return self._messages.succeeded(task, cancelled)


def _steps(arguments: list[str]) -> Steps:
    with temporaryFolder() as folder:
        return (yield from workerSteps(arguments, folder))
