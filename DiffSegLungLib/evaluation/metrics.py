"""How well a label map agrees with the truth: overlap, borders, volume, and whether doubt marks error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_ID

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Score:
    """Agreement for one class.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|), 0..1; NaN where neither has the class.
        hd95_mm: symmetric 95 % Hausdorff distance; NaN where one of them lacks the class.
        truth_ml: true volume.
        predicted_ml: predicted volume.
    """

    dice: float
    hd95_mm: float
    truth_ml: float
    predicted_ml: float

    @property
    def volume_error_ml(self) -> float:
        """Predicted less true volume."""
        return self.predicted_ml - self.truth_ml


def score(
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    spacing_zyx: Spacing,
    *,
    within: NDArray[np.bool_] | None = None,
    classes: Iterable[int] = tuple(BY_ID),
    borders: bool = True,
) -> dict[int, Score]:
    """Compare two label maps class by class.

    Args:
        truth: (z, y, x) class ids.
        predicted: (z, y, x) class ids.
        spacing_zyx: voxel size in mm.
        within: voxels that count; None counts all.
        classes: ids to compare.
        borders: whether to compute the Hausdorff distance, by far the slowest part.

    Returns:
        One ``Score`` a class id.
    """
    counts = np.ones(truth.shape, bool) if within is None else within
    voxel_ml = float(np.prod(spacing_zyx)) / 1000
    scores = {}
    for class_id in classes:
        a, b = (truth == class_id) & counts, (predicted == class_id) & counts
        scores[class_id] = Score(
            dice(a, b),
            hausdorff95_mm(a, b, spacing_zyx) if borders else float("nan"),
            float(np.count_nonzero(a)) * voxel_ml,
            float(np.count_nonzero(b)) * voxel_ml,
        )
    return scores


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks, 2 |A and B| / (|A| + |B|); NaN where both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else float("nan")


def hausdorff95_mm(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing_zyx: Spacing) -> float:
    """The larger of the two directed 95th percentiles of surface distance, mm (as MONAI defines HD95).

    The surface of a mask are its voxels with a face neighbour outside it.

    Returns:
        mm; NaN where a mask is empty.
    """
    if not a.any() or not b.any():
        return float("nan")
    box = tuple(slice(max(0, int(i.min()) - 1), int(i.max()) + 2) for i in np.nonzero(a | b))
    first, second = _surface(a[box]), _surface(b[box])
    return max(_directed95(first, second, spacing_zyx), _directed95(second, first, spacing_zyx))


def error_auroc(entropy: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of entropy as a sign of error: the probability that an error is the more
    doubtful.

    Args:
        entropy: any shape, posterior entropy.
        wrong: same shape, where the label is wrong.

    Returns:
        0..1, ties count half; NaN where everything is right or everything is wrong.
    """
    from scipy.stats import rankdata

    flags = wrong.ravel()
    errors = int(np.count_nonzero(flags))
    right = flags.size - errors
    if errors == 0 or right == 0:
        return float("nan")
    ranks = rankdata(entropy.ravel())
    return float((ranks[flags].sum() - errors * (errors + 1) / 2) / (errors * right))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(mask & ~ndimage.binary_erosion(mask), bool)


def _directed95(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: Spacing) -> float:
    from scipy import ndimage

    distance = np.asarray(ndimage.distance_transform_edt(~b, sampling=spacing))
    return float(np.percentile(distance[a], 95))
