"""The numbers of a segmentation as MRML table nodes, and as CSV."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.classes import BY_ID, BY_KEY, PATHOLOGY
from DiffSegLungLib.io.whole_file import writing
from DiffSegLungLib.report.notation import region_name
from DiffSegLungLib.report.quantify import Quantities

Column = tuple[str, str, str, Sequence[str | float]]
"""Name, unit, description and values; text where the values are text."""


def fillClassTable(node: slicer.vtkMRMLTableNode, quantities: Quantities) -> None:
    """One row for every class in every region; the mean HU of a class without voxels is an empty text."""
    rows = [(region, c) for region in quantities.regions for c in region.classes]
    fillTable(
        node,
        [
            ("Region", "", _("part of the lungs"), [region_name(region.name) for region, _c in rows]),
            ("Tissue", "", _("tissue class"), [BY_KEY[c.key].name for _r, c in rows]),
            (
                "Volume (ml)",
                "ml",
                _("volume of the class in the region"),
                fixed([c.volume_ml for _r, c in rows]),
            ),
            ("Share (%)", "%", _("share of the region's volume"), fixed([c.percent for _r, c in rows])),
            (
                "Mean (HU)",
                "HU",
                _("mean of the class's voxels"),
                fixed([c.mean_hu for _r, c in rows], 0),
            ),
        ],
    )


def fillDensityTable(node: slicer.vtkMRMLTableNode, quantities: Quantities) -> None:
    """One row for every region, with the densitometry of all its voxels whatever their class."""
    regions = quantities.regions
    densities = [region.density for region in regions]
    fillTable(
        node,
        [
            ("Region", "", _("part of the lungs"), [region_name(region.name) for region in regions]),
            (
                "Volume (ml)",
                "ml",
                _("volume of the region"),
                fixed([region.volume_ml for region in regions]),
            ),
            ("Mean (HU)", "HU", _("mean lung density"), fixed([d.mean_hu for d in densities])),
            ("LAA-950 (%)", "%", _("share below -950 HU"), fixed([d.laa_950_percent for d in densities])),
            ("LAA-910 (%)", "%", _("share below -910 HU"), fixed([d.laa_910_percent for d in densities])),
            ("Perc15 (HU)", "HU", _("15th percentile"), fixed([d.perc15_hu for d in densities])),
            ("HAA (%)", "%", _("share from -600 to -250 HU"), fixed([d.haa_percent for d in densities])),
            ("Mass (g)", "g", _("mass of tissue and blood"), fixed([d.mass_g for d in densities])),
        ],
    )


def fillHistogramTable(node: slicer.vtkMRMLTableNode, quantities: Quantities) -> None:
    """One row for every bin of HU (its centre), one column of ml for every class."""
    edges = quantities.histogram_edges
    centres = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    columns: list[Column] = [("HU", "HU", _("centre of the bin"), centres)]
    for c in BY_ID.values():
        columns.append((c.name, "ml", _("volume in the bin"), quantities.histogram_ml[c.key]))
    fillTable(node, columns)


def fillAbnormalTable(node: slicer.vtkMRMLTableNode, quantities: Quantities) -> None:
    """What the bar chart shows: one row for every abnormal class, the ml in the right and the left lung."""
    regions = {region.name: {c.id: c.volume_ml for c in region.classes} for region in quantities.regions}

    def volumes(side: str) -> list[float]:
        return [regions.get(side, {}).get(number, 0.0) for number in PATHOLOGY]

    fillTable(
        node,
        [
            ("Tissue", "", _("tissue class"), [BY_ID[number].name for number in PATHOLOGY]),
            ("Right lung (ml)", "ml", _("volume in the right lung"), volumes("right")),
            ("Left lung (ml)", "ml", _("volume in the left lung"), volumes("left")),
        ],
    )


def fixed(values: Sequence[float | None], decimals: int = 2) -> list[str]:
    """Numbers as texts with so many decimals, for a table that people read; a chart needs the numbers.

    What has no value is an empty text.
    """
    return ["" if value is None or math.isnan(value) else f"{value:.{decimals}f}" for value in values]


def fillTable(node: slicer.vtkMRMLTableNode, columns: Sequence[Column], *, digits: int = 2) -> None:
    """Replace the content of a table in one go; numbers are rounded to so many digits.

    A column's title is its name without the unit, which Slicer puts behind it by itself.
    """
    wasModified = node.StartModify()
    node.RemoveAllColumns()
    for name, unit, description, values in columns:
        isText = len(values) > 0 and isinstance(values[0], str)
        array = vtk.vtkStringArray() if isText else vtk.vtkDoubleArray()
        array.SetName(name)
        array.SetNumberOfValues(len(values))
        for row, value in enumerate(values):
            array.SetValue(row, value if isinstance(value, str) else round(value, digits))
        node.AddColumn(array)
        # The type is stored with the table, so that plots find numbers again after a reload.
        node.SetColumnType(name, vtk.VTK_STRING if isText else vtk.VTK_DOUBLE)
        node.SetColumnTitle(name, name.removesuffix(f"({unit})").rstrip())
        node.SetColumnUnitLabel(name, unit)
        node.SetColumnDescription(name, description)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    node.EndModify(wasModified)


def writeCsv(
    path: Path, tables: Sequence[slicer.vtkMRMLTableNode], lines: Sequence[Sequence[str]] = ()
) -> None:
    """Write tables as they stand, one below the other with an empty line between; whole or not at all.

    Args:
        path: where to write.
        tables: which.
        lines: of one more table, below them.

    Raises:
        InputError: code ``not-written``.
    """
    with writing(path) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for number, node in enumerate(tables):
            if number:
                writer.writerow([])
            columns = range(node.GetNumberOfColumns())
            writer.writerow([node.GetColumnName(column) for column in columns])
            for row in range(node.GetNumberOfRows()):
                writer.writerow([node.GetCellText(row, column) for column in columns])
        if lines:
            writer.writerow([])
            writer.writerows(lines)
