"""The charts of a segmentation as MRML plot nodes on its tables; they follow the tables by themselves."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.classes import BY_ID

_RIGHT, _LEFT = (0.80, 0.42, 0.34), (0.33, 0.52, 0.80)


def fillVolumeChart(
    scene: slicer.vtkMRMLScene, chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode
) -> None:
    """Bars: ml of every abnormal class, right and left lung side by side."""
    bars = [
        (column, colour)
        for column, colour in zip(("Right lung (ml)", "Left lung (ml)"), (_RIGHT, _LEFT), strict=True)
    ]
    for series, (column, colour) in zip(_seriesOf(scene, chart, len(bars)), bars, strict=True):
        series.SetName(column.removesuffix(" (ml)"))
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        series.SetXColumnName("")
        series.SetYColumnName(column)
        series.SetLabelColumnName("Tissue")
        series.SetColor(*colour)
    chart.SetTitle(_("Abnormal tissue"))
    chart.SetXAxisTitle("")
    chart.SetYAxisTitle(_("Volume (ml)"))
    chart.SetLegendVisibility(True)


def fillHistogramChart(
    scene: slicer.vtkMRMLScene, chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode
) -> None:
    """Lines: ml of every class over HU, in the class's colour."""
    for series, c in zip(_seriesOf(scene, chart, len(BY_ID)), BY_ID.values(), strict=True):
        series.SetName(c.name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetXColumnName("HU")
        series.SetYColumnName(c.name)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
        series.SetLineWidth(2)
        series.SetColor(*(value / 255 for value in c.colour))
    chart.SetTitle(_("HU by tissue"))
    chart.SetXAxisTitle("HU")
    chart.SetYAxisTitle(_("Volume in 20 HU (ml)"))
    chart.SetLegendVisibility(True)


def _seriesOf(
    scene: slicer.vtkMRMLScene, chart: slicer.vtkMRMLPlotChartNode, count: int
) -> list[slicer.vtkMRMLPlotSeriesNode]:
    """The series of a chart, made where they are missing."""
    while chart.GetNumberOfPlotSeriesNodes() < count:
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return [chart.GetNthPlotSeriesNode(number) for number in range(count)]
