"""The curves of a training as MRML plot nodes; one set of nodes in the scene serves every training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...scene.hierarchy import removeNode
from ...scene.table_nodes import Column, fillTable

LOSS, RETRIEVAL = "loss", "retrieval"
_ROLE = "DiffSegLung.training"
_TRAINED, _HELD_OUT = "trained", "heldOut"
_BLUE, _RED, _GREEN, _GREY = (0.20, 0.42, 0.70), (0.80, 0.36, 0.22), (0.20, 0.60, 0.40), (0.55, 0.55, 0.55)
_STEP = "Step"


@dataclass(frozen=True)
class _Curve:
    """One line of a chart: which table and column it shows, its name and colour, markers or none."""

    chart: str
    table: str
    column: str
    name: str
    colour: tuple[float, float, float]
    marked: bool = True


def _curves() -> list[_Curve]:
    return [
        _Curve(LOSS, _TRAINED, "noise", _("CT trained on"), _BLUE, marked=False),
        _Curve(LOSS, _HELD_OUT, "validation_noise", _("CT held out"), _RED),
        _Curve(RETRIEVAL, _HELD_OUT, "retrieval_top1", _("First guess right"), _BLUE),
        _Curve(RETRIEVAL, _HELD_OUT, "retrieval_top5", _("Among the first five"), _GREEN),
        _Curve(RETRIEVAL, _HELD_OUT, "retrieval_chance", _("By chance"), _GREY, marked=False),
    ]


class TrainingPlot:
    """Shows the curves of one training at a time.

    Args:
        scene: where the nodes are made, at the first :meth:`fill`; they are not saved with it.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene

    def fill(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Show these lines of a log, in place of what was shown before."""
        trained = [entry for entry in entries if _number(entry, "noise") is not None]
        heldOut = [entry for entry in entries if _number(entry, "validation_noise") is not None]
        self._fillTable(_TRAINED, _("Training curve"), trained, {"noise": 1.0})
        shares = dict.fromkeys(("retrieval_top1", "retrieval_top5", "retrieval_chance"), 100.0)
        tested = {"validation_noise": 1.0, **shares}
        self._fillTable(_HELD_OUT, _("Training curve, CT held out"), heldOut, tested)
        for which in (LOSS, RETRIEVAL):
            self._fillChart(which, trained, heldOut)

    def show(self, which: str) -> None:
        """Bring the loss or the retrieval chart into the plot view of the layout."""
        chart = self.chart(which)
        if chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def chart(self, which: str) -> slicer.vtkMRMLPlotChartNode | None:
        """The loss or the retrieval chart, None before the first :meth:`fill`."""
        return self._find("vtkMRMLPlotChartNode", which)

    def remove(self) -> None:
        """Take all of its nodes out of the scene."""
        for className in ("vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLTableNode"):
            for node in slicer.util.getNodesByClass(className, self._scene):
                if node.GetAttribute(_ROLE):
                    removeNode(self._scene, node)

    def _fillTable(
        self, role: str, name: str, entries: Sequence[Mapping[str, Any]], factors: Mapping[str, float]
    ) -> None:
        node = self._node("vtkMRMLTableNode", role, name)
        columns: list[Column] = [(_STEP, "", _("training step"), [float(entry["step"]) for entry in entries])]
        for column, factor in factors.items():
            values = [_number(entry, column) for entry in entries]
            columns.append((column, "", column, [math.nan if v is None else factor * v for v in values]))
        fillTable(node, columns, digits=6)

    def _fillChart(
        self, which: str, trained: Sequence[Mapping[str, Any]], heldOut: Sequence[Mapping[str, Any]]
    ) -> None:
        titles = {LOSS: _("Error of the noise prediction"), RETRIEVAL: _("Tissue found again, CT held out")}
        title = titles[which]
        chart = self._node("vtkMRMLPlotChartNode", which, title)
        wasModified = chart.StartModify()
        chart.SetTitle(title)
        chart.SetXAxisTitle(_("Training step"))
        chart.SetYAxisTitle({LOSS: _("Mean error"), RETRIEVAL: _("Share (%)")}[which])
        chart.SetLegendVisibility(True)
        shown = []
        for curve in _curves():
            if curve.chart == which:
                series = self._series(curve)
                # A series whose table is empty would be drawn as an error in VTK.
                if heldOut if curve.table == _HELD_OUT else trained:
                    shown.append(series.GetID())
        ids = [chart.GetNthPlotSeriesNodeID(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
        if ids != shown:
            chart.RemoveAllPlotSeriesNodeIDs()
            for seriesID in shown:
                chart.AddAndObservePlotSeriesNodeID(seriesID)
        self._setRanges(chart, which, trained, heldOut)
        chart.EndModify(wasModified)

    def _setRanges(
        self,
        chart: slicer.vtkMRMLPlotChartNode,
        which: str,
        trained: Sequence[Mapping[str, Any]],
        heldOut: Sequence[Mapping[str, Any]],
    ) -> None:
        """Axes that hold all points with a little room; whatever a renderer would choose by itself."""
        entries = {LOSS: [*trained, *heldOut], RETRIEVAL: heldOut}[which]
        names = [curve.column for curve in _curves() if curve.chart == which]
        values = [v for entry in entries for name in names if (v := _number(entry, name)) is not None]
        chart.SetXAxisRangeAuto(not values)
        chart.SetYAxisRangeAuto(not values)
        if not values:
            return
        steps = [float(entry["step"]) for entry in entries]
        chart.SetXAxisRange(0.0, 1.03 * max(*steps, 20.0))
        low, high = min(values), max(values)
        if which == RETRIEVAL:
            chart.SetYAxisRange(0.0, min(100.0, 140.0 * max(high, 0.01)))
        else:
            room = 0.1 * (high - low) or 0.05 * high or 1.0
            chart.SetYAxisRange(max(0.0, low - room), high + room)

    def _series(self, curve: _Curve) -> slicer.vtkMRMLPlotSeriesNode:
        series = self._node("vtkMRMLPlotSeriesNode", f"{curve.chart}.{curve.column}", curve.name)
        table = self._find("vtkMRMLTableNode", curve.table)
        assert table is not None, "it was filled before its chart"
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetXColumnName(_STEP)
        series.SetYColumnName(curve.column)
        circle, none = series.MarkerStyleCircle, series.MarkerStyleNone
        series.SetMarkerStyle(circle if curve.marked else none)
        series.SetMarkerSize(7)
        series.SetLineStyle(series.LineStyleSolid)
        series.SetLineWidth(2)
        series.SetColor(*curve.colour)
        return series

    def _node(self, className: str, role: str, name: str) -> slicer.vtkMRMLNode:
        node = self._find(className, role)
        if node is None:
            node = self._scene.AddNewNodeByClass(className, name)
            node.SetAttribute(_ROLE, role)
            node.SetSaveWithScene(False)
        return node

    def _find(self, className: str, role: str) -> slicer.vtkMRMLNode | None:
        nodes = slicer.util.getNodesByClass(className, self._scene)
        return next((node for node in nodes if node.GetAttribute(_ROLE) == role), None)


def _number(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
