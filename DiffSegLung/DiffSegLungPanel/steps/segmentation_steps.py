"""One CT from the scene, through the library in its own process, and back into the scene."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from ..scene import exchange, results, segmentation
from ..scene.exchange import checkInput
from ..work.tasks import Steps, TaskProgress, spanned
from ..work.temporary import temporaryFolder, writeText
from ..work.worker import workerSteps
from .request import Request

EXPORT_END, WORKER_END = 0.03, 0.95
"""Fractions of the whole run at which the CT has been written, and at which the worker is done."""


def segmentationSteps(scene: slicer.vtkMRMLScene, request: Request) -> Steps:
    """Segment one CT; :class:`~.tasks.Task` runs such steps.

    Args:
        scene: where the CT lives and the results go.
        request: what to do; checked first.

    Returns:
        The segmentation node, with its results attached (:func:`.results.resultsOf`).

    Raises:
        DiffSegLungError: the request cannot be met, the worker failed, or a node was deleted meanwhile.
    """
    request.check()
    before = _sampled(request.inputVolume)
    with temporaryFolder() as folder:
        arguments = yield from _export(scene, request, folder)
        run = workerSteps(arguments, folder, check=lambda: requireNodes(scene, request))
        yield from spanned(run, EXPORT_END, WORKER_END)
        requireNodes(scene, request)
        _requireSame(request.inputVolume, before)
        return (yield from _import(scene, request, folder / "result"))


def _export(
    scene: slicer.vtkMRMLScene, request: Request, folder: Path
) -> Generator[TaskProgress | None, None, list[str]]:
    """Write the CT, the lungs and the settings; the command line that segments them."""
    stage = _("Writing the CT")
    ct, config = folder / "ct.mhd", folder / "config.json"
    for fraction in exchange.exportVolume(request.inputVolume, ct):
        yield TaskProgress(stage, EXPORT_END * fraction)
    writeText(config, request.config().to_json())
    arguments = ["segment", str(ct), "--output", str(folder / "result"), "--raw", "--config", str(config)]
    arguments += [f"--bundle={request.bundle}", f"--name={request.inputVolume.GetName()}"]
    if request.lungs is not None:
        _requireNode(scene, _("lung segmentation"), request.lungs)
        lungs = folder / "lungs.mhd"
        segmentId = request.lungsSegmentID or None
        for _fraction in exchange.exportSegment(request.lungs, segmentId, request.inputVolume, lungs):
            yield None
        arguments += ["--lungs", str(lungs)]
    return arguments


def _import(
    scene: slicer.vtkMRMLScene, request: Request, folder: Path
) -> Generator[TaskProgress | str | None, None, slicer.vtkMRMLSegmentationNode]:
    """Bring the results into the scene, whole or not at all."""
    yield TaskProgress(_("Loading the result"), WORKER_END)
    target = request.outputSegmentation
    if target is not None and not request.replaceEdited and segmentation.isEdited(target):
        yield _("The output was edited meanwhile: the result goes to a new segmentation.") + "\n"
        target = None
    node = yield from results.importResults(
        scene, request.inputVolume, folder, target=target, check=lambda: requireNodes(scene, request)
    )
    yield TaskProgress(_("Done"), 1.0)
    return node


def requireNodes(scene: slicer.vtkMRMLScene, request: Request) -> None:
    """Stop a run whose CT or output was deleted.

    Raises:
        DiffSegLungError: code ``node-deleted``, naming what is gone.
    """
    _requireNode(scene, _("CT"), request.inputVolume)
    _requireNode(scene, _("output segmentation"), request.outputSegmentation)


def _sampled(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """A copy of every fourth voxel along each axis, to know the CT again by."""
    return slicer.util.arrayFromVolume(volumeNode)[::4, ::4, ::4].copy()


def _requireSame(volumeNode: slicer.vtkMRMLScalarVolumeNode, before: np.ndarray) -> None:
    """Refuse to show a result on voxels that it was not made from; another grid is noticed later."""
    checkInput(volumeNode)
    now = _sampled(volumeNode)
    if now.shape == before.shape and not np.array_equal(now, before):
        raise DiffSegLungError(
            "ct-changed",
            _("The voxels of {name} were changed during the run.").format(name=volumeNode.GetName()),
            _("Run the segmentation again."),
        )


def _requireNode(scene: slicer.vtkMRMLScene, name: str, node: slicer.vtkMRMLNode | None) -> None:
    if node is not None and not scene.IsNodePresent(node):
        raise DiffSegLungError(
            "node-deleted",
            _("The {name} was deleted while it was being worked on.").format(name=name),
            _("Nothing was changed; choose it again and press Apply."),
        )
