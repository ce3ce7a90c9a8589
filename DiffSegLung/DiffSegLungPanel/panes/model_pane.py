"""The Model section: which model, how carefully, where it runs, and what that will take."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError, InputError

from ..models import (
    ModelCard,
    bundleFromFile,
    installedModels,
    readCard,
    recentModels,
    rememberModel,
    shownName,
)
from ..scene.parameters import DiffSegLungParameters
from ..wording import durationText, memoryText
from .contract import Estimating, Widgets
from .dialogs import Dialogs


class ModelPane:
    """Chooses a model and says what a run will take.

    Args:
        ui: the panel's widgets.
        logic: asked for the estimate.
        dialogs: asked for a file.

    Attributes:
        card: of the chosen model; None when it cannot be read.
        problem: why not.
    """

    def __init__(self, ui: Widgets, logic: Estimating, dialogs: Dialogs) -> None:
        self._ui, self._logic, self._dialogs = ui, logic, dialogs
        self._parameters: DiffSegLungParameters | None = None
        self._bundles: list[str] = []
        self._read = ("", "")
        self.card: ModelCard | None = None
        self.problem: InputError | None = None
        ui.modelComboBox.connect("activated(int)", self._onModelChosen)
        ui.browseModelButton.connect("clicked(bool)", self._onBrowse)
        ui.modelCardButton.connect("toggled(bool)", self._onCardToggled)
        ui.modelCardLabel.visible = False

    def update(self, parameters: DiffSegLungParameters | None, *, inputUsable: bool) -> None:
        """Show these parameters; the estimate needs a CT that can be used."""
        self._parameters = parameters
        if parameters is None:
            return
        self._readModel(parameters.bundle)
        self._showModels(parameters.bundle)
        self._ui.estimateLabel.text = self._estimateText(parameters) if inputUsable else ""
        self._ui.estimateLabel.visible = bool(self._ui.estimateLabel.text)
        self._ui.estimateLabel.wordWrap = len(self._ui.estimateLabel.text) > 40  # a warning, not the estimate

    def remember(self) -> None:
        """Put the chosen model among the recent ones."""
        if self._parameters is not None:
            rememberModel(self._parameters.bundle)

    def _readModel(self, bundle: str) -> None:
        asked = (bundle, shownName(bundle))  # what the default is can change
        if asked == self._read:
            return
        self._read, self.card, self.problem = ("", ""), None, None
        try:
            self.card = readCard(bundle)
            self._read = asked
        except InputError as error:
            self.problem = error
        text = f"{self.problem.message} {self.problem.hint}" if self.problem is not None else ""
        self._ui.modelCardLabel.text = self.card.html() if self.card is not None else text

    def _showModels(self, bundle: str) -> None:
        self._bundles = [*installedModels(), *recentModels()]
        if bundle not in self._bundles:
            self._bundles.append(bundle)
        names = [shownName(bundle) for bundle in self._bundles]
        combo = self._ui.modelComboBox
        if [combo.itemText(i) for i in range(combo.count)] != names:
            combo.clear()
            combo.addItems(names)
        combo.currentIndex = self._bundles.index(bundle)

    def _estimateText(self, parameters: DiffSegLungParameters) -> str:
        try:
            estimate = self._logic.estimate(
                parameters.inputVolume, parameters.preset.value, parameters.device.value
            )
        except DiffSegLungError:
            return ""
        if estimate.warning:
            return estimate.warning
        return _("About {time}, {memory} on this computer").format(
            time=durationText(estimate.seconds), memory=memoryText(estimate.gigabytes)
        )

    def _onModelChosen(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.bundle = self._bundles[index]

    def _onBrowse(self, _checked: bool = False) -> None:
        if self._parameters is None:
            return
        now = self._parameters.bundle
        chosen = self._dialogs.openModel(str(Path(now).parent) if Path(now).is_absolute() else "")
        if chosen:
            self._parameters.bundle = bundleFromFile(chosen)

    def _onCardToggled(self, shown: bool) -> None:
        self._ui.modelCardLabel.visible = shown
