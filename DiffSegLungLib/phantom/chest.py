"""The anatomy of a generated chest without noise: body, bones, heart, great vessels, diaphragm, two lung
fields.

Positions in mm with the origin in the middle of the chest: z to superior, y to posterior, x to the
patient's left. Surfaces are analytic (superellipses, ellipsoids, tubes) and bent by smooth random fields.
HU are those of a scan without contrast: fat -100, muscle 55, blood 42, liver 58, cancellous bone 180,
cortical bone 650.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..lesions.textures import Field, Grid, ball_depth, spline_field

AIR, FAT, MUSCLE, BLOOD, LIVER = -1000.0, -100.0, 55.0, 42.0, 58.0
CANCELLOUS, CORTICAL, CARTILAGE = 180.0, 650.0, 90.0

CARINA = np.array([22.0, 12.0, 0.0])
HILA = {1: np.array([2.0, 12.0, -40.0]), 2: np.array([4.0, 14.0, 38.0])}
"""Where main bronchi and vessels enter the right (1) and left (2) lung."""


@dataclass(frozen=True)
class Chest:
    """A chest on a grid.

    Attributes:
        hu: (z, y, x) float32 HU; the lung fields hold plain parenchyma of -1000 still to be filled.
        right: (z, y, x) float32 signed depth in mm below the surface of the right lung.
        left: the same of the left lung.
        airways: (z, y, x) bool lumen of trachea and main bronchi.
    """

    hu: Field
    right: Field
    left: Field
    airways: NDArray[np.bool_]


def build_chest(grid: Grid, rng: np.random.Generator) -> Chest:
    """A chest of average size with a little chance in every measure.

    Args:
        grid: sample positions; about 350 mm wide and deep and at least 250 mm high shows all of it.
        rng: source of the chance.
    """
    voxel = grid.spacing[2]
    hu = np.full(grid.shape, AIR, np.float32)
    cage = _cage_depth(grid, rng)
    _paint_table(hu, grid, voxel)
    _paint_wall(hu, grid, rng, voxel)
    _paint_bones(hu, cage, grid, rng, voxel)
    right, left = _paint_inside(hu, cage, grid, rng, voxel)
    airways = _paint_airways(hu, grid, voxel)
    clear = _tube(grid, *_central_airways(), wall_mm=3.5) > 0
    right[clear] = np.minimum(right[clear], -0.5 * voxel)
    left[clear] = np.minimum(left[clear], -0.5 * voxel)
    return Chest(hu, right, left, airways)


def _paint(hu: Field, depth: NDArray[np.floating], value: float, voxel: float) -> None:
    """Blend ``value`` in where depth is positive, over an edge one voxel wide."""
    share = np.clip(depth / np.float32(voxel) + np.float32(0.5), 0, 1)
    hu += share * (np.float32(value) - hu)


def _ellipse(
    grid: Grid, centre: tuple[float, float], half: tuple[Field | float, Field | float], power: float
) -> Field:
    """Radial depth in mm below an axial superellipse with half-axes (y, x), which may vary with z."""
    _, y, x = grid.open()
    y, x = y - np.float32(centre[0]), x - np.float32(centre[1])
    level = (np.abs(y) / half[0]) ** power + (np.abs(x) / half[1]) ** power
    level = np.maximum(level, 1e-6) ** np.float32(1 / power)
    return np.asarray(np.sqrt(y * y + x * x) * (1 / level - 1), np.float32)


def _ellipsoid(
    grid: Grid, centre: tuple[float, float, float], radii: tuple[float, float, float], tilt: float = 0.0
) -> Field:
    """About the depth in mm below an ellipsoid, tilted by ``tilt`` rad from x towards z."""
    z, y, x = (a - np.float32(c) for a, c in zip(grid.open(), centre, strict=True))
    along = x * np.float32(np.cos(tilt)) - z * np.float32(np.sin(tilt))
    up = z * np.float32(np.cos(tilt)) + x * np.float32(np.sin(tilt))
    level = np.sqrt((up / radii[0]) ** 2 + (y / radii[1]) ** 2 + (along / radii[2]) ** 2)
    return np.asarray((1 - level) * np.float32(min(radii)), np.float32)


def _tube(
    grid: Grid, centres: NDArray[np.float64], radii: NDArray[np.float64], wall_mm: float = 0.0
) -> Field:
    return ball_depth(grid, centres, radii + wall_mm)


def _path(*stations: tuple[float, float, float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Balls 1 mm apart along straight pieces between (z, y, x, radius)."""
    parts = []
    for first, last in zip(np.array(stations[:-1]), np.array(stations[1:]), strict=True):
        count = max(2, int(np.linalg.norm(last[:3] - first[:3])))
        parts.append(first + np.linspace(0, 1, count)[:, None] * (last - first))
    chain = np.concatenate(parts)
    return chain[:, :3], chain[:, 3]


def _cage_depth(grid: Grid, rng: np.random.Generator) -> Field:
    """Depth in mm below the inner surface of the rib cage: a dome that closes at the apex of the lungs."""
    z = grid.open()[0]
    rise = np.clip((z - 5) / rng.uniform(108, 116), 0, 0.999)
    taper = np.sqrt(1 - rise**2.6)
    narrow = 1 - 0.04 * np.clip((-20 - z) / 80, 0, 1)
    half_y = np.asarray(rng.uniform(86, 94) * taper**0.8 * narrow, np.float32)
    half_x = np.asarray(rng.uniform(122, 130) * taper * narrow, np.float32)
    depth = _ellipse(grid, (4.0, 0.0), (half_y, half_x), 2.3)
    return depth + np.float32(1.5) * spline_field(grid, 40.0, rng)


def _paint_table(hu: Field, grid: Grid, voxel: float) -> None:
    """A curved couch: a thin carbon shell round foam, the full length of the scan."""
    _, y, x = grid.open()
    upper = y - (134 - (x / 42) ** 2)
    depth = np.minimum(np.minimum(upper, 24 - upper), 190 - np.abs(x))
    _paint(hu, depth, -420.0, voxel)
    _paint(hu, depth - 2.5, -930.0, voxel)


def _paint_wall(hu: Field, grid: Grid, rng: np.random.Generator, voxel: float) -> None:
    """Skin, subcutaneous fat of uneven thickness, muscle streaked with fat."""
    z = grid.open()[0]
    wide = np.asarray(rng.uniform(158, 166) + 0.06 * np.clip(z - 20, 0, 90), np.float32)
    depth = _ellipse(grid, (6.0, 0.0), (rng.uniform(118, 123), wide), 2.5)
    depth += np.float32(2) * spline_field(grid, 60.0, rng)
    _paint(hu, depth, 20.0, voxel)
    _paint(hu, depth - 2.5, FAT, voxel)
    _paint(hu, depth - 13 - 3 * spline_field(grid, 50.0, rng), MUSCLE, voxel)
    _paint(hu, np.where(depth > 13, 4 * spline_field(grid, 16.0, rng) - 5.5, -9), FAT, voxel)


def _paint_bones(hu: Field, cage: Field, grid: Grid, rng: np.random.Generator, voxel: float) -> None:
    """Ribs that run down and forward, their cartilage, sternum, scapulae, vertebrae with discs and canal."""
    z, y, x = grid.open()
    turn = np.arctan2(np.abs(x), y - 4) / np.float32(np.pi)
    pitch = rng.uniform(23, 26)
    along = np.mod(z + 85 * turn + rng.uniform(0, pitch), pitch) - pitch / 2
    rib = (1 - np.sqrt((along / 6.5) ** 2 + ((cage + 6) / 4) ** 2)) * np.float32(4)
    rib = np.where((turn > 0.13) & (turn < 0.93), rib, -9)
    _paint_bone(hu, np.where(turn < 0.76, rib, -9), voxel, 1.3)
    _paint(hu, np.where(turn >= 0.76, rib, -9), CARTILAGE, voxel)
    shell = np.minimum(-2 - cage, cage + 13)
    sternum = np.minimum(np.minimum(shell, 17 - np.abs(x)), np.minimum(z + 75, 82 - z))
    _paint_bone(hu, np.where(turn > 0.9, sternum, -9), voxel, 1.5)
    blade = np.minimum(np.minimum(-19 - cage, cage + 26), np.minimum(z + 10, 75 - z))
    _paint_bone(hu, np.where((turn > 0.2) & (turn < 0.42), blade, -9), voxel, 1.5)

    body = (1 - np.sqrt(((y - 58) / 15) ** 2 + (x / 19) ** 2)) * np.float32(15)
    level = np.mod(z + rng.uniform(0, 25), 25)
    _paint(hu, body, CARTILAGE, voxel)
    _paint_bone(hu, np.minimum(body, np.minimum(level - 2.5, 22.5 - level)), voxel, 1.2)
    arch = (1 - np.sqrt(((y - 83) / 14) ** 2 + (x / 17) ** 2)) * np.float32(14)
    process = np.minimum(np.minimum(y - 88, 112 - y), 4 - np.abs(x))
    wings = np.minimum(np.minimum(5 - np.abs(y - 84), 34 - np.abs(x)), 7 - np.abs(level - 8))
    _paint_bone(hu, np.maximum(arch, np.maximum(process, wings)), voxel, 1.5)
    _paint(hu, 8 - np.sqrt((y - 81) ** 2 + x**2) + 0 * z, 32.0, voxel)


def _paint_bone(hu: Field, depth: NDArray[np.floating], voxel: float, cortex_mm: float) -> None:
    _paint(hu, depth, CORTICAL, voxel)
    _paint(hu, depth - cortex_mm, CANCELLOUS, voxel)


def _paint_inside(
    hu: Field, cage: Field, grid: Grid, rng: np.random.Generator, voxel: float
) -> tuple[Field, Field]:
    """Mediastinum, heart, great vessels, diaphragm and what is below it; then the two lung fields."""
    z, y, x = grid.open()
    spine = _ellipse(grid, (70.0, 0.0), (32.0, 24.0), 2.4)
    above = z - _diaphragm(grid, rng)
    inside = np.minimum(cage - 1, -spine - 2)
    _paint(hu, inside, -95.0, voxel)

    below = np.minimum(inside, -above)
    _paint(hu, np.minimum(below, 12 * spline_field(grid, 60.0, rng) + 14), 48.0, voxel)
    _paint(hu, np.minimum(below - 2, 28 - x), LIVER, voxel)
    # The fundus of the stomach with its gas, under the left diaphragm.
    stomach = _ellipsoid(grid, (-78.0, -8.0, 55.0), (20.0, 38.0, 32.0))
    _paint(hu, np.minimum(stomach, below - 5), 40.0, voxel)
    _paint(hu, np.minimum(np.minimum(stomach - 4, below - 10), -14 - y), AIR, voxel)

    heart = _ellipsoid(grid, (-42.0, -28.0, 22.0), (44.0, 42.0, 62.0), tilt=0.45)
    heart += np.float32(1.5) * spline_field(grid, 35.0, rng)
    _paint(hu, np.minimum(heart, above + 6), BLOOD, voxel)
    great = np.full(grid.shape, -2.0, np.float32)
    for chain in _great_vessels():
        np.maximum(great, _tube(grid, *chain), out=great)
    _paint(hu, great, BLOOD, voxel)

    bend = np.float32(2.0) * spline_field(grid, 30.0, rng)
    width = 13 + 13 * np.exp(-(((y + 2) / 34) ** 2)) + 8 * np.exp(-((z - 5) ** 2) / 500 - (y - 12) ** 2 / 500)
    aorta = ball_depth(grid, *_great_vessels()[0], reach_mm=30)
    middle = np.minimum(np.minimum(-heart - 3, -spine - 3), -aorta - 3)
    common = np.minimum(np.minimum(cage - 3.5, above * 0.8 - 1.5), middle) + bend
    right = np.asarray(np.minimum(common, -x - width + bend), np.float32)
    left = np.asarray(np.minimum(common, x - width - bend), np.float32)
    _paint(hu, np.maximum(right, left), AIR, voxel)
    return right, left


def _diaphragm(grid: Grid, rng: np.random.Generator) -> Field:
    """Height in mm of the two domes, the right one higher, falling to the recesses at the ribs and behind."""
    _, y, x = grid.open()
    top = np.where(x < 0, np.float32(rng.uniform(-42, -34)), np.float32(rng.uniform(-54, -46)))
    away = ((np.abs(x) - 58) / 68) ** 2 + ((y + 12) / 92) ** 2
    return np.asarray(top - 46 * away - 10 * np.clip(y / 90, 0, 1), np.float32)


def _great_vessels() -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Aorta first, then upper caval vein, pulmonary arteries and oesophagus, as chains of balls."""
    return [
        _path(
            (2, -18, -8, 15), (38, -22, -10, 15), (54, -8, -2, 14), (56, 14, 9, 13),
            (46, 32, 17, 12), (20, 40, 20, 12), (-110, 38, 14, 11),
        ),
        _path((100, -8, -24, 7), (50, -14, -24, 9), (-5, -14, -26, 11)),
        _path((0, -30, 12, 13), (16, -8, 12, 13), (12, 8, 30, 10), (5, 14, 42, 8)),
        _path((14, -6, 6, 11), (10, 2, -20, 10), (4, 10, -42, 8)),
        _path((110, 32, 2, 6), (20, 32, 4, 6), (-100, 26, 6, 7)),
    ]  # fmt: skip


def _central_airways() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lumen of the trachea and both main bronchi as a chain of balls."""
    top = _path((180, 4, 0, 8.5), (110, 8, 0, 8.5), (22, 12, 0, 8.5))
    sides = [_path((*CARINA, 7.0), (*hilum, radius)) for hilum, radius in ((HILA[1], 6.0), (HILA[2], 5.5))]
    chains = [top, *sides]
    return np.concatenate([c for c, _ in chains]), np.concatenate([r for _, r in chains])


def _paint_airways(hu: Field, grid: Grid, voxel: float) -> NDArray[np.bool_]:
    lumen = _tube(grid, *_central_airways())
    _paint(hu, _tube(grid, *_central_airways(), wall_mm=1.6), 30.0, voxel)
    _paint(hu, lumen, AIR, voxel)
    return np.asarray(lumen > 0)
