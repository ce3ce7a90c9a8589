"""How probable a voxel's HU is in every tissue, relative to the patient's own healthy lung (method.md 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from .aeration import FULL_INSPIRATION_HU
from .tissues import TISSUES

if TYPE_CHECKING:
    from .aeration import Aeration

Field = NDArray[np.float32]

HU_BINS = np.arange(-1060.0, 260.0, 4.0, dtype=np.float32)
"""HU at which the densities are tabulated."""

AIR_HU = -970.0
"""What an emphysematous hole reads where nothing else is averaged in."""

MOSTLY_AIR = 0.6
"""A voxel counts as a hole up to this share of the way from air to the patient's healthy lung, or to lung at
full inspiration where the patient's is denser."""

NOISE_LEFT = 0.4
"""Share of the CT's noise that the smoothing of 1 mm leaves."""

_EDGE_HU = 10.0
_SQRT_2PI = np.float32(np.sqrt(2 * np.pi))


def voxel_likelihood(
    smooth: Field, lungs: NDArray[np.bool_], side: NDArray[np.uint8], aeration: Aeration
) -> list[Field]:
    """log p(HU|tissue) of every lung voxel (m,) float32, one array a tissue."""
    table = hu_likelihood(aeration, lungs.shape[1])
    y = np.broadcast_to(np.arange(lungs.shape[1])[None, :, None], lungs.shape)[lungs]
    step = HU_BINS[1] - HU_BINS[0]
    bins = np.clip((smooth[lungs] - HU_BINS[0]) / step, 0, len(HU_BINS) - 1).astype(np.intp)
    lung = side[lungs]
    return [rows[lung, y, bins] for rows in table]


def hu_likelihood(aeration: Aeration, depth: int) -> NDArray[np.float32]:
    """log p(smoothed HU | tissue), a table (5, side, y, HU bin) float32 relative to the healthy level there.

    Every density is a small Gaussian mixture, wide enough for the noise that the smoothing leaves. Healthy
    lung has a tail of small vessels; fibrosis has lines, hazy lung between them, and cysts. Emphysema is air,
    or a voxel of which air fills a good part: small holes are blurred.
    """
    from scipy.special import ndtr

    level = aeration.rows(depth)[:, :, None]
    hu = HU_BINS + np.float32(2.0)
    noise = NOISE_LEFT * aeration.noise_hu

    def normal(mean: Field | float, sd: float, at: Field = hu) -> Field:
        width = np.float32(np.hypot(sd, noise))
        return np.asarray(np.exp(-0.5 * ((at - mean) / width) ** 2) / width, np.float32)

    air = normal(AIR_HU, 20.0, np.maximum(hu, AIR_HU))
    blur = np.hypot(_EDGE_HU, noise)
    # Beside dense lung in a shallow breath, what is merely darker is trapped air.
    span = MOSTLY_AIR * (np.minimum(level, FULL_INSPIRATION_HU) - AIR_HU)
    mixed = _SQRT_2PI * (ndtr((hu - AIR_HU) / blur) - ndtr((hu - AIR_HU - span) / blur)) / span
    holes = (air + mixed) / 2
    soft = normal(0.0, 90.0, np.minimum(hu, 0))
    hazy = normal(np.minimum(level + 240, -520), 100.0)
    densities = {
        HEALTHY: 0.55 * normal(level, 35.0)
        + 0.25 * normal(level + 110, 80.0)
        + 0.20 * normal(level + 350, 250.0),
        EMPHYSEMA: 0.92 * holes + 0.05 * normal(level, 60.0) + 0.03 * normal(level + 200, 200.0),
        GROUND_GLASS: 0.9 * hazy + 0.1 * normal(-350.0, 250.0),
        FIBROSIS: 0.25 * normal(level + 40, 60.0)
        + 0.5 * hazy
        + 0.25 * normal(level + 450, 200.0)
        + 0.1 * normal(-940.0, 50.0),
        CONSOLIDATION: 0.9 * soft + 0.1 * normal(-250.0, 150.0),
    }
    rows = [np.log(np.broadcast_to(densities[t], (3, depth, len(HU_BINS))) + 1e-6) for t in TISSUES]
    return np.stack(rows).astype(np.float32)
