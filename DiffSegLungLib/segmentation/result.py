"""What a run gives back, and how it becomes files."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy.lungs import Lungs
from ..anatomy.regions import side_of, third_of
from ..config import Config
from ..io.ct import CT, write_image, write_segmentation
from ..io.geometry import Geometry
from ..io.image_file import write_parts
from ..io.whole_file import writing
from ..report.page import summary_text, write_report
from ..report.pictures import draw_montage, draw_panels
from ..report.quantify import Quantities, Tally
from ..report.sensitivity import BySensitivity
from ..talk import SILENT, Talk
from ..threads import in_threads, slabs
from .evidence import CURVE, count_evidence, draw_labels, least_voxels, volumes_by_sensitivity
from .uncertainty import UncertainRegion, uncertain_regions

FORMAT = 1
"""Version of result.json."""

_DIGITS = (
    np.nan_to_num(np.arange(1 << 16, dtype=np.uint16).view(np.float16)).clip(0, 1).round(2).astype(np.float32)
)
"""Every number of half precision to two digits, by its bits: each is rounded once, not every voxel."""


@dataclass(frozen=True)
class Result:
    """One segmented CT.

    Attributes:
        ct: the CT as read (its HU are not air-corrected).
        lungs: the lung mask and its regions.
        labels: (z, y, x) uint8 class ids on the CT's grid, 0 outside the lungs.
        evidence: (z, y, x) uint16 there, for :func:`.evidence.draw_labels`; 0 outside the lungs.
        entropy: (z, y, x) float16, entropy of the class posterior, 0 certain .. 1 undecided.
        components: what every component of the mixture looks like and which tissue it is, ready for JSON.
        shift_hu: air-offset correction that was added to every HU.
        config: the settings.
        provenance: what the run was, in plain values: ``source``, ``grid``, ``created``, ``notes``, ``air``,
            ``model``, ``config``, ``timings_s``, ``run`` (versions, device, duration, peak memory), and
            ``input`` where all that was read were files.
    """

    ct: CT
    lungs: Lungs
    labels: NDArray[np.uint8]
    evidence: NDArray[np.uint16]
    entropy: NDArray[np.float16]
    components: tuple[dict[str, Any], ...]
    shift_hu: float
    config: Config
    provenance: dict[str, Any]

    @cached_property
    def tables(self) -> Quantities:
        """All numbers, per class and region."""
        tally = Tally(self.ct.geometry.voxel_ml, shift_hu=self.shift_hu)
        for planes in slabs(0, len(self.labels)):
            regions = self.lungs.regions[planes]
            tally.add(self.ct.hu[planes], self.labels[planes], side_of(regions), third_of(regions))
        return tally.result()

    @cached_property
    def uncertain(self) -> list[UncertainRegion]:
        """Where to look first."""
        return uncertain_regions(self.entropy, self.labels, self.ct.geometry)

    @cached_property
    def by_sensitivity(self) -> BySensitivity:
        """What other sensitivities give, small islands included."""
        volumes = volumes_by_sensitivity(count_evidence(self.evidence), self.ct.geometry.voxel_ml)
        return BySensitivity(CURVE, volumes, self.config.sensitivity)

    def redrawn(self, sensitivity: float) -> Result:
        """The result that a run with another sensitivity gives, without that run.

        Raises:
            InputError: code ``bad-setting``, a sensitivity outside 0..1.
        """
        config = replace(self.config, sensitivity=sensitivity)
        labels = drawn(self.evidence, config, self.ct.geometry)
        return replace(
            self, labels=labels, config=config, provenance={**self.provenance, "config": asdict(config)}
        )

    def summary(self) -> str:
        """The class table and notes on what is unusual about CT and lungs, as plain text."""
        notes = (f"Note: {note}" for note in (*self.ct.notes, *self.lungs.notes))
        return "\n".join((summary_text(self.tables), *notes))

    def save(self, folder: str | Path, talk: Talk = SILENT, *, raw: bool = False) -> None:
        """Write every output file into an existing folder, replacing files of the same name.

        Args:
            folder: where to write; all or nothing is
                :class:`~DiffSegLungLib.running.output_folder.OutputFolder`'s business.
            talk: progress of the stage ``output``; asked whether to stop between files.
            raw: write :data:`~DiffSegLungLib.io.own_files.RAW_FILES` instead: what a program reads at once.

        Raises:
            InputError: the folder cannot be written, or its disk is full.
            Cancelled: asked to stop.
        """
        people = (
            self._write_entropy,
            self._write_report,
            self._find_uncertain,
            self._write_segmentation,
            self._write_labels,
            self._write_regions,
            self._write_evidence,
        )
        steps = (self._find_uncertain, self._write_raw) if raw else people
        begin, stage = time.monotonic(), talk.at("output")
        stage.advance(0.0)

        def one(step: Callable[[Path], None]) -> None:
            stage.check()
            step(Path(folder))

        in_threads(one, steps, lambda done: stage.advance(done / (len(steps) + 1)))
        self.provenance["timings_s"]["output"] = round(time.monotonic() - begin, 2)
        if not raw:
            self._write_tables(Path(folder))
        self._write_content(Path(folder))

    def _write_segmentation(self, folder: Path) -> None:
        name = (self.provenance.get("model") or {}).get("name", "statistics")
        path = folder / "labels.seg.nrrd"
        write_segmentation(path, self.labels, self.ct.geometry, algorithm=f"DiffSegLung {name}")

    def _write_labels(self, folder: Path) -> None:
        write_image(folder / "labels.nii.gz", self.labels, self.ct.geometry)

    def _write_regions(self, folder: Path) -> None:
        write_image(folder / "regions.nii.gz", self.lungs.regions, self.ct.geometry)

    def _write_evidence(self, folder: Path) -> None:
        write_image(folder / "evidence.nii.gz", self.evidence, self.ct.geometry)

    def _write_entropy(self, folder: Path) -> None:
        path = folder / "entropy.nii.gz"
        write_parts(path, self.ct.geometry, np.float32, self._rounded_entropy)

    def _rounded_entropy(self, planes: slice) -> NDArray[np.float32]:
        """Some planes to two digits: a quarter of the file."""
        return _DIGITS[self.entropy[planes].view(np.uint16)]

    def _write_raw(self, folder: Path) -> None:
        """The maps as plain voxels, for a program that reads them at once."""
        write_image(folder / "labels.mhd", self.labels, self.ct.geometry)
        write_image(folder / "regions.mhd", self.lungs.regions, self.ct.geometry)
        write_image(folder / "evidence.mhd", self.evidence, self.ct.geometry)
        write_parts(folder / "entropy.mhd", self.ct.geometry, np.float32, self._rounded_entropy)

    def _find_uncertain(self, folder: Path) -> None:
        """Look for :attr:`uncertain`, which the tables need, while files are written."""
        _ = self.uncertain

    def _write_report(self, folder: Path) -> None:
        hu, geometry, lungs = self.ct.hu, self.ct.geometry, self.lungs.regions
        panels = draw_panels(hu, self.labels, self.entropy, lungs, geometry)
        montage = draw_montage(hu, self.labels, lungs, geometry)
        with writing(folder / "report.html") as aside:
            write_report(
                aside, self.tables, panels, montage, self.provenance, by_sensitivity=self.by_sensitivity
            )

    def _write_tables(self, folder: Path) -> None:
        with writing(folder / "table.csv") as aside:
            aside.write_text(self.tables.to_csv(), encoding="utf-8")

    def _write_content(self, folder: Path) -> None:
        content = {
            "format": FORMAT,
            **self.provenance,
            "tables": self.tables.to_mapping(),
            "by_sensitivity": self.by_sensitivity.to_mapping(),
            "uncertain_regions": [region.to_mapping() for region in self.uncertain],
            "components": list(self.components),
        }
        text = json.dumps(_finite(content), indent=2, allow_nan=False)
        with writing(folder / "result.json") as aside:
            aside.write_text(text + "\n", encoding="utf-8")


def drawn(evidence: NDArray[np.uint16], config: Config, geometry: Geometry) -> NDArray[np.uint8]:
    """Labels (z, y, x) uint8 that the settings draw from evidence on a grid."""
    return draw_labels(evidence, config.sensitivity, least_voxels(config.island_ml, geometry))


def _finite(value: Any) -> Any:
    """The same plain values with null for NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
