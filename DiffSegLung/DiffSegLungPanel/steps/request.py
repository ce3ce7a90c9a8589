"""What a user asks for, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import InputError

from ..scene import segmentation
from ..scene.grid import worldMatrix


@dataclass(frozen=True)
class Request:
    """One CT to segment.

    Attributes:
        inputVolume: the CT.
        outputSegmentation: an existing segmentation to fill, None for a new one.
        lungs: a segmentation to take the lungs from, None to find them.
        lungsSegmentID: which segment of ``lungs``; empty takes all of them together.
        bundle: the model: ``"default"``, ``"built-in"``, an installed one's name, or a folder or zip.
        preset: ``"fast"``, ``"balanced"`` or ``"best"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        settings: further fields of :class:`~DiffSegLungLib.config.Config`, by name.
        replaceEdited: replace ``outputSegmentation`` also when somebody edited it.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    outputSegmentation: slicer.vtkMRMLSegmentationNode | None = None
    lungs: slicer.vtkMRMLSegmentationNode | None = None
    lungsSegmentID: str = ""
    bundle: str = "default"
    preset: str = "balanced"
    device: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    replaceEdited: bool = False

    def config(self) -> Config:
        """The library's settings.

        Raises:
            InputError: an unknown setting, or one out of range.
        """
        return Config.from_mapping({"preset": self.preset, "device": self.device, **self.settings})

    def check(self) -> None:
        """Refuse what cannot work, before any work is done.

        Raises:
            InputError: no CT, a CT or an output that cannot be used (such as the lung regions of a result),
                settings out of range, lungs without such a segment, or an edited output without permission to
                replace it.
        """
        if self.inputVolume is None:
            raise InputError("no-input", _("No CT is chosen."), _("Choose a chest CT first."))
        segmentation.checkInput(self.inputVolume)
        self.config()
        self._checkLungs()
        self._checkOutput()

    def _checkLungs(self) -> None:
        if self.lungs is None or not self.lungsSegmentID:
            return
        if self.lungs.GetSegmentation().GetSegment(self.lungsSegmentID) is None:
            raise InputError(
                "no-such-segment",
                _("The segmentation {name} has no segment {segment}.").format(
                    name=self.lungs.GetName(), segment=self.lungsSegmentID
                ),
                _("Choose one of its segments, or let the lungs be found automatically."),
            )

    def _checkOutput(self) -> None:
        output = self.outputSegmentation
        if output is None:
            return
        worldMatrix(output)
        if self.lungs is not None and self.lungs is output:
            raise InputError(
                "output-is-input",
                _("The segmentation {name} is both the lungs and the output.").format(name=output.GetName()),
                _("Choose another output, or a new one."),
            )
        if segmentation.isRegions(output):
            raise InputError(
                "output-is-regions",
                _("The segmentation {name} holds the lung regions of a result.").format(
                    name=output.GetName()
                ),
                _("Choose another output, or a new one."),
            )
        if not self.replaceEdited and segmentation.isEdited(output):
            raise InputError(
                "output-edited",
                _("The segmentation {name} was edited by hand.").format(name=output.GetName()),
                _("Choose a new output, or allow it to be replaced."),
            )
