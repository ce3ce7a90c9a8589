"""Where to look first: connected regions in which the class posterior is undecided.

A coin thrown between two of the five tissues has entropy log 2/log 5 = 0.43 on the scale 0..1 of the result.
A voxel counts as undecided from 0.5 on, where more than two tissues compete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_ID
from ..io.geometry import Geometry, bounding_box
from ..threads import slabs

UNDECIDED = 0.5
"""Entropy (0 certain .. 1 no idea) from which on a voxel is undecided."""

LEAST_ML = 0.2
MOST_REGIONS = 20

STOP_MM = 40.0
"""What the eye takes in at one stop of a review."""


@dataclass(frozen=True)
class UncertainRegion:
    """One connected region of undecided lung.

    Attributes:
        index: voxel (i, j, k) of the CT's grid inside the region, as far from its border as any.
        volume_ml: its volume.
        entropy: mean of its entropy, 0..1.
        class_key: its most frequent class.
        second: its second most frequent class; None where it holds only one.
    """

    index: tuple[int, int, int]
    volume_ml: float
    entropy: float
    class_key: str
    second: str | None

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON: ``index``, ``volume_ml``, ``entropy``, ``class``, ``second``."""
        values = asdict(self)
        return {
            "index": list(self.index),
            "volume_ml": round(self.volume_ml, 2),
            "entropy": round(self.entropy, 3),
            "class": values["class_key"],
            "second": values["second"],
        }


def uncertain_regions(
    entropy: NDArray[Any], labels: NDArray[np.uint8], geometry: Geometry
) -> list[UncertainRegion]:
    """The regions most worth a second look, by volume × mean entropy, at most :data:`MOST_REGIONS`.

    Args:
        entropy: (z, y, x) in 0..1.
        labels: (z, y, x) class ids, 0 outside the lungs.
        geometry: grid of both.

    Returns:
        Regions of face-connected voxels of at least :data:`LEAST_ML`; what is wider than a cube of
        :data:`STOP_MM` is cut into such cubes, so that one view shows a region.
    """
    from scipy import ndimage

    start, undecided = _undecided(entropy, labels)
    if not undecided.size:
        return []
    box = tuple(slice(low, low + n) for low, n in zip(start, undecided.shape, strict=True))
    entropy, labels = entropy[box], labels[box]
    parts, _ = ndimage.label(undecided)  # four bytes a voxel: of the box alone
    position = np.argwhere(undecided)
    voxels = tuple(position.T)
    part = parts[voxels].astype(np.int64)
    corner = np.array([[s.start for s in box] for box in ndimage.find_objects(parts)])
    cube = ((position - corner[part - 1]) * geometry.spacing_zyx // STOP_MM).astype(np.int64)
    key = np.ravel_multi_index((part, *cube.T), (part.max() + 1, *(cube.max(axis=0) + 1)))
    _, region, size = np.unique(key, return_inverse=True, return_counts=True)
    weight = np.bincount(region, weights=entropy[voxels].astype(np.float64))
    large = np.flatnonzero(size >= LEAST_ML / geometry.voxel_ml - 1e-6)
    chosen = large[np.argsort(-weight[large], kind="stable")][:MOST_REGIONS]
    regions = []
    for number in chosen:
        own = np.flatnonzero(region == number)
        first, second = _two_most_frequent(labels[voxels][own])
        regions.append(
            UncertainRegion(
                index=_deepest(position[own] + start, geometry),
                volume_ml=float(size[number] * geometry.voxel_ml),
                entropy=float(weight[number] / size[number]),
                class_key=first,
                second=second,
            )
        )
    return regions


def _undecided(entropy: NDArray[Any], labels: NDArray[np.uint8]) -> tuple[list[int], NDArray[np.bool_]]:
    """First voxel (z, y, x) of the box that holds all undecided lung, and which of the box it is."""
    lungs = bounding_box(labels)
    entropy, labels = entropy[lungs], labels[lungs]
    undecided = np.empty(labels.shape, bool)
    for planes in slabs(0, len(undecided)):  # comparisons of a large CT's whole grid would not fit
        undecided[planes] = (entropy[planes] >= UNDECIDED) & (labels[planes] > 0)
    box = bounding_box(undecided)
    return [a.start + b.start for a, b in zip(lungs, box, strict=True)], undecided[box]


def _two_most_frequent(ids: NDArray[np.uint8]) -> tuple[str, str | None]:
    counts: Mapping[int, int] = dict(enumerate(np.bincount(ids)))
    first, *others = sorted((i for i, n in counts.items() if n), key=lambda i: -counts[i])
    return BY_ID[first].key, BY_ID[others[0]].key if others else None


def _deepest(voxels: NDArray[np.intp], geometry: Geometry) -> tuple[int, int, int]:
    """Index (i, j, k) of the voxel, of (n, 3; z, y, x), that lies farthest from the border of all, in mm."""
    from scipy import ndimage

    corner = voxels.min(axis=0) - 1
    inside = np.zeros(voxels.max(axis=0) - corner + 2, bool)
    inside[tuple((voxels - corner).T)] = True
    depth = ndimage.distance_transform_edt(inside, sampling=geometry.spacing_zyx)
    z, y, x = np.asarray(np.unravel_index(int(np.argmax(depth)), depth.shape)) + corner
    return int(x), int(y), int(z)
