"""The report a radiologist reads: one HTML file with its pictures inside, printable, readable offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..classes import BY_KEY, HEALTHY, PATHOLOGY
from ..errors import DiffSegLungError
from .histogram import hu_histogram
from .notation import colour, number, region_name
from .pictures import Panel, Picture
from .png import encode_png
from .quantify import Quantities
from .sensitivity import BySensitivity, sensitivity_curves

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_SIDES = ("lungs", "right", "left")
_THIRDS = ("upper", "middle", "lower")
_COLUMNS = (*_SIDES, *(f"{side} {third}" for side in ("right", "left") for third in _THIRDS))
_MEASURES = (
    ("Mean lung density, HU", "mean_hu", 0),
    ("LAA-950, %", "laa_950_percent", 1),
    ("LAA-910, %", "laa_910_percent", 1),
    ("Perc15, HU", "perc15_hu", 0),
    ("HAA (-600 … -250 HU), %", "haa_percent", 1),
    ("Lung mass, g", "mass_g", 0),
)


def write_report(
    path: Path,
    quantities: Quantities,
    panels: Sequence[Panel],
    montage: Sequence[tuple[str, Picture]],
    provenance: Mapping[str, Any],
    *,
    edited: Sequence[str] = (),
    by_sensitivity: BySensitivity | None = None,
) -> None:
    """Write the report: the template ``page.html.j2``, filled.

    Args:
        path: where to write, ending in ``.html``.
        quantities: the numbers.
        panels: axial, coronal and sagittal pictures.
        montage: further axial slices with their positions.
        provenance: what the run was, see :class:`~..segmentation.result.Result`.
        edited: names of the classes that a person changed after the run; the report says so at its top.
        by_sensitivity: what other sensitivities give; None leaves that section out.

    Raises:
        DiffSegLungError: code ``no-jinja2``.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:  # a scene with results may be opened where nothing is installed yet
        raise DiffSegLungError(
            "no-jinja2", "The report needs the Python package Jinja2.", "Segment a CT: it is installed then."
        ) from error
    pages = Environment(autoescape=True, undefined=StrictUndefined)
    pages.filters |= {
        "colour": colour,
        "data_uri": _data_uri,
        "number": number,
        "plain": _plain,
        "region_name": region_name,
    }
    regions = {region.name: region for region in quantities.regions}
    model = provenance.get("model") or {}
    page = pages.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        source=provenance["source"],
        grid=provenance["grid"],
        model_name=model.get("name", "local statistics, no trained model"),
        created=provenance["created"],
        edited=edited,
        tiles=_tiles(quantities),
        tissues=BY_KEY,
        regions=quantities.regions,
        lungs=quantities.lungs,
        columns=[regions[name] for name in _COLUMNS if name in regions],
        sides=[regions[name] for name in _SIDES if name in regions],
        measures=_MEASURES,
        histogram=hu_histogram(quantities),
        bin_hu=quantities.histogram_edges[1] - quantities.histogram_edges[0],
        curves=sensitivity_curves(by_sensitivity) if by_sensitivity is not None else None,
        present_sensitivity=by_sensitivity.present if by_sensitivity is not None else None,
        panels=panels,
        montage=montage,
        notes=provenance["notes"],
        origin={"Run": provenance["run"], "Model": _model(model), "Settings": provenance["config"]},
    )
    path.write_text(page, encoding="utf-8")


def summary_text(quantities: Quantities) -> str:
    """The class table as plain text, for a terminal."""
    lines = [f"{'':26}{'ml':>8}{'% of lung':>12}{'mean HU':>10}"]
    lines.append(_text_row("Lungs", quantities.lungs.volume_ml, 100.0, quantities.lungs.density.mean_hu))
    for c in quantities.lungs.classes:
        lines.append(_text_row("  " + BY_KEY[c.key].name, c.volume_ml, c.percent, c.mean_hu))
    return "\n".join(lines)


def _tiles(quantities: Quantities) -> list[tuple[str, str, str]]:
    lungs = quantities.lungs
    by_id = {c.id: c for c in lungs.classes}
    return [
        ("Lung volume", number(lungs.volume_ml, 0), "ml"),
        ("Healthy", number(by_id[HEALTHY].percent, 1), "%"),
        ("Abnormal", number(sum(by_id[i].percent for i in PATHOLOGY), 1), "%"),
        ("Mean density", number(lungs.density.mean_hu, 0), "HU"),
        ("LAA-950", number(lungs.density.laa_950_percent, 1), "%"),
    ]


def _model(card: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader should know of the model, out of its card; empty when none took part."""
    if not card:
        return {}
    training, data = card.get("training", {}), card.get("data", {})
    population = card.get("population", {})
    shown = {
        "name": card["name"],
        "weights": str(card.get("sha256", ""))[:12],
        "training steps": training.get("steps"),
        "training hours": training.get("hours"),
        "hardware": training.get("hardware"),
        "data": data.get("statement"),
        "labels used": data.get("labels"),
        "population CT": population.get("volumes"),
        "population cells": population.get("cells"),
        "intended use": card.get("intended_use"),
    }
    return {key: value for key, value in shown.items() if value not in (None, "")}


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)


def _text_row(name: str, volume_ml: float, percent: float, mean_hu: float | None) -> str:
    hu = "" if mean_hu is None else f"{mean_hu:.0f}"
    return f"{name:26}{volume_ml:8.1f}{percent:12.1f}{hu:>10}"


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode("ascii")
