"""What each kind of lesion looks like in families "a" and "b": shape, texture in millimetres, density in HU.

Every painter turns a ``Brush`` (where, how large, in which lung) into ``Paint``. Densities follow the class
table of the method (ground glass -600 +- 110, fibrosis -550 +- 200, consolidation -20 +- 90, emphysema -965
+- 25 HU) and are taken relative to the patient's own parenchyma; sizes follow the Fleischner glossary
(Bankier et al., Radiology 2024): honeycomb cysts 3-10 mm with walls of 1-3 mm, centrilobular holes of a few
mm, bullae above 10 mm with walls below 1 mm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .textures import (
    Field,
    Grid,
    ball_depth,
    branches,
    packed_balls,
    power_field,
    smoothstep,
    spline_field,
    voronoi_sheets,
    wave_sheets,
)

Family = Literal["a", "b", "c", "d"]

TISSUE_HU = 35.0
AIR_HU = -990.0


@dataclass(frozen=True)
class Brush:
    """Where and how a lesion is painted.

    Attributes:
        grid: sample positions in mm, relative to the centre of the lesion.
        radius_mm: of the ball with the intended volume.
        depth: (z, y, x) share of lung nearby: about 0.5 at the pleura, 1 deep inside.
        base_hu: the patient's own parenchyma here.
        rng: source of every random choice.
        family: which mathematics makes shape and texture.
        pleura_mm: (z, y, x) distance to where the lung ends, made for families "c" and "d" only.
    """

    grid: Grid
    radius_mm: float
    depth: Field
    base_hu: float
    rng: np.random.Generator
    family: Family
    pleura_mm: Field = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))

    def field(self, scale_mm: float) -> Field:
        """A smooth random field of mean 0, variance 1 and this correlation length."""
        make = spline_field if self.family == "a" else power_field
        return make(self.grid, scale_mm, self.rng)

    def sheets(self, spacing_mm: float) -> Field:
        """Distance in mm to random membranes about ``spacing_mm`` apart."""
        if self.family == "b":
            return voronoi_sheets(self.grid, spacing_mm, self.rng)
        # Crossing sets of membranes close the cells that a single one leaves open.
        first, second = (wave_sheets(self.grid, 2.2 * spacing_mm, self.rng) for _ in range(2))
        return np.minimum(first, second)

    def cysts(self, size_mm: float, wall_mm: Field) -> Field:
        """Walls between packed cysts of about ``size_mm``: 0 in a cyst, 1 in a wall."""
        if self.family == "b":
            return smoothstep((wall_mm / 2 - self.sheets(1.15 * size_mm)) / 0.8)
        inside = ball_depth(self.grid, *packed_balls(self.grid, 1.15 * size_mm, self.rng))
        return 1 - smoothstep((inside - wall_mm / 2 + 0.8) / 0.9)

    def blob(self, radius_mm: float, *, rough: float = 0.3, stretch: float = 0.35) -> Field:
        """Signed depth in mm (positive inside) of an irregular body of about this radius.

        Args:
            radius_mm: of the ball with the same volume.
            rough: amplitude of the irregularity as a share of the radius.
            stretch: standard deviation of the logarithm of the axis ratios.
        """
        if self.family == "b":
            return self._clump(radius_mm, stretch) + np.float32(0.5 * rough * radius_mm) * self.field(
                radius_mm
            )
        axes = np.exp(self.rng.normal(0, stretch, 3).clip(-0.5, 0.5))
        axes *= radius_mm / axes.prod() ** (1 / 3)
        turn, _ = np.linalg.qr(self.rng.standard_normal((3, 3)))
        z, y, x = self.grid.open()
        squared = np.zeros(self.grid.shape, np.float32)
        for row, axis in zip(turn, axes, strict=True):
            squared = squared + ((row[0] / axis) * z + (row[1] / axis) * y + (row[2] / axis) * x) ** 2
        depth = (1 - np.sqrt(np.asarray(squared, np.float32))) * np.float32(radius_mm)
        depth += np.float32(0.75 * rough * radius_mm) * self.field(0.8 * radius_mm)
        return np.asarray(
            depth + np.float32(0.35 * rough * radius_mm) * self.field(0.3 * radius_mm), np.float32
        )

    def _clump(self, radius_mm: float, stretch: float) -> Field:
        """Signed depth of several merging balls (family b's shape)."""
        count = int(self.rng.integers(4, 8))
        centres = self.rng.normal(0, 0.25 * radius_mm * (1 + stretch), (count, 3)).clip(-radius_mm, radius_mm)
        centres -= centres.mean(axis=0)
        radii = radius_mm * self.rng.uniform(0.55, 0.85, count)
        z, y, x = self.grid.open()
        depth = np.full(self.grid.shape, -np.inf, np.float32)
        for (cz, cy, cx), radius in zip(centres.astype(np.float32), radii.astype(np.float32), strict=True):
            depth = np.maximum(depth, radius - np.sqrt((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2))
        return np.asarray(depth, np.float32)

    def rind(self, depth_mm: Field, strength: float) -> Field:
        """Push a body towards the pleura: take depth away well inside the lung, add some at its edge."""
        shallow = 0.35 - np.clip((self.depth - 0.75) / 0.25, 0, 1)
        return np.asarray(depth_mm + np.float32(strength * self.radius_mm) * shallow, np.float32)

    def share_for(self, hu: float) -> float:
        """The share of tissue that lifts this patient's parenchyma to ``hu``."""
        return float(np.clip((hu - self.base_hu) / (TISSUE_HU - self.base_hu), 0.02, 1))


@dataclass(frozen=True)
class Paint:
    """What is mixed in.

    Attributes:
        share: (z, y, x) 0..1, how much of a voxel becomes the target.
        target: (z, y, x) HU of what is mixed in.
        extent: (z, y, x) 0..1, the lesion as a reader would outline it is where this exceeds 0.5.
        spares_vessels: air is not mixed into vessels.
        core: (z, y, x) 0..1, the solid part of a part-solid lesion, where it has one.
    """

    share: Field
    target: Field
    extent: Field
    spares_vessels: bool
    core: Field | None = None


def _constant(brush: Brush, hu: float) -> Field:
    return np.full(brush.grid.shape, hu, np.float32)


def _ground_glass(brush: Brush) -> Paint:
    """Hazy filling with soft borders, even or mottled by lobule; vessels show through."""
    soft = float(brush.rng.uniform(2.5, 6.0))
    depth = brush.blob(brush.radius_mm, rough=0.4) + _mottle(brush, 4.0)
    edge = smoothstep(depth / soft)
    share = brush.share_for(brush.base_hu + brush.rng.uniform(140, 360))
    haze = 1 + 0.18 * brush.field(8.0) + 0.10 * brush.field(3.5)
    return Paint(edge * np.clip(share * haze, 0, 0.75), _constant(brush, TISSUE_HU), edge, True)


def _mottle(brush: Brush, most_mm: float) -> Field:
    """Unevenness of a border by up to ``most_mm`` on the scale of lobules: from smooth to patchy."""
    return np.float32(brush.rng.uniform(0, most_mm)) * brush.field(float(brush.rng.uniform(5, 10)))


def _crazy_paving(brush: Brush) -> Paint:
    """Ground glass with a mesh of thickened septa on it."""
    glass = _ground_glass(brush)
    thick = float(brush.rng.uniform(0.8, 1.4))
    lines = smoothstep((thick / 2 - brush.sheets(brush.rng.uniform(6, 10))) / 0.7 + 0.3)
    return Paint(
        np.maximum(glass.share, glass.extent * lines * np.float32(0.45)), glass.target, glass.extent, True
    )


def _part_solid(brush: Brush) -> Paint:
    """Ground glass around a solid core of a tenth to a third of its volume."""
    rng = brush.rng
    depth = brush.blob(brush.radius_mm, rough=0.35)
    edge = smoothstep(depth / float(rng.uniform(2.0, 4.0)))
    share = edge * np.clip(
        brush.share_for(brush.base_hu + rng.uniform(180, 360)) * (1 + 0.15 * brush.field(6.0)), 0, 0.75
    )
    part = float(rng.uniform(0.1, 0.33))
    solid = brush.blob(brush.radius_mm * part ** (1 / 3), rough=0.5)
    core = smoothstep(np.minimum(solid, depth - 2) / float(rng.uniform(1.0, 2.0)))
    return Paint(np.maximum(share, core * np.float32(0.98)), _constant(brush, TISSUE_HU), edge, True, core)


def _consolidation(brush: Brush) -> Paint:
    """Dense filling, fairly sharp border with a hazy halo, air bronchograms in the larger ones."""
    rng = brush.rng
    depth = brush.rind(brush.blob(brush.radius_mm, rough=0.4), 0.3) + _mottle(brush, 3.5)
    core = smoothstep(depth / float(rng.uniform(1.2, 2.5)))
    halo = smoothstep((depth + 3) / float(rng.uniform(3.0, 6.0)))
    share = np.maximum(core * np.float32(0.985), halo * np.float32(brush.share_for(brush.base_hu + 180)))
    target = rng.uniform(0, 55) + 14 * brush.field(9.0) - 45 * np.clip(brush.field(5.0) - 0.8, 0, 2)
    if brush.radius_mm > 9 and rng.random() < 0.7:
        heading = rng.standard_normal(3)
        start = -heading / np.linalg.norm(heading) * brush.radius_mm
        chains = [
            branches(start + rng.normal(0, 4, 3), heading, 1.7 * brush.radius_mm, rng.uniform(1.2, 2.2), rng)
            for _ in range(int(rng.integers(1, 3)))
        ]
        centres, radii = (np.concatenate(parts) for parts in zip(*chains, strict=True))
        open_air = smoothstep(ball_depth(brush.grid, centres, radii) / 0.8)
        target = target + open_air * (-900 - target)
    return Paint(share, np.asarray(target, np.float32), core, False)


def _reticulation(brush: Brush) -> Paint:
    """A mesh of thin lines on slightly hazy lung, densest at the pleura."""
    rng = brush.rng
    depth = brush.rind(brush.blob(brush.radius_mm, rough=0.4), 0.6)
    edge = smoothstep(depth / 4)
    thick = float(rng.uniform(0.9, 1.6))
    fine = brush.sheets(rng.uniform(4.0, 7.0))
    # Septa vary along their course: some are thick, some vanish.
    lines = smoothstep((thick / 2 * (1 + 0.45 * brush.field(9.0)) - fine) / 0.7)
    haze = brush.share_for(brush.base_hu + rng.uniform(50, 150)) * (1 + 0.3 * brush.field(6.0))
    share = edge * np.maximum(np.clip(haze, 0, 0.5), lines * np.float32(rng.uniform(0.6, 0.85)))
    return Paint(np.asarray(share, np.float32), _constant(brush, TISSUE_HU), edge, True)


def _honeycombing(brush: Brush) -> Paint:
    """Clustered air cysts of 3 to 10 mm sharing walls of 1 to 3 mm, in layers under the pleura."""
    rng = brush.rng
    edge = smoothstep(brush.rind(brush.blob(brush.radius_mm, rough=0.35), 0.5) / 3)
    wall = float(rng.uniform(1.2, 2.2))
    walls = brush.cysts(rng.uniform(4.5, 9.0), wall * (1 + 0.35 * brush.field(8.0)))
    cyst = rng.uniform(-950, -880)
    target = cyst + walls * (rng.uniform(-120, 20) - cyst)
    return Paint(edge * np.float32(0.97), np.asarray(target, np.float32), edge, False)


def _holes(brush: Brush, size_mm: float, coverage: float) -> Field:
    """Soft-edged holes without walls that cover about this share of the volume."""
    if brush.family == "a":
        level = 1.9 - 3.2 * coverage
        return smoothstep((brush.field(size_mm) - level) / 0.45)
    span = [max(a[-1] - a[0], 1.0) for a in brush.grid.axes]
    ball = 4 / 3 * np.pi * (0.55 * size_mm) ** 3
    count = int(np.clip(-np.log(1 - min(coverage, 0.93)) * np.prod(span) / ball, 1, 20000))
    centres = brush.rng.uniform([a[0] for a in brush.grid.axes], [a[-1] for a in brush.grid.axes], (count, 3))
    radii = 0.5 * size_mm * brush.rng.uniform(0.7, 1.3, count)
    return smoothstep(ball_depth(brush.grid, centres, radii) / 1.2)


def _emphysema(brush: Brush, size_mm: float, coverage: float) -> Paint:
    edge = smoothstep(brush.blob(brush.radius_mm, rough=0.4) / 4)
    holes = edge * _holes(brush, size_mm, coverage)
    target = min(brush.rng.normal(-972, 8), brush.base_hu - 45)
    return Paint(holes * np.float32(0.96), _constant(brush, max(target, -992)), holes, True)


def _centrilobular_emphysema(brush: Brush) -> Paint:
    """Many holes of a few mm without walls in otherwise normal lung; the holes are the lesion."""
    return _emphysema(brush, float(brush.rng.uniform(4, 8)), float(brush.rng.uniform(0.35, 0.55)))


def _confluent_emphysema(brush: Brush) -> Paint:
    """Holes run together; little parenchyma and the vessels remain."""
    return _emphysema(brush, float(brush.rng.uniform(8, 14)), float(brush.rng.uniform(0.75, 0.9)))


def _bulla(brush: Brush) -> Paint:
    """Air above 10 mm across with a hairline wall that a voxel hardly resolves."""
    depth = brush.blob(brush.radius_mm, rough=0.12, stretch=0.25)
    inner = smoothstep(depth / 1.2)
    wall = smoothstep((0.5 - np.abs(depth)) / 1.0 + 0.2) * np.float32(brush.rng.uniform(0.1, 0.3))
    target = AIR_HU + brush.rng.uniform(0, 18)
    return Paint(
        np.maximum(inner, wall), np.asarray(target + wall * (-300 - target), np.float32), inner, False
    )


def _cavity(brush: Brush) -> Paint:
    """A lumen of air in a dense, uneven wall of 2 to 8 mm, hazy around; lumen and wall are the lesion."""
    rng = brush.rng
    depth = brush.blob(brush.radius_mm, rough=0.22, stretch=0.2)
    outer = smoothstep(depth / float(rng.uniform(1.0, 2.0)))
    halo = smoothstep((depth + 4) / 4) * np.float32(rng.uniform(0, 0.3))
    wall_mm = float(np.clip(brush.radius_mm * rng.uniform(0.2, 0.45), 2.5, 8))
    uneven = wall_mm * (1 + 0.22 * brush.field(0.6 * brush.radius_mm))
    lumen = smoothstep((depth - np.clip(uneven, 2.0, 0.6 * brush.radius_mm)) / 1.0)
    wall_hu = rng.uniform(-20, 60) + 15 * brush.field(7.0)
    target = wall_hu + lumen * (rng.uniform(-990, -940) - wall_hu)
    return Paint(np.maximum(outer, halo), np.asarray(target, np.float32), outer, False)


Painters = Mapping[str, Callable[[Brush], Paint]]
"""What draws each kind of lesion, by its key."""

PAINTERS: Painters = {
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
