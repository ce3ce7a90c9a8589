"""The Advanced section: settings of the method, checked while they are typed."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import InputError

from ..models import ModelCard
from ..scene.parameters import AdvancedSettings, DiffSegLungParameters, Mixture, librarySettings
from .contract import Widgets


class AdvancedPane:
    """Shows which settings count, and what is wrong with them.

    Args:
        ui: the panel's widgets.

    Attributes:
        settings: fields of the library's configuration; empty when something is wrong.
        problem: what is wrong, None when nothing is.
    """

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._parameters: DiffSegLungParameters | None = None
        self.settings: dict[str, Any] = {}
        self.problem: InputError | None = None
        ui.timestepsLineEdit.connect("textEdited(QString)", self._onTimestepsEdited)
        ui.restoreDefaultsButton.connect("clicked(bool)", self._onRestore)

    def update(self, parameters: DiffSegLungParameters | None, card: ModelCard | None) -> None:
        """Show these parameters, for a model with this card (None: it could not be read)."""
        self._parameters = parameters
        self.settings, self.problem = {}, None
        if parameters is None:
            return
        advanced = parameters.advanced
        self._showTimesteps(advanced.timesteps, card)
        perVolume = advanced.mixture is Mixture.perVolume
        self._ui.componentsSpinBox.enabled = perVolume and not advanced.chooseComponents
        self._ui.componentsLabel.enabled = self._ui.chooseComponentsCheckBox.enabled = perVolume
        if card is not None:
            try:
                self.settings = librarySettings(advanced, card)
            except InputError as error:
                self.problem = error

    def _showTimesteps(self, text: str, card: ModelCard | None) -> None:
        """Not bound by name: writing back what is being typed would move the cursor."""
        edit = self._ui.timestepsLineEdit
        if edit.text != text:
            edit.text = text
        fitted = card.fittedTimesteps if card is not None else ()
        steps = ", ".join(str(step) for step in fitted or Config().timesteps)
        edit.placeholderText = _("{steps} (the model's own)").format(steps=steps)

    def _onTimestepsEdited(self, text: str) -> None:
        if self._parameters is not None:
            self._parameters.setValue("advanced.timesteps", text)

    def _onRestore(self, _checked: bool = False) -> None:
        if self._parameters is not None:
            self._parameters.advanced = AdvancedSettings()
