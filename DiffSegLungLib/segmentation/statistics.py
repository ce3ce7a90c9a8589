"""Stage 5a: what describes a cell: the student's embeddings, local statistics (method.md 5)."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from ..grid.canonical import SPACING_ZYX, Canonical
from ..grid.cells import STATISTICS, Cells, Lattice, pooled, spread
from ..threads import filtered
from .aeration import Aeration
from .texture import fine_energy, ridges

SMOOTHING_MM = 1.0
"""Gaussian sigma of the CT on which statistics and voxel likelihoods are read, mm."""

EMPHYSEMA_HU = -950.0
SOLID_HU = -200.0
RAISED_HU = (60.0, 150.0, 280.0)
"""Limits of slightly hazy, hazy and dense lung, HU above the patient's healthy level."""

STATISTIC_NAMES = (
    "mean", "emphysema share", "solid share", "raised 60 share", "raised 150 share", "raised 280 share",
    "vessel share", "skewness", "fine energy", "ridges",
)  # fmt: skip
"""What is measured in either window; see :func:`statistics_of_half_cells`."""

WINDOWS = ("7 mm", "14 mm")
"""Full width at half maximum of the soft windows."""

STATISTIC_COLUMNS = tuple(f"{name} {window}" for window in WINDOWS for name in STATISTIC_NAMES)
"""Names of the columns of kind ``statistics``."""

_NARROW_ROUNDS, _WIDE_ROUNDS = 1, 4
_HEALTHY_HU = 50.0
_LEAST_HEALTHY = 0.01
_FINE_SCALE, _RIDGE_SCALE = 100.0, 6.0
_SKEW_HU, _SURROUNDINGS_MM = 60.0, 5.0


def smoothed(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """The canonical CT after a Gaussian of :data:`SMOOTHING_MM`, float32 HU."""
    return _gaussian(hu, SMOOTHING_MM)


def statistics_of_half_cells(
    canonical: Canonical,
    smooth: NDArray[np.float32],
    vessels: NDArray[np.bool_] | Future[NDArray[np.bool_]],
    aeration: Aeration,
    lattice: Lattice,
) -> Cells:
    """Local HU and texture statistics of every half cell of lung, in soft windows of 7 and 14 mm.

    In either window: mean HU above the healthy level (100 HU); square roots of the shares of voxels below
    -950 HU beyond what noise puts there, above -200 HU, 60, 150 and 280 HU above the level, and in vessels;
    mean third power of what the CT differs from its surroundings of 5 mm (60 HU), as asinh; energy of
    the finest structure and ridges, less what the scan's healthy parenchyma has of them, as asinh. Levels are
    the patient's own at that height above the table (:mod:`aeration`).

    Args:
        canonical: the CT on the working grid, lungs included.
        smooth: :func:`smoothed` of it.
        vessels: (z, y, x) bool, :func:`.anatomy.vessels.vessel_mask` of it; all else is measured first
            where another thread still looks for them.
        aeration: the patient's healthy level and noise.
        lattice: the half cells of its lungs.

    Returns:
        Half cells with 2 × 10 columns of kind ``statistics``.
    """
    values = smooth.ravel()[lattice.voxels]
    y = (lattice.voxels // smooth.shape[2]) % smooth.shape[1]
    side = canonical.side.ravel()[lattice.voxels]
    above = values - aeration.rows(smooth.shape[1])[side, y]
    maps = [
        np.clip(above, -150, 700) / 100,
        values < EMPHYSEMA_HU,
        values > SOLID_HU,
        *(above > limit for limit in RAISED_HU),
        (np.clip((values - _surroundings(canonical.hu, lattice.voxels)) / _SKEW_HU, -4, 4)) ** 3,
        fine_energy(canonical.hu, smooth, lattice.voxels),
        ridges(smooth, lattice.voxels),
    ]
    sums = [lattice.sums(), *(lattice.sums(m.astype(np.float32)) for m in maps)]
    seen = vessels.result() if isinstance(vessels, Future) else vessels
    share = lattice.sums(seen.ravel()[lattice.voxels].astype(np.float32))
    sums.insert(1 + STATISTIC_NAMES.index("vessel share"), share)
    narrow, wide = (
        _window_means(lattice, [spread(s, rounds) for s in sums]) for rounds in (_NARROW_ROUNDS, _WIDE_ROUNDS)
    )
    noise = _noise(narrow, healthy=np.abs(wide[:, 0]) < _HEALTHY_HU / 100)
    return Cells(
        shape=lattice.shape,
        index=lattice.index,
        fraction=lattice.fraction,
        features=np.concatenate([_measures(narrow, noise), _measures(wide, noise)], axis=1),
        kinds=(STATISTICS,) * len(STATISTIC_COLUMNS),
        names=STATISTIC_COLUMNS,
    )


def statistics_of_cells(half: Cells, lattice: Lattice) -> Cells:
    """The same of whole cells: means over their half cells, weighted by lung."""
    return Cells(
        shape=lattice.shape,
        index=lattice.index,
        fraction=lattice.fraction,
        features=pooled(half.features, half, lattice),
        kinds=half.kinds,
        names=half.names,
    )


def _noise(means: NDArray[np.float32], healthy: NDArray[np.bool_]) -> NDArray[np.float32]:
    """What noise alone gives every map: its median in healthy parenchyma, if the lungs have any."""
    if np.count_nonzero(healthy) > _LEAST_HEALTHY * len(healthy):
        return np.asarray(np.median(means[healthy], axis=0), np.float32)
    # A lung that is sick all over: its quietest tenth, and no emphysema by noise.
    noise = np.asarray(np.percentile(means, 10, axis=0), np.float32)
    noise[1] = 0.0
    return noise


def _window_means(lattice: Lattice, sums: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Means (n, maps) over a window from its sums, the first of which counts voxels."""
    count, *totals = (lattice.gather(s) for s in sums)
    means = np.stack(totals, axis=1) / np.maximum(count, 1e-3)[:, None]
    return np.asarray(means, np.float32)


def _measures(means: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of a window as statistics (n, 10): roots of shares, texture without what noise makes of it."""
    emphysema = np.clip((means[:, 1] - noise[1]) / (1 - noise[1]), 0, 1)
    shares = np.sqrt(np.column_stack([emphysema, means[:, 2:7]]))
    texture = np.arcsinh((means[:, 8:] - noise[8:]) / np.array([_FINE_SCALE, _RIDGE_SCALE]))
    return np.column_stack([means[:, 0], shares, np.arcsinh(2 * means[:, 7]), texture]).astype(np.float32)


def _surroundings(hu: NDArray[np.float32], voxels: NDArray[np.int64]) -> NDArray[np.float32]:
    """The CT after a wide Gaussian, nothing denser than soft tissue, at flat indices."""
    wide = _gaussian(np.clip(hu, -1024, 150), _SURROUNDINGS_MM)
    return np.asarray(wide.ravel()[voxels], np.float32)


def _gaussian(hu: NDArray[np.float32], mm: float) -> NDArray[np.float32]:
    """Gaussian of so many mm, cut at 2.5 standard deviations."""
    from scipy.ndimage import gaussian_filter

    sigma = [mm / s for s in SPACING_ZYX]
    reach = int(2.5 * sigma[0] + 0.5)
    return filtered(hu, lambda part: gaussian_filter(part, sigma, truncate=2.5), reach, np.float32)
