"""Small islands of a label map join their surroundings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..talk import SILENT, Talk
from ..threads import in_threads


def merge_islands(
    labels: NDArray[np.uint8], smallest: int, *, keep: tuple[int, ...] = (), talk: Talk = SILENT
) -> NDArray[np.uint8]:
    """Give every connected island of fewer voxels than ``smallest`` the labels around it.

    Islands are 6-connected components of one class. Their voxels are filled from the outside in, each by
    the most frequent label among its filled neighbours (the lowest class of equals); an island that touches
    no other label keeps its own.

    Args:
        labels: (z, y, x) uint8, 0 is background and never merged into.
        smallest: islands below this number of voxels are merged.
        keep: classes whose islands stay.
        talk: asked whether to stop before every class.

    Returns:
        A new label map.

    Raises:
        Cancelled: asked to stop.
    """
    from scipy.ndimage import find_objects, label

    def found(class_and_box: tuple[int, tuple[slice, ...]]) -> NDArray[np.bool_]:
        talk.check()
        class_id, box = class_and_box
        islands, _ = label(labels[box] == class_id)
        small = np.bincount(islands.ravel()) < smallest
        small[0] = False
        return np.asarray(small[islands])

    out = labels.copy()
    pending = np.zeros(labels.shape, bool)
    boxes = [
        (class_id, box)
        for class_id, box in enumerate(find_objects(labels), start=1)
        if box is not None and class_id not in keep
    ]
    for (_, box), small in zip(boxes, in_threads(found, boxes), strict=True):
        pending[box] |= small
    _fill_from_outside(out, pending)
    return out


def _fill_from_outside(labels: NDArray[np.uint8], pending: NDArray[np.bool_]) -> None:
    """Fill the pending voxels by the majority of their filled 6-neighbours, layer by layer, in place."""
    padded = np.pad(np.where(pending, 0, labels), 1)
    steps = [sign * stride // padded.itemsize for stride in padded.strides for sign in (1, -1)]
    flat = padded.reshape(-1)
    open_voxels = np.ravel_multi_index(tuple(c + 1 for c in np.nonzero(pending)), padded.shape)
    while len(open_voxels):
        neighbours = np.stack([flat[open_voxels + s] for s in steps], axis=1)
        top = int(neighbours.max(initial=0))
        votes = np.stack([(neighbours == c).sum(axis=1) for c in range(1, top + 1)], axis=1) if top else None
        if votes is None or not votes.any():
            break
        ready = votes.any(axis=1)
        flat[open_voxels[ready]] = votes[ready].argmax(axis=1).astype(np.uint8) + 1
        open_voxels = open_voxels[~ready]
    filled = padded[1:-1, 1:-1, 1:-1]
    labels[pending] = np.where(filled[pending] > 0, filled[pending], labels[pending])
