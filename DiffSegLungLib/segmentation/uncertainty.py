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

_PLANES = 8


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
    position, part = _undecided(entropy, labels)
    if not len(part):
        return []
    voxels = tuple(position.T)
    corner = np.full((part.max() + 1, 3), np.iinfo(position.dtype).max, position.dtype)
    for axis, along in enumerate(voxels):
        np.minimum.at(corner[:, axis], part, along)
    cube = ((position - corner[part]) * geometry.spacing_zyx // STOP_MM).astype(np.int64)
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
                index=_deepest(position[own], geometry),
                volume_ml=float(size[number] * geometry.voxel_ml),
                entropy=float(weight[number] / size[number]),
                class_key=first,
                second=second,
            )
        )
    return regions


def _undecided(
    entropy: NDArray[Any], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Undecided voxels (n, 3; z, y, x) in flat order, and the face-connected part (n,) of each.

    Parts are numbered from 1 in the order of their first voxels. Slabs that share a plane are looked at one
    by one: numbers of a large CT's whole grid would not fit.
    """
    from scipy.ndimage import label
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    depth, rows, columns = bounding_box(labels)
    positions = [np.empty((0, 3), np.int32)]
    parts: list[NDArray[Any]] = [np.empty(0, np.int32)]
    same = [np.empty((2, 0), np.int32)]
    count, shared = 0, None
    for planes in slabs(depth.start, depth.stop, _PLANES):
        part = (slice(planes.start, min(planes.stop + 1, depth.stop)), rows, columns)
        number, found = label((entropy[part] >= UNDECIDED) & (labels[part] > 0))
        number[number > 0] += count
        if shared is not None:
            same.append(np.stack((shared, number[0]))[:, shared > 0])
        own = number[: planes.stop - planes.start]
        place = np.nonzero(own)
        first = (planes.start, rows.start, columns.start)
        positions.append(np.stack(place, axis=1).astype(np.int32) + np.array(first, np.int32))
        parts.append(own[place])
        count, shared = count + found, number[-1]
    one, other = np.concatenate(same, axis=1)
    bridges = coo_array((np.ones(len(one), bool), (one, other)), shape=(count + 1, count + 1))
    _, joined = connected_components(bridges, directed=False)  # numbered by the least that they join
    return np.concatenate(positions), joined[np.concatenate(parts)]


def _two_most_frequent(ids: NDArray[np.uint8]) -> tuple[str, str | None]:
    counts: Mapping[int, int] = dict(enumerate(np.bincount(ids)))
    first, *others = sorted((i for i, n in counts.items() if n), key=lambda i: -counts[i])
    return BY_ID[first].key, BY_ID[others[0]].key if others else None


def _deepest(voxels: NDArray[np.int32], geometry: Geometry) -> tuple[int, int, int]:
    """Index (i, j, k) of the voxel, of (n, 3; z, y, x), that lies farthest from the border of all, in mm."""
    from scipy import ndimage

    corner = voxels.min(axis=0) - 1
    inside = np.zeros(voxels.max(axis=0) - corner + 2, bool)
    inside[tuple((voxels - corner).T)] = True
    depth = ndimage.distance_transform_edt(inside, sampling=geometry.spacing_zyx)
    z, y, x = np.asarray(np.unravel_index(int(np.argmax(depth)), depth.shape)) + corner
    return int(x), int(y), int(z)
