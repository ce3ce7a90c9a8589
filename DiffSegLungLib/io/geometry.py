"""Where voxels lie in the patient, and how arrays travel from one grid to another."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..threads import in_threads, slabs

if TYPE_CHECKING:
    import SimpleITK as sitk

Order = Literal["linear", "nearest"]
Box = tuple[slice, slice, slice]

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Geometry:
    """A grid of voxels in patient space; the fields follow ITK, arrays follow numpy.

    Attributes:
        size: voxels along the grid's axes (i, j, k); the array has shape (k, j, i).
        spacing: mm between voxel centres along (i, j, k), positive.
        origin: LPS position in mm of the centre of voxel (0, 0, 0); LPS: +x is the patient's left, +y
            posterior, +z superior.
        direction: rotation, row-major; column a is the LPS unit vector along which index a grows. It may be
            oblique, permuted or left-handed.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY

    @classmethod
    def of(cls, image: sitk.Image) -> Geometry:
        """The geometry of a three-dimensional SimpleITK image."""
        i, j, k = image.GetSize()
        x, y, z = image.GetOrigin()
        si, sj, sk = image.GetSpacing()
        return cls((i, j, k), (si, sj, sk), (x, y, z), tuple(image.GetDirection()))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of an array on this grid."""
        i, j, k = self.size
        return (k, j, i)

    @property
    def craniocaudal(self) -> int:
        """Axis of arrays (z, y, x) that lies closest to the patient's long axis: 0 in axial CT."""
        return 2 - int(np.argmax(np.abs(np.reshape(self.direction, (3, 3))[2])))

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Spacing in mm in the order of the array's axes."""
        i, j, k = self.spacing
        return (k, j, i)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(abs(np.linalg.det(self.matrix))) / 1000.0

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) matrix that takes an index (i, j, k) to mm relative to the origin, in LPS."""
        rotation = np.asarray(self.direction, np.float64).reshape(3, 3)
        return rotation * np.asarray(self.spacing, np.float64)

    @property
    def tilt_degrees(self) -> float:
        """Angle between the third axis and the normal of the slices; 0 where the axes are at right angles."""
        first, second, third = np.reshape(self.direction, (3, 3)).T
        cosine = abs(float(third @ np.cross(first, second)))
        return float(np.degrees(np.arccos(min(1.0, cosine))))

    @property
    def is_right_angled(self) -> bool:
        """Whether the axes are at right angles, to a hundredth of a degree; a tilted gantry's are not."""
        axes = np.reshape(self.direction, (3, 3))
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 2e-4)

    def world(self, index_zyx: Any) -> NDArray[np.float64]:
        """LPS positions in mm (..., 3) of array indices (..., 3) in (z, y, x) order, fractions allowed."""
        ijk = np.asarray(index_zyx, np.float64)[..., ::-1]
        return np.asarray(ijk @ self.matrix.T + np.asarray(self.origin))

    def index(self, world_xyz: Any) -> NDArray[np.float64]:
        """Fractional array indices (..., 3) in (z, y, x) order of LPS positions (..., 3) in mm."""
        offset = np.asarray(world_xyz, np.float64) - np.asarray(self.origin)
        return np.asarray((offset @ np.linalg.inv(self.matrix).T)[..., ::-1])

    def crop(self, box: Box) -> Geometry:
        """The geometry of ``array[box]``, a box of three slices (z, y, x) with step 1."""
        bounds = [s.indices(n) for s, n in zip(box, self.shape, strict=True)]
        if any(step != 1 or stop <= start for start, stop, step in bounds):
            raise ValueError(f"not a box of step 1 within {self.shape}: {box}")
        k, j, i = (stop - start for start, stop, _ in bounds)
        x, y, z = self.world([start for start, _, _ in bounds])
        return replace(self, size=(i, j, k), origin=(float(x), float(y), float(z)))

    def axis_aligned(self, spacing_zyx: Sequence[float], box: Box | None = None) -> Geometry:
        """The smallest axis-aligned grid that covers this one, or a box of it, whole voxels included.

        Index axes of the result are the patient's: array axis 0 grows to superior (index 0 is inferior), axis
        1 to posterior, axis 2 to left. An axis-aligned source keeps its first voxel edge, so a grid of the
        same spacing meets the source voxel for voxel.

        Args:
            spacing_zyx: spacing of the new grid in mm (z, y, x).
            box: three slices (z, y, x) of this grid; None for all of it.
        """
        part = self if box is None else self.crop(box)
        corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in part.shape], indexing="ij"), axis=-1)
        edges = part.world(corners.reshape(-1, 3))
        low, high = edges.min(axis=0), edges.max(axis=0)
        step = np.asarray(spacing_zyx, np.float64)[::-1]
        # 1e-4 voxel: an extent that is a whole number of voxels up to rounding must not gain one.
        count = np.maximum(1, np.ceil((high - low) / step - 1e-4)).astype(int)
        first = low + step / 2
        i, j, k = (int(n) for n in count)
        return Geometry(
            (i, j, k),
            (float(step[0]), float(step[1]), float(step[2])),
            (float(first[0]), float(first[1]), float(first[2])),
        )

    def right_angled(self) -> Geometry:
        """The grid at right angles that covers this sheared one and shares the plane of its slices."""
        rotation, upper = np.linalg.qr(self.matrix)
        turn = np.sign(np.diag(upper))
        axes, step = rotation * turn, np.abs(np.diag(upper))
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), axis=-1)
        along = self.world(corners.reshape(-1, 3)) @ axes
        low, high = along.min(axis=0), along.max(axis=0)
        i, j, k = (int(n) for n in np.ceil((high - low) / step - 1e-4) + 1)
        si, sj, sk = (float(s) for s in step)
        x, y, z = (float(c) for c in axes @ low)
        return Geometry((i, j, k), (si, sj, sk), (x, y, z), tuple(float(a) for a in axes.ravel()))

    def same_grid(self, other: Geometry, tolerance_voxels: float = 0.01) -> bool:
        """Whether both grids have the same voxels, to a share of a voxel at every corner."""
        if self.size != other.size:
            return False
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), axis=-1)
        away = self.index(other.world(corners)) - corners
        return bool(np.abs(away).max() <= tolerance_voxels)


def resample(
    array: NDArray[Any], source: Geometry, target: Geometry, *, order: Order, fill: float
) -> NDArray[Any]:
    """Carry an array from one grid to another through patient space; any two geometries will do.

    Linear interpolation is preceded by a Gaussian low-pass along each source axis that the target samples
    more coarsely, so that fine noise and texture do not alias. Its width matches the point-spread functions
    of the two grids (Cardoso et al. 2015, "Scale factor point spread function matching"): full width at half
    maximum sqrt(ratio² - 1) source voxels, less the variance 1/6 voxel² of linear interpolation itself.

    Args:
        array: (z, y, x) on ``source``; any real dtype or bool.
        source: grid of ``array``.
        target: grid of the result.
        order: ``"linear"`` for HU and other measurements, ``"nearest"`` for masks and labels.
        fill: value outside the source's voxels.

    Returns:
        (z, y, x) on ``target``: float32 for linear, the array's own dtype for nearest.

    Raises:
        ValueError: the array's shape is not that of ``source``.
    """
    import SimpleITK as sitk

    if array.shape != source.shape:
        raise ValueError(f"array of shape {array.shape} on a grid of shape {source.shape}")
    box = _part_within(source, target)
    # Nothing to carry: the source lies elsewhere, or holds nothing, as the map of an absent class.
    level = np.asarray(fill)  # numpy 2.0.2 crashes on part of a uint8 array and a number that it cannot hold
    if box is None or not any(bool((plane != level).any()) for plane in array[box]):
        return np.full(target.shape, fill, np.float32 if order == "linear" else array.dtype)
    array, source = array[box], source.crop(box)
    if order == "linear":
        image = _low_passed_image(array, source, target)
        method, pixel = sitk.sitkLinear, sitk.sitkFloat32
    else:
        image = to_image(array, source)
        method, pixel = sitk.sitkNearestNeighbor, image.GetPixelID()
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(target.size)
    resampler.SetOutputSpacing(target.spacing)
    resampler.SetOutputOrigin(target.origin)
    resampler.SetOutputDirection(target.direction)
    resampler.SetInterpolator(method)
    resampler.SetOutputPixelType(pixel)
    resampler.SetDefaultPixelValue(float(fill))
    moved = resampler.Execute(image)
    del image
    result: NDArray[Any] = sitk.GetArrayFromImage(moved)
    return result.astype(bool) if array.dtype == bool else result


def to_image(array: NDArray[Any], geometry: Geometry) -> sitk.Image:
    """A SimpleITK image (a copy) of an array (z, y, x); bool and float16 become uint8 and float32."""
    import SimpleITK as sitk

    if array.shape != geometry.shape:
        raise ValueError(f"array of shape {array.shape} on a grid of shape {geometry.shape}")
    if array.dtype == bool:
        array = array.view(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    image = sitk.GetImageFromArray(array)
    _put(image, geometry)
    return image


def _put(image: sitk.Image, geometry: Geometry) -> None:
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)


def _part_within(source: Geometry, target: Geometry) -> Box | None:
    """The part of the source that the target can feel, so that a crop of a large CT costs no more than it."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in target.shape], indexing="ij"), axis=-1)
    reached = source.index(target.world(corners.reshape(-1, 3)))
    # The low-pass reaches 3 standard deviations, each at most 0.43 target steps, and interpolation one voxel.
    step = np.linalg.norm(np.linalg.inv(source.matrix) @ target.matrix, axis=1)[::-1]
    reach = 1.3 * step + 2
    low = np.maximum(np.floor(reached.min(axis=0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(reached.max(axis=0) + reach) + 1, source.shape).astype(int)
    if (high <= low).any():
        return None
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return (z, y, x)


def low_pass_sigma(source: Geometry, target: Geometry) -> tuple[float, ...]:
    """Standard deviations in voxels (z, y, x) of the low-pass of :func:`resample`; 0 where none is needed."""
    towards = np.reshape(source.direction, (3, 3)).T @ np.reshape(target.direction, (3, 3))
    step = np.sqrt(((towards * np.asarray(target.spacing)) ** 2).sum(axis=1))
    ratio = (step / np.asarray(source.spacing))[::-1]
    variance = (np.maximum(ratio, 1.0) ** 2 - 1.0) / (8.0 * np.log(2.0)) - 1.0 / 6.0
    # Below 0.3 voxel a Gaussian weighs its neighbours with less than half a percent: it does nothing.
    return tuple(float(np.sqrt(v)) if v > 0.3**2 else 0.0 for v in variance)


def low_passed(array: NDArray[Any], source: Geometry, target: Geometry) -> NDArray[Any]:
    """The array after the low-pass of :func:`resample`; the array itself where none is needed."""
    widths = _low_pass_widths(array, source, target)
    if not widths:
        return array
    smooth = array.astype(_smooth_dtype(array))
    _low_pass(smooth, widths)
    return smooth


def _low_passed_image(array: NDArray[Any], source: Geometry, target: Geometry) -> sitk.Image:
    """:func:`low_passed` as an image, in whose own voxels it is computed: a large CT has no room for two."""
    import SimpleITK as sitk

    widths = _low_pass_widths(array, source, target)
    if not widths:
        return to_image(array, source)
    dtype = _smooth_dtype(array)
    image = sitk.Image(source.size, sitk.sitkInt16 if dtype == np.int16 else sitk.sitkFloat32)
    _put(image, source)
    seen = sitk.GetArrayViewFromImage(image)  # to be read only, says SimpleITK: it offers no way to write
    room = (ctypes.c_char * seen.nbytes).from_address(seen.ctypes.data)
    smooth = np.frombuffer(room, dtype).reshape(source.shape)
    smooth[...] = array
    _low_pass(smooth, widths)
    return image


def _low_pass_widths(array: NDArray[Any], source: Geometry, target: Geometry) -> dict[int, float]:
    """Standard deviation along each axis that needs the low-pass."""
    sigma = low_pass_sigma(source, target)
    return {axis: s for axis, s in enumerate(sigma) if s and array.shape[axis] > 1}


def _smooth_dtype(array: NDArray[Any]) -> np.dtype[Any]:
    """Of the low-pass: HU stay whole numbers, since a float copy of a large CT would not fit."""
    return np.dtype(np.int16 if array.dtype == np.int16 else np.float32)


def _low_pass(smooth: NDArray[Any], widths: dict[int, float]) -> None:
    """Gaussian low-pass in place, slab by slab."""
    from scipy.ndimage import gaussian_filter1d

    for axis, sigma in widths.items():
        across = 1 if axis == 0 else 0

        def one(along: slice, axis: int = axis, sigma: float = sigma, across: int = across) -> None:
            slab = (slice(None),) * across + (along,)
            part = smooth[slab].astype(np.float32)
            part = gaussian_filter1d(part, sigma, axis=axis, mode="nearest", truncate=3.0)
            smooth[slab] = np.rint(part) if smooth.dtype == np.int16 else part

        in_threads(one, slabs(0, smooth.shape[across], 16))


def bounding_box(mask: NDArray[Any], margin: int = 0) -> Box:
    """The box of slices (z, y, x) that holds every True voxel, with a margin; empty where none is."""
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes):
        return slice(0, 0), slice(0, 0), slice(0, 0)
    seen = np.asarray(mask[planes[0] : planes[-1] + 1].any(axis=0))  # one plane tells the other two axes
    used = (planes, np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0)))
    z, y, x = (
        slice(max(0, int(at[0]) - margin), min(size, int(at[-1]) + 1 + margin))
        for at, size in zip(used, mask.shape, strict=True)
    )
    return z, y, x
