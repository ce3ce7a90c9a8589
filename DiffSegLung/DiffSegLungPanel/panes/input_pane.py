"""The Input section: which CT, whose lungs, and where the result goes."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from DiffSegLungLib.errors import InputError

from ..scene.input_info import InputInfo, describeInput
from ..scene.parameters import DiffSegLungParameters
from ..scene.segments import editedNames
from .contract import Widgets


class InputPane(VTKObservationMixin):
    """Shows what is known about the inputs.

    Args:
        ui: the panel's widgets.
        onChanged: called when an input itself changed in the scene, so that the panel shows it anew.

    Attributes:
        problem: why the CT cannot be used, None when it can.
    """

    def __init__(self, ui: Widgets, onChanged: Callable[[], None]) -> None:
        super().__init__()
        self._ui = ui
        self._onChanged = onChanged
        self._parameters: DiffSegLungParameters | None = None
        self._info = InputInfo()
        self._described: tuple[object, ...] = ()
        self._segmentIDs: list[str] = []
        self._lungs: slicer.vtkMRMLSegmentationNode | None = None
        self._observed: tuple[object, ...] = ()
        ui.lungsSegmentComboBox.connect("activated(int)", self._onSegmentChosen)

    @property
    def problem(self) -> InputError | None:
        """Why the CT cannot be used."""
        return self._info.error

    def update(self, parameters: DiffSegLungParameters | None) -> None:
        """Show these parameters; None while the scene is being closed."""
        self._parameters = parameters
        self._observe()
        volume = parameters.inputVolume if parameters is not None else None
        if stampOf(volume) != self._described:
            self._described = stampOf(volume)
            self._info = describeInput(volume)
        self._showInfo(volume)
        self._followLungs()
        self._showSegments()
        self._showOutput()

    def close(self) -> None:
        """Let go of every node."""
        self.update(None)

    def _showInfo(self, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        error = self._info.error if volume is not None else None
        lines = [self._info.text, f"{error.message} {error.hint}".strip() if error is not None else ""]
        self._ui.inputInfoLabel.text = "\n".join(line for line in lines if line)
        self._ui.inputInfoLabel.visible = volume is not None

    def _followLungs(self) -> None:
        """A segment's id means nothing in another segmentation, where it may be there by chance."""
        parameters = self._parameters
        before, self._lungs = self._lungs, parameters.lungsSegmentation if parameters is not None else None
        if before is not None and parameters is not None and before is not self._lungs:
            parameters.lungsSegmentID = ""

    def _showSegments(self) -> None:
        node = self._parameters.lungsSegmentation if self._parameters is not None else None
        names, self._segmentIDs = [_("All segments")], [""]
        if node is not None:
            segments = node.GetSegmentation()
            self._segmentIDs += list(segments.GetSegmentIDs())
            names += [segments.GetSegment(segmentID).GetName() for segmentID in segments.GetSegmentIDs()]
        combo = self._ui.lungsSegmentComboBox
        if [combo.itemText(i) for i in range(combo.count)] != names:
            combo.clear()
            combo.addItems(names)
        chosen = self._parameters.lungsSegmentID if self._parameters is not None else ""
        combo.currentIndex = self._segmentIDs.index(chosen) if chosen in self._segmentIDs else -1
        combo.visible = self._ui.lungsSegmentLabel.visible = node is not None

    def _showOutput(self) -> None:
        output = self._parameters.outputSegmentation if self._parameters is not None else None
        edited = output is not None and bool(editedNames(output))
        self._ui.outputInfoLabel.text = _("Edited by hand: Apply asks before it replaces anything.")
        self._ui.outputInfoLabel.visible = edited

    def _onSegmentChosen(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.lungsSegmentID = self._segmentIDs[index]

    def _observe(self) -> None:
        """Follow the nodes in use: what the panel says about them must stay true."""
        parameters = self._parameters
        volume = parameters.inputVolume if parameters is not None else None
        lungs = parameters.lungsSegmentation if parameters is not None else None
        if (volume, lungs) == self._observed:
            return
        self.removeObservers()
        self._observed = (volume, lungs)
        if volume is not None:
            for event in (volume.ImageDataModifiedEvent, volume.TransformModifiedEvent):
                self.addObserver(volume, event, self._onNodeChanged)
        if lungs is not None:
            segments = lungs.GetSegmentation()
            for event in (segments.SegmentAdded, segments.SegmentRemoved, segments.SegmentModified):
                self.addObserver(segments, event, self._onNodeChanged)

    def _onNodeChanged(self, _caller: vtk.vtkObject, _event: str) -> None:
        self._onChanged()


def stampOf(volume: slicer.vtkMRMLScalarVolumeNode | None) -> tuple[object, ...]:
    """Changes when the volume is another one, or has other voxels, another geometry or another transform."""
    if volume is None:
        return (None,)
    image, transform = volume.GetImageData(), volume.GetParentTransformNode()
    return (
        volume.GetID(),
        volume.GetSpacing(),
        image.GetMTime() if image is not None else 0,
        transform.GetMTime() if transform is not None else 0,
    )
