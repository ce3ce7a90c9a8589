"""What is counted of every lesion, on a scene whose numbers can be checked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from DiffSegLungLib.classes import CAVITY, CONSOLIDATION, GROUND_GLASS, HEALTHY
from DiffSegLungLib.evaluation.agreement import Truth
from DiffSegLungLib.evaluation.known_truth import LabelledCase
from DiffSegLungLib.io.ct import CT, Geometry
from DiffSegLungLib.lesions.lesions import PlacedLesion

SHAPE = (12, 40, 60)
LEFT = (slice(2, 8), slice(5, 15), slice(5, 15))
RIGHT = (slice(2, 8), slice(5, 15), slice(45, 55))
DENSE = (slice(2, 8), slice(25, 35), slice(25, 35))
VOXEL_ML = 2 * 1 * 1 / 1000


def scene() -> LabelledCase:
    """Two lesions of ground glass, far apart along x, and a consolidation; all of the volume is lung."""
    truth = np.full(SHAPE, HEALTHY, np.uint8)
    owner = np.zeros(SHAPE, np.uint16)
    lesions = []
    for number, (box, class_id) in enumerate(
        ((LEFT, GROUND_GLASS), (RIGHT, GROUND_GLASS), (DENSE, CONSOLIDATION)), start=1
    ):
        truth[box], owner[box] = class_id, number
        lesions.append(PlacedLesion(number, "made", class_id, 600 * VOXEL_ML))
    geometry = Geometry(SHAPE[::-1], (1.0, 1.0, 2.0))
    ct = CT(np.zeros(SHAPE, np.int16), geometry, "made")
    lungs = np.ones(SHAPE, bool)
    return LabelledCase("made", ct, truth, lungs.copy(), lungs, owner, tuple(lesions), None)


def unit(measured: dict[str, Any], key: str, number: int = 0) -> dict[str, Any]:
    (found,) = (u for u in measured["units"] if (u["class_key"], u["lesion"]) == (key, number))
    return found


def labelled(*boxes: tuple[tuple[slice, ...], int]) -> NDArray[np.uint8]:
    labels = np.full(SHAPE, HEALTHY, np.uint8)
    for box, class_id in boxes:
        labels[box] = class_id
    return labels


def test_the_truth_itself_is_perfect() -> None:
    case = scene()
    measured = Truth(case).measure(case.truth)
    for key, number in (("ground_glass", 1), ("ground_glass", 2), ("consolidation", 3)):
        found = unit(measured, key, number)
        assert found["tp_ml"] == pytest.approx(600 * VOXEL_ML)
        assert (found["fp_ml"], found["fn_ml"], found["hd95_mm"]) == (0, 0, 0)
    assert measured["false_pathology_percent"] == 0
    assert measured["classes"]["healthy"]["dice"] == 1
    assert np.isnan(measured["classes"]["emphysema"]["dice"])


def test_false_positives_belong_to_the_nearest_lesion_of_their_class() -> None:
    astray = (slice(2, 4), slice(5, 15), slice(36, 41))  # 100 voxels, 4 mm left of the right lesion
    labels = labelled((LEFT, GROUND_GLASS), (RIGHT, GROUND_GLASS), (astray, GROUND_GLASS))
    measured = Truth(scene()).measure(labels)
    assert unit(measured, "ground_glass", 1)["fp_ml"] == 0
    assert unit(measured, "ground_glass", 2)["fp_ml"] == pytest.approx(100 * VOXEL_ML)
    missed = unit(measured, "consolidation", 3)
    assert missed["fn_ml"] == pytest.approx(600 * VOXEL_ML)
    # The island touches no lesion: it costs Dice, not the border of a matched lesion.
    assert unit(measured, "ground_glass", 2)["hd95_mm"] == 0
    healthy = np.count_nonzero(scene().truth == HEALTHY)
    assert measured["false_pathology_percent"] == pytest.approx(100 * 100 / healthy)


def test_a_class_without_a_lesion_keeps_its_false_positives() -> None:
    measured = Truth(scene()).measure(labelled((LEFT, CAVITY)))
    found = unit(measured, "cavity")
    assert (found["tp_ml"], found["volume_ml"], found["kind"]) == (0, 0, "")
    assert found["fp_ml"] == pytest.approx(600 * VOXEL_ML)


def test_units_add_up_to_the_whole_case() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([HEALTHY, GROUND_GLASS, CONSOLIDATION], SHAPE).astype(np.uint8)
    case = replace(scene(), scored=rng.random(SHAPE) < 0.8)
    measured = Truth(case).measure(labels)
    for key in ("ground_glass", "consolidation"):
        units = [u for u in measured["units"] if u["class_key"] == key]
        tp, fp, fn = (sum(u[name] for u in units) for name in ("tp_ml", "fp_ml", "fn_ml"))
        whole = measured["classes"][key]
        assert 2 * tp / (2 * tp + fp + fn) == pytest.approx(whole["dice"])
        assert tp + fn == pytest.approx(whole["truth_ml"])
        assert tp + fp == pytest.approx(whole["predicted_ml"])


@pytest.mark.parametrize(("rows", "matched"), [(2, False), (3, True)])
def test_a_quarter_of_a_lesion_has_to_be_covered(rows: int, matched: bool) -> None:
    part = (LEFT[0], slice(5, 5 + rows), LEFT[2])
    found = unit(Truth(scene()).measure(labelled((part, GROUND_GLASS))), "ground_glass", 1)
    # From row 14 of the lesion to row 7 of the part, the farthest of all: the 95th percentile is near 7 mm.
    assert np.isfinite(found["hd95_mm"]) == matched
    if matched:
        assert found["hd95_mm"] == pytest.approx(7, abs=0.5)


def test_a_component_that_runs_away_spoils_the_border() -> None:
    tail = (slice(4, 6), slice(9, 11), slice(15, 45))
    measured = Truth(scene()).measure(labelled((LEFT, GROUND_GLASS), (tail, GROUND_GLASS)))
    assert unit(measured, "ground_glass", 1)["hd95_mm"] > 15


def test_doubt_is_ranked_against_error() -> None:
    case = scene()
    labels = labelled((LEFT, GROUND_GLASS), (RIGHT, GROUND_GLASS))
    entropy = np.where(labels == case.truth, 0.1, 0.9).astype(np.float16)
    measured = Truth(case).measure(labels, entropy)
    assert measured["auroc"] == 1
    assert sum(measured["wrong"]) == 600
    assert measured["wrong"][18] == 600 or measured["wrong"][17] == 600
    assert sum(measured["right"]) == np.prod(SHAPE) - 600


def test_without_numbers_a_class_of_the_case_is_one_unit() -> None:
    case = replace(scene(), owner=None, lesions=())
    measured = Truth(case).measure(labelled((LEFT, GROUND_GLASS)))
    found = unit(measured, "ground_glass")
    assert found["tp_ml"] == pytest.approx(600 * VOXEL_ML)
    assert found["fn_ml"] == pytest.approx(600 * VOXEL_ML)
    assert found["hd95_mm"] > 30
