"""Many CT: volumes of the scene one after the other, or a folder through the library's batch command."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import Cancelled, DiffSegLungError, InputError

from ..work.tasks import CancelRequested, Steps, TaskProgress, describedError, spanned
from ..work.temporary import temporaryFolder, writeText
from ..work.worker import workerSteps
from .request import Request
from .segmentation_steps import segmentationSteps


@dataclass(frozen=True)
class VolumeOutcome:
    """What became of one volume of a batch.

    Attributes:
        volume: the CT.
        segmentation: its segmentation, None after an error.
        error: why there is none, None after success.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode | None
    error: DiffSegLungError | None = None


def volumesSteps(scene: slicer.vtkMRMLScene, requests: Sequence[Request]) -> Steps:
    """Segment volumes of the scene in order; one that fails does not stop the others.

    Returns:
        A list of :class:`VolumeOutcome`, in the order of ``requests``.

    Raises:
        Cancelled: the batch was cancelled; segmentations that were finished stay.
        InputError: there is nothing to do.
    """
    if not requests:
        raise InputError("no-input", _("No CT is chosen."), _("Give at least one volume."))
    outcomes: list[VolumeOutcome] = []
    for number, request in enumerate(requests):
        outcomes.append((yield from _one(scene, request, number, len(requests))))
    return outcomes


def folderSteps(
    folder: Path, outputFolder: Path, options: Sequence[str], settings: str
) -> Generator[TaskProgress | str | None, None, Path]:
    """Segment every CT below a folder with the library's batch command.

    Args:
        folder: where the CT are: files, or folders of DICOM series.
        outputFolder: receives a folder for every CT, and ``summary.csv``.
        options: further options of ``diffseglung batch``.
        settings: the configuration as JSON.

    Returns:
        The path of ``summary.csv``.

    Raises:
        DiffSegLungError: nothing to do, or the batch as a whole failed; failed CT are lines of the summary.
    """
    with temporaryFolder() as private:
        config = private / "config.json"
        writeText(config, settings)
        # Absolute, so that no folder's name is taken for an option.
        places = [str(folder.expanduser().absolute()), "--output", str(outputFolder.expanduser().absolute())]
        arguments = ["batch", *places, "--config", str(config), *options]
        result = yield from workerSteps(arguments, private)
    return Path(result)


def _one(
    scene: slicer.vtkMRMLScene, request: Request, number: int, count: int
) -> Generator[TaskProgress | str | None, None, VolumeOutcome]:
    place = _("CT {number} of {count}").format(number=number + 1, count=count)
    steps = segmentationSteps(scene, request)
    try:
        node = yield from spanned(steps, number / count, (number + 1) / count, prefix=f"{place}: ")
    except Cancelled:
        raise
    except CancelRequested:
        raise
    except Exception as error:
        known = describedError(error)
        yield f"{place}: {known}\n"
        return VolumeOutcome(request.inputVolume, None, known)
    return VolumeOutcome(request.inputVolume, node)
