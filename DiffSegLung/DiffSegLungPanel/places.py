"""Where the panel writes what a task needs, and what a user reads when the disk refuses."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError, not_written
from DiffSegLungLib.model.library import models_folder


def temporaryPath() -> Path:
    """Slicer's temporary folder."""
    return Path(slicer.app.temporaryPath)


def trainingsFolder() -> Path:
    """Where trainings are kept: ``trainings``, beside the folder of models."""
    return models_folder().parent / "trainings"


def notWritten(path: Path, error: OSError) -> InputError:
    """The refusal of a file or folder that cannot be written, with the way out of the place where it lies.

    Args:
        path: the file or folder.
        error: what the operating system said.
    """
    if path.is_relative_to(temporaryPath()):
        place = _("Slicer's temporary folder cannot be written ({reason}).")
        hint = _("Free some space on its disk, or choose another in Edit > Application Settings > Modules.")
    elif path.is_relative_to(trainingsFolder()):
        place = _("The folder of trainings cannot be written ({reason}).")
        hint = _("Free some space on its disk, or set DIFFSEGLUNG_MODELS to a folder that you may write to.")
    else:
        return not_written(path.name, error)
    return InputError("not-written", place.format(reason=error.strerror or error), hint)
