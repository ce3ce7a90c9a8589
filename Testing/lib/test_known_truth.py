"""Cases to measure on: planned evenly, made alike again, scored only where the truth is known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from densities import DENSITIES
from smallchest import image, save

from DiffSegLungLib.classes import CAVITY, CONSOLIDATION, HEALTHY, PATHOLOGY
from DiffSegLungLib.evaluation.disease import OWN_DISEASE, own_disease
from DiffSegLungLib.evaluation.known_truth import (
    FULL_CHEST,
    CaseKey,
    LabelledCase,
    full_chest_paths,
    lesion_plan,
    make_case,
)
from DiffSegLungLib.io.ct import CT, Geometry
from DiffSegLungLib.lesions.lesions import KINDS
from DiffSegLungLib.lesions.patterns import Family
from DiffSegLungLib.phantom.phantom import generate_phantom

VOLUMES_ML = (3.0, 12.0)
"""Small enough for ten lesions in the generated chest."""


@pytest.fixture(scope="module")
def healthy_chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated chest without lesions, as a file."""
    ct = generate_phantom(3, "small", lesions=False).ct
    made = image(ct.hu, ct.geometry.spacing, ct.geometry.origin)
    return save(made, tmp_path_factory.mktemp("chest") / "generated.nii.gz")


@pytest.fixture(scope="module")
def cases(healthy_chest: Path) -> dict[Family, LabelledCase]:
    """One case of each measuring family, at the same seed."""
    keys = lesion_plan([healthy_chest], ("a", "c", "d"), (0,))
    return {key.family: make_case(key, volume_range_ml=VOLUMES_ML) for key in keys}


def test_plan_holds_sixty_lesions_of_every_class() -> None:
    paths = [Path("somewhere") / f"{stem}.nii.gz" for stem in FULL_CHEST]
    plan = lesion_plan(paths)
    assert len(plan) == len({key.name for key in plan}) == 36
    for key in plan:
        assert Counter(KINDS[kind] for kind in key.kinds) == dict.fromkeys(PATHOLOGY, 2)
    kinds = Counter(kind for key in plan for kind in key.kinds)
    assert all(sum(kinds[k] for k, c in KINDS.items() if c == wanted) >= 60 for wanted in PATHOLOGY)
    # Kinds of one class come equally often, in each family too.
    assert kinds["ground_glass"] == kinds["crazy_paving"] == kinds["part_solid"] == 24
    assert Counter(k for key in plan if key.family == "c" for k in key.kinds)["bulla"] == 12
    # Cases of one volume follow one another, so that its lungs are found once.
    volumes = [key.volume for key in plan]
    assert volumes == sorted(volumes)


def test_a_case_does_not_depend_on_what_else_is_planned() -> None:
    one, two = Path("cmb-crc_msb-01068_lung.nii.gz"), Path("other.nii.gz")
    assert lesion_plan([one], ("c",), (1,))[0] in lesion_plan([two, one])
    assert lesion_plan([one], ("c",), (1,))[0].name == "cmb-crc_msb-01068_lung c #1"


def test_full_chests_are_found_by_name(tmp_path: Path) -> None:
    for name in ("lidc-idri_0001_standard.nii.gz", "cptac-pda_c3l-00189_lung.nii.gz"):
        (tmp_path / name).touch()
    assert [p.name for p in full_chest_paths(tmp_path)] == ["lidc-idri_0001_standard.nii.gz"]


def test_same_key_same_voxels_other_key_other_voxels(
    healthy_chest: Path, cases: dict[Family, LabelledCase]
) -> None:
    key = lesion_plan([healthy_chest], ("c",), (0,))[0]
    again = make_case(key, volume_range_ml=VOLUMES_ML)
    assert np.array_equal(again.ct.hu, cases["c"].ct.hu)
    assert np.array_equal(again.truth, cases["c"].truth)
    assert again.lesions == cases["c"].lesions
    other = make_case(CaseKey(key.volume, "c", 1, key.kinds), volume_range_ml=VOLUMES_ML)
    assert not np.array_equal(other.truth, again.truth)
    assert not np.array_equal(cases["a"].truth, cases["c"].truth)
    assert not np.array_equal(cases["c"].truth, cases["d"].truth)


@pytest.mark.parametrize("family", ["a", "c", "d"])
def test_lesions_own_the_voxels_of_the_truth(cases: dict[Family, LabelledCase], family: Family) -> None:
    case = cases[family]
    assert case.lungs is not None
    assert case.owner is not None
    assert not case.truth[~case.lungs].any()
    assert np.array_equal(case.owner > 0, case.truth > HEALTHY)
    assert [lesion.number for lesion in case.lesions] == list(range(1, 11))
    for lesion in case.lesions:
        own = case.owner == lesion.number
        allowed = {lesion.class_id} | ({CONSOLIDATION} if lesion.kind == "part_solid" else set())
        assert set(np.unique(case.truth[own])) <= allowed
        assert lesion.volume_ml == pytest.approx(own.sum() * case.ct.geometry.voxel_ml)


@pytest.mark.parametrize("family", ["a", "c", "d"])
def test_volumes_are_near_those_asked_for(cases: dict[Family, LabelledCase], family: Family) -> None:
    volumes = np.array([lesion.volume_ml for lesion in cases[family].lesions])
    assert volumes.min() > 0.3 * VOLUMES_ML[0]
    assert volumes.max() < 1.6 * VOLUMES_ML[1]


@pytest.mark.parametrize("family", ["a", "c", "d"])
def test_densities_are_those_of_the_tissue(cases: dict[Family, LabelledCase], family: Family) -> None:
    case = cases[family]
    for class_id in set(PATHOLOGY) - {CAVITY}:
        found = float(case.ct.hu[case.truth == class_id].mean())
        # Small lesions are half border: two prior deviations, three where the prior is narrow.
        mean_hu, sd_hu = DENSITIES[class_id]
        assert abs(found - mean_hu) < max(2 * sd_hu, 90)


def test_dense_voxels_that_no_lesion_touched_do_not_count(
    healthy_chest: Path, cases: dict[Family, LabelledCase]
) -> None:
    case, before = cases["c"], CT.read(healthy_chest).hu
    untouched = case.truth == HEALTHY
    assert not case.scored[untouched & (before > -600)].any()
    assert case.scored[untouched & (before <= -600)].all()
    assert case.scored[case.truth > HEALTHY].all()


def test_own_disease_is_neither_scored_nor_painted(
    tmp_path: Path, healthy_chest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "patient.nii.gz"
    path.symlink_to(healthy_chest)
    ct = CT.read(path)
    # The whole right half of the chest: -x is the patient's right.
    low, high = (-500.0, -500.0, -500.0), (0.0, 500.0, 500.0)
    monkeypatch.setitem(OWN_DISEASE, "patient", ((low, high),))
    ill = own_disease("patient", ct.geometry)
    made = make_case(lesion_plan([path], ("c",), (0,))[0], volume_range_ml=(2.0, 4.0))
    assert made.lungs is not None
    assert (made.lungs & ill).any()
    assert not (made.truth[ill] > HEALTHY).any()
    assert not made.scored[ill].any()


def test_boxes_of_disease_are_in_millimetres(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 x 20 x 40 mm on voxels of 1 x 2 x 4 mm: 11 along each axis."""
    monkeypatch.setitem(OWN_DISEASE, "patient", (((-10.0, 0.0, 0.0), (0.0, 20.0, 40.0)),))
    geometry = Geometry((60, 60, 60), (1.0, 2.0, 4.0), (-20.0, -30.0, -40.0))
    ill = np.argwhere(own_disease("patient", geometry))
    assert ill.min(axis=0).tolist() == [10, 15, 10]
    assert len(ill) == 11**3
    assert not own_disease("unknown", geometry).any()


@pytest.mark.realct
def test_boxes_of_disease_hold_the_tumours(real_data: Path) -> None:
    """More than a tenth of the lung-side of each first box is dense: that is what it was drawn for."""
    for stem, boxes in OWN_DISEASE.items():
        ct = CT.read(real_data / "ct" / f"{stem}.nii.gz")
        low, high = (ct.geometry.index(corner) for corner in boxes[0])
        z, y, x = (slice(max(0, int(a)), int(b) + 1) for a, b in zip(low, high, strict=True))
        assert 0.1 < float((ct.hu[z, y, x] > -300).mean()) < 0.95
