"""Synthetic lung lesions of every class, painted into a real (or generated) lung, with their exact extent.

A lesion mixes a share of tissue or air into the voxels that are there: HU' = (1 - share) HU + share target.
This is what partial filling of alveoli does, so vessels stay visible in ground glass and the grain of the
CT survives; where mixing takes noise away, noise of the same strength and grain is put back. No label of a
data set is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..classes import CAVITY, CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS
from ..errors import InputError
from .noise import Noise, estimate_noise
from .patterns import PAINTERS, Brush, Family, Paint
from .textures import Field, Grid

KINDS: dict[str, int] = {
    "ground_glass": GROUND_GLASS,
    "crazy_paving": GROUND_GLASS,
    "consolidation": CONSOLIDATION,
    "reticulation": FIBROSIS,
    "honeycombing": FIBROSIS,
    "centrilobular_emphysema": EMPHYSEMA,
    "confluent_emphysema": EMPHYSEMA,
    "bulla": EMPHYSEMA,
    "cavity": CAVITY,
}
"""What can be inserted, and the class that it belongs to."""

# Kinds that a rind along the pleura suits, with the probability of being placed there.
_SUBPLEURAL = {
    "honeycombing": 0.8,
    "reticulation": 0.7,
    "bulla": 0.7,
    "ground_glass": 0.4,
    "consolidation": 0.4,
}
_THIN_SLICE_MM = 2.1
_TYPICAL_LUNG_HU = -850.0


@dataclass(frozen=True)
class InsertedLesion:
    """A volume with one lesion in it.

    Attributes:
        hu: (z, y, x) float32, the whole volume, a copy.
        mask: (z, y, x) bool, the voxels that are lesion by more than half; vessels that show through a lesion
            (ground glass, reticulation, emphysema) stay vessels.
        class_id: label value of the lesion.
    """

    hu: NDArray[np.float32]
    mask: NDArray[np.bool_]
    class_id: int


def insert_lesion(
    hu: NDArray[np.floating],
    lungs: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    kind: str,
    *,
    volume_ml: float,
    rng: np.random.Generator,
    centre: tuple[float, float, float] | None = None,
    family: Family = "a",
    noise: Noise | None = None,
) -> InsertedLesion:
    """Paint one lesion into a lung.

    Args:
        hu: (z, y, x) HU, any spacing; not changed.
        lungs: (z, y, x) bool; the lesion stays inside.
        spacing_zyx: voxel size in mm.
        kind: a key of ``KINDS``.
        volume_ml: intended volume of the whole shape; pleura and texture may leave less.
        rng: source of every random choice.
        centre: (z, y, x) voxel index; None lets chance choose a place in the lungs.
        family: "a" in training, "b" held out for measuring (other shapes, other texture mathematics).
        noise: noise of the CT where the caller knows it; None estimates it around the lesion.

    Returns:
        The volume with the lesion, and its extent.

    Raises:
        InputError: unknown kind, no lung, or a volume that is not positive.
    """
    if kind not in KINDS:
        raise InputError(
            "unknown-lesion", f"There is no lesion kind {kind!r}.", f"Kinds are {', '.join(KINDS)}."
        )
    if not volume_ml > 0:
        raise InputError(
            "bad-volume", f"A lesion of {volume_ml} ml cannot be made.", "Give a volume above 0 ml."
        )
    if centre is None:
        centre = _random_centre(lungs, spacing_zyx, kind, rng)
    out = np.array(hu, np.float32)
    mask = np.zeros(out.shape, bool)
    radius_mm = _fitted_radius(lungs, centre, spacing_zyx, _radius_mm(volume_ml))
    box = _box(out.shape, centre, spacing_zyx, 1.7 * radius_mm + 3)
    part, inside = out[box], lungs[box]
    if part.size == 0 or not inside.any():
        return InsertedLesion(out, mask, KINDS[kind])

    noise = noise or estimate_noise(part, inside)
    # Thick slices are sampled several times, so that structure averages over them as in a scanner.
    repeat = max(1, int(np.ceil(spacing_zyx[0] / _THIN_SLICE_MM)))
    grid = _grid(box, centre, spacing_zyx, repeat)
    brush = Brush(grid, radius_mm, _depth(inside, spacing_zyx, repeat), _base_hu(part, inside), rng, family)
    paint = _coarsen(PAINTERS[kind](brush), repeat)
    out[box], mask[box] = _apply(part, inside, spacing_zyx, paint, noise.sample(part.shape, rng))
    return InsertedLesion(out, mask, KINDS[kind])


def insert_random(
    hu: NDArray[np.floating],
    lungs: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    probability: float = 0.5,
    kinds: Sequence[str] = tuple(KINDS),
    volume_range_ml: tuple[float, float] = (2.0, 60.0),
    most: int = 2,
    family: Family = "a",
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """With some probability paint one to ``most`` lesions of random kind, size (log-uniform) and place.

    Args:
        hu: (z, y, x) HU; not changed.
        lungs: (z, y, x) bool; nothing happens where it is empty.
        spacing_zyx: voxel size in mm.
        rng: source of every random choice.
        probability: of any lesion at all, 0..1.
        kinds: what may be inserted, keys of ``KINDS``.
        volume_range_ml: smallest and largest intended volume.
        most: largest number of lesions.
        family: see ``insert_lesion``.

    Returns:
        HU float32 and truth uint8 (z, y, x): class ids of the lesions, 0 elsewhere; later lesions lie on top.
    """
    out = np.asarray(hu, np.float32)
    truth = np.zeros(out.shape, np.uint8)
    if rng.random() >= probability or np.count_nonzero(lungs) < 500:
        return out.copy(), truth
    noise = estimate_noise(out[::2], lungs[::2])
    low, high = np.log(volume_range_ml)
    for _ in range(int(rng.integers(1, most + 1))):
        lesion = insert_lesion(
            out,
            lungs,
            spacing_zyx,
            str(rng.choice(list(kinds))),
            volume_ml=float(np.exp(rng.uniform(low, high))),
            rng=rng,
            family=family,
            noise=noise,
        )
        out = lesion.hu
        truth[lesion.mask] = lesion.class_id
    return out, truth


def insert_each(
    hu: NDArray[np.floating],
    lungs: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    volume_range_ml: tuple[float, float] = (8.0, 60.0),
    family: Family = "b",
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Paint one lesion of each kind into whole lungs, apart from each other as far as room allows.

    Args:
        hu: (z, y, x) HU; not changed.
        lungs: (z, y, x) bool.
        spacing_zyx: voxel size in mm.
        rng: source of every random choice.
        kinds: keys of ``KINDS``, one lesion each; a kind may come twice.
        volume_range_ml: smallest and largest intended volume, log-uniform.
        family: see ``insert_lesion``.

    Returns:
        HU float32 and truth uint8 (z, y, x): class ids of the lesions, 0 elsewhere.
    """
    out = np.array(hu, np.float32)
    truth = np.zeros(out.shape, np.uint8)
    low, high = np.log(volume_range_ml)
    taken: list[tuple[NDArray[np.float64], float]] = []
    for kind in kinds:
        volume_ml = float(np.exp(rng.uniform(low, high)))
        radius_mm = _radius_mm(volume_ml)
        tries = [_random_centre(lungs, spacing_zyx, kind, rng) for _ in range(12)]
        room = [
            min((float(np.linalg.norm(np.multiply(c, spacing_zyx) - o)) - r for o, r in taken), default=0.0)
            for c in tries
        ]
        clear = [i for i, gap in enumerate(room) if gap > radius_mm]
        centre = tries[clear[0] if clear else int(np.argmax(room))]
        taken.append((np.multiply(centre, spacing_zyx), radius_mm))
        lesion = insert_lesion(
            out, lungs, spacing_zyx, kind, volume_ml=volume_ml, rng=rng, centre=centre, family=family
        )
        out = lesion.hu
        truth[lesion.mask] = lesion.class_id
    return out, truth


def _radius_mm(volume_ml: float) -> float:
    """Radius of the ball of this volume."""
    return float((volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3))


def _random_centre(
    lungs: NDArray[np.bool_], spacing_zyx: tuple[float, float, float], kind: str, rng: np.random.Generator
) -> tuple[float, float, float]:
    """A lung voxel; for subpleural kinds often one 8 mm from leaving the lung in some axial direction."""
    area = np.count_nonzero(lungs, axis=(1, 2))
    if not area.any():
        raise InputError("no-lung", "The lung mask is empty.", "A lesion needs a lung to lie in.")
    z = int(rng.choice(len(area), p=area / area.sum()))
    candidates = lungs[z]
    if rng.random() < _SUBPLEURAL.get(kind, 0.2):
        angle = rng.uniform(0, 2 * np.pi)
        shift = (round(8 * np.sin(angle) / spacing_zyx[1]), round(8 * np.cos(angle) / spacing_zyx[2]))
        edge = candidates & ~np.roll(candidates, shift, axis=(0, 1))
        candidates = edge if edge.any() else candidates
    y, x = np.unravel_index(int(rng.choice(np.flatnonzero(candidates))), candidates.shape)
    return float(z), float(y), float(x)


def _fitted_radius(
    lungs: NDArray[np.bool_],
    centre: tuple[float, float, float],
    spacing: tuple[float, float, float],
    radius_mm: float,
) -> float:
    """A larger radius where part of the ball is outside the lung, so that the rest keeps the volume."""
    box = _box(lungs.shape, centre, spacing, radius_mm)
    z, y, x = _grid(box, centre, spacing).open()
    ball = np.asarray(z**2 + y**2 + x**2 <= radius_mm**2)
    share = float((lungs[box] & ball).sum()) / max(1.0, float(ball.sum()))
    return radius_mm * float(max(share, 0.3) ** (-1 / 3))


def _box(
    shape: tuple[int, ...],
    centre: tuple[float, float, float],
    spacing: tuple[float, float, float],
    reach_mm: float,
) -> tuple[slice, slice, slice]:
    z, y, x = (
        slice(max(0, int(c - reach_mm / s)), max(0, min(n, int(c + reach_mm / s) + 2)))
        for n, c, s in zip(shape, centre, spacing, strict=True)
    )
    return z, y, x


def _grid(
    box: tuple[slice, slice, slice],
    centre: tuple[float, float, float],
    spacing: tuple[float, float, float],
    repeat: int = 1,
) -> Grid:
    """Positions relative to the centre, ``repeat`` samples a slice."""
    z, y, x = (
        (np.arange(b.start, b.stop) - c) * float(s) for b, c, s in zip(box, centre, spacing, strict=True)
    )
    within = ((np.arange(repeat) + 0.5) / repeat - 0.5) * spacing[0]
    return Grid((z[:, None] + within).ravel(), y, x)


def _depth(inside: NDArray[np.bool_], spacing: tuple[float, float, float], repeat: int) -> Field:
    """How deep in the lung: share of lung in a 24 mm axial window, 0.5 at the pleura, 1 well inside."""
    from scipy import ndimage

    size = [1, *(max(1, round(24 / s)) for s in spacing[1:])]
    share = ndimage.uniform_filter(inside.astype(np.float32), size, mode="nearest")
    return np.asarray(np.repeat(share, repeat, axis=0), np.float32)


def _base_hu(part: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Median of the aerated lung around the lesion: what the patient's own parenchyma reads here."""
    sample = part[:, ::2, ::2][inside[:, ::2, ::2]]
    sample = sample[sample < -600]
    return float(np.clip(np.median(sample), -960, -650)) if len(sample) > 50 else _TYPICAL_LUNG_HU


def _coarsen(paint: Paint, repeat: int) -> Paint:
    """Average the fine slices of a repeated grid back to the slices of the CT."""
    if repeat == 1:
        return paint

    def mean(field: Field) -> Field:
        return np.asarray(field.reshape(-1, repeat, *field.shape[1:]).mean(axis=1), np.float32)

    share = mean(paint.share)
    target = mean(paint.share * paint.target) / np.maximum(share, 1e-4)
    return Paint(share, np.asarray(target, np.float32), mean(paint.extent), paint.spares_vessels)


def _apply(
    part: NDArray[np.float32],
    inside: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    paint: Paint,
    grain: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mix the paint into the lung, keep what must stay dense, restore the noise; returns HU and extent."""
    from scipy import ndimage

    size = [1, *(max(1, round(3 / s)) for s in spacing[1:])]
    smooth = ndimage.uniform_filter(part, size, mode="nearest")
    nearby = ndimage.uniform_filter(inside.astype(np.float32), size, mode="nearest")
    dense = np.clip((smooth - (_base_hu(part, inside) + 130)) / 200, 0, 1)
    # Air never replaces the rim of the mask, half chest wall by partial volume; nor vessels, where they are
    # spared.
    kept = dense if paint.spares_vessels else dense * (nearby < 0.99)
    # Tissue also fills the half-aerated rim outside the mask, or a dark line would part a lesion from the
    # pleura.
    share = np.where(paint.target < smooth, paint.share * inside * (1 - kept), paint.share * (nearby > 0.01))
    mixed = part + share * (paint.target - part)
    mixed += np.sqrt(np.clip(1 - (1 - share) ** 2, 0, 1)) * grain
    extent = (paint.extent > 0.5) & inside
    if paint.spares_vessels:
        extent &= dense < 0.9
    return np.clip(mixed, -1024, None).astype(np.float32), extent
