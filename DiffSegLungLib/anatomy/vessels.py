"""Vessels, airway walls and hila inside the lungs: bright tubes, told from blobs, plates and dense tissue.

Second derivatives at several scales, as in Frangi et al. 1998 ("Multiscale vessel enhancement filtering") and
Sato et al. 1998: across a bright tube the intensity falls to two sides (two strongly negative eigenvalues of
the Hessian), across a plate (septum, fissure, border of a consolidation) to one, from a nodule to three. They
are evaluated only where tissue is dense enough to be a vessel, a few percent of the lung. A fact of anatomy
tells what derivatives cannot: vessels fill little of the outer lung, reticulation and patchy consolidation
much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import bounding_box

Mask = NDArray[np.bool_]
Spacing = Sequence[float]

LEAST_HU = -500.0
ABOVE_PARENCHYMA_HU = 200.0
FINE_SCALES_MM = (1.0, 1.75)
WIDE_SCALES_MM = (3.0, 5.0, 8.0)
"""Standard deviations of the Gaussians; a tube of radius r answers most at about r/1.4."""

WIDEST_TUBE_MM = 5.0

CONTRAST_HU = 70.0
"""Least mean of the two negative eigenvalues, times sigma²."""

PLATE_RATIO = 0.4
"""Least ratio of the two negative eigenvalues: 0 in a plate, 1 in a tube."""

BLOB_RATIO = 0.5
"""Largest ratio of the third eigenvalue to the second: 0 in a tube, 1 in a sphere."""

BLOB_REACH = 2.2
"""A sphere reaches this many standard deviations from its centre; at its border it looks like a tube."""

THICK_MM = 9.0
"""No vessel within the lungs has this radius: what is thicker is disease."""

LENGTH_MM = 12.0
CROWDED_AT_WALL, CROWDED_PER_MM = 0.10, 0.011
"""Share of dense tissue around a vessel, at most: at the chest wall, and more per mm away from it."""


def vessel_mask(hu: NDArray[np.float32], lungs: Mask, spacing_zyx: Spacing) -> Mask:
    """Mark vessels, airway walls and hila within the lungs.

    Args:
        hu: float32 (z, y, x), the CT in HU; z is the craniocaudal axis.
        lungs: bool (z, y, x), solid lungs.
        spacing_zyx: mm between voxels; meant for the canonical 2 × 1 × 1 mm.

    Returns:
        bool (z, y, x), within ``lungs``.
    """
    vessels = np.zeros(hu.shape, bool)
    if not lungs.any():
        return vessels
    box = bounding_box(lungs, 2)
    inside = lungs[box]
    # Contrast medium and bone must not outshine what lies beside them.
    clipped = np.clip(hu[box], -1000.0, 100.0)
    dense = inside & (clipped > LEAST_HU)
    dense &= clipped > _parenchyma(clipped, inside, spacing_zyx) + ABOVE_PARENCHYMA_HU
    depth = _depth_mm(inside, spacing_zyx)
    allowed = dense & (_crowding(dense, inside, spacing_zyx) <= CROWDED_AT_WALL + CROWDED_PER_MM * depth)
    tubes = _tubes(clipped, allowed, dense, spacing_zyx)
    vessels[box] = _long_ones(tubes, allowed, spacing_zyx)
    return vessels


def _parenchyma(hu: NDArray[np.float32], lungs: Mask, spacing_zyx: Spacing) -> NDArray[np.float32]:
    """Mean HU of the lung tissue around every voxel (Gaussian, 8 mm); dense voxels count as -500 HU."""
    from scipy.ndimage import gaussian_filter

    step = [max(1, round(4.0 / s)) for s in spacing_zyx]
    every = tuple(slice(None, None, s) for s in step)
    sigma = [8.0 / (s * n) for s, n in zip(spacing_zyx, step, strict=True)]
    weight = lungs[every].astype(np.float32)
    total = gaussian_filter(np.minimum(hu[every], LEAST_HU) * weight, sigma)
    weight = gaussian_filter(weight, sigma)
    mean = np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), -850.0).astype(np.float32)
    return _spread(mean, step, hu.shape)


def _spread(array: NDArray[Any], step: Sequence[int], shape: tuple[int, ...]) -> NDArray[Any]:
    """Repeat every voxel of a coarse array, so that it covers a fine one."""
    for axis, n in enumerate(step):
        array = np.repeat(array, n, axis) if n > 1 else array
    return np.ascontiguousarray(array[: shape[0], : shape[1], : shape[2]])


def _depth_mm(lungs: Mask, spacing_zyx: Spacing) -> NDArray[np.float32]:
    """In-plane distance from the chest wall; the mediastinum between the lungs counts as inside."""
    from scipy.ndimage import distance_transform_edt

    step = [1, *(max(1, round(2.0 / s)) for s in spacing_zyx[1:])]
    chest = lungs[:, :: step[1], :: step[2]]
    spans = [
        np.logical_or.accumulate(chest, axis=axis)
        & np.flip(np.logical_or.accumulate(np.flip(chest, axis), axis=axis), axis)
        for axis in (1, 2)
    ]
    sampling = [s * n for s, n in zip(spacing_zyx[1:], step[1:], strict=True)]
    depth = np.zeros(chest.shape, np.float32)
    for k, section in enumerate(spans[0] | spans[1]):
        depth[k] = distance_transform_edt(np.pad(section, 1), sampling=sampling)[1:-1, 1:-1]
    return _spread(depth, step, lungs.shape)


def _crowding(dense: Mask, lungs: Mask, spacing_zyx: Spacing) -> NDArray[np.float32]:
    """Share of dense tissue in the lung within a box of 14 mm."""
    from scipy.ndimage import uniform_filter

    step = [max(1, round(2.0 / s)) for s in spacing_zyx]
    size = [max(1, round(14.0 / (s * n))) for s, n in zip(spacing_zyx, step, strict=True)]
    part = [_block_mean(a.astype(np.float32), step) for a in (dense, lungs)]
    within, room = (uniform_filter(a, size, mode="constant") for a in part)
    return _spread(within / np.maximum(room, 1e-3), step, dense.shape)


def _block_mean(array: NDArray[Any], step: Sequence[int]) -> NDArray[Any]:
    """Means of blocks of voxels; the last block of an axis may be cut short."""
    for axis, n in enumerate(step):
        if n > 1:
            line = np.moveaxis(array, axis, 0)
            total, count = line[::n].copy(), np.ones(-(-len(line) // n), np.float32)
            for part in (line[i::n] for i in range(1, n)):
                total[: len(part)] += part
                count[: len(part)] += 1
            total /= count[:, None, None]
            array = np.moveaxis(total, 0, axis)
    return np.ascontiguousarray(array)


def _tubes(hu: NDArray[np.float32], candidates: Mask, dense: Mask, spacing_zyx: Spacing) -> Mask:
    """Candidates that are tubes at the scale at which they stand out most, away from blobs and thick bodies.

    The wide scales are evaluated on cubes of about 2 mm.
    """
    step = [max(1, round(2.0 / s)) for s in spacing_zyx]
    coarse_mm = [s * n for s, n in zip(spacing_zyx, step, strict=True)]
    coarse_hu = _block_mean(hu, step)

    at = np.flatnonzero(candidates)
    response, tube, blob_mm = _strongest(hu, at, FINE_SCALES_MM, spacing_zyx)
    parents = [i // n for i, n in zip(np.unravel_index(at, hu.shape), step, strict=True)]
    places, parent_of = np.unique(np.ravel_multi_index(parents, coarse_hu.shape), return_inverse=True)
    wide_response, wide_tube, wide_blob_mm = _strongest(coarse_hu, places, WIDE_SCALES_MM, coarse_mm)
    wider = wide_response[parent_of] > response
    tube = np.where(wider, wide_tube[parent_of], tube)

    # Where a blob stands out at any wide scale, or at a fine one that is the strongest.
    blobs = np.zeros(coarse_hu.shape, np.float32)
    np.maximum.at(blobs.ravel(), places[parent_of], np.where(wider, 0, blob_mm))
    blobs.ravel()[places] = np.maximum(blobs.ravel()[places], wide_blob_mm)
    body = _thick(_block_mean(dense.astype(np.float32), step) >= 0.5, coarse_mm)
    for sigma in np.unique(blobs[blobs > 0]):
        body |= _within(blobs == sigma, BLOB_REACH * float(sigma), coarse_mm)
    tube &= ~body.ravel()[places[parent_of]]

    found = np.zeros(candidates.shape, bool)
    found.ravel()[at] = tube
    return found


def _thick(dense: Mask, spacing_zyx: Spacing) -> Mask:
    """Dense bodies in which a ball of :data:`THICK_MM` fits, with their border."""
    core = ~_within(~dense, THICK_MM, spacing_zyx)
    return _within(core, 1.5 * THICK_MM, spacing_zyx)


def _within(mask: Mask, mm: float, spacing_zyx: Spacing) -> Mask:
    """Voxels at most so far from a mask."""
    import SimpleITK as sitk

    if not mask.any():
        return mask
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    image.SetSpacing([float(s) for s in spacing_zyx[::-1]])
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.asarray(sitk.GetArrayViewFromImage(distance) <= mm)


def _strongest(
    hu: NDArray[np.float32], at: NDArray[np.int64], scales_mm: Sequence[float], spacing_zyx: Spacing
) -> tuple[NDArray[np.float32], Mask, NDArray[np.float32]]:
    """Strongest response over scales at flat indices (HU); is it a tube's; if a blob's, of which scale."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(hu)
    image.SetSpacing([float(s) for s in spacing_zyx[::-1]])
    strongest = np.full(at.size, CONTRAST_HU, np.float32)
    tube = np.zeros(at.size, bool)
    blob_mm = np.zeros(at.size, np.float32)
    for sigma in scales_mm:
        smoothed = sitk.SmoothingRecursiveGaussian(image, sigma)
        smooth = sitk.GetArrayViewFromImage(smoothed)
        low, middle, high = _eigenvalues(_hessian(smooth, at, sigma, spacing_zyx))
        response = -(low + middle) / 2
        better = response > strongest
        is_tube = (middle < PLATE_RATIO * low) & (high > BLOB_RATIO * middle) & (sigma <= WIDEST_TUBE_MM)
        tube[better] = is_tube[better]
        blob_mm[better] = np.where(high < BLOB_RATIO * low, sigma, 0)[better]
        strongest[better] = response[better]
    return strongest, tube, blob_mm


def _hessian(
    smooth: NDArray[np.float32], at: NDArray[np.int64], sigma_mm: float, spacing_zyx: Spacing
) -> list[NDArray[np.float32]]:
    """Second differences zz, yy, xx, zy, zx, yx at flat indices, times sigma²: HU, comparable over scales."""
    flat = smooth.ravel()
    steps = (smooth.shape[1] * smooth.shape[2], smooth.shape[2], 1)

    def value(offset: int) -> NDArray[np.float32]:
        return flat.take(at + offset, mode="clip")

    centre = value(0)
    second = [
        (value(s) + value(-s) - 2 * centre) * np.float32((sigma_mm / d) ** 2)
        for s, d in zip(steps, spacing_zyx, strict=True)
    ]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        plus, minus = steps[a] + steps[b], steps[a] - steps[b]
        mixed = (value(plus) + value(-plus) - value(minus) - value(-minus)) / 4
        second.append(mixed * np.float32(sigma_mm**2 / (spacing_zyx[a] * spacing_zyx[b])))
    return second


def _eigenvalues(h: list[NDArray[np.float32]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Eigenvalues of symmetric 3 × 3 matrices, ascending, in closed form (Smith 1961)."""
    zz, yy, xx, zy, zx, yx = (a.astype(np.float64) for a in h)
    mean = (zz + yy + xx) / 3
    zz, yy, xx = zz - mean, yy - mean, xx - mean
    p = np.sqrt((zz**2 + yy**2 + xx**2 + 2 * (zy**2 + zx**2 + yx**2)) / 6)
    half_det = (zz * (yy * xx - yx**2) - zy * (zy * xx - yx * zx) + zx * (zy * yx - yy * zx)) / 2
    angle = np.arccos(np.clip(half_det / np.maximum(p**3, 1e-12), -1, 1)) / 3
    high = mean + 2 * p * np.cos(angle)
    low = mean + 2 * p * np.cos(angle + 2 * np.pi / 3)
    return low, 3 * mean - high - low, high


def _long_ones(tubes: Mask, dense: Mask, spacing_zyx: Spacing) -> Mask:
    """Tubes that stretch far enough, widened to the dense tissue that touches them."""
    from scipy.ndimage import find_objects, generate_binary_structure, label

    labels, count = label(tubes, structure=generate_binary_structure(3, 3))
    keep = np.zeros(count + 1, bool)
    for number, part in enumerate(find_objects(labels), start=1):
        extent = [(s.stop - s.start) * d for s, d in zip(part, spacing_zyx, strict=True)]
        keep[number] = float(np.linalg.norm(extent)) >= LENGTH_MM
    wide = keep[labels]
    for axis in range(3):
        line = np.moveaxis(wide, axis, 0)
        before = line.copy(order="K")
        line[1:] |= before[:-1]
        line[:-1] |= before[1:]
    return np.asarray(wide & dense)
