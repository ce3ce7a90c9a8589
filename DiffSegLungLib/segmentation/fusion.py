"""Stage 6: Sobel-Diffusion Fusion: cell posteriors meet voxel HU and diffuse up to edges (method.md 6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..classes import CAVITY, CONSOLIDATION, FIBROSIS, HEALTHY, VESSEL
from ..grid.canonical import SPACING_ZYX
from ..talk import SILENT, Talk
from .islands import merge_islands
from .likelihood import voxel_likelihood
from .signs import TISSUES

if TYPE_CHECKING:
    from ..config import Config
    from ..grid.cells import Cells
    from ..io.ct import Geometry
    from .preparation import Parenchyma

Field = NDArray[np.float32]

CLASS_ORDER = (*TISSUES, CAVITY, VESSEL)
"""Class id of each channel of :attr:`Fusion.posterior`."""

VESSEL_HU = -500.0
"""What is denser than this in healthy lung is a vessel, an airway's wall or the hilum."""

_SHELL_LAYERS = (3, 2, 3)
"""Layers of the shell from the outside in, by the axes they are peeled along (x, y, z): 3 mm, 4 mm in z.

The outermost lung is blurred with the chest wall and the diaphragm; it takes the tissue beneath it.
"""

_DENSE_SHARE = 0.6
_FLOOR = np.float32(1e-3)


@dataclass(frozen=True)
class Fusion:
    """What fusion decided on the canonical grid.

    Attributes:
        labels: (z, y, x) uint8 class ids, 0 outside the lungs.
        posterior: one (z, y, x) float32 map for each class of :data:`CLASS_ORDER`, sum 1 in the lungs, 0
            outside; its largest entry is the label.
        entropy: (z, y, x) float32, entropy of the tissue posterior over its maximum, 0..1.
        geometry: the canonical grid.
    """

    labels: NDArray[np.uint8]
    posterior: list[Field]
    entropy: Field
    geometry: Geometry

    def onto(
        self, target: Geometry, lungs: NDArray[np.bool_], talk: Talk = SILENT
    ) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Carry the result to the CT's own grid, one class at a time.

        Args:
            target: the CT's geometry.
            lungs: (z, y, x) bool on that grid; everything else is background.
            talk: asked whether to stop before every class.

        Returns:
            Labels uint8 and normalised entropy float16 (z, y, x).

        Raises:
            Cancelled: asked to stop.
        """
        from ..io.ct import resample

        labels = np.zeros(lungs.shape, np.uint8)
        entropy = np.zeros(lungs.shape, np.float16)
        box = _bounding_box(lungs)
        if box is None:
            return labels, entropy
        part, inside = target.crop(box), lungs[box]
        maps = (resample(p, self.geometry, part, order="linear", fill=0) for p in self.posterior)
        labels[box] = np.where(inside, streaming_argmax(maps, CLASS_ORDER, talk), 0)
        blurred = resample(self.entropy, self.geometry, part, order="linear", fill=0)
        entropy[box] = np.where(inside, np.clip(blurred, 0, 1), 0)
        return labels, entropy


def fuse(
    parenchyma: Parenchyma,
    cavities: NDArray[np.bool_],
    cell_posterior: Field,
    config: Config,
    talk: Talk = SILENT,
) -> Fusion:
    """Decide every lung voxel of the canonical grid.

    log p(c|v) = α log P_cell(c) + β log p(HU_v|c), then n steps P ← P + τ div(g ∇P) with
    g = exp(-(|∇_Sobel HU|/κ)²), then vessels and cavities, then islands.

    Args:
        parenchyma: the lungs on the working grid.
        cavities: (z, y, x) bool.
        cell_posterior: (n, 5) float32 over :data:`signs.TISSUES`, of the half cells.
        config: α, β, κ, τ, steps and the smallest island.
        talk: progress; asked whether to stop between steps of about a second.

    Raises:
        Cancelled: asked to stop.
    """
    canonical, smooth = parenchyma.canonical, parenchyma.smooth
    likelihood = voxel_likelihood(smooth, canonical.lungs, canonical.side, parenchyma.aeration)
    talk.advance(0.1)
    prior = cell_prior(parenchyma.half, cell_posterior, canonical.lungs)
    dense = _dense(prior, canonical.lungs)
    talk.advance(0.2)
    posterior = combine(prior, likelihood, canonical.lungs, config.alpha, config.beta)
    shell = take_from_below(posterior, canonical.lungs)
    talk.advance(0.3)
    conductance = sobel_conductance(smooth, canonical.lungs, config.kappa)
    talk.check()
    for i, field in enumerate(posterior):
        diffuse(field, conductance, config.tau, config.diffusion_steps, talk)
        talk.advance(0.3 + 0.4 * (i + 1) / len(posterior))
    _normalise(posterior, canonical.lungs)
    entropy = _entropy(posterior)
    talk.check()

    labels = np.where(canonical.lungs, streaming_argmax(posterior, TISSUES, talk), 0).astype(np.uint8)
    labels[(labels == HEALTHY) & (smooth > VESSEL_HU) & ~shell] = VESSEL
    labels[parenchyma.vessels & canonical.lungs & ~dense] = VESSEL
    labels[cavities & canonical.lungs] = CAVITY
    voxel_ml = float(np.prod(SPACING_ZYX)) / 1000
    labels = merge_islands(labels, round(config.island_ml / voxel_ml), keep=(VESSEL,), talk=talk)
    talk.advance(0.9)
    return Fusion(labels, _agree(posterior, labels), entropy, canonical.geometry)


def cell_prior(cells: Cells, cell_posterior: Field, lungs: NDArray[np.bool_]) -> list[Field]:
    """P_cell at every lung voxel (m,) float32, one array a tissue: trilinear, weighted by share of lung.

    ``cells`` may be cells or half cells.
    """
    reach = np.maximum(upsample(cells.to_lattice(cells.fraction), lungs.shape)[lungs], 1e-6)
    shares = (cell_posterior[:, i] * cells.fraction for i in range(cell_posterior.shape[1]))
    return [np.asarray(upsample(cells.to_lattice(s), lungs.shape)[lungs] / reach, np.float32) for s in shares]


def _dense(prior: list[Field], lungs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the cells see consolidation or fibrosis: what runs through it cannot be told from vessels."""
    dense = np.zeros(lungs.shape, bool)
    dense[lungs] = (prior[TISSUES.index(CONSOLIDATION)] + prior[TISSUES.index(FIBROSIS)]) > _DENSE_SHARE
    return dense


def combine(
    prior: list[Field], likelihood: list[Field], lungs: NDArray[np.bool_], alpha: float, beta: float
) -> list[Field]:
    """α log P_cell + β log p(HU|c), normalised: one (z, y, x) float32 map a tissue, 0 outside the lungs."""
    log: list[Field] = []
    for p, h in zip(prior, likelihood, strict=True):
        log.append(np.asarray(alpha * np.log(p + _FLOOR) + beta * h, np.float32))
    peak = np.max(log, axis=0)
    share = [np.exp(values - peak) for values in log]
    total = np.sum(share, axis=0)
    maps: list[Field] = []
    for values in share:
        field = np.zeros(lungs.shape, np.float32)
        field[lungs] = values / total
        maps.append(field)
    return maps


def take_from_below(posterior: list[Field], lungs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give the outermost 3 mm (4 mm along z) of the lungs the posterior of the tissue beneath, in place.

    Layer by layer from the inside, a voxel of the shell takes the posterior of a deeper neighbour. In thicker
    slices the shell is no deeper: a lesion in the last slice of a CT would be lost.

    Returns:
        (z, y, x) bool, the shell; lung that is nowhere thicker than the shell is not part of it.
    """
    layers, deep = [], np.pad(lungs, 1)
    z, y, x = (stride // deep.itemsize for stride in deep.strides)
    for steps in _SHELL_LAYERS:
        flat = deep.reshape(-1)
        kept = flat.copy()
        offsets = [sign * step for step in (x, y, z)[:steps] for sign in (1, -1)]
        for offset in offsets:
            kept &= np.roll(flat, -offset)
        layers.append((np.flatnonzero(flat & ~kept), offsets))
        deep = kept.reshape(deep.shape)
    source = np.where(deep.reshape(-1), np.arange(deep.size), -1)
    for voxels, offsets in reversed(layers):
        found = np.full(len(voxels), -1)
        for offset in reversed(offsets):
            deeper = source[voxels + offset]
            found = np.where(deeper >= 0, deeper, found)
        source[voxels] = found
    shell = (source >= 0).reshape(deep.shape) & ~deep
    origin = np.unravel_index(source[shell.reshape(-1)], deep.shape)
    beneath = tuple(axis - 1 for axis in origin)
    shell = shell[1:-1, 1:-1, 1:-1]
    for field in posterior:
        field[shell] = field[beneath]
    return shell


def upsample(lattice: Field, shape: tuple[int, ...]) -> Field:
    """Trilinear interpolation of a lattice of cells or half cells to the voxels (z, y, x) under it."""
    import torch

    source = torch.from_numpy(np.ascontiguousarray(lattice, np.float32))[None, None]
    fine = torch.nn.functional.interpolate(source, size=shape, mode="trilinear", align_corners=False)
    return np.asarray(fine[0, 0].numpy())


def sobel_conductance(smooth: Field, lungs: NDArray[np.bool_], kappa: float) -> Field:
    """g = exp(-(|∇_Sobel HU|/κ)²) in 0..1, 0 outside the lungs; the Sobel gradient is in HU/mm."""
    from scipy.ndimage import sobel

    square = np.zeros_like(smooth)
    for axis, spacing in enumerate(SPACING_ZYX):
        square += (sobel(smooth, axis=axis) / np.float32(32 * spacing)) ** 2
    square /= np.float32(-(kappa**2))
    np.exp(square, out=square)
    square[~lungs] = 0
    return square


def diffuse(field: Field, conductance: Field, tau: float, steps: int, talk: Talk = SILENT) -> None:
    """Edge-aware diffusion of one map, in place: P ← P + τ div(g ∇P) in mm, no flux through the border.

    Between two voxels g is their mean, and 0 if either g is 0, so nothing flows into or out of the lungs.
    """
    links = []
    for axis, spacing in enumerate(SPACING_ZYX):
        low, high = _shifted(axis)
        a, b = conductance[low], conductance[high]
        links.append(np.where((a > 0) & (b > 0), (a + b) * np.float32(0.5 * tau / spacing**2), np.float32(0)))
    for _ in range(steps):
        talk.check()
        before = field.copy()
        for axis, link in enumerate(links):
            low, high = _shifted(axis)
            flux = (before[high] - before[low]) * link
            field[low] += flux
            field[high] -= flux


def streaming_argmax(
    maps: Iterable[Field], classes: tuple[int, ...], talk: Talk = SILENT
) -> NDArray[np.uint8]:
    """Class of the largest map at every voxel, one map at a time; the first class wins ties and zeros."""
    best: Field | None = None
    labels = np.zeros(0, np.uint8)
    for field, class_id in zip(maps, classes, strict=True):
        talk.check()
        if best is None:
            best, labels = field.copy(), np.full(field.shape, class_id, np.uint8)
        else:
            larger = field > best
            best[larger] = field[larger]
            labels[larger] = class_id
    return labels


def _agree(posterior: list[Field], labels: NDArray[np.uint8]) -> list[Field]:
    """The posterior with channels for vessels and cavities, made to agree with the final labels."""
    fields = [*posterior, *(np.zeros(labels.shape, np.float32) for _ in CLASS_ORDER[len(posterior) :])]
    winner = streaming_argmax(fields, CLASS_ORDER)
    changed = np.flatnonzero((labels != winner) & (labels > 0))
    old, new = winner.ravel()[changed], labels.ravel()[changed]
    channel = {c: i for i, c in enumerate(CLASS_ORDER)}
    for a in np.unique(old):
        for b in np.unique(new):
            voxels = changed[(old == a) & (new == b)]
            first, second = fields[channel[int(a)]].reshape(-1), fields[channel[int(b)]].reshape(-1)
            first[voxels], second[voxels] = second[voxels], first[voxels].copy()
    return fields


def _entropy(posterior: list[Field]) -> Field:
    total = np.zeros_like(posterior[0])
    for field in posterior:
        total -= field * np.log(np.maximum(field, 1e-12))
    return np.asarray(total / np.float32(np.log(len(posterior))), np.float32)


def _normalise(posterior: list[Field], lungs: NDArray[np.bool_]) -> None:
    total = posterior[0].copy()
    for field in posterior[1:]:
        total += field
    total[~lungs] = 1
    for field in posterior:
        np.divide(field, total, out=field)


def _shifted(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low, high = [slice(None)] * 3, [slice(None)] * 3
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return tuple(low), tuple(high)


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    occupied = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if any(len(i) == 0 for i in occupied):
        return None
    z, y, x = (slice(int(i[0]), int(i[-1]) + 1) for i in occupied)
    return z, y, x
