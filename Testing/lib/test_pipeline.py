"""The one path a CT takes: its result is whole, repeatable, stoppable, and says what it was."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from smallchest import QUICK_SPACING, chest, quick_image
from tinymodel import tiny_bundle, with_tiny_head

from DiffSegLungLib.classes import CLASSES
from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import Cancelled, InputError
from DiffSegLungLib.grid.cells import Cells
from DiffSegLungLib.io.ct import CT
from DiffSegLungLib.io.fingerprint import fingerprint
from DiffSegLungLib.model.hidden_layer import HiddenLayer
from DiffSegLungLib.model.mixture import Mixture
from DiffSegLungLib.segmentation.decision import check_fit, decide
from DiffSegLungLib.segmentation.pipeline import Segmenter
from DiffSegLungLib.segmentation.preparation import prepare
from DiffSegLungLib.segmentation.result import Result
from DiffSegLungLib.segmentation.statistics import STATISTIC_COLUMNS
from DiffSegLungLib.segmentation.tissues import with_decoder
from DiffSegLungLib.talk import Talk

STAGES = ("read", "lungs", "grid", "statistics", "features", "mixture", "fusion")
CONFIG = Config(descriptor="statistics", mode="per-volume", components=4)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, float]]:
    """What the run of :func:`result` reported."""
    return []


@pytest.fixture(scope="module")
def result(told: list[tuple[str, float]]) -> Result:
    return Segmenter(config=CONFIG).run(
        CT.from_image(quick_image()), talk=Talk(lambda stage, fraction, _: told.append((stage, fraction)))
    )


def test_every_lung_voxel_has_a_class_and_no_other_has(result: Result) -> None:
    assert result.labels.dtype == np.uint8
    assert result.labels.shape == result.ct.hu.shape
    np.testing.assert_array_equal(result.labels > 0, result.lungs.mask)
    assert set(np.unique(result.labels)) <= {0, *(c.id for c in CLASSES)}


def test_the_summary_ends_with_what_is_unusual(result: Result) -> None:
    noted = replace(result, lungs=replace(result.lungs, notes=("One.", "Two.")))
    plain = replace(result, lungs=replace(result.lungs, notes=()))
    assert noted.summary() == f"{plain.summary()}\nNote: One.\nNote: Two."


def test_the_entropy_is_a_share_and_lives_in_the_lungs(result: Result) -> None:
    assert result.entropy.dtype == np.float16
    assert result.entropy.min() >= 0.0
    assert result.entropy.max() <= 1.0
    assert not result.entropy[~result.lungs.mask].any()


def test_lung_of_one_kind_is_called_healthy(result: Result) -> None:
    """The small chest is all of -850 HU with noise: no disease may be seen in it."""
    healthy = result.tables.lungs.classes[0]
    assert healthy.key == "healthy"
    assert healthy.percent > 99.0
    assert healthy.mean_hu == pytest.approx(-850.0, abs=2.0)


def test_the_provenance_names_settings_versions_and_timings(result: Result) -> None:
    provenance = result.provenance
    assert provenance["config"]["descriptor"] == "statistics"
    assert tuple(provenance["timings_s"]) == STAGES
    assert provenance["model"] == {}
    assert provenance["run"]["peak_memory_gb"] > 0.05
    assert provenance["air"]["source"] in {"trachea", "outside", "none"}


def test_stages_are_reported_in_order_and_fractions_stay_within_0_and_1(
    result: Result, told: list[tuple[str, float]]
) -> None:
    assert tuple(dict.fromkeys(stage for stage, _ in told)) == STAGES
    for name in STAGES:
        fractions = [fraction for stage, fraction in told if stage == name]
        assert fractions == sorted(fractions)
        assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_one_preparation_serves_every_setting(result: Result) -> None:
    """What other settings decide of one prepared CT is, byte for byte, what a run of their own gives."""
    prepared = prepare(result.ct, None, CONFIG)
    for config in (CONFIG, replace(CONFIG, components=6, beta=0.5), replace(CONFIG, diffusion_steps=0)):
        alone = Segmenter(config=config).run(result.ct)
        shared = decide(prepared, None, config)
        assert shared.labels.tobytes() == alone.labels.tobytes()
        assert shared.entropy.tobytes() == alone.entropy.tobytes()
    with pytest.raises(ValueError, match="correct_air"):
        decide(prepared, None, replace(CONFIG, correct_air=False))


def test_a_second_run_gives_identical_labels(result: Result) -> None:
    again = Segmenter(config=CONFIG).run(CT.from_image(quick_image()))
    np.testing.assert_array_equal(again.labels, result.labels)
    np.testing.assert_array_equal(again.entropy, result.entropy)


@pytest.mark.parametrize("columns", [slice(30, 31), slice(20, 60)])
def test_a_mask_thinner_than_every_cell_is_refused(columns: slice):
    ct = CT.from_image(quick_image())
    mask = np.zeros(ct.hu.shape, bool)
    mask[ct.hu.shape[0] // 2, ct.hu.shape[1] // 2, columns] = True
    with pytest.raises(InputError, match="thinner everywhere"):
        Segmenter(config=CONFIG).run(ct, lungs=mask)


def test_the_number_of_threads_changes_almost_nothing(result: Result, small_ct: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "DiffSegLungLib", "segment", str(small_ct), "-o", str(tmp_path), "-q"]
    command += ["--descriptor", "statistics", "--mode", "per-volume", "--components", "4"]
    one = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    subprocess.run(command, check=True, env={**os.environ, **one}, stdout=subprocess.DEVNULL)
    alone = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "labels.nii.gz")))
    assert (alone != result.labels).sum() < 0.005 * (result.labels > 0).sum()


@pytest.mark.parametrize("stage", STAGES)
def test_a_request_to_stop_is_heard(stage: str) -> None:
    entered: list[str] = []
    with pytest.raises(Cancelled) as caught:
        Segmenter(config=CONFIG).run(
            CT.from_image(quick_image()),
            talk=Talk(lambda name, *_: entered.append(name), cancelled=lambda: stage in entered),
        )
    assert caught.value.exit_code == 3
    assert entered[-1] == stage


def test_the_user_s_mask_replaces_the_built_in_one(tmp_path: Path) -> None:
    values = np.zeros((24, 64, 64), np.uint8)
    values[8:16, 22:38, 14:24] = 3
    mask = quick_image(values)
    path = tmp_path / "mask.nrrd"
    sitk.WriteImage(mask, str(path))
    run = Segmenter(config=CONFIG).run(CT.from_image(quick_image()), lungs=path)
    np.testing.assert_array_equal(run.labels > 0, values > 0)
    assert run.tables.lungs.volume_ml == pytest.approx(8 * 16 * 10 * QUICK_SPACING**3 / 1000)


def test_the_air_offset_is_corrected_or_left_as_asked() -> None:
    """With a scanner that reads 40 HU too low everywhere, the corrected run says the same as the true CT."""
    low = CT.from_image(quick_image(chest() - 40))
    corrected = Segmenter(config=CONFIG).run(low)
    assert corrected.shift_hu == pytest.approx(40.0, abs=8.0)
    assert corrected.tables.lungs.density.mean_hu == pytest.approx(-850.0, abs=10.0)
    left = Segmenter(config=Config(**{**CONFIG.__dict__, "correct_air": False})).run(low)
    assert left.shift_hu == 0.0
    assert left.tables.lungs.density.mean_hu == pytest.approx(-890.0, abs=10.0)


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_a_missing_model_is_refused_in_one_sentence(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    segmenter = Segmenter(tmp_path / path, Config())
    with pytest.raises(InputError) as caught:
        segmenter.run(CT.from_image(quick_image()))
    assert caught.value.code == "no-bundle"


def test_a_broken_model_ends_the_run_while_the_lungs_are_prepared(small_ct: Path, tmp_path: Path) -> None:
    """It loads beside them; what is wrong with it is said as soon as it is known, long before the labels."""
    folder = tmp_path / "broken"
    tiny_bundle({"hybrid.weights": np.ones(1)}).save(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    entered: list[str] = []
    with pytest.raises(InputError) as caught:
        Segmenter(folder).run(small_ct, talk=Talk(lambda stage, *_: entered.append(stage)))
    assert caught.value.code == "bundle-tampered"
    assert entered[0] == "read"
    assert not {"mixture", "fusion"} & set(entered)


def test_a_wrong_file_is_refused_before_anything_about_the_model_is(tmp_path: Path) -> None:
    """Neither is torch loaded for it, nor a word said about the model, which does not exist either."""
    (tmp_path / "ct.nii").write_bytes(b"no image" * 100)
    program = (
        "import sys\n"
        "from DiffSegLungLib import DiffSegLungError, Segmenter\n"
        "try:\n"
        "    Segmenter(sys.argv[2]).run(sys.argv[1])\n"
        "except DiffSegLungError as error:\n"
        "    print(error.code, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "ct.nii"), str(tmp_path / "nowhere")]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    code, torch_loaded = ended.stdout.split()
    assert code != "no-bundle"
    assert torch_loaded == "False"


def test_a_result_knows_the_files_it_came_from_and_no_others(small_ct: Path, result: Result) -> None:
    known = Segmenter(config=CONFIG).run(small_ct).provenance["input"]
    assert known == fingerprint(small_ct)
    assert "input" not in result.provenance  # it came from memory
    mask = Segmenter(config=CONFIG).run(small_ct, lungs=result.lungs.mask)
    assert "input" not in mask.provenance  # half of it did


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (Config(timesteps=(250,)), "bad-setting"),
        (Config(descriptor="statistics"), "no-population"),
        (Config(timesteps=(7, 8)), "no-population"),
    ],
)
def test_settings_that_the_model_cannot_serve_are_refused_at_once(config: Config, code: str) -> None:
    mixture = {"hybrid.weights": np.ones(1)}
    population = {"timesteps": list(Config().timesteps), "statistics": list(STATISTIC_COLUMNS)}
    bundle = tiny_bundle(mixture, population=population)
    entered: list[str] = []
    with pytest.raises(InputError) as caught:
        Segmenter(bundle, config).run(
            CT.from_image(quick_image()), talk=Talk(lambda stage, *_: entered.append(stage))
        )
    assert caught.value.code == code
    assert set(entered) == {"read"}


def test_a_population_of_other_statistics_is_refused() -> None:
    bundle = tiny_bundle({"hybrid.weights": np.ones(1)}, population={"statistics": ["mean 8 mm"]})
    with pytest.raises(InputError, match="other statistics"):
        Segmenter(bundle, Config()).run(CT.from_image(quick_image()))


def test_a_head_of_other_statistics_is_refused() -> None:
    bundle = with_tiny_head(tiny_bundle())
    bundle.card["tissues"]["statistics"] = ["mean 8 mm"]
    with pytest.raises(InputError) as refused:
        check_fit(Config(mode="per-volume"), bundle)
    check_fit(Config(mode="per-volume", descriptor="statistics"), bundle)
    assert refused.value.code == "no-head"


def test_a_tissue_head_has_a_say_where_the_network_runs(result: Result) -> None:
    """Random heads, so only whether they count is asked."""
    plain, headed = tiny_bundle(), with_tiny_head(tiny_bundle())
    for descriptor, alike in (("statistics", True), ("diffusion", False)):
        config = Config(descriptor=descriptor, mode="per-volume", components=2, timesteps=(3,))
        prepared = prepare(result.ct, None, config)
        one, two = (decide(prepared, bundle, config).evidence for bundle in (plain, headed))
        assert np.array_equal(one, two) == alike


def test_judges_that_exclude_each_other_leave_it_open(result: Result) -> None:
    half = prepare(result.ct, None, Config()).parenchyma.half
    head = HiddenLayer(**with_tiny_head(tiny_bundle()).tissues)
    head.bias[:] = [0, 0, 0, 0, 200]
    sure = np.tile(np.array([1, 0, 0, 0, 0], np.float32), (len(half), 1))
    decoder = np.zeros((len(half), 32), np.float32)
    np.testing.assert_allclose(with_decoder(sure, half, decoder, head), 0.2)


def test_features_of_the_network_take_part(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole hybrid path, with an untrained network and a mixture of this volume alone."""
    config = Config(mode="per-volume", components=4, timesteps=(10,), overlap=0.0)
    fit, clustered = Mixture.fit, []

    def watched(cells: Cells, *args: Any, **options: Any) -> Mixture:
        clustered.append(cells)
        return fit(cells, *args, **options)

    monkeypatch.setattr(Mixture, "fit", watched)
    run = Segmenter(tiny_bundle(), config).run(result.ct)
    (cells,) = clustered
    assert cells.of_kind("diffusion").shape == (len(cells), 128)
    assert len(run.components) == 4
    assert run.provenance["model"]["name"] == "tiny 1"
    np.testing.assert_array_equal(run.labels > 0, run.lungs.mask)


def test_saving_stops_between_files(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of several threads, each may end the file that it is at
    calls: list[int] = []

    def after_two() -> bool:  # asked at the start, before every file and after it
        calls.append(1)
        return len(calls) > 5

    with pytest.raises(Cancelled):
        result.save(tmp_path, Talk(cancelled=after_two))
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_from_several_threads_begins_nothing_more_once_stopped(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    calls: list[int] = []

    def after_both_began() -> bool:
        calls.append(1)
        return len(calls) > 3

    with pytest.raises(Cancelled):
        result.save(tmp_path, Talk(cancelled=after_both_began))
    assert len(list(tmp_path.iterdir())) <= 2
