"""A generated chest CT with lesions, offered in Slicer's Sample Data module; made here, not downloaded."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..work.tasks import Task
from ..work.temporary import temporaryFolder
from ..work.worker import workerSteps

SAMPLE_NAME = "DiffSegLungPhantom"


def registerSampleData(iconFolder: Path) -> None:
    """Offer the phantom in the Sample Data module; called once, when Slicer has started.

    Its button makes the phantom. ``SampleData.downloadSample`` does not: it asks no custom downloader, so it
    gets an address that says why nothing can be downloaded; scripts call :func:`loadPhantom`.
    """
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="DiffSegLung",
        sampleName=SAMPLE_NAME,
        uris="made-here:press-its-button-or-call-DiffSegLung.loadPhantom",
        fileNames=f"{SAMPLE_NAME}.mhd",
        nodeNames=SAMPLE_NAME,
        thumbnailFileName=str(iconFolder / "DiffSegLung.png"),
        customDownloader=_onSampleChosen,
    )


def loadPhantom() -> slicer.vtkMRMLScalarVolumeNode:
    """Generate the phantom in a process of its own (about 15 s) and load its CT.

    Raises:
        DiffSegLungError: it could not be generated.
    """
    return Task(_phantomSteps()).wait()


def _onSampleChosen(_source: object = None) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Sample Data itself would show an error in the Python console only."""
    with slicer.util.tryWithErrorDisplay(_("The sample CT could not be generated.")):
        return [loadPhantom()]


def _phantomSteps() -> Generator[Any, None, slicer.vtkMRMLScalarVolumeNode]:
    with temporaryFolder() as folder:
        output = folder / "phantom"
        yield from workerSteps(["phantom", "--raw", "--output", str(output)], folder)
        volume = slicer.util.loadVolume(str(output / "phantom.mhd"), properties={"name": SAMPLE_NAME})
        slicer.mrmlScene.RemoveNode(volume.GetStorageNode())  # its file goes: Slicer must offer to save it
        return volume
