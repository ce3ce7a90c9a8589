"""Two models on one CT: a result of each, and a table of how far they agree."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.classes import CLASSES

from ..models import shownName
from ..scene.grid import gridOf
from ..scene.hierarchy import placeBeside
from ..scene.segmentation import classMap
from ..scene.table_nodes import fillTable, fixed
from ..work.tasks import Steps, TaskProgress, spanned
from .request import Request
from .segmentation_steps import segmentationSteps

_COMPARED = "DiffSegLung.compared"
_EACH = 0.49
"""Fraction of the whole that one of the two segmentations takes."""


@dataclass(frozen=True)
class Comparison:
    """Two models on one CT.

    Attributes:
        before: the segmentation by the first model.
        after: that by the second.
        table: one row a class: the volumes by both models, and their Dice.
    """

    before: slicer.vtkMRMLSegmentationNode
    after: slicer.vtkMRMLSegmentationNode
    table: slicer.vtkMRMLTableNode


def compareSteps(
    scene: slicer.vtkMRMLScene,
    volume: slicer.vtkMRMLScalarVolumeNode,
    bundles: tuple[str, str],
    *,
    preset: str = "balanced",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> Steps:
    """Segment a CT with two models, and compare; the arguments are those of :class:`.request.Request`.

    Returns:
        A :class:`Comparison`; both segmentations are ordinary results.
    """
    nodes = []
    for number, bundle in enumerate(bundles):
        request = Request(volume, bundle=bundle, preset=preset, device=device, settings=settings or {})
        model = shownName(bundle)
        steps = segmentationSteps(scene, request)
        node = yield from spanned(steps, _EACH * number, _EACH * (number + 1), prefix=f"{model}: ")
        node.SetName(_("{name} by {model}").format(name=volume.GetName(), model=model))
        nodes.append(node)
    before, after = nodes
    yield TaskProgress(_("Comparing"), 2 * _EACH)
    common = yield from _common(volume, before, after)
    table = _table(scene, volume)
    _fill(table, common, gridOf(volume).voxelMl)
    placeBeside(scene, volume, table)
    return Comparison(before, after, table)


def _common(
    volume: slicer.vtkMRMLScalarVolumeNode,
    before: slicer.vtkMRMLSegmentationNode,
    after: slicer.vtkMRMLSegmentationNode,
) -> Generator[None, None, np.ndarray]:
    """How many voxels have class a in the first and class b in the second: int64 (a, b)."""
    first = yield from classMap(before, volume)
    second = yield from classMap(after, volume)
    size = 1 + max(c.id for c in CLASSES)
    counts = np.zeros(size * size, np.int64)
    for part in gridOf(volume).slabs():
        pairs = first[part].astype(np.intp) * size + second[part]
        counts += np.bincount(pairs.ravel(), minlength=size * size)
        yield
    return counts.reshape(size, size)


def _fill(table: slicer.vtkMRMLTableNode, common: np.ndarray, voxelMl: float) -> None:
    before, after, both = common.sum(axis=1), common.sum(axis=0), np.diag(common)
    ids = [c.id for c in CLASSES]
    dice = [2 * both[i] / (before[i] + after[i]) if before[i] + after[i] else None for i in ids]
    fillTable(
        table,
        [
            ("Tissue", "", _("tissue class"), [c.name for c in CLASSES]),
            ("Parent (ml)", "ml", _("volume by the parent"), fixed([before[i] * voxelMl for i in ids], 1)),
            ("New (ml)", "ml", _("volume by the new model"), fixed([after[i] * voxelMl for i in ids], 1)),
            (
                "Dice",
                "",
                _("overlap of the two, 1 where they are the same"),
                ["–" if value is None else f"{value:.2f}" for value in dice],
            ),
        ],
    )


def _table(scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLTableNode:
    """The table of a CT, filled anew by every comparison on it."""
    for node in slicer.util.getNodesByClass("vtkMRMLTableNode", scene):
        if node.GetNodeReferenceID(_COMPARED) == volume.GetID():
            return node
    name = _("{name} parent and new model").format(name=volume.GetName())
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.SetNodeReferenceID(_COMPARED, volume.GetID())
    return node
