"""Measures DiffSegLung beside the baselines: every method on every case, one table.

A suite is a source of cases (``cases.py``) and a set of methods; a new suite adds a function there, a new
rival one here. Results go to JSON, with every case, and to a Markdown table of means.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_ID, BY_KEY, CLASSES
from ..config import Config
from ..ct import CT, resample
from .baselines import HUBands, RadiomicKMeans
from .cases import Case, classes_of, lesion_cases, phantom_cases
from .metrics import Score, error_auroc, score
from .patterns import Family
from .phantom import Size


@dataclass(frozen=True)
class Answer:
    """What a method says: class ids (z, y, x) uint8 on the CT's grid, and its doubt if it has one."""

    labels: NDArray[np.uint8]
    entropy: NDArray[np.floating] | None = None


Method = Callable[[CT, NDArray[np.bool_]], Answer]
"""Labels a CT within a lung mask, both on the CT's grid."""


@dataclass(frozen=True)
class Row:
    """One method on one case.

    Attributes:
        method: its name.
        case: the case's name.
        scores: one ``Score`` a class key.
        auroc: of entropy against error inside the lungs; NaN without entropy.
    """

    method: str
    case: str
    scores: dict[str, Score]
    auroc: float


@dataclass(frozen=True)
class Evaluation:
    """All rows of a suite."""

    suite: str
    rows: tuple[Row, ...]

    def mean(self, method: str, key: str, field: str = "dice") -> float:
        """Mean of a field of ``Score`` over the cases that have the class; NaN if none has."""
        values = [getattr(r.scores[key], field) for r in self.rows if r.method == method and key in r.scores]
        values = [v for v in values if np.isfinite(v)]
        return float(np.mean(values)) if values else float("nan")

    def markdown(self) -> str:
        """Mean Dice (and HD95 in mm) a class, one line a method."""
        keys = [c.key for c in CLASSES if any(c.key in r.scores for r in self.rows)]
        lines = [
            f"| {self.suite} | " + " | ".join(BY_KEY[k].name for k in keys) + " | AUROC |",
            "|---|" + "---|" * (len(keys) + 1),
        ]
        for method in dict.fromkeys(r.method for r in self.rows):
            cells = [_cell(self.mean(method, k), self.mean(method, k, "hd95_mm")) for k in keys]
            doubts = [r.auroc for r in self.rows if r.method == method and np.isfinite(r.auroc)]
            cells.append(f"{np.mean(doubts):.2f}" if doubts else "")
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``<suite>.json`` and ``<suite>.md`` into a folder, made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.suite}.json").write_text(json.dumps(_finite(asdict(self)), indent=1))
        (folder / f"{self.suite}.md").write_text(self.markdown())


def run_phantom_suite(
    bundle: str = "default",
    *,
    seeds: Iterable[int] = (0, 1, 2),
    size: Size = "standard",
    config: Config | None = None,
    family: Family = "b",
    baselines: bool = True,
) -> Evaluation:
    """Dice a class on generated chests, of a bundle beside HU bands and k-means on radiomics.

    Args:
        bundle: path of a bundle, or "default".
        seeds: one chest each.
        size: of the chests.
        config: settings of the segmentation.
        family: texture family of the lesions.
        baselines: whether to run the rivals too.
    """
    methods = {"DiffSegLung": segmenter(bundle, config)} | (rivals() if baselines else {})
    return evaluate("phantom", phantom_cases(seeds, size, family), methods)


def run_lesion_suite(
    ct_paths: Sequence[str | Path],
    seeds: Iterable[int] = (0,),
    bundle: str = "default",
    *,
    config: Config | None = None,
    family: Family = "b",
    volume_range_ml: tuple[float, float] = (8.0, 60.0),
    baselines: bool = True,
    borders: bool = False,
) -> Evaluation:
    """Dice a class on real lungs with inserted lesions, one case a CT and seed; see ``cases.lesion_cases``.

    ``borders`` adds the Hausdorff distance, which takes as long as everything else together.
    """
    methods = {"DiffSegLung": segmenter(bundle, config)} | (rivals() if baselines else {})
    paths = [Path(p) for p in ct_paths]
    cases = lesion_cases(paths, seeds, volume_range_ml=volume_range_ml, family=family)
    return evaluate("lesions", cases, methods, borders=borders)


def evaluate(
    suite: str, cases: Iterable[Case], methods: dict[str, Method], *, borders: bool = True
) -> Evaluation:
    """Run every method on every case, one case in memory at a time."""
    from ..lungs import segment_lungs

    rows = []
    for case in cases:
        lungs = segment_lungs(case.ct).mask if case.lungs is None else case.lungs
        for name, method in methods.items():
            answer = method(case.ct, lungs)
            scores = score(
                case.truth,
                answer.labels,
                case.ct.geometry.spacing_zyx,
                within=case.scored,
                classes=classes_of(case),
                borders=borders,
            )
            rows.append(
                Row(name, case.name, {BY_ID[c].key: s for c, s in scores.items()}, _doubt(case, answer))
            )
    return Evaluation(suite, tuple(rows))


def segmenter(bundle: str = "default", config: Config | None = None) -> Method:
    """The product itself as a method."""
    from ..pipeline import Segmenter

    product = Segmenter(bundle, config or Config())

    def label(ct: CT, lungs: NDArray[np.bool_]) -> Answer:
        result = product.run(ct, lungs=lungs)
        return Answer(result.labels, result.entropy)

    return label


def rivals() -> dict[str, Method]:
    """The baselines as methods."""
    return {"HU bands": _on_canonical(HUBands), "k-means on radiomics": _on_canonical(RadiomicKMeans)}


def _on_canonical(make: Callable[[], HUBands | RadiomicKMeans]) -> Method:
    """A baseline with the same preparation as the product: air offset, canonical grid, and back."""

    def label(ct: CT, lungs: NDArray[np.bool_]) -> Answer:
        from ..canonical import working_volume
        from ..lungs import air_offset, lungs_from_mask

        regions = lungs_from_mask(ct, lungs)
        canonical = working_volume(ct, regions, shift_hu=air_offset(ct, regions).shift_hu)
        labels = make().fit_predict(canonical)
        return Answer(resample(labels, canonical.geometry, ct.geometry, order="nearest", fill=0))

    return label


def _doubt(case: Case, answer: Answer) -> float:
    if answer.entropy is None:
        return float("nan")
    inside = case.scored & (case.truth > 0) & (answer.labels > 0)
    return error_auroc(answer.entropy[inside], answer.labels[inside] != case.truth[inside])


def _cell(dice: float, hd95_mm: float) -> str:
    border = f" ({hd95_mm:.1f})" if np.isfinite(hd95_mm) else ""
    return f"{100 * dice:.1f}{border}" if np.isfinite(dice) else ""


def _finite(value: Any) -> Any:
    """The same structure with null for NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
