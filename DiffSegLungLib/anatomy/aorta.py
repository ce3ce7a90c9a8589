"""The descending aorta beside the left lung: an upright tube, followed also where a mass touches it.

Without contrast a tumour on the aorta reads like blood, and no border parts them. But the aorta goes on
above and below: in every section a disc of soft tissue with lung and fat on most sides, hardly moved from one
section to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shapes import COARSE_MM, Mask

RADII_MM = (10.0, 11.25, 12.5, 13.75, 15.0)
"""Half the width of a descending aorta: 20 to 30 mm."""

RIGHT_MM, LEFT_MM = 5.0, 60.0
FRONT_MM, BACK_MM = 10.0, 80.0
"""Its middle lies so near to that of the chest, and to the row of the lungs' middle."""

SOFT_HU = (5.0, 140.0)
SMOOTH_MM, HU_RANGE = 1.5, (-150.0, 250.0)

BAND_MM, RIM_MM = 1.25, 3.75
LEAST_SCORE, LEAST_MEAN, FREE_SCORE, LEAST_MM = 0.5, 0.65, 0.75, 75.0
"""In three patients with masses on the mediastinum 0.72 to 0.82 over 130 to 160 mm, a mass around a third of
it included."""


def descending_aorta(hu: NDArray[np.float32], lungs: Mask, middle: int, behind: int) -> Mask:
    """The descending aorta, one disc a section, less the outermost 3.75 mm where it is not free.

    Args:
        hu: float32 coarse (z, y, x), to superior, posterior and left.
        lungs: both lungs.
        middle: twice the column of the middle of the chest.
        behind: the row of the lungs' middle.

    Returns:
        bool (z, y, x), nothing where no such tube is found.
    """
    from scipy.ndimage import gaussian_filter

    found = np.zeros(hu.shape, bool)
    smooth = gaussian_filter(np.clip(hu, *HU_RANGE), SMOOTH_MM / COARSE_MM)
    # Bone around the spinal canal is no surroundings of an aorta.
    firm = (smooth > SOFT_HU[0]) & ~lungs
    soft = firm & (smooth < SOFT_HU[1])
    rows = slice(max(0, behind - round(FRONT_MM / COARSE_MM)), behind + round(BACK_MM / COARSE_MM))
    columns = slice(max(0, round(middle / 2 - RIGHT_MM / COARSE_MM)), round(middle / 2 + LEFT_MM / COARSE_MM))
    best = _Tube(0.0, slice(0, 0), np.zeros((0, 2), int), np.zeros(0, np.float32), 0.0)
    for radius in RADII_MM:
        best = max(
            best, _upright(_disc_scores(soft, firm, rows, columns, radius), radius), key=lambda t: t.gain
        )
    length_mm = (best.sections.stop - best.sections.start) * COARSE_MM
    if length_mm < LEAST_MM or best.gain < (LEAST_MEAN - LEAST_SCORE) * length_mm / COARSE_MM:
        return found
    y, x = np.ogrid[: hu.shape[1], : hu.shape[2]]
    centres = best.centres + np.array([rows.start, columns.start])
    # A mass that touches the aorta may dent it.
    radii = best.radius_mm - RIM_MM * (best.scores < FREE_SCORE)
    for section, (row, column), radius in zip(found[best.sections], centres, radii, strict=True):
        section[:] = np.hypot(y - row, x - column) * COARSE_MM <= radius
    return found


@dataclass(frozen=True)
class _Tube:
    """The best part of an upright tube.

    Attributes:
        gain: by how much its scores exceed :data:`LEAST_SCORE`, summed over its sections.
        sections: where it begins and ends.
        centres: row and column in each of them.
        scores: of each of them.
        radius_mm: half its width.
    """

    gain: float
    sections: slice
    centres: NDArray[np.int64]
    scores: NDArray[np.float32]
    radius_mm: float


def _disc_scores(soft: Mask, firm: Mask, rows: slice, columns: slice, radius: float) -> NDArray[np.float32]:
    """How much more of a disc is soft than of the band around it is firm, by the centre of the disc.

    1 is a disc of soft tissue in lung and fat, 0 the middle of a large organ.
    """
    from scipy.ndimage import correlate

    reach = int(np.ceil((radius + 3 * BAND_MM) / COARSE_MM))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    away = np.hypot(y, x) * COARSE_MM
    disc = (away <= radius - BAND_MM).astype(np.float32)
    band = ((away > radius + BAND_MM) & (away <= radius + 3 * BAND_MM)).astype(np.float32)
    inner, near = [], []
    for axis, part in ((1, rows), (2, columns)):
        start = max(0, part.start - reach)
        near.append(slice(start, part.stop + reach))
        stop = min(part.stop, soft.shape[axis])
        inner.append(slice(part.start - start, stop - start))
    box, within = (slice(None), *near), (slice(None), *inner)
    within_disc, around = (
        correlate(mask[box].astype(np.float32), (kernel / kernel.sum())[None], mode="nearest")[within]
        for mask, kernel in ((soft, disc), (firm, band))
    )
    return np.asarray(within_disc - around)


def _upright(scores: NDArray[np.float32], radius_mm: float) -> _Tube:
    """The way up whose scores sum to most, at most one voxel aside from section to section.

    Found by dynamic programming (Viterbi 1967); of it, the sections that gain most (Bentley 1984).
    """
    from scipy.ndimage import maximum_filter

    total = scores.copy()
    for z in range(1, len(total)):
        total[z] += maximum_filter(total[z - 1], 3, mode="nearest")
    centres = np.empty((len(scores), 2), np.int64)
    centres[-1] = np.unravel_index(total[-1].argmax(), total[-1].shape)
    for z in range(len(scores) - 2, -1, -1):
        first = np.maximum(centres[z + 1] - 1, 0)
        near = total[z, first[0] : centres[z + 1, 0] + 2, first[1] : centres[z + 1, 1] + 2]
        centres[z] = first + np.unravel_index(near.argmax(), near.shape)
    along = scores[np.arange(len(scores)), centres[:, 0], centres[:, 1]]
    summed = np.append(0.0, np.cumsum(along - LEAST_SCORE))
    lowest = np.minimum.accumulate(summed)
    end = int((summed - lowest).argmax())
    start = int(summed[: end + 1].argmin())
    part = slice(start, end)
    return _Tube(float(summed[end] - summed[start]), part, centres[part], along[part], radius_mm)
