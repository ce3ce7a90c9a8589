"""From what a lesion looks like to what the scanner shows of it: slices, kernel, noise, lung borders.

A lesion mixes a share of tissue or air into the voxels that are there: HU' = (1 - share) HU + share target.
This is what partial filling of alveoli does, so vessels stay visible in ground glass and the grain of the
CT survives; where mixing takes noise away, noise of the same strength and grain is put back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..classes import CONSOLIDATION
from ..io.geometry import bounding_box
from .noise import Noise, estimate_noise
from .patterns import Brush, Paint, Painters
from .textures import Field, Grid

Box = tuple[slice, slice, slice]

THIN_SLICE_MM = 2.1
_TYPICAL_LUNG_HU = -850.0
_MOST_NOISE = 1.3


@dataclass(frozen=True)
class Patch:
    """A painted part of a volume.

    Attributes:
        box: where it belongs.
        hu: float32, the part with the lesion in it.
        labels: uint8, class ids of the lesion, 0 elsewhere.
    """

    box: Box
    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Ground:
    """The lung under the paint: what of it may be painted.

    Attributes:
        inside: (z, y, x) bool, lung.
        smooth: (z, y, x) HU averaged over 3 mm.
        nearby: (z, y, x) share of lung within 3 mm.
        dense: (z, y, x) 0..1, vessels and walls.
    """

    inside: NDArray[np.bool_]
    smooth: NDArray[np.float32]
    nearby: NDArray[np.float32]
    dense: NDArray[np.float32]

    @classmethod
    def of(
        cls, part: NDArray[np.float32], inside: NDArray[np.bool_], spacing: tuple[float, float, float]
    ) -> Ground:
        """The ground of a part of a CT (z, y, x) in HU and its lung mask."""
        from scipy import ndimage

        size = [1, *(max(1, round(3 / s)) for s in spacing[1:])]
        smooth = ndimage.uniform_filter(part, size, mode="nearest")
        nearby = ndimage.uniform_filter(inside.astype(np.float32), size, mode="nearest")
        dense = np.clip((smooth - (base_hu(part, inside) + 130)) / 200, 0, 1)
        return cls(inside, smooth, nearby, np.asarray(dense, part.dtype))

    def within(self, box: Box) -> Ground:
        """The ground of a part of it."""
        return Ground(self.inside[box], self.smooth[box], self.nearby[box], self.dense[box])

    def taken_up(self, paint: Paint) -> NDArray[np.float32]:
        """Share (z, y, x) of each voxel that the paint may replace."""
        # Air never replaces the rim of the mask, half chest wall by partial volume; nor vessels, where they
        # are spared.
        kept = self.dense if paint.spares_vessels else self.dense * (self.nearby < 0.99)
        # Tissue also fills the half-aerated rim outside the mask, or a dark line would part a lesion from the
        # pleura.
        return np.where(
            paint.target < self.smooth,
            paint.share * self.inside * (1 - kept),
            paint.share * (self.nearby > 0.01),
        )

    def extent(self, paint: Paint) -> NDArray[np.bool_]:
        """Voxels (z, y, x) that are the lesion by more than half."""
        extent = (paint.extent > 0.5) & self.inside
        return extent & (self.dense < 0.9) if paint.spares_vessels else extent


@dataclass
class Canvas:
    """Several paints over each other, mixed into the CT at once: HU' = through HU + added.

    Attributes:
        ground: what is painted on.
        through: (z, y, x) 0..1, how much of the CT is left.
        added: (z, y, x) HU.
        labels: (z, y, x) uint8 class ids; the last paint over a voxel names it.
        owner: (z, y, x) uint16 number of that paint.
    """

    ground: Ground
    through: NDArray[np.float32]
    added: NDArray[np.float32]
    labels: NDArray[np.uint8]
    owner: NDArray[np.uint16]

    @classmethod
    def on(cls, ground: Ground) -> Canvas:
        """A canvas without paint."""
        shape = ground.inside.shape
        return cls(
            ground, np.ones(shape, np.float32), np.zeros(shape, np.float32),
            np.zeros(shape, np.uint8), np.zeros(shape, np.uint16),
        )  # fmt: skip

    def lay(self, box: Box, paint: Paint, class_id: int, number: int) -> None:
        """Lay a paint over a part (z, y, x)."""
        ground = self.ground.within(box)
        share = ground.taken_up(paint)
        self.through[box] *= 1 - share
        self.added[box] = self.added[box] * (1 - share) + share * paint.target
        labels = labels_of(paint, ground.extent(paint), ground.inside, class_id)
        mine = labels > 0
        self.labels[box][mine] = labels[mine]
        self.owner[box][mine] = number

    def finished(
        self,
        part: NDArray[np.float32],
        noise: Noise,
        rng: np.random.Generator,
        blur: tuple[float, float, float],
    ) -> NDArray[np.float32]:
        """The CT (z, y, x) in HU with the paint in it, blurred by Gaussians of ``blur`` voxels."""
        from scipy import ndimage

        within = self.ground.nearby > 0.01
        weight = within.astype(np.float32)

        def blurred(field: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(ndimage.gaussian_filter(field, blur, truncate=3), np.float32)

        # Blurred within the lung only, or chest wall would show through what touches it.
        norm = np.maximum(blurred(weight), 1e-3)
        through = np.clip(blurred(self.through * weight) / norm, 0, 1)
        added = blurred(self.added * weight) / norm
        grain = noise.sample(part.shape, rng)
        mixed = part * through + added + np.sqrt(1 - through**2) * grain
        touched = within & (through < 0.9995)
        return np.where(touched, np.clip(mixed, -1024, None), part).astype(np.float32)


def paint_patch(
    hu: NDArray[np.float32],
    lungs: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    kind: str,
    *,
    class_id: int,
    centre: tuple[float, float, float],
    radius_mm: float,
    rng: np.random.Generator,
    painters: Painters,
    noise: Noise | None = None,
    scanner: Noise | None = None,
) -> Patch | None:
    """Paint one lesion around ``centre``; the volume is not changed. None where no lung is near.

    ``noise`` None estimates it around the lesion. With ``scanner``, the noise of the whole scan, the lesion
    is blurred as its kernel would have done, told by the grain, and gets little more noise than the scan has
    (structure around it may read as noise); what lies beyond the lungs is left out of the box.
    """
    box = box_around(hu.shape, centre, spacing, 1.7 * radius_mm + 3)
    if scanner:
        box = _around_lungs(box, lungs)
    part, inside = hu[box], lungs[box]
    if part.size == 0 or not inside.any():
        return None
    noise = noise or estimate_noise(part, inside)
    if scanner:
        noise = Noise(min(noise.sd, _MOST_NOISE * scanner.sd), scanner.grain)
    # Thick slices are sampled several times, so that structure averages over them as in a scanner.
    repeat = max(1, int(np.ceil(spacing[0] / THIN_SLICE_MM)))
    grid = grid_of(box, centre, spacing, repeat)
    brush = Brush(
        grid, radius_mm, depth_share(inside, spacing, repeat), base_hu(part, inside), rng,
        pleura_distance(inside, spacing, repeat),
    )  # fmt: skip
    paint = coarsen(painters[kind](brush), repeat)
    if scanner:
        paint = _blur(paint, noise.grain)
    out, extent = _apply(part, inside, spacing, paint, noise.sample(part.shape, rng))
    return Patch(box, out, labels_of(paint, extent, inside, class_id))


def labels_of(
    paint: Paint, extent: NDArray[np.bool_], inside: NDArray[np.bool_], class_id: int
) -> NDArray[np.uint8]:
    """Class ids (z, y, x) of a paint's extent, consolidation in its core, 0 elsewhere."""
    labels = np.where(extent, np.uint8(class_id), np.uint8(0))
    if paint.core is not None:
        labels[(paint.core > 0.5) & inside & (paint.extent > 0.5)] = CONSOLIDATION
    return labels


def box_around(
    shape: tuple[int, ...],
    centre: tuple[float, float, float],
    spacing: tuple[float, float, float],
    reach_mm: float,
) -> Box:
    """The voxels within ``reach_mm`` of ``centre`` along each axis."""
    z, y, x = (
        slice(max(0, int(c - reach_mm / s)), max(0, min(n, int(c + reach_mm / s) + 2)))
        for n, c, s in zip(shape, centre, spacing, strict=True)
    )
    return z, y, x


def grid_of(
    box: Box,
    centre: tuple[float, float, float],
    spacing: tuple[float, float, float],
    repeat: int = 1,
) -> Grid:
    """Positions relative to the centre, ``repeat`` samples a slice."""
    z, y, x = (
        np.asarray((np.arange(b.start, b.stop) - c) * float(s), np.float64)
        for b, c, s in zip(box, centre, spacing, strict=True)
    )
    within = ((np.arange(repeat) + 0.5) / repeat - 0.5) * spacing[0]
    return Grid((z[:, None] + within).ravel(), y, x)


def _around_lungs(box: Box, lungs: NDArray[np.bool_]) -> Box:
    """The part of a box that holds lung, and three voxels more."""
    z, y, x = (
        slice(whole.start + part.start, whole.start + part.stop)
        for whole, part in zip(box, bounding_box(lungs[box], 3), strict=True)
    )
    return z, y, x


def pleura_distance(inside: NDArray[np.bool_], spacing: tuple[float, float, float], repeat: int) -> Field:
    """Distance in mm of lung voxels to where the lung ends, at about 1.5 mm in the axial plane."""
    from scipy import ndimage

    step = [max(1, round(1.5 / s)) for s in spacing[1:]]
    coarse = np.pad(inside, 1, mode="edge")[:, :: step[0], :: step[1]]
    sampling = (spacing[0], step[0] * spacing[1], step[1] * spacing[2])
    away = ndimage.distance_transform_edt(coarse, sampling=sampling).astype(np.float32)[1:-1]
    fine = ndimage.zoom(away, (repeat, *step), order=1, grid_mode=True, mode="nearest")
    return np.asarray(fine[:, 1 : 1 + inside.shape[1], 1 : 1 + inside.shape[2]], np.float32)


def depth_share(inside: NDArray[np.bool_], spacing: tuple[float, float, float], repeat: int) -> Field:
    """How deep in the lung: share of lung in a 24 mm axial window, 0.5 at the pleura, 1 well inside."""
    from scipy import ndimage

    size = [1, *(max(1, round(24 / s)) for s in spacing[1:])]
    share = ndimage.uniform_filter(inside.astype(np.float32), size, mode="nearest")
    return np.asarray(np.repeat(share, repeat, axis=0), np.float32)


def base_hu(part: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Median of the aerated lung around the lesion: what the patient's own parenchyma reads here."""
    sample = part[:, ::2, ::2][inside[:, ::2, ::2]]
    sample = sample[sample < -600]
    return float(np.clip(np.median(sample), -960, -650)) if len(sample) > 50 else _TYPICAL_LUNG_HU


def coarsen(paint: Paint, repeat: int) -> Paint:
    """Average the fine slices of a repeated grid back to the slices of the CT."""
    if repeat == 1:
        return paint

    def mean(field: Field) -> Field:
        return np.asarray(field.reshape(-1, repeat, *field.shape[1:]).mean(axis=1), np.float32)

    share = mean(paint.share)
    target = mean(paint.share * paint.target) / np.maximum(share, 1e-4)
    core = None if paint.core is None else mean(paint.core)
    return Paint(share, np.asarray(target, np.float32), mean(paint.extent), paint.spares_vessels, core)


def _blur(paint: Paint, grain: float) -> Paint:
    """Blur what is mixed in by a Gaussian of ``grain`` voxels in the axial plane; its extent stays."""
    from scipy import ndimage

    def blurred(field: Field) -> Field:
        return np.asarray(ndimage.gaussian_filter(field, (0, grain, grain), truncate=3), np.float32)

    share = blurred(paint.share)
    target = blurred(paint.share * paint.target) / np.maximum(share, 1e-4)
    return Paint(share, np.asarray(target, np.float32), paint.extent, paint.spares_vessels, paint.core)


def _apply(
    part: NDArray[np.float32],
    inside: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    paint: Paint,
    grain: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mix the paint into the lung, keep what must stay dense, restore the noise; returns HU and extent."""
    ground = Ground.of(part, inside, spacing)
    share = ground.taken_up(paint)
    mixed = part + share * (paint.target - part)
    mixed += np.sqrt(np.clip(1 - (1 - share) ** 2, 0, 1)) * grain
    return np.clip(mixed, -1024, None).astype(np.float32), ground.extent(paint)
