"""What each kind of lesion looks like in the held-out family "c": same definitions, another hand.

Written after the Fleischner glossary (Bankier et al., Radiology 2024), on the mathematics of
``textures_c.py``. Nothing may be tuned on it: it tells whether what was tuned on the
generator's disease carries over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...lesions.patterns import TISSUE_HU, Brush, Paint, Painters
from ...lesions.textures import Field, smoothstep
from .textures_c import (
    Partition,
    Points,
    airway,
    gradient_noise,
    line_depth,
    merged,
    network,
    pebbles,
    scattered,
    scattered_balls,
    split_cells,
    star_body,
)

_BEYOND_MM = 6.0


@dataclass(frozen=True)
class Site:
    """The voxels that a lesion may touch, as points, so that costly geometry is made there only.

    Attributes:
        brush: where and how it is painted.
        depth: (z, y, x) mm below the surface of the lesion, negative outside.
        where: (z, y, x) bool, from ``_BEYOND_MM`` outside the surface inwards.
        points: (n, 3) mm, the positions of ``where``, bent a little so that flat faces curve.
    """

    brush: Brush
    depth: Field
    where: NDArray[np.bool_]
    points: Points

    @classmethod
    def of(cls, brush: Brush, depth: Field) -> Site:
        """The site of a lesion of this depth."""
        where = depth > -_BEYOND_MM
        index = np.nonzero(where)
        points = np.stack([a[i].astype(np.float32) for a, i in zip(brush.grid.axes, index, strict=True)], 1)
        return cls(brush, depth, where, points)

    @property
    def inner(self) -> Points:
        """The points inside the surface."""
        return self.points[self.depth[self.where] > 0]

    def bent(self, scale_mm: float, by_mm: float) -> Points:
        """The points, displaced by gradient noise."""
        shifts = [_noise(self.brush, scale_mm)[self.where] * np.float32(by_mm) for _ in range(3)]
        return self.points + np.stack(shifts, axis=1)

    def field(self, values: NDArray[np.floating] | NDArray[np.bool_], outside: float = 0.0) -> Field:
        """Values of the points as a field."""
        field = np.full(self.brush.grid.shape, outside, np.float32)
        field[self.where] = values
        return field

    def septa(self, size_mm: float, thick_mm: float) -> Field:
        """Share of septa, of varying thickness, between lobules of this size; 0..1."""
        cells = split_cells(self.bent(1.2 * size_mm, 0.12 * size_mm), size_mm, self.brush.rng)
        uneven = thick_mm * (1 + 0.35 * _noise(self.brush, 1.5 * size_mm)[self.where])
        return self.field(smoothstep((uneven / 2 - cells.face_mm) / 0.5))


def _noise(brush: Brush, scale_mm: float, octaves: int = 1) -> Field:
    return gradient_noise(brush.grid, scale_mm, brush.rng, octaves=octaves)


def _body(brush: Brush, rough: float, radius_mm: float | None = None) -> Field:
    return star_body(radius_mm or brush.radius_mm, brush.rng, rough=rough).depth(brush.grid)


def _beneath_pleura(brush: Brush, depth: Field) -> Field:
    """The part of a body in a band along the pleura, its inner border uneven; whole where that is far."""
    at = tuple(int(np.argmin(np.abs(a))) for a in brush.grid.axes)
    band = max(
        brush.rng.uniform(0.9, 1.6) * brush.radius_mm, float(brush.pleura_mm[at]) + 0.5 * brush.radius_mm
    )
    return np.asarray(
        np.minimum(depth, np.float32(band) + 2.5 * _noise(brush, 14.0, 2) - brush.pleura_mm), np.float32
    )


def _flat(brush: Brush, hu: float) -> Field:
    return np.full(brush.grid.shape, hu, np.float32)


def _softened(site: Site, filled: NDArray[np.bool_], sd_mm: float) -> Field:
    """Share of whole polyhedra, 0..1, with borders blurred by a Gaussian."""
    from scipy import ndimage

    sigma = [sd_mm / s for s in site.brush.grid.spacing]
    return np.asarray(ndimage.gaussian_filter(site.field(filled), sigma, truncate=3), np.float32)


def _by_cell(cells: Partition, values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of the points' values in each polyhedron."""
    size = np.bincount(cells.cell, minlength=cells.count)
    return np.asarray(np.bincount(cells.cell, values, cells.count) / np.maximum(size, 1), np.float64)


def _haze(brush: Brush, lift_hu: tuple[float, float]) -> Field:
    """Share of tissue in ground glass: fractal unevenness on several scales."""
    level = brush.share_for(brush.base_hu + brush.rng.uniform(*lift_hu))
    return np.asarray(np.clip(level * (1 + 0.15 * _noise(brush, 14.0, 3)), 0, 0.75), np.float32)


def _glass(brush: Brush) -> tuple[Site, Field, Field]:
    """Site, extent and share of ground glass: a cloud, or a geographic patch of whole lobules."""
    rng = brush.rng
    depth = _body(brush, rng.uniform(0.12, 0.28))
    share = _haze(brush, (150, 360))
    if rng.random() < 0.5:
        depth = depth + np.float32(rng.uniform(0.5, 2.5)) * _noise(brush, 10.0, 3)
        return Site.of(brush, depth), smoothstep(depth / float(rng.uniform(2, 5))), share
    site = Site.of(brush, depth)
    cells = split_cells(site.bent(14.0, 1.5), float(rng.uniform(11, 18)), rng)
    chosen = _by_cell(cells, site.depth[site.where]) > rng.normal(0, 1.5, cells.count)
    extent = _softened(site, chosen[cells.cell], float(rng.uniform(0.7, 1.6)))
    shade = rng.normal(1, 0.12, cells.count).clip(0.75, 1.25)
    return site, extent, share * site.field(shade[cells.cell], 1.0)


def _ground_glass(brush: Brush) -> Paint:
    """Hazy increase of density; vessels show through."""
    _, extent, share = _glass(brush)
    return Paint(extent * share, _flat(brush, TISSUE_HU), extent, True)


def _crazy_paving(brush: Brush) -> Paint:
    """Ground glass with thickened interlobular septa and, often, finer lines within the lobules."""
    rng = brush.rng
    site, extent, share = _glass(brush)
    lines = site.septa(float(rng.uniform(9, 14)), float(rng.uniform(1.0, 1.7))) * rng.uniform(0.4, 0.6)
    if rng.random() < 0.6:
        fine = site.septa(float(rng.uniform(4, 6)), 0.8) * rng.uniform(0.3, 0.45)
        lines = np.maximum(lines, fine)
    return Paint(extent * np.maximum(share, lines), _flat(brush, TISSUE_HU), extent, True)


def _part_solid(brush: Brush) -> Paint:
    """A ground-glass nodule with an eccentric solid part of a tenth to a third of its volume."""
    rng = brush.rng
    depth = _body(brush, 0.14) + 0.6 * _noise(brush, 8.0, 2)
    extent = smoothstep(depth / float(rng.uniform(1.2, 3.0)))
    radius = brush.radius_mm * rng.uniform(0.1, 0.33) ** (1 / 3)
    off = rng.normal(0, 1, 3)
    off *= rng.uniform(0, 0.6) * (brush.radius_mm - radius) / np.linalg.norm(off)
    solid = star_body(radius, rng, rough=0.25, centre=(off[0], off[1], off[2])).depth(brush.grid)
    core = smoothstep((np.minimum(solid, depth - 1) + 0.8 * _noise(brush, 5.0, 2)) / 0.9)
    share = np.maximum(extent * _haze(brush, (180, 360)), core * np.float32(0.97))
    return Paint(share, _flat(brush, rng.uniform(15, 50)), extent, True, core)


def _consolidation(brush: Brush) -> Paint:
    """Dense lung with a straight side along a fissure, a fuzzy side elsewhere, open bronchi within."""
    rng = brush.rng
    depth = _body(brush, rng.uniform(0.15, 0.3)) + np.float32(rng.uniform(0.5, 2)) * _noise(brush, 7.0, 3)
    normal = rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    z, y, x = brush.grid.open()
    along = np.float32(normal[0]) * z + np.float32(normal[1]) * y + np.float32(normal[2]) * x
    fissure = np.float32(0.55 * brush.radius_mm) - along + 0.8 * _noise(brush, 30.0)
    depth = np.minimum(depth, fissure)
    soft = np.float32(1.0) + np.clip(-along / np.float32(brush.radius_mm), 0, 1) * np.float32(
        rng.uniform(1, 4)
    )
    core = smoothstep(depth / soft)
    halo = smoothstep((depth + 2) / (2 * soft)) * np.float32(brush.share_for(brush.base_hu + 150))
    target = _flat(brush, rng.uniform(-10, 50)) + 12 * _noise(brush, 12.0, 2)
    patchy = np.clip(_noise(brush, 6.0) - 1.2, 0, 1)
    target = target - rng.uniform(0, 150) * patchy
    if rng.random() < 0.75 and brush.radius_mm > 9:
        target = target + _bronchi(brush, depth, normal) * (-880 - target)
    return Paint(np.maximum(core * np.float32(0.98), halo), np.asarray(target, np.float32), core, False)


def _bronchi(brush: Brush, depth: Field, normal: NDArray[np.float64]) -> Field:
    """Share of open air in bronchi that run into a body across its fuzzy side; 0..1."""
    rng = brush.rng
    site = Site.of(brush, depth)
    lines, radii = [], []
    for _ in range(int(rng.integers(1, 4))):
        start = -normal * brush.radius_mm + rng.normal(0, 0.25 * brush.radius_mm, 3)
        stop = normal * 0.4 * brush.radius_mm + rng.normal(0, 0.35 * brush.radius_mm, 3)
        line, radius = airway(start, stop, float(rng.uniform(1.2, 2.2)), rng)
        lines.append(line)
        radii.append(radius)
    air = line_depth(site.points, np.concatenate(lines), np.concatenate(radii))
    return site.field(smoothstep(air / 0.6))


def _reticulation(brush: Brush) -> Paint:
    """Irregular lines, septal and finer, on slightly hazy lung along the pleura; some bronchi drawn wide."""
    rng = brush.rng
    depth = _beneath_pleura(brush, _body(brush, 0.25) + 1.5 * _noise(brush, 9.0, 2))
    extent = smoothstep(depth / float(rng.uniform(2, 4)))
    site = Site.of(brush, depth)
    nodes = scattered(site.points, float(rng.uniform(3.2, 5.0)), rng, tries=10)
    thin = line_depth(site.points, network(nodes, rng), float(rng.uniform(0.3, 0.6)))
    lines = np.maximum(
        site.septa(float(rng.uniform(8, 14)), float(rng.uniform(0.9, 1.7))),
        site.field(smoothstep(thin / 0.5)) * np.float32(rng.uniform(0.5, 0.9)),
    )
    lines = lines * np.clip(0.9 + 0.35 * _noise(brush, 11.0, 2), 0.1, 1.2) * np.float32(rng.uniform(0.5, 0.8))
    share = np.maximum(_haze(brush, (40, 140)), np.clip(lines, 0, 0.95))
    if rng.random() < 0.5:
        line, radii = airway(
            rng.normal(0, 0.5, 3) * brush.radius_mm, rng.normal(0, 0.5, 3) * brush.radius_mm,
            float(rng.uniform(1.5, 2.5)), rng,
        )  # fmt: skip
        air = line_depth(site.points, line, radii)
        wall = site.field(smoothstep((0.6 - np.abs(air + 0.6)) / 0.5))
        share = np.maximum(share * (1 - site.field(smoothstep(air / 0.5))), np.float32(0.7) * wall)
    return Paint(np.asarray(extent * share, np.float32), _flat(brush, TISSUE_HU), extent, True)


def _honeycombing(brush: Brush) -> Paint:
    """Rows of bent cysts of 3 to 10 mm with shared thick walls under the pleura."""
    rng = brush.rng
    depth = _beneath_pleura(brush, _body(brush, 0.2) + 1.0 * _noise(brush, 8.0, 2))
    extent = smoothstep(depth / float(rng.uniform(1.0, 2.0)))
    site = Site.of(brush, depth)
    wall = float(rng.uniform(1.0, 1.6))
    # The outermost cysts keep a wall towards the lung, and a thin one towards the pleura.
    closed = np.minimum(depth - np.float32(0.8 * wall), brush.pleura_mm - np.float32(0.3))
    make = _foam if rng.random() < 0.6 else _rounded_cysts
    cyst = smoothstep(np.minimum(make(site, wall), closed) / 0.6)
    air = rng.uniform(-950, -890) + _flat(brush, 0)
    tissue = rng.uniform(-160, 0) + 60 * _noise(brush, 5.0, 2)
    target = tissue + cyst * (air - tissue)
    return Paint(extent * np.float32(0.97), np.asarray(target, np.float32), extent, False)


def _foam(site: Site, wall_mm: float) -> Field:
    """Depth in mm within cysts that fill space: polyhedra with their corners rounded off."""
    from scipy import ndimage

    rng = site.brush.rng
    cells = split_cells(site.bent(8.0, 1.0), float(rng.uniform(8, 13)), rng)
    open_air = site.field(smoothstep((cells.face_mm - 0.35 * wall_mm) / 0.4))
    sigma = [0.6 / s for s in site.brush.grid.spacing]
    rounded = ndimage.gaussian_filter(open_air, sigma, truncate=3)
    return np.asarray((rounded - 0.4) * 2.5, np.float32)


def _rounded_cysts(site: Site, wall_mm: float) -> Field:
    """Depth in mm within cysts that are bent ellipsoids of many sizes, the space between them tissue."""
    brush, rng = site.brush, site.brush.rng
    widest = float(np.clip(0.3 * brush.radius_mm, 2.6, 5.0))
    sizes = np.exp(rng.normal(np.log(rng.uniform(0.6, 0.8) * widest), 0.3, 400)).clip(1.4, widest)
    warp = [0.7 * _noise(brush, 6.0) for _ in range(3)]
    within = site.points[site.depth[site.where] > 1]
    centres, radii = scattered_balls(within, sizes, 0.3 * wall_mm, rng, tries=80)
    depth = pebbles(brush.grid, warp, centres, 1.12 * _grown(centres, radii, 0.3 * wall_mm), rng)
    left = depth[site.where] < -(1.2 + 0.4 * wall_mm)
    small, radii = scattered_balls(
        site.points[left & (site.depth[site.where] > 1)], rng.uniform(1.2, 1.8, 50), 0.3, rng, tries=80
    )
    return np.maximum(depth, pebbles(brush.grid, warp, small, 1.15 * radii, rng))


def _grown(centres: Points, radii: NDArray[np.float64], wall_mm: float) -> NDArray[np.float64]:
    """Each ball larger until it nearly meets its nearest neighbour, at most by half."""
    from scipy.spatial import cKDTree

    if len(centres) < 2:
        return radii
    away, near = (np.asarray(found) for found in cKDTree(centres).query(centres, k=min(6, len(centres))))
    gap = (away[:, 1:] - radii[:, None] - radii[near[:, 1:]]).min(axis=1) - 0.7 * wall_mm
    return np.asarray(radii + np.clip(0.5 * gap, 0, 0.5 * radii))


def _air_hu(brush: Brush) -> float:
    """HU of emphysema, clearly below this patient's parenchyma."""
    return float(np.clip(min(brush.rng.normal(-970, 9), brush.base_hu - 45), -995, -900))


def _centrilobular_emphysema(brush: Brush) -> Paint:
    """Clusters of small holes at the cores of lobules that merge where the disease is worse."""
    rng = brush.rng
    depth = _body(brush, 0.2)
    site = Site.of(brush, depth)
    cores = scattered(site.inner, float(rng.uniform(6.5, 9.5)), rng)
    satellites = np.repeat(cores, rng.integers(1, 4, len(cores)), axis=0)
    satellites = satellites + rng.normal(0, 1.8, satellites.shape).astype(np.float32)
    radii = rng.uniform(1.6, 3.4, len(satellites))
    holes = smoothstep(merged(brush.grid, satellites, radii) / 0.9) * smoothstep((depth + 1) / 3)
    return Paint(holes * np.float32(0.95), _flat(brush, _air_hu(brush)), holes, True)


def _confluent_emphysema(brush: Brush) -> Paint:
    """Holes run together, or whole lobules lost (panlobular); strands and vessels remain."""
    rng = brush.rng
    depth = _body(brush, 0.22)
    site = Site.of(brush, depth)
    if rng.random() < 0.4:
        cells = split_cells(site.bent(14.0, 1.5), float(rng.uniform(10, 16)), rng)
        chosen = _by_cell(cells, site.depth[site.where]) > rng.normal(0, 2.0, cells.count)
        holes = _softened(site, chosen[cells.cell], 1.0) * (1 - 0.45 * site.septa(12.0, 0.9))
    else:
        cores = scattered(site.inner, float(rng.uniform(5.0, 7.0)), rng)
        radii = rng.uniform(3.6, 5.6, len(cores))
        strands = smoothstep((rng.uniform(0.3, 0.8) - 4 * np.abs(_noise(brush, 9.0, 2))) / 0.5)
        holes = smoothstep(merged(brush.grid, cores, radii) / 1.2) * smoothstep((depth + 1) / 3)
        holes = holes * (1 - np.float32(0.45) * strands)
    return Paint(np.asarray(holes * np.float32(0.95), np.float32), _flat(brush, _air_hu(brush)), holes, True)


def _bulla(brush: Brush) -> Paint:
    """One large air space with a hairline wall, or a row of smaller ones along the pleura (paraseptal)."""
    rng = brush.rng
    at = tuple(int(np.argmin(np.abs(a))) for a in brush.grid.axes)
    if rng.random() < 0.4 and float(brush.pleura_mm[at]) < 14:
        body = np.minimum(_body(brush, 0.1, 1.35 * brush.radius_mm), 10 - brush.pleura_mm)
        centres, radii = scattered_balls(
            Site.of(brush, body).inner, rng.uniform(3.5, 8, 60), 0.4, rng, tries=30
        )
        warp = [0.8 * _noise(brush, 9.0) for _ in range(3)]
        depth = pebbles(brush.grid, warp, centres, _grown(centres, radii, 0.5), rng)
    else:
        depth = _body(brush, 0.08)
    air = smoothstep(depth / 0.7)
    wall = smoothstep((0.4 - np.abs(depth)) / 0.6) * np.float32(rng.uniform(0.1, 0.35))
    target = rng.uniform(-990, -972) + wall * 680
    return Paint(np.maximum(air, wall), np.asarray(target, np.float32), air, False)


def _cavity(brush: Brush) -> Paint:
    """An eccentric lumen, at times half full of fluid, in a thick, knobbly wall; both are the lesion."""
    rng = brush.rng
    radius = brush.radius_mm
    depth = _body(brush, 0.14) + np.float32(0.04 * radius) * _noise(brush, 0.5 * radius, 2)
    outer = smoothstep(depth / float(rng.uniform(0.7, 1.8)))
    halo = smoothstep((depth + 3) / 3) * np.float32(rng.uniform(0, 0.3))
    wall_mm = float(np.clip(radius * rng.uniform(0.2, 0.45), 2.5, 9.0))
    off = rng.normal(0, 1, 3)
    off *= rng.uniform(0, 0.4) * wall_mm / np.linalg.norm(off)
    hollow = star_body(radius - wall_mm, rng, rough=0.12, centre=(off[0], off[1], off[2])).depth(brush.grid)
    knobs = np.clip(_noise(brush, 0.35 * radius, 2), 0, 2) * np.float32(0.3 * wall_mm)
    lumen = smoothstep(
        np.minimum(
            np.minimum(hollow - knobs, depth - np.float32(max(3.0, 0.6 * wall_mm))),
            brush.pleura_mm - np.float32(0.5 * wall_mm),
        )
        / 0.7
    )
    inside = _flat(brush, rng.uniform(-990, -940))
    if rng.random() < 0.35:
        # A patient lies on the back: fluid gathers posteriorly, under a level that is flat.
        level = rng.uniform(0.1, 0.7) * (radius - wall_mm)
        inside = np.where(brush.grid.open()[1] > level, np.float32(rng.uniform(0, 25)), inside)
    wall = rng.uniform(-20, 55) + 12 * _noise(brush, 6.0, 2)
    target = wall + lumen * (inside - wall)
    return Paint(np.maximum(outer, halo), np.asarray(target, np.float32), outer, False)


PAINTERS_C: Painters = {
    "ground_glass": _ground_glass,
    "crazy_paving": _crazy_paving,
    "part_solid": _part_solid,
    "consolidation": _consolidation,
    "reticulation": _reticulation,
    "honeycombing": _honeycombing,
    "centrilobular_emphysema": _centrilobular_emphysema,
    "confluent_emphysema": _confluent_emphysema,
    "bulla": _bulla,
    "cavity": _cavity,
}
"""One painter a kind."""
