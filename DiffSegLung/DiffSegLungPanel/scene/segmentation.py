"""Label maps as segmentation nodes, and the class map back from a segmentation that may have been edited."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.classes import BY_KEY, CLASSES, TissueClass
from DiffSegLungLib.io.segmentation_file import CLASS_TAG

from .edits import EditWatcher, isEdited, markEdited
from .exchange import checkInput, vtkArrayOf
from .grid import asMatrix, gridOf, worldMatrix
from .hierarchy import placeBeside
from .masks import LABELMAP, layersOf, numbersOnGrid
from .segments import AUTOMATIC, NAME_TAG, STATUS_TAG, TYPE_TAG, classSegments, notAnEdit, tagOf

__all__ = [
    "EditWatcher",
    "checkInput",
    "classMap",
    "createRegions",
    "createSegmentation",
    "isEdited",
    "isRegions",
    "markEdited",
    "notAnEdit",
]

_FAINT = {"healthy": 0.2, "vessel": 0.4}
"""Fill in slices of what is no finding, so that the CT under it can be read; the user may change it."""

_REGION_COLOURS = (
    (240, 170, 120),
    (230, 130, 100),
    (200, 95, 85),
    (130, 175, 240),
    (100, 140, 230),
    (80, 105, 200),
)


@dataclass(frozen=True)
class _Entry:
    """A segment to be: its id, label value, name, colour (0..255) and tags."""

    segmentId: str
    label: int
    name: str
    colour: tuple[int, int, int]
    tags: dict[str, str]


def createSegmentation(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    labels: np.ndarray,
    *,
    algorithmName: str,
    target: slicer.vtkMRMLSegmentationNode | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """Show a label map as a segmentation of a CT: every class a segment, all in one shared layer.

    Args:
        scene: where to make nodes.
        volumeNode: the CT; its grid, parent transform and place in the subject hierarchy are taken over.
        labels: uint8 (k, j, i) class ids on the CT's grid; not copied where :func:`.exchange.readLabels`
            gave it.
        algorithmName: name and version of what made the labels, exported with DICOM SEG.
        target: a segmentation to fill anew. It stays the same node; its segments without a class, and the
            names, colours and visibility of those with one, stay as the user made them.

    Returns:
        ``target``, or a new node.

    Raises:
        InputError: ``target`` or the CT is under a transform that is not linear.
    """
    worldMatrix(volumeNode)  # refused before there is a node
    node = target or _newNode(scene, _("{name} lung tissue").format(name=volumeNode.GetName()))
    entries = [_classEntry(c, algorithmName, AUTOMATIC) for c in CLASSES]
    known = classSegments(node)
    _fill(node, volumeNode, labels, entries)
    for segmentId, key in classSegments(node).items():
        if segmentId not in known and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetSegmentOpacity2DFill(segmentId, _FAINT.get(key, 1.0))
    placeBeside(scene, volumeNode, node)
    return node


def redrawSegmentation(
    node: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    labels: np.ndarray,
    *,
    algorithmName: str,
    leftOut: Collection[str] = (),
) -> None:
    """Fill the classes of a segmentation anew; which of them a person edited stays written in their tags.

    Args:
        node: the segmentation.
        volumeNode: its CT.
        labels: see :func:`createSegmentation`.
        algorithmName: for classes that have no segment yet.
        leftOut: keys of classes that get no segment where they have none: somebody deleted it.
    """
    segmentation = node.GetSegmentation()
    types = {key: tagOf(segmentation.GetSegment(i), TYPE_TAG) for i, key in classSegments(node).items()}
    entries = [
        _classEntry(c, algorithmName, types.get(c.key) or AUTOMATIC)
        for c in CLASSES
        if c.key in types or c.key not in leftOut
    ]
    _fill(node, volumeNode, labels, entries)


def createRegions(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    regions: np.ndarray,
    *,
    target: slicer.vtkMRMLSegmentationNode | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """Show the thirds of both lungs as a hidden segmentation.

    Args:
        scene: where to make nodes.
        volumeNode: the CT.
        regions: uint8 (k, j, i): 1..3 right upper, middle, lower third, 4..6 left, 0 outside.
        target: a node to fill anew.
    """
    node = target or _newNode(scene, _("{name} lung regions").format(name=volumeNode.GetName()))
    names = (
        _("Right upper third"), _("Right middle third"), _("Right lower third"),
        _("Left upper third"), _("Left middle third"), _("Left lower third"),
    )  # fmt: skip
    entries = [
        _Entry(regionId(number + 1), number + 1, name, _REGION_COLOURS[number], {TYPE_TAG: AUTOMATIC})
        for number, name in enumerate(names)
    ]
    _fill(node, volumeNode, regions, entries)
    node.GetDisplayNode().SetVisibility(False)
    placeBeside(scene, volumeNode, node)
    return node


def regionId(number: int) -> str:
    """The segment id of a region, 1..6."""
    side, third = divmod(number - 1, 3)
    return f"Region_{('right', 'left')[side]}_{('upper', 'middle', 'lower')[third]}"


def isRegions(segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether a segmentation holds the regions that belong to a result, also one whose result was deleted."""
    segmentation = segmentationNode.GetSegmentation()
    return any(segmentation.GetSegment(regionId(number)) is not None for number in range(1, 7))


def classMap(
    segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> Generator[None, None, np.ndarray]:
    """The class of every voxel of a CT, by the segments' tags; label values change when segments are edited.

    Where segments overlap, one that a user edited wins over one nobody touched; among equals the class with
    the larger id wins, so that healthy lung loses to everything.

    Returns:
        uint8 (k, j, i) class ids, 0 where no class segment lies.
    """
    segmentation = segmentationNode.GetSegmentation()
    classes = classSegments(segmentationNode)

    def rank(segmentId: str) -> tuple[bool, int]:
        touched = tagOf(segmentation.GetSegment(segmentId), TYPE_TAG) != AUTOMATIC
        return (touched, BY_KEY[classes[segmentId]].id)

    order = sorted(classes, key=rank)
    numbers = {segmentId: place for place, segmentId in enumerate(order, start=1)}
    ids = np.array([0, *(BY_KEY[classes[segmentId]].id for segmentId in order)], np.uint8)
    return (yield from numberMap(segmentationNode, volumeNode, numbers, ids))


def regionMap(
    regionsNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> Generator[None, None, np.ndarray]:
    """The region (1..6, see :func:`createRegions`) of every voxel of a CT; uint8 (k, j, i), 0 outside."""
    numbers = {regionId(number): number for number in range(1, 7)}
    return (yield from numberMap(regionsNode, volumeNode, numbers, np.arange(7, dtype=np.uint8)))


def numberMap(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    numbers: dict[str, int],
    values: np.ndarray,
) -> Generator[None, None, np.ndarray]:
    """``values[number]`` of the segment at every voxel; the largest number wins where segments overlap."""
    grid, rasToWorld = gridOf(volumeNode), worldMatrix(segmentationNode)
    layers = layersOf(segmentationNode)
    result = np.zeros(grid.shape, np.uint8)
    for part in grid.slabs():
        slab = result[part]
        for layer in layers:
            found = numbersOnGrid(layer, numbers, rasToWorld, grid, part)
            if found is not None:
                np.maximum(slab, found, out=slab)
        slab[...] = values[slab]
        yield
    return result


def _classEntry(tissue: TissueClass, algorithmName: str, algorithmType: str) -> _Entry:
    return _Entry(
        f"Segment_{tissue.key}",
        tissue.id,
        tissue.name,
        tissue.colour,
        {
            STATUS_TAG: "completed",
            slicer.vtkSegment.GetTerminologyEntryTagName(): tissue.terminology,
            TYPE_TAG: algorithmType,
            NAME_TAG: algorithmName,
            CLASS_TAG: tissue.key,
        },
    )


def _newNode(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLSegmentationNode:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    return node


def _fill(
    node: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    labels: np.ndarray,
    entries: Sequence[_Entry],
) -> None:
    """Give a node its segments, in one shared layer on the volume's grid and under its transform."""
    segmentation = node.GetSegmentation()
    image = _layerImage(volumeNode, labels)
    towardsCt = np.linalg.inv(worldMatrix(volumeNode)) @ worldMatrix(node)
    if node.GetDisplayNode() is None:
        _letViewsLookAnew(node.GetScene())
    wasModified = node.StartModify()
    with notAnEdit(node):
        if node.GetTransformNodeID() != volumeNode.GetTransformNodeID():
            node.ApplyTransformMatrix(asMatrix(towardsCt))  # the user's own segments stay in place
        # The transform first: the reference geometry is stored relative to it.
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        if segmentation.GetSourceRepresentationName() != LABELMAP:
            node.CreateBinaryLabelmapRepresentation()
            node.SetSourceRepresentationToBinaryLabelmap()
        earlier = classSegments(node)
        for entry in entries:
            same = [i for i, key in earlier.items() if key == entry.tags.get(CLASS_TAG)]
            same = same or [i for i in (entry.segmentId,) if segmentation.GetSegment(i) is not None]
            for copy in same[1:]:  # a copy that the user made of a class stays, as a segment of the user's
                segmentation.GetSegment(copy).RemoveTag(CLASS_TAG)
            _fillSegment(segmentation, same[0] if same else None, entry, image)
        # Surfaces of the former content; Slicer makes new ones when 3D is shown again.
        segmentation.InvalidateNonSourceRepresentations()
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    node.EndModify(wasModified)
    node.Modified()


def _letViewsLookAnew(scene: slicer.vtkMRMLScene) -> None:
    """Let the views forget display nodes that were deleted.

    Slicer's 3D view keeps the address of one and follows it at the segmentation's next event, which ends
    Slicer. After a batch it reads the scene anew.
    """
    scene.StartState(scene.BatchProcessState)
    scene.EndState(scene.BatchProcessState)


def _fillSegment(
    segmentation: slicer.vtkSegmentation,
    segmentId: str | None,
    entry: _Entry,
    image: slicer.vtkOrientedImageData,
) -> None:
    """Put the label map into an existing segment, or into a new one."""
    segment = segmentation.GetSegment(segmentId) if segmentId else slicer.vtkSegment()
    for tag, value in entry.tags.items():
        segment.SetTag(tag, value)
    segment.SetLabelValue(entry.label)
    segment.AddRepresentation(LABELMAP, image)
    if segmentId is None:
        segment.SetName(entry.name)
        segment.SetNameAutoGenerated(False)
        segment.SetColor(*(value / 255 for value in entry.colour))
        segment.SetColorAutoGenerated(False)
        segmentation.AddSegment(segment, entry.segmentId)


def _layerImage(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, labels: np.ndarray
) -> slicer.vtkOrientedImageData:
    grid = gridOf(volumeNode)
    if labels.shape != grid.shape:
        raise ValueError(f"labels of shape {labels.shape} for a volume of shape {grid.shape}")
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*grid.shape[::-1])
    image.GetPointData().SetScalars(vtkArrayOf(labels.astype(np.uint8, copy=False)))
    image.SetGeometryFromImageToWorldMatrix(asMatrix(grid.ijkToRas))
    return image
