"""A finished result at another sensitivity: its classes drawn anew from the evidence, in short steps.

No model, no worker, no file: evidence of disease came into the scene with the result. Only what a person
edited has the last word over it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.classes import BY_KEY, CONSOLIDATION, EMPHYSEMA, PATHOLOGY
from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.report.quantify import Quantities, Tally
from DiffSegLungLib.segmentation.evidence import count_evidence, drawn_in_steps, least_voxels

from ..work.tasks import checked, unstoppable
from .drawn import followSegments, setSensitivity
from .edits import countOf, fingerprints, fingerprintsOf, rememberRedrawn, settleTags, stampOf
from .evidence import drawnAs, evidenceOf, evidenceStamp
from .exchange import newArray
from .grid import Grid, gridOf
from .masks import LABELMAP
from .measure import hounsfieldOf, requireMeasurable, shiftOf
from .result_nodes import (
    BUNDLE,
    ResultNodes,
    damagedResult,
    resultsOf,
)
from .results import fillTables, nameUncertainRegions, refreshResults
from .segmentation import classMap, redrawSegmentation, regionMap
from .segments import AUTOMATIC, TYPE_TAG, classSegments, tagOf
from .surfaces import hideIn3D

_DRAWN = range(EMPHYSEMA, CONSOLIDATION + 1)
"""Ids of the classes that a sensitivity adds to or takes from."""

_CHUNK = 1 << 20

_TOLERATED = 0.01
"""Part of the lung in which evidence and regions of one result may differ."""


def redrawResult(
    scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode, sensitivity: float
) -> Generator[None, None, Quantities]:
    """Draw the classes of a result at another sensitivity and bring all that hangs on it up to date.

    A finding (a disease, or cavity) that somebody edited keeps every voxel and gets none; of healthy lung and
    vessels, which are what is left over, every voxel stays that somebody gave to or took from them. Without
    edits the classes are, voxel for voxel, those of a run at that sensitivity. Until all is drawn and
    measured nothing changes in the scene; what is edited meanwhile is waited for.

    Args:
        scene: the scene.
        segmentationNode: the result.
        sensitivity: 0..1.

    Returns:
        The numbers, as the tables then have them.

    Raises:
        InputError: code ``bad-setting``, a sensitivity outside 0..1.
        DiffSegLungError: code ``no-result``, ``no-evidence``, ``all-edited``, ``edits-overlap``,
            ``changed-meanwhile``, ``missing-node`` or ``damaged-result``.
    """
    Config(sensitivity=sensitivity)
    followSegments(segmentationNode)
    evidenceOf(segmentationNode)
    begun = drawnAs(segmentationNode)
    _forgetWith(scene)

    def check() -> None:
        requireMeasurable(scene, segmentationNode)
        if drawnAs(segmentationNode) != begun:
            raise DiffSegLungError(
                "changed-meanwhile",
                _("{name} was drawn anew by somebody else meanwhile.").format(
                    name=segmentationNode.GetName()
                ),
                _("Move the sensitivity again."),
            )

    while True:
        drawn = yield from checked(_draw(segmentationNode, sensitivity), check)
        check()
        if stampOf(segmentationNode) == drawn.stamp:
            break
    return (yield from unstoppable(_show(scene, segmentationNode, drawn)))


@dataclass(frozen=True, eq=False)
class _Redrawn:
    """All of a result at another sensitivity, ready to be shown.

    Attributes:
        config: the settings, with that sensitivity.
        labels: uint8 (k, j, i) class ids.
        prints: fingerprints of the classes.
        quantities: the numbers; None where something was painted outside the lungs, which takes a whole look.
        edited: keys of the classes that a person edited.
        stamp: of the segmentation as it was when its edits were read.
    """

    config: Config
    labels: np.ndarray
    prints: dict[str, str]
    quantities: Quantities | None
    edited: set[str]
    stamp: object


def _draw(node: slicer.vtkMRMLSegmentationNode, sensitivity: float) -> Generator[None, None, _Redrawn]:
    evidence, config = evidenceOf(node)
    volume = resultsOf(node).volume
    assert volume is not None, "just looked at"
    grid = gridOf(volume)
    while True:
        stamp = stampOf(node)
        edited = yield from _editedClasses(node)
        if stampOf(node) == stamp:
            break  # else somebody drew in between, or the tags were settled
    if {BY_KEY[key].id for key in edited}.issuperset(_DRAWN):
        raise DiffSegLungError(
            "all-edited",
            _("Every finding of {name} was edited by hand and stays as it is.").format(name=node.GetName()),
            _("The sensitivity counts for the next run."),
        )
    lungs = yield from _lungsOf(node, grid)
    yield from _requireOwn(node, evidence, lungs, grid)
    least = least_voxels(config.island_ml, grid.geometry)
    labels = newArray(grid.shape, np.dtype(np.uint8))
    key = (lungs.key, evidenceStamp(node), least)
    before = _rows.get((*key, config.sensitivity)) if edited else None
    try:
        if edited and before is None:
            yield from drawn_in_steps(evidence, config.sensitivity, least, labels)
            before = yield from _rowOf(labels, lungs)
        yield from drawn_in_steps(evidence, sensitivity, least, labels)
    except IndexError as error:  # changed since it was looked at
        raise damagedResult(node) from error
    row = yield from _rowOf(labels, lungs)
    _rows.clear()
    _rows[*key, sensitivity] = row
    if before is not None:
        _rows[*key, config.sensitivity] = before  # needed again where this move is dropped
        row = yield from _keptEdits(node, labels, row, before, edited)
    prints = yield from fingerprintsOf(labels, grid.slabs())
    beyond = np.count_nonzero(row) != sum(countOf(prints, key) for key in prints)
    yield
    quantities = None if beyond else (yield from _measured(row, lungs, grid.voxelMl, shiftOf(node)))
    return _Redrawn(replace(config, sensitivity=sensitivity), labels, prints, quantities, edited, stamp)


def _show(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLSegmentationNode, drawn: _Redrawn
) -> Generator[None, None, Quantities]:
    """Put what was drawn into the scene."""
    hideIn3D(node)  # surfaces are those of the former classes
    algorithm = f"DiffSegLung {node.GetAttribute(BUNDLE) or 'statistics'}"
    redrawSegmentation(
        node, resultsOf(node).volume, drawn.labels, algorithmName=algorithm, leftOut=drawn.edited
    )
    rememberRedrawn(node, drawn.prints, drawn.edited, drawn.config.sensitivity)
    setSensitivity(node, drawn.config.sensitivity)
    nameUncertainRegions(node, drawn.labels)
    yield
    if drawn.quantities is None:
        return (yield from refreshResults(scene, node))
    requireMeasurable(scene, node)
    fillTables(scene, node, drawn.quantities)
    return drawn.quantities


def _editedClasses(node: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, set[str]]:
    """Keys of the classes that differ from what was drawn, or say of themselves that a person drew them.

    So are those without a segment, empty ones too: every class had one, and somebody deleted it.
    """
    edited = yield from settleTags(node)
    segments, classes = node.GetSegmentation(), classSegments(node)
    return (
        edited
        | (BY_KEY.keys() - classes.values())
        | {
            key
            for segmentId, key in classes.items()
            if tagOf(segments.GetSegment(segmentId), TYPE_TAG) not in ("", AUTOMATIC)
        }
    )


def _keptEdits(
    node: slicer.vtkMRMLSegmentationNode,
    labels: np.ndarray,
    row: np.ndarray,
    before: np.ndarray,
    edited: set[str],
) -> Generator[None, None, np.ndarray]:
    """Put back what somebody edited; the classes of the lung voxels, with the edits.

    Args:
        node: the segmentation with the edits.
        labels: as drawn at the new sensitivity; changed in place.
        row: the same for the voxels of the lungs.
        before: those as drawn at the present sensitivity.
        edited: keys of the edited classes.
    """
    volume, stamp = resultsOf(node).volume, stampOf(node)
    grid = gridOf(volume)
    present = yield from classMap(node, volume)
    prints = yield from fingerprints(node)
    ids = {key: BY_KEY[key].id for key in edited}
    counts = dict.fromkeys(edited, 0)
    for slab in grid.slabs():
        for key, number in ids.items():
            counts[key] += int(np.count_nonzero(present[slab] == number))
        labels[slab] = present[slab]  # outside the lungs is nothing but what somebody drew there
        yield
    lost = any(count != countOf(prints, key) for key, count in counts.items())
    if lost and stampOf(node) == stamp:  # else somebody drew in between, and all is drawn once more
        raise DiffSegLungError(
            "edits-overlap",
            _("Edited classes of {name} overlap, or lie on other voxels than its CT.").format(
                name=node.GetName()
            ),
            _("Let one of them win, in Refine or in the Segment Editor; then move the sensitivity again."),
        )
    fixed = np.isin(np.arange(256), [number for number in ids.values() if number in PATHOLOGY])
    there = np.isin(np.arange(256), [BY_KEY[key].id for key in classSegments(node).values()])
    lungs = yield from _lungsOf(node, grid)
    flat, merged = labels.ravel(), np.empty_like(row)
    for start in range(0, row.size, _CHUNK // 2):
        part = slice(start, start + _CHUNK // 2)
        now, new = flat.take(lungs.places[part], mode="clip"), row[part]
        kept = fixed.take(now) | fixed.take(new) | (now != before[part])
        chosen = np.where(kept, now, new)
        # A deleted class stays away, healthy lung and vessels as well.
        merged[part] = flat[lungs.places[part]] = chosen * there.take(chosen)
        yield
    return merged


@dataclass(frozen=True, eq=False)
class _Lungs:
    """The lung of a CT as one row of voxels, which is all that measuring needs.

    Attributes:
        key: changes with the CT and with the regions.
        places: flat indices.
        hu: HU as measured.
        side, third: where they lie, as :class:`Tally` has it.
    """

    key: object
    places: np.ndarray
    hu: np.ndarray
    side: np.ndarray
    third: np.ndarray


def forget() -> None:
    """Let go of what is kept of the lung and the classes drawn last: hundreds of megabytes for a large CT."""
    _latest.clear()
    _rows.clear()
    _fitting.clear()
    for scene, observer in _observers:
        scene.RemoveObserver(observer)
    _observers.clear()


_observers: list[tuple[slicer.vtkMRMLScene, int]] = []


def _forgetWith(scene: slicer.vtkMRMLScene) -> None:
    """Forget when the scene is closed, or a CT or a segmentation leaves it."""
    if _observers and _observers[0][0] is scene:
        return
    forget()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onRemoved(_caller: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if node.IsA("vtkMRMLVolumeNode") or node.IsA("vtkMRMLSegmentationNode"):
            forget()

    def onClosed(_caller: vtk.vtkObject, _event: str) -> None:
        forget()

    _observers.append((scene, scene.AddObserver(scene.NodeRemovedEvent, onRemoved)))
    _observers.append((scene, scene.AddObserver(scene.EndCloseEvent, onClosed)))


_fitting: list[object] = []
"""Evidence that was found to be that of a lung: both by what changes with them."""

_latest: list[_Lungs] = []
"""The lung measured last: whoever moves the sensitivity moves it many times on one CT."""


_rows: dict[tuple[object, ...], np.ndarray] = {}
"""Classes of the lung voxels as drawn last, by what they were drawn from: edits differ from them."""


def _rowOf(labels: np.ndarray, lungs: _Lungs) -> Generator[None, None, np.ndarray]:
    """Class ids (n,) of the lung voxels."""
    flat, row = labels.ravel(), np.empty(lungs.places.size, np.uint8)
    for start in range(0, row.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        np.take(flat, lungs.places[part], out=row[part], mode="clip")
        yield
    return row


def _requireOwn(
    node: slicer.vtkMRMLSegmentationNode, evidence: np.ndarray, lungs: _Lungs, grid: Grid
) -> Generator[None, None, None]:
    """Refuse what is no evidence, and that of another CT: it covers other voxels than the lungs of this one.

    A run gives both for the very same voxels; what somebody changed of the regions may differ a little.
    """
    key = (lungs.key, evidenceStamp(node))
    if key in _fitting:
        return
    flat, own, every = evidence.ravel(), 0, 0
    for start in range(0, lungs.places.size, _CHUNK):
        own += int(np.count_nonzero(flat.take(lungs.places[start : start + _CHUNK], mode="clip")))
        yield
    for part in grid.slabs():
        try:
            every += int(count_evidence(evidence[part])[1:].sum())
        except ValueError as error:  # numbers that are no evidence: a scene may come from anywhere
            raise damagedResult(node) from error
        yield
    if lungs.places.size + every - 2 * own > _TOLERATED * lungs.places.size:
        raise damagedResult(node)
    _fitting[:] = [key]


def _lungsOf(node: slicer.vtkMRMLSegmentationNode, grid: Grid) -> Generator[None, None, _Lungs]:
    from DiffSegLungLib.anatomy.regions import side_of, third_of  # not while Slicer starts

    found = resultsOf(node)
    assert found.volume is not None and found.regions is not None, "just looked at"
    key = _lungKey(found, grid)
    if _latest and _latest[0].key == key:
        return _latest[0]
    regions = (yield from regionMap(found.regions, found.volume)).ravel()
    values = slicer.util.arrayFromVolume(found.volume).ravel()
    chunks = [slice(start, start + _CHUNK) for start in range(0, regions.size, _CHUNK)]
    size = 0
    for chunk in chunks:
        size += int(np.count_nonzero(regions[chunk]))
        yield
    places, hu = np.empty(size, np.int64), np.empty(size, values.dtype)
    side, third = np.empty(size, np.uint8), np.empty(size, np.uint8)
    begin = 0
    for chunk in chunks:
        inside = np.flatnonzero(regions[chunk] != 0)
        region, here = regions[chunk][inside], slice(begin, begin + inside.size)
        places[here] = inside + chunk.start
        hu[here] = hounsfieldOf(values[chunk][inside], found.volume)
        side[here], third[here] = side_of(region), third_of(region)
        begin += inside.size
        yield
    if not size:
        raise DiffSegLungError(
            "no-lungs",
            _("The lung regions of {name} are empty.").format(name=node.GetName()),
            _("Run the segmentation again."),
        )
    _latest[:] = [_Lungs(key, places, hu, side, third)]
    return _latest[0]


def _lungKey(found: ResultNodes, grid: Grid) -> object:
    assert found.volume is not None and found.regions is not None, "just looked at"
    image, segmentation = found.volume.GetImageData(), found.regions.GetSegmentation()
    layers = [
        segmentation.GetLayerDataObject(number, LABELMAP).GetMTime()
        for number in range(segmentation.GetNumberOfLayers(LABELMAP))
    ]
    segments = [segmentation.GetSegment(i).GetMTime() for i in segmentation.GetSegmentIDs()]
    place = (grid.ijkToWorld.tobytes(), grid.shape)
    return (image.__this__, image.GetMTime(), segmentation.__this__, *layers, *segments, place)


def _measured(
    row: np.ndarray, lungs: _Lungs, voxelMl: float, shift: float
) -> Generator[None, None, Quantities]:
    tally = Tally(voxelMl, shift_hu=shift)
    for start in range(0, row.size, _CHUNK // 2):
        part = slice(start, start + _CHUNK // 2)
        tally.add(lungs.hu[part], row[part], lungs.side[part], lungs.third[part])
        yield
    return tally.result()
