"""The HTML report of a segmentation as it stands in the scene, with its pictures, drawn in short steps."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import slicer

from DiffSegLungLib.classes import CLASSES
from DiffSegLungLib.io.geometry import bounding_box
from DiffSegLungLib.io.whole_file import writing
from DiffSegLungLib.report.page import write_report
from DiffSegLungLib.report.pictures import draw_montage, each_panel

from .evidence import volumesBySensitivity
from .grid import gridOf
from .measure import measure
from .result_nodes import PROVENANCE, damagedResult, noResult, resultsOf, stored

_MARGIN = 16
"""Voxels kept around the lungs: pictures of that box cost a third of those of the whole CT."""


def exportReport(
    scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode, path: str | Path
) -> Generator[None, None, Path]:
    """Write the report as one HTML file: tables, charts and pictures of the segmentation with its edits.

    It holds no name of the patient, of the CT or of a file, and says which classes were edited.

    Args:
        scene: the scene.
        segmentationNode: the segmentation.
        path: where to write, ending in ``.html``; it appears whole or not at all.

    Returns:
        ``path``.

    Raises:
        DiffSegLungError: something that is needed was deleted or is damaged, or the file cannot be written.
    """
    provenance = _provenanceOf(segmentationNode)
    path = Path(path)
    measured = yield from measure(scene, segmentationNode)
    bySensitivity = yield from volumesBySensitivity(segmentationNode)
    results = resultsOf(segmentationNode)
    box = bounding_box(measured.regions, _MARGIN)
    geometry = gridOf(results.volume).geometry.crop(box)
    yield
    hu = slicer.util.arrayFromVolume(results.volume)[box]
    labels, lungs = measured.classes[box], measured.regions[box] > 0
    entropy = None
    if results.uncertainty is not None and results.uncertainty.GetImageData() is not None:
        entropy = slicer.util.arrayFromVolume(results.uncertainty)[box]
    yield
    panels = []
    for panel in each_panel(hu, labels, entropy, lungs, geometry):
        panels.append(panel)
        yield
    montage = draw_montage(hu, labels, lungs, geometry)
    yield
    edited = [c.name for c in CLASSES if c.key in measured.edited]
    with writing(path) as aside:
        write_report(
            aside,
            measured.quantities,
            panels,
            montage,
            provenance,
            edited=edited,
            by_sensitivity=bySensitivity,
        )
    return path


def _provenanceOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> dict[str, Any]:
    """What the run was, as the report needs it; a scene may come from anywhere."""
    if not segmentationNode.GetAttribute(PROVENANCE):
        raise noResult(segmentationNode)
    found = stored(segmentationNode, PROVENANCE)
    model = found.get("model") or {} if isinstance(found, dict) else None
    sound = (
        isinstance(model, dict)
        and {"source", "grid", "created"} <= found.keys()
        and all(isinstance(found.get(key), dict) for key in ("run", "config"))
        and isinstance(found.get("notes"), list)
        and all(isinstance(note, str) for note in found["notes"])
        and (not model or "name" in model)
        and all(isinstance(model.get(key, {}), dict) for key in ("training", "data", "population"))
    )
    if not sound:
        raise damagedResult(segmentationNode)
    return found
