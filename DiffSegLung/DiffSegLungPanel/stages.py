"""The library's stages in the user's words."""

from __future__ import annotations

from slicer.i18n import tr as _


def stageName(stage: str) -> str:
    """What a stage of the library does, for people; a case's name before a colon is kept (batch)."""
    case, colon, name = stage.rpartition(": ")
    names = {
        "start": _("Starting"),
        "read": _("Reading the CT"),
        "lungs": _("Finding the lungs"),
        "grid": _("Preparing the lungs"),
        "features": _("Computing features"),
        "mixture": _("Clustering"),
        "labels": _("Naming the clusters"),
        "fusion": _("Refining the borders"),
        "output": _("Measuring and writing"),
        "sample": _("Drawing the samples"),
        "phantom": _("Generating a CT"),
        "prepare": _("Preparing the scans"),
        "train": _("Training"),
        "validate": _("Testing on the held-out CT"),
        "population": _("Fitting the mixture of tissues"),
    }
    return f"{case}{colon}{names.get(name, name)}"
