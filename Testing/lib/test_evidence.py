"""Labels drawn from evidence: islands and holes across pieces, and volumes by sensitivity."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from DiffSegLungLib.classes import CAVITY, CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY, VESSEL
from DiffSegLungLib.report.sensitivity import BySensitivity, sensitivity_curves
from DiffSegLungLib.segmentation import evidence as module
from DiffSegLungLib.segmentation.evidence import (
    ALWAYS_CAVITY,
    ALWAYS_VESSEL,
    CURVE,
    OR_HEALTHY,
    OR_VESSEL,
    POINTS,
    SPAN,
    count_evidence,
    disease_probability,
    draw_labels,
    drawn_in_steps,
    encode,
    volumes_by_sensitivity,
)

OTHER = {OR_HEALTHY: HEALTHY, OR_VESSEL: VESSEL, ALWAYS_VESSEL: VESSEL, ALWAYS_CAVITY: CAVITY}


@pytest.fixture(scope="module")
def parts() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Odds that rise and fall within millimetres, a disease and an alternative for each voxel, and lungs."""
    random, shape = np.random.default_rng(0), (40, 48, 56)
    odds = gaussian_filter(random.normal(size=shape), 1.2)
    odds = (5 * odds / odds.std()).clip(-8, 8).astype(np.float32)
    disease = random.integers(EMPHYSEMA, CONSOLIDATION + 1, shape).astype(np.uint8)
    otherwise = random.choice([0, 0, 0, 0, 1, 2, 3], shape).astype(np.uint8)
    lungs = np.zeros(shape, bool)
    lungs[3:37, 5:44, 4:50] = True
    return odds, disease, otherwise, lungs


@pytest.fixture(scope="module")
def evidence(parts) -> np.ndarray:
    odds, disease, otherwise, lungs = parts
    return encode(odds, disease, otherwise) * lungs


def expected(parts, evidence: np.ndarray, sensitivity: float, least: int) -> np.ndarray:
    """The same in words of the definition, over the whole volume at once."""
    _odds, disease, otherwise, lungs = parts
    open_ = lungs & (otherwise <= OR_VESSEL)
    other = np.select([otherwise == key for key in OTHER], list(OTHER.values()))
    sick = open_ & (disease_probability(evidence) > 1 / (1 + np.exp(-SPAN * (1 - 2 * sensitivity))) + 1e-6)
    labels = np.where(sick, disease, other)
    for mask, value in ((sick, other), (open_ & ~sick, disease)):
        number, count = label(mask)
        for part in range(1, count + 1):
            if (number == part).sum() < least:
                labels[number == part] = value[number == part]
    return np.where(lungs, labels, 0)


@pytest.mark.parametrize("sensitivity", [0.0, 0.31, 0.5, 0.75, 1.0])
def test_islands_and_holes_join_their_surroundings_wherever_pieces_end(
    parts, evidence, sensitivity, monkeypatch
) -> None:
    wanted = expected(parts, evidence, sensitivity, 40)
    for voxels in (1, 3 * 48 * 56, 1 << 20):  # pieces of one plane, of some planes, one piece
        monkeypatch.setattr(module, "_VOXELS", voxels)
        assert np.array_equal(draw_labels(evidence, sensitivity, 40), wanted)
        labels = np.full(evidence.shape, 9, np.uint8)
        for _step in drawn_in_steps(evidence, sensitivity, 40, labels):
            pass
        assert np.array_equal(labels, wanted)


def test_the_more_sensitive_the_more_disease(evidence) -> None:
    amounts = [
        ((draw_labels(evidence, s, 1) >= EMPHYSEMA) & (draw_labels(evidence, s, 1) <= CONSOLIDATION)).sum()
        for s in (0.0, *POINTS.values(), 1.0)
    ]
    assert amounts == sorted(set(amounts))


def test_without_evidence_there_are_no_labels() -> None:
    assert not draw_labels(np.zeros((3, 4, 5), np.uint16), 0.5, 10).any()


def test_volumes_are_those_of_labels_with_all_their_islands(evidence) -> None:
    volumes = volumes_by_sensitivity(count_evidence(evidence), 0.002)
    assert list(volumes) == ["emphysema", "ground_glass", "fibrosis", "consolidation"]
    for place, sensitivity in enumerate(CURVE):
        labels = draw_labels(evidence, sensitivity, 1)
        for key, number in zip(volumes, range(EMPHYSEMA, CONSOLIDATION + 1), strict=True):
            assert volumes[key][place] == round((labels == number).sum() * 0.002, 2)
    assert json.loads(json.dumps(volumes)) == volumes


def test_the_curves_lie_where_the_numbers_are() -> None:
    volumes = {"ground_glass": [10.0 * s for s in CURVE], "fibrosis": [0.0] * len(CURVE)}
    curves = sensitivity_curves(BySensitivity(CURVE, volumes, 0.75))
    ((tissue, points),) = curves.lines
    assert tissue.id == GROUND_GLASS != FIBROSIS
    corners = [tuple(float(v) for v in point.split(",")) for point in points.split()]
    assert corners[0] == (curves.left, curves.floor)
    assert corners[-1] == (curves.right, curves.levels[1][0])
    assert curves.levels[1][1] == 10.0
    assert curves.present == pytest.approx(curves.left + 0.75 * (curves.right - curves.left), abs=0.1)
    assert curves.rows == ((tissue, (0.0, 2.5, 5.0, 7.5, 10.0)),)


def test_nothing_found_draws_empty_axes() -> None:
    curves = sensitivity_curves(BySensitivity(CURVE, {"fibrosis": [0.0] * len(CURVE)}, 0.5))
    assert not curves.lines and not curves.rows


def test_report_and_json_hold_the_curve(tmp_path: Path) -> None:
    from smallchest import quick_image, save

    from DiffSegLungLib.config import Config
    from DiffSegLungLib.segmentation.pipeline import Segmenter

    ct = save(quick_image(), tmp_path / "ct.nii.gz")
    config = Config(descriptor="statistics", mode="per-volume", components=4, sensitivity=0.6)
    result = Segmenter("default", config).run(ct)
    result.save(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())["by_sensitivity"]
    assert content["sensitivities"] == list(CURVE)
    assert content["volumes_ml"] == result.redrawn(0.2).by_sensitivity.volumes_ml
    page = (tmp_path / "report.html").read_text()
    assert "drawn at 0.60 (dashed line)" in page and "islands below 0.1 ml are not taken away" in page


@pytest.mark.parametrize("number", [0x0080, 0x0180, 0x0600, 0x0680, 0x0200, 0x4280, 0xFFFF])
def test_numbers_that_no_run_writes_are_refused(evidence, number: int) -> None:
    changed = evidence.copy()
    changed[20, 20, 20] = number
    with pytest.raises(ValueError):
        count_evidence(changed)
