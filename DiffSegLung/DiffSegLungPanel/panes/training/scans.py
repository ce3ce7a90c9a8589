"""The scans of the Train section: a folder or volumes of the scene, and which of them can be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from DiffSegLungLib.errors import InputError

from ...scene.input_info import describeInput
from ...scene.results import resultsOf
from ...steps.generate_steps import SYNTHETIC
from ...training.runs import ADVISED, FEWEST, Scan, TrainingRun
from ...training.training_steps import TrainingData, fileOf
from ...wording import numberText
from ..contract import Widgets
from ..input_pane import stampOf

SCENE, FOLDER = 0, 1
_NAME, _LUNGS, _STATE = range(3)
_NAME_WIDTH, _LUNGS_WIDTH = 116, 62
_LOWEST, _HIGHEST = 80, 220
"""Height of the table, pixels: as much as its rows need, and then it scrolls."""


@dataclass(frozen=True)
class _Row:
    """One line of the table; ``nodeID`` of a volume that can be ticked, empty for any other."""

    name: str
    lungs: str = ""
    state: str = ""
    nodeID: str = ""
    ticked: bool = False
    enabled: bool = True


class ScansPane(VTKObservationMixin):
    """Chooses what to train on and shows what is known about it.

    Args:
        ui: the widgets of the Train section.
        scene: whose volumes can be chosen.
        onChanged: called when the user or the scene has changed what is chosen.
    """

    def __init__(self, ui: Widgets, scene: slicer.vtkMRMLScene, onChanged: Callable[[], None]) -> None:
        super().__init__()
        self._ui, self._scene, self._onChanged = ui, scene, onChanged
        self._unticked: set[str] = set()
        self._described: dict[str, tuple[object, str]] = {}
        self._rows: list[_Row] = []
        self._filled: list[_Row] | None = None
        self._showing = False
        ui.trainDataComboBox.addItems([_("Volumes of this scene"), _("A folder on this computer")])
        table = ui.trainTable
        table.verticalHeader().visible = False
        table.horizontalHeader().setSectionResizeMode(_STATE, qt.QHeaderView.Stretch)
        table.setColumnWidth(_NAME, _NAME_WIDTH)
        table.setColumnWidth(_LUNGS, _LUNGS_WIDTH)
        table.horizontalHeader().connect("sectionResized(int,int,int)", self._onSectionResized)
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        ui.trainDataComboBox.connect("activated(int)", self._onChoice)
        ui.trainFolderPathEdit.connect("currentPathChanged(QString)", self._onChoice)
        self._later = qt.QTimer()
        self._later.setSingleShot(True)
        self._later.connect("timeout()", onChanged)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
            self.addObserver(scene, event, self._onScene)
        self.addObserver(scene, scene.StartCloseEvent, self._onStartClose)

    def close(self) -> None:
        """Let go of the scene."""
        self._later.stop()
        self.removeObservers()

    def data(self) -> TrainingData:
        """What is chosen.

        Raises:
            InputError: no folder.
        """
        if self._fromFolder:
            folder = self._folder
            if folder is None:
                raise InputError(
                    "no-input", _("No folder is chosen."), _("Choose the folder that holds the CT.")
                )
            return TrainingData(folder=folder)
        rows = [row for row in self._rows if row.nodeID and row.ticked]
        return TrainingData(volumes=tuple(self._scene.GetNodeByID(row.nodeID) for row in rows))

    @property
    def count(self) -> int:
        """How many CT are chosen, as far as is known; 0 for a folder nobody has looked into."""
        return len([row for row in self._rows if row.ticked])

    def show(self, run: TrainingRun | None, *, chosen: bool, enabled: bool) -> None:
        """Show what can be chosen, or what a training was begun with.

        Args:
            run: a training that was begun, or where the scans of a new one were checked.
            chosen: whether the CT are still to be chosen.
            enabled: whether the user may choose now.
        """
        fromFolder = self._fromFolder
        if chosen and run is not None and run.source != (self._folder if fromFolder else None):
            run = None  # what was found out there is about other CT
        for widget in (self._ui.trainDataComboBox, self._ui.trainDataLabel):
            widget.visible = chosen
        self._ui.trainFolderPathEdit.visible = chosen and fromFolder
        self._ui.trainDataComboBox.enabled = self._ui.trainFolderPathEdit.enabled = enabled
        scans = run.scans() if run is not None else []
        if chosen and not fromFolder:
            self._rows = self._volumeRows(run, scans, enabled)
        else:
            self._rows = [_scanRow(run, scan) for scan in scans] if run is not None else []
        self._fill()
        self._ui.trainScansLabel.text = self._summary(scans, chosen=chosen, fromFolder=fromFolder)

    @property
    def _fromFolder(self) -> bool:
        return bool(self._ui.trainDataComboBox.currentIndex == FOLDER)

    @property
    def _folder(self) -> Path | None:
        """The folder in its field, None where that is empty."""
        path = self._ui.trainFolderPathEdit.currentPath.strip()
        return Path(path).expanduser() if path else None

    def _volumeRows(self, run: TrainingRun | None, scans: list[Scan], enabled: bool) -> list[_Row]:
        found = {scan.file: scan for scan in scans}
        rows = []
        for volume in self._volumes():
            scan = found.get(fileOf(run, volume))
            problem = self._problem(volume)
            if problem:
                scan = Scan("", usable=False, reason=problem)
            usable = scan is None or scan.usable
            rows.append(
                _Row(
                    name=volume.GetName(),
                    lungs=_lungsText(scan),
                    state=_stateText(scan) if scan is not None else _("Not checked yet"),
                    nodeID=volume.GetID(),
                    ticked=usable and volume.GetID() not in self._unticked,
                    enabled=usable and enabled,
                )
            )
        return rows

    def _volumes(self) -> list[slicer.vtkMRMLScalarVolumeNode]:
        """Volumes that a user may take for a CT: no label maps, and no maps of uncertainty."""
        results = [resultsOf(n) for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", self._scene)]
        maps = {found.uncertainty.GetID() for found in results if found.uncertainty is not None}
        return [
            volume
            for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", self._scene)
            if not volume.GetHideFromEditors()
            and not volume.IsA("vtkMRMLLabelMapVolumeNode")
            and volume.GetID() not in maps
        ]

    def _problem(self, volume: slicer.vtkMRMLScalarVolumeNode) -> str:
        """Why a volume cannot be learned from; looked at again only when it has changed."""
        if volume.GetAttribute(SYNTHETIC):
            return _("{name} is synthetic: a model drew it.").format(name=volume.GetName())
        known = self._described.get(volume.GetID())
        if known is None or known[0] != stampOf(volume):
            error = describeInput(volume).error
            known = (stampOf(volume), error.message if error is not None else "")
            self._described[volume.GetID()] = known
        return known[1]

    def _summary(self, scans: list[Scan], *, chosen: bool, fromFolder: bool) -> str:
        if chosen and fromFolder and not scans:
            return _("Check the scans to see which can be used.")
        if chosen and not fromFolder:
            usable, every = self.count, len(self._rows)
            text = _("{usable} of {every} volumes chosen").format(usable=usable, every=every)
        else:
            usable, every = len([scan for scan in scans if scan.usable]), len(scans)
            text = _("{usable} of {every} CT can be used").format(usable=usable, every=every)
        if usable < FEWEST:
            return _("{text}; at least {least} are needed.").format(text=text, least=FEWEST)
        if usable < ADVISED:
            return _("{text}; {advised} or more are advised.").format(text=text, advised=ADVISED)
        return f"{text}."

    def _fill(self) -> None:
        """Put the rows into the table, where any has changed."""
        table = self._ui.trainTable
        if self._rows == self._filled:
            return
        self._filled = self._rows
        self._showing = True
        try:
            if table.rowCount != len(self._rows):
                table.setRowCount(len(self._rows))
            for number, row in enumerate(self._rows):
                self._cell(number, _NAME, row.name, row)
                self._cell(number, _LUNGS, row.lungs, None)
                self._cell(number, _STATE, row.state, None)
            self._fitHeight()
        finally:
            self._showing = False

    def _fitHeight(self) -> None:
        """Rows as high as their texts, and the table as its rows."""
        table = self._ui.trainTable
        table.resizeRowsToContents()
        needed = table.horizontalHeader().height + sum(table.rowHeight(n) for n in range(table.rowCount))
        table.minimumHeight = table.maximumHeight = min(max(needed + 4, _LOWEST), _HIGHEST)

    def _cell(self, number: int, column: int, text: str, row: _Row | None) -> None:
        table = self._ui.trainTable
        item = table.item(number, column)
        if item is None:
            item = qt.QTableWidgetItem()
            table.setItem(number, column, item)
        if item.text() != text:
            item.setText(text)
            item.setToolTip(text)
        if column == _LUNGS:
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        if row is None:
            return
        flags = qt.Qt.ItemIsEnabled if row.enabled or not row.nodeID else qt.Qt.NoItemFlags
        if row.nodeID:
            item.setFlags(flags | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if row.ticked else qt.Qt.Unchecked)
        else:
            item.setFlags(flags)
            item.setData(qt.Qt.CheckStateRole, None)

    def _onItemChanged(self, item: qt.QTableWidgetItem) -> None:
        if self._showing or item.column() != _NAME or item.row() >= len(self._rows):
            return
        row = self._rows[item.row()]
        if not row.nodeID:
            return
        if item.checkState() == qt.Qt.Checked:
            self._unticked.discard(row.nodeID)
        else:
            self._unticked.add(row.nodeID)
        self._filled = None  # what the user ticked stands in the table, not in these rows
        self._onChanged()

    def _onSectionResized(self, section: int, _before: int, _now: int) -> None:
        if section == _STATE and not self._showing:
            self._fitHeight()

    def _onChoice(self, _choice: object = None) -> None:
        self._onChanged()

    def _onStartClose(self, _caller: vtk.vtkObject, _event: str) -> None:
        self._unticked.clear()  # the next scene gives the same IDs to other CT

    def _onScene(self, _caller: vtk.vtkObject, _event: str) -> None:
        if not self._scene.IsBatchProcessing():
            self._later.start(0)  # once for however many nodes come and go together


def _scanRow(run: TrainingRun, scan: Scan) -> _Row:
    return _Row(run.nameOf(scan), _lungsText(scan), _stateText(scan), ticked=scan.usable)


def _lungsText(scan: Scan | None) -> str:
    if scan is None or scan.lungMl is None:
        return ""
    return _("{litres} l").format(litres=numberText(scan.lungMl / 1000, 1))


def _stateText(scan: Scan) -> str:
    return _("Yes") if scan.usable else _("No. {reason}").format(reason=scan.reason)
