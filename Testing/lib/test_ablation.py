"""The switches of the method: each does what it says, and the unswitched one is the product."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lung_block import labels_where_fused
from smallchest import chest, quick_image, save
from tinymodel import tiny_bundle

from DiffSegLungLib.classes import CAVITY, HEALTHY, VESSEL
from DiffSegLungLib.config import Config
from DiffSegLungLib.evaluation.ablation import probe
from DiffSegLungLib.evaluation.ablation import run as ablation
from DiffSegLungLib.evaluation.ablation.bench import Bench, Switch, without
from DiffSegLungLib.evaluation.ablation.run import run_ablation, training_volumes
from DiffSegLungLib.evaluation.ablation.short_trainings import VARIANTS, Budget, train_variants
from DiffSegLungLib.evaluation.ablation.switches import DEFAULT, SWITCHES
from DiffSegLungLib.evaluation.known_truth import LabelledCase
from DiffSegLungLib.evaluation.pool import TaskOutcome
from DiffSegLungLib.evaluation.rivals.kept import student
from DiffSegLungLib.grid.cells import DIFFUSION, pool
from DiffSegLungLib.io.ct import CT
from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.mixture import KINDS, Mixture
from DiffSegLungLib.segmentation.decision import cluster_cells, fuse_cells
from DiffSegLungLib.segmentation.pipeline import Segmenter
from DiffSegLungLib.segmentation.preparation import Prepared, prepare
from DiffSegLungLib.segmentation.statistics import STATISTIC_COLUMNS
from DiffSegLungLib.talk import Talk
from DiffSegLungLib.training.dataset import level_and_spread, z_scored

CONFIG = Config(components=4, timesteps=(3, 10))


@pytest.fixture(scope="module")
def case() -> LabelledCase:
    """A very small chest with a dense block in it."""
    hu = chest()
    hu[8:16, 24:34, 15:23] += 300
    ct = CT.from_image(quick_image(hu))
    z, y, x = np.mgrid[:24, :64, :64]
    lungs = np.zeros(hu.shape, bool)
    for centre in (19, 45):  # a little inside of the chest's own lungs
        lungs |= (x - centre) ** 2 / 8.5**2 + (y - 30) ** 2 / 14.5**2 + (z - 12) ** 2 / 10.3**2 < 1
    return LabelledCase("small", ct, np.where(lungs, HEALTHY, 0).astype(np.uint8), lungs, lungs)


@pytest.fixture(scope="module")
def prepared(case: LabelledCase) -> Prepared:
    return prepare(case.ct, case.lungs, CONFIG)


@pytest.fixture(scope="module")
def bundle(prepared: Prepared) -> Bundle:
    """An untrained network with a population mixture fitted to the same chest."""
    bare = tiny_bundle(population={"timesteps": [3, 10], "statistics": list(STATISTIC_COLUMNS)})
    lungs = prepared.parenchyma
    cells = pool([lungs.cells.joined(student(lungs, bare, (3, 10)), DIFFUSION)])
    arrays = {
        f"{descriptor}.{name}": array
        for descriptor, kinds in KINDS.items()
        for name, array in Mixture.fit(cells, kinds, 4).to_arrays().items()
    }
    return replace(bare, mixture=arrays)


@pytest.mark.parametrize(("mode", "descriptor"), [("per-volume", "statistics"), ("adapted", "hybrid")])
def test_without_a_switch_it_is_the_product(
    case: LabelledCase, bundle: Bundle, mode: str, descriptor: str
) -> None:
    config = replace(CONFIG, mode=mode, descriptor=descriptor)
    product = Segmenter(bundle, config).run(case.ct, lungs=case.lungs)
    fused = Bench(case, bundle, config).fused(Switch(DEFAULT, ""))
    evidence, entropy = fused.onto(case.ct.geometry, case.lungs)
    assert np.array_equal(evidence, product.evidence)
    assert np.array_equal(entropy, product.entropy)


def test_a_switch_that_leaves_out_a_class_leaves_it_out(prepared: Prepared, bundle: Bundle) -> None:
    canonical = prepared.parenchyma.canonical
    right, left = (canonical.side == side for side in (1, 2))
    prepared = replace(prepared, parenchyma=replace(prepared.parenchyma, vessels=left), cavities=right)
    config = replace(CONFIG, descriptor="statistics")
    clustered = cluster_cells(prepared, prepared.parenchyma.cells, bundle, config)
    labels = labels_where_fused(fuse_cells(prepared, clustered, config), config)
    assert (labels[right & canonical.lungs] == CAVITY).all()
    assert (labels[left & canonical.lungs] == VESSEL).all()
    bare = fuse_cells(without(prepared, vessels=True, cavities=True), clustered, config)
    none = labels_where_fused(bare, config)
    assert CAVITY not in none
    assert (none == VESSEL).sum() < 0.1 * (labels == VESSEL).sum()


def test_an_offset_is_corrected_unless_switched_off(case: LabelledCase, bundle: Bundle) -> None:
    """The small chest has its air at -1000 HU around the body: -40 HU more are seen and taken back."""
    bench = Bench(case, bundle, replace(CONFIG, descriptor="statistics"))
    as_it_is = bench._prepare(0, CONFIG)
    low, left = (bench._prepare(-40, replace(CONFIG, correct_air=c)) for c in (True, False))
    level, corrected, lower = (p.parenchyma.aeration.level_hu for p in (as_it_is, low, left))
    assert low.shift_hu == pytest.approx(40, abs=5)
    assert corrected == pytest.approx(level, abs=10)
    assert lower == pytest.approx(level - 40, abs=10)


def test_z_scored_hu_forget_level_and_spread() -> None:
    rng = np.random.default_rng(0)
    hu = rng.uniform(-900, -500, (8, 16, 16)).astype(np.float32)
    lungs = np.ones(hu.shape, bool)
    scored = z_scored(hu, *level_and_spread(hu, lungs))
    assert scored.mean() == pytest.approx(-800, abs=1)
    assert scored.std() == pytest.approx(150, rel=0.02)
    other = 0.7 * hu - 100
    again = z_scored(other, *level_and_spread(other, lungs))
    assert again == pytest.approx(scored, abs=0.01)


def test_every_switch_is_valid_and_comes_after_what_it_is_compared_with() -> None:
    seen: list[str] = []
    for switch in SWITCHES:
        replace(Config(), **switch.changes)
        assert switch.key not in seen
        assert not switch.against or switch.against in seen
        seen.append(switch.key)


def test_only_what_the_index_calls_train_is_trained_on(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    paths = [tmp_path / "ct" / f"{name}.nii.gz" for name in "abc"]
    (tmp_path / "index.csv").write_text("file,use\nct/a.nii.gz,train\nct/b.nii.gz,dev\n")
    assert training_volumes(paths) == [paths[0], paths[2]]


def test_an_ablation_measures_once_and_goes_on(
    small_ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Config(descriptor="statistics", mode="per-volume", components=4)
    first, second = Switch(DEFAULT, "as it is"), Switch("beta_0", "no HU", DEFAULT, {"beta": 0.0})
    # In this process: that tasks go well in others is tested elsewhere.
    monkeypatch.setattr(
        ablation, "perform", lambda tasks, work, **_: [TaskOutcome(t, work(t)) for t in tasks]
    )
    monkeypatch.setattr(ablation, "SWITCHES", (first,))
    run_ablation([small_ct], tmp_path, config=quick, jobs=1, cases=1)
    (file,) = (tmp_path / "cases").iterdir()
    record = json.loads(file.read_text())
    # A number that only a second measurement could put right again.
    record["methods"][DEFAULT]["auroc"] = -1.0
    file.write_text(json.dumps(record))

    monkeypatch.setattr(ablation, "SWITCHES", (first, second))
    table = run_ablation([small_ct], tmp_path, config=quick, jobs=1, cases=1)
    lines = [line for line in table.read_text().splitlines() if line.startswith("| ")]
    assert lines[2].startswith("| as it is |")
    assert lines[3].startswith("| no HU |")
    kept = json.loads((tmp_path / "ablation.json").read_text())
    assert kept["records"][0]["methods"][DEFAULT]["auroc"] == -1.0
    assert kept["effects"]["beta_0"]["against"] == DEFAULT
    expected = kept["numbers"]["beta_0"]["dice"]["mean"]["value"] or 0.0
    baseline = kept["numbers"][DEFAULT]["dice"]["mean"]["value"] or 0.0
    assert (kept["effects"]["beta_0"]["mean"]["value"] or 0.0) == pytest.approx(expected - baseline)


def test_short_trainings_branch_from_one_stage_one_and_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PROBE_PATCHES", 8)
    monkeypatch.setattr(probe, "HELD_OUT_PATCHES", 4)
    volumes = []
    for number in range(2):
        volumes.append(save(quick_image(chest(seed=number)), tmp_path / f"patient{number}.nii.gz"))
    budget = Budget(stage_one=2, stage_two=2, base=16, patch=(8, 32, 32), batch=2, precision="fp32")
    chosen = [v for v in VARIANTS if v.key in ("reference", "patch", "z_scored")]
    said: list[str] = []
    trained = train_variants(
        volumes, tmp_path / "out", budget, variants=chosen, talk=Talk(lambda *told: said.append(told[2]))
    )
    assert [t.variant.key for t in trained] == [v.key for v in chosen]
    for each in trained:
        assert each.facts["steps"] == 4
        assert np.isfinite(each.facts["probe_r2"])
        assert Bundle.load(each.bundle).network.architecture.base == 16
    logs = {v.key: (tmp_path / "out" / v.key / "log.jsonl").read_text().splitlines() for v in chosen}
    assert all(json.loads(lines[-1])["step"] == 4 for lines in logs.values())
    assert "contrast" in json.loads(logs["reference"][-1])
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    train_variants(volumes, tmp_path / "out", budget, variants=chosen)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
