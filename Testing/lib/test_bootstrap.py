"""Intervals over lesions against values that are known by hand or by theory."""

from __future__ import annotations

import numpy as np
import pytest

from DiffSegLungLib.evaluation.bootstrap import average, mean, median, pooled_dice, two_stage, verdict


def units(*counts: tuple[float, float, float]) -> list[dict[str, float]]:
    return [{"tp_ml": tp, "fp_ml": fp, "fn_ml": fn} for tp, fp, fn in counts]


def test_pooled_dice_weighs_lesions_by_their_volume() -> None:
    # 2 * 11 / (2 * 11 + 2 + 4)
    assert pooled_dice(units((10, 1, 1), (1, 1, 3))).value == pytest.approx(22 / 28)


def test_a_case_without_the_class_lowers_dice_by_its_false_positives() -> None:
    assert pooled_dice(units((10, 0, 0), (0, 20, 0))).value == pytest.approx(20 / 40)


def test_equal_units_have_no_spread_and_absent_ones_no_value() -> None:
    found = pooled_dice(units(*[(3, 1, 1)] * 5))
    assert (found.low, found.high) == pytest.approx((0.75, 0.75))
    nothing = pooled_dice([])
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    found = mean(list(values))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.03)


def test_values_that_are_missing_do_not_count() -> None:
    assert median([1.0, None, 5.0, float("nan"), 3.0]).value == 3


def test_paired_differences_see_what_single_intervals_do_not() -> None:
    """Lesions differ much from each other; the second method is a little worse on every one."""
    tp = np.random.default_rng(1).uniform(1, 9, 60)
    first = pooled_dice(units(*[(t, 0, 10 - t) for t in tp]))
    second = pooled_dice(units(*[(0.97 * t, 0, 10 - 0.97 * t) for t in tp]))
    assert second.high > first.low
    assert verdict(first.minus(second)) == "below"
    assert verdict(second.minus(first)) == "above"
    assert verdict(first.minus(first)) == "not told apart"


def test_the_mean_of_classes_is_tighter_where_they_are_drawn_independently() -> None:
    counts = units(*[(t, 0, 10 - t) for t in range(1, 10)])
    one, other = pooled_dice(counts, stream=2), pooled_dice(counts, stream=3)
    both = average([one, other])
    assert both.value == pytest.approx(one.value)
    assert both.high - both.low < 0.85 * (one.high - one.low)


def share(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts[..., 0] / counts.sum(-1))


def test_patients_are_drawn_before_slices() -> None:
    # Equal patients of equal slices have no spread, one patient has that of its slices: the normal law.
    equal = [np.array([[3.0, 1.0]] * 5)] * 4
    assert (two_stage(equal, share).low, two_stage(equal, share).high) == pytest.approx((0.75, 0.75))
    slices = np.random.default_rng(1).binomial(20, 0.3, 200)
    alone = two_stage([np.stack([slices, 20 - slices], axis=1).astype(float)], share)
    half = 1.96 * (slices / 20).std() / np.sqrt(200)
    assert alone.value == pytest.approx(slices.sum() / 4000)
    assert (alone.low, alone.high) == pytest.approx((alone.value - half, alone.value + half), abs=0.004)
    # Two patients that differ: a quarter of the draws holds one of them alone.
    apart = [np.array([[10.0, 0.0]] * 50), np.array([[0.0, 10.0]] * 50)]
    found = two_stage(apart, share)
    assert (found.low, found.value, found.high) == (0, 0.5, 1)
    assert (found.draws == 0).mean() == pytest.approx(0.25, abs=0.04)
    assert np.isnan(two_stage([], share).value)
