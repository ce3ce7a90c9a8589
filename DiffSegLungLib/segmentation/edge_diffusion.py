"""Diffusion of a map that edges of the CT hold back (Perona and Malik 1990; method.md 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..grid.canonical import SPACING_ZYX
from ..talk import SILENT, Talk
from ..threads import filtered, in_threads, shares, slabs

Field = NDArray[np.float32]

_PLANES = 4
"""Planes that are computed together: what is in between stays in a core's cache."""


def sobel_conductance(smooth: Field, lungs: NDArray[np.bool_], kappa: float) -> Field:
    """g = exp(-(|∇_Sobel HU|/κ)²) in 0..1, 0 outside the lungs; the Sobel gradient is in HU/mm."""
    from scipy.ndimage import sobel

    def conductance(part: Field) -> Field:
        square = np.zeros_like(part)
        for axis, spacing in enumerate(SPACING_ZYX):
            square += (sobel(part, axis=axis) / np.float32(32 * spacing)) ** 2
        square /= np.float32(-(kappa**2))
        return np.exp(square, out=square)

    field = filtered(smooth, conductance, reach=1)
    field[~lungs] = 0
    return field


def links(conductance: Field, tau: float) -> list[Field]:
    """Share of a difference that one step carries to the next voxel along z, y and x.

    Between two voxels g is their mean, and 0 if either g is 0, so nothing flows into or out of the lungs.
    """
    found = []
    for axis, spacing in enumerate(SPACING_ZYX):
        low, high = _shifted(axis)
        a, b = conductance[low], conductance[high]
        link = np.add(a, b)
        link *= np.float32(0.5 * tau / spacing**2)
        link[(a <= 0) | (b <= 0)] = 0
        found.append(link)
    return found


def diffuse(field: Field, conductance: Field, tau: float, steps: int, talk: Talk = SILENT) -> None:
    """Edge-aware diffusion of one map, in place: P ← P + τ div(g ∇P) in mm, no flux through the border.

    Args:
        field: (z, y, x) float32.
        conductance: (z, y, x) float32, g in 0..1.
        tau: time step, at most 1/6.
        steps: number of steps.
        talk: asked whether to stop before every step.

    Raises:
        Cancelled: asked to stop.
    """
    diffuse_along(field, links(conductance, tau), steps, talk)


def diffuse_along(
    field: Field, links: list[Field], steps: int, talk: Talk = SILENT, *, room: Field | None = None
) -> None:
    """:func:`diffuse` with the :func:`links` at hand, and an array for every other step, if there is one."""
    before, after = field, np.empty_like(field) if room is None else room

    def share(part: slice) -> None:
        for slab in slabs(part.start, part.stop, _PLANES):
            _step(before, after, links, slab)

    for _ in range(steps):
        talk.check()
        in_threads(share, shares(len(field)))
        before, after = after, before
    if before is not field:
        field[...] = before


def _step(before: Field, after: Field, links: list[Field], slab: slice) -> None:
    """One step for some planes."""
    part, out = before[slab], after[slab]
    out[...] = part
    # The planes below and above count, too.
    low, high = max(0, slab.start - 1), min(len(before) - 1, slab.stop)
    flux = before[low + 1 : high + 1] - before[low:high]
    flux *= links[0][low:high]
    up, down = flux[slab.start - low :], flux[: slab.stop - 1 - low]
    out[: len(up)] += up
    out[slab.stop - slab.start - len(down) :] -= down
    for axis in (1, 2):
        first, second = _shifted(axis)
        flux = part[second] - part[first]
        flux *= links[axis][slab]
        out[first] += flux
        out[second] -= flux


def _shifted(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low, high = [slice(None)] * 3, [slice(None)] * 3
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return tuple(low), tuple(high)
