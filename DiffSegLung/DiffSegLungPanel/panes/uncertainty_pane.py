"""Where the model is unsure: an overlay in the slice views, and a walk through the uncertain regions."""

from __future__ import annotations

from collections.abc import Iterator

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import InputError

from ..scene import results
from ..scene.parameters import DiffSegLungParameters
from .contract import Widgets


class UncertaintyPane:
    """Shows the uncertainty of one segmentation.

    Args:
        ui: the panel's widgets.
        scene: where the slice views are.
    """

    def __init__(self, ui: Widgets, scene: slicer.vtkMRMLScene) -> None:
        self._ui, self._scene = ui, scene
        self._parameters: DiffSegLungParameters | None = None
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._regions: list[results.UncertainRegion] = []
        self._number = -1
        self._before: dict[str, tuple[str | None, float]] = {}
        ui.overlayCheckBox.connect("clicked(bool)", self._onOverlay)
        ui.nextRegionButton.connect("clicked(bool)", self._onNext)
        ui.previousRegionButton.connect("clicked(bool)", self._onPrevious)

    def update(
        self, node: slicer.vtkMRMLSegmentationNode | None, parameters: DiffSegLungParameters | None
    ) -> None:
        """Show the uncertainty that hangs on a segmentation."""
        self._parameters = parameters
        if node is not self._node:
            self._number = -1
        self._node = node
        self._regions = self._uncertainRegions()
        shown = self._isOverlaid()
        self._ui.overlayCheckBox.enabled = self._volume() is not None
        self._ui.overlayCheckBox.checked = shown
        self._ui.overlayOpacitySlider.enabled = shown
        if shown:
            self._setOpacity()
        self._showRegion()

    def _volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        return results.resultsOf(self._node).uncertainty if self._node is not None else None

    def _uncertainRegions(self) -> list[results.UncertainRegion]:
        ct = results.resultsOf(self._node).volume if self._node is not None else None
        if ct is None or ct.GetImageData() is None:
            return []
        try:
            return results.uncertainRegions(self._node, ct)
        except InputError:  # the CT was put under a non-linear transform meanwhile
            return []

    def _composites(self) -> Iterator[slicer.vtkMRMLSliceCompositeNode]:
        yield from slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene)

    def _isOverlaid(self) -> bool:
        volume = self._volume()
        return volume is not None and any(
            composite.GetForegroundVolumeID() == volume.GetID() for composite in self._composites()
        )

    def _setOpacity(self) -> None:
        volume = self._volume()
        if volume is None or self._parameters is None:
            return
        for composite in self._composites():
            if composite.GetForegroundVolumeID() == volume.GetID():
                composite.SetForegroundOpacity(self._parameters.overlayOpacity / 100)

    def _onOverlay(self, shown: bool) -> None:
        """Take the place of what lay over the CT, and give it back."""
        volume = self._volume()
        if volume is None:
            return
        for composite in self._composites():
            over = composite.GetForegroundVolumeID()
            if shown and over != volume.GetID():
                self._before[composite.GetID()] = (over, composite.GetForegroundOpacity())
                composite.SetForegroundVolumeID(volume.GetID())
            elif not shown and over == volume.GetID():
                former, opacity = self._before.pop(composite.GetID(), (None, 0.0))
                present = former is not None and self._scene.GetNodeByID(former) is not None
                composite.SetForegroundVolumeID(former if present else None)
                composite.SetForegroundOpacity(opacity if present else 0.0)
        self.update(self._node, self._parameters)

    def _onNext(self, _checked: bool = False) -> None:
        self._go(1)

    def _onPrevious(self, _checked: bool = False) -> None:
        self._go(-1)

    def _go(self, step: int) -> None:
        """Move every slice view to the next region, round and round."""
        if not self._regions:
            return
        self._number = (max(self._number, -1 if step > 0 else 0) + step) % len(self._regions)
        slicer.vtkMRMLSliceNode.JumpAllSlices(
            self._scene,
            *self._regions[self._number].positionRAS,
            slicer.vtkMRMLSliceNode.CenteredJumpSlice,
        )
        self._showRegion()

    def _showRegion(self) -> None:
        count = len(self._regions)
        self._ui.nextRegionButton.enabled = self._ui.previousRegionButton.enabled = count > 0
        if count == 0:
            text = _("No region of 0.2 ml or more is uncertain.")
        elif self._number < 0:
            text = _("{count} to review, the most important first.").format(count=count)
        else:
            text = _("Region {number} of {count}: {text}").format(
                number=self._number + 1, count=count, text=self._regions[self._number].text
            )
        self._ui.uncertainRegionLabel.text = text
