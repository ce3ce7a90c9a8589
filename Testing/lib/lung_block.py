"""A block of lung on the canonical grid whose HU are known everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from DiffSegLungLib.config import Config
from DiffSegLungLib.grid.canonical import Canonical
from DiffSegLungLib.io.ct import Geometry
from DiffSegLungLib.segmentation.evidence import draw_labels, least_voxels
from DiffSegLungLib.segmentation.fusion import Fusion

SHAPE = (48, 96, 96)
LEVEL_HU = -860.0


def geometry_of(shape: tuple[int, ...], origin: tuple[float, float, float] = (0.5, 0.5, 1.0)) -> Geometry:
    """The canonical grid of a (z, y, x) shape."""
    return Geometry(
        size=(shape[2], shape[1], shape[0]),
        spacing=(1.0, 1.0, 2.0),
        origin=origin,
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )


def block(seed: int = 0, noise_hu: float = 20.0, shape: tuple[int, int, int] = SHAPE) -> Canonical:
    """Healthy lung of -860 HU with white noise in a box of chest wall; its right half is the right lung."""
    rng = np.random.default_rng(seed)
    lungs = np.zeros(shape, bool)
    lungs[4:-4, 8:-8, 8:-8] = True
    hu = np.where(lungs, LEVEL_HU, 30.0).astype(np.float32)
    hu += rng.normal(0, noise_hu, shape).astype(np.float32)
    side = np.zeros(shape, np.uint8)
    side[..., : shape[2] // 2] = 1
    side[..., shape[2] // 2 :] = 2
    return Canonical(
        hu=hu, lungs=lungs, side=np.where(lungs, side, 0).astype(np.uint8), geometry=geometry_of(shape)
    )


def ball(shape: tuple[int, ...], centre: tuple[int, int, int], radius_mm: float) -> NDArray[np.bool_]:
    """A ball in mm on the canonical grid."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    distance = (2 * (z - centre[0])) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return np.asarray(distance <= radius_mm**2)


def labels_where_fused(fusion: Fusion, config: Config) -> NDArray[np.uint8]:
    """Labels on the grid that was fused on."""
    evidence, _ = fusion.onto(fusion.geometry, fusion.disease)
    return draw_labels(evidence, config.sensitivity, least_voxels(config.island_ml, fusion.geometry))
