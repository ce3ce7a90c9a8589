"""The canonical working grid: lungs cropped, axis-aligned, 2.0 × 1.0 × 1.0 mm, still in Hounsfield units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..anatomy.regions import side_of
from ..errors import InputError
from ..io.ct import CT, Geometry, resample
from ..io.geometry import bounding_box, low_pass_sigma
from ..threads import in_threads

if TYPE_CHECKING:
    from ..anatomy.lungs import Lungs

SPACING_ZYX = (2.0, 1.0, 1.0)
CELL = (4, 8, 8)
"""Canonical voxels (z, y, x) in one cell: 8 mm cubes, the stride of the network's bottleneck."""

HU_FLOOR, HU_CEILING = -1000.0, 400.0

Numeric = TypeVar("Numeric", bound=Any)


def normalise(hu: Numeric) -> Numeric:
    """Map HU to [-1, 1]: x = (clip(HU, -1000, 400) + 1000)/700 - 1; arrays and tensors alike."""
    return (hu.clip(HU_FLOOR, HU_CEILING) - HU_FLOOR) / 700.0 - 1.0  # type: ignore[no-any-return]


def denormalise(x: Numeric) -> Numeric:
    """Map [-1, 1] back to HU: the inverse of :func:`normalise` inside [-1000, 400] HU."""
    return (x + 1.0) * 700.0 + HU_FLOOR  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Canonical:
    """A chest CT on the working grid.

    Attributes:
        hu: (z, y, x) float32 in HU, air-corrected; index 0 is inferior, anterior and right.
        lungs: (z, y, x) bool.
        side: (z, y, x) uint8, 0 outside, 1 right lung, 2 left lung.
        geometry: where the grid lies in the world; every axis has a multiple of :data:`CELL` voxels.
        slice_mm: mm between the CT's own voxels along the patient, before it was resampled.
    """

    hu: NDArray[np.float32]
    lungs: NDArray[np.bool_]
    side: NDArray[np.uint8]
    geometry: Geometry
    slice_mm: float = SPACING_ZYX[0]

    @property
    def cell_shape(self) -> tuple[int, int, int]:
        """Number of cells along (z, y, x)."""
        z, y, x = (n // c for n, c in zip(self.hu.shape, CELL, strict=True))
        return z, y, x


def working_volume(
    ct: CT, lungs: Lungs, *, shift_hu: float | Callable[[], float] = 0.0, margin_mm: float = 8.0
) -> Canonical:
    """Crop a CT to its lungs and resample it to the canonical grid.

    The grid is aligned with the patient's axes and its cells lie on a lattice fixed in the world, so that the
    same patient gives the same cells however the file was cropped, flipped, permuted or reformatted.

    Args:
        ct: the CT in HU.
        lungs: its lungs, on the CT's own grid.
        shift_hu: added to every voxel (air-offset correction), HU; or what gives it when it is needed.
        margin_mm: room kept around the lungs, mm.

    Returns:
        The canonical volume; voxels outside the CT's field of view are air, outside the lungs.

    Raises:
        InputError: the lung mask is empty.
    """
    geometry = working_geometry(lungs.regions, ct.geometry, margin_mm)

    def density() -> NDArray[np.float32]:
        shift = shift_hu() if callable(shift_hu) else shift_hu
        hu = resample(ct.hu, ct.geometry, geometry, order="linear", fill=HU_FLOOR - shift)
        return np.asarray(hu.astype(np.float32, copy=False) + np.float32(shift))

    def inside() -> NDArray[np.bool_]:
        return resample_mask(lungs.regions, ct.geometry, geometry)

    def sides() -> NDArray[np.uint8]:
        return side_of(resample(lungs.regions, ct.geometry, geometry, order="nearest", fill=0))

    makers: list[Callable[[], NDArray[Any]]] = [inside, sides, density]
    mask, side, hu = in_threads(lambda make: make(), makers)
    return Canonical(
        hu=hu,
        lungs=mask,
        side=side,
        geometry=geometry,
        slice_mm=slice_mm(ct.geometry),
    )


def slice_mm(geometry: Geometry) -> float:
    """Millimetres between a CT's voxels along the patient, in whatever order its axes are stored."""
    return float(np.abs(geometry.matrix[2]).max())


def working_geometry(lungs: NDArray[Any], geometry: Geometry, margin_mm: float = 8.0) -> Geometry:
    """The canonical grid that holds lungs (all but 0): axis-aligned (LPS), cells on a world-fixed lattice."""
    occupied = bounding_box(lungs)
    if not occupied[0].stop:
        raise InputError(
            "no-lungs", "The lung mask is empty.", "A CT that shows at least one lung is needed."
        )
    corners_zyx = np.stack(
        np.meshgrid(*[(at.start - 0.5, at.stop - 0.5) for at in occupied], indexing="ij"), -1
    ).reshape(-1, 3)
    direction = np.asarray(geometry.direction).reshape(3, 3) * np.asarray(geometry.spacing)
    world = corners_zyx[:, ::-1] @ direction.T + np.asarray(geometry.origin)

    spacing = np.asarray(SPACING_ZYX[::-1])
    cell_mm = spacing * np.asarray(CELL[::-1])
    low = np.floor((world.min(axis=0) - margin_mm) / cell_mm).astype(int)
    high = np.ceil((world.max(axis=0) + margin_mm) / cell_mm).astype(int)
    size = (high - low) * np.asarray(CELL[::-1])
    origin = low * cell_mm + spacing / 2
    return Geometry(
        size=(int(size[0]), int(size[1]), int(size[2])),
        spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )


def resample_mask(mask: NDArray[Any], source: Geometry, target: Geometry) -> NDArray[np.bool_]:
    """Carry what is not 0 to another grid with sub-voxel borders: linear interpolation, cut at one half."""
    if not mask.any():
        return np.zeros(target.shape, bool)
    # No copy of a large CT's whole grid: the mask, and as far around it as the low-pass reaches.
    box = bounding_box(mask, 2 + int(np.ceil(3 * max(low_pass_sigma(source, target)))))
    part = (mask[box] > 0).view(np.uint8) * np.uint8(200)
    soft = resample(part, source.crop(box), target, order="linear", fill=0)
    return np.asarray(soft >= 100)
