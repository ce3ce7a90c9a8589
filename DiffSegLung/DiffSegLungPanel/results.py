"""Results of a run in the scene: read from the worker's folder, kept up to date after edits, written out."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DiffSegLungLib.classes import BY_KEY
from DiffSegLungLib.quantify import Quantities

from . import charts, exchange, tables
from .edits import rememberUnedited
from .grid import asMatrix, gridOf
from .hierarchy import placeBeside
from .measure import measure
from .reporting import exportReport
from .resultnodes import (
    BUNDLE,
    CREATED,
    PROVENANCE,
    SHIFT,
    UNCERTAIN,
    Results,
    removeResults,
    resultNode,
    resultsOf,
)
from .segmentation import createRegions, createSegmentation

__all__ = [
    "Results",
    "UncertainRegion",
    "createResults",
    "exportCsv",
    "exportReport",
    "importResults",
    "refreshResults",
    "removeResults",
    "resultsOf",
    "uncertainRegions",
]

_COLOURS = "vtkMRMLColorTableNodeFileInferno.txt"
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
) -> Generator[None, None, slicer.vtkMRMLSegmentationNode]:
    """Bring all that a worker wrote into the scene.

    Every file is read before any node changes, so that a run which is cancelled or fails while reading leaves
    the scene, and an existing ``target`` with its tables, as they were.

    Args:
        scene: where to make nodes.
        volumeNode: the CT.
        folder: the worker's output.
        target: see :func:`.segmentation.createSegmentation`.

    Returns:
        The segmentation node.
    """
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    labels = yield from exchange.readLabels(folder / "labels.nii.gz", volumeNode)
    maps = yield from _readMaps(folder, volumeNode)
    name = (content.get("model") or {}).get("name", "statistics")
    node = createSegmentation(scene, volumeNode, labels, algorithmName=f"DiffSegLung {name}", target=target)
    _fill(scene, volumeNode, node, content, maps)
    yield from rememberUnedited(node)
    return node


def createResults(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    folder: Path,
    content: Mapping[str, Any],
) -> Generator[None, None, None]:
    """Hang uncertainty, regions, tables and charts on a segmentation that was just filled.

    Args:
        scene: where to make nodes; those of an earlier run are filled anew.
        volumeNode: the CT.
        segmentationNode: what :func:`.segmentation.createSegmentation` gave.
        folder: the worker's output: ``entropy.nii.gz`` and ``regions.nii.gz``.
        content: the content of its ``result.json``.
    """
    maps = yield from _readMaps(folder, volumeNode)
    _fill(scene, volumeNode, segmentationNode, content, maps)
    yield from rememberUnedited(segmentationNode)


def refreshResults(
    scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode
) -> Generator[None, None, Quantities]:
    """Measure a segmentation as it stands and bring its tables, charts and DICOM tags up to date.

    Raises:
        DiffSegLungError: something that is needed was deleted; the message says what.
    """
    measured = yield from measure(scene, segmentationNode)
    _fillTables(scene, segmentationNode, measured.quantities)
    return measured.quantities


def exportCsv(segmentationNode: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    """Write the class table and the densitometry as they stand.

    Raises:
        DiffSegLungError: there is no table, or the file cannot be written.
    """
    results = resultsOf(segmentationNode)
    shown = [table for table in (results.classTable, results.densityTable) if table is not None]
    tables.writeCsv(Path(path), shown)


def uncertainRegions(
    segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> list[UncertainRegion]:
    """The places most in need of a look, the most important first; under the CT's present transform."""
    ijkToWorld = gridOf(volumeNode).ijkToWorld
    regions = []
    for entry in json.loads(segmentationNode.GetAttribute(UNCERTAIN) or "[]"):
        x, y, z = (float(v) for v in (ijkToWorld @ [*entry["index"], 1.0])[:3])
        ml, entropy = float(entry["volume_ml"]), float(entry["entropy"])
        regions.append(UncertainRegion((x, y, z), ml, entropy, _described(entry, ml)))
    return regions


def _described(entry: Mapping[str, Any], ml: float) -> str:
    first, second = (BY_KEY.get(str(entry.get(key) or "")) for key in ("class", "second"))
    if first is None:
        return _("{ml:.1f} ml undecided").format(ml=ml)
    if second is None:
        return _("{ml:.1f} ml, perhaps {first}").format(ml=ml, first=first.name)
    return _("{ml:.1f} ml, {first} or {second}").format(ml=ml, first=first.name, second=second.name)


def _readMaps(
    folder: Path, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> Generator[None, None, tuple[np.ndarray, np.ndarray]]:
    entropy = yield from exchange.readScalars(folder / "entropy.nii.gz", volumeNode)
    regions = yield from exchange.readLabels(folder / "regions.nii.gz", volumeNode)
    return entropy, regions


def _fill(
    scene: slicer.vtkMRMLScene,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    node: slicer.vtkMRMLSegmentationNode,
    content: Mapping[str, Any],
    maps: tuple[np.ndarray, np.ndarray],
) -> None:
    """Everything except the segmentation itself, at once: no one sees half of it."""
    entropy, regions = maps
    _describe(node, content)
    _fillUncertainty(scene, volumeNode, node, entropy)
    old = resultsOf(node).regions
    made = createRegions(scene, volumeNode, regions, target=old)
    node.SetNodeReferenceID("DiffSegLung.regions", made.GetID())
    _fillTables(scene, node, Quantities.from_mapping(content["tables"]))


def _describe(node: slicer.vtkMRMLSegmentationNode, content: Mapping[str, Any]) -> None:
    """Attributes: what the run was, without anything that could name the patient."""
    left_out = {"tables", "components", "uncertain_regions", "format", "source"}
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
    uncertainty = resultNode(scene, node, "uncertainty", "vtkMRMLScalarVolumeNode", name)
    grid = gridOf(volumeNode)
    image = vtk.vtkImageData()
    image.SetDimensions(*grid.shape[::-1])
    image.GetPointData().SetScalars(exchange.vtkArrayOf(entropy))
    uncertainty.SetIJKToRASMatrix(asMatrix(grid.ijkToRas))
    uncertainty.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    uncertainty.SetAndObserveImageData(image)
    if uncertainty.GetDisplayNode() is None:
        uncertainty.CreateDefaultDisplayNodes()
        display = uncertainty.GetDisplayNode()
        if scene.GetNodeByID(_COLOURS) is not None:
            display.SetAndObserveColorNodeID(_COLOURS)
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0.0, 1.0)
        display.SetThreshold(_SHOWN_ABOVE, 1.0)
        display.SetApplyThreshold(True)
    placeBeside(scene, volumeNode, uncertainty)


def _fillTables(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLSegmentationNode, quantities: Quantities
) -> None:
    """Fill tables and charts, made where they are missing."""
    volume = resultsOf(node).volume
    ct = volume.GetName()

    def made(role: str, className: str, name: str) -> Any:
        return resultNode(scene, node, role, className, name.format(name=ct))

    table, chart = "vtkMRMLTableNode", "vtkMRMLPlotChartNode"
    classTable = made("classTable", table, _("{name} lung tissue volumes"))
    densityTable = made("densityTable", table, _("{name} lung density"))
    histogramTable = made("histogramTable", table, _("{name} HU histogram"))
    abnormalTable = made("abnormalTable", table, _("{name} abnormal tissue"))
    volumeChart = made("volumeChart", chart, _("{name} abnormal tissue chart"))
    histogramChart = made("histogramChart", chart, _("{name} HU histogram chart"))
    tables.fillClassTable(classTable, quantities)
    tables.fillDensityTable(densityTable, quantities)
    tables.fillHistogramTable(histogramTable, quantities)
    tables.fillAbnormalTable(abnormalTable, quantities)
    charts.fillVolumeChart(scene, volumeChart, abnormalTable)
    charts.fillHistogramChart(scene, histogramChart, histogramTable)
    placeBeside(
        scene, volume, classTable, densityTable, histogramTable, abnormalTable, volumeChart, histogramChart
    )
