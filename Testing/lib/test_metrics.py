"""Metrics against values counted by hand and against MONAI and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from DiffSegLungLib.evaluation import metrics
from DiffSegLungLib.evaluation.metrics import dice, error_auroc, hausdorff95_mm, score


def test_dice_of_two_shifted_cubes() -> None:
    a = np.zeros((12, 12, 12), bool)
    b = a.copy()
    a[2:6, 2:6, 2:6] = True
    b[3:7, 2:6, 2:6] = True
    # 64 voxels each, 48 in common.
    assert dice(a, b) == pytest.approx(2 * 48 / 128)
    assert np.isnan(dice(a & False, b & False))
    assert dice(a, b & False) == 0


def test_hausdorff_of_two_points_is_their_distance_in_mm() -> None:
    a = np.zeros((8, 8, 8), bool)
    b = a.copy()
    a[1, 1, 1] = True
    b[3, 4, 1] = True
    # 2 slices of 2.5 mm and 3 rows of 4 mm: 5, 12, 13.
    assert hausdorff95_mm(a, b, (2.5, 4.0, 1.0)) == pytest.approx(13)
    assert np.isnan(hausdorff95_mm(a, b & False, (1, 1, 1)))


def test_hausdorff_agrees_with_distances_taken_one_by_one() -> None:
    rng = np.random.default_rng(0)
    from scipy import ndimage
    from scipy.spatial.distance import cdist

    spacing = (2.0, 1.0, 1.0)
    for _ in range(3):
        a, b = (ndimage.gaussian_filter(rng.standard_normal((12, 20, 20)), 2.5) > 0.05 for _ in range(2))
        borders = [np.argwhere(m & ~ndimage.binary_erosion(m)) * spacing for m in (a, b)]
        apart = cdist(*borders)
        expected = max(np.percentile(apart.min(axis=axis), 95) for axis in (0, 1))
        assert hausdorff95_mm(a, b, spacing) == pytest.approx(expected, rel=1e-4)


def test_hausdorff_of_a_very_large_box_is_thinned_and_still_near(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.zeros((20, 160, 160), bool)
    b = a.copy()
    a[5:15, 20:100, 20:100] = True
    b[5:15, 20:100, 20:140] = True
    exact = hausdorff95_mm(a, b, (3.0, 1.0, 1.0))
    monkeypatch.setattr(metrics, "_LARGEST_BOX", 20_000)  # the box of both is 96,000 voxels
    assert hausdorff95_mm(a, b, (3.0, 1.0, 1.0)) == pytest.approx(exact, abs=2)
    assert exact > 20


def test_score_counts_only_what_is_scored() -> None:
    truth = np.zeros((4, 4, 4), np.uint8)
    predicted = truth.copy()
    truth[:2], predicted[:2] = 3, 3
    predicted[3] = 3
    known = np.ones(truth.shape, bool)
    known[3] = False
    result = score(truth, predicted, (1, 1, 1), within=known, classes=(3, 5))
    assert result[3].dice == 1
    assert result[3].predicted_ml == result[3].truth_ml
    assert np.isnan(result[5].dice)
    everywhere = score(truth, predicted, (1, 1, 1), classes=(3,))[3]
    assert everywhere.dice == pytest.approx(2 * 32 / (32 + 48))
    assert everywhere.predicted_ml - everywhere.truth_ml == pytest.approx(0.016)


def test_auroc_agrees_with_scikit_learn_and_known_values() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    wrong = rng.random(500) < 0.2
    entropy = np.round(rng.random(500) + 0.5 * wrong, 1)
    assert error_auroc(entropy, wrong) == pytest.approx(roc_auc_score(wrong, entropy))
    assert error_auroc(np.array([0.1, 0.2, 0.9]), np.array([False, False, True])) == 1
    assert error_auroc(np.zeros(4), np.array([True, False, True, False])) == 0.5
    assert np.isnan(error_auroc(np.zeros(2), np.zeros(2, bool)))
