"""Whether a segmentation was edited, and which classes: by what is in it, not only by who was watching.

Slicer's events name the segment that was painted, not those that lost voxels to it, and edits by scripts or
in another session raise none that we hear. So every class has a fingerprint of its voxels, stored with the
segmentation; whoever differs was edited.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from DiffSegLungLib.classes import BY_ID, BY_KEY
from DiffSegLungLib.io.segmentation_file import CLASS_TAG

from .drawn import followSegments, rememberDrawn
from .evidence import drawnAt
from .grid import Grid, asArray
from .masks import LABELMAP, layersOf, numbersOnGrid
from .result_nodes import CHECKSUM, stored
from .segments import AUTOMATIC, SEMIAUTOMATIC, TYPE_TAG, classSegments, isOwnChange, notAnEdit, tagOf

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_Stamp = tuple[str, int, str, int]
"""Of a segment: class, label value, address and state of its label map."""

_known: dict[str, tuple[object, dict[str, str]]] = {}
"""Fingerprints of segmentations as they were when last looked at, so that looking twice costs nothing."""


def isEdited(segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether any class differs from what the model made, by tag or by content.

    Cheap while nothing has changed since the last look; after a change the voxels are read once (some tenths
    of a second for a large CT). A segmentation without classes of ours is not edited.
    """
    if any(_algorithmType(segmentationNode, i) != AUTOMATIC for i in classSegments(segmentationNode)):
        return True
    return bool(_finished(changedClasses(segmentationNode)))


def markEdited(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentIds: Iterable[str]) -> None:
    """Say in the DICOM tags of segments that a person had a hand in them; other types than AUTOMATIC stay."""
    _setType(segmentationNode, segmentIds, AUTOMATIC, SEMIAUTOMATIC)


def rememberUnedited(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, None]:
    """Store the fingerprints of the classes as the model made them."""
    prints = yield from fingerprints(segmentationNode)
    rememberDrawn(segmentationNode, prints, drawnAt(segmentationNode))
    _know(segmentationNode, prints)


def rememberRedrawn(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    prints: dict[str, str],
    edited: Collection[str],
    sensitivity: float,
) -> None:
    """Store the fingerprints of classes that were drawn anew; those that a person edited stay edited.

    Args:
        segmentationNode: the segmentation, as it now is.
        prints: of all its classes (:func:`fingerprintsOf`).
        edited: keys of the classes whose stored fingerprints stay.
        sensitivity: at which the classes were drawn.
    """
    before = stored(segmentationNode, CHECKSUM)
    kept = {key: value for key, value in before.items() if key in edited} if isinstance(before, dict) else {}
    rememberDrawn(segmentationNode, {**prints, **dict.fromkeys(edited, ""), **kept}, sensitivity)
    _know(segmentationNode, prints)


def stampOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> object:
    """What changes whenever the voxels of the classes may have changed."""
    segmentation = segmentationNode.GetSegmentation()
    stamps = []
    for segmentId, key in classSegments(segmentationNode).items():
        segment = segmentation.GetSegment(segmentId)
        image = segment.GetRepresentation(LABELMAP)
        stamps.append((segmentId, key, segment.GetMTime(), image.GetMTime() if image else 0))
    return (_referenceGeometry(segmentation), *sorted(stamps))


def changedClasses(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, set[str]]:
    """The keys of the classes whose voxels differ from what the model made, deleted ones included.

    After an undo that brought back classes of another sensitivity, the result is one of that sensitivity.
    """
    followSegments(segmentationNode)
    if not segmentationNode.GetAttribute(CHECKSUM):
        return set()
    before = stored(segmentationNode, CHECKSUM)
    now = yield from fingerprints(segmentationNode)
    if not isinstance(before, dict):  # damaged: nobody can say that a class is as the model made it
        return set(now)
    return {key for key in before.keys() | now.keys() if before.get(key, "0") != now.get(key, "0")}


def settleTags(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, set[str]]:
    """Make the DICOM tags say exactly which classes were edited; returns their keys.

    A class that lost voxels to another becomes SEMIAUTOMATIC, and one that was painted and restored becomes
    AUTOMATIC again.
    """
    changed = yield from changedClasses(segmentationNode)
    if segmentationNode.GetAttribute(CHECKSUM):
        classes, known = classSegments(segmentationNode), _knownOf(segmentationNode)
        _setType(
            segmentationNode, [i for i, key in classes.items() if key in changed], AUTOMATIC, SEMIAUTOMATIC
        )
        same = [i for i, key in classes.items() if key not in changed]
        _setType(segmentationNode, same, SEMIAUTOMATIC, AUTOMATIC)
        if known is not None:  # tags are no voxels
            _know(segmentationNode, known)
    return changed


def fingerprints(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, dict[str, str]]:
    """Class key -> number of voxels and a sum of hashes of their places; "0" for a class without voxels.

    It depends on nothing but which voxels of the reference geometry belong to the class: not on label values,
    layers, extents, names or order.
    """
    while True:
        stamp = stampOf(segmentationNode)
        known = _knownOf(segmentationNode)
        if known is not None:
            return known
        prints = yield from _fingerprints(segmentationNode)
        _know(segmentationNode, prints, stamp)  # else somebody drew in between, and all is read once more


def fingerprintsOf(labels: np.ndarray, slabs: Iterable[slice]) -> Generator[None, None, dict[str, str]]:
    """Fingerprints (:func:`fingerprints`) of class ids (k, j, i) on the reference geometry, slab by slab."""
    sums = _Sums(labels.shape)
    for part in slabs:
        sums.add(part, labels[part])
        yield
    return sums.prints()


class EditWatcher:
    """Tells at once when a segmentation's voxels change by another hand than the module's own.

    A paint stroke raises many events: the painted segment's tag is set and the callback called, nothing is
    computed. Renaming, colours, tags and order are no edits. A segment of the user's may be painted over the
    classes, so it counts as a change too; :func:`settleTags` finds out which classes it touched.

    Args:
        segmentationNode: the segmentation to watch.
        onEdited: called without arguments, possibly many times a second.
    """

    def __init__(
        self, segmentationNode: slicer.vtkMRMLSegmentationNode, onEdited: Callable[[], None]
    ) -> None:
        self._node = segmentationNode
        self._segmentation = segmentationNode.GetSegmentation()
        self._onEdited = onEdited
        self._stamps = self._currentStamps()

        @vtk.calldata_type(vtk.VTK_STRING)
        def onChanged(_caller: vtk.vtkObject, _event: str, segmentId: str | None = None) -> None:
            self._onChanged(segmentId)

        self._observers = [
            self._segmentation.AddObserver(event, onChanged)
            for event in (
                slicer.vtkSegmentation.SourceRepresentationModified,
                slicer.vtkSegmentation.SegmentModified,
                slicer.vtkSegmentation.SegmentAdded,
                slicer.vtkSegmentation.SegmentRemoved,
            )
        ]

    def stop(self) -> None:
        """Watch no more; may be called twice."""
        for observer in self._observers:
            self._segmentation.RemoveObserver(observer)
        self._observers = []

    def _onChanged(self, segmentId: str | None) -> None:
        stamps = self._currentStamps()
        former, self._stamps = self._stamps, stamps
        if stamps == former or isOwnChange(self._segmentation):
            return
        if segmentId in stamps and segmentId in former and not self._isOnlyStoredAnew(segmentId, former):
            markEdited(self._node, [segmentId])
        self._onEdited()

    def _isOnlyStoredAnew(self, segmentId: str, former: dict[str, _Stamp]) -> bool:
        """Whether a segment is in another image, as after saving, with as many voxels as the model made."""
        key, value, address, _modified = self._stamps[segmentId]
        before = stored(self._node, CHECKSUM)
        if address == former[segmentId][2] or not isinstance(before, dict):
            return False
        image = self._segmentation.GetSegment(segmentId).GetRepresentation(LABELMAP)
        scalars = image.GetPointData().GetScalars() if image is not None else None
        count = int(np.count_nonzero(vtk_to_numpy(scalars) == value)) if scalars is not None else 0
        return countOf(before, key) == count

    def _currentStamps(self) -> dict[str, _Stamp]:
        """Of every class segment: its class, label value, label map (by its address) and that one's state."""
        stamps = {}
        for segmentId, key in classSegments(self._node).items():
            segment = self._segmentation.GetSegment(segmentId)
            image = segment.GetRepresentation(LABELMAP)
            state = (image.__this__, image.GetMTime()) if image is not None else ("", 0)
            stamps[segmentId] = (key, segment.GetLabelValue(), *state)
        return stamps


def _algorithmType(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> str:
    return tagOf(segmentationNode.GetSegmentation().GetSegment(segmentId), TYPE_TAG) or AUTOMATIC


def _setType(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentIds: Iterable[str], former: str, new: str
) -> None:
    segmentation = segmentationNode.GetSegmentation()
    with notAnEdit(segmentationNode):
        for segmentId in segmentIds:
            segment = segmentation.GetSegment(segmentId)
            if tagOf(segment, CLASS_TAG) in BY_KEY and _algorithmType(segmentationNode, segmentId) == former:
                segment.SetTag(TYPE_TAG, new)


def _referenceGeometry(segmentation: slicer.vtkSegmentation) -> str:
    return segmentation.GetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    )


def _referenceGrid(segmentation: slicer.vtkSegmentation) -> Grid | None:
    """The grid the segmentation was made on, which it keeps when the CT is gone."""
    image = slicer.vtkOrientedImageData()
    if not slicer.vtkSegmentationConverter.DeserializeImageGeometry(
        _referenceGeometry(segmentation), image, False
    ):
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    i, j, k = image.GetDimensions()
    return Grid((k, j, i), asArray(matrix), np.eye(4))


def _fingerprints(segmentationNode: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, dict[str, str]]:
    grid = _referenceGrid(segmentationNode.GetSegmentation())
    if grid is None:
        return {}
    numbers = {i: BY_KEY[key].id for i, key in classSegments(segmentationNode).items()}
    layers = layersOf(segmentationNode)
    sums = _Sums(grid.shape)
    for part in grid.slabs():
        for layer in layers:
            found = numbersOnGrid(layer, numbers, np.eye(4), grid, part)
            if found is not None:
                sums.add(part, found)
        yield
    return sums.prints()


class _Sums:
    """Number of voxels of every class, and the sum of hashes of their places.

    Args:
        shape: (k, j, i) of the reference geometry.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        places = _hashed(np.arange(shape[1] * shape[2])) >> np.uint64(32)
        self._weights = places.astype(np.float64)  # 32 bits each: sums over a slice stay exact
        self._slices = _hashed(np.arange(shape[0]) + 1)
        self._counts = np.zeros(len(BY_ID) + 1, np.int64)
        self._sums = np.zeros(len(BY_ID) + 1, np.uint64)

    def add(self, part: slice, numbers: np.ndarray) -> None:
        """Take in the class ids of some slices."""
        size = self._counts.size
        for k, plane in zip(range(part.start, part.stop), numbers, strict=True):
            flat = plane.ravel()
            inside = np.flatnonzero(flat != 0)
            if inside.size:
                classes = flat[inside]
                self._counts += np.bincount(classes, minlength=size)
                here = np.bincount(classes, self._weights[inside], minlength=size).astype(np.uint64)
                self._sums += here * self._slices[k]

    def prints(self) -> dict[str, str]:
        """Class key -> fingerprint."""
        counts, sums = self._counts, self._sums
        return {c.key: f"{counts[n]}:{int(sums[n]):x}" if counts[n] else "0" for n, c in BY_ID.items()}


def countOf(prints: dict[str, str], key: str) -> int:
    """Voxels of a class that its fingerprint tells."""
    return int(str(prints.get(key, "0")).partition(":")[0] or 0)


def _knownOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> dict[str, str] | None:
    """Fingerprints that are known of a segmentation as it is."""
    stamp, prints = _known.get(segmentationNode.GetSegmentation().__this__, (None, {}))
    return prints if stamp == stampOf(segmentationNode) else None


def _know(
    segmentationNode: slicer.vtkMRMLSegmentationNode, prints: dict[str, str], stamp: object = None
) -> None:
    if len(_known) >= 32:
        _known.clear()
    address = segmentationNode.GetSegmentation().__this__
    _known[address] = (stamp or stampOf(segmentationNode), prints)


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """Well mixed 64-bit numbers, the same on every computer (the finaliser of splitmix64)."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * _SPREAD
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _finished(steps: Generator[None, None, set[str]]) -> set[str]:
    """The result of steps that are taken all at once."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
