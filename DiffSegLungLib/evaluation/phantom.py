"""A generated chest CT with lesions of every class and exact truth: demo and tests need no patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..classes import HEALTHY, VESSEL
from ..ct import CT, Geometry
from ..errors import InputError
from .chest import AIR, HILA, Chest, build_chest
from .lesions import KINDS, insert_lesion
from .noise import Noise
from .patterns import Family
from .textures import Field, Grid, spline_field
from .trees import Tree, grow, occupancy

Size = Literal["small", "standard"]

# Shape (z, y, x), spacing in mm, and the height in mm of the lowest slice in the chest's own coordinates.
_SIZES: dict[str, tuple[tuple[int, int, int], tuple[float, float, float], float]] = {
    "small": ((124, 160, 160), (2.0, 2.2, 2.2), -126.0),
    "standard": ((160, 256, 256), (2.0, 1.4, 1.4), -165.0),
}
_BLOOD_HU, _WALL_HU = 40.0, 10.0
# From which share of tissue a voxel reads above -500 HU, the class table's limit for vessels.
_VESSEL_SHARE = 0.4

# Kind, intended volume in ml, where in the chest (z, y, x in -1..1 of the lung's extent; side 1 right, 2
# left).
_LESIONS: tuple[tuple[str, float, tuple[float, float, float], int], ...] = (
    ("consolidation", 75.0, (-0.55, 0.6, 0.3), 1),
    ("ground_glass", 70.0, (-0.1, -0.2, 0.7), 2),
    ("ground_glass", 45.0, (0.15, 0.7, 0.5), 1),
    ("crazy_paving", 30.0, (0.3, 0.5, 0.5), 2),
    ("honeycombing", 55.0, (-0.6, 0.8, 0.6), 2),
    ("reticulation", 55.0, (-0.35, 0.1, 0.95), 1),
    ("centrilobular_emphysema", 110.0, (0.6, -0.1, 0.4), 1),
    ("confluent_emphysema", 80.0, (0.6, -0.2, 0.4), 2),
    ("bulla", 14.0, (0.8, 0.3, 0.5), 1),
    ("cavity", 22.0, (0.2, -0.5, 0.5), 1),
    ("cavity", 16.0, (-0.2, 0.6, 0.3), 2),
)


@dataclass(frozen=True)
class Phantom:
    """A generated chest CT with its truth.

    Attributes:
        ct: the scan, int16 HU, axis-aligned.
        truth: (z, y, x) uint8 class ids inside the lungs (healthy 1, vessels and airways 7, lesions), 0
            outside.
        lungs: (z, y, x) bool both lungs without trachea and main bronchi.
    """

    ct: CT
    truth: NDArray[np.uint8]
    lungs: NDArray[np.bool_]


def generate_phantom(
    seed: int = 0, size: Size = "small", *, lesions: bool = True, family: Family = "b", noise_hu: float = 18.0
) -> Phantom:
    """Generate a chest CT; the same arguments give the same voxels.

    Args:
        seed: chooses anatomy, vessels, lesions and noise.
        size: "small" (2 x 2.2 x 2.2 mm) for tests, "standard" (2 x 1.4 x 1.4 mm) for the demo.
        lesions: whether the lungs are ill.
        family: texture family of the lesions; "b" has not been seen in training.
        noise_hu: standard deviation of the noise in the middle of the chest.

    Raises:
        InputError: unknown size.
    """
    if size not in _SIZES:
        raise InputError(
            "unknown-size", f"There is no phantom size {size!r}.", f"Sizes are {' and '.join(_SIZES)}."
        )
    shape, spacing, bottom = _SIZES[size]
    rng = np.random.default_rng([seed, 20260])
    grid = Grid(
        bottom + spacing[0] * np.arange(shape[0]),
        spacing[1] * (np.arange(shape[1]) - shape[1] / 2 + 0.5) + 8.0,
        spacing[2] * (np.arange(shape[2]) - shape[2] / 2 + 0.5),
    )
    chest = build_chest(grid, rng)
    lungs = np.maximum(chest.right, chest.left) > 0
    hu, tubes = _fill_lungs(chest, grid, rng)
    truth = np.where(lungs, np.where(tubes, VESSEL, HEALTHY), 0).astype(np.uint8)
    if lesions:
        hu = _add_lesions(hu, truth, chest, spacing, rng, family)
    hu += _scanner_noise(hu, spacing, rng, noise_hu)
    z, y, x = spacing
    geometry = Geometry(
        (shape[2], shape[1], shape[0]), (x, y, z), (float(grid.x[0]), float(grid.y[0]), float(grid.z[0]))
    )
    scan = np.rint(np.clip(hu, -1024, 3071)).astype(np.int16)
    return Phantom(CT(scan, geometry, source=f"phantom-{size}-{seed}"), truth, lungs)


def _fill_lungs(chest: Chest, grid: Grid, rng: np.random.Generator) -> tuple[Field, NDArray[np.bool_]]:
    """Parenchyma with gravity gradient and texture, fissures, vessels, airways; returns HU and tubes."""
    _, y, _ = grid.open()
    hu = chest.hu
    voxel = grid.spacing[2]
    share = np.clip(np.maximum(chest.right, chest.left) / np.float32(voxel) + np.float32(0.5), 0, 1)
    tissue = np.float32(rng.uniform(0.125, 0.145)) + np.float32(0.03 / 90) * y
    tissue = tissue * (1 + 0.05 * spline_field(grid, 30.0, rng) + 0.06 * spline_field(grid, 5.0, rng))
    hu += share * 1035 * tissue
    hu += share * _fissures(chest, grid, rng) * (0 - hu)
    tubes = np.zeros(grid.shape, bool)
    for side, depth in ((1, chest.right), (2, chest.left)):
        for tree, wall in _trees(HILA[side], depth, grid, rng):
            lumen = occupancy(tree, grid)
            if wall:
                outer = occupancy(tree.swollen(1.12, 0.6), grid)
                hu += outer * (_WALL_HU - hu)
                hu += lumen * (AIR - hu)
                tubes |= outer > _VESSEL_SHARE
            else:
                hu += lumen * (_BLOOD_HU - hu)
                tubes |= lumen > _VESSEL_SHARE
    return hu, tubes


def _trees(
    hilum: NDArray[np.float64], depth: Field, grid: Grid, rng: np.random.Generator
) -> Iterator[tuple[Tree, bool]]:
    """Artery, vein and bronchial tree of one lung; True marks the one that has a wall round air."""
    inside = np.flatnonzero(depth[::2, ::2, ::2] > 4)
    where = np.unravel_index(inside, depth[::2, ::2, ::2].shape)
    points = np.stack([a[::2][i] for a, i in zip(grid.axes, where, strict=True)], axis=1)
    litres = np.count_nonzero(depth > 0) * np.prod(grid.spacing) / 1e6
    for shift, leaves, radius, wall in ((6, 480, 0.5, False), (-9, 420, 0.5, False), (0, 45, 0.8, True)):
        count = min(len(points), max(1, int(leaves * litres)))
        supplied = points[rng.choice(len(points), count, replace=False)]
        supplied = supplied + rng.uniform(-2, 2, supplied.shape)
        yield grow(hilum + np.array([shift, -abs(shift) / 2, 0]), supplied, radius, rng), wall


def _fissures(chest: Chest, grid: Grid, rng: np.random.Generator) -> Field:
    """Share of tissue in the oblique fissures of both lungs: sheets 0.7 mm thick."""
    z, y, _ = grid.open()
    plane = 0.62 * (z + 5) + 0.78 * (y - 5) - 0.02 * y * z / 3
    away = np.abs(plane + 4 * spline_field(grid, 50.0, rng))
    voxel = max(grid.spacing)
    inside = np.maximum(chest.right, chest.left) > 0
    return np.asarray(0.7 / voxel * np.clip(1 - away / voxel, 0, 1) * inside, np.float32)


def _add_lesions(
    hu: Field,
    truth: NDArray[np.uint8],
    chest: Chest,
    spacing: tuple[float, float, float],
    rng: np.random.Generator,
    family: Family,
) -> Field:
    """Paint the list of lesions, each into its region, clear of the others; ``truth`` changes in place."""
    silent = Noise(0.0, 0.35)
    taken: list[tuple[NDArray[np.float64], float]] = []
    for kind, volume_ml, place, side in _LESIONS:
        lung = (chest.right if side == 1 else chest.left) > 0
        radius_mm = (volume_ml * 239) ** (1 / 3)
        centre = _place(lung, np.array(place), side, np.array(spacing), radius_mm, taken, rng)
        taken.append((centre * spacing, radius_mm))
        lesion = insert_lesion(
            hu,
            lung,
            spacing,
            kind,
            volume_ml=volume_ml,
            rng=rng,
            centre=(float(centre[0]), float(centre[1]), float(centre[2])),
            family=family,
            noise=silent,
        )
        hu = lesion.hu
        truth[lesion.mask] = KINDS[kind]
    return hu


def _place(
    lung: NDArray[np.bool_],
    place: NDArray[np.float64],
    side: int,
    spacing: NDArray[np.float64],
    radius_mm: float,
    taken: list[tuple[NDArray[np.float64], float]],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The lung voxel nearest to a wanted relative place that keeps clear of the lesions already there."""
    voxels = np.argwhere(lung)
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    voxels = voxels[rng.choice(len(voxels), min(len(voxels), 4000), replace=False)]
    relative = 2 * (voxels - low) / (high - low) - 1
    # Sideways, 0 is medial and 1 lateral.
    relative[:, 2] = (1 - relative[:, 2] if side == 1 else 1 + relative[:, 2]) / 2
    cost = np.linalg.norm(relative - place - rng.normal(0, 0.08, 3), axis=1)
    for centre, radius in taken:
        gap = np.linalg.norm(voxels * spacing - centre, axis=1) - radius - radius_mm
        cost += np.clip(-gap / 10, 0, 10)
    return voxels[int(np.argmin(cost))].astype(float)


def _scanner_noise(
    hu: Field, spacing: tuple[float, float, float], rng: np.random.Generator, noise_hu: float
) -> Field:
    """Noise with an in-plane grain, stronger where the rays crossed more tissue."""
    from scipy import ndimage

    density = np.clip(hu[::4, ::4, ::4] / 1000 + 1, 0, 2)
    sigma = [8 / (4 * spacing[0]), *(45 / (4 * s) for s in spacing[1:])]
    path = ndimage.zoom(ndimage.gaussian_filter(density, sigma), 4, order=1, grid_mode=True, mode="nearest")
    path = path[: hu.shape[0], : hu.shape[1], : hu.shape[2]]
    strength = np.clip(path / np.float32(0.55), 0.35, 2)
    return Noise(noise_hu, 0.8 / spacing[2] + 0.1).sample(hu.shape, rng) * strength
