"""The numbers of one region, or of all: the class table and the line of densitometry under it."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..scene.result_nodes import ResultNodes
from ..wording import numberText
from .contract import Widgets

ALL_REGIONS = "*"

WIDEST = 18
"""Characters of a column; with names of classes that fits the panel at its usual width."""


class ClassTableView:
    """Shows the rows of the chosen region of the tables that hang on a segmentation.

    Args:
        ui: the panel's widgets.

    Attributes:
        regions: what each entry of the region list stands for in the parameters.
    """

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self.regions: list[str] = []
        self._laidOut: tuple[str, int, str] | None = None
        ui.classTableView.verticalHeader().visible = False

    def show(self, found: ResultNodes | None, region: str, airShift: float = 0.0) -> None:
        """Show these results (None: nothing).

        Args:
            found: what :func:`.results.resultsOf` gave.
            region: name of a region, ``"*"`` for all, empty for the first one.
            airShift: HU by which the run corrected the CT, with which everything is measured.
        """
        table = found.classTable if found is not None else None
        view = self._ui.classTableView
        if view.mrmlTableNode() is not table:
            view.setMRMLTableNode(table)
        names = _column(table, 0)
        regions = list(dict.fromkeys(names))
        whole = regions[0] if regions else ""
        chosen = region if region in (*regions, ALL_REGIONS) else whole
        self._showRegions(regions, chosen)
        for row, name in enumerate(names):
            view.setRowHidden(row, chosen not in (ALL_REGIONS, name))
        view.setColumnHidden(0, chosen != ALL_REGIONS)
        laidOut = (table.GetID(), table.GetMTime(), chosen) if table is not None else None
        if laidOut is not None and laidOut != self._laidOut:  # a dragged slider asks a hundred times a second
            layOut(view)
        self._laidOut = laidOut
        density = found.densityTable if found is not None else None
        text = _densityText(density, whole if chosen == ALL_REGIONS else chosen)
        if text and chosen == ALL_REGIONS:
            text = _("{region}: {text}").format(region=whole, text=text)
        if text and round(airShift):
            shift = numberText(airShift) if airShift < 0 else f"+{numberText(airShift)}"
            text = _("{text} · air corrected by {shift}\u00a0HU").format(text=text, shift=shift)
        self._ui.densityLabel.text = text

    def _showRegions(self, regions: list[str], chosen: str) -> None:
        self.regions = [*regions, ALL_REGIONS] if regions else []
        texts = [*regions, _("All regions")] if regions else []
        combo = self._ui.regionComboBox
        if [combo.itemText(i) for i in range(combo.count)] != texts:
            combo.clear()
            combo.addItems(texts)
        combo.currentIndex = self.regions.index(chosen) if chosen in self.regions else -1


def layOut(view: qt.QTableView) -> None:
    """Give a table's columns the width of their content, and numbers the right-hand side of their cells.

    The last column takes what is left. None gives way, which in Slicer means 60 pixels: a long name goes on
    in a second line, and a table that is wider than the panel all the same scrolls.
    """
    model = view.tableModel()
    wasBlocked = model.blockSignals(True)  # Slicer takes a changed item for an edit
    for row in range(model.rowCount()):
        for column in range(model.columnCount()):
            item = model.item(row, column)
            if _isNumber(item.text()):
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    model.blockSignals(wasBlocked)
    header = view.horizontalHeader()
    header.setMaximumSectionSize(WIDEST * view.fontMetrics().averageCharWidth())
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setStretchLastSection(True)
    view.resizeColumnsToContents()  # before the rows, whose height it decides
    view.resizeRowsToContents()


def _isNumber(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "–"
    return True


def _column(table: slicer.vtkMRMLTableNode | None, column: int) -> list[str]:
    if table is None:
        return []
    return [table.GetCellText(row, column) for row in range(table.GetNumberOfRows())]


def _densityText(table: slicer.vtkMRMLTableNode | None, region: str) -> str:
    """The region's densitometry as one line: every column's name, value and unit."""
    names = _column(table, 0)
    if table is None or region not in names:
        return ""
    row = names.index(region)
    parts = []
    for column in range(1, table.GetNumberOfColumns()):
        name = table.GetColumnName(column)
        unit = table.GetColumnUnitLabel(name)
        text = table.GetCellText(row, column)
        value = numberText(float(text), 1 if unit == "%" else 0) if text else "–"
        parts.append(f"{name.removesuffix(f'({unit})').strip()}\u00a0{value}\u00a0{unit}")
    return " · ".join(parts)
