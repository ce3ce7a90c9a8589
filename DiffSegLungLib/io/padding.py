"""Padding of a CT: what scanners and resampling tools write where nothing was scanned, read as air."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

AIR = -1024
PADDING_BELOW = -1500
"""No tissue and no noise of air reaches -1500 HU; scanners write -2000, -2048, -3024 outside their circle."""

AIR_RANGE_HU, NOISY_AIR_RANGE_HU = (-1050, -970), (-1150, -850)
"""Padding of one value in the first range is air already; in the second, flat pieces may be real air."""

BLOCK = 4
FLAT_HU = 10
"""Padding that a lossy step touched has noise of a few HU. Few blocks of 4 x 4 pixels of tissue span so few,
also in the softest kernels, and never many side by side."""

LEAST_VOXELS, LEAST_FLAT_BLOCKS = 100, 64


def pad_with_air(hu: NDArray[Any]) -> int:
    """Turn padding into air, in place.

    Padding is what lies below any real value, and what fills corners of the slices with one constant, or
    nearly constant, value: outside a circular field of view, outside a rotated volume, beside a narrower one.

    Args:
        hu: (z, y, x), int16 or float32, in HU.

    Returns:
        How many voxels were padding.
    """
    count = _pad_below(hu)
    for _ in range(
        len(hu) + 3
    ):  # noisy padding is found one value at a time, and each slice may have its own
        found = _pad_flat(hu)
        if not found:
            break
        count += found
    return count


def _pad_below(hu: NDArray[Any]) -> int:
    count = 0
    for part in hu:
        padding = part < PADDING_BELOW
        count += int(padding.sum())
        part[padding] = AIR
    return count


def _pad_flat(hu: NDArray[Any]) -> int:
    """Turn the flat pieces that reach an edge of the volume into air; returns how many voxels.

    The complement of a convex field of view reaches an edge with each of its pieces. Blocks of 4 x 4 pixels
    keep the search small.
    """
    from scipy.ndimage import binary_dilation, label

    values, spread = _flat_values(hu)
    if not values.size:
        return 0
    low, high = _extremes(hu)
    if spread:
        flat = (low >= values[0] - spread) & (high <= values[0] + spread) & (high - low <= FLAT_HU)
    else:
        flat = (low == high) & np.isin(low, values)
    pieces, _ = label(flat)
    sizes = np.bincount(pieces.ravel())
    touching = np.unique(pieces[edges(flat.shape)])
    least = LEAST_VOXELS / BLOCK**2 if spread == 0 else LEAST_FLAT_BLOCKS
    touching = touching[(touching > 0) & (sizes[touching] >= least)]
    rows, columns = (
        np.minimum(np.arange(n) // BLOCK, m - 1) for n, m in zip(hu.shape[1:], flat.shape[1:], strict=True)
    )
    count = 0
    for part, seeds, least_of in zip(hu, np.isin(pieces, touching), low, strict=True):
        if not seeds.any():
            continue
        # Back to voxels: from the blocks along equal ones to the rim of the circle, however thin the sliver;
        # but where noise blurs what is equal, no farther than the next block.
        if not spread:
            equal = np.isin(part, np.unique(least_of[seeds]))
        else:
            equal = np.abs(part - np.float32(values[0])) <= spread
            equal &= binary_dilation(seeds, np.ones((3, 3), bool))[np.ix_(rows, columns)]
        parts, _ = label(equal)
        reached = np.zeros(int(parts.max()) + 1, bool)
        reached[parts[seeds[np.ix_(rows, columns)]]] = True
        reached[0] = False
        padding = reached[parts]
        count += int(padding.sum())
        part[padding] = AIR
    return count


def _flat_values(hu: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """What flat blocks on the volume's edges hold, and how far its noise reaches.

    Without noise all values, since each slice may have its own; with noise the most frequent one.
    """
    depth = len(hu)
    corners = [
        (y, x)
        for y in (slice(None, BLOCK), slice(-BLOCK, None))
        for x in (slice(None, BLOCK), slice(-BLOCK, None))
    ]
    ends = _extremes(hu[[0, depth - 1]])
    rim = edges(ends[0].shape)
    low = np.concatenate([ends[0][rim], *(hu[:, y, x].min(axis=(1, 2)) for y, x in corners)]).astype(
        np.float64
    )
    high = np.concatenate([ends[1][rim], *(hu[:, y, x].max(axis=(1, 2)) for y, x in corners)]).astype(
        np.float64
    )
    exact = (high == low) & ((low < AIR_RANGE_HU[0]) | (low > AIR_RANGE_HU[1]))
    if exact.any():
        return np.unique(low[exact]), 0.0
    middle = (low + high) / 2
    flat = (high - low <= FLAT_HU) & ((middle < NOISY_AIR_RANGE_HU[0]) | (middle > NOISY_AIR_RANGE_HU[1]))
    if not flat.any():
        return np.empty(0), 0.0
    values, counts = np.unique(np.rint(middle[flat]), return_counts=True)
    value = float(values[np.argmax(counts)])
    near = flat & (np.abs(middle - value) <= 2.0)
    # The range of 16 normal values is 3.5 standard deviations on average; all but one in 10,000 lie within 4.
    return np.array([value]), max(1.0, 4.0 * float((high - low)[near].mean()) / 3.5)


def _extremes(hu: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lowest and highest value of every block; the last ones of a row and a column take what is left."""
    rows, columns = (np.arange(0, max(1, n - BLOCK + 1), BLOCK) for n in hu.shape[1:])
    low = np.empty((len(hu), rows.size, columns.size), hu.dtype)
    high = np.empty_like(low)
    for part, least, most in zip(hu, low, high, strict=True):
        least[...] = np.minimum.reduceat(np.minimum.reduceat(part, rows, axis=0), columns, axis=1)
        most[...] = np.maximum.reduceat(np.maximum.reduceat(part, rows, axis=0), columns, axis=1)
    return low, high


def edges(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The twelve edges of a box: what lies at an end of at least two of its axes."""
    ends = np.zeros(shape, np.uint8)
    for axis in range(3):
        for end in (0, -1):
            np.moveaxis(ends, axis, 0)[end] += 1
    return np.asarray(ends >= 2)
