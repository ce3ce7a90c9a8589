"""The Results section: classes, numbers, charts, 3D and export of one segmentation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from ..scene import results
from ..scene.parameters import DiffSegLungParameters
from ..scene.result_nodes import SHIFT, notesOf
from ..scene.surfaces import hideIn3D, isShownIn3D, surfaceSteps
from ..work.tasks import Task
from .contract import Widgets
from .dialogs import Dialogs
from .message_line import MessageLine
from .run_pane import announced
from .segment_list import SegmentList
from .table_view import ClassTableView

LUNG_WINDOW, LUNG_LEVEL = 1500.0, -600.0
"""How lungs are read, HU."""


class ResultsPane:
    """Shows the results that hang on a segmentation.

    Args:
        ui: the panel's widgets.
        scene: where the results are.
        messages: says how an export went.
        dialogs: asks for files.
        run: runs a task with progress and calls back with it when it ends.

    Attributes:
        node: the segmentation shown, None when it has no results.
    """

    def __init__(
        self,
        ui: Widgets,
        scene: slicer.vtkMRMLScene,
        messages: MessageLine,
        dialogs: Dialogs,
        run: Callable[[Task, Callable[[Task], None]], None],
    ) -> None:
        self._ui, self._scene, self._messages, self._dialogs, self._run = ui, scene, messages, dialogs, run
        self._parameters: DiffSegLungParameters | None = None
        self.node: slicer.vtkMRMLSegmentationNode | None = None
        self._table = ClassTableView(ui)
        self._segments = SegmentList(ui.segmentsTable)
        ui.resultsHintLabel.text = _("What is found appears here: volumes, charts and a map of uncertainty.")
        ui.show3DButton.connect("clicked(bool)", self._onShow3D)
        ui.showSlicesButton.connect("clicked(bool)", self._onShowSlices)
        ui.regionComboBox.connect("activated(int)", self._onRegionChosen)
        ui.volumeChartButton.connect("clicked(bool)", self._onVolumeChart)
        ui.histogramChartButton.connect("clicked(bool)", self._onHistogramChart)
        ui.exportCsvButton.connect("clicked(bool)", self._onExportCsv)
        ui.exportReportButton.connect("clicked(bool)", self._onExportReport)

    def update(self, parameters: DiffSegLungParameters | None) -> None:
        """Show the results of the output segmentation, if it has any."""
        self._parameters = parameters
        node = parameters.outputSegmentation if parameters is not None else None
        found = results.resultsOf(node) if node is not None else None
        self.node = node if found is not None and found.classTable is not None else None
        self._ui.resultsWidget.visible = self.node is not None
        self._ui.resultsHintLabel.visible = self.node is None
        self._segments.show(self.node)
        self.refresh()

    def refresh(self) -> None:
        """Read the tables again."""
        node = self.node
        found = results.resultsOf(node) if node is not None else None
        region = self._parameters.region if self._parameters is not None else ""
        self._table.show(found, region, _airShift(node) if node is not None else 0.0)
        notes = notesOf(node) if node is not None else []
        self._ui.notesLabel.text = "\n".join(notes)
        self._ui.notesLabel.visible = bool(notes)
        self._ui.volumeChartButton.enabled = found is not None and found.volumeChart is not None
        self._ui.histogramChartButton.enabled = found is not None and found.histogramChart is not None
        self._ui.show3DButton.checked = node is not None and isShownIn3D(node)

    def show(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Bring a segmentation's CT, and the segmentation over it, into the slice views."""
        ct = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        if ct is not None:
            slicer.util.setSliceViewerLayers(background=ct, fit=True)
            _useLungWindow(ct)
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(True)

    def _onRegionChosen(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.region = self._table.regions[index]

    def _onShowSlices(self, _checked: bool = False) -> None:
        if self.node is not None:
            self.show(self.node)

    def _onShow3D(self, shown: bool) -> None:
        if self.node is None:
            return
        if shown:
            self._run(Task(surfaceSteps(self.node)), self._onSurfacesMade)
        else:
            hideIn3D(self.node)

    def _onSurfacesMade(self, task: Task) -> None:
        if task.error is not None and not task.wasCancelled:
            self._messages.error(task.error)
        self.refresh()

    def _onVolumeChart(self, _checked: bool = False) -> None:
        self._showChart(results.resultsOf(self.node).volumeChart if self.node is not None else None)

    def _onHistogramChart(self, _checked: bool = False) -> None:
        self._showChart(results.resultsOf(self.node).histogramChart if self.node is not None else None)

    def _showChart(self, chart: slicer.vtkMRMLPlotChartNode | None) -> None:
        if chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def _onExportCsv(self, _checked: bool = False) -> None:
        path = self._askFile(_("Export tables"), "csv", _("Tables (*.csv)"))
        if path is None:
            return
        try:
            results.exportCsv(self.node, path)
        except DiffSegLungError as error:
            self._messages.error(error)
        else:
            self._messages.success(_("Saved {path}.").format(path=path))

    def _onExportReport(self, _checked: bool = False) -> None:
        path = self._askFile(_("Export report"), "html", _("Reports (*.html)"))
        if path is not None:
            steps = announced(_("Writing the report"), results.exportReport(self._scene, self.node, path))
            self._run(Task(steps), self._onReportWritten)

    def _onReportWritten(self, task: Task) -> None:
        if self._messages.succeeded(task, _("The report was not written.")):
            self._messages.success(_("Saved {path}.").format(path=task.result))

    def _askFile(self, title: str, ending: str, pattern: str) -> Path | None:
        if self.node is None:
            return None
        return self._dialogs.saveAs(title, self.node.GetName(), ending, pattern)


def _useLungWindow(ct: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a CT in the lung window, unless somebody or its DICOM header chose another."""
    display = ct.GetDisplayNode()
    if display is not None and display.GetAutoWindowLevel():
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(LUNG_WINDOW, LUNG_LEVEL)


def _airShift(node: slicer.vtkMRMLSegmentationNode) -> float:
    """HU by which the run corrected the CT; 0 where nothing that can be read is stored."""
    try:
        shift = float(node.GetAttribute(SHIFT) or 0.0)
    except ValueError:
        return 0.0
    return shift if math.isfinite(shift) else 0.0
