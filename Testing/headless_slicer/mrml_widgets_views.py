"""Stand-ins for Slicer's table view and plot view, drawing the real table and plot nodes.

The plot view paints bars, lines and scatters itself (Slicer uses VTK charts): axes with round ticks, titles, legend, the
colours of the series. A plot view shows the chart that its vtkMRMLPlotViewNode refers to.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from .mrml_widgets import Observations, SceneWidget, checked_vtk, flag
from .qt_facade_wrapper import invokable


class _TableModel(QtCore.QAbstractTableModel):
    """The cells of a vtkMRMLTableNode."""

    def __init__(self, view: qMRMLTableView) -> None:
        super().__init__(view)
        self._view = view

    def _size(self) -> tuple[int, int]:
        node = self._view.mrmlTableNode()
        rows, columns = (node.GetNumberOfRows(), node.GetNumberOfColumns()) if node is not None else (0, 0)
        return (columns, rows) if self._view.transposed else (rows, columns)

    def rowCount(self, parent: Any = None) -> int:
        return self._size()[0]

    def columnCount(self, parent: Any = None) -> int:
        return self._size()[1]

    def data(self, index: QtCore.QModelIndex, role: int = QtCore.Qt.ItemDataRole.DisplayRole) -> Any:
        node = self._view.mrmlTableNode()
        row, column = (
            (index.column(), index.row()) if self._view.transposed else (index.row(), index.column())
        )
        if role in (QtCore.Qt.ItemDataRole.DisplayRole, QtCore.Qt.ItemDataRole.EditRole):
            return node.GetCellText(row, column)
        if role == QtCore.Qt.ItemDataRole.TextAlignmentRole and not self._is_text(node, column):
            return QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
        return None

    def _is_text(self, node: Any, column: int) -> bool:
        return isinstance(node.GetTable().GetColumn(column), vtk.vtkStringArray)

    def headerData(self, section: int, orientation: QtCore.Qt.Orientation, role: int = 0) -> Any:
        if role != QtCore.Qt.ItemDataRole.DisplayRole:
            return None
        names_along = (
            QtCore.Qt.Orientation.Vertical if self._view.transposed else QtCore.Qt.Orientation.Horizontal
        )
        return (
            self._view.mrmlTableNode().GetColumnName(section) if orientation == names_along else section + 1
        )

    def flags(self, index: QtCore.QModelIndex) -> QtCore.Qt.ItemFlag:
        editable = QtCore.Qt.ItemFlag.ItemIsEditable if not self._view.mrmlTableNode().GetLocked() else 0
        return super().flags(index) | editable if editable else super().flags(index)

    def setData(
        self, index: QtCore.QModelIndex, value: Any, role: int = QtCore.Qt.ItemDataRole.EditRole
    ) -> bool:
        row, column = (
            (index.column(), index.row()) if self._view.transposed else (index.row(), index.column())
        )
        return bool(self._view.mrmlTableNode().SetCellText(row, column, str(value)))


class qMRMLTableView(QtWidgets.QTableView):
    """A table node's cells; follows its changes."""

    scene_changed = Signal(object)
    selection_changed = Signal()
    CPP_SIGNALS: ClassVar = {
        "mrmlSceneChanged(vtkMRMLScene*)": "scene_changed",
        "selectionChanged()": "selection_changed",
    }

    transposed = flag("transposed", False, "_update")
    firstRowLocked = flag("firstRowLocked", False)
    firstColumnLocked = flag("firstColumnLocked", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene, self._node, self._view_node = None, None, None
        self._observers, self._scene_observers = Observations(self), Observations(self)
        self.setModel(_TableModel(self))
        self.verticalHeader().setDefaultSectionSize(24)
        self.selectionModel().selectionChanged.connect(lambda *_: self.selection_changed.emit())

    @invokable
    def mrmlScene(self) -> Any:
        return self._scene

    @invokable
    def setMRMLScene(self, scene: Any) -> None:
        checked_vtk(scene, "vtkMRMLScene")
        if scene is self._scene:
            return
        self._scene_observers.clear()
        self._scene = scene
        if scene is not None:
            self._scene_observers.observe(scene, (slicer.vtkMRMLScene.NodeRemovedEvent,), "_check_node")
        self.scene_changed.emit(scene)

    def _check_node(self) -> None:
        if self._node is not None and self._node.GetScene() is None:
            self.setMRMLTableNode(None)

    @invokable
    def mrmlTableNode(self) -> Any:
        return self._node

    @invokable
    def setMRMLTableNode(self, node: Any) -> None:
        checked_vtk(node, "vtkMRMLTableNode")
        self._observers.clear()
        self._node = node
        if node is not None:
            self._observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_update")
        self._update()

    @invokable
    def mrmlTableViewNode(self) -> Any:
        return self._view_node

    @invokable
    def setMRMLTableViewNode(self, node: Any) -> None:
        self._view_node = checked_vtk(node, "vtkMRMLTableViewNode")
        if node is not None:
            self._observers.observe(node, (vtk.vtkCommand.ModifiedEvent,), "_follow_view")
            self._follow_view()

    def _follow_view(self) -> None:
        if self._view_node.GetTableNode() is not self._node:
            self.setMRMLTableNode(self._view_node.GetTableNode())

    def _update(self) -> None:
        self.model().beginResetModel()
        self.model().endResetModel()

    @invokable
    def copySelection(self) -> None:
        """The selected cells as text with tabs on the clipboard."""
        rows: dict[int, list[str]] = {}
        for index in sorted(self.selectedIndexes(), key=lambda i: (i.row(), i.column())):
            rows.setdefault(index.row(), []).append(str(index.data()))
        QtWidgets.QApplication.clipboard().setText("\n".join("\t".join(row) for row in rows.values()))


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
    """x, y and labels of a series; x is the row number where it names no x column. Empty where the table lacks them."""
    table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
    y_column = table.GetColumnByName(series.GetYColumnName() or "") if table is not None else None
    if y_column is None:
        return [], [], []
    rows = range(table.GetNumberOfRows())
    y = [y_column.GetVariantValue(row).ToDouble() for row in rows]
    x_column = table.GetColumnByName(series.GetXColumnName() or "")
    uses_x = x_column is not None and not series.GetPlotType() == series.PlotTypeLine
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

    @invokable
    def saveAsSVG(self, path: str) -> None:
        raise NotImplementedError("qMRMLPlotView.saveAsSVG has no stand-in")

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
        wide = area.width() / max(len(at), 1)
        for value in at:
            text = self._labels[int(value)] if named else f"{value:g}"
            text = painter.fontMetrics().elidedText(text, QtCore.Qt.TextElideMode.ElideRight, int(wide) - 4)
            rect = QtCore.QRectF(self._at(value, 0).x() - wide / 2, area.bottom() + 3, wide, self._height)
            painter.drawText(rect, QtCore.Qt.AlignmentFlag.AlignHCenter, text)
        painter.setPen(QtGui.QColor("#202020"))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.bottomLeft(), area.topLeft())

    def _bar_series(self, entry: tuple) -> None:
        series, x, y, _ = entry
        number, count = self._bars.index(entry), len(self._bars)
        spacing = min((b - a for a, b in zip(x, x[1:], strict=False) if b > a), default=1.0)
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
