"""Stand-in for Slicer's plot view: paints the real chart node that its vtkMRMLPlotViewNode refers to.

Bars, lines and scatters with Qt (Slicer uses VTK charts): axes with round ticks, titles, legend, the
series' colours.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from ..qt.members import invokable
from .mrml import Observations, SceneWidget, checked_vtk


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers that divide [low, high] into some `about` parts."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def series_points(series: Any) -> tuple[list[float], list[float], list[str]]:
    """x, y and labels of a series (x: row number except for scatters); empty where the table lacks them."""
    table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
    y_column = table.GetColumnByName(series.GetYColumnName() or "") if table is not None else None
    if y_column is None:
        return [], [], []
    rows = range(table.GetNumberOfRows())
    y = [y_column.GetVariantValue(row).ToDouble() for row in rows]
    x_column = table.GetColumnByName(series.GetXColumnName() or "")
    uses_x = x_column is not None and series.GetPlotType() in (
        series.PlotTypeScatter,
        series.PlotTypeScatterBar,
    )
    x = [x_column.GetVariantValue(row).ToDouble() for row in rows] if uses_x else [float(row) for row in rows]
    label_column = table.GetColumnByName(series.GetLabelColumnName() or "")
    labels = (
        [label_column.GetVariantValue(row).ToString() for row in rows] if label_column is not None else []
    )
    return x, y, labels


class qMRMLPlotView(SceneWidget):
    """The chart of a plot view node, painted with Qt."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view_node: Any = None
        self._observers = Observations(self)
        self.setMinimumSize(150, 100)

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(380, 260)

    @invokable
    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view_node = checked_vtk(node, "vtkMRMLPlotViewNode")
        self._observe()

    def chart(self) -> Any:
        return self._view_node.GetPlotChartNode() if self._view_node is not None else None

    def _observe(self) -> None:
        """Follow the view node, its chart, the chart's series and their tables."""
        self._observers.clear()
        chart = self.chart()
        nodes = [self._view_node, chart]
        for series in self._series():
            nodes += [series, series.GetTableNode()]
        for node in nodes:
            if node is not None:
                self._observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_observe")
        self.update()

    def _series(self) -> list[Any]:
        chart = self.chart()
        numbers = range(chart.GetNumberOfPlotSeriesNodes()) if chart is not None else ()
        return [s for s in (chart.GetNthPlotSeriesNode(n) for n in numbers) if s is not None]

    @invokable
    def fitToContent(self) -> None:
        """Always fitted here."""
        self.update()

    @invokable
    def RemovePlotSelections(self) -> None:
        """There are no selections here."""

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QtCore.Qt.GlobalColor.white)
        chart = self.chart()
        if chart is not None:
            _Chart(painter, QtCore.QRectF(self.rect()), chart, self._series()).paint()
        painter.end()


class _Chart:
    """Paints one chart node into a rectangle."""

    def __init__(self, painter: QtGui.QPainter, rect: QtCore.QRectF, chart: Any, series: list[Any]) -> None:
        self._painter, self._rect, self._node = painter, rect, chart
        points = [(s, *series_points(s)) for s in series]
        self._data = [entry for entry in points if entry[2]]
        bar_types = (
            slicer.vtkMRMLPlotSeriesNode.PlotTypeBar,
            slicer.vtkMRMLPlotSeriesNode.PlotTypeScatterBar,
        )
        self._bars = [entry for entry in self._data if entry[0].GetPlotType() in bar_types]
        self._labels = next((labels for *_, labels in self._data if labels), [])
        self._height = painter.fontMetrics().height()

    def paint(self) -> None:
        if self._data:
            self._limits()
            self._area = self._rect.adjusted(62, self._height + 12, -14, -(2 * self._height + 16))
            self._axes()
            for number, entry in enumerate(self._data):
                self._bar_series(entry) if entry in self._bars else self._line_series(entry, number)
            if self._node.GetLegendVisibility():
                self._legend()
        self._titles()

    def _limits(self) -> None:
        xs = [value for _, x, _, _ in self._data for value in x if math.isfinite(value)]
        ys = [value for _, _, y, _ in self._data for value in y if math.isfinite(value)] or [0.0]
        half = 0.5 if self._bars else 0.0
        self._x = (min(xs) - half, max(xs) + half)
        self._y = (min(0.0, *ys), max(ys) * 1.05 if max(ys) > 0 else 1.0)
        for name, getter in (("_x", "X"), ("_y", "Y")):
            if not getattr(self._node, f"Get{getter}AxisRangeAuto")():
                setattr(self, name, tuple(getattr(self._node, f"Get{getter}AxisRange")()))

    def _at(self, x: float, y: float) -> QtCore.QPointF:
        (x0, x1), (y0, y1), area = self._x, self._y, self._area
        return QtCore.QPointF(
            area.left() + (x - x0) / ((x1 - x0) or 1) * area.width(),
            area.bottom() - (y - y0) / ((y1 - y0) or 1) * area.height(),
        )

    def _axes(self) -> None:
        painter, area = self._painter, self._area
        for value in ticks(*self._y):
            y = self._at(self._x[0], value).y()
            if self._node.GetGridVisibility():
                painter.setPen(QtGui.QColor("#e0e0e0"))
                painter.drawLine(QtCore.QPointF(area.left(), y), QtCore.QPointF(area.right(), y))
            painter.setPen(QtGui.QColor("#202020"))
            rect = QtCore.QRectF(18, y - self._height / 2, area.left() - 22, self._height)
            painter.drawText(rect, QtCore.Qt.AlignmentFlag.AlignRight, f"{value:g}")
        named = bool(self._labels and self._bars)
        at = range(len(self._labels)) if named else ticks(*self._x)
        staggered = named and not self._fits(self._labels, area.width() / len(at))
        wide = area.width() / max(len(at), 1) * (2 if staggered else 1)
        for number, value in enumerate(at):
            text = self._labels[int(value)] if named else f"{value:g}"
            text = painter.fontMetrics().elidedText(text, QtCore.Qt.TextElideMode.ElideRight, int(wide) - 4)
            row = number % 2 if staggered else 0
            top = area.bottom() + 3 + row * self._height
            rect = QtCore.QRectF(self._at(value, 0).x() - wide / 2, top, wide, self._height)
            painter.drawText(rect, QtCore.Qt.AlignmentFlag.AlignHCenter, text)
        painter.setPen(QtGui.QColor("#202020"))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.bottomLeft(), area.topLeft())

    def _fits(self, labels: list[str], width: float) -> bool:
        return all(self._painter.fontMetrics().horizontalAdvance(text) < width - 4 for text in labels)

    def _bar_series(self, entry: tuple) -> None:
        series, x, y, _ = entry
        number, count = self._bars.index(entry), len(self._bars)
        spacing = min((b - a for a, b in pairwise(x) if b > a), default=1.0)
        width = 0.8 * spacing / count
        for x_value, y_value in zip(x, y, strict=True):
            left = x_value - 0.4 * spacing + number * width
            top, bottom = self._at(left, y_value), self._at(left + width, 0)
            self._painter.fillRect(QtCore.QRectF(top, bottom).normalized(), _colour(series))

    def _line_series(self, entry: tuple, number: int) -> None:
        series, x, y, _ = entry
        pairs = zip(x, y, strict=True)
        points = [self._at(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
        self._painter.save()
        self._painter.setClipRect(self._area.adjusted(0, -2, 2, 1))
        if series.GetLineStyle() != series.LineStyleNone:
            self._painter.setPen(QtGui.QPen(_colour(series), series.GetLineWidth()))
            self._painter.drawPolyline(points)
        if series.GetMarkerStyle() != series.MarkerStyleNone:
            self._painter.setPen(QtCore.Qt.PenStyle.NoPen)
            self._painter.setBrush(_colour(series))
            for point in points:
                self._painter.drawEllipse(point, series.GetMarkerSize() / 2, series.GetMarkerSize() / 2)
        self._painter.restore()

    def _legend(self) -> None:
        names = [entry[0].GetName() for entry in self._data]
        metrics = self._painter.fontMetrics()
        width = max(metrics.horizontalAdvance(name) for name in names) + 26
        box = QtCore.QRectF(
            self._area.right() - width, self._area.top(), width, len(names) * (self._height + 2) + 6
        )
        self._painter.fillRect(box, QtGui.QColor(255, 255, 255, 215))
        self._painter.setPen(QtGui.QColor("#c0c0c0"))
        self._painter.drawRect(box)
        for row, (entry, name) in enumerate(zip(self._data, names, strict=True)):
            top = box.top() + 4 + row * (self._height + 2)
            mark = QtCore.QRectF(box.left() + 5, top + self._height / 2 - 4, 12, 8)
            self._painter.fillRect(mark, _colour(entry[0]))
            self._painter.setPen(QtGui.QColor("#202020"))
            self._painter.drawText(QtCore.QPointF(box.left() + 21, top + metrics.ascent()), name)

    def _titles(self) -> None:
        painter, rect, centre = self._painter, self._rect, QtCore.Qt.AlignmentFlag.AlignHCenter
        painter.setPen(QtGui.QColor("#000000"))
        if self._node.GetXAxisTitleVisibility():
            place = QtCore.QRectF(rect.left(), rect.bottom() - self._height - 3, rect.width(), self._height)
            painter.drawText(place, centre, self._node.GetXAxisTitle() or "")
        if self._node.GetYAxisTitleVisibility():
            painter.save()
            painter.translate(rect.left() + 2, rect.bottom())
            painter.rotate(-90)
            painter.drawText(
                QtCore.QRectF(0, 0, rect.height(), self._height), centre, self._node.GetYAxisTitle() or ""
            )
            painter.restore()
        if self._node.GetTitleVisibility():
            font = painter.font()
            font.setBold(True)
            painter.setFont(font)
            place = QtCore.QRectF(rect.left(), rect.top() + 4, rect.width(), self._height + 2)
            painter.drawText(place, centre, self._node.GetTitle() or "")


def _colour(series: Any) -> QtGui.QColor:
    return QtGui.QColor.fromRgbF(*series.GetColor(), series.GetOpacity())


class qMRMLPlotWidget(QtWidgets.QWidget):
    """A plot view as a layout holds it."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view, self._node = qMRMLPlotView(self), None
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._view)

    @invokable
    def plotView(self) -> qMRMLPlotView:
        return self._view

    @invokable
    def viewWidget(self) -> qMRMLPlotView:
        return self._view

    @invokable
    def mrmlPlotViewNode(self) -> Any:
        return self._node

    @invokable
    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self._view.setMRMLPlotViewNode(node)

    @invokable
    def mrmlScene(self) -> Any:
        return self._view.mrmlScene()

    @invokable
    def setMRMLScene(self, scene: Any) -> None:
        self._view.setMRMLScene(scene)
