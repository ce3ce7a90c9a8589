"""The report a radiologist reads: one HTML file with its pictures inside, printable, readable offline."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..classes import BY_KEY, HEALTHY, PATHOLOGY
from .charts import colour, colour_key, hu_histogram, number, region_name, stacked_bars
from .pictures import Panel, Picture
from .png import encode_png
from .quantify import Quantities, Region
from .style import CSS, NOTICE

_DENSITY_REGIONS = ("lungs", "right", "left")


def write_report(
    path: Path,
    quantities: Quantities,
    panels: Sequence[Panel],
    montage: Sequence[tuple[str, Picture]],
    provenance: Mapping[str, Any],
    *,
    edited: Sequence[str] = (),
) -> None:
    """Write the report.

    Args:
        path: where to write, ending in ``.html``.
        quantities: the numbers.
        panels: axial, coronal and sagittal pictures.
        montage: further axial slices with their positions.
        provenance: what the run was: ``source``, ``notes``, ``air``, ``model``, ``config``, ``timings_s``,
            ``versions`` and more (see :meth:`DiffSegLungLib.pipeline.Result.provenance`).
        edited: names of the classes that a person changed after the run; the report says so at its top.
    """
    parts = [
        _header(provenance, edited),
        _summary(quantities),
        _classes_table(quantities),
        _density_table(quantities),
        _histogram(quantities),
        _pictures(panels),
        _montage(montage),
        _origin(provenance),
        f'<footer class="notice">{html.escape(NOTICE)}</footer>',
    ]
    body = "\n".join(parts)
    path.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Lung tissue report: {html.escape(str(provenance['source']))}</title>"
        f"<style>{CSS}</style></head>\n<body><main>\n{body}\n</main></body></html>\n",
        encoding="utf-8",
    )


def summary_text(quantities: Quantities) -> str:
    """The class table as plain text, for a terminal."""
    lines = [f"{'':26}{'ml':>8}{'% of lung':>12}{'mean HU':>10}"]
    lines.append(_text_row("Lungs", quantities.lungs.volume_ml, 100.0, quantities.lungs.density.mean_hu))
    for c in quantities.lungs.classes:
        lines.append(_text_row("  " + BY_KEY[c.key].name, c.volume_ml, c.percent, c.mean_hu))
    return "\n".join(lines)


def _header(provenance: Mapping[str, Any], edited: Sequence[str]) -> str:
    model = provenance.get("model") or {}
    name = model.get("name", "local statistics, no trained model")
    by_hand = (
        f'<p class="banner">Edited by hand after the run: {html.escape(", ".join(edited))}. '
        "All numbers and pictures show the edited classes; the uncertainty is that of the run.</p>"
        if edited
        else ""
    )
    return (
        '<header><div><p class="kicker">DiffSegLung</p><h1>Lung tissue report</h1></div>'
        f'<dl class="facts"><dt>CT</dt><dd>{html.escape(str(provenance["source"]))}</dd>'
        f"<dt>Grid</dt><dd>{html.escape(str(provenance['grid']))}</dd>"
        f"<dt>Model</dt><dd>{html.escape(str(name))}</dd>"
        f"<dt>Made</dt><dd>{html.escape(str(provenance['created']))}</dd></dl></header>"
        '<p class="banner">Research use only. Not a medical device, not for diagnosis.</p>'
        f"{by_hand}"
    )


def _summary(quantities: Quantities) -> str:
    lungs = quantities.lungs
    by_id = {c.id: c for c in lungs.classes}
    abnormal = sum(by_id[i].percent for i in PATHOLOGY)
    tiles = [
        ("Lung volume", number(lungs.volume_ml, 0), "ml"),
        ("Healthy", number(by_id[HEALTHY].percent, 1), "%"),
        ("Abnormal", number(abnormal, 1), "%"),
        ("Mean density", number(lungs.density.mean_hu, 0), "HU"),
        ("LAA-950", number(lungs.density.laa_950_percent, 1), "%"),
    ]
    shown = "".join(
        f'<div class="tile"><span>{label}</span><b>{value}<small> {unit}</small></b></div>'
        for label, value, unit in tiles
    )
    charts = stacked_bars(quantities) + colour_key()
    return f'<section><div class="tiles">{shown}</div>{charts}</section>'


def _pictures(panels: Sequence[Panel]) -> str:
    rows = []
    for kind, title in (("ct", "CT"), ("overlay", "Tissue classes"), ("uncertainty", "Uncertainty")):
        if any(getattr(p, kind) is None for p in panels):
            continue
        widths = " ".join(f"{p.ct.shape[1] / p.ct.shape[0]:.3f}fr" for p in panels)
        cells = "".join(
            f'<figure><img alt="{p.plane}, {title}" src="{_data_uri(getattr(p, kind))}">'
            f"<figcaption>{p.plane} · {p.position}</figcaption></figure>"
            for p in panels
        )
        rows.append(
            f'<h3>{title}</h3><div class="planes" style="grid-template-columns:{widths}">{cells}</div>'
        )
    note = (
        "Radiological view: the patient's right is on the left. Lung window (level -600, width 1500 HU). "
        "The planes are those with most abnormal tissue. Uncertainty: entropy of the class posterior, "
        "dark = certain, bright = undecided."
    )
    return f'<section><h2>Pictures</h2>{"".join(rows)}<p class="small">{note}</p></section>'


def _montage(montage: Sequence[tuple[str, Picture]]) -> str:
    cells = "".join(
        f'<figure><img alt="Axial, {position}" src="{_data_uri(picture)}">'
        f"<figcaption>{position}</figcaption></figure>"
        for position, picture in montage
    )
    return f'<section><h2>From apex to base</h2><div class="montage">{cells}</div></section>'


def _classes_table(quantities: Quantities) -> str:
    regions = {r.name: r for r in quantities.regions}
    columns = [name for name in _class_columns() if name in regions]
    head = "".join(f"<th>{region_name(name)}</th>" for name in columns)
    rows = []
    for position, c in enumerate(quantities.lungs.classes):
        shares = "".join(f"<td>{_share(regions[name].classes[position].percent)}</td>" for name in columns)
        rows.append(
            f'<tr><th><i style="background:{colour(BY_KEY[c.key])}"></i>{BY_KEY[c.key].name}</th>'
            f"<td>{number(c.volume_ml, 1)}</td><td>{number(c.mean_hu, 0)}</td>{shares}</tr>"
        )
    total = "".join(f"<td>{number(regions[name].volume_ml, 0)}</td>" for name in columns)
    lungs = quantities.lungs
    return (
        "<section><h2>Tissue classes</h2><table><thead><tr><th></th><th>Volume<br><small>ml</small></th>"
        f"<th>Mean<br><small>HU</small></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"<tfoot><tr><th>Volume, ml</th><td>{number(lungs.volume_ml, 1)}</td>"
        f"<td>{number(lungs.density.mean_hu, 0)}</td>{total}</tr></tfoot></table>"
        '<p class="small">Right of the mean: share of each region in percent. '
        "Thirds have equal lung volume.</p></section>"
    )


def _class_columns() -> list[str]:
    thirds = ("upper", "middle", "lower")
    return ["lungs", "right", "left", *[f"{side} {third}" for side in ("right", "left") for third in thirds]]


def _density_table(quantities: Quantities) -> str:
    measures: tuple[tuple[str, Callable[[Region], str]], ...] = (
        ("Volume, ml", lambda r: number(r.volume_ml, 0)),
        ("Mean lung density, HU", lambda r: number(r.density.mean_hu, 0)),
        ("LAA-950, %", lambda r: number(r.density.laa_950_percent, 1)),
        ("LAA-910, %", lambda r: number(r.density.laa_910_percent, 1)),
        ("Perc15, HU", lambda r: number(r.density.perc15_hu, 0)),
        ("HAA (-600 … -250 HU), %", lambda r: number(r.density.haa_percent, 1)),
        ("Lung mass, g", lambda r: number(r.density.mass_g, 0)),
    )
    regions = [r for r in quantities.regions if r.name in _DENSITY_REGIONS]
    head = "".join(f"<th>{region_name(r.name)}</th>" for r in regions)
    rows = "".join(
        f"<tr><th>{label}</th>{''.join(f'<td>{value(r)}</td>' for r in regions)}</tr>"
        for label, value in measures
    )
    return (
        '<section class="half"><h2>Densitometry</h2>'
        f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        '<p class="small">Over the whole lung mask, vessels included, without trachea and main bronchi, '
        "on air-corrected HU; independent of the tissue classes. LAA: share below -950 or -910 HU. "
        "Perc15: 15th percentile.</p></section>"
    )


def _histogram(quantities: Quantities) -> str:
    edges = quantities.histogram_edges
    return (
        f'<section class="half"><h2>HU histogram by class</h2>{hu_histogram(quantities)}'
        f'<p class="small">ml of lung in bins of {edges[1] - edges[0]} HU, classes stacked; '
        "the outer bins hold what lies beyond.</p></section>"
    )


def _origin(provenance: Mapping[str, Any]) -> str:
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in provenance["notes"])
    groups = {
        "Run": provenance["run"],
        "Model": _model(provenance.get("model") or {}),
        "Settings": provenance["config"],
    }
    tables = "".join(
        f"<div><h3>{title}</h3><dl>{''.join(_entry(k, v) for k, v in entries.items())}</dl></div>"
        for title, entries in groups.items()
        if entries
    )
    noted = f'<h3>Notes</h3><ul class="notes">{notes}</ul>' if notes else ""
    return f'<section><h2>How this was made</h2>{noted}<div class="origin">{tables}</div></section>'


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


def _entry(key: str, value: Any) -> str:
    if isinstance(value, bool):
        shown = "yes" if value else "no"
    elif isinstance(value, float):
        shown = f"{value:.4g}"
    elif isinstance(value, (list, tuple)):
        shown = ", ".join(str(v) for v in value)
    else:
        shown = str(value)
    return f"<dt>{html.escape(key.replace('_', ' '))}</dt><dd>{html.escape(shown)}</dd>"


def _share(percent: float) -> str:
    return "–" if percent == 0 else ("<0.1" if percent < 0.05 else number(percent, 1)).replace("<", "&lt;")


def _text_row(name: str, volume_ml: float, percent: float, mean_hu: float | None) -> str:
    hu = "" if mean_hu is None else f"{mean_hu:.0f}"
    return f"{name:26}{volume_ml:8.1f}{percent:12.1f}{hu:>10}"


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode("ascii")
