"""What an evaluation consists of: the cases of every suite, and what is measured of one.

A new suite adds a plan and a branch of :meth:`Measurement.__call__` here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ..config import Config
from ..errors import InputError
from ..lesions.patterns import Family
from .known_truth import FULL_CHEST, CaseKey, LabelledCase, lesion_plan, make_case, phantom_cases
from .lung_mask import MaskCase, measure_generated, measure_lungs
from .methods import Methods
from .readings import ReadCT
from .real import REPEATED, measure_real
from .squares import measure_regions

TRUTH_SUITES = ("phantom", "lesions")
"""Suites whose truth is known."""

WITHOUT_MODEL = ("lungs",)
"""Suites that measure what happens before any model is asked."""

SUITES = (*TRUTH_SUITES, "real", "regions", "lungs", "ablation")

PHANTOMS = 4
PHANTOM_FAMILY: Family = "c"
"""Texture family that neither training nor tuning has seen."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class CaseTask:
    """One case of a suite.

    Attributes:
        suite: one of :data:`SUITES` but ``ablation``.
        name: unique in the suite.
        source: the CT file, alone or with what is known of it, or the seed of a phantom, or the key of a case
            with lesions.
        group: what is loaded once for several cases.
        fingerprint: of everything that its numbers depend on.
    """

    suite: str
    name: str
    source: CaseKey | ReadCT | MaskCase | Path | int
    group: str
    fingerprint: str = ""

    @property
    def path(self) -> Path | None:
        """The CT file, if there is one."""
        if isinstance(self.source, CaseKey | ReadCT | MaskCase):
            return self.source.volume
        return self.source if isinstance(self.source, Path) else None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files whose content its numbers depend on, the CT first."""
        files: tuple[Path, ...] = () if self.path is None else (self.path,)
        if isinstance(self.source, MaskCase):
            drawn = () if self.source.lungs is None else (self.source.lungs,)
            files += drawn + self.source.contours
        return files


def plan(
    suite: str, volumes: Sequence[Path], cases: int | None, read: Sequence[ReadCT] = ()
) -> list[CaseTask]:
    """The cases of a suite, those of one volume together, large volumes first.

    Args:
        suite: one of :data:`SUITES` but ``ablation``.
        volumes: CT files or DICOM folders; the phantom and the readings need none.
        cases: at most so many, evenly spread; None for all.
        read: the CT of which there are readings.

    Raises:
        InputError: two volumes have the same name.
    """
    if suite == "regions":
        volumes = [one.volume for one in read]
    names = [stem(path) for path in volumes]
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise InputError(
            "same-name", f"Several CT are named {twice[0]}.", "Rename them, or name a folder that holds one."
        )
    if suite == "phantom":
        return _phantoms(suite, cases)
    ordered = sorted(volumes, key=_bytes, reverse=True)
    known = {one.volume: one for one in read}
    if suite == "regions":
        return [CaseTask(suite, stem(path), known[path], str(path)) for path in spread(ordered, cases)]
    if suite == "lungs":
        masks = [
            MaskCase(path, drawn_lungs(path), contours(path), known.get(path))
            for path in spread(ordered, cases)
        ]
        own = [CaseTask(suite, stem(mask.volume), mask, str(mask.volume)) for mask in masks]
        return own + _phantoms(suite, cases, "generated chest")
    if suite == "real":
        return [CaseTask(suite, stem(path), path, str(path)) for path in spread(ordered, cases)]
    whole = [path for path in ordered if stem(path) in FULL_CHEST]
    keys = spread(lesion_plan(whole or ordered), cases)
    return [CaseTask(suite, key.name, key, str(key.volume)) for key in keys]


@dataclass(frozen=True)
class Measurement:
    """What a worker does with a case.

    Attributes:
        methods: names of the methods to compare where the truth is known.
        bundle: the model.
        config: the settings of the product.
        pictures: folder for pictures of real CT.
        undistilled: a model trained by noise prediction alone, for the rival that needs one.
    """

    methods: tuple[str, ...]
    bundle: str
    config: Config
    pictures: Path
    undistilled: str | None = None

    def __call__(self, task: CaseTask) -> dict[str, Any]:
        """Measure a case; plain values for its file."""
        begin, cores = time.time(), time.process_time()
        measured = self._measured(task)
        taken = {"began": begin, "ended": time.time(), "cpu_seconds": time.process_time() - cores}
        return {"fingerprint": task.fingerprint, **taken, **measured}

    def _measured(self, task: CaseTask) -> dict[str, Any]:
        if isinstance(task.source, MaskCase):
            return measure_lungs(task.source)
        if isinstance(task.source, ReadCT):
            picture = self.pictures / f"{task.suite}-{task.name}.png"
            return measure_regions(task.source, self.bundle, self.config, picture=picture)
        if isinstance(task.source, Path):
            return measure_real(
                task.source,
                self.bundle,
                self.config,
                picture=self.pictures / f"{task.name}.png",
                mask=drawn_lungs(task.source),
                repeat=task.name in REPEATED,
            )
        if isinstance(task.source, CaseKey):
            case = make_case(task.source)
        else:
            case = next(phantom_cases([task.source], family=PHANTOM_FAMILY))
        return measure_generated(case) if task.suite == "lungs" else self._compared(task, case)

    def _compared(self, task: CaseTask, case: LabelledCase) -> dict[str, Any]:
        return {
            "volume": task.name if task.path is None else stem(task.path),
            "family": case.family,
            "spacing_zyx": list(case.ct.geometry.spacing_zyx),
            "lesions": [asdict(lesion) for lesion in case.lesions],
            "methods": _methods(self.methods, self.bundle, self.config, self.undistilled).measure(case),
        }


def drawn_lungs(ct: Path) -> Path | None:
    """A lung mask beside the data, ``lung_masks/STEM`` or ``STEM_*``, in the CT's folder or the one above."""
    return next((path for path in _beside(ct, "lung_masks") if _named_after(path, ct)), None)


def contours(ct: Path) -> tuple[Path, ...]:
    """Contours of disease beside the data, in ``contours`` in the CT's folder or the one above.

    They are named after the CT, ``STEM`` or ``STEM_*``, or after its patient: ``PATIENT_tumour`` belongs to
    ``PATIENT_phase40`` and to every other CT of that patient, but for those named after one of them.
    """
    patient = stem(ct).rpartition("_")[0]
    others = [path for path in ct.parent.glob("*") if stem(path) != stem(ct)]
    return tuple(
        path
        for path in _beside(ct, "contours")
        if _named_after(path, ct)
        or (
            patient
            and stem(path).rpartition("_")[0] == patient
            and not any(_named_after(path, other) for other in others)
        )
    )


def _named_after(path: Path, ct: Path) -> bool:
    return stem(path) == stem(ct) or stem(path).startswith(f"{stem(ct)}_")


def _beside(ct: Path, folder: str) -> list[Path]:
    """The files of a folder of that name in the CT's folder, then of the one above."""
    return [path for place in (ct.parent, ct.parent.parent) for path in sorted((place / folder).glob("*"))]


def stem(path: Path) -> str:
    """A file's name without any suffix."""
    return path.name.split(".")[0] or path.name


def spread(items: Sequence[Item], count: int | None) -> list[Item]:
    """At most ``count`` items, evenly spread over all."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def chosen_suites(name: str) -> tuple[str, ...]:
    """The suites that a name stands for.

    Raises:
        InputError: there is no such suite.
    """
    if name == "all":
        return SUITES
    if name not in SUITES:
        raise InputError(
            "bad-arguments", f"There is no suite {name!r}.", f"Suites are {', '.join(SUITES)} and all."
        )
    return (name,)


def _phantoms(suite: str, cases: int | None, called: str = "chest") -> list[CaseTask]:
    return [CaseTask(suite, f"{called} #{seed}", seed, str(seed)) for seed in range(cases or PHANTOMS)]


@lru_cache(maxsize=1)
def _methods(names: tuple[str, ...], bundle: str, config: Config, undistilled: str | None) -> Methods:
    """The methods of this process, loaded once."""
    return Methods(names, bundle, config, undistilled)


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
