"""A pattern: what a painter of disease is told (``Brush``) and what it answers (``Paint``).

Densities are relative to the patient's own parenchyma. Who paints what: ``painters.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .lobules import Cells, tessellate
from .textures import Field, Grid, smoothstep, spline_field

Family = Literal["a", "c", "d"]
"""Of lesions: "a" is the generator of this room, which training sees; "c" and "d" only measure."""

TISSUE_HU = 35.0
AIR_HU = -990.0

_NOTHING = np.zeros((0, 0, 0), np.float32)


@dataclass(frozen=True)
class Brush:
    """Where and how a lesion is painted.

    Attributes:
        grid: sample positions in mm, relative to the centre of the lesion.
        radius_mm: of the ball with the intended volume.
        depth: (z, y, x) share of lung nearby: about 0.5 at the pleura, 1 deep inside.
        base_hu: the patient's own parenchyma here.
        rng: source of every random choice.
        pleura_mm: (z, y, x) distance to where the lung ends, 0 outside.
        region: (z, y, x) mm below the surface of what is ill; empty where the lesion is an island that
            chooses its own shape.
    """

    grid: Grid
    radius_mm: float
    depth: Field
    base_hu: float
    rng: np.random.Generator
    pleura_mm: Field = field(default_factory=lambda: _NOTHING)
    region: Field = field(default_factory=lambda: _NOTHING)

    def field(self, scale_mm: float) -> Field:
        """A smooth random field of mean 0, variance 1 and this correlation length."""
        return spline_field(self.grid, scale_mm, self.rng)

    def at(self, flat: NDArray[np.integer]) -> NDArray[np.float64]:
        """(n, 3) mm, positions of voxels given by their flat index."""
        index = np.unravel_index(flat, self.grid.shape)
        return np.stack([a[i] for a, i in zip(self.grid.axes, index, strict=True)], 1)

    def cells(
        self,
        size_mm: float,
        depth_mm: Field,
        *,
        layered: bool = False,
        bend: float = 0.15,
        margin_mm: float = 3.0,
    ) -> Cells:
        """Cells of about this size down to ``margin_mm`` outside a body.

        Args:
            size_mm: about the distance of opposite faces.
            depth_mm: (z, y, x) below the surface of the body.
            layered: in rows below the pleura.
            bend: of the faces, share of the size.
            margin_mm: how far outside.
        """
        return tessellate(
            self.grid, size_mm, self.rng, where=depth_mm > -margin_mm,
            bend_mm=0.0 if layered else bend * size_mm,
            layers=self.pleura_mm if layered else None,
        )  # fmt: skip

    def body(self, *, rough: float = 0.4, stretch: float = 0.35, rind: float = 0.0) -> Field:
        """Depth in mm below the surface of what is ill: the given region, or an island of its own.

        Args:
            rough: see ``blob``.
            stretch: see ``blob``.
            rind: how much an island keeps to the pleura, 0..1.
        """
        if self.region.size:
            return self.region
        depth = self.blob(self.radius_mm, rough=rough, stretch=stretch)
        return self.rind(depth, rind) if rind else depth

    def blob(self, radius_mm: float, *, rough: float = 0.3, stretch: float = 0.35) -> Field:
        """Signed depth in mm (positive inside) of an irregular body of about this radius.

        Args:
            radius_mm: of the ball with the same volume.
            rough: amplitude of the irregularity as a share of the radius.
            stretch: standard deviation of the logarithm of the axis ratios.
        """
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

    def rind(self, depth_mm: Field, strength: float) -> Field:
        """Push a body towards the pleura: take depth away well inside the lung, add some at its edge."""
        shallow = 0.35 - np.clip((self.depth - 0.75) / 0.25, 0, 1)
        return np.asarray(depth_mm + np.float32(strength * self.radius_mm) * shallow, np.float32)

    def share_for(self, hu: float) -> float:
        """The share of tissue that lifts this patient's parenchyma to ``hu``."""
        return float(np.clip((hu - self.base_hu) / (TISSUE_HU - self.base_hu), 0.02, 1))

    def share_above(self, hu: float) -> float:
        """The share of tissue that lifts this patient's parenchyma by ``hu``."""
        return self.share_for(self.base_hu + hu)

    def constant(self, hu: float) -> Field:
        """(z, y, x) of one value."""
        return np.full(self.grid.shape, hu, np.float32)


@dataclass(frozen=True)
class Paint:
    """What is mixed in.

    Attributes:
        share: (z, y, x) 0..1, how much of a voxel becomes the target.
        target: (z, y, x) HU of what is mixed in.
        extent: (z, y, x) 0..1, the lesion as a reader would outline it is where this exceeds 0.5.
        spares_vessels: air is not mixed into vessels.
        core: (z, y, x) 0..1, consolidation within a lesion of another class, where there is some.
    """

    share: Field
    target: Field
    extent: Field
    spares_vessels: bool
    core: Field | None = None


def laid_over(below: tuple[Field, Field], share: Field, target: Field | float) -> tuple[Field, Field]:
    """Share and target of two mixtures one after the other: ``below`` first, then the rest.

    Mixing s1 of t1 and then s2 of t2 is mixing 1 - (1 - s1)(1 - s2) of their weighted mean.
    """
    under = below[0] * (1 - share)
    both = under + share
    mean = (under * below[1] + share * target) / np.maximum(both, 1e-4)
    return np.asarray(both, np.float32), np.asarray(mean, np.float32)


def mesh(brush: Brush, cells: Cells, width_mm: Field | float, shown: float) -> Field:
    """Lines along the faces of cells; here most of them show, there few, and none is the same all along."""
    uneven = np.float32(shown) + np.float32(0.15) * brush.field(25.0) - cells.by_face(brush.rng)
    fading = np.clip(3 * uneven + 0.5 + 0.35 * brush.field(5.0), 0, 1)
    return np.asarray(cells.walls(width_mm) * fading, np.float32)


def soft_edge(depth_mm: NDArray[np.floating], soft_mm: float) -> Field:
    """0 outside, 1 inside a body, over ``soft_mm`` to both sides of its surface."""
    return smoothstep(depth_mm / np.float32(soft_mm))


Painters = Mapping[str, Callable[[Brush], Paint]]
"""What draws each kind of lesion, by its key."""
