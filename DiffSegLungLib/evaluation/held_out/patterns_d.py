"""What each kind of lesion looks like in family "d", from which no sign was calibrated and no setting chosen.

Written after the Fleischner glossary (Bankier et al., Radiology 2024) on the mathematics of
``textures_d.py`` and ``lobules_d.py``, with the faint and the strong end of each pattern. Extents mean what
they mean in the other families: the region of a pattern, but the holes themselves in emphysema.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...lesions.patterns import TISSUE_HU, Brush, Paint, Painters
from ...lesions.textures import Field, smoothstep
from .lobules_d import Place, layered_seeds, power_cells, swayed
from .textures_d import bronchial_tree, crooked_tubes, ellipsoid_depth, faceted_body, matern_field


def _field(brush: Brush, scale_mm: float) -> Field:
    return matern_field(brush.grid, scale_mm, brush.rng)


def _at_centre(brush: Brush) -> tuple[int, int, int]:
    z, y, x = (int(np.argmin(np.abs(a))) for a in brush.grid.axes)
    return z, y, x


def _outline(
    brush: Brush, *, uneven: float, frayed_mm: float, lumps: int = 0, swell: float = 1.0, sharp: float = 9.0
) -> Field:
    """Signed depth in mm of a faceted body whose surface is frayed by a Matern field."""
    body = faceted_body(swell * brush.radius_mm, brush.rng, uneven=uneven, lumps=lumps, sharp=sharp)
    return np.asarray(body.depth(brush.grid) + np.float32(frayed_mm) * _field(brush, 9.0), np.float32)


def _along_pleura(brush: Brush, depth: Field, thickness: tuple[float, float]) -> Field:
    """The part of a body in a layer along the pleura (thickness in radii); whole where that is far."""
    layer = brush.radius_mm * brush.rng.uniform(*thickness)
    if float(brush.pleura_mm[_at_centre(brush)]) > 0.8 * layer:
        return depth
    return np.asarray(
        np.minimum(depth, np.float32(layer) + 2 * _field(brush, 12.0) - brush.pleura_mm), np.float32
    )


def _even(brush: Brush, hu: float) -> Field:
    return np.full(brush.grid.shape, hu, np.float32)


def _mixed(parts: list[tuple[Field, Field | float]]) -> tuple[Field, Field]:
    """Share and target of several (share, HU) painted one over the other, the last on top."""
    share = np.zeros_like(parts[0][0])
    sums = np.zeros_like(share)
    for own, hu in parts:
        sums = sums * (1 - own) + own * hu
        share = 1 - (1 - share) * (1 - own)
    return np.asarray(share, np.float32), np.asarray(sums / np.maximum(share, 1e-4), np.float32)


def _hazy(brush: Brush, lift_hu: tuple[float, float], uneven: float = 0.16) -> Field:
    """Share of tissue that lifts the lung by so much, uneven on the scale of acini and of lobules."""
    level = brush.share_for(brush.base_hu + brush.rng.uniform(*lift_hu))
    cloud = 0.8 * _field(brush, 11.0) + 0.6 * _field(brush, 4.0)
    return np.asarray(np.clip(level * (1 + np.float32(uneven) * cloud), 0, 0.7), np.float32)


def _glass(brush: Brush, lift_hu: tuple[float, float]) -> tuple[Place, Field, Field]:
    """Place, extent and share of ground glass: a mosaic of lobules, or a cloud with a soft border."""
    rng = brush.rng
    depth = _outline(
        brush, uneven=rng.uniform(0.1, 0.22), frayed_mm=rng.uniform(0.5, 2), lumps=int(rng.integers(0, 3))
    )
    place = Place(brush.grid, depth, brush.rng)
    share = _hazy(brush, lift_hu)
    if rng.random() < 0.35:
        return place, smoothstep(depth / float(rng.uniform(2.5, 5.0))), share
    cells = place.lobules(float(rng.uniform(10, 18)))
    inside = cells.mean(place.depth[place.where]) > rng.normal(0, 1.8, cells.count)
    extent = _blended(place, inside[cells.cell], float(rng.uniform(0.5, 1.5)))
    shade = np.exp(rng.normal(0, 0.14, cells.count)).clip(0.8, 1.35)
    return place, extent, np.asarray(share * place.spread(shade[cells.cell], 1.0), np.float32)


def _blended(place: Place, filled: NDArray[np.bool_], sd_mm: float) -> Field:
    """Share of whole cells with their borders blurred."""
    from scipy import ndimage

    sigma = [sd_mm / s for s in place.grid.spacing]
    return np.asarray(ndimage.gaussian_filter(place.spread(filled), sigma, truncate=3), np.float32)


def _ground_glass(brush: Brush) -> Paint:
    """Haze of about +80 to +300 HU with lobules at its edge; vessels show through."""
    _, extent, share = _glass(brush, (95, 310))
    return Paint(extent * share, _even(brush, TISSUE_HU), extent, True)


def _crazy_paving(brush: Brush) -> Paint:
    """Ground glass under a polygonal net of septa 10 to 20 mm apart and finer lines within the meshes."""
    rng = brush.rng
    place, extent, share = _glass(brush, (120, 300))
    lines = place.net(float(rng.uniform(10, 17)), (0.8, rng.uniform(1.2, 2.0)), 0.12) * rng.uniform(0.4, 0.65)
    if rng.random() < 0.75:
        fine = place.net(float(rng.uniform(4.5, 7)), (0.5, 1.1), 0.35) * rng.uniform(0.25, 0.4)
        lines = np.maximum(lines, fine)
    full = np.asarray(share + (1 - share) * lines, np.float32)
    return Paint(extent * full, _even(brush, TISSUE_HU), extent, True)


def _part_solid(brush: Brush) -> Paint:
    """An irregular ground-glass nodule with a lobed solid core of up to a third of it."""
    rng = brush.rng
    depth = _outline(
        brush, uneven=rng.uniform(0.08, 0.18), frayed_mm=rng.uniform(0.4, 1.5), lumps=int(rng.integers(0, 2))
    )
    extent = smoothstep(depth / float(rng.uniform(0.9, 2.5)))
    radius = brush.radius_mm * float(rng.uniform(0.06, 0.33)) ** (1 / 3)
    way = rng.standard_normal(3)
    way *= rng.uniform(0, 0.7) * (brush.radius_mm - radius) / np.linalg.norm(way)
    solid = faceted_body(
        radius, rng, uneven=0.2, lumps=int(rng.integers(0, 3)), centre=(way[0], way[1], way[2])
    ).depth(brush.grid)
    core = smoothstep(
        np.minimum(solid + np.float32(rng.uniform(0.4, 1.3)) * _field(brush, 4.0), depth - 0.8)
        / float(rng.uniform(0.6, 1.2))
    )
    glass = extent * _hazy(brush, (100, 300))
    share, target = _mixed([(glass, TISSUE_HU), (core * np.float32(0.97), float(rng.uniform(-10, 60)))])
    return Paint(share, target, extent, True, core)


def _consolidation(brush: Brush) -> Paint:
    """Lung without air: a lobar, angular border or a fluffy one, bronchi open within."""
    rng = brush.rng
    lobar = rng.random() < 0.45
    depth = _outline(
        brush, uneven=0.2, frayed_mm=0.5 if lobar else rng.uniform(1.5, 3.0), lumps=int(rng.integers(0, 3))
    )
    if not lobar:
        depth = depth + np.float32(rng.uniform(0.6, 1.6)) * _field(brush, 4.0)
    soft = float(rng.uniform(0.5, 1.0) if lobar else rng.uniform(1.5, 3.0))
    core = smoothstep(depth / soft)
    around = smoothstep((depth + 1.5) / 2.0) * _hazy(brush, (40, 180))
    tissue = rng.uniform(-50, 60) + 14 * _field(brush, 10.0)
    # Acini that still hold some air.
    tissue = tissue - np.float32(rng.uniform(0, 220)) * np.clip(_field(brush, 5.0) - 1.3, 0, 1)
    parts: list[tuple[Field, Field | float]] = [(around, TISSUE_HU), (core * np.float32(0.985), tissue)]
    if rng.random() < 0.75 and brush.radius_mm > 8:
        parts.append((_bronchogram(brush, depth) * core, float(rng.uniform(-960, -860))))
    share, target = _mixed(parts)
    return Paint(share, target, core, False)


def _bronchogram(brush: Brush, depth: Field) -> Field:
    """Share, 0..1, of air in one to three trees that grow in from one side of a body."""
    rng = brush.rng
    hilar = rng.standard_normal(3)
    hilar /= np.linalg.norm(hilar)
    air = np.full(brush.grid.shape, -2, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        start = 0.8 * brush.radius_mm * hilar + rng.normal(0, 0.2 * brush.radius_mm, 3)
        heading = -hilar + rng.normal(0, 0.25, 3)
        radius = float(rng.uniform(1.0, 2.2)) * min(1.0, brush.radius_mm / 14)
        air = np.maximum(air, bronchial_tree(start, heading, radius, 4, rng).depth(brush.grid))
    # A little tissue closes the ends towards the surface.
    return smoothstep(np.minimum(air, depth - 0.5) / 0.45)


def _reticulation(brush: Brush) -> Paint:
    """A net of lines of 1 to 3 mm with meshes of 3 to 8 mm, fading inwards from the pleura."""
    rng = brush.rng
    depth = _outline(brush, uneven=0.18, frayed_mm=rng.uniform(1, 2))
    depth = _along_pleura(brush, depth, (0.9, 1.7))
    depth = depth + np.float32(rng.uniform(0.5, 1.5)) * _field(brush, 4.0)
    extent = smoothstep(depth / float(rng.uniform(1.5, 4.5)))
    place = Place(brush.grid, depth, brush.rng)
    strength = float(rng.uniform(0.4, 0.8))
    fine = place.net(float(rng.uniform(4.5, 8.0)), (0.4, rng.uniform(0.9, 1.7)), rng.uniform(0.3, 0.6))
    septa = place.net(float(rng.uniform(10, 16)), (0.6, 2.0), 0.3)
    fading = np.exp(-np.maximum(brush.pleura_mm - 4, 0) / np.float32(brush.radius_mm * rng.uniform(1.5, 4)))
    lines = np.maximum(fine * np.clip(0.95 + 0.3 * _field(brush, 9.0), 0.15, 1.2), septa)
    lines = np.clip(strength * lines * np.maximum(fading, 0.45), 0, 0.92)
    parts: list[tuple[Field, Field | float]] = [
        (extent * _hazy(brush, (10, 130)), TISSUE_HU),
        (np.asarray(extent * lines, np.float32), TISSUE_HU),
    ]
    if rng.random() < 0.5 and brush.radius_mm > 8:
        wall, air = _bronchiolectasis(brush, depth)
        parts += [(wall, TISSUE_HU), (air, -930.0)]
    share, target = _mixed(parts)
    return Paint(share, target, extent, True)


def _bronchiolectasis(brush: Brush, depth: Field) -> tuple[Field, Field]:
    """Shares of wall and of air of peripheral airways, drawn wide and crooked."""
    rng = brush.rng
    count = int(rng.integers(2, 6))
    inside = np.argwhere(depth > 2)
    if len(inside) == 0:
        return np.zeros_like(depth), np.zeros_like(depth)
    spots = inside[rng.integers(0, len(inside), count)]
    starts = np.stack([axis[spots[:, i]] for i, axis in enumerate(brush.grid.axes)], axis=1)
    tubes = crooked_tubes(starts, (0.9, 1.9), rng)
    air = np.minimum(tubes.depth(brush.grid), depth)
    wall = np.minimum(air + np.float32(rng.uniform(0.8, 1.3)), depth)
    return smoothstep(wall / 0.5) * np.float32(0.75), smoothstep(air / 0.5)


def _honeycombing(brush: Brush) -> Paint:
    """Cysts of 3 to 10 mm, stacked in layers under the pleura, with walls of 1 to 3 mm in common."""
    rng = brush.rng
    depth = _outline(brush, uneven=0.15, frayed_mm=rng.uniform(0.4, 1.2))
    depth = _along_pleura(brush, depth, (0.8, 1.5)) + np.float32(rng.uniform(0.3, 1)) * _field(brush, 4.0)
    place = Place(brush.grid, depth, brush.rng)
    middle = float(rng.uniform(3.8, 7.0))
    wall = min(float(rng.uniform(1.3, 2.4)), 0.16 * brush.radius_mm)
    sizes = (max(3.5, 0.7 * middle), 1.35 * middle)
    from_pleura = brush.pleura_mm[place.where]
    seeds = layered_seeds(place.points, from_pleura, (sizes[0] + wall, sizes[1] + wall), rng)
    open_mm = np.full(len(place.points), -2, np.float32)
    hazy = np.zeros(len(place.points), np.float32)
    if len(seeds) > 1:
        cells = power_cells(
            swayed(place.points, 14.0, 0.7, rng), seeds, rng, contrast_mm=0.35 * middle, faces=6
        )
        uneven = wall * (0.5 + np.exp(rng.normal(0, 0.25, cells.count)).clip(0.6, 1.6) * 0.5)
        open_mm = cells.rounded_mm(0.45) - (0.5 * uneven - 0.45)[cells.cell].astype(np.float32)
        # Now and then a cell is scar and not cyst.
        open_mm = np.where((rng.random(cells.count) < 0.05)[cells.cell], np.float32(-2), open_mm)
        hazy = rng.uniform(0, 0.12, cells.count)[cells.cell].astype(np.float32)
    # A wall closes the stack towards the lung, a thin one towards the pleura.
    closed = np.minimum(depth[place.where] - np.float32(0.7 * wall), from_pleura - np.float32(0.5))
    cyst = place.spread(smoothstep(np.minimum(open_mm, closed) / np.float32(0.45)))
    air = rng.uniform(-970, -890) + place.spread(hazy) * 600
    tissue = rng.uniform(-200, 20) + 50 * _field(brush, 6.0)
    extent = smoothstep(depth / float(rng.uniform(0.8, 1.8)))
    target = np.asarray(tissue + cyst * (air - tissue), np.float32)
    return Paint(extent * np.float32(0.97), target, extent, False)


def _air_hu(brush: Brush) -> float:
    """HU of emphysema, -1000 to -945, far enough below this patient's parenchyma to be seen."""
    return float(max(min(brush.rng.uniform(-1000, -945), brush.base_hu - 75), -1010))


def _centrilobular_emphysema(brush: Brush) -> Paint:
    """Poisson many holes of 1 to 5 mm radius about the core of each lobule, few with a wall to be seen."""
    rng = brush.rng
    # Holes fill a part of the region only.
    depth = _outline(brush, uneven=0.15, frayed_mm=1.5, swell=1.25)
    place = Place(brush.grid, depth, brush.rng)
    gap = float(rng.uniform(10, 16))
    cells = place.lobules(gap)
    cores = cells.seeds[cells.mean(depth[place.where]) > 0.5]
    centres = np.repeat(cores, rng.poisson(rng.uniform(2.0, 5.0), len(cores)), axis=0)
    if len(centres) == 0:
        centres = np.zeros((1, 3), np.float32)
    centres = centres + rng.normal(0, 0.22 * gap, centres.shape).astype(np.float32)
    radii = rng.gamma(9.0, rng.uniform(2.6, 4.0) / 9.0, len(centres)).clip(1.0, 5.0)
    air = ellipsoid_depth(brush.grid, centres, radii, rng, reach_mm=3.5) + 0.35 * _field(brush, 2.5)
    # Holes end at the septa of their lobule, for the most part.
    held = place.spread(np.where(cells.chance[:, 0] < 0.7, cells.faces_mm[:, 0] - 0.3, 9.0), -9.0)
    air = np.minimum(air, held)
    return _holes(brush, air, float(rng.uniform(0.5, 0.9)), walled=rng.random() < 0.3)


def _holes(brush: Brush, air: Field, soft_mm: float, *, walled: bool) -> Paint:
    """Air in lung, where ``air`` is its depth in mm, with or without a faint wall around it."""
    rng = brush.rng
    holes = smoothstep(air / np.float32(soft_mm))
    parts: list[tuple[Field, Field | float]] = []
    if walled:
        rim = smoothstep((0.5 - np.abs(air + 0.6)) / 0.5) * np.float32(rng.uniform(0.08, 0.25))
        parts.append((rim, TISSUE_HU))
    parts.append((holes * np.float32(0.97), _air_hu(brush)))
    share, target = _mixed(parts)
    return Paint(share, target, holes, True)


def _confluent_emphysema(brush: Brush) -> Paint:
    """Holes that have run together: thin remains of septa, islands of lung, and the vessels."""
    rng = brush.rng
    depth = _outline(brush, uneven=0.18, frayed_mm=1.5, lumps=int(rng.integers(0, 2)))
    # The border is that of the outermost holes.
    depth = depth + np.float32(rng.uniform(1, 3)) * _field(brush, 5.0)
    place = Place(brush.grid, depth, brush.rng)
    islands = 2.5 * (_field(brush, rng.uniform(3.5, 7)) + np.float32(rng.uniform(0.9, 1.4)))
    septa = place.net(float(rng.uniform(7, 12)), (0.5, rng.uniform(0.9, 1.5)), rng.uniform(0.2, 0.5))
    air = np.minimum(depth, islands)
    holes = smoothstep(air / float(rng.uniform(0.8, 1.6))) * (1 - np.float32(rng.uniform(0.4, 0.8)) * septa)
    holes = np.asarray(holes, np.float32)
    return Paint(holes * np.float32(0.97), _even(brush, _air_hu(brush)), holes, True)


def _bulla(brush: Brush) -> Paint:
    """Air above 10 mm across, its wall a hairline; larger ones may be parted by a thin septum."""
    rng = brush.rng
    lumps = int(rng.integers(0, 3)) if brush.radius_mm > 10 else 0
    depth = faceted_body(brush.radius_mm, rng, uneven=rng.uniform(0.03, 0.12), sharp=6.0, lumps=lumps).depth(
        brush.grid
    )
    air = smoothstep(depth / 0.6)
    line = np.abs(depth + 0.2)
    if rng.random() < 0.3 and brush.radius_mm > 12:
        normal = rng.standard_normal(3).astype(np.float32)
        normal /= np.linalg.norm(normal)
        z, y, x = brush.grid.open()
        across = normal[0] * z + normal[1] * y + normal[2] * x
        septum = np.abs(
            across - np.float32(rng.uniform(0.3, 0.6) * brush.radius_mm) + 1.5 * _field(brush, 20.0)
        )
        line = np.minimum(line, np.maximum(septum + 0.1, -depth))
    wall = smoothstep((0.45 - line) / 0.5) * np.float32(rng.uniform(0.1, 0.35))
    share, target = _mixed([(air, float(rng.uniform(-1000, -965))), (wall, TISSUE_HU)])
    return Paint(share, target, air, False)


def _cavity(brush: Brush) -> Paint:
    """Gas, off centre, in a wall of 3 to 12 mm whose thickness changes from side to side; both are lesion."""
    rng = brush.rng
    radius = brush.radius_mm
    depth = _outline(
        brush, uneven=0.12, frayed_mm=rng.uniform(0.3, 1.2), lumps=int(rng.integers(0, 2)), sharp=6.0
    )
    outer = smoothstep(depth / float(rng.uniform(0.6, 1.8)))
    thinnest = float(np.clip(radius * rng.uniform(0.16, 0.3), 2.5, 8.0))
    hollow = radius - float(np.clip(radius * rng.uniform(0.22, 0.45), 3.0, 12.0))
    way = rng.standard_normal(3)
    way *= rng.uniform(0, 0.8) * max(radius - hollow - thinnest, 0) / np.linalg.norm(way)
    inner = faceted_body(hollow, rng, uneven=0.16, sharp=5.0, centre=(way[0], way[1], way[2])).depth(
        brush.grid
    )
    knobs = np.float32(rng.uniform(0.2, 0.8)) * _field(brush, 4.0)
    # The wall is closed towards the pleura too.
    within = np.minimum(depth, brush.pleura_mm) - np.float32(thinnest)
    gas = smoothstep(np.minimum(inner + knobs, within) / 0.6)
    around = smoothstep((depth + 1.5) / 2.0) * _hazy(brush, (0, 150))
    wall = rng.uniform(-40, 60) + 14 * _field(brush, 6.0)
    wall = wall - np.float32(rng.uniform(0, 120)) * np.clip(_field(brush, 4.0) - 1.4, 0, 1)
    share, target = _mixed(
        [(around, TISSUE_HU), (outer * np.float32(0.985), wall), (gas, float(rng.uniform(-1000, -930)))]
    )
    return Paint(share, target, outer, False)


PAINTERS_D: Painters = {
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
