"""The nodes of one result: which they are, how they are found again, made and removed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from .hierarchy import removeNode

ROLE = "DiffSegLung."
"""Prefix of the node reference roles on the segmentation node; the fields of :class:`ResultNodes` follow."""

BUNDLE, CREATED, SHIFT = "DiffSegLung.bundle", "DiffSegLung.created", "DiffSegLung.airShiftHU"
PROVENANCE, UNCERTAIN = "DiffSegLung.provenance", "DiffSegLung.uncertainRegions"
CHECKSUM = "DiffSegLung.checksum"
"""Class key -> fingerprint (:mod:`.edits`) of what the model made, as JSON."""


_CT_ROLE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
_CLASSES = {
    "uncertainty": "vtkMRMLScalarVolumeNode",
    "evidence": "vtkMRMLScalarVolumeNode",
    "regions": "vtkMRMLSegmentationNode",
    **dict.fromkeys(("classTable", "densityTable", "histogramTable", "abnormalTable"), "vtkMRMLTableNode"),
    **dict.fromkeys(("volumeChart", "histogramChart"), "vtkMRMLPlotChartNode"),
}
"""The class of the node in every role; another one there is as good as none."""


@dataclass(frozen=True)
class ResultNodes:
    """What hangs on a segmentation; None where something is missing, for example deleted by the user.

    Attributes:
        volume: the CT.
        uncertainty: volume, 0 certain .. 1 undecided.
        evidence: volume, hidden, from which any sensitivity draws the classes; older results have none.
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
    evidence: slicer.vtkMRMLScalarVolumeNode | None
    regions: slicer.vtkMRMLSegmentationNode | None
    classTable: slicer.vtkMRMLTableNode | None
    densityTable: slicer.vtkMRMLTableNode | None
    histogramTable: slicer.vtkMRMLTableNode | None
    abnormalTable: slicer.vtkMRMLTableNode | None
    volumeChart: slicer.vtkMRMLPlotChartNode | None
    histogramChart: slicer.vtkMRMLPlotChartNode | None


def resultsOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> ResultNodes:
    """The nodes that hang on a segmentation."""
    volume = segmentationNode.GetNodeReference(_CT_ROLE)
    return ResultNodes(
        volume=volume if volume is not None and volume.IsA("vtkMRMLScalarVolumeNode") else None,
        **{role: _own(segmentationNode, role) for role in _CLASSES},
    )


def resultNode(
    scene: slicer.vtkMRMLScene,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    role: str,
    name: str,
) -> slicer.vtkMRMLNode:
    """The node with a role, made where it is missing; ``role`` is a field of :class:`ResultNodes`."""
    node = _own(segmentationNode, role)
    if node is None:
        node = scene.AddNewNodeByClass(_CLASSES[role], scene.GenerateUniqueName(name))
        segmentationNode.SetNodeReferenceID(ROLE + role, node.GetID())
    return node


def removeResults(scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove what hangs on a segmentation, but not the segmentation itself nor the CT."""
    ct = segmentationNode.GetNodeReferenceID(_CT_ROLE)
    for role, className in _CLASSES.items():
        # By id: a segmentation that was deleted itself still knows the ids, but no node any more.
        node = scene.GetNodeByID(segmentationNode.GetNodeReferenceID(ROLE + role) or "")
        if node is None or node.GetID() == ct or node is segmentationNode or not node.IsA(className):
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


def damagedResult(segmentationNode: slicer.vtkMRMLSegmentationNode) -> DiffSegLungError:
    """What to say where that which a run stored with a segmentation cannot be understood."""
    return DiffSegLungError(
        "damaged-result",
        _("What was stored with {name} about its run is damaged.").format(name=segmentationNode.GetName()),
        _("Run the segmentation again; a new output keeps this one as it is."),
    )


def stored(segmentationNode: slicer.vtkMRMLSegmentationNode, attribute: str) -> Any:
    """The value of an attribute that holds JSON; None where there is none, or none that can be read."""
    try:
        return json.loads(segmentationNode.GetAttribute(attribute) or "null")
    except (ValueError, RecursionError):
        return None


def notesOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """What the user should know about the CT and its lungs; none where nothing that can be read is stored."""
    found = stored(segmentationNode, PROVENANCE)
    notes = found.get("notes") if isinstance(found, dict) else None
    # The last one says how the air was corrected, which the line of densities does as well.
    return [note for note in notes if isinstance(note, str)][:-1] if isinstance(notes, list) else []


def _own(segmentationNode: slicer.vtkMRMLSegmentationNode, role: str) -> slicer.vtkMRMLNode | None:
    node = segmentationNode.GetNodeReference(ROLE + role)
    if node is None or not node.IsA(_CLASSES[role]):
        return None
    foreign = (segmentationNode, segmentationNode.GetNodeReference(_CT_ROLE))
    return None if any(node is one for one in foreign) else node
