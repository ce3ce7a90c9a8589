"""The evidence of disease that hangs on a result, and the sensitivity at which its classes are drawn."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.report.sensitivity import BySensitivity
from DiffSegLungLib.segmentation.evidence import CURVE, count_evidence, volumes_by_sensitivity

from .grid import gridOf
from .result_nodes import CREATED, PROVENANCE, damagedResult, noResult, resultsOf, stored


def sensitivityOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> float | None:
    """The sensitivity at which a result is drawn; None where it cannot be drawn at another one.

    Results of older scenes have no evidence, and others may have lost it.
    """
    settings = settingsOf(segmentationNode)
    return settings.sensitivity if settings is not None and _evidenceNode(segmentationNode) else None


def settingsOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Config | None:
    """The settings with which a result is drawn, all others as by default; None where none can be read."""
    provenance = stored(segmentationNode, PROVENANCE)
    config = provenance.get("config") if isinstance(provenance, dict) else None
    if not isinstance(config, dict):
        return None
    try:
        return Config(**{key: config[key] for key in ("sensitivity", "island_ml") if key in config})
    except DiffSegLungError:
        return None


def drawnAt(segmentationNode: slicer.vtkMRMLSegmentationNode) -> float | None:
    """The sensitivity that is stored with a result, evidence or not; None where none is."""
    settings, provenance = settingsOf(segmentationNode), stored(segmentationNode, PROVENANCE)
    return settings.sensitivity if settings is not None and "sensitivity" in provenance["config"] else None


def drawnAs(segmentationNode: slicer.vtkMRMLSegmentationNode) -> tuple[str, float | None]:
    """Which run made a result, and the sensitivity it is drawn at."""
    return segmentationNode.GetAttribute(CREATED) or "", drawnAt(segmentationNode)


def evidenceOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> tuple[np.ndarray, Config]:
    """The evidence of a result, uint16 (k, j, i) on its CT's grid, and the settings with which it is drawn.

    Raises:
        DiffSegLungError: code ``no-result``, ``no-evidence`` or ``damaged-result``.
    """
    if not segmentationNode.GetAttribute(PROVENANCE):
        raise noResult(segmentationNode)
    node, settings = _evidenceNode(segmentationNode), settingsOf(segmentationNode)
    if settings is None:
        raise damagedResult(segmentationNode)
    if node is None:
        raise DiffSegLungError(
            "no-evidence",
            _("With {name} no evidence is kept from which another sensitivity could be drawn.").format(
                name=segmentationNode.GetName()
            ),
            _("Run the segmentation again; a new output keeps this one as it is."),
        )
    return slicer.util.arrayFromVolume(node), settings


def evidenceStamp(segmentationNode: slicer.vtkMRMLSegmentationNode) -> tuple[object, ...]:
    """Changes with the evidence of a result."""
    image = _imageOf(resultsOf(segmentationNode).evidence)
    return (image.__this__, image.GetMTime()) if image is not None else ()


def volumesBySensitivity(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
) -> Generator[None, None, BySensitivity | None]:
    """What other sensitivities give, for the report; None for a result without evidence."""
    if sensitivityOf(segmentationNode) is None:
        return None
    evidence, settings = evidenceOf(segmentationNode)
    grid, counts = gridOf(resultsOf(segmentationNode).volume), np.zeros(1, np.int64)
    for part in grid.slabs():
        try:
            counts = counts + count_evidence(evidence[part])
        except ValueError as error:  # numbers that are no evidence: a scene may come from anywhere
            raise damagedResult(segmentationNode) from error
        yield
    return BySensitivity(CURVE, volumes_by_sensitivity(counts, grid.voxelMl), settings.sensitivity)


def _evidenceNode(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume that holds the evidence, where it lies on the voxels of the CT."""
    found = resultsOf(node)
    evidence, ct = _imageOf(found.evidence), _imageOf(found.volume)
    if evidence is None or ct is None:
        return None
    fits = evidence.GetDimensions() == ct.GetDimensions() and evidence.GetNumberOfScalarComponents() == 1
    return found.evidence if fits and evidence.GetScalarTypeAsString() == "unsigned short" else None


def _imageOf(volume: slicer.vtkMRMLScalarVolumeNode | None) -> Any:
    image = volume.GetImageData() if volume is not None else None
    return image if image is not None and image.GetPointData().GetScalars() is not None else None
