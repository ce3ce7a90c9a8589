"""A chest of ellipsoids and tubes whose lungs, airway and disease are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from DiffSegLungLib.io.ct import CT, Geometry

CENTRE_RIGHT, CENTRE_LEFT = (-72.0, 0.0, 0.0), (72.0, 0.0, 0.0)
SEMI_AXES = (58.0, 85.0, 110.0)
"""Lungs: ellipsoids, LPS mm; 4/3·π·58·85·110 mm³ = 2271.6 ml each."""

LUNG_ML = 4 / 3 * np.pi * 58 * 85 * 110 / 1000


@dataclass(frozen=True)
class AnalyticChest:
    """A CT and the truth on its grid."""

    ct: CT
    right: NDArray[np.bool_]
    left: NDArray[np.bool_]
    trachea: NDArray[np.bool_]
    position: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

    def ball(self, centre: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
        """Voxels within a ball, LPS mm."""
        squares = [(p - c) ** 2 for p, c in zip(self.position, centre, strict=True)]
        return np.asarray(squares[0] + squares[1] + squares[2] <= radius**2)

    def painted(self, where: NDArray[np.bool_], hu: float) -> CT:
        """The CT with other HU in some voxels."""
        values = self.ct.hu.copy()
        values[where] = hu
        return self.ct.with_hu(values)


def analytic_chest(
    spacing_zyx: tuple[float, float, float] = (2.5, 1.6, 1.6),
    *,
    gap_mm: float = 28.0,
    right_only: bool = False,
) -> AnalyticChest:
    """Body, ribs, spine, trachea with two main bronchi, and lungs ``gap_mm`` apart; noise of 15 HU.

    Args:
        spacing_zyx: voxel size in mm.
        gap_mm: between the medial borders of the lungs; negative lets them overlap and touch.
        right_only: a field of view that ends at the patient's midline.
    """
    sz, sy, sx = spacing_zyx
    low, high = (-165.0, -120.0, -130.0), (30.0 if right_only else 165.0, 120.0, 160.0)
    size = tuple(int((b - a) / s) for a, b, s in zip(low, high, (sx, sy, sz), strict=True))
    geometry = Geometry((size[0], size[1], size[2]), (sx, sy, sz), low)
    x = low[0] + sx * np.arange(size[0])[None, None, :]
    y = low[1] + sy * np.arange(size[1])[None, :, None]
    z = low[2] + sz * np.arange(size[2])[:, None, None]

    offset = gap_mm / 2 + SEMI_AXES[0]
    right, left = (
        ((x - c) / SEMI_AXES[0]) ** 2 + (y / SEMI_AXES[1]) ** 2 + (z / SEMI_AXES[2]) ** 2 <= 1
        for c in (-offset, offset)
    )
    septum = np.abs(x + 0 * y + 0 * z) < 1.6
    right, left = right & (x < 0) & ~septum, left & (x > 0) & ~septum
    body = (x / 152) ** 2 + (y / 108) ** 2 + 0 * z <= 1
    cage = (
        ((np.abs(x) - offset) / (SEMI_AXES[0] + 8)) ** 2
        + (y / (SEMI_AXES[1] + 8)) ** 2
        + (z / (SEMI_AXES[2] + 8)) ** 2
    )
    inner = (
        ((np.abs(x) - offset) / (SEMI_AXES[0] + 2)) ** 2
        + (y / (SEMI_AXES[1] + 2)) ** 2
        + (z / (SEMI_AXES[2] + 2)) ** 2
    )
    ribs = (cage <= 1) & (inner > 1) & (np.abs(x) > offset - 10) & (np.mod(z, 25.0) < 12.0)
    spine = (x / 18) ** 2 + ((y - 78) / 18) ** 2 + 0 * z <= 1
    trachea = (x / 9) ** 2 + ((y - 5) / 9) ** 2 + 0 * z <= 1
    trachea = trachea & (z > 30)

    rng = np.random.default_rng(0)
    hu = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), -1000.0, np.float32)
    for part, value in (
        (body, 40.0), (ribs & body, 600.0), (spine, 500.0), (right | left, -850.0), (trachea, -1000.0)
    ):  # fmt: skip
        hu[np.broadcast_to(part, hu.shape)] = value
    hu += rng.normal(0, 15, hu.shape).astype(np.float32)
    lungs = right | left
    hu[lungs] += rng.normal(0, 60, int(lungs.sum())).astype(np.float32)
    shape = hu.shape
    position = tuple(np.broadcast_to(a, shape) for a in (x, y, z))
    return AnalyticChest(
        CT(np.rint(hu).astype(np.int16), geometry, "analytic"),
        right,
        left,
        np.broadcast_to(trachea, shape) & ~lungs,
        (position[0], position[1], position[2]),
    )
