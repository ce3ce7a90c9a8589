"""Results of a run in the scene: read from the worker's folder, kept up to date after edits, written out."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.classes import BY_ID, BY_KEY
from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.report.quantify import Quantities

from ..work.tasks import checked, unstoppable
from . import chart_nodes, exchange, table_nodes
from .edits import rememberUnedited
from .evidence import drawnAt
from .grid import asMatrix, gridOf
from .hierarchy import placeBeside, removeNode
from .measure import measure
from .reporting import exportReport
from .result_nodes import (
    BUNDLE,
    CREATED,
    PROVENANCE,
    SHIFT,
    UNCERTAIN,
    ResultNodes,
    noResult,
    removeResults,
    resultNode,
    resultsOf,
    stored,
)
from .segmentation import createRegions, createSegmentation

__all__ = [
    "ResultNodes",
    "UncertainRegion",
    "exportCsv",
    "exportReport",
    "fillTables",
    "importResults",
    "nameUncertainRegions",
    "refreshResults",
    "removeResults",
    "resultsOf",
    "uncertainRegions",
]

_COLOURS = ("Inferno", "Iron")
"""Colour tables from dark to bright, the first that there is; Slicer builds the second in."""
_SHOWN_ABOVE = 0.2
"""Uncertainty below this is not drawn, so that the CT stays readable."""


@dataclass(frozen=True)
class UncertainRegion:
    """A place where the model could not decide, for a person to look at.

    Attributes:
        positionRAS: where, in the world, mm.
        ml: its volume.
        entropy: mean uncertainty, 0..1.
        text: what it may be, for people.
    """

    positionRAS: tuple[float, float, float]
    ml: float
    entropy: float
    text: str


def importResults(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    folder: Path,
    *,
    target: slicer.vtkMRMLSegmentationNode | None = None,
    check: Callable[[], None] = lambda: None,
) -> Generator[None, None, slicer.vtkMRMLSegmentationNode]:
    """Bring all that a worker wrote into the scene.

    Every file is read before any node changes, so that a run which is cancelled or fails while reading leaves
    the scene, and an existing ``target`` with its tables, as they were. What follows cannot be interrupted,
    except by deleting the CT or the segmentation; it is done in pieces to let the application breathe.

    Args:
        scene: where to make nodes.
        volumeNode: the CT.
        folder: the worker's output.
        target: see :func:`.segmentation.createSegmentation`.
        check: called before every step until nodes change; what it raises ends the import.

    Returns:
        The segmentation node.
    """
    read = yield from checked(_read(volumeNode, folder), check)
    check()
    return (yield from unstoppable(_show(scene, volumeNode, read, target)))


def refreshResults(
    scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode
) -> Generator[None, None, Quantities]:
    """Measure a segmentation as it stands and bring its tables, charts and DICOM tags up to date.

    Raises:
        DiffSegLungError: something that is needed was deleted; the message says what.
    """
    measured = yield from measure(scene, segmentationNode)
    nameUncertainRegions(segmentationNode, measured.classes)
    fillTables(scene, segmentationNode, measured.quantities)
    return measured.quantities


def fillTables(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLSegmentationNode, quantities: Quantities
) -> None:
    """Fill the tables and charts of a result, made where they are missing."""
    volume = resultsOf(node).volume
    assert volume is not None, "a result was just measured on it"
    ct = volume.GetName()

    def made(role: str, name: str) -> slicer.vtkMRMLNode:
        return resultNode(scene, node, role, name.format(name=ct))

    classTable = made("classTable", _("{name} lung tissue volumes"))
    densityTable = made("densityTable", _("{name} lung density"))
    histogramTable = made("histogramTable", _("{name} HU histogram"))
    abnormalTable = made("abnormalTable", _("{name} abnormal tissue"))
    volumeChart = made("volumeChart", _("{name} abnormal tissue chart"))
    histogramChart = made("histogramChart", _("{name} HU histogram chart"))
    table_nodes.fillClassTable(classTable, quantities)
    table_nodes.fillDensityTable(densityTable, quantities)
    table_nodes.fillHistogramTable(histogramTable, quantities)
    table_nodes.fillAbnormalTable(abnormalTable, quantities)
    chart_nodes.fillVolumeChart(scene, volumeChart, abnormalTable)
    chart_nodes.fillHistogramChart(scene, histogramChart, histogramTable)
    placeBeside(
        scene, volume, classTable, densityTable, histogramTable, abnormalTable, volumeChart, histogramChart
    )


def exportCsv(segmentationNode: slicer.vtkMRMLSegmentationNode, path: str | Path) -> None:
    """Write the class table and the densitometry as they stand, and the sensitivity they were drawn at.

    Raises:
        DiffSegLungError: there is no table, or the file cannot be written.
    """
    results = resultsOf(segmentationNode)
    shown = [table for table in (results.classTable, results.densityTable) if table is not None]
    if not shown:
        raise noResult(segmentationNode)
    sensitivity = drawnAt(segmentationNode)
    told = [] if sensitivity is None else [["Setting", "Value"], ["Sensitivity", f"{sensitivity:g}"]]
    table_nodes.writeCsv(Path(path), shown, told)


def uncertainRegions(
    segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> list[UncertainRegion]:
    """The places most in need of a look, the most important first; under the CT's present transform."""
    ijkToWorld = gridOf(volumeNode).ijkToWorld
    regions = []
    entries = stored(segmentationNode, UNCERTAIN)
    for entry in entries if isinstance(entries, list) else []:
        try:
            i, j, k = (float(int(v)) for v in entry["index"])
            ml, entropy, text = float(entry["volume_ml"]), float(entry["entropy"]), _described(entry)
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError):
            continue  # a scene may come from anywhere
        x, y, z = (float(v) for v in (ijkToWorld @ [i, j, k, 1.0])[:3])
        regions.append(UncertainRegion((x, y, z), ml, entropy, text))
    return regions


def nameUncertainRegions(node: slicer.vtkMRMLSegmentationNode, labels: np.ndarray) -> None:
    """Say of each place to look at what it is called now; what the run called it stays beside that.

    Args:
        node: the result.
        labels: uint8 (k, j, i), the class ids as they stand.
    """
    entries = stored(node, UNCERTAIN)
    for entry in entries if isinstance(entries, list) else []:
        try:
            k, j, i = (int(v) for v in reversed(entry["index"]))
            if not all(0 <= at < size for at, size in zip((k, j, i), labels.shape, strict=True)):
                continue
            tissue = BY_ID.get(int(labels[k, j, i]))
        except (LookupError, TypeError, ValueError, OverflowError):  # a scene may come from anywhere
            continue
        entry["now"] = tissue.key if tissue is not None else None
    node.SetAttribute(UNCERTAIN, json.dumps(entries))


def _described(entry: Mapping[str, Any]) -> str:
    ml = float(entry["volume_ml"])
    first, second, now = (BY_KEY.get(str(entry.get(key) or "")) for key in ("class", "second", "now"))
    if now is not None and now is not first:  # drawn at another sensitivity
        first, second = now, first
    if first is None:
        return _("{ml:.1f} ml undecided").format(ml=ml)
    if second is None:
        return _("{ml:.1f} ml, perhaps {first}").format(ml=ml, first=first.name.lower())
    return _("{ml:.1f} ml called {first}, perhaps {second}").format(
        ml=ml, first=first.name.lower(), second=second.name.lower()
    )


@dataclass(frozen=True)
class _WorkerOutput:
    """What a worker wrote: the content of its ``result.json``, and maps (k, j, i) on the CT's grid."""

    content: Mapping[str, Any]
    labels: np.ndarray
    entropy: np.ndarray
    regions: np.ndarray
    evidence: np.ndarray


def _read(volumeNode: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> Generator[None, None, _WorkerOutput]:
    content = exchange.readContent(folder / "result.json")
    labels = yield from exchange.readLabels(folder / "labels.mhd", volumeNode)
    entropy = yield from exchange.readScalars(folder / "entropy.mhd", volumeNode)
    regions = yield from exchange.readLabels(folder / "regions.mhd", volumeNode)
    evidence = yield from exchange.readEvidence(folder / "evidence.mhd", volumeNode)
    return _WorkerOutput(content, labels, entropy, regions, evidence)


def _show(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    read: _WorkerOutput,
    target: slicer.vtkMRMLSegmentationNode | None,
) -> Generator[None, None, slicer.vtkMRMLSegmentationNode]:
    name = (read.content.get("model") or {}).get("name", "statistics")
    _requireUnchanged(scene, volumeNode, read, target)
    node = createSegmentation(
        scene, volumeNode, read.labels, algorithmName=f"DiffSegLung {name}", target=target
    )
    try:
        attaching = _attach(scene, volumeNode, node, read)
        yield from checked(attaching, lambda: _requireUnchanged(scene, volumeNode, read, node))
    except DiffSegLungError:
        if target is None:
            _takeBack(scene, node)
        raise
    return node


def _attach(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    node: slicer.vtkMRMLSegmentationNode,
    read: _WorkerOutput,
) -> Generator[None, None, None]:
    """Hang all that belongs to it on a segmentation that has its classes."""
    _describe(node, read.content)
    yield
    yield from rememberUnedited(node)
    regions = createRegions(scene, volumeNode, read.regions, target=resultsOf(node).regions)
    node.SetNodeReferenceID("DiffSegLung.regions", regions.GetID())
    yield
    _fillUncertainty(scene, volumeNode, node, read.entropy)
    yield
    _fillEvidence(scene, volumeNode, node, read.evidence)
    yield
    fillTables(scene, node, Quantities.from_mapping(read.content["tables"]))


def _requireUnchanged(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    read: _WorkerOutput,
    node: slicer.vtkMRMLSegmentationNode | None,
) -> None:
    """Stop where the CT or the segmentation went away, or the CT became another, while nodes are filled.

    Raises:
        DiffSegLungError: code ``node-deleted`` or ``geometry-differs``, or those of :func:`.grid.gridOf`.
    """
    gone = [n for n in (volumeNode, node) if n is not None and not scene.IsNodePresent(n)]
    if gone:
        raise DiffSegLungError(
            "node-deleted",
            _("{name} was deleted while the result was being loaded.").format(name=gone[0].GetName()),
            _("Choose the CT and the output again and press Apply."),
        )
    if gridOf(volumeNode).shape != read.labels.shape:
        raise DiffSegLungError(
            "geometry-differs",
            _("{name} was changed while the result was being loaded.").format(name=volumeNode.GetName()),
            _("Run the segmentation again."),
        )


def _takeBack(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove a new segmentation that could not be completed, with all that hangs on it."""
    removeResults(scene, node)
    if scene.IsNodePresent(node):
        removeNode(scene, node)


def _describe(node: slicer.vtkMRMLSegmentationNode, content: Mapping[str, Any]) -> None:
    """Attributes: what the run was, without anything that could name the patient."""
    left_out = {"tables", "by_sensitivity", "components", "uncertain_regions", "format", "source"}
    provenance = {key: value for key, value in content.items() if key not in left_out}
    provenance["source"] = "CT"
    node.SetAttribute(BUNDLE, (content.get("model") or {}).get("name", ""))
    node.SetAttribute(CREATED, str(content["created"]))
    node.SetAttribute(SHIFT, str(content["air"]["shift_hu"]))
    node.SetAttribute(PROVENANCE, json.dumps(provenance))
    node.SetAttribute(UNCERTAIN, json.dumps(content.get("uncertain_regions", [])))


def _fillUncertainty(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    node: slicer.vtkMRMLSegmentationNode,
    entropy: np.ndarray,
) -> None:
    name = _("{name} uncertainty").format(name=volumeNode.GetName())
    uncertainty = resultNode(scene, node, "uncertainty", name)
    if uncertainty.GetDisplayNode() is None:  # before the voxels: nothing is then computed from them
        display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        colours = next((c for c in (scene.GetFirstNode(n, "vtkMRMLColorNode") for n in _COLOURS) if c), None)
        if colours is not None:
            display.SetAndObserveColorNodeID(colours.GetID())
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0.0, 1.0)
        display.SetThreshold(_SHOWN_ABOVE, 1.0)
        display.SetApplyThreshold(True)
        uncertainty.SetAndObserveDisplayNodeID(display.GetID())
    _fillVolume(volumeNode, uncertainty, entropy)
    placeBeside(scene, volumeNode, uncertainty)


def _fillEvidence(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    node: slicer.vtkMRMLSegmentationNode,
    values: np.ndarray,
) -> None:
    """No picture, and no CT: it is saved with the scene, but no selector offers it."""
    name = _("{name} evidence of disease (for the sensitivity)").format(name=volumeNode.GetName())
    evidence = resultNode(scene, node, "evidence", name)
    evidence.SetHideFromEditors(True)
    _fillVolume(volumeNode, evidence, values)
    placeBeside(scene, volumeNode, evidence)


def _fillVolume(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLScalarVolumeNode, values: np.ndarray
) -> None:
    """Give a volume node values (k, j, i) on the grid of the CT, under its transform."""
    grid = gridOf(volumeNode)
    image = vtk.vtkImageData()
    image.SetDimensions(*grid.shape[::-1])
    image.GetPointData().SetScalars(exchange.vtkArrayOf(values))
    node.SetIJKToRASMatrix(asMatrix(grid.ijkToRas))
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetAndObserveImageData(image)
