"""Mathematics of the held-out family "c": gradient noise, star-shaped bodies, random partitions, networks.

It shares nothing with the generator of ``lesions/`` but the grid, so that what was learnt from
their fields cannot be recognised here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...lesions.textures import Field, Grid

Points = NDArray[np.float32]


def _fade(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return t * t * t * (t * (6 * t - 15) + 10)


def _noise_power() -> float:
    """Variance of gradient noise with unit gradients, averaged over a cell."""
    t = np.linspace(0, 1, 1001)
    near, far = 1 - _fade(t), _fade(t)
    plain = float(np.mean(near**2 + far**2))
    sloped = float(np.mean((near * t) ** 2 + (far * (1 - t)) ** 2))
    return sloped * plain**2


_NOISE_POWER = _noise_power()


def gradient_noise(grid: Grid, scale_mm: float, rng: np.random.Generator, *, octaves: int = 1) -> Field:
    """Perlin's improved noise (2002) on a lattice of ``scale_mm``, octaves halving in scale and amplitude.

    The noise is a sum over lattice points of fade(z) fade(y) fade(x) (g . d), g a random unit gradient and d
    the offset: three products of one matrix per axis.

    Returns:
        (z, y, x) float32, mean 0, variance about 1.
    """
    total = np.zeros(grid.shape, np.float32)
    power = 0.0
    for octave in range(octaves):
        weights = [_lattice_weights(a, scale_mm / 2**octave, rng.uniform()) for a in grid.axes]
        knots = [w.shape[1] for w, _ in weights]
        gradient = rng.standard_normal((3, *knots)).astype(np.float32)
        gradient /= np.sqrt((gradient**2).sum(axis=0)) + np.float32(1e-6)
        for axis in range(3):
            wz, wy, wx = (sloped if a == axis else plain for a, (plain, sloped) in enumerate(weights))
            part = np.matmul(wy, np.tensordot(wz, gradient[axis], axes=1))
            total += np.float32(0.5**octave) * np.matmul(part, wx.T)
        power += 0.25**octave
    return np.asarray(total / np.float32(np.sqrt(power * _NOISE_POWER)), np.float32)


def _lattice_weights(axis: NDArray[np.float64], scale_mm: float, offset: float) -> tuple[Field, Field]:
    """Fade weights of the samples at their two lattice points, plain and times the offset from it."""
    t = (axis - axis[0]) / scale_mm + offset
    knot = np.floor(t).astype(int)
    u = t - knot
    rows = np.arange(len(axis))
    plain = np.zeros((len(axis), int(knot.max()) + 2), np.float32)
    sloped = np.zeros_like(plain)
    for step, weight in enumerate((1 - _fade(u), _fade(u))):
        plain[rows, knot + step] = weight
        sloped[rows, knot + step] = weight * (u - step)
    return plain, sloped


@dataclass(frozen=True)
class Star:
    """A body whose surface is one distance from its centre in every direction.

    Attributes:
        centre: (z, y, x) mm.
        reach: (polar, azimuth) mm, distance of the surface.
        slant: (polar, azimuth), how much longer the way to the surface is radially than straight, >= 1.
    """

    centre: tuple[float, float, float]
    reach: NDArray[np.float32]
    slant: NDArray[np.float32]

    def depth(self, grid: Grid) -> Field:
        """Signed depth in mm, positive inside, first order; (z, y, x) float32."""
        z, y, x = (a - np.float32(c) for a, c in zip(grid.open(), self.centre, strict=True))
        across = np.hypot(y, x)
        rows, columns = self.reach.shape
        polar = np.arctan2(across, z) * np.float32((rows - 1) / np.pi) + np.float32(0.5)
        azimuth = (np.arctan2(y, x) / np.float32(2 * np.pi) % 1) * np.float32(columns)
        at = (
            np.broadcast_to(polar, grid.shape).astype(np.int32),
            np.broadcast_to(azimuth, grid.shape).astype(np.int32) % columns,
        )
        return np.asarray((self.reach[at] - np.hypot(across, z)) / self.slant[at], np.float32)


def star_body(
    radius_mm: float,
    rng: np.random.Generator,
    *,
    rough: float,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
    degrees: int = 7,
) -> Star:
    """A random star-shaped body: the logarithm of its radius is a sum of real spherical harmonics.

    Args:
        radius_mm: of the ball with the same volume.
        rng: source of every random choice.
        rough: standard deviation of the logarithm of the radius.
        centre: (z, y, x) mm.
        degrees: highest degree; power falls with its square.
    """
    from scipy.special import lpmv

    polar, azimuth = np.linspace(0, np.pi, 181), np.arange(360) * 2 * np.pi / 360
    height = np.zeros((181, 360))
    for degree in range(2, degrees + 1):
        for order in range(degree + 1):
            legendre = lpmv(order, degree, np.cos(polar))
            legendre /= np.sqrt(np.mean(legendre**2 * np.sin(polar)) * np.pi / 2)
            cosine, sine = rng.standard_normal(2) / degree**1.5
            wave = cosine * np.cos(order * azimuth) + (sine if order else 0.0) * np.sin(order * azimuth)
            height += legendre[:, None] * wave
    area = np.sin(polar)[:, None] / np.sin(polar).sum() / len(azimuth)
    height -= (height * area).sum()
    height *= rough / np.sqrt((height**2 * area).sum())
    reach = np.exp(height)
    reach *= radius_mm / (reach**3 * area).sum() ** (1 / 3)
    steps = np.gradient(np.log(reach), np.pi / 180)
    across = steps[1] / np.maximum(np.sin(polar), 0.1)[:, None]
    slant = np.sqrt(1 + steps[0] ** 2 + across**2)
    return Star(centre, reach.astype(np.float32), slant.astype(np.float32))


@dataclass(frozen=True)
class Partition:
    """Random polyhedra and how far each point is from their faces.

    Attributes:
        cell: (n,) int32, number of the polyhedron.
        face_mm: (n,) float32, distance to the nearest face.
    """

    cell: NDArray[np.int32]
    face_mm: NDArray[np.float32]

    @cached_property
    def count(self) -> int:
        """How many polyhedra."""
        return int(self.cell.max()) + 1 if len(self.cell) else 0


def split_cells(points: Points, size_mm: float, rng: np.random.Generator) -> Partition:
    """Cut space by random planes, each part again, until parts are about ``size_mm`` wide.

    An iterated (STIT) tessellation: polyhedra that meet in T-junctions, as secondary lobules do.

    Args:
        points: (n, 3) mm.
        size_mm: typical extent of a polyhedron.
        rng: source of every random choice.
    """
    cell = np.zeros(len(points), np.int32)
    face = np.full(len(points), np.inf, np.float32)
    stack = [np.arange(len(points))]
    count = 0
    while stack:
        members = stack.pop()
        own = points[members]
        extent = np.ptp(own, axis=0) if len(own) else np.zeros(3)
        if float(extent.max()) < size_mm * rng.uniform(0.8, 1.5):
            cell[members] = count
            count += 1
            continue
        normal = extent * rng.choice((-1, 1), 3) * rng.uniform(0.2, 1.0, 3) ** 2
        normal /= np.linalg.norm(normal)
        height = own @ normal.astype(np.float32)
        low, high = float(height.min()), float(height.max())
        height -= np.float32(low + (high - low) * rng.uniform(0.35, 0.65))
        face[members] = np.minimum(face[members], np.abs(height))
        stack += [members[height < 0], members[height >= 0]]
    return Partition(cell, face)


def scattered(points: Points, gap_mm: float, rng: np.random.Generator, *, tries: int = 20) -> Points:
    """Poisson-disk sample: random ones of the points, none closer than ``gap_mm`` to another; (m, 3) mm."""
    kept, _ = scattered_balls(points, np.array([gap_mm / 2]), 0.0, rng, tries=tries)
    return kept


def scattered_balls(
    points: Points, radii: NDArray[np.float64], gap_mm: float, rng: np.random.Generator, *, tries: int = 20
) -> tuple[Points, NDArray[np.float64]]:
    """Balls thrown at random, the largest first, that stay ``gap_mm`` apart.

    Args:
        points: (n, 3) mm, where centres may lie.
        radii: (k,) mm, radii to choose from.
        gap_mm: between two balls.
        rng: source of every random choice.
        tries: throws for every ball that would fill the space.

    Returns:
        Centres (m, 3) in mm and radii (m,) in mm.
    """
    from scipy.spatial import cKDTree

    if len(points) == 0:
        return points, np.zeros(0)
    span = np.maximum(np.ptp(points, axis=0), 1.0)
    room = min(float(np.prod(span)), 1e7)
    most = int(np.clip(tries * room / (4.2 * float(np.mean(radii)) ** 3) * 0.15, 40, 12000))
    centres = points[rng.integers(0, len(points), most)] + rng.normal(0, 0.3, (most, 3)).astype(np.float32)
    own = np.sort(rng.choice(radii, most))[::-1]
    tree = cKDTree(centres)
    alive = np.ones(most, bool)
    for i in range(most):
        if not alive[i]:
            continue
        near = np.asarray(tree.query_ball_point(centres[i], 2 * own[i] + gap_mm), int)
        near = near[near > i]
        away = np.linalg.norm(centres[near] - centres[i], axis=1)
        alive[near[away < own[i] + own[near] + gap_mm]] = False
    return centres[alive], own[alive]


def merged(grid: Grid, centres: Points, radii: NDArray[np.float64]) -> Field:
    """Depth in mm below the surface of soft balls that flow into one another where they come near.

    Each adds (1 - d^2 / 4 r^2)^2 within twice its radius; the surface is where the sum is 9/16, so a ball
    alone keeps its radius.

    Returns:
        (z, y, x) float32, negative outside.
    """
    total = np.zeros(grid.shape, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        box = _near(grid, centre, 2 * radius)
        z, y, x = (axis[s] - c for axis, s, c in zip(grid.axes, box, centre, strict=True))
        squared = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2
        total[box] += np.clip(1 - squared / (4 * radius**2), 0, None).astype(np.float32) ** 2
    scale = float(np.mean(radii)) / 0.75 if len(radii) else 1.0
    return np.asarray((total - np.float32(0.5625)) * np.float32(scale), np.float32)


def pebbles(
    grid: Grid,
    warp: Sequence[Field],
    centres: Points,
    radii: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    reach_mm: float = 3.0,
) -> Field:
    """Depth in mm below the surface of bent ellipsoids (negative outside, at least ``-reach_mm``)."""
    depth = np.full(grid.shape, -reach_mm, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        box = _near(grid, centre, 1.4 * radius + reach_mm)
        axes = np.exp(rng.normal(0, 0.16, 3).clip(-0.3, 0.3))
        squared = np.float32(0)
        for axis, (values, bend) in enumerate(zip(grid.open(), warp, strict=True)):
            part = tuple(s if a == axis else slice(None) for a, s in enumerate(box))
            squared = squared + ((values[part] + bend[box] - centre[axis]) / np.float32(axes[axis])) ** 2
        depth[box] = np.maximum(depth[box], np.float32(radius) - np.sqrt(squared))
    return depth


def _near(grid: Grid, centre: NDArray[np.floating], reach_mm: float) -> tuple[slice, slice, slice]:
    z, y, x = (
        slice(*np.searchsorted(axis, (c - reach_mm, c + reach_mm)))
        for axis, c in zip(grid.axes, centre, strict=True)
    )
    return z, y, x


def network(nodes: Points, rng: np.random.Generator, *, links: int = 3) -> Points:
    """A graph of slightly bent segments from every node to its nearest ones, as points 0.6 mm apart."""
    from scipy.spatial import cKDTree

    if len(nodes) <= links:
        return nodes
    near = np.asarray(cKDTree(nodes).query(nodes, k=links + 1)[1])
    edges = np.unique(
        np.sort(np.stack([np.repeat(near[:, 0], links), near[:, 1:].ravel()], 1), axis=1), axis=0
    )
    parts = []
    for first, last in edges:
        length = float(np.linalg.norm(nodes[last] - nodes[first]))
        t = np.linspace(0, 1, max(2, int(length / 0.6)), dtype=np.float32)[:, None]
        bow = rng.normal(0, 0.12 * length, 3).astype(np.float32)
        parts.append(nodes[first] * (1 - t) + nodes[last] * t + 4 * t * (1 - t) * bow)
    return np.concatenate(parts)


def airway(
    start: NDArray[np.float64], stop: NDArray[np.float64], radius_mm: float, rng: np.random.Generator
) -> tuple[Points, NDArray[np.float64]]:
    """A bronchus from start to stop along a Bezier curve, with side branches; points 0.5 mm apart, radii."""
    points, radii = [], []
    stack = [(start, stop, radius_mm, 0)]
    while stack:
        first, last, radius, order = stack.pop()
        way = last - first
        length = float(np.linalg.norm(way))
        bend = (first + last) / 2 + rng.normal(0, 0.18 * length, 3)
        t = np.linspace(0, 1, max(3, int(length / 0.5)))[:, None]
        line = (1 - t) ** 2 * first + 2 * t * (1 - t) * bend + t**2 * last
        points.append(line.astype(np.float32))
        radii.append(np.linspace(radius, 0.6 * radius, len(line)))
        for share in rng.uniform(0.25, 0.85, 2 if order < 2 else 0):
            root = line[int(share * (len(line) - 1))]
            turn = np.cross(way, rng.standard_normal(3))
            turn *= length / (np.linalg.norm(turn) + 1e-9)
            stack.append((root, root + 0.35 * way + 0.4 * turn, 0.65 * radius, order + 1))
    return np.concatenate(points), np.concatenate(radii)


def line_depth(
    points: Points, line: Points, radii: NDArray[np.float64] | float, *, reach_mm: float = 3.0
) -> NDArray[np.float32]:
    """Depth in mm of points below the surface of tubes along a line; ``-reach_mm`` where it is far."""
    from scipy.spatial import cKDTree

    if len(line) == 0 or len(points) == 0:
        return np.full(len(points), -reach_mm, np.float32)
    widest = float(np.max(radii))
    away, which = cKDTree(line).query(points, distance_upper_bound=reach_mm + widest)
    own = np.append(np.broadcast_to(radii, len(line)), 0.0)[which]
    depth = own - np.where(np.isfinite(away), away, reach_mm + widest)
    return np.asarray(np.maximum(depth, -reach_mm), np.float32)
