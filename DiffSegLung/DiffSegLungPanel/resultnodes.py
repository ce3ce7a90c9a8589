"""The nodes of one result: which they are, how they are found again, made and removed."""

from __future__ import annotations

from dataclasses import dataclass, fields

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from .hierarchy import removeNode

ROLE = "DiffSegLung."
"""Prefix of the node reference roles on the segmentation node; the fields of :class:`Results` follow."""

BUNDLE, CREATED, SHIFT = "DiffSegLung.bundle", "DiffSegLung.created", "DiffSegLung.airShiftHU"
PROVENANCE, UNCERTAIN = "DiffSegLung.provenance", "DiffSegLung.uncertainRegions"


@dataclass(frozen=True)
class Results:
    """What hangs on a segmentation; None where something is missing, for example deleted by the user.

    Attributes:
        volume: the CT.
        uncertainty: volume, 0 certain .. 1 undecided.
        regions: segmentation of the thirds of both lungs, hidden.
        classTable: ml, percent and mean HU of every class in every region.
        densityTable: densitometry of every region.
        histogramTable: ml of every class in bins of HU.
        abnormalTable: what the bar chart shows.
        volumeChart: bars of the abnormal classes, right and left.
        histogramChart: HU histogram of every class.
    """

    volume: slicer.vtkMRMLScalarVolumeNode | None
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None
    regions: slicer.vtkMRMLSegmentationNode | None
    classTable: slicer.vtkMRMLTableNode | None
    densityTable: slicer.vtkMRMLTableNode | None
    histogramTable: slicer.vtkMRMLTableNode | None
    abnormalTable: slicer.vtkMRMLTableNode | None
    volumeChart: slicer.vtkMRMLPlotChartNode | None
    histogramChart: slicer.vtkMRMLPlotChartNode | None


def resultsOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Results:
    """The nodes that hang on a segmentation."""
    return Results(
        volume=segmentationNode.GetNodeReference(
            slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        ),
        **{name: segmentationNode.GetNodeReference(ROLE + name) for name in _ownRoles()},
    )


def resultNode(
    scene: slicer.vtkMRMLScene,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    role: str,
    className: str,
    name: str,
) -> slicer.vtkMRMLNode:
    """The node with a role, made where it is missing; ``role`` is a field of :class:`Results`."""
    node = segmentationNode.GetNodeReference(ROLE + role)
    if node is None:
        node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(name))
        segmentationNode.SetNodeReferenceID(ROLE + role, node.GetID())
    return node


def removeResults(scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove what hangs on a segmentation, but not the segmentation itself nor the CT."""
    results = resultsOf(segmentationNode)
    for role in _ownRoles():
        node = getattr(results, role)
        if node is None:
            continue
        if node.IsA("vtkMRMLPlotChartNode"):
            for number in reversed(range(node.GetNumberOfPlotSeriesNodes())):
                series = node.GetNthPlotSeriesNode(number)
                if series is not None:
                    removeNode(scene, series)
        removeNode(scene, node)
    for attribute in (BUNDLE, CREATED, SHIFT, PROVENANCE, UNCERTAIN):
        segmentationNode.RemoveAttribute(attribute)


def noResult(segmentationNode: slicer.vtkMRMLSegmentationNode) -> DiffSegLungError:
    """What to say of a segmentation that no run of this module made."""
    return DiffSegLungError(
        "no-result",
        _("{name} holds no result of DiffSegLung.").format(name=segmentationNode.GetName()),
        _("Run the segmentation first."),
    )


def _ownRoles() -> list[str]:
    return [field.name for field in fields(Results) if field.name != "volume"]
