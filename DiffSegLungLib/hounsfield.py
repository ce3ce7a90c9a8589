"""Are these voxel values Hounsfield units, and which of them are only padding?"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

PADDING_BELOW = -1500
AIR = -1024


def without_padding(hu: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Turn padding into air; returns the array (changed in place) and a note for the user, if any.

    Values below -1500 HU exist in no tissue: scanners write -2000, -2048 or -3024 outside their circular
    field of view. Noise of real air stays above, so that the air offset can still be measured.
    """
    count = 0
    for part in hu:
        padding = part < PADDING_BELOW
        count += int(padding.sum())
        part[padding] = AIR
    if not count:
        return hu, ()
    return hu, (f"{100 * count / hu.size:.1f} % of the voxels were padding and were read as air.",)
