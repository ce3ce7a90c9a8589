"""A generated chest CT with lesions of every class and exact truth: demo and tests need no patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..classes import HEALTHY, VESSEL
from ..errors import InputError
from ..io.ct import CT, Geometry
from ..lesions.lesions import insert_lesion
from ..lesions.noise import Noise
from ..lesions.painters import PAINTERS
from ..lesions.patterns import Painters
from ..lesions.textures import Field, Grid, spline_field
from .chest import AIR, HILA, Chest, build_chest
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


@dataclass(frozen=True)
class Site:
    """One lesion of the phantom and where it wants to be.

    Attributes:
        kind: a key of ``lesions.KINDS``.
        volume_ml: intended volume.
        side: 1 right, 2 left.
        place: relative position in the lung: z -1 (base) .. 1 (apex), y -1 (front) .. 1 (back), x 0
            (medial) .. 1 (lateral).
    """

    kind: str
    volume_ml: float
    side: int
    place: tuple[float, float, float]

    @property
    def radius_mm(self) -> float:
        """Radius of the ball with the intended volume."""
        return float((self.volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3))


_SITES = (
    Site("consolidation", 60.0, 1, (-0.55, 0.6, 0.6)),
    Site("consolidation", 40.0, 2, (0.05, 0.0, 0.5)),
    Site("ground_glass", 70.0, 2, (-0.25, -0.3, 0.8)),
    Site("ground_glass", 45.0, 1, (0.15, 0.7, 0.5)),
    Site("crazy_paving", 30.0, 2, (0.3, 0.5, 0.5)),
    Site("honeycombing", 60.0, 2, (-0.55, 0.75, 0.6)),
    Site("reticulation", 60.0, 1, (-0.35, 0.1, 0.9)),
    Site("centrilobular_emphysema", 110.0, 1, (0.6, -0.1, 0.4)),
    Site("confluent_emphysema", 80.0, 2, (0.6, -0.2, 0.4)),
    Site("bulla", 14.0, 1, (0.8, 0.3, 0.5)),
    Site("cavity", 22.0, 1, (0.2, -0.5, 0.5)),
    Site("cavity", 16.0, 2, (-0.2, 0.6, 0.3)),
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
    seed: int = 0,
    size: Size = "small",
    *,
    lesions: bool = True,
    painters: Painters = PAINTERS,
    noise_hu: float = 18.0,
) -> Phantom:
    """Generate a chest CT; the same arguments give the same voxels.

    Args:
        seed: chooses anatomy, vessels, lesions and noise.
        size: "small" (2 x 2.2 x 2.2 mm) for tests, "standard" (2 x 1.4 x 1.4 mm) for the demo.
        lesions: whether the lungs are ill.
        painters: of the lesions, see ``insert_lesion``.
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
    corner = (bottom, 8.0 - spacing[1] * (shape[1] - 1) / 2, -spacing[2] * (shape[2] - 1) / 2)
    grid = Grid(
        *(c + s * np.arange(n, dtype=np.float64) for c, s, n in zip(corner, spacing, shape, strict=True))
    )
    chest = build_chest(grid, rng)
    lungs = np.maximum(chest.right, chest.left) > 0
    hu, tubes = _fill_lungs(chest, grid, rng)
    truth = np.where(lungs, np.where(tubes, VESSEL, HEALTHY), 0).astype(np.uint8)
    if lesions:
        hu, ill = _add_lesions(hu, chest, grid, painters, rng)
        truth = np.where(ill > 0, ill, truth)
    hu += _scanner_noise(hu, grid.spacing, noise_hu, rng)
    z, y, x = spacing
    geometry = Geometry((shape[2], shape[1], shape[0]), (x, y, z), (corner[2], corner[1], corner[0]))
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
    """Share of tissue in the oblique fissures of both lungs: sheets 0.5 mm thick."""
    z, y, _ = grid.open()
    plane = 0.62 * (z + 5) + 0.78 * (y - 5) - 0.02 * y * z / 3
    away = np.abs(plane + 5 * spline_field(grid, 50.0, rng))
    voxel = max(grid.spacing)
    inside = np.maximum(chest.right, chest.left) > 0
    return np.asarray(0.5 / voxel * np.clip(1 - away / voxel, 0, 1) * inside, np.float32)


def _add_lesions(
    hu: Field, chest: Chest, grid: Grid, painters: Painters, rng: np.random.Generator
) -> tuple[Field, NDArray[np.uint8]]:
    """Paint every site, each clear of those before; returns HU and class ids of the lesions."""
    truth = np.zeros(hu.shape, np.uint8)
    silent = Noise(0.0, 0.35)
    taken: list[tuple[NDArray[np.float64], float]] = []
    for site in _SITES:
        lung = (chest.right if site.side == 1 else chest.left) > 0
        index = _place(lung, site, grid.spacing, taken, rng)
        taken.append((index * grid.spacing, site.radius_mm))
        z, y, x = (float(i) for i in index)
        lesion = insert_lesion(
            hu, lung, grid.spacing, site.kind, volume_ml=site.volume_ml, rng=rng, centre=(z, y, x),
            painters=painters, noise=silent,
        )  # fmt: skip
        hu = lesion.hu
        truth[lesion.mask] = lesion.class_id
    return hu, truth


def _place(
    lung: NDArray[np.bool_],
    site: Site,
    spacing: tuple[float, float, float],
    taken: list[tuple[NDArray[np.float64], float]],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The lung voxel nearest to where a site wants to be that keeps clear of the lesions already there."""
    voxels = np.argwhere(lung)
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    voxels = voxels[rng.choice(len(voxels), min(len(voxels), 4000), replace=False)]
    relative = 2 * (voxels - low) / (high - low) - 1
    relative[:, 2] = (1 - relative[:, 2] if site.side == 1 else 1 + relative[:, 2]) / 2
    cost = np.linalg.norm(relative - site.place - rng.normal(0, 0.08, 3), axis=1)
    for centre, radius in taken:
        gap = np.linalg.norm(voxels * spacing - centre, axis=1) - radius - site.radius_mm
        cost += np.clip(-gap / 10, 0, 10)
    return np.asarray(voxels[int(np.argmin(cost))], np.float64)


def _scanner_noise(
    hu: Field, spacing: tuple[float, float, float], noise_hu: float, rng: np.random.Generator
) -> Field:
    """Noise with an in-plane grain, stronger where the rays crossed more tissue."""
    from scipy import ndimage

    density = np.clip(hu[::4, ::4, ::4] / 1000 + 1, 0, 2)
    sigma = [8 / (4 * spacing[0]), *(45 / (4 * s) for s in spacing[1:])]
    path = ndimage.zoom(ndimage.gaussian_filter(density, sigma), 4, order=1, grid_mode=True, mode="nearest")
    path = path[: hu.shape[0], : hu.shape[1], : hu.shape[2]]
    strength = np.clip(path / np.float32(0.55), 0.35, 2)
    noise = Noise(noise_hu, 0.8 / spacing[2] + 0.1).sample(hu.shape, rng)
    return np.asarray(noise * strength, np.float32)
