"""How much of a lung mask lies outside the rib cage.

The rib cage of an axial section is the convex outline of its bones. Shoulder blades, collar bones and arms
are left out: a bone with a rib between it and the middle of the chest is none of the cage's. What lies
between two ribs, or in a bend of the outline, counts as inside, so the volume is a lower bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..anatomy.shapes import COARSE_MM, VOXEL_ML, Mask, opened
from ..anatomy.thorax import Chest, chest_of
from ..io.ct import CT, resample

BONE_HU = 150.0
"""Of bone averaged to cubes of 2.5 mm; ribs are hardly thicker."""

THICK_MM = 7.5
"""Half as thick as what is no rib: vertebrae, heart and great vessels with contrast."""

RIB_MM = 15.0
"""What one rib fills of a line from the middle of the chest, its slant included."""

NEAR_MM = 7.5
"""Up and down: ribs that cover the space to the next one, and sections whose bones make one outline."""

MIDDLE = 0.5
"""Bones nearer to the middle than this share of the farthest bone are no ribs."""

TOLERANCE_MM = 3.0
"""Outside the outline by more than this: a voxel of the grid."""

SECTORS = 120
LEAST_SECTORS = 60
BESIDE = 2
"""Directions round the middle of the chest; in how many of them a cage has bone; how many on either side of
one with bone are known by it."""


def outside_ribs_ml(ct: CT, lungs: Mask) -> float:
    """Volume of a lung mask that lies outside the rib cage.

    Where there is no bone, nothing counts as outside: in sections with bone in less than half of all
    directions, and in directions without any, as behind cartilage or where the field of view cuts the ribs.

    Args:
        ct: the CT.
        lungs: (z, y, x) bool on its grid.

    Returns:
        ml, a lower bound; where ribs end in cartilage, clean masks of real CT read up to 1.5 ml.
    """
    if not lungs.any():
        return 0.0
    chest = chest_of(ct)
    part = resample(
        lungs.astype(np.uint8) * np.uint8(200), ct.geometry, chest.geometry, order="linear", fill=0
    )
    share = np.asarray(part / 200.0, np.float32)
    bone = (chest.hu > BONE_HU) & chest.field
    polar = _Polar(share, bone)
    ribs = _ribs(chest, bone, polar)
    total = 0.0
    for z in map(int, np.flatnonzero((share > 0).any(axis=(1, 2)))):
        outside = _outside(ribs, z, polar) & (share[z] > 0)
        total += float(share[z][outside].sum())
    return total * VOXEL_ML


class _Polar:
    """Direction and distance of every voxel of a section from the middle of the chest.

    Args:
        share: (z, y, x) how much of a voxel is lung.
        bone: (z, y, x).
    """

    def __init__(self, share: NDArray[np.float32], bone: Mask) -> None:
        seen = [np.flatnonzero((bone | (share > 0)).any(axis=axes)) for axes in ((0, 2), (0, 1))]
        self.centre = [(float(at[0]) + float(at[-1])) / 2 for at in seen]
        y, x = np.mgrid[: bone.shape[1], : bone.shape[2]]
        y, x = y - self.centre[0], x - self.centre[1]
        self.distance = np.hypot(y, x) * COARSE_MM
        self.sector = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * SECTORS).astype(np.intp) % SECTORS


def _ribs(chest: Chest, bone: Mask, polar: _Polar) -> Mask:
    """The bones that no rib covers."""
    from scipy.ndimage import minimum_filter

    air = (chest.hu < chest.threshold) & ~chest.exterior
    thin = bone & ~opened(bone, THICK_MM)
    nearest = np.full((len(bone), SECTORS), np.inf)
    for z in np.flatnonzero(thin.any(axis=(1, 2))):
        distance, sector = polar.distance[thin[z]], polar.sector[thin[z]]
        lung = np.zeros(SECTORS)
        np.maximum.at(lung, polar.sector[air[z]], polar.distance[air[z]])
        # What lies on this side of the lung's far end is a vessel or the heart, bright with contrast.
        ribs = distance > np.maximum(MIDDLE * distance.max(), lung[sector])
        np.minimum.at(nearest[z], sector[ribs], distance[ribs])
    steps = 2 * int(NEAR_MM / COARSE_MM) + 1
    nearest = minimum_filter(nearest, (steps, 3), mode=("nearest", "wrap"))
    return np.asarray(bone & (polar.distance <= nearest[:, polar.sector] + RIB_MM))


def _outside(ribs: Mask, z: int, polar: _Polar) -> Mask:
    """What of a section lies outside the convex outline of the ribs near it, where that can be told."""
    from scipy.spatial import ConvexHull

    reach = int(NEAR_MM / COARSE_MM)
    near = ribs[max(0, z - reach) : z + reach + 1].any(axis=0)
    with_bone = np.bincount(polar.sector[near], minlength=SECTORS) > 0
    if with_bone.sum() < LEAST_SECTORS:
        return np.zeros(near.shape, bool)
    planes = ConvexHull(np.argwhere(near)).equations
    places = np.indices(near.shape).reshape(2, -1)
    beyond = np.max(planes[:, :2] @ places + planes[:, 2:], axis=0).reshape(near.shape)
    # Where the ribs end (at their cartilage, or cut off), nothing is known of the outline.
    known = np.convolve(np.tile(with_bone, 3), np.ones(2 * BESIDE + 1), "same")[SECTORS : 2 * SECTORS] > 0
    return np.asarray((beyond * COARSE_MM > TOLERANCE_MM) & known[polar.sector])
