"""Which CT of a cohort can be trained on, as a user reads it. Nothing heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_REASONS_TOLD = 3
_STORED = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Candidate:
    """A CT that was looked at: one line of the table that says which CT are used, and why the others are not.

    Attributes:
        file: name of the file or folder, without its path.
        patient: group that must stay on one side of a split; a number.
        usable: whether it can be trained on.
        reason: why not, one sentence; empty when it can.
        lung_ml: volume of its lungs, ml; None where they were not found.
        store: its folder in the store.
        fingerprint: of its voxels, as the prepared volume has it; empty in cohorts of earlier versions.
    """

    file: str
    patient: str
    usable: bool
    reason: str = ""
    lung_ml: float | None = None
    store: str = ""
    fingerprint: str = ""

    @property
    def told(self) -> str:
        """Why it is not used, or how much lung it has, with its name."""
        if self.usable:
            return f"{self.file}: ready, {self.lung_ml:.0f} ml of lung"
        return self.reason if self.file in self.reason else f"{self.file}: {self.reason}"

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, entry: Mapping[str, Any]) -> Candidate:
        """Read what :meth:`to_mapping` wrote, with suspicion: the store's folder lies in the store.

        Raises:
            ValueError: it is something else.
        """
        entry = {"fingerprint": "", **entry}
        texts = [entry.get(name) for name in ("file", "patient", "reason", "store", "fingerprint")]
        usable, lung_ml = entry.get("usable"), entry.get("lung_ml")
        stored = _STORED.fullmatch(str(entry.get("store"))) is not None
        known = all(isinstance(text, str) for text in texts) and isinstance(lung_ml, (int, float, type(None)))
        if not known or not isinstance(usable, bool) or usable is not stored:
            raise ValueError(f"no line of a cohort: {entry!r}")
        return cls(**{name: entry[name] for name in cls.__dataclass_fields__})


def told(usable: int, refused: Sequence[Candidate]) -> str:
    """How many CT can be trained on, and why the first few of the others cannot, in one sentence."""
    reasons = "; ".join(one.told.rstrip(".") for one in refused[:_REASONS_TOLD])
    more = f"; and {len(refused) - _REASONS_TOLD} more" if len(refused) > _REASONS_TOLD else ""
    why = f" ({reasons}{more})" if refused else ""
    can = f"Only {usable}" if usable else "None"
    return f"{can} of the {usable + len(refused)} CT found can be trained on{why}."
