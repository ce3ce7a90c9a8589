"""Mathematics of family "d": Matern fields, rounded polytopes, ellipsoids, dichotomous trees.

With the power diagrams of ``lobules_d.py`` it shares nothing with ``textures.py`` and ``textures_c.py`` but
the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...lesions.textures import Field, Grid

Points = NDArray[np.float32]
Numbers = NDArray[np.float32]

# Wave numbers in units of the reciprocal scale; beyond the last one lie 2 % of a Matern field's power.
_FINEST = 8.0


def matern_field(grid: Grid, scale_mm: float, rng: np.random.Generator) -> Field:
    """Matern field of smoothness 3/2: a sum of random cosine modes, the product of one matrix per axis.

    The correlation is (1 + s) exp(-s) with s = sqrt(3) distance / scale, 0.48 at the scale; smaller detail
    fades by a power law and not by a Gaussian as in family "a".

    Returns:
        (z, y, x) float32, mean 0, variance about 1.
    """
    waves, squares = [], []
    for axis in grid.axes:
        # Cosine modes mirror the field at their ends, which are kept out of sight.
        length = float(axis[-1] - axis[0]) + 4 * scale_mm
        count = max(3, int(np.ceil(_FINEST * length / (np.pi * scale_mm))))
        k = np.arange(count) * np.pi / length
        wave = np.cos(np.outer(axis - axis[0] + 2 * scale_mm, k))
        wave[:, 1:] *= 2**0.5
        waves.append(wave.astype(np.float32))
        squares.append(((k * scale_mm) ** 2).astype(np.float32))
    kz, ky, kx = squares
    power = (3 + kz[:, None, None] + ky[None, :, None] + kx) ** -3.0
    power[0, 0, 0] = 0
    # What the mirrors add at the ends the flat modes would take from the middle.
    flat = [np.where(np.arange(n) == 0, 0.5, 1.0) for n in power.shape]
    total = float(np.einsum("zyx,z,y,x->", power, *flat))
    modes = rng.standard_normal(power.shape, dtype=np.float32)
    modes *= np.sqrt(power / np.float32(total))
    field = np.matmul(waves[1], np.tensordot(waves[0], modes, axes=1))
    return np.asarray(np.matmul(field, waves[2].T), np.float32)


@dataclass(frozen=True)
class Body:
    """A body bounded by many planes with rounded edges, or several of them in one.

    Attributes:
        parts: of each polytope the outward normals (m, 3), the distance (m,) in mm of its planes from the
            origin, and the reciprocal (1/mm) of the radius of its edges.
        level_mm: added to the depth, so that the body has the volume asked for.
    """

    parts: Sequence[tuple[Numbers, Numbers, float]]
    level_mm: float

    def depth(self, grid: Grid) -> Field:
        """Signed depth in mm, positive inside, first order; (z, y, x) float32."""
        deepest = None
        for normals, planes, sharp in self.parts:
            ez, ey, ex = (
                np.exp(sharp * np.outer(axis, normals[:, i].astype(np.float64)))
                for i, axis in enumerate(grid.axes)
            )
            rows = (ez * np.exp(-sharp * planes.astype(np.float64)))[:, None, :] * ey[None]
            depth = np.asarray(np.log(rows @ ex.T), np.float32) / np.float32(-sharp)
            deepest = depth if deepest is None else np.maximum(deepest, depth)
        assert deepest is not None
        return np.asarray(deepest + np.float32(self.level_mm), np.float32)


def faceted_body(
    radius_mm: float,
    rng: np.random.Generator,
    *,
    uneven: float,
    sharp: float = 9.0,
    lumps: int = 0,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Body:
    """A random polytope, planes on all sides of its centre, with the volume of a ball.

    Args:
        radius_mm: of that ball.
        rng: source of every random choice.
        uneven: standard deviation of the logarithm of the planes' distances.
        sharp: radius of the body in units of the radius of its edges.
        lumps: smaller polytopes that bulge out of the first.
        centre: (z, y, x) mm.
    """
    parts = []
    for lump in range(lumps + 1):
        size = radius_mm * (1.0 if lump == 0 else float(rng.uniform(0.5, 0.7)))
        normals = _spread_directions(int(rng.integers(11, 20)), rng)
        middle = np.asarray(centre, np.float64)
        if lump:
            way = rng.standard_normal(3)
            middle = middle + way * (0.65 * radius_mm / np.linalg.norm(way))
        reach = size * np.exp(rng.normal(0, uneven, len(normals)).clip(-0.5, 0.4))
        planes = reach + normals @ middle
        parts.append((normals.astype(np.float32), planes.astype(np.float32), sharp / radius_mm))
    span = np.linspace(-2, 2, 41) * radius_mm
    around = Grid(*(span + c for c in centre))
    wanted = 4 / 3 * np.pi * radius_mm**3 / (span[1] - span[0]) ** 3
    raw = np.sort(Body(parts, 0.0).depth(around), axis=None)
    return Body(parts, -float(raw[max(0, len(raw) - 1 - int(wanted))]))


def _spread_directions(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Directions spread evenly over the sphere (a Fibonacci spiral), turned and shaken; (count, 3)."""
    i = np.arange(count) + 0.5
    height, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    across = np.sqrt(1 - height**2)
    spiral = np.stack([height, across * np.cos(turn), across * np.sin(turn)], axis=1)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    shaken = spiral @ rotation + rng.normal(0, 0.15, (count, 3))
    return np.asarray(shaken / np.linalg.norm(shaken, axis=1, keepdims=True), np.float64)


def ellipsoid_depth(
    grid: Grid,
    centres: Points,
    radii: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    reach_mm: float = 2.0,
) -> Field:
    """Depth in mm below the surface of a union of ellipsoids in random directions.

    Returns:
        (z, y, x) float32, negative outside, at least ``-reach_mm``.
    """
    depth = np.full(grid.shape, -reach_mm, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        stretch = np.exp(rng.normal(0, 0.2, 3).clip(-0.35, 0.35))
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        shape = turn @ np.diag(stretch**-2.0) @ turn.T
        box, (z, y, x) = _around(grid, centre, centre, 1.45 * float(radius) + reach_mm)
        squared = shape[0, 0] * z**2 + 2 * shape[0, 1] * z * y + shape[1, 1] * y**2
        squared = squared + (2 * shape[0, 2] * z + 2 * shape[1, 2] * y) * x + shape[2, 2] * x**2
        depth[box] = np.maximum(depth[box], np.float32(radius) - np.sqrt(np.maximum(squared, 0)))
    return depth


@dataclass(frozen=True)
class Tubes:
    """Straight pieces of tubes.

    Attributes:
        starts: (n, 3) mm.
        stops: (n, 3) mm.
        radii: (n, 2) mm at either end.
    """

    starts: NDArray[np.float64]
    stops: NDArray[np.float64]
    radii: NDArray[np.float64]

    def depth(self, grid: Grid, *, reach_mm: float = 2.0) -> Field:
        """Depth in mm below their surface, at least ``-reach_mm``; (z, y, x) float32."""
        depth = np.full(grid.shape, -reach_mm, np.float32)
        for start, stop, (first, last) in zip(self.starts, self.stops, self.radii, strict=True):
            way = stop - start
            squared = float(way @ way) + 1e-9
            reach = np.abs(way) / 2 + max(float(first), float(last)) + reach_mm
            box, (z, y, x) = _around(grid, (start + stop) / 2, start, reach)
            w = (way / squared).astype(np.float32)
            along = np.clip(w[0] * z + w[1] * y + w[2] * x, 0, 1)
            vz, vy, vx = way.astype(np.float32)
            away = np.sqrt((z - along * vz) ** 2 + (y - along * vy) ** 2 + (x - along * vx) ** 2)
            width = np.float32(first) + along * np.float32(last - first)
            depth[box] = np.maximum(depth[box], width - away)
        return depth


def bronchial_tree(
    start: NDArray[np.float64],
    heading: NDArray[np.float64],
    radius_mm: float,
    generations: int,
    rng: np.random.Generator,
) -> Tubes:
    """A bronchus that divides in two again and again, each fork in a plane at right angles to the last.

    The cubes of the daughters' radii sum to their mother's (Murray's law); a tube is eight to twelve radii
    long and bends once on its way.
    """
    way = heading / (np.linalg.norm(heading) + 1e-9)
    side = np.cross(way, rng.standard_normal(3))
    stack = [(start, way, side / (np.linalg.norm(side) + 1e-9), radius_mm, generations)]
    starts, stops, radii = [], [], []
    while stack:
        at, way, side, radius, left = stack.pop()
        share = rng.uniform(0.3, 0.7)
        length = radius * rng.uniform(8, 12)
        for half in range(2):
            bent = way + rng.normal(0, 0.15, 3)
            way = bent / np.linalg.norm(bent)
            starts.append(at)
            at = at + way * (length / 2)
            stops.append(at)
            radii.append((radius * (1 - 0.05 * half), radius * (0.95 - 0.05 * half)))
        if left <= 1:
            continue
        normal = np.cross(way, side)
        normal /= np.linalg.norm(normal) + 1e-9
        for part, sign in ((share, 1), (1 - share, -1)):
            # The narrower daughter turns aside more.
            angle = sign * rng.uniform(0.45, 0.75) * (1.4 - part)
            turned = np.cos(angle) * way + np.sin(angle) * side
            stack.append((at, turned, normal, radius * part ** (1 / 3), left - 1))
    return Tubes(np.array(starts), np.array(stops), np.array(radii))


def crooked_tubes(
    starts: NDArray[np.floating], radius_mm: tuple[float, float], rng: np.random.Generator
) -> Tubes:
    """From every start a tube of three to five short pieces that turn at random and vary in width."""
    firsts, lasts, widths = [], [], []
    for start in starts:
        count = int(rng.integers(3, 6))
        way, line = rng.standard_normal(3), [np.asarray(start, np.float64)]
        for _ in range(count):
            way = way / np.linalg.norm(way) + rng.normal(0, 0.35, 3)
            line.append(line[-1] + way / np.linalg.norm(way) * rng.uniform(2.5, 4.5))
        width = rng.uniform(*radius_mm) * rng.uniform(0.75, 1.25, count + 1)
        firsts += line[:-1]
        lasts += line[1:]
        widths.append(np.stack([width[:-1], width[1:]], axis=1))
    return Tubes(np.array(firsts), np.array(lasts), np.concatenate(widths))


def _around(
    grid: Grid,
    middle: NDArray[np.floating],
    origin: NDArray[np.floating],
    reach_mm: float | NDArray[np.floating],
) -> tuple[tuple[slice, slice, slice], tuple[Field, Field, Field]]:
    """The samples within ``reach_mm`` (one, or one an axis) of a point, and their offsets from another."""
    z, y, x = (
        slice(*np.searchsorted(axis, (m - r, m + r)))
        for axis, m, r in zip(grid.axes, middle, np.broadcast_to(reach_mm, 3), strict=True)
    )
    return (z, y, x), Grid(grid.z[z] - origin[0], grid.y[y] - origin[1], grid.x[x] - origin[2]).open()
