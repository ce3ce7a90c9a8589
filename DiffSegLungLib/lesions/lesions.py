"""Synthetic lung lesions of every class, painted into a real (or generated) lung, with their exact extent.

No label of a data set is involved. Who draws what is said in ``painters.py``, how it becomes voxels in
``painting.py``; whole lungs become ill in ``diseases.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..classes import CAVITY, CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS
from ..errors import InputError
from .noise import Noise, estimate_noise, scanner_noise
from .painters import PAINTERS
from .painting import Patch, box_around, grid_of, paint_patch
from .patterns import Painters
from .placement import SUBPLEURAL, Sites

KINDS: dict[str, int] = {
    "ground_glass": GROUND_GLASS,
    "crazy_paving": GROUND_GLASS,
    "part_solid": GROUND_GLASS,
    "organising_pneumonia": GROUND_GLASS,
    "consolidation": CONSOLIDATION,
    "septal_lines": FIBROSIS,
    "reticulation": FIBROSIS,
    "honeycombing": FIBROSIS,
    "centrilobular_emphysema": EMPHYSEMA,
    "confluent_emphysema": EMPHYSEMA,
    "panlobular_emphysema": EMPHYSEMA,
    "paraseptal_emphysema": EMPHYSEMA,
    "bulla": EMPHYSEMA,
    "cavity": CAVITY,
}
"""What can be inserted, and its class; the dense part of a part-solid lesion and of organising pneumonia is
consolidation."""

_MOST_OF_LUNG = 0.18
# Places to try, and paintings of other radii at each.
_TRIES, _PAINTINGS = 6, 3
# A ball that has to grow by more than this to keep its volume lies in too narrow a recess.
_NARROW = 1.3
# Shares of the intended volume: a lesion within the inner two stays, beyond the outer two it moves elsewhere.
_FEW, _MANY = 0.7, 1.4
_TOO_FEW, _TOO_MANY = 0.4, 1.7


@dataclass(frozen=True)
class InsertedLesion:
    """A volume with one lesion in it.

    Attributes:
        hu: (z, y, x) float32, the whole volume, a copy.
        labels: (z, y, x) uint8, class id where a voxel is lesion by more than half, else 0; vessels that show
            through a lesion (ground glass, reticulation, emphysema) stay vessels.
        class_id: label value of the lesion.
    """

    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    class_id: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(z, y, x) bool, the voxels of the lesion."""
        return self.labels > 0


@dataclass(frozen=True)
class PlacedLesion:
    """One of several lesions in a volume.

    Attributes:
        number: 1..n, its value in ``Inserted.owner``.
        kind: a key of ``KINDS``.
        class_id: of the kind; a part-solid lesion has voxels of consolidation too.
        volume_ml: of its own voxels.
    """

    number: int
    kind: str
    class_id: int
    volume_ml: float


@dataclass(frozen=True)
class Inserted:
    """A volume with several lesions in it.

    Attributes:
        hu: (z, y, x) float32.
        truth: (z, y, x) uint8 class ids of the lesions, 0 elsewhere.
        owner: (z, y, x) uint16 number of the lesion, 0 elsewhere.
        lesions: in the order of their numbers.
    """

    hu: NDArray[np.float32]
    truth: NDArray[np.uint8]
    owner: NDArray[np.uint16]
    lesions: tuple[PlacedLesion, ...]


def insert_lesion(
    hu: NDArray[np.floating],
    lungs: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    kind: str,
    *,
    volume_ml: float,
    rng: np.random.Generator,
    centre: tuple[float, float, float] | None = None,
    painters: Painters = PAINTERS,
    noise: Noise | None = None,
) -> InsertedLesion:
    """Paint one lesion into a lung.

    Args:
        hu: (z, y, x) HU, any spacing; not changed.
        lungs: (z, y, x) bool; the lesion stays inside.
        spacing_zyx: voxel size in mm.
        kind: a key of ``painters``.
        volume_ml: intended volume of the whole shape; pleura and texture may leave less.
        rng: source of every random choice.
        centre: (z, y, x) voxel index; None lets chance choose a place in the lungs.
        painters: this room's, family "a"; those of "c" and "d" belong to whoever measures.
        noise: noise of the CT where the caller knows it; None estimates it around the lesion.

    Returns:
        The volume with the lesion, and its extent.

    Raises:
        InputError: unknown kind, no lung, or a volume that is not positive.
    """
    _refuse_unknown(kind, painters)
    if not volume_ml > 0:
        raise InputError(
            "bad-volume", f"A lesion of {volume_ml} ml cannot be made.", "Give a volume above 0 ml."
        )
    if centre is None:
        centre = _random_centre(lungs, spacing_zyx, kind, rng)
    out = np.array(hu, np.float32)
    labels = np.zeros(out.shape, np.uint8)
    radius_mm = fitted_radius(lungs, centre, spacing_zyx, radius_of(volume_ml))
    patch = paint_patch(
        out, lungs, spacing_zyx, kind,
        class_id=KINDS[kind], centre=centre, radius_mm=radius_mm, rng=rng,
        painters=painters, noise=noise,
    )  # fmt: skip
    if patch is not None:
        out[patch.box], labels[patch.box] = patch.hu, patch.labels
    return InsertedLesion(out, labels, KINDS[kind])


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
            noise=noise,
        )
        out = lesion.hu
        truth = np.where(lesion.mask, lesion.labels, truth)
    return out, truth


def insert_each(
    hu: NDArray[np.floating],
    lungs: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    kinds: Sequence[str] | None = None,
    volume_range_ml: tuple[float, float] = (5.0, 80.0),
    painters: Painters = PAINTERS,
    avoid: NDArray[np.bool_] | None = None,
) -> Inserted:
    """Paint one lesion of each kind into whole lungs, apart from each other as far as room allows.

    Structure is averaged over the slices and blurred by the kernel as the scanner of ``hu`` would have done.

    Args:
        hu: (z, y, x) HU; not changed.
        lungs: (z, y, x) bool.
        spacing_zyx: voxel size in mm.
        rng: source of every random choice.
        kinds: keys of ``painters``, one lesion each; a kind may come twice. None: each kind once.
        volume_range_ml: smallest and largest intended volume, log-uniform; all are scaled down alike where
            they would fill more than 18 % of the lungs.
        painters: see ``insert_lesion``.
        avoid: (z, y, x) bool, what no lesion may come near (the patient's own disease).

    Returns:
        The volume, its truth and the lesions, numbered in the order of ``kinds``.

    Raises:
        InputError: unknown kind, or no lung.
    """
    kinds = tuple(painters) if kinds is None else kinds
    for kind in kinds:
        _refuse_unknown(kind, painters)
    out = np.array(hu, np.float32)
    truth = np.zeros(out.shape, np.uint8)
    owner = np.zeros(out.shape, np.uint16)
    sites = Sites(lungs, spacing_zyx, rng, avoid)
    scanner = scanner_noise(out, lungs)
    low, high = np.log(volume_range_ml)
    volumes = np.exp(rng.uniform(low, high, len(kinds)))
    voxel_ml = float(np.prod(spacing_zyx)) / 1000
    volumes *= min(1.0, _MOST_OF_LUNG * np.count_nonzero(lungs) * voxel_ml / volumes.sum())
    # The largest first: they fit into fewer places.
    for i in np.argsort(-volumes):
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            centre = sites.draw(kinds[i], radius_of(volumes[i]))
            patch, reach_mm = _of_volume(
                out, lungs, spacing_zyx, kinds[i],
                volume_ml=float(volumes[i]), centre=centre, rng=rng,
                painters=painters, scanner=scanner, settle=last,
            )  # fmt: skip
            if patch is not None:
                sites.take(centre, reach_mm)
                out[patch.box] = patch.hu
                mine = patch.labels > 0
                truth[patch.box][mine] = patch.labels[mine]
                owner[patch.box][mine] = i + 1
                break
    return Inserted(out, truth, owner, _placed(kinds, owner, voxel_ml))


def _of_volume(
    hu: NDArray[np.float32],
    lungs: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    kind: str,
    *,
    volume_ml: float,
    centre: tuple[float, float, float],
    rng: np.random.Generator,
    painters: Painters,
    scanner: Noise,
    settle: bool,
) -> tuple[Patch | None, float]:
    """A lesion here whose voxels have about this volume, and its radius; None where it does not fit.

    ``settle`` takes what comes closest.
    """
    wanted_mm = radius_of(volume_ml)
    reach_mm = fitted_radius(lungs, centre, spacing, wanted_mm)
    if reach_mm > _NARROW * wanted_mm and not settle:
        return None, reach_mm
    patch, share = None, 0.0
    for painting in range(_PAINTINGS):
        if painting:
            # Pleura and texture left too little, or a rough shape came out too large.
            reach_mm *= float(np.clip(max(share, 0.1) ** (-1 / 3), 0.7, 1.35))
        patch = paint_patch(
            hu, lungs, spacing, kind,
            class_id=KINDS[kind], centre=centre, radius_mm=reach_mm, rng=rng,
            painters=painters, scanner=scanner,
        )  # fmt: skip
        own = 0 if patch is None else np.count_nonzero(patch.labels)
        share = own * float(np.prod(spacing)) / 1000 / volume_ml
        if _FEW < share < _MANY:
            break
    return (patch if settle or _TOO_FEW < share < _TOO_MANY else None), reach_mm


def _placed(kinds: Sequence[str], owner: NDArray[np.uint16], voxel_ml: float) -> tuple[PlacedLesion, ...]:
    """What the owners' voxels say about each lesion; one that others have covered wholly has no entry."""
    voxels = np.bincount(owner.ravel(), minlength=len(kinds) + 1)[1:]
    return tuple(
        PlacedLesion(number, kind, KINDS[kind], int(count) * voxel_ml)
        for number, (kind, count) in enumerate(zip(kinds, voxels, strict=True), start=1)
        if count
    )


def _refuse_unknown(kind: str, painters: Painters) -> None:
    if kind not in painters:
        raise InputError(
            "unknown-lesion", f"There is no lesion kind {kind!r}.", f"Kinds are {', '.join(painters)}."
        )


def radius_of(volume_ml: float) -> float:
    """Radius in mm of the ball of this volume."""
    return float((volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3))


def fitted_radius(
    lungs: NDArray[np.bool_],
    centre: tuple[float, float, float],
    spacing: tuple[float, float, float],
    radius_mm: float,
) -> float:
    """A larger radius where part of the ball is outside the lung, so that the rest keeps the volume."""
    box = box_around(lungs.shape, centre, spacing, radius_mm)
    z, y, x = grid_of(box, centre, spacing).open()
    ball = np.asarray(z**2 + y**2 + x**2 <= radius_mm**2)
    share = float((lungs[box] & ball).sum()) / max(1.0, float(ball.sum()))
    return radius_mm * float(max(share, 0.3) ** (-1 / 3))


def _random_centre(
    lungs: NDArray[np.bool_], spacing_zyx: tuple[float, float, float], kind: str, rng: np.random.Generator
) -> tuple[float, float, float]:
    """A lung voxel; for subpleural kinds often one 8 mm from leaving the lung in some axial direction."""
    area = np.count_nonzero(lungs, axis=(1, 2))
    if not area.any():
        raise InputError("no-lung", "The lung mask is empty.", "A lesion needs a lung to lie in.")
    z = int(rng.choice(len(area), p=area / area.sum()))
    candidates = lungs[z]
    if rng.random() < SUBPLEURAL.get(kind, 0.2):
        angle = rng.uniform(0, 2 * np.pi)
        shift = (round(8 * np.sin(angle) / spacing_zyx[1]), round(8 * np.cos(angle) / spacing_zyx[2]))
        edge = candidates & ~np.roll(candidates, shift, axis=(0, 1))
        candidates = edge if edge.any() else candidates
    y, x = np.unravel_index(int(rng.choice(np.flatnonzero(candidates))), candidates.shape)
    return float(z), float(y), float(x)
