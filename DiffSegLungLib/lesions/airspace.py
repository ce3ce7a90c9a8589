"""Painters of filled airspaces: ground glass, crazy paving, consolidation, organising pneumonia, cavities.

Sizes and looks follow the Fleischner glossary (Bankier et al., Radiology 2024).
"""

from __future__ import annotations

import numpy as np

from .patterns import TISSUE_HU, Brush, Paint, laid_over, mesh, soft_edge
from .textures import Field, ball_depth, branches, smoothstep

FAINTEST_HU, DENSEST_HU = 60.0, 350.0
"""Ground glass lifts the lung by this much."""

_ML_A_BRONCHUS = 8.0
_MOST_BRONCHI = 40


def ground_glass(brush: Brush) -> Paint:
    """Hazy filling of every grade, soft or cut off at lobules; vessels show through."""
    return _glass(brush, brush.body(), FAINTEST_HU, DENSEST_HU)


def _glass(brush: Brush, depth: Field, faintest: float, densest: float) -> Paint:
    rng = brush.rng
    haze = 1 + 0.18 * brush.field(9.0) + 0.10 * brush.field(3.5)
    if rng.random() < 0.45:
        edge, mottled = _by_lobule(brush, depth)
        haze = haze * mottled
    else:
        edge = soft_edge(depth + _fringe(brush, 4.0), float(rng.uniform(1.5, 8.0)))
    share = brush.share_above(float(rng.uniform(faintest, densest)))
    if rng.random() < 0.3:
        # Clouds: dense in places, hardly there in others.
        haze = haze * np.clip(1 + 0.5 * brush.field(float(rng.uniform(12, 30))), 0.25, 1.6)
    return Paint(edge * np.clip(share * haze, 0, 0.75), brush.constant(TISSUE_HU), edge, True)


def _by_lobule(brush: Brush, depth: Field) -> tuple[Field, Field]:
    """Extent that takes lobules whole or not at all, and how strongly each is filled."""
    rng = brush.rng
    cells = brush.cells(float(rng.uniform(10, 20)), depth, margin_mm=12.0)
    owned = cells.own > 0
    own = cells.own[owned]
    size = np.bincount(own, minlength=cells.count)
    mean = np.bincount(own, depth[owned], cells.count) / np.maximum(size, 1)
    taken = soft_edge(mean + rng.normal(0, rng.uniform(1, 5), cells.count), 1.2)
    edge = np.where(owned, cells.by_cell(taken), np.float32(0))
    filled = 1 + rng.uniform(0, 0.3) * rng.standard_normal(cells.count)
    return np.asarray(edge, np.float32), cells.by_cell(np.clip(filled, 0.4, 1.6))


def _fringe(brush: Brush, most_mm: float) -> Field:
    """Unevenness of a border by up to ``most_mm`` on the scale of lobules: from smooth to frayed."""
    fringe = np.float32(brush.rng.uniform(0, most_mm)) * brush.field(float(brush.rng.uniform(5, 12)))
    return np.asarray(fringe + np.float32(0.3) * brush.field(2.5), np.float32)


def crazy_paving(brush: Brush) -> Paint:
    """Ground glass with a mesh of thickened septa, and often finer lines within the lobules."""
    rng = brush.rng
    glass = _glass(brush, brush.body(), 100.0, 330.0)
    depth = np.where(glass.extent > 0.02, np.float32(0), np.float32(-10))
    cells = brush.cells(float(rng.uniform(7, 15)), depth, bend=0.12)
    width = rng.uniform(1.0, 1.8) * np.clip(1 + 0.3 * brush.field(4.0), 0.5, 1.6)
    lines = mesh(brush, cells, width, shown=float(rng.uniform(0.55, 0.95))) * rng.uniform(0.4, 0.75)
    if rng.random() < 0.6:
        fine = brush.cells(float(rng.uniform(3.5, 5.5)), depth, bend=0.15)
        thin = mesh(brush, fine, 0.9, shown=0.6) * rng.uniform(0.25, 0.5)
        lines = np.maximum(lines, thin)
    share, target = laid_over((glass.share, glass.target), lines * glass.extent, TISSUE_HU)
    return Paint(share, target, glass.extent, True)


def part_solid(brush: Brush) -> Paint:
    """Ground glass around a solid core of a tenth to a third of its volume."""
    rng = brush.rng
    depth = brush.body(rough=0.35)
    edge = soft_edge(depth, float(rng.uniform(2.0, 4.0)))
    haze = 1 + 0.15 * brush.field(6.0)
    share = edge * np.clip(brush.share_above(rng.uniform(120, 350)) * haze, 0, 0.75)
    part = float(rng.uniform(0.1, 0.33))
    solid = brush.blob(brush.radius_mm * part ** (1 / 3), rough=0.5)
    core = soft_edge(np.minimum(solid, depth - 2), float(rng.uniform(1.0, 2.0)))
    return Paint(np.maximum(share, core * np.float32(0.98)), brush.constant(TISSUE_HU), edge, True, core)


def consolidation(brush: Brush) -> Paint:
    """Dense filling, sharp or frayed, with a hazy halo, gaps of better aerated lobules and open bronchi."""
    rng = brush.rng
    depth = brush.body(rind=0.3) + _fringe(brush, 4.0)
    filled = depth
    if rng.random() < 0.5:
        # Patchy: what is not filled stays ground glass.
        gaps = brush.field(float(rng.uniform(6, 14))) + 0.4 * brush.field(3.0)
        filled = np.minimum(depth, np.float32(4) * (gaps + np.float32(rng.uniform(0.3, 1.3))))
    core = soft_edge(filled, float(rng.uniform(1.0, 2.5)))
    halo = soft_edge(depth + rng.uniform(0, 5), float(rng.uniform(2.0, 6.0)))
    share = np.maximum(
        core * np.float32(rng.uniform(0.9, 0.985)),
        halo * np.float32(brush.share_above(rng.uniform(100, 350))),
    )
    target = rng.uniform(0, 60) + 14 * brush.field(9.0) - 45 * np.clip(brush.field(5.0) - 0.8, 0, 2)
    if rng.random() < 0.7:
        open_air = _bronchi(brush, depth)
        target = target + open_air * (-900 - target)
    return Paint(np.asarray(share, np.float32), np.asarray(target, np.float32), core, False)


def _bronchi(brush: Brush, depth: Field) -> Field:
    """Branching bronchi 2 to 5 mm wide that stay open within a body: 1 in their lumen."""
    rng = brush.rng
    within = np.flatnonzero(depth > 3)
    if not len(within):
        return brush.constant(0.0)
    millilitres = len(within) * float(np.prod(brush.grid.spacing)) / 1000
    count = int(np.clip(rng.poisson(millilitres / _ML_A_BRONCHUS) + 1, 1, _MOST_BRONCHI))
    length = float(np.clip(1.7 * brush.radius_mm, 15, 60))
    centres, radii = [], []
    for start in brush.at(rng.choice(within, count)):
        heading = rng.standard_normal(3)
        heading /= np.linalg.norm(heading)
        chain = branches(start - heading * length / 2, heading, length, rng.uniform(1.0, 2.3), rng)
        centres.append(chain[0])
        radii.append(chain[1])
    open_air = ball_depth(brush.grid, np.concatenate(centres), np.concatenate(radii))
    return np.asarray(smoothstep(open_air / 0.8) * (depth > 0), np.float32)


def organising_pneumonia(brush: Brush) -> Paint:
    """Arcs along lobules, or dense rings around ground glass (reversed halo); its dense part is the core."""
    rng = brush.rng
    depth = brush.body(rough=0.3)
    ring = rng.random() < 0.35
    if ring and brush.region.size:
        # Rings go round patches, not round a whole region.
        depth = np.minimum(
            depth, 9 * (brush.field(float(rng.uniform(14, 22))) - np.float32(rng.uniform(0.5, 1)))
        )
    edge = soft_edge(depth, float(rng.uniform(1.5, 4.0)))
    haze = 1 + 0.2 * brush.field(7.0)
    share = edge * np.clip(brush.share_above(rng.uniform(FAINTEST_HU, 280)) * haze, 0, 0.7)
    if ring:
        thick = rng.uniform(2.5, 6) * (1 + 0.35 * brush.field(8.0))
        core = soft_edge(depth + _fringe(brush, 1.5), 1.2) * soft_edge(thick - depth, 1.5)
    else:
        cells = brush.cells(float(rng.uniform(13, 22)), depth, bend=0.2)
        # An arc swells and tapers along its lobule.
        width = np.clip(rng.uniform(1.5, 4.0) * (1 + 0.6 * brush.field(7.0)), 0.0, 8)
        core = np.minimum(1, 1.3 * mesh(brush, cells, width, shown=float(rng.uniform(0.2, 0.5)))) * edge
        if rng.random() < 0.7:
            lump = 5 * (brush.field(float(rng.uniform(8, 15))) - np.float32(rng.uniform(0.5, 1.4)))
            core = np.maximum(core, soft_edge(np.minimum(depth, lump) + _fringe(brush, 3.0), 1.5))
    core = np.asarray(core, np.float32)
    both, target = laid_over((share, brush.constant(TISSUE_HU)), core * np.float32(0.95), rng.uniform(0, 50))
    return Paint(both, target, edge, True, core)


def cavity(brush: Brush) -> Paint:
    """A lumen of air in a dense, uneven wall of 2 to 8 mm, hazy around; lumen and wall are the lesion."""
    rng = brush.rng
    depth = brush.body(rough=0.22, stretch=0.2)
    outer = soft_edge(depth, float(rng.uniform(1.0, 2.0)))
    halo = soft_edge(depth + 4, 4) * np.float32(rng.uniform(0, 0.3))
    wall_mm = float(np.clip(brush.radius_mm * rng.uniform(0.2, 0.45), 2.5, 8))
    uneven = wall_mm * (1 + 0.22 * brush.field(0.6 * brush.radius_mm))
    lumen = smoothstep(depth - np.clip(uneven, 2.0, 0.6 * brush.radius_mm))
    wall_hu = rng.uniform(-20, 60) + 15 * brush.field(7.0)
    target = wall_hu + lumen * (rng.uniform(-990, -940) - wall_hu)
    return Paint(np.maximum(outer, halo), np.asarray(target, np.float32), outer, False)
