"""The outermost lung, which the blur of the chest wall makes look denser than it is (method.md 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

_SHELL_LAYERS = (3, 2, 3)
"""Layers of the shell from the outside in, by the axes they are peeled along (x, y, z): 3 mm, 4 mm in z.

The outermost lung is blurred with the chest wall and the diaphragm; it takes the tissue beneath it.
"""


def take_from_below(posterior: list[Field], lungs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give the outermost 3 mm (4 mm along z) of the lungs the posterior of the tissue beneath, in place.

    Layer by layer from the inside, a voxel of the shell takes the posterior of a deeper neighbour. In thicker
    slices the shell is no deeper: a lesion in the last slice of a CT would be lost.

    Args:
        posterior: (m,) float32 at the lung voxels, one array a tissue.
        lungs: (z, y, x) bool.

    Returns:
        (m,) bool, the shell; lung that is nowhere thicker than the shell is not part of it.
    """
    layers, deep = [], np.pad(lungs, 1)
    z, y, x = (stride // deep.itemsize for stride in deep.strides)
    number = np.zeros(deep.size, np.int32)
    number[deep.reshape(-1)] = np.arange(1, len(posterior[0]) + 1, dtype=np.int32)
    for steps in _SHELL_LAYERS:
        flat = deep.reshape(-1)
        kept = flat.copy()
        offsets = [sign * step for step in (x, y, z)[:steps] for sign in (1, -1)]
        for step in (x, y, z)[:steps]:
            kept[:-step] &= flat[step:]
            kept[step:] &= flat[:-step]
        layers.append((np.flatnonzero(flat & ~kept), offsets))
        deep = kept.reshape(deep.shape)
    # The number of the lung voxel whose posterior every voxel takes; 0 where that is not known.
    source = np.where(deep.reshape(-1), number, 0)
    shell = np.zeros(len(posterior[0]), bool)
    for voxels, offsets in reversed(layers):
        found = np.zeros(len(voxels), np.int32)
        for offset in reversed(offsets):
            deeper = source[voxels + offset]
            found = np.where(deeper > 0, deeper, found)
        source[voxels] = found
        shell[number[voxels[found > 0]] - 1] = True
    beneath = source[number > 0][shell] - 1
    for field in posterior:
        field[shell] = field[beneath]
    return shell
