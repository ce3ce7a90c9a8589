"""Great vessels beside a mass: the descending aorta by its shape, others where they read unlike the mass.

Without contrast a tumour on the aorta reads like blood, and no border parts them. But the aorta goes on
above and below: in every section a disc of soft tissue with lung and fat on most sides, hardly moved from one
section to the next, also where a mass touches it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shapes import COARSE_MM, Mask, eroded, opened, reaching

RADII_MM = (10.0, 11.25, 12.5, 13.75, 15.0)
"""Half the width of a descending aorta: 20 to 30 mm."""

RIGHT_MM, LEFT_MM = 5.0, 60.0
FRONT_MM, BACK_MM = 10.0, 80.0
"""Its middle lies so near to that of the chest, and to the row of the lungs' middle."""

SOFT_HU = (5.0, 140.0)
SMOOTH_MM, HU_RANGE = 1.5, (-150.0, 250.0)

BLOOD_HU, APART_HU = (0.0, 400.0), 12.0
"""Without contrast blood and a mass differ by 5 to 20 HU, less than the noise of a voxel."""

HEART_MM, HEART_SHARES, VESSEL_MM = 12.5, (0.35, 0.65), COARSE_MM
"""Heart and great vessels are what is thicker than 25 mm between the lungs, half-way up."""

BAND_MM, RIM_MM = 1.25, 3.75
LEAST_SCORE, LEAST_MEAN, FREE_SCORE, LEAST_MM = 0.5, 0.65, 0.75, 75.0
"""In two patients with masses on the left of the mediastinum the mean is 0.71 to 0.82 over 130 to 160 mm, a
mass around a third of the aorta included; in a third one, whose mass lies on the right, 0.64."""


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


def like_blood(hu: NDArray[np.float32], lungs: Mask, core: Mask) -> Mask:
    """Tissue that reads like the heart rather than the core of a mass, and goes on into the heart.

    Args:
        hu: float32 coarse (z, y, x).
        lungs: both lungs.
        core: a part of the mass.

    Returns:
        bool (z, y, x), nothing where heart and mass differ by less than :data:`APART_HU`.
    """
    from scipy.ndimage import uniform_filter

    first = np.logical_or.accumulate(lungs, axis=2)
    last = np.flip(np.logical_or.accumulate(np.flip(lungs, 2), axis=2), 2)
    firm = (hu > BLOOD_HU[0]) & (hu < BLOOD_HU[1]) & ~lungs
    heart = eroded(firm & first & last, HEART_MM)
    low, high = (round(share * len(heart)) for share in HEART_SHARES)
    heart[:low], heart[high:] = False, False
    soft = firm & (hu < SOFT_HU[1])
    if not heart.any() or not (core & soft).any():
        return np.zeros_like(core)
    blood, disease = (float(np.median(hu[mask])) for mask in (heart, core & soft))
    if abs(blood - disease) < APART_HU:
        return np.zeros_like(core)
    mean = uniform_filter(np.where(soft, hu, 0), 5) / uniform_filter(soft.astype(np.float32), 5).clip(0.01)
    return reaching(heart, opened(soft & (np.abs(mean - blood) < np.abs(mean - disease)), VESSEL_MM))


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
