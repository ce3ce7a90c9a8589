"""The segments of a segmentation by their meaning: tags, labels and display, written and read here only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import slicer
import vtk

from DiffSegLungLib.classes import BY_KEY
from DiffSegLungLib.io.segmentation_file import CLASS_TAG

AUTOMATIC, SEMIAUTOMATIC = "AUTOMATIC", "SEMIAUTOMATIC"
TYPE_TAG = "DICOM.SegmentAlgorithmType"
NAME_TAG = "DICOM.SegmentAlgorithmName"
STATUS_TAG = "Segmentation.Status"

_ownChanges: list[str] = []
"""Segmentations that the module itself is changing just now (addresses of the VTK objects)."""


def tagOf(segment: slicer.vtkSegment, tag: str) -> str:
    """The value of a segment's tag, empty where it has none."""
    value = vtk.mutable("")
    return str(value.get()) if segment.GetTag(tag, value) else ""


def classSegments(segmentationNode: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    """Segment id -> class key, of all segments that stand for a class; several may stand for one."""
    segmentation = segmentationNode.GetSegmentation()
    keys = {i: tagOf(segmentation.GetSegment(i), CLASS_TAG) for i in segmentation.GetSegmentIDs()}
    return {segmentId: key for segmentId, key in keys.items() if key in BY_KEY}


@contextmanager
def notAnEdit(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Iterator[None]:
    """Changes within this block are the module's own: nobody takes them for edits of the user."""
    address = segmentationNode.GetSegmentation().__this__
    _ownChanges.append(address)
    try:
        yield
    finally:
        _ownChanges.remove(address)


def isOwnChange(segmentation: slicer.vtkSegmentation) -> bool:
    """Whether the module itself is changing this segmentation just now."""
    return segmentation.__this__ in _ownChanges


def editedNames(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """Names of the classes that say of themselves that a person changed them."""
    segments = node.GetSegmentation()
    edited = {
        key
        for segmentID, key in classSegments(node).items()
        if tagOf(segments.GetSegment(segmentID), TYPE_TAG) not in ("", AUTOMATIC)
    }
    return [BY_KEY[key].name.lower() for key in BY_KEY if key in edited]
