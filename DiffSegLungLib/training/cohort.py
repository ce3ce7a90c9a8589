"""Which CT of a cohort can be trained on, as a user reads it. Nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A CT that was looked at: one line of the table that says which CT are used, and why the others are not.

    Attributes:
        file: name of the file or folder, without its path.
        patient: group that must stay on one side of a split.
        usable: whether it can be trained on.
        reason: why not, one sentence; empty when it can.
        lung_ml: volume of its lungs, ml; None where they were not found.
        store: its folder in the store.
    """

    file: str
    patient: str
    usable: bool
    reason: str = ""
    lung_ml: float | None = None
    store: str = ""
