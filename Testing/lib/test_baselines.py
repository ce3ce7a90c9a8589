"""The baselines and the harness on volumes whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from DiffSegLungLib.canonical import Canonical
from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY
from DiffSegLungLib.ct import CT, Geometry
from DiffSegLungLib.evaluation.baselines import HUBands, RadiomicKMeans, describe_blocks
from DiffSegLungLib.evaluation.cases import Case
from DiffSegLungLib.evaluation.harness import Answer, evaluate
from DiffSegLungLib.evaluation.noise import Noise

BLOCKS = (2, 4, 4)


def volume(hu: NDArray[np.float32]) -> Canonical:
    """A canonical volume that is lung all over."""
    lungs = np.ones(hu.shape, bool)
    geometry = Geometry(size=hu.shape[::-1], spacing=(1.0, 1.0, 2.0))
    return Canonical(hu, lungs, lungs.astype(np.uint8), geometry)


def test_bands_follow_the_limits_exactly() -> None:
    hu = np.repeat(np.array([-1000, -950, -751, -750, -400, 0], np.float32), 16 * 16).reshape(6, 16, 16)
    labels = HUBands(median=1).fit_predict(volume(hu))
    assert labels[:, 0, 0].tolist() == [EMPHYSEMA, HEALTHY, HEALTHY, GROUND_GLASS, FIBROSIS, CONSOLIDATION]


def test_median_removes_single_voxels() -> None:
    hu = np.full((8, 16, 16), -850, np.float32)
    hu[4, 8, 8] = 300
    assert (HUBands().fit_predict(volume(hu)) == HEALTHY).all()
    assert (HUBands(median=1).fit_predict(volume(hu)) == CONSOLIDATION).sum() == 1


def test_outside_the_lungs_is_nothing() -> None:
    canonical = volume(np.full((8, 16, 16), -850, np.float32))
    canonical.lungs[:, :8] = False
    for method in (HUBands(), RadiomicKMeans(1)):
        labels = method.fit_predict(canonical)
        assert not labels[:, :8].any()
        assert labels[:, 8:].all()


@pytest.fixture(scope="module")
def mosaic() -> tuple[Canonical, NDArray[np.uint8]]:
    """Blocks of 16 mm, each of one of three tissues told apart by density and by grain."""
    rng = np.random.default_rng(0)
    shape = tuple(n * size for n, size in zip(BLOCKS, (8, 16, 16), strict=True))
    truth = rng.choice([HEALTHY, GROUND_GLASS, FIBROSIS], BLOCKS).astype(np.uint8)
    for axis, size in enumerate((8, 16, 16)):
        truth = np.repeat(truth, size, axis=axis)
    hu = np.zeros(shape, np.float32)
    looks = {
        HEALTHY: (-860, Noise(30, 0.35)),
        GROUND_GLASS: (-600, Noise(80, 1.4)),
        FIBROSIS: (-550, Noise(280, 0.8)),
    }
    for tissue, (mean, noise) in looks.items():
        hu = np.where(truth == tissue, mean + noise.sample(shape, rng), hu)
    return volume(hu.astype(np.float32)), truth


def test_blocks_are_described_in_order(mosaic: tuple[Canonical, NDArray[np.uint8]]) -> None:
    canonical, _ = mosaic
    index, numbers = describe_blocks(canonical)
    assert index.tolist() == list(range(int(np.prod(BLOCKS))))
    assert numbers.shape == (len(index), 34)
    # Block 6 is (0, 1, 2): its first number is the mean HU there.
    assert numbers[6, 0] == pytest.approx(canonical.hu[:8, 16:32, 32:48].mean(), abs=0.1)


def test_kmeans_finds_and_names_tissues(mosaic: tuple[Canonical, NDArray[np.uint8]]) -> None:
    canonical, truth = mosaic
    labels = RadiomicKMeans(3).fit_predict(canonical)
    assert (labels == truth).mean() == 1
    learnt = RadiomicKMeans(3).fit(canonical)
    assert np.array_equal(learnt.predict(canonical), labels)


def test_harness_scores_right_and_wrong_answers(tmp_path: Path) -> None:
    truth = np.zeros((6, 8, 8), np.uint8)
    truth[2:4] = HEALTHY
    truth[3, :4] = GROUND_GLASS
    ct = CT(np.zeros(truth.shape, np.int16), Geometry((8, 8, 6), (1.0, 1.0, 1.0)))
    lungs = truth > 0
    case = Case("made", ct, truth, np.ones(truth.shape, bool), lungs)
    doubt = np.where(truth == GROUND_GLASS, 0.9, 0.1)

    def blind(_ct: CT, mask: NDArray[np.bool_]) -> Answer:
        return Answer(np.where(mask, HEALTHY, 0).astype(np.uint8), doubt)

    def perfect(_ct: CT, _mask: NDArray[np.bool_]) -> Answer:
        return Answer(truth)

    result = evaluate("made", [case], {"blind": blind, "perfect": perfect})
    # Blind calls 128 voxels healthy where 96 are: 2 * 96 / 224.
    assert result.mean("blind", "healthy") == pytest.approx(2 * 96 / 224)
    assert result.mean("blind", "ground_glass") == 0
    assert result.mean("perfect", "ground_glass") == 1
    assert result.rows[0].auroc == 1
    result.write(tmp_path)
    lines = (tmp_path / "made.md").read_text().splitlines()
    assert lines[0] == "| made | Healthy lung | Ground glass | AUROC |"
    assert lines[3] == "| perfect | 100.0 (0.0) | 100.0 (0.0) |  |"
    stored = json.loads((tmp_path / "made.json").read_text())
    assert stored["rows"][1]["auroc"] is None
