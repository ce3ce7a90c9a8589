"""Grids of every kind of orientation around one point of the patient."""

from __future__ import annotations

import numpy as np

from DiffSegLungLib.io.ct import Geometry


def rotation(degrees_x: float, degrees_z: float) -> tuple[float, ...]:
    """Direction of a grid turned about z, then about x."""
    a, b = np.radians([degrees_x, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return tuple((about_x @ about_z).ravel())


DIRECTIONS: dict[str, tuple[float, ...]] = {
    "axis-aligned": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "left-handed": (1, 0, 0, 0, 1, 0, 0, 0, -1),
    "permuted": (0, 0, 1, -1, 0, 0, 0, -1, 0),  # i runs to -y, j to -z, k to +x
    "oblique": rotation(30, 30),
}


def centred(direction: tuple[float, ...]) -> Geometry:
    """A grid of 20 x 22 x 24 voxels of 1.5 x 1 x 2 mm around the point (10, -20, 30)."""
    grid = Geometry((20, 22, 24), (1.5, 1.0, 2.0), direction=direction)
    x, y, z = np.array([10, -20, 30]) - grid.world([11.5, 10.5, 9.5])
    return Geometry(grid.size, grid.spacing, (x, y, z), direction)


GRIDS = {name: centred(direction) for name, direction in DIRECTIONS.items()}


def ramp(geometry: Geometry) -> np.ndarray:
    """f(x, y, z) = 2 x - 3 y + 5 z + 7 at every voxel centre, float32 (z, y, x)."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return (geometry.world(index) @ [2.0, -3.0, 5.0] + 7.0).astype(np.float32)
