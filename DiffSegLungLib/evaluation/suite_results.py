"""All finished cases of a suite whose truth is known, as estimates with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..classes import BY_ID, BY_KEY, CLASSES, CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, PATHOLOGY
from .bootstrap import Estimate, average, mean, median, pooled_dice
from .metrics import DOUBT_BINS

TISSUES = tuple(BY_ID[c].key for c in (EMPHYSEMA, GROUND_GLASS, FIBROSIS, CONSOLIDATION))
"""The four tissues whose mean Dice sums a method up."""

DISEASES = tuple(BY_ID[c].key for c in PATHOLOGY)

MEAN = "mean"
"""Column of the mean over :data:`TISSUES`."""

SIZES_ML = ((0.0, 15.0), (15.0, 40.0), (40.0, float("inf")))

Record = dict[str, Any]
Choice = Callable[[Record, Record], bool]
"""Whether a unit counts, given its case and itself."""


class SuiteResults:
    """Estimates over the cases of one suite.

    Args:
        records: the files of the cases, all with the same methods.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = list(records)
        self.methods = list(self.records[0]["methods"]) if self.records else []

    @property
    def drawn(self) -> str:
        """What the bootstrap draws: lesions, or whole chests where lesions have no numbers."""
        return "lesions" if any(record["lesions"] for record in self.records) else "chests"

    @property
    def classes(self) -> list[str]:
        """Class keys that any case has in its truth, in the order of the labels."""
        known = {
            u["class_key"]
            for record in self.records
            for measured in record["methods"].values()
            for u in measured["units"]
            if u["volume_ml"]
        }
        return [c.key for c in CLASSES if c.key in known]

    def units(self, method: str, key: str = "", choose: Choice | None = None) -> list[Record]:
        """Units of a method, of one class or of all; chosen ones only, where a choice is given."""
        return [
            unit
            for record in self.records
            for unit in record["methods"][method]["units"]
            if (not key or unit["class_key"] == key) and (choose is None or choose(record, unit))
        ]

    def lesions(self, method: str, key: str = "", choose: Choice | None = None) -> list[Record]:
        """Units with a true volume."""
        return [unit for unit in self.units(method, key, choose) if unit["volume_ml"]]

    def dice(self, method: str, key: str, choose: Choice | None = None) -> Estimate:
        """Pooled Dice of a class, or the mean of the four tissues (:data:`MEAN`), NaN where one is absent."""
        if key == MEAN:
            several = [self.dice(method, tissue, choose) for tissue in TISSUES]
            return average(several if all(np.isfinite(e.value) for e in several) else [])
        if not self.lesions(method, key, choose):
            return average([])
        return pooled_dice(self.units(method, key, choose), BY_KEY[key].id)

    def borders(
        self, method: str, key: str = "", choose: Choice | None = None
    ) -> tuple[Estimate, Estimate, int]:
        """Median and mean HD95 in mm of the matched lesions, and how many are matched."""
        values = [u["hd95_mm"] for u in self.lesions(method, key, choose)]
        return median(values), mean(values), sum(v is not None for v in values)

    def volume_error(self, method: str, key: str = "", choose: Choice | None = None) -> Estimate:
        """Median over lesions of predicted less true volume, % of the true volume."""
        return median(
            [100 * (u["fp_ml"] - u["fn_ml"]) / u["volume_ml"] for u in self.lesions(method, key, choose)]
        )

    def case_dice(self, method: str, key: str) -> float:
        """Mean over the cases that have the class of the Dice of the whole case."""
        values = [r["methods"][method]["classes"].get(key, {}) for r in self.records]
        kept = [v["dice"] for v in values if v.get("truth_ml")]
        return float(np.mean(kept)) if kept else float("nan")

    def of_cases(self, method: str, name: str) -> Estimate:
        """Mean over the cases of one number, such as ``auroc`` or ``false_pathology_percent``."""
        return mean([record["methods"][method].get(name) for record in self.records])

    def doubt(self, method: str) -> tuple[list[int], list[int]] | None:
        """Right and wrong voxels of all cases by entropy; None where the method has none."""
        measured = [record["methods"][method] for record in self.records]
        if not measured or "right" not in measured[0]:
            return None
        right, wrong = (np.sum([m[name] for m in measured], axis=0).tolist() for name in ("right", "wrong"))
        assert len(right) == DOUBT_BINS
        return right, wrong

    def numbers(self) -> Record:
        """Every estimate as plain values."""
        return {
            method: {
                "dice": {k: self.dice(method, k).plain() for k in [*self.classes, MEAN]},
                "case_dice": {k: self.case_dice(method, k) for k in self.classes},
                "hd95_mm": {k: self._border_numbers(method, k) for k in self.classes if k in DISEASES},
                "volume_error_percent": {
                    k: self.volume_error(method, k).plain() for k in self.classes if k in DISEASES
                },
                "auroc": self.of_cases(method, "auroc").plain(),
                "false_pathology_percent": self.of_cases(method, "false_pathology_percent").plain(),
                "seconds": self.of_cases(method, "seconds").value,
                "cpu_seconds": self.of_cases(method, "cpu_seconds").value,
                "less_than_first": {
                    k: self.dice(self.methods[0], k).minus(self.dice(method, k)).plain()
                    for k in [*self.classes, MEAN]
                },
            }
            for method in self.methods
        }

    def _border_numbers(self, method: str, key: str) -> Record:
        middle, average_, matched = self.borders(method, key)
        return {
            "median": middle.plain(),
            "mean": average_.plain(),
            "matched": matched,
            "lesions": len(self.lesions(method, key)),
        }
