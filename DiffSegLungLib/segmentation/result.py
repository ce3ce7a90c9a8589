"""What a run gives back, and how it becomes files."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy.lungs import Lungs
from ..anatomy.regions import region_map
from ..config import Config
from ..errors import InputError
from ..grid.cells import Cells
from ..io.ct import CT, write_image, write_segmentation
from ..io.geometry import Geometry
from ..io.raw_image import write_raw
from ..model.mixture import Mixture
from ..report.page import legend, summary_text, write_report
from ..report.pictures import draw_montage, draw_panels, write_overview
from ..report.quantify import Quantities, quantify
from ..talk import SILENT, Talk
from .naming import Assignment
from .uncertainty import UncertainRegion, uncertain_regions

FORMAT = 1
"""Version of result.json and cells.npz."""


@dataclass(frozen=True)
class CellCache:
    """What refinement starts from: small, and enough to name the cells anew without the network.

    Attributes:
        cells: features of every lung cell.
        geometry: canonical grid that the cells tile.
        mixture: the mixture of this volume.
        responsibility: (n, k) float32, posterior of the components.
        assignment: which tissue every component is.
    """

    cells: Cells
    geometry: Geometry
    mixture: Mixture
    responsibility: NDArray[np.float32]
    assignment: Assignment

    def save(self, path: Path) -> None:
        """Write an ``.npz`` of plain arrays (nothing pickled); compressing features would save a seventh."""
        cells, geometry = self.cells, self.geometry
        arrays: dict[str, NDArray[Any]] = {
            "format": np.array(FORMAT),
            "shape": np.array(cells.shape),
            "index": cells.index,
            "fraction": cells.fraction,
            "features": cells.features,
            "kinds": np.array(cells.kinds),
            "names": np.array(cells.names),
            "responsibility": self.responsibility.astype(np.float16),
            "component_class": self.assignment.classes,
            "component_probability": self.assignment.probabilities,
            "grid_size": np.array(geometry.size),
            "grid_spacing": np.array(geometry.spacing),
            "grid_origin": np.array(geometry.origin),
            "grid_direction": np.array(geometry.direction),
        }
        arrays |= {f"mixture.{name}": array for name, array in self.mixture.to_arrays().items()}
        np.savez(path, allow_pickle=False, **arrays)


@dataclass(frozen=True)
class Result:
    """One segmented CT.

    Attributes:
        ct: the CT as read (its HU are not air-corrected).
        lungs: the lung mask and its regions.
        labels: (z, y, x) uint8 class ids on the CT's grid, 0 outside the lungs.
        entropy: (z, y, x) float16, entropy of the class posterior, 0 certain .. 1 undecided.
        cells: the cache that refinement starts from.
        shift_hu: air-offset correction that was added to every HU.
        config: the settings.
        provenance: what the run was, in plain values: ``source``, ``grid``, ``created``, ``notes``, ``air``,
            ``model``, ``config``, ``timings_s`` and ``run`` (versions, device, duration, peak memory).
    """

    ct: CT
    lungs: Lungs
    labels: NDArray[np.uint8]
    entropy: NDArray[np.float16]
    cells: CellCache
    shift_hu: float
    config: Config
    provenance: dict[str, Any]

    @cached_property
    def tables(self) -> Quantities:
        """All numbers, per class and region."""
        return quantify(
            self.ct.hu,
            self.labels,
            self.lungs.side,
            self.lungs.third,
            self.ct.geometry.voxel_ml,
            shift_hu=self.shift_hu,
        )

    @cached_property
    def uncertain(self) -> list[UncertainRegion]:
        """Where to look first."""
        return uncertain_regions(self.entropy, self.labels, self.ct.geometry)

    def summary(self) -> str:
        """The class table as plain text."""
        return summary_text(self.tables)

    def save(self, folder: str | Path, talk: Talk = SILENT, *, raw: bool = False) -> None:
        """Write every output file into an existing folder, replacing files of the same name.

        Args:
            folder: where to write; see :class:`~DiffSegLungLib.outputs.OutputFolder` for all-or-nothing.
            talk: progress of the stage ``output``; asked whether to stop between files.
            raw: write :data:`~DiffSegLungLib.io.own_files.RAW_FILES` instead: what a program reads at once.

        Raises:
            InputError: the folder cannot be written, or its disk is full.
            Cancelled: asked to stop.
        """
        people = (
            self._write_segmentation,
            self._write_labels,
            self._write_regions,
            self._write_entropy,
            self._write_cells,
            self._write_report,
            self._write_tables,
            self._write_content,
        )
        steps = (self._write_raw, self._write_content) if raw else people
        begin, stage = time.monotonic(), talk.at("output")
        for number, step in enumerate(steps):
            self.provenance["timings_s"]["output"] = round(time.monotonic() - begin, 2)
            stage.advance(number / len(steps))
            try:
                step(Path(folder))
            except OSError as error:
                raise _not_written(folder) from error

    def _write_segmentation(self, folder: Path) -> None:
        name = (self.provenance.get("model") or {}).get("name", "statistics")
        path = folder / "labels.seg.nrrd"
        write_segmentation(path, self.labels, self.ct.geometry, algorithm=f"DiffSegLung {name}")

    def _write_labels(self, folder: Path) -> None:
        write_image(folder / "labels.nii.gz", self.labels, self.ct.geometry)

    def _write_regions(self, folder: Path) -> None:
        regions = region_map(self.lungs.side, self.lungs.third)
        write_image(folder / "regions.nii.gz", regions, self.ct.geometry)

    def _write_entropy(self, folder: Path) -> None:
        rounded = np.empty(self.entropy.shape, np.float32)
        for part, out in zip(self._rounded_entropy(), rounded, strict=True):
            out[...] = part
        write_image(folder / "entropy.nii.gz", rounded, self.ct.geometry)

    def _rounded_entropy(self) -> Iterator[NDArray[np.float32]]:
        """Slice by slice to two digits: a quarter of the file. Every value there is is rounded only once."""
        every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
        digits = np.nan_to_num(every).clip(0, 1).round(2).astype(np.float32)
        for part in self.entropy.view(np.uint16):
            yield digits[part]

    def _write_raw(self, folder: Path) -> None:
        regions = region_map(self.lungs.side, self.lungs.third)
        for name, slabs in (
            ("labels", iter(self.labels[:, None])),
            ("regions", iter(regions[:, None])),
            ("entropy", (part[None] for part in self._rounded_entropy())),
        ):
            dtype = np.dtype(np.float32 if name == "entropy" else np.uint8)
            for _fraction in write_raw(folder / f"{name}.mhd", self.ct.geometry, dtype, slabs):
                pass

    def _write_cells(self, folder: Path) -> None:
        self.cells.save(folder / "cells.npz")

    def _write_report(self, folder: Path) -> None:
        hu, geometry, mask = self.ct.hu, self.ct.geometry, self.lungs.mask
        panels = draw_panels(hu, self.labels, self.entropy, mask, geometry)
        montage = draw_montage(hu, self.labels, mask, geometry)
        write_overview(folder / "overview.png", panels, legend(self.tables))
        write_report(folder / "report.html", self.tables, panels, montage, self.provenance)

    def _write_tables(self, folder: Path) -> None:
        (folder / "table.csv").write_text(self.tables.to_csv(), encoding="utf-8")

    def _write_content(self, folder: Path) -> None:
        content = {
            "format": FORMAT,
            **self.provenance,
            "tables": self.tables.to_mapping(),
            "uncertain_regions": [region.to_mapping() for region in self.uncertain],
            "components": list(self.cells.assignment.evidence),
        }
        text = json.dumps(_finite(content), indent=2, allow_nan=False)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """The same plain values with null for NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _not_written(folder: str | Path) -> InputError:
    import shutil

    place = next(p for p in (Path(folder).absolute(), *Path(folder).absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free / 1e6
    return InputError(
        "not-written",
        f"The results could not be written ({free:.0f} MB are free on that disk).",
        "Free some space, or choose a folder on another disk.",
    )
