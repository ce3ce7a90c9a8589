"""Synthetic CT for the lungs of the scene: through ``diffseglung generate``, and back as volumes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError, InputError

from ..scene import exchange
from ..scene.grid import asMatrix, gridOf
from ..scene.hierarchy import placeBeside
from ..work.tasks import Steps, TaskProgress, spanned
from ..work.temporary import temporaryFolder
from ..work.worker import workerSteps

SYNTHETIC = "DiffSegLung.synthetic"
"""Attribute of a volume that no scanner made: the model that drew it."""

CARD = "samples.json"
MOST_SAMPLES = 20
LUNG_WINDOW, LUNG_LEVEL = 1500, -600
_EXPORT_END, _WORKER_END = 0.03, 0.97


@dataclass(frozen=True)
class GenerateRequest:
    """What to draw.

    Attributes:
        lungs: a segmentation whose shape the samples fill.
        volume: gives the samples their voxels and their place; with ``keepOutside`` also their surroundings.
        segmentID: which segment marks the lungs; empty takes all of them together.
        keepOutside: the volume stays as it is around the lungs; otherwise there is air.
        count: number of samples, 1..20.
        steps: most evaluations of the network a sample, 1..250.
        start: where the walk begins, share of the noise, 0.05..1.
        seed: of the noise.
        bundle: the model.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """

    lungs: slicer.vtkMRMLSegmentationNode
    volume: slicer.vtkMRMLScalarVolumeNode
    segmentID: str = ""
    keepOutside: bool = False
    count: int = 1
    steps: int = 25
    start: float = 0.6
    seed: int = 0
    bundle: str = "default"
    device: str = "auto"

    def check(self) -> None:
        """Refuse what cannot be drawn, before any work is done.

        Raises:
            InputError: no lungs, no such segment, a volume that cannot be used, or a number out of range.
        """
        if self.lungs is None:
            raise InputError(
                "no-lungs",
                _("No lungs are chosen."),
                _("Choose a lung mask, or segment a CT first: its result serves."),
            )
        if self.volume is None:
            raise InputError("no-input", _("No CT is chosen."), _("Choose the CT that gives the voxels."))
        exchange.checkInput(self.volume)
        if self.segmentID and self.lungs.GetSegmentation().GetSegment(self.segmentID) is None:
            raise InputError(
                "no-such-segment",
                _("The segmentation {name} has no segment {segment}.").format(
                    name=self.lungs.GetName(), segment=self.segmentID
                ),
                _("Choose one of its segments."),
            )
        if not 1 <= self.count <= MOST_SAMPLES:
            raise InputError(
                "bad-setting",
                _("{count} samples are asked for.").format(count=self.count),
                _("Give 1 to {most}.").format(most=MOST_SAMPLES),
            )
        from DiffSegLungLib.generation.samples import require_walk  # with SimpleITK: not while Slicer starts

        require_walk(self.steps, self.start, self.seed)


def generateSteps(scene: slicer.vtkMRMLScene, request: GenerateRequest) -> Steps:
    """Draw samples; they come into the scene all together at the end, or not at all.

    Returns:
        The volumes, in order.

    Raises:
        DiffSegLungError: the request cannot be met, the worker failed, or lungs or CT were deleted meanwhile.
    """
    request.check()
    with temporaryFolder() as folder:
        arguments = yield from _export(request, folder)
        run = workerSteps(arguments, folder, check=lambda: _requireThere(scene, request))
        yield from spanned(run, _EXPORT_END, _WORKER_END)
        yield TaskProgress(_("Loading the samples"), _WORKER_END)
        card = exchange.readContent(folder / "samples" / CARD)
        samples = []
        for name in card["samples"]:
            values = yield from exchange.readHounsfield(folder / "samples" / name, request.volume)
            samples.append(values)
        _requireThere(scene, request)
        return [
            _newVolume(scene, request, values, number, card) for number, values in enumerate(samples, start=1)
        ]


def _export(request: GenerateRequest, folder: Path) -> Generator[TaskProgress | None, None, list[str]]:
    """Write the lungs, and the CT where it stays; the command line that draws."""
    yield TaskProgress(_("Writing the lungs"), 0.0)
    lungs, ct = folder / "lungs.mhd", folder / "ct.mhd"
    for _fraction in exchange.exportSegment(request.lungs, request.segmentID or None, request.volume, lungs):
        yield None
    arguments = ["generate", "--lungs", str(lungs), "--output", str(folder / "samples"), "--raw"]
    arguments += ["--count", str(request.count), "--steps", str(request.steps)]
    arguments += ["--start", str(request.start), "--seed", str(request.seed)]
    arguments += [f"--device={request.device}", f"--bundle={request.bundle}"]
    if request.keepOutside:
        for _fraction in exchange.exportVolume(request.volume, ct):
            yield None
        arguments += ["--ct", str(ct)]
    return arguments


def _newVolume(
    scene: slicer.vtkMRMLScene,
    request: GenerateRequest,
    values: np.ndarray,
    number: int,
    card: dict[str, Any],
) -> slicer.vtkMRMLScalarVolumeNode:
    """A sample as a volume that says everywhere what it is, beside the CT that gave the voxels."""
    name = _("Synthetic {number} from {name} (no real scan)").format(
        number=number, name=request.volume.GetName()
    )
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    node.SetAttribute(SYNTHETIC, str(card["bundle"]))
    node.SetDescription(
        _("Synthetic: drawn by {model}, seed {seed}. Not a scan of anyone.").format(
            model=card["bundle"], seed=card["seed"]
        )
    )
    grid, image = gridOf(request.volume), vtk.vtkImageData()
    image.SetDimensions(*grid.shape[::-1])
    image.GetPointData().SetScalars(exchange.vtkArrayOf(values))
    node.SetIJKToRASMatrix(asMatrix(grid.ijkToRas))
    node.SetAndObserveTransformNodeID(request.volume.GetTransformNodeID())
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetDefaultColorMap()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(LUNG_WINDOW, LUNG_LEVEL)
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetAndObserveImageData(image)
    placeBeside(scene, request.volume, node)
    return node


def _requireThere(scene: slicer.vtkMRMLScene, request: GenerateRequest) -> None:
    for node in (request.lungs, request.volume):
        if not scene.IsNodePresent(node):
            raise DiffSegLungError(
                "node-deleted",
                _("Lungs or CT were deleted while samples were being drawn."),
                _("Nothing was loaded; choose them again."),
            )
