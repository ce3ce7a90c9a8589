"""The product on real CT without labels: is what it says plausible, and does it say it again?"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..classes import CLASSES
from ..io.ct import CT, read_mask
from .metrics import dice, score

if TYPE_CHECKING:
    from ..config import Config
    from ..segmentation.result import Result

NEAR_HEALTHY = ("lidc-idri_0001_standard", "cmb-crc_msb-01068_lung")
"""Volumes that show next to no disease; the nodule of the first is real."""

KERNEL_PAIRS = (
    ("lung-pet-ct-dx_a0001_body", "lung-pet-ct-dx_a0001_lung"),
    ("lung-pet-ct-dx_a0002_b40f", "lung-pet-ct-dx_a0002_b70f"),
)
"""The same scan reconstructed with a soft and with a sharp kernel."""

PROGRESSION = ("elastix-lumc_baseline", "elastix-lumc_followup")
"""One patient twice; emphysema has progressed."""

REPEATED = ("lidc-idri_0001_standard", "elastix-lumc_baseline", "midrc-ricord-1a_001012_standard")
"""Volumes that are segmented again with the same seed and with another one."""


def measure_real(
    path: Path, bundle: str, config: Config, *, picture: Path, mask: Path | None, repeat: bool
) -> dict[str, Any]:
    """Segment a CT and say what came out, as plain values.

    Args:
        path: the CT.
        bundle: the model.
        config: the settings.
        picture: where the overview goes; a patient is recognisable in it.
        mask: a lung mask that someone drew, to compare with.
        repeat: segment twice more, with the same and with another seed.
    """
    from ..report.pictures import draw_panels
    from ..segmentation.pipeline import Segmenter
    from .overview import write_overview

    ct = CT.read(path)
    segmenter = Segmenter(bundle, config)
    begin, cores = time.monotonic(), time.process_time()
    result = segmenter.run(ct)
    taken = {"seconds": time.monotonic() - begin, "product_cpu_seconds": time.process_time() - cores}
    lungs, density = result.tables.lungs, result.tables.lungs.density
    measured: dict[str, Any] = {
        **taken,
        "lung_ml": lungs.volume_ml,
        "classes": {c.key: {"ml": c.volume_ml, "percent": c.percent} for c in lungs.classes},
        "laa_950_percent": density.laa_950_percent,
        "mean_hu": density.mean_hu,
        "shift_hu": result.shift_hu,
        "spacing_zyx": list(ct.geometry.spacing_zyx),
        "lung_dice": None if mask is None else dice(result.lungs.mask, read_mask(mask, ct.geometry)),
    }
    if repeat:
        other = Segmenter(segmenter.load_bundle(), replace(config, seed=config.seed + 1))
        measured["again"] = {
            "same_seed": _agreement(result, segmenter.run(ct)),
            "other_seed": _agreement(result, other.run(ct)),
        }
    panels = draw_panels(ct.hu, result.labels, result.entropy, result.lungs.mask, ct.geometry)
    write_overview(picture, panels, result.tables)
    return measured


def _agreement(first: Result, second: Result) -> dict[str, Any]:
    """Dice and volumes of every class between two runs."""
    found = score(first.labels, second.labels, first.ct.geometry.spacing_zyx)
    return {
        "identical": bool((first.labels == second.labels).all()),
        "classes": {
            c.key: {"dice": found[c.id].dice, "ml": [found[c.id].truth_ml, found[c.id].predicted_ml]}
            for c in CLASSES
        },
    }
