"""The numbers of a segmentation as it stands in the scene, edits included, in short steps."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError
from DiffSegLungLib.io.padding import AIR, PADDING_BELOW
from DiffSegLungLib.io.refusals import not_finite
from DiffSegLungLib.report.quantify import Quantities, Tally

from .edits import settleTags
from .exchange import checkInput
from .grid import gridOf
from .result_nodes import SHIFT, damagedResult, resultsOf
from .segmentation import classMap, regionMap

_COARSE = 64
"""Samples along each axis where the nearest region is looked up; enough to tell sides and thirds."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A segmentation as it stands.

    Attributes:
        quantities: its numbers.
        classes: uint8 (k, j, i) class ids on the CT's grid.
        regions: uint8 (k, j, i) parts of the lungs, 1..6, what was painted outside the lungs included.
        edited: keys of the classes that differ from what the model made.
    """

    quantities: Quantities
    classes: np.ndarray
    regions: np.ndarray
    edited: set[str]


def measure(
    scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode
) -> Generator[None, None, Measured]:
    """Measure a segmentation with its CT and its lung regions; the DICOM tags of edited classes are set.

    A class painted outside the lungs counts as lung of the nearest region: whoever paints disease that the
    lung mask missed finds it in the tables. Erased voxels stay lung, without a class.

    Raises:
        DiffSegLungError: code ``missing-node``: the segmentation, the CT or the regions were deleted; others
            where the CT is none any more, or what was stored with the segmentation is damaged.
    """
    from DiffSegLungLib.anatomy.regions import side_of, third_of  # not while Slicer starts

    volume, thirds = requireMeasurable(scene, segmentationNode)
    edited = yield from settleTags(segmentationNode)
    classes = yield from classMap(segmentationNode, volume)
    requireMeasurable(scene, segmentationNode)
    regions = yield from regionMap(thirds, volume)
    requireMeasurable(scene, segmentationNode)
    grid = gridOf(volume)
    values = slicer.util.arrayFromVolume(volume)
    tally = Tally(grid.voxelMl, shift_hu=shiftOf(segmentationNode))
    nearest = _nearestRegion(regions)
    yield
    for part in grid.slabs():
        _takeIn(regions, classes, nearest, part)
        hu, region = hounsfieldOf(values[part], volume), regions[part]
        tally.add(hu, classes[part], side_of(region), third_of(region))
        yield
    requireMeasurable(scene, segmentationNode)
    if not regions.any():
        raise DiffSegLungError(
            "no-lungs",
            _("The lung regions of {name} are empty.").format(name=segmentationNode.GetName()),
            _("Run the segmentation again."),
        )
    return Measured(tally.result(), classes, regions, edited)


def requireMeasurable(
    scene: slicer.vtkMRMLScene, segmentationNode: slicer.vtkMRMLSegmentationNode | None
) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode]:
    """The CT of a segmentation and its lung regions; says what is missing or cannot be measured.

    Raises:
        DiffSegLungError: code ``missing-node``, or those of :func:`.exchange.checkInput`.
    """
    if segmentationNode is None or not scene.IsNodePresent(segmentationNode):
        raise DiffSegLungError(
            "missing-node", _("The segmentation is no longer in the scene."), _("Run it again on the CT.")
        )
    results, name = resultsOf(segmentationNode), segmentationNode.GetName()
    if results.volume is not None and results.volume.GetImageData() is not None:
        checkInput(results.volume)
    else:
        raise DiffSegLungError(
            "missing-node",
            _("The CT of {name} is no longer in the scene.").format(name=name),
            _("Load it again and choose it as the segmentation's source volume, or run anew."),
        )
    if results.regions is None:
        raise DiffSegLungError(
            "missing-node",
            _("The lung regions of {name} are no longer in the scene.").format(name=name),
            _("Run the segmentation again; a new output keeps this one as it is."),
        )
    return results.volume, results.regions


def shiftOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> float:
    """The air-offset correction of the run: no number may be shown without it."""
    try:
        shift = float(segmentationNode.GetAttribute(SHIFT) or 0.0)
    except ValueError:
        shift = float("nan")
    if not abs(shift) < -AIR:
        raise damagedResult(segmentationNode)
    return shift


def hounsfieldOf(values: np.ndarray, volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Voxels of a CT as HU, as the library reads them: padding counts as air.

    Raises:
        InputError: values that are no numbers.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise not_finite(int(values.size - np.isfinite(values).sum()), volume.GetName())
    padding = values < PADDING_BELOW
    return np.where(padding, values.dtype.type(AIR), values) if padding.any() else values


def _nearestRegion(regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest region (in voxels) on a coarse lattice of the volume, and the lattice's steps."""
    from scipy.ndimage import distance_transform_edt  # not while Slicer starts

    steps = np.maximum(1, np.array(regions.shape) // _COARSE)
    coarse = regions[:: steps[0], :: steps[1], :: steps[2]]
    if coarse.any():
        places = distance_transform_edt(coarse == 0, return_distances=False, return_indices=True)
        coarse = coarse[tuple(places)]
    return coarse, steps


def _takeIn(
    regions: np.ndarray, classes: np.ndarray, nearest: tuple[np.ndarray, np.ndarray], part: slice
) -> None:
    """Count classes outside the lungs to the nearest region, in place."""
    k, j, i = np.nonzero((regions[part] == 0) & (classes[part] > 0))
    if k.size:
        coarse, steps = nearest
        regions[part][k, j, i] = coarse[(k + part.start) // steps[0], j // steps[1], i // steps[2]]
