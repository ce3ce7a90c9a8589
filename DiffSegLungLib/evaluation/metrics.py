"""How well a label map agrees with the truth: overlap, borders, volume, and whether doubt marks error.

Overlap is counted by SimpleITK, borders are measured by MONAI, ranking by scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..classes import BY_ID
from ..errors import InputError

Spacing = tuple[float, float, float]

DOUBT_BINS = 20
"""Equal bins of entropy from 0 to 1 in which right and wrong voxels are counted."""

_LARGEST_BOX = 4_000_000
"""Voxels in which borders are compared exactly; larger boxes are thinned first."""


@dataclass(frozen=True)
class Score:
    """Agreement for one class.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|), 0..1; NaN where neither has the class.
        truth_ml: true volume.
        predicted_ml: predicted volume.
    """

    dice: float
    truth_ml: float
    predicted_ml: float

    @property
    def common_ml(self) -> float:
        """Volume that both call the class."""
        return self.dice * (self.truth_ml + self.predicted_ml) / 2 if self.truth_ml else 0.0


def score(
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    spacing_zyx: Spacing,
    *,
    within: NDArray[np.bool_] | None = None,
    classes: Iterable[int] = tuple(BY_ID),
) -> dict[int, Score]:
    """Compare two label maps class by class.

    Args:
        truth: (z, y, x) class ids.
        predicted: (z, y, x) class ids.
        spacing_zyx: voxel size in mm.
        within: voxels that count; None counts all.
        classes: ids to compare, above 0.

    Returns:
        One ``Score`` a class id.
    """
    import SimpleITK as sitk

    if within is not None:
        truth, predicted = truth * within, predicted * within
    voxels = [np.bincount(labels.ravel(), minlength=256) for labels in (truth, predicted)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(sitk.GetImageFromArray(truth), sitk.GetImageFromArray(predicted))
    voxel_ml = float(np.prod(spacing_zyx)) / 1000
    scores = {}
    for class_id in classes:
        true, found = (int(count[class_id]) for count in voxels)
        dice = float(overlap.GetDiceCoefficient(class_id)) if true or found else float("nan")
        scores[class_id] = Score(dice, true * voxel_ml, found * voxel_ml)
    return scores


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks, 2 |A and B| / (|A| + |B|); NaN where both are empty."""
    return score(a.astype(np.uint8), b.astype(np.uint8), (1.0, 1.0, 1.0), classes=(1,))[1].dice


def hausdorff95_mm(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing_zyx: Spacing) -> float:
    """The larger of the two directed 95th percentiles of surface distance (HD95), by MONAI.

    The surface of a mask are its voxels with a face neighbour outside it. Where both masks together span
    more than 4 million voxels, every second, third … voxel along the finest axes is compared.

    Returns:
        mm; NaN where a mask is empty.

    Raises:
        InputError: MONAI is not installed.
    """
    if not a.any() or not b.any():
        return float("nan")
    compute = _monai_hausdorff()
    import torch

    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(a | b))
    first, second, spacing = a[box], b[box], list(spacing_zyx)
    while first.size > _LARGEST_BOX:
        axis = int(np.argmin(spacing))
        thin = tuple(slice(None, None, 2 if i == axis else 1) for i in range(3))
        first, second, spacing[axis] = first[thin], second[thin], 2 * spacing[axis]
    if not first.any() or not second.any():
        return float("nan")
    # A border voxel has a neighbour outside the mask also where the mask meets the end of the box.
    masks = (torch.from_numpy(np.pad(mask, 1)[None, None]) for mask in (first, second))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns of its own deprecated arguments
        return float(compute(*masks, include_background=True, percentile=95, spacing=spacing))


def error_auroc(entropy: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of entropy as a sign of error: the probability that an error is the more
    doubtful.

    Args:
        entropy: any shape, posterior entropy; taken as float16, as the product gives it.
        wrong: same shape, where the label is wrong.

    Returns:
        0..1, ties count half; NaN where everything is right or everything is wrong.
    """
    from sklearn.metrics import roc_auc_score

    if not wrong.any() or wrong.all():
        return float("nan")
    # A float16 has 65,536 values: ranking each once, with its count, is exact and does not sort voxels.
    bits = entropy.astype(np.float16).view(np.uint16).ravel()
    flags = wrong.ravel()
    counts = [np.bincount(bits[chosen], minlength=1 << 16) for chosen in (~flags, flags)]
    seen = [np.flatnonzero(count) for count in counts]
    value = np.concatenate(seen).astype(np.uint16).view(np.float16).astype(float)
    weight = np.concatenate([count[s] for count, s in zip(counts, seen, strict=True)])
    is_error = np.repeat([0, 1], [len(s) for s in seen])
    return float(roc_auc_score(is_error, value, sample_weight=weight))


def doubt_histogram(entropy: NDArray[np.floating], wrong: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """Right and wrong voxels in each of :data:`DOUBT_BINS` bins of entropy."""
    place = np.clip((entropy.ravel() * DOUBT_BINS).astype(np.intp), 0, DOUBT_BINS - 1)
    right, error = (
        np.bincount(place[chosen], minlength=DOUBT_BINS).tolist()
        for chosen in (~wrong.ravel(), wrong.ravel())
    )
    return right, error


def require_monai() -> None:
    """Refuse at the start what could not be measured at the end.

    Raises:
        InputError: MONAI is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("monai") is None:
        raise InputError(
            "no-monai",
            "MONAI, which measures borders, is not installed.",
            "Install it with: pip install 'diffseglung[evaluation]'.",
        )


def _monai_hausdorff() -> Callable[..., Any]:
    require_monai()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.metrics import compute_hausdorff_distance
    return cast(Callable[..., Any], compute_hausdorff_distance)
