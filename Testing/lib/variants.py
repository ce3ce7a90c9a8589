"""The same chest on other grids: what a scanner, a PACS or a research pipeline may have made of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from DiffSegLungLib.io.ct import CT
from DiffSegLungLib.io.geometry import Geometry, resample

AIR_HU = -1024


def flipped(image: sitk.Image) -> sitk.Image:
    """Every axis stored the other way round, same place in the world."""
    return sitk.Flip(image, [True, True, True])


def permuted(image: sitk.Image) -> sitk.Image:
    """Sagittal storage: axes in another order, same place in the world."""
    return sitk.PermuteAxes(image, [2, 0, 1])


def cropped(image: sitk.Image) -> sitk.Image:
    """Ten voxels less on each side in the plane."""
    return sitk.Crop(image, [10, 10, 0], [10, 10, 0])


def oblique(image: sitk.Image) -> sitk.Image:
    """Resampled on a grid turned by 30° about two axes, large enough to hold everything."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(math.radians(30), math.radians(30), 0.0)
    rotation = np.asarray(turn.GetMatrix()).reshape(3, 3)
    geometry = Geometry.of(image)
    spacing = np.minimum(geometry.spacing, 1.25 * min(geometry.spacing))
    corners = np.array(
        [
            geometry.world([z, y, x])
            for z in (0, geometry.shape[0] - 1)
            for y in (0, geometry.shape[1] - 1)
            for x in (0, geometry.shape[2] - 1)
        ]
    )
    along = corners @ rotation  # coordinates in the turned axes
    low, high = along.min(axis=0), along.max(axis=0)
    size = [int(n) for n in np.ceil((high - low) / spacing) + 1]
    return _onto(image, size, [float(s) for s in spacing], rotation @ low, rotation)


def respaced(spacing: tuple[float, float, float]) -> Callable[[sitk.Image], sitk.Image]:
    """Resampled to another spacing (x, y, z) in mm; thick slices are averages, as a scanner makes them."""

    def resampled(image: sitk.Image) -> sitk.Image:
        source = Geometry.of(image)
        extent = np.asarray(source.size) * np.asarray(source.spacing)
        size = np.maximum(1, np.floor(extent / np.asarray(spacing))).astype(int)
        matrix = np.asarray(source.direction).reshape(3, 3)
        shift = (np.asarray(spacing) - np.asarray(source.spacing)) / 2
        target = Geometry(
            (int(size[0]), int(size[1]), int(size[2])),
            spacing,
            tuple(float(v) for v in np.asarray(source.origin) + matrix @ shift),  # type: ignore[arg-type]
            source.direction,
        )
        hu = resample(
            sitk.GetArrayFromImage(image).astype(np.float32), source, target, order="linear", fill=AIR_HU
        )
        return CT(hu.round().astype(np.int16), target).to_image()

    return resampled


VARIANTS: dict[str, Callable[[sitk.Image], sitk.Image]] = {
    "flipped": flipped,
    "permuted": permuted,
    "cropped": cropped,
    "oblique 30° about two axes": oblique,
    "0.6 × 0.6 × 0.6 mm": respaced((0.6, 0.6, 0.6)),
    "0.6 × 0.6 × 5 mm": respaced((0.6, 0.6, 5.0)),
    "1 × 1 × 10 mm": respaced((1.0, 1.0, 10.0)),
}


def dice_by_class(
    straight: NDArray[np.uint8], other: NDArray[np.uint8], voxel_ml: float, least_ml: float = 1.0
) -> dict[int, float]:
    """Dice of every class that has at least ``least_ml`` in the straight run."""
    found = {}
    for label in range(1, 8):
        a, b = straight == label, other == label
        if a.sum() * voxel_ml >= least_ml:
            found[label] = float(2 * (a & b).sum() / (a.sum() + b.sum()))
    return found


def _onto(
    image: sitk.Image,
    size: list[int],
    spacing: list[float],
    origin: NDArray[np.float64],
    rotation: NDArray[np.float64],
) -> sitk.Image:
    return sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkBSpline,  # linear interpolation would take part of the noise away, and with it the texture
        [float(v) for v in origin],
        spacing,
        [float(v) for v in rotation.ravel()],
        float(AIR_HU),
        image.GetPixelID(),
    )
