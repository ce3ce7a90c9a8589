"""Painters of lost lung: holes in lobules, darkened lobules, rows and bullae at the pleura."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .lobules import slab_share
from .patterns import AIR_HU, Brush, Paint, soft_edge
from .textures import Field

_WALL_HU = -100.0


def centrilobular_emphysema(brush: Brush) -> Paint:
    """Holes of 3 to 10 mm without walls in the middle of lobules; the holes are the lesion."""
    rng = brush.rng
    size = float(rng.uniform(7, 13))
    return _holes(
        brush, size, np.clip(size * rng.uniform(0.2, 0.45), 1.7, 5.0), float(rng.uniform(0.6, 0.95))
    )


def confluent_emphysema(brush: Brush) -> Paint:
    """Holes run together; little parenchyma and the vessels remain."""
    size = float(brush.rng.uniform(8, 16))
    return _holes(brush, size, size * brush.rng.uniform(0.52, 0.68), 1.0)


def _holes(brush: Brush, size_mm: float, radius_mm: float, present: float) -> Paint:
    """Soft-edged holes, one in the middle of each cell that has one."""
    rng = brush.rng
    depth = brush.body()
    cells = brush.cells(size_mm, depth)
    radii = radius_mm * np.clip(rng.normal(1, 0.3, cells.count), 0.5, 1.6)
    radii = np.where(rng.random(cells.count) < present, radii, -9)
    ragged = np.float32(0.12 * size_mm) * brush.field(0.35 * size_mm)
    hole = cells.by_cell(radii) + ragged - cells.seed_mm
    holes = soft_edge(depth, 3) * soft_edge(hole, float(rng.uniform(0.8, 1.5)))
    strength = np.float32(rng.uniform(0.8, 0.97))
    return Paint(strength * holes, brush.constant(_emptied(brush)), np.asarray(holes, np.float32), True)


def panlobular_emphysema(brush: Brush) -> Paint:
    """Whole lobules evenly darker, vessels thinned; all of it is the lesion."""
    rng = brush.rng
    depth = brush.body()
    edge = soft_edge(depth, float(rng.uniform(3, 10)))
    even = 1 + 0.08 * brush.field(12.0) + 0.06 * brush.field(5.0)
    share = edge * np.clip(rng.uniform(0.65, 0.92) * even, 0, 0.97)
    return Paint(np.asarray(share, np.float32), brush.constant(_emptied(brush)), edge, True)


def paraseptal_emphysema(brush: Brush) -> Paint:
    """One row of air spaces of 5 to 15 mm along the pleura, parted by hairline walls."""
    rng = brush.rng
    depth = brush.body(rind=0.8)
    size = float(rng.uniform(7, 15))
    # An island away from the pleura has its row along its own border.
    reached = bool(brush.region.size) or bool((brush.pleura_mm[depth > 0] < size).any())
    cells = brush.cells(size, depth, layered=reached)
    row = (0.95 * size - brush.pleura_mm) if reached else depth
    inner = np.minimum(depth, row + np.float32(0.15 * size) * brush.field(0.6 * size))
    edge = soft_edge(inner, 1.0)
    wall = float(rng.uniform(0.1, 0.3))
    # Some walls have given way.
    kept = cells.walls(wall) * (cells.by_face(rng) < 0.75)
    walls = np.maximum(kept, slab_share(inner, wall, 1.3))
    air = AIR_HU + rng.uniform(0, 25)
    target = air + walls * (_WALL_HU - air)
    share = np.maximum(edge, walls * (inner > -2)) * np.float32(rng.uniform(0.92, 0.98))
    return Paint(np.asarray(share, np.float32), np.asarray(target, np.float32), edge, False)


def bulla(brush: Brush) -> Paint:
    """Air spaces of 1 to 6 cm with hairline walls, alone or crowded, flattened against the pleura."""
    rng = brush.rng
    if brush.region.size:
        centres, radii = _at_pleura(brush)
    else:
        count = int(rng.choice((1, 1, 2, 3)))
        centres = rng.normal(0, 0.45 * brush.radius_mm * (count > 1), (count, 3))
        radii = brush.radius_mm * count ** (-0.22) * np.clip(rng.normal(1, 0.12, count), 0.7, 1.3)
    first, second = _two_deepest(brush, centres, radii)
    mean = float(radii.mean()) if len(radii) else 3.0
    bent = np.float32(0.05 * mean) * brush.field(max(mean, 3.0))
    first, second = first + bent, second + bent
    inner = soft_edge(first, 0.9)
    wall = float(rng.uniform(0.15, 0.5))
    # Where two touch, one wall parts them.
    walls = np.maximum(
        slab_share(first, wall, 1.3), slab_share((first - second) / 1.6, wall, 1.3) * (second > -1)
    )
    air = AIR_HU + rng.uniform(0, 18)
    target = air + walls * (_WALL_HU - air)
    return Paint(np.maximum(inner, walls), np.asarray(target, np.float32), inner, False)


def _at_pleura(brush: Brush) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles (n, 3) and radii (n,) in mm of one to ten bullae; the pleura cuts off a part of each."""
    rng = brush.rng
    largest = rng.choice((12, 20, 30))
    radii = np.exp(rng.uniform(np.log(6), np.log(largest), int(rng.integers(1, 11))))
    flat = np.flatnonzero(brush.region > 0)
    if not len(flat):
        return np.zeros((0, 3)), np.zeros(0)
    depth = brush.pleura_mm.ravel()[flat]
    chosen = []
    for radius in radii:
        near = flat[(depth > 0.35 * radius) & (depth < 0.85 * radius)]
        chosen.append(rng.choice(near if len(near) else flat))
    return brush.at(np.array(chosen)), radii


def _two_deepest(
    brush: Brush, centres: NDArray[np.float64], radii: NDArray[np.float64]
) -> tuple[Field, Field]:
    """Depth in mm below the surfaces of the ball that a voxel is deepest in, and of the next one."""
    first, second = brush.constant(-9.0), brush.constant(-9.0)
    for centre, radius in zip(centres, radii, strict=True):
        box = tuple(
            slice(*np.searchsorted(axis, (c - 1.4 * radius - 3, c + 1.4 * radius + 3)))
            for axis, c in zip(brush.grid.axes, centre, strict=True)
        )
        z, y, x = (
            (axis[s] - c).astype(np.float32) for axis, s, c in zip(brush.grid.axes, box, centre, strict=True)
        )
        stretch = np.exp(brush.rng.normal(0, 0.15, 3)).astype(np.float32)
        squared = (
            (stretch[0] * z[:, None, None]) ** 2
            + (stretch[1] * y[None, :, None]) ** 2
            + (stretch[2] * x[None, None, :]) ** 2
        )
        depth = np.float32(radius) - np.sqrt(squared)
        deepest = np.maximum(first[box], depth)
        second[box] = np.maximum(second[box], np.minimum(first[box], depth))
        first[box] = deepest
    return first, second


def _emptied(brush: Brush) -> float:
    """HU of lung that is lost: near air, and below the patient's own."""
    return float(max(min(brush.rng.normal(-972, 8), brush.base_hu - 45), -995))
