"""The chest on a coarse grid of the patient's own axes: what is body, what is the air around it.

All shape reasoning of the lung mask happens here and in :mod:`airways`, on cubes of 2.5 mm, so that slice
thickness, orientation and matrix size of the CT do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..io.ct import CT, Geometry, resample
from ..io.geometry import bounding_box
from ..io.padding import edges
from ..threads import filtered, in_threads, slabs
from .exterior import cut_lungs, exterior_of
from .shapes import COARSE_MM, VOXEL_ML, Mask, components, opened

OUTSIDE_FIELD = -5000.0
PADDING_HU, FLAT_HU = -990.0, 0.01
CRUMB_ML, WEDGE_ML = 100.0, 10.0


@dataclass(frozen=True)
class Chest:
    """A CT on cubes of :data:`COARSE_MM`: z to superior, y to posterior, x to the patient's left.

    Attributes:
        hu: (z, y, x) float32 in HU; -1024 outside the field of view.
        field: (z, y, x) bool, inside the CT's field of view, padding left out.
        geometry: where the cubes lie.
        body: (z, y, x) bool, the patient without table, clothes and the air inside.
        exterior: (z, y, x) bool, air around the patient, padding and everything outside the field.
        threshold: HU half-way between this patient's lung and soft tissue.
    """

    hu: NDArray[np.float32]
    field: Mask
    geometry: Geometry
    body: Mask
    exterior: Mask
    threshold: float


_CHESTS: WeakKeyDictionary[CT, Chest] = WeakKeyDictionary()
"""Lungs and air are found one after the other from the same chest, which takes a sixth of their time."""


def chest_of(ct: CT) -> Chest:
    """Average a CT to the coarse grid and tell the patient from what surrounds it; once for every CT."""
    chest = _CHESTS.get(ct)
    if chest is None:
        hu, field, geometry = _coarse(ct)
        threshold = _air_threshold(hu, field)
        body = _body(hu, field)
        exterior = exterior_of(hu, (hu < threshold) & field, field, body)
        chest = _CHESTS[ct] = Chest(hu, field, geometry, body, exterior, threshold)
    return chest


def with_cut_lungs(chest: Chest) -> Chest:
    """The chest with the lung that the field of view cuts on two sides or more no longer counted as room."""
    outside = chest.exterior & chest.field & (chest.hu < chest.threshold)
    return replace(chest, exterior=chest.exterior & ~cut_lungs(chest.hu, outside, chest.field))


def _coarse(ct: CT) -> tuple[NDArray[np.float32], Mask, Geometry]:
    """HU averaged to the coarse grid, and the field of view there."""
    averaged, source = _block_means(ct)
    geometry = _on_lattice(ct.geometry.axis_aligned((COARSE_MM,) * 3))
    hu = resample(averaged, source, geometry, order="linear", fill=OUTSIDE_FIELD)
    field = hu > OUTSIDE_FIELD / 2
    field = _without_padding(hu, field)
    box = bounding_box(field)
    hu, field = hu[box].copy(), field[box]
    hu[~field] = -1024.0
    return hu, field, geometry.crop(box)


def _without_padding(hu: NDArray[np.float32], field: Mask) -> Mask:
    """The field of view less large noiseless pieces, e.g. the corners that a reformatted volume gains.

    They would join the lungs with the air around the patient where the scan cuts the trachea.
    """
    from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

    noise = filtered(hu, lambda part: maximum_filter(part, 3) - minimum_filter(part, 3), reach=1)
    flat = field & (hu < PADDING_HU) & (noise < FLAT_HU)
    if not flat.any():
        return field
    padding = _large(flat)
    # A wedge of it, beside a volume that was turned, ends thinner than the filters: the value tells there.
    box = bounding_box(field)
    padding[box] |= _reaching_an_edge(field[box] & (np.abs(hu[box] - np.median(hu[flat])) < FLAT_HU))
    if not padding.any():
        return field
    # Two voxels more: the filters' reach, and the rim that interpolation blurred.
    left = _large(field & ~binary_dilation(padding, iterations=2))
    return left if left.any() else field


def _large(mask: Mask) -> Mask:
    """The pieces of more than :data:`CRUMB_ML`."""
    labels, counts = components(mask)
    large = counts * VOXEL_ML > CRUMB_ML
    large[0] = False
    return np.asarray(large[labels])


def _reaching_an_edge(mask: Mask) -> Mask:
    """The pieces of more than :data:`WEDGE_ML` that reach one of the twelve edges of the array."""
    labels, counts = components(mask)
    reaching = np.zeros(len(counts), bool)
    reaching[labels[edges(mask.shape)]] = True
    reaching[0] = False
    return np.asarray((reaching & (counts * VOXEL_ML > WEDGE_ML))[labels])


def _on_lattice(geometry: Geometry) -> Geometry:
    """The coarse grid moved onto a lattice fixed in the world, so that a crop changes no voxel's place."""
    x, y, z = (float(np.floor(o / COARSE_MM) * COARSE_MM) for o in geometry.origin)
    i, j, k = (n + 1 for n in geometry.size)
    return replace(geometry, size=(i, j, k), origin=(x, y, z))


def _block_means(ct: CT) -> tuple[NDArray[np.float32], Geometry]:
    """The CT averaged over whole blocks of voxels of at most the coarse size, slab by slab.

    Which voxels make a block depends on where they lie in the world, not on where the file begins.
    """
    blocks = [_blocks(ct.geometry, axis) for axis in (2, 1, 0)]
    (planes, per_plane), (rows, per_row), (columns, per_column) = ((b.starts, b.counts) for b in blocks)
    means = np.empty((len(planes), len(rows), len(columns)), np.float32)

    def one(slab: slice) -> None:
        for k, start, count in zip(range(len(planes))[slab], planes[slab], per_plane[slab], strict=True):
            mean = ct.hu[start : start + int(count)].mean(axis=0, dtype=np.float32)
            mean = np.add.reduceat(mean, rows, axis=0) / per_row[:, None]
            means[k] = np.add.reduceat(mean, columns, axis=1) / per_column

    in_threads(one, slabs(0, len(planes)))
    x, y, z = ct.geometry.world([b.centre for b in blocks])
    si, sj, sk = ct.geometry.spacing
    geometry = Geometry(
        (means.shape[2], means.shape[1], means.shape[0]),
        (si * blocks[2].factor, sj * blocks[1].factor, sk * blocks[0].factor),
        (float(x), float(y), float(z)),
        ct.geometry.direction,
    )
    return means, geometry


@dataclass(frozen=True)
class _Blocks:
    """Blocks of ``factor`` voxels along one axis: first voxel and size of each, centre of the first one."""

    factor: int
    starts: NDArray[np.int64]
    counts: NDArray[np.float32]
    centre: float


def _blocks(geometry: Geometry, axis: int) -> _Blocks:
    """Cut an axis (0 along i) into blocks whose borders are fixed in the world."""
    size, spacing = geometry.size[axis], geometry.spacing[axis]
    factor = max(1, int(COARSE_MM / spacing))
    along = np.reshape(geometry.direction, (3, 3))[:, axis]
    place = int(np.round(along @ np.asarray(geometry.origin) / spacing)) + np.arange(size)
    if along[np.argmax(np.abs(along))] < 0:  # the same blocks, whichever way the axis is stored
        place = -place
    block = place // factor
    starts = np.flatnonzero(np.diff(block, prepend=block[0] - 1))
    counts = np.diff(np.append(starts, size)).astype(np.float32)
    step = 1 if size < 2 else int(place[1] - place[0])
    centre = (block[0] * factor + (factor - 1) / 2 - place[0]) * step
    return _Blocks(factor, starts, counts, float(centre))


def _air_threshold(hu: NDArray[np.float32], field: Mask) -> float:
    """Half-way between the medians of aerated lung and of soft tissue, held within -550 and -400 HU."""
    lung = hu[field & (hu > -970) & (hu < -600)]
    tissue = hu[field & (hu > -150) & (hu < 250)]
    if not len(lung) or not len(tissue):
        return -450.0
    return float(np.clip((np.median(lung) + np.median(tissue)) / 2, -550.0, -400.0))


def _body(hu: NDArray[np.float32], field: Mask) -> Mask:
    """The largest pieces of tissue after table and clothes were cut off."""
    labels, counts = components(opened((hu > -300) & field, 5.0))
    counts[0] = 0
    large = counts >= max(1, 0.2 * counts.max(initial=0))
    return np.asarray(large[labels])
