"""What the classes of a result were drawn as, kept with the segments: undo brings it back together with them.

Undo in a Segment Editor restores all segments with their tags, also across a move of the sensitivity; what is
stored with the node stays. Classes of one sensitivity would then pass for those of another, and for edited by
hand. So each class says itself what it was drawn as, and the node follows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import slicer

from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import DiffSegLungError

from .evidence import drawnAt
from .result_nodes import CHECKSUM, CREATED, PROVENANCE, stored
from .segments import classSegments, notAnEdit, tagOf

DRAWN_TAG = "DiffSegLung.drawn"
"""Tag of a class: when its run was made, its sensitivity, and its fingerprint as drawn; JSON."""


def rememberDrawn(
    segmentationNode: slicer.vtkMRMLSegmentationNode, prints: Mapping[str, str], sensitivity: float | None
) -> None:
    """Store the fingerprints of the classes as drawn, and in each class what it was drawn as.

    Args:
        segmentationNode: the segmentation.
        prints: class key -> fingerprint.
        sensitivity: 0..1; None where that is unknown.
    """
    segmentation, created = segmentationNode.GetSegmentation(), segmentationNode.GetAttribute(CREATED)
    with notAnEdit(segmentationNode):
        for segmentId, key in classSegments(segmentationNode).items():
            drawn = json.dumps([created, sensitivity, prints.get(key, "0")])
            segmentation.GetSegment(segmentId).SetTag(DRAWN_TAG, drawn)
    segmentationNode.SetAttribute(CHECKSUM, json.dumps(dict(prints)))


def setSensitivity(segmentationNode: slicer.vtkMRMLSegmentationNode, sensitivity: float) -> None:
    """Write the sensitivity at which a result is drawn into its provenance."""
    provenance = stored(segmentationNode, PROVENANCE)
    provenance["config"]["sensitivity"] = sensitivity
    segmentationNode.SetAttribute(PROVENANCE, json.dumps(provenance))


def followSegments(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Where all classes were drawn at another sensitivity than the node says, say that one of the result.

    Classes that do not agree, those of another run, and those of a result without a sensitivity change
    nothing: whoever differs from the fingerprints was edited.
    """
    present, created = drawnAt(segmentationNode), segmentationNode.GetAttribute(CREATED)
    segmentation, prints, told = segmentationNode.GetSegmentation(), {}, set()
    for segmentId, key in classSegments(segmentationNode).items():
        try:
            run, sensitivity, prints[key] = json.loads(tagOf(segmentation.GetSegment(segmentId), DRAWN_TAG))
            told.add((run, Config(sensitivity=sensitivity).sensitivity))
        except (ValueError, TypeError, RecursionError, DiffSegLungError):  # a scene may come from anywhere
            return
    if present is None or len(told) != 1 or told <= {(created, present)}:
        return
    run, sensitivity = told.pop()
    if run == created:
        before = stored(segmentationNode, CHECKSUM)
        kept = before if isinstance(before, dict) else {}
        segmentationNode.SetAttribute(CHECKSUM, json.dumps({**kept, **prints}))
        setSensitivity(segmentationNode, sensitivity)
