"""Painters of the interstitium: septal lines, reticulation, honeycombing, bronchi pulled open by scars."""

from __future__ import annotations

import numpy as np

from .lobules import slab_share
from .patterns import AIR_HU, TISSUE_HU, Brush, Paint, laid_over, mesh, soft_edge
from .textures import Field, ball_depth, branches, smoothstep

_ML_A_BRONCHUS = 25.0
_MOST_BRONCHI = 16


def septal_lines(brush: Brush) -> Paint:
    """Lines 1 to 2 mm wide around secondary lobules, with normal, slightly hazy or lucent lung between."""
    rng = brush.rng
    depth = brush.body(rind=0.3)
    edge = soft_edge(depth, float(rng.uniform(1.5, 5.0)))
    cells = brush.cells(float(rng.uniform(10, 20)), depth, bend=0.1)
    width = rng.uniform(1.0, 1.6) * np.clip(1 + 0.2 * brush.field(6.0) + 0.25 * brush.field(2.5), 0.5, 1.5)
    lines = mesh(brush, cells, np.asarray(width, np.float32), shown=float(rng.uniform(0.5, 0.95)))
    lines = lines * np.float32(rng.uniform(0.55, 1.0))
    if rng.random() < 0.35:
        between, hu = edge * np.float32(rng.uniform(0.1, 0.45)), AIR_HU
    else:
        between, hu = edge * np.float32(brush.share_above(rng.uniform(0, 60))), TISSUE_HU
    share, target = laid_over((between, brush.constant(hu)), edge * lines, TISSUE_HU)
    return Paint(share, target, edge, True)


def reticulation(brush: Brush) -> Paint:
    """A fine, irregular mesh on slightly hazy lung, often with some coarser lines and widened bronchi."""
    rng = brush.rng
    depth = brush.body(rind=0.6)
    edge = soft_edge(depth, float(rng.uniform(2.0, 5.0)))
    # It begins gently: full strength only some way in.
    strength = edge * soft_edge(depth - 2, float(rng.uniform(3.0, 14.0)))
    fine = brush.cells(float(rng.uniform(3.5, 7.0)), depth, bend=0.18)
    width = rng.uniform(0.8, 1.4) * np.clip(1 + 0.35 * brush.field(3.0), 0.4, 1.7)
    lines = mesh(brush, fine, width, shown=float(rng.uniform(0.35, 0.75))) * rng.uniform(0.45, 0.85)
    if rng.random() < 0.6:
        coarse = brush.cells(float(rng.uniform(8, 15)), depth, bend=0.18)
        thick = mesh(brush, coarse, float(rng.uniform(1.0, 2.0)), shown=float(rng.uniform(0.4, 0.8)))
        lines = np.maximum(lines, np.float32(rng.uniform(0.7, 1)) * thick)
    haze = brush.share_above(rng.uniform(20, 190)) * (1 + 0.3 * brush.field(6.0) + 0.2 * brush.field(3.0))
    share, target = laid_over(
        (strength * np.clip(haze, 0, 0.5), brush.constant(TISSUE_HU)), strength * lines, TISSUE_HU
    )
    if rng.random() < 0.4:
        share, target = _pulled_open(brush, depth, share, target)
    return Paint(share, target, edge, True)


def honeycombing(brush: Brush) -> Paint:
    """Air cysts of 3 to 10 mm that share walls of 1 to 3 mm, in rows and layers below the pleura."""
    rng = brush.rng
    depth = brush.body(rough=0.35, rind=0.5)
    edge = soft_edge(depth, 1.5)
    wall = float(rng.uniform(1.0, 2.0))
    size = float(rng.uniform(4.0, 9.0)) + wall
    cells = brush.cells(size, depth, layered=True)
    width = np.clip(wall * (0.7 + 0.6 * cells.by_face(rng)) * (1 + 0.25 * brush.field(8.0)), 0.9, 3.2)
    # Cysts are round where three walls meet, and some cells hold scar instead.
    corner = np.clip(cells.seed_mm - 0.67 * size + 0.5, 0, 1)
    scarred = rng.random(cells.count) < rng.uniform(0, 0.15)
    scar = cells.by_cell(scarred * rng.uniform(0.7, 1.0, cells.count))
    walls = np.maximum(np.maximum(cells.walls(width), corner), scar)
    air, tissue = rng.uniform(-975, -870), rng.uniform(-150, 30)
    target = air + walls * (tissue - air)
    share, target = edge * np.float32(0.97), np.asarray(target, np.float32)
    if rng.random() < 0.3:
        share, target = _pulled_open(brush, depth, share, target)
    return Paint(share, target, edge, False)


def _pulled_open(brush: Brush, depth: Field, share: Field, target: Field) -> tuple[Field, Field]:
    """The same with widened, winding bronchi 3 to 8 mm across in it, their walls 1 to 1.5 mm thick."""
    rng = brush.rng
    within = np.flatnonzero(depth > 1)
    if not len(within):
        return share, target
    millilitres = len(within) * float(np.prod(brush.grid.spacing)) / 1000
    count = int(np.clip(rng.poisson(millilitres / _ML_A_BRONCHUS) + 1, 1, _MOST_BRONCHI))
    centres, radii = [], []
    for start in brush.at(rng.choice(within, count)):
        chain = branches(
            start, rng.standard_normal(3), float(rng.uniform(12, 35)), rng.uniform(1.5, 3.5), rng
        )
        centres.append(chain[0])
        # Varicose: wide and narrow in turn.
        radii.append(chain[1] * (1 + 0.2 * np.sin(np.arange(len(chain[1])) * rng.uniform(0.6, 1.2))))
    wall = float(rng.uniform(1.0, 1.5))
    lumen = ball_depth(brush.grid, np.concatenate(centres), np.concatenate(radii), reach_mm=2.5)
    inside = (depth > -1).astype(np.float32)
    share, target = laid_over(
        (share, target), 0.85 * inside * slab_share(lumen + wall / 2, wall, 1.3), TISSUE_HU
    )
    return laid_over((share, target), 0.97 * inside * smoothstep(lumen / 0.8), -930.0)
