"""Where in the lungs a disease lies: at the pleura, at the bases, along vessels, in one lobe, everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .textures import Field, Grid, spline_field

_FAR_MM = 60.0
_SAMPLE = 20_000
_OUTSIDE_MM = -1e3


@dataclass(frozen=True)
class Habit:
    """What draws a disease to a place: millimetres of advantage for each millimetre.

    Attributes:
        pleura: towards the pleura; negative: towards the middle.
        up: towards the apex; negative: towards the base.
        back: towards the back.
        vessels: towards the vessels and bronchi.
        ripple_mm: strength of chance.
        ripple_scale_mm: (smallest, largest) size of what chance makes.
    """

    pleura: float = 0.0
    up: float = 0.0
    back: float = 0.0
    vessels: float = 0.0
    ripple_mm: float = 12.0
    ripple_scale_mm: tuple[float, float] = (15.0, 45.0)


HABITS: dict[str, Habit] = {
    "peripheral": Habit(pleura=1.0, up=-0.06, back=0.06, ripple_mm=14.0),
    "basal": Habit(pleura=0.8, up=-0.35, back=0.15, ripple_mm=10.0),
    "apical": Habit(up=0.4, back=-0.05, ripple_mm=16.0),
    "dependent": Habit(up=-0.15, back=0.6, ripple_mm=16.0),
    "central": Habit(pleura=-0.8, ripple_mm=10.0),
    "bronchial": Habit(vessels=1.0, ripple_mm=14.0, ripple_scale_mm=(20.0, 50.0)),
    "rind": Habit(pleura=1.0, vessels=-0.25, ripple_mm=6.0, ripple_scale_mm=(10.0, 25.0)),
    "lobe": Habit(up=-0.7, back=0.6, ripple_mm=8.0, ripple_scale_mm=(40.0, 80.0)),
    "patches": Habit(pleura=0.15, ripple_mm=25.0, ripple_scale_mm=(12.0, 40.0)),
    "everywhere": Habit(ripple_mm=20.0, ripple_scale_mm=(25.0, 70.0)),
}
"""By what a radiologist would call them."""


@dataclass(frozen=True)
class Lungs:
    """The lungs that fall ill.

    Attributes:
        grid: sample positions, mm; z grows towards the head, y towards the back.
        inside: (z, y, x) bool.
        pleura_mm: (z, y, x) distance to where the lung ends.
        vessels: (z, y, x) bool, the larger vessels.
    """

    grid: Grid
    inside: NDArray[np.bool_]
    pleura_mm: Field
    vessels: NDArray[np.bool_]

    @cached_property
    def vessel_mm(self) -> Field:
        """(z, y, x) distance to the larger vessels, to about 3 mm."""
        from scipy import ndimage

        step = [max(1, round(3 / s)) for s in self.grid.spacing]
        coarse = ~self.vessels[:: step[0], :: step[1], :: step[2]]
        if coarse.all():
            return np.full(self.grid.shape, _FAR_MM, np.float32)
        sampling = [n * s for n, s in zip(step, self.grid.spacing, strict=True)]
        away = ndimage.distance_transform_edt(coarse, sampling=sampling).astype(np.float32)
        for axis, n in enumerate(step):
            away = np.repeat(away, n, axis=axis)
        z, y, x = self.grid.shape
        return np.asarray(away[:z, :y, :x])

    def region(
        self,
        habit: Habit,
        extent: float,
        rng: np.random.Generator,
        *,
        parent: Field | None = None,
    ) -> Field:
        """Depth in mm below the surface of a region that takes this share of the lungs.

        Args:
            habit: where it likes to be; each advantage is varied by half.
            extent: share of the lungs, or of the parent, 0..1.
            rng: source of every random choice.
            parent: depth of a region that this one stays in.

        Returns:
            (z, y, x) float32, positive inside; exact where the border is even.
        """
        z, y, _ = self.grid.open()
        pleura, up, back, vessels = (
            w * float(rng.uniform(0.5, 1.5)) for w in (habit.pleura, habit.up, habit.back, habit.vessels)
        )
        scale = float(rng.uniform(*habit.ripple_scale_mm))
        ripple = habit.ripple_mm * float(rng.uniform(0.6, 1.4))
        score = np.float32(ripple) * spline_field(self.grid, scale, rng)
        score += np.float32(0.25 * ripple) * spline_field(self.grid, 0.3 * scale, rng)
        score += np.float32(up) * z + np.float32(back) * y
        if pleura:
            score -= np.float32(pleura) * np.minimum(self.pleura_mm, _FAR_MM)
        if vessels:
            score -= np.float32(vessels) * np.minimum(self.vessel_mm, _FAR_MM)
        where = self.inside if parent is None else self.inside & (parent > 0)
        flat = np.flatnonzero(where)
        if not len(flat):
            return np.full(self.grid.shape, _OUTSIDE_MM, np.float32)
        sample = score.ravel()[flat[:: max(1, len(flat) // _SAMPLE)]]
        steepness = np.sqrt(pleura**2 + up**2 + back**2 + vessels**2 + (1.3 * ripple / scale) ** 2)
        # At full extent the border lies beyond the lungs, not in them.
        beyond = 6.0 * steepness * (extent >= 1)
        score -= np.float32(np.quantile(sample, 1 - min(extent, 1.0)) - beyond)
        depth = score / np.float32(max(steepness, 1e-3))
        if parent is not None:
            depth = np.minimum(depth, parent - np.float32(rng.uniform(0, 3)))
        return np.asarray(depth, np.float32)
