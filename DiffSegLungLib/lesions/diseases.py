"""Whole lungs made ill: the patterns of a disease together, in 5 to 100 % of one lung or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.geometry import bounding_box
from .lesions import KINDS, Inserted, PlacedLesion, insert_random, radius_of
from .noise import Noise, estimate_noise
from .painters import PAINTERS
from .painting import (
    THIN_SLICE_MM,
    Box,
    Canvas,
    Ground,
    base_hu,
    box_around,
    coarsen,
    depth_share,
    grid_of,
    pleura_distance,
)
from .patterns import Brush
from .regions import HABITS, Lungs
from .textures import Field, Grid


@dataclass(frozen=True)
class Part:
    """One pattern of a disease.

    Attributes:
        kind: a key of ``KINDS``.
        habits: keys of ``HABITS``, one drawn.
        extent: (smallest, largest) share of the lungs, or of the part that it lies in.
        chance: how often the disease shows it.
        within: whether it stays inside the last part that did not.
    """

    kind: str
    habits: tuple[str, ...]
    extent: tuple[float, float]
    chance: float = 1.0
    within: bool = False


_AIRSPACE = ("peripheral", "patches", "basal", "bronchial", "lobe", "dependent")

DISEASES: dict[str, tuple[Part, ...]] = {
    "viral_pneumonia": (
        Part("ground_glass", ("peripheral", "patches", "basal"), (0.05, 0.7)),
        Part("crazy_paving", ("patches", "peripheral"), (0.2, 0.9), 0.5, within=True),
        Part("organising_pneumonia", ("rind", "patches"), (0.1, 0.5), 0.3, within=True),
        Part("consolidation", ("patches", "rind", "dependent"), (0.05, 0.6), 0.7, within=True),
    ),
    "diffuse_damage": (
        Part("ground_glass", ("everywhere", "central", "dependent"), (0.4, 1.1)),
        Part("crazy_paving", ("everywhere", "patches"), (0.3, 1.1), 0.5, within=True),
        Part("consolidation", ("dependent", "patches"), (0.1, 0.5), 0.6, within=True),
    ),
    "crazy_paving": (
        Part("crazy_paving", ("everywhere", "patches", "basal"), (0.1, 1.1)),
        Part("consolidation", ("patches",), (0.03, 0.25), 0.3, within=True),
    ),
    "lobar_pneumonia": (
        Part("ground_glass", ("lobe", "dependent", "patches"), (0.1, 0.6)),
        Part("consolidation", ("lobe", "patches", "dependent"), (0.4, 1.1), within=True),
    ),
    "organising_pneumonia": (
        Part("organising_pneumonia", ("peripheral", "bronchial", "patches", "basal"), (0.08, 0.5)),
        Part("consolidation", ("bronchial", "rind", "patches"), (0.03, 0.25), 0.7),
    ),
    "usual_interstitial": (
        Part("reticulation", ("basal", "peripheral"), (0.15, 0.7)),
        Part("ground_glass", ("patches",), (0.1, 0.4), 0.3, within=True),
        Part("honeycombing", ("rind", "peripheral"), (0.1, 0.6), 0.85, within=True),
    ),
    "nonspecific_interstitial": (
        Part("ground_glass", ("basal", "everywhere", "dependent"), (0.2, 0.9)),
        Part("reticulation", ("basal", "patches", "everywhere"), (0.4, 1.1), within=True),
    ),
    "septal_disease": (
        Part("septal_lines", ("everywhere", "basal", "patches", "apical"), (0.15, 1.1)),
        Part("ground_glass", ("central", "patches", "dependent"), (0.1, 0.5), 0.4, within=True),
        Part("reticulation", ("rind",), (0.1, 0.3), 0.2, within=True),
    ),
    "emphysema": (
        Part("panlobular_emphysema", ("basal", "everywhere", "apical"), (0.2, 1.1), 0.3),
        Part("centrilobular_emphysema", ("apical", "everywhere", "patches"), (0.2, 1.1), 0.85),
        Part("confluent_emphysema", ("apical", "patches", "central"), (0.05, 0.5), 0.6),
        Part("paraseptal_emphysema", ("rind", "apical"), (0.1, 0.4), 0.5),
        Part("bulla", ("apical", "rind"), (0.1, 0.4), 0.3),
    ),
    "bullous_lung": (
        Part("paraseptal_emphysema", ("rind", "peripheral"), (0.1, 0.5), 0.7),
        Part("bulla", ("rind", "apical", "peripheral"), (0.15, 0.6)),
    ),
    "fibrosis_and_emphysema": (
        Part("centrilobular_emphysema", ("apical",), (0.2, 0.6), 0.8),
        Part("paraseptal_emphysema", ("apical", "rind"), (0.1, 0.3), 0.5),
        Part("bulla", ("apical", "rind"), (0.1, 0.4), 0.6),
        Part("reticulation", ("basal",), (0.15, 0.5)),
        Part("honeycombing", ("rind", "peripheral"), (0.15, 0.6), 0.8, within=True),
    ),
    "cavities": (
        Part("ground_glass", ("patches", "lobe"), (0.03, 0.2), 0.5),
        Part("consolidation", ("patches", "lobe"), (0.02, 0.15), 0.6),
        Part("part_solid", ("patches",), (0.01, 0.04), 0.4),
        Part("cavity", ("patches", "apical"), (0.01, 0.06)),
    ),
}
"""Patterns of each disease in the order of painting; where two overlap, the later one is named."""

_ISLANDS = ("cavity", "part_solid")
_ISLAND_ML = (1.0, 40.0)
_MOST_ISLANDS = 6
_ONE_LUNG = 0.3
_ANY = 0.15
"""How often a disease is none of the table but any patterns together."""
_LEAST_VOXELS = 500
_WIDESPREAD = 0.3
_NOTCH_MM = 15.0


def fall_ill(
    hu: NDArray[np.floating],
    lungs: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    probability: float = 0.5,
    most: int = 2,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Make lungs ill with some probability: by a disease a third of the time, else by up to ``most`` islands.

    Args:
        hu: (z, y, x) HU; not changed.
        lungs: (z, y, x) bool; nothing happens where there is hardly any.
        spacing_zyx: voxel size in mm.
        rng: source of every random choice.
        probability: of any disease, 0..1.
        most: largest number of islands.

    Returns:
        HU float32 and truth uint8 (z, y, x): class ids, 0 where nothing was changed.
    """
    if rng.random() >= _WIDESPREAD:
        return insert_random(hu, lungs, spacing_zyx, rng, probability=probability, most=most)
    if rng.random() >= probability or np.count_nonzero(lungs) < _LEAST_VOXELS:
        return np.array(hu, np.float32), np.zeros(hu.shape, np.uint8)
    made = sicken(hu, lungs, spacing_zyx, rng)
    return made.hu, made.truth


def sicken(
    hu: NDArray[np.floating],
    lungs: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    disease: str | None = None,
    extent: float | None = None,
    slice_mm: float | None = None,
    noise: Noise | None = None,
) -> Inserted:
    """Make lungs ill.

    Args:
        hu: (z, y, x) HU, z towards the head and y towards the back; not changed.
        lungs: (z, y, x) bool, near healthy.
        spacing_zyx: voxel size in mm; the canonical grid is what this is made for.
        rng: source of every random choice.
        disease: a key of ``DISEASES``, or a kind (a key of ``KINDS``) alone; None draws one.
        extent: share of the lungs that its first pattern takes, 0..1; None draws it.
        slice_mm: thickness of the slices that the CT was made of, where it is larger than the voxels: fine
            structure is averaged over them.
        noise: of the CT where the caller knows it; None estimates it.

    Returns:
        The volume, its truth and one entry a pattern, numbered in the order of painting. Lines, lobules and
        cysts are named with all of the lung between them, holes of emphysema alone.

    Raises:
        InputError: no such disease, an extent out of range, or no lung.
    """
    parts = _parts(disease, rng)
    if extent is not None and not 0 < extent <= 1:
        raise InputError("bad-extent", f"An extent of {extent} is no share.", "Give more than 0, at most 1.")
    if np.count_nonzero(lungs) < _LEAST_VOXELS:
        raise InputError("no-lung", "The lung mask is empty.", "A disease needs a lung to lie in.")
    out = np.array(hu, np.float32)
    z, y, x = bounding_box(lungs, 3)
    box: Box = (z, y, x)
    scene = _Scene.of(out[box], _chosen(lungs[box], rng), spacing_zyx, rng)
    canvas = Canvas.on(scene.ground)
    last: Field | None = None
    for number, part in enumerate(parts, start=1):
        share = float(rng.uniform(*part.extent))
        if number == 1 and extent is not None:
            share = extent
        parent = last if part.within else None
        habit = HABITS[str(rng.choice(part.habits))]
        region = scene.lungs.region(habit, share, rng, parent=parent)
        scene.paint(canvas, part.kind, number, region)
        last = region if last is None or not part.within else last
    noise = noise or estimate_noise(out[box][::2], scene.ground.inside[::2])
    blur_mm = 0.0 if slice_mm is None else max(slice_mm**2 - spacing_zyx[0] ** 2, 0.0) ** 0.5 / 12**0.5
    part_hu = canvas.finished(out[box], noise, rng, (blur_mm / spacing_zyx[0], noise.grain, noise.grain))
    truth = np.zeros(out.shape, np.uint8)
    owner = np.zeros(out.shape, np.uint16)
    out[box], truth[box], owner[box] = part_hu, canvas.labels, canvas.owner
    count = np.bincount(owner.ravel(), minlength=len(parts) + 1)
    voxel_ml = float(np.prod(spacing_zyx)) / 1000
    placed = tuple(
        PlacedLesion(number, part.kind, KINDS[part.kind], int(count[number]) * voxel_ml)
        for number, part in enumerate(parts, start=1)
        if count[number]
    )
    return Inserted(out, truth, owner, placed)


def _parts(disease: str | None, rng: np.random.Generator) -> tuple[Part, ...]:
    """The patterns that a disease shows this time, at least one."""
    if disease in KINDS:
        return (Part(disease, tuple(HABITS), (0.05, 1.1)),)
    if disease is not None and disease not in DISEASES:
        raise InputError(
            "unknown-disease", f"There is no disease {disease!r}.",
            f"Diseases are {', '.join(DISEASES)}; kinds are {', '.join(KINDS)}.",
        )  # fmt: skip
    if disease is None and rng.random() < _ANY:
        kinds = rng.choice(list(KINDS), int(rng.integers(2, 5)), replace=False)
        return tuple(
            Part(str(kind), tuple(HABITS), (0.05, 0.5), within=bool(n and rng.random() < 0.5))
            for n, kind in enumerate(kinds)
        )
    every = DISEASES[disease if disease is not None else str(rng.choice(list(DISEASES)))]
    shown = tuple(part for part in every if rng.random() < part.chance)
    return shown or (every[0],)


def _chosen(inside: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Both lungs, or now and then one of the two largest separate parts of the mask."""
    from scipy import ndimage

    if rng.random() >= _ONE_LUNG:
        return inside
    labels, count = ndimage.label(inside)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    largest = 1 + np.argsort(-sizes)[:2]
    if count < 2 or sizes[largest[1] - 1] < 0.25 * sizes.sum():
        return inside
    return np.asarray(labels == int(rng.choice(largest)))


def _closed(inside: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The lungs with hila and other notches narrower than 30 mm filled: they are no pleura."""
    from scipy import ndimage

    step = [max(1, round(4 / s)) for s in spacing]
    sampling = [n * s for n, s in zip(step, spacing, strict=True)]
    room = 5
    coarse = np.pad(inside[:: step[0], :: step[1], :: step[2]], room, mode="edge")
    if coarse.all():
        return inside
    grown = ndimage.distance_transform_edt(~coarse, sampling=sampling) <= _NOTCH_MM
    shrunk = grown if grown.all() else ndimage.distance_transform_edt(grown, sampling=sampling) > _NOTCH_MM
    fine = shrunk[room:-room, room:-room, room:-room]
    for axis, n in enumerate(step):
        fine = np.repeat(fine, n, axis=axis)
    z, y, x = inside.shape
    return np.asarray(inside | fine[:z, :y, :x])


@dataclass(frozen=True)
class _Scene:
    """What every pattern of a volume shares: the lungs, measured once."""

    ground: Ground
    lungs: Lungs
    depth: Field
    base_hu: float
    spacing: tuple[float, float, float]
    repeat: int
    rng: np.random.Generator

    @classmethod
    def of(
        cls,
        hu: NDArray[np.float32],
        inside: NDArray[np.bool_],
        spacing: tuple[float, float, float],
        rng: np.random.Generator,
    ) -> _Scene:
        """The scene of a part of a CT."""
        repeat = max(1, int(np.ceil(spacing[0] / THIN_SLICE_MM)))
        whole: Box = (slice(0, hu.shape[0]), slice(0, hu.shape[1]), slice(0, hu.shape[2]))
        middle = (hu.shape[0] / 2, hu.shape[1] / 2, hu.shape[2] / 2)
        ground = Ground.of(hu, inside, spacing)
        lungs = Lungs(
            grid_of(whole, middle, spacing, repeat),
            np.repeat(inside, repeat, axis=0),
            pleura_distance(_closed(inside, spacing), spacing, repeat),
            np.repeat((ground.dense > 0.9) & inside, repeat, axis=0),
        )
        depth = depth_share(inside, spacing, repeat)
        return cls(ground, lungs, depth, base_hu(hu, inside), spacing, repeat, rng)

    def paint(self, canvas: Canvas, kind: str, number: int, region: Field) -> None:
        """Lay one pattern over what is there."""
        region = np.where(self.lungs.inside | (region < 0), region, np.minimum(region, 1.0))
        if kind in _ISLANDS:
            self._islands(canvas, kind, number, region)
            return
        taken = self._around(region)
        if taken is None:
            return
        fine, coarse = taken
        grid = Grid(*(a[s] for a, s in zip(self.lungs.grid.axes, fine, strict=True)))
        brush = Brush(
            grid, 25.0, self.depth[fine], self.base_hu, self.rng,
            self.lungs.pleura_mm[fine], np.asarray(region[fine], np.float32),
        )  # fmt: skip
        canvas.lay(coarse, coarsen(PAINTERS[kind](brush), self.repeat), KINDS[kind], number)

    def _around(self, region: Field) -> tuple[Box, Box] | None:
        """The box of a region and what its soft border reaches, on the fine grid and on the CT's."""
        reached = self._slices((region > -6) & self.lungs.inside)
        if not reached.any():
            return None
        z, y, x = bounding_box(reached, 2)
        return (slice(z.start * self.repeat, z.stop * self.repeat), y, x), (z, y, x)

    def _slices(self, fine: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(fine.reshape(-1, self.repeat, *fine.shape[1:]).any(axis=1))

    def _islands(self, canvas: Canvas, kind: str, number: int, region: Field) -> None:
        """Lesions with a shape of their own in a region."""
        inside = self.ground.inside
        places = np.argwhere(self._slices((region > 0) & self.lungs.inside))
        if not len(places):
            return
        low, high = np.log(_ISLAND_ML)
        for _ in range(int(self.rng.integers(1, _MOST_ISLANDS + 1))):
            z, y, x = (float(i) for i in places[self.rng.integers(len(places))])
            radius_mm = radius_of(float(np.exp(self.rng.uniform(low, high))))
            box = box_around(inside.shape, (z, y, x), self.spacing, 1.7 * radius_mm + 3)
            part = inside[box]
            brush = Brush(
                grid_of(box, (z, y, x), self.spacing, self.repeat), radius_mm,
                depth_share(part, self.spacing, self.repeat), self.base_hu, self.rng,
                pleura_distance(part, self.spacing, self.repeat),
            )  # fmt: skip
            canvas.lay(box, coarsen(PAINTERS[kind](brush), self.repeat), KINDS[kind], number)
