"""Cavities: gas within the lung that a dense wall encloses. A rule of shape and density, no texture is asked.

Thick slices mix lumen, wall and lung: above and below, a cavity's wall is hardly denser than lung, and only
the middle of the lumen is as dark as gas. Within an axial plane little is mixed. So lumina are cut out at
several levels of HU, until one does not leak, and their walls are judged within the plane.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.geometry import bounding_box

Mask = NDArray[np.bool_]
HU = NDArray[np.float32]
Spacing = Sequence[float]
Box = tuple[slice, ...]

GAS_HU, BELOW_LUNG_HU, MOST_HU = -900.0, 40.0, (-950.0, -880.0)
"""The darkest twentieth of a lumen is below the first, most of it so far below the patient's own lung; but
that limit stays between the last two."""

THIN_MM, THICK_MM = 2.5, 4.0
MOSTLY_GAS = (0.5, 0.2)
"""Share of the lumen's core that is as dark as gas, in slices so thin and so thick; linear in between."""

WIDE_ML, MOST_ML = 30.0, 300.0
"""From the first on, thick slices are no excuse for a lumen that is not mostly gas; beyond the second it is a
lung or a lobe (the whole right lung of a prone CT with gaps of 10 mm passed for a cavity)."""

LEVELS_HU = (-500.0, -600.0, -700.0, -780.0)
"""Where lumina are cut from the lung, one level after another: half-way between lung and tissue first, so
that a wall of one voxel closes; lower for walls that thick slices average with lung."""

DENSE_HU, WALL_HU = -400.0, -300.0
"""Wall and the middle of a wall; one of 2 mm reads hardly more after the blur of scanner and grid."""

LUMEN_RADIUS_MM, LEAKY_RADIUS_MM = 2.5, 3.5
"""Least radius of a disc that fits into the lumen, at the first level and at the others; bronchi within
consolidation are thinner. Half a slice at least: smaller lumina cannot be told from partial volume."""

LONG = 3.0
"""Largest ratio of the lumen's length, in whatever direction, to the diameter of its largest disc; that of
longer ones is a tube's."""

CYST_RADIUS_MM, CYST_HU, HOLE_HU, HOLES = 6.0, -840.0, -600.0, 0.15
"""Smaller lumina are cysts of honeycombing (3 to 10 mm across) where so much of the wall is itself full of
air."""

CLUSTER, CLUSTERED_RADIUS_MM, NEAR_MM = 2, 10.0, 8.0
"""Smaller lumina with so many others so near are honeycombing, or cystic bronchiectasis."""

CLOSED, WALLED, WITHIN_LUNG = 0.8, 0.65, 0.4
"""Least shares of the lumen's surface: closed, behind a dense wall in its plane, off the lungs' border."""

WALL_MM = (2.0, 10.0)
"""Thinner walls belong to bullae and cysts (below 2 mm, Fleischner Society 2024); of a thicker one, which may
be a whole mass or lobe, this much counts."""

BLURRED_MM, UNEVEN_MM = 3, 3.0
"""The wall begins this near to the lumen, and is so much thicker in places than in most."""

NECK_MM, REACH_MM, RIM_MM = 2.0, 4.0, 2.0
NOISE_MM = 0.7
"""Standard deviation of the Gaussian that is taken over each plane before anything is asked."""


@dataclass(frozen=True)
class _Scene:
    """The lungs' box, or the part around one lumen: arrays (z, y, x) of one shape."""

    hu: HU
    lungs: Mask
    spacing_zyx: Spacing
    slice_mm: float

    def part(self, box: Box) -> _Scene:
        return _Scene(self.hu[box], self.lungs[box], self.spacing_zyx, self.slice_mm)


@dataclass(frozen=True)
class _Wall:
    """Where the wall lies around a lumen, mm from it, how much of it is air, and its inside in the lungs."""

    begin_mm: float
    thickness_mm: float
    holes: float
    within_lung: float


def find_cavities(hu: HU, lungs: Mask, spacing_zyx: Spacing, slice_mm: float | None = None) -> Mask:
    """Mark cavities: lumen and wall, as a radiologist measures them.

    A cavity is gas (below -900 HU, and darker than the lung) that is closed on all sides but for a narrow
    neck (an eroded bronchus), behind a dense wall that is at least 2 mm thick in the axial plane. Marked are
    the lumen and its wall as far as it is dense, 10 mm at most. Not marked are bullae and cysts (thin walls),
    honeycombing (clusters of small cysts), bronchi (tubes) and whatever borders on the outside of the lungs
    without a wall (trachea, stomach in a bad mask).

    Args:
        hu: float32 (z, y, x), the CT in HU.
        lungs: bool (z, y, x), solid lungs.
        spacing_zyx: mm between voxels, z along the patient; meant for the canonical 2 × 1 × 1 mm.
        slice_mm: mm between the CT's own slices along the patient, before it was resampled; None takes that
            of ``hu``. In thick slices less of a lumen must be dark, and lumina of less than a slice are not
            looked for.

    Returns:
        bool (z, y, x), within ``lungs``.
    """
    from scipy.ndimage import gaussian_filter

    cavities = np.zeros(hu.shape, bool)
    if not lungs.any():
        return cavities
    box = bounding_box(lungs, 2)
    sigmas = (0.0, *(NOISE_MM / s for s in spacing_zyx[1:]))
    smooth = gaussian_filter(hu[box], sigmas, truncate=3)
    scene = _Scene(smooth, lungs[box], spacing_zyx, max(slice_mm or 0.0, spacing_zyx[0]))
    found = cavities[box]
    margin = [int(np.ceil((WALL_MM[1] + REACH_MM) / s)) for s in spacing_zyx]
    aerated = scene.hu[scene.lungs & (scene.hu < LEVELS_HU[1])]
    own = float(np.median(aerated)) if aerated.size else 0.0
    dark = float(np.clip(own - BELOW_LUNG_HU, *MOST_HU))
    for level in LEVELS_HU:
        open_air = scene.lungs & (scene.hu < level)
        cores, candidates = _gas(scene, open_air, dark)
        for number, part in candidates:
            around = tuple(
                slice(max(0, s.start - m), min(n, s.stop + m))
                for s, m, n in zip(part, margin, cores.shape, strict=True)
            )
            if not found[part][cores[part] == number].any():
                found[around] |= _cavity(scene.part(around), cores[around], number, open_air[around], level)
    return cavities


def _gas(
    scene: _Scene, open_air: Mask, dark: float
) -> tuple[NDArray[np.signedinteger[Any]], Iterator[tuple[int, Box]]]:
    """Cores of open air without its necks, numbered, and the number and box of those that may be lumina.

    Most of a lumen is at most so ``dark``, HU.
    """
    from scipy.ndimage import find_objects, label

    # Necks are cut by an erosion, which the lumen gets back later.
    cores, count = label(_eroded(open_air, NECK_MM, scene.spacing_zyx))
    sizes = np.bincount(cores.ravel(), minlength=count + 1)
    share = float(np.interp(scene.slice_mm, (THIN_MM, THICK_MM), MOSTLY_GAS))
    volumes = sizes * float(np.prod(scene.spacing_zyx)) / 1000

    def lumina() -> Iterator[tuple[int, Box]]:
        for number, part in enumerate(find_objects(cores), start=1):
            if sizes[number] >= 3 and volumes[number] <= MOST_ML:
                values = scene.hu[part][cores[part] == number]
                dark_share = share if volumes[number] < WIDE_ML else MOSTLY_GAS[0]
                darkest, mostly = np.quantile(values, (0.05, dark_share))
                if darkest <= GAS_HU and mostly <= dark:
                    yield number, part

    return cores, lumina()


def _cavity(
    scene: _Scene, cores: NDArray[np.signedinteger[Any]], number: int, open_air: Mask, level: float
) -> Mask:
    """Lumen and wall around one core of gas; empty if it is no cavity."""
    from scipy.ndimage import binary_dilation, binary_fill_holes

    reach = round(2 * NECK_MM / min(scene.spacing_zyx))
    lumen = binary_dilation(cores == number, iterations=reach, mask=open_air)
    radius = _radius_mm(scene, lumen, level)
    if radius == 0 or not _is_closed(scene, lumen, level):
        return np.zeros(lumen.shape, bool)
    wall = _wall(scene, lumen)
    away = _distance_mm(lumen, scene.spacing_zyx)
    cyst = (radius < CYST_RADIUS_MM and wall.holes > HOLES) or (
        radius < CLUSTERED_RADIUS_MM and _closed_neighbours(scene, cores, number, away, level) >= CLUSTER
    )
    if wall.thickness_mm < WALL_MM[0] or wall.within_lung < WITHIN_LUNG or cyst:
        return np.zeros(lumen.shape, bool)
    marked = lumen | ((away <= wall.begin_mm) & (scene.hu > level))
    thickest = min(wall.thickness_mm + UNEVEN_MM, WALL_MM[1])
    marked |= (away <= wall.begin_mm + thickest) & (scene.hu > DENSE_HU)
    for plane in marked:
        plane[:] = binary_fill_holes(plane)
    return np.asarray(marked & scene.lungs)


def _radius_mm(scene: _Scene, lumen: Mask, level: float) -> float:
    """Radius of the largest axial disc in a lumen, mm; 0 where it is too small or a tube."""
    from scipy.ndimage import distance_transform_edt

    pixel = scene.spacing_zyx[1:]
    planes = lumen[lumen.any(axis=(1, 2))]
    radius = max(float(distance_transform_edt(np.pad(p, 1), sampling=pixel).max()) for p in planes)
    least = max(LUMEN_RADIUS_MM if level == LEVELS_HU[0] else LEAKY_RADIUS_MM, scene.slice_mm / 2)
    tube = _length_mm(scene, lumen) > LONG * max(2 * radius, scene.slice_mm)
    return 0.0 if radius < least or tube else radius


def _length_mm(scene: _Scene, lumen: Mask) -> float:
    """Length of a lumen along its longest principal axis, mm: that of a rod which spreads as much."""
    place = np.argwhere(lumen) * np.asarray(scene.spacing_zyx)
    if len(place) < 3:
        return 0.0
    return float(np.sqrt(12 * np.linalg.eigvalsh(np.cov(place.T))[-1]))


def _is_closed(scene: _Scene, lumen: Mask, level: float) -> bool:
    """Whether a lumen is closed, a dense wall lies behind its sides."""
    from scipy.ndimage import binary_dilation, generate_binary_structure, maximum_filter

    shell = binary_dilation(lumen) & ~lumen
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = generate_binary_structure(2, 1)
    rim = binary_dilation(lumen, in_plane) & ~lumen
    middle = rim & _middle(lumen)[:, None, None]
    size = (1, *(2 * max(1, round(REACH_MM / s)) + 1 for s in scene.spacing_zyx[1:]))
    brightest = maximum_filter(scene.hu, size=size)
    return bool((scene.hu[shell] > level).mean() >= CLOSED and (brightest[middle] > WALL_HU).mean() >= WALLED)


def _wall(scene: _Scene, lumen: Mask) -> _Wall:
    """The wall where a lumen is wide, told from rings of 1 mm in the axial plane."""
    from scipy.ndimage import distance_transform_edt

    middle = _middle(lumen)
    away = np.stack([distance_transform_edt(~p, sampling=scene.spacing_zyx[1:]) for p in lumen[middle]])
    hu, inside = scene.hu[middle], scene.lungs[middle]
    most = int(WALL_MM[1])
    # Beyond the lungs the wall counts as dense: it is that of the chest.
    shares = []
    for outer in range(1, BLURRED_MM + most + 1):
        ring = inside & (away > outer - 1) & (away <= outer)
        shares.append(float((hu[ring] > DENSE_HU).mean()) if np.count_nonzero(ring) >= 3 else 1.0)
    begin = next((i for i, share in enumerate(shares[: BLURRED_MM + 1]) if share >= 0.5), None)
    if begin is None:
        return _Wall(0.0, 0.0, 0.0, 0.0)
    dense = next((i for i, share in enumerate(shares[begin:]) if share < 0.5), most)
    parts = shares[begin - 1 : begin] + (shares[begin + dense : begin + dense + 1] if dense < most else [])
    thickness = min(dense + sum(parts), WALL_MM[1])
    within = inside & (away > begin) & (away <= begin + thickness)
    holes = float((hu[within] < HOLE_HU).mean()) if within.any() else 0.0
    # Where the wall begins, not where the lumen ends: what lies between may be all that a bad mask holds.
    return _Wall(float(begin), thickness, holes, float(inside[(away > begin) & (away <= begin + 1)].mean()))


def _middle(lumen: Mask) -> Mask:
    """(z,) bool, the planes where a lumen is at least half as wide as in its widest: no caps."""
    areas = lumen.sum(axis=(1, 2))
    return np.asarray(areas >= 0.5 * areas.max())


def _closed_neighbours(
    scene: _Scene, cores: NDArray[np.signedinteger[Any]], number: int, away: HU, level: float
) -> int:
    """How many other closed pockets of gas lie within :data:`NEAR_MM` of a lumen."""
    from scipy.ndimage import distance_transform_edt

    count = 0
    for other in np.unique(cores[(away > 0) & (away <= NEAR_MM)]):
        if other in (0, number):
            continue
        core = cores == other
        if core.sum() < 5 or np.median(scene.hu[core]) >= CYST_HU:
            continue
        # The core lacks its eroded border; beyond that, in the plane, lies what closes it.
        planes = core.any(axis=(1, 2))
        out = np.stack([distance_transform_edt(~p, sampling=scene.spacing_zyx[1:]) for p in core[planes]])
        rim = scene.hu[planes][(out > NECK_MM) & (out <= NECK_MM + RIM_MM)]
        count += bool(rim.size and (rim > level).mean() > 0.5)
    return count


def _eroded(mask: Mask, mm: float, spacing_zyx: Spacing) -> Mask:
    """The voxels all of whose neighbours up to this far are in a mask; outside the array all are."""
    eroded = mask.copy()
    reach = [range(-int(mm // s), int(mm // s) + 1) for s in spacing_zyx]
    for step in np.stack(np.meshgrid(*reach, indexing="ij"), -1).reshape(-1, 3):
        if 0 < np.linalg.norm(step * np.asarray(spacing_zyx)) <= mm:
            here = tuple(slice(max(0, i), n + min(0, i)) for i, n in zip(step, mask.shape, strict=True))
            there = tuple(slice(max(0, -i), n + min(0, -i)) for i, n in zip(step, mask.shape, strict=True))
            eroded[here] &= mask[there]
    return eroded


def _distance_mm(mask: Mask, spacing_zyx: Spacing) -> HU:
    """Distance to a mask in mm, 0 inside."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.view(np.uint8))
    image.SetSpacing([float(s) for s in spacing_zyx[::-1]])
    signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    distance: HU = np.maximum(sitk.GetArrayViewFromImage(signed), np.float32(0))
    return distance
