"""Fine-tuning: it begins as the parent, keeps what held-out patients find best, and makes no worse model."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from modelfiles import change_card, make, refused
from smallchest import chest, image, save
from test_training import TINY, volume
from tinymodel import tiny_bundle

from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.errors import Cancelled
from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.library import Library, load_model
from DiffSegLungLib.talk import Talk
from DiffSegLungLib.training import finetune, population, teaching
from DiffSegLungLib.training import trainer as trainer_module
from DiffSegLungLib.training.dataset import PatchDataset, PatchSettings, split_by_patient
from DiffSegLungLib.training.early_stop import EarlyStop, score
from DiffSegLungLib.training.population import components_for
from DiffSegLungLib.training.run_folder import RunFolder
from DiffSegLungLib.training.settings import TrainingSettings
from DiffSegLungLib.training.store import PreparedVolume
from DiffSegLungLib.training.trainer import Trainer

TUNED = replace(
    TINY, attention_heads=1, stage_two=0, full_weight=0, validate_every=10, learning_rate=5e-3, ema=0.5
)
QUICK = ["--steps", "10", "--validate-every", "10", "--batch", "2", "--workers", "0", "--precision", "fp32"]
LIVELY = [*QUICK, "--learning-rate", "5e-3"]


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Averages follow at once, teaching is short, the log has a line every 10 steps, lesions are few."""
    patch.setitem(finetune.DEFAULTS, "ema", 0.5)
    patch.setattr(teaching, "_STEPS", 40)
    patch.setattr(trainer_module, "LOG_EVERY", 10)
    patch.setattr(trainer_module, "TEACHING_PATCHES", 24)
    patch.setattr(trainer_module, "_VALIDATION_PATCHES", 12)
    patch.setattr(population, "POPULATION_LESIONS", 2)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def blind_bundle(**card: object) -> Bundle:
    """A model whose embeddings are all the same: it finds nothing, and predicts no noise."""
    bundle = tiny_bundle(**card)
    torch.nn.init.zeros_(bundle.head.project.weight)
    return bundle


@pytest.fixture
def volumes(tmp_path: Path) -> list[PreparedVolume]:
    return [volume(tmp_path / f"v{i}", f"v{i}", f"p{i}", i) for i in range(3)]


def tuner(volumes: list[PreparedVolume], run: Path, settings: TrainingSettings = TUNED) -> Trainer:
    train, held_out = split_by_patient(volumes, 0.3, 0)
    patches = PatchSettings(settings.patch, 0.3)
    parent = blind_bundle()
    parent.descriptor_mean += 0.5
    validation = PatchDataset(held_out, replace(patches, seed=1)) if held_out else None
    device = torch.device("cpu")
    return Trainer(settings, PatchDataset(train, patches), validation, RunFolder(run), device, parent=parent)


# The score


def validation(noise: float, top5: float, blocks: int = 100) -> dict[str, float]:
    return {"validation_noise": noise, "retrieval_top5": top5, "retrieval_chance": 1 / blocks}


def test_the_score_is_the_geometric_mean_of_both_gains() -> None:
    before = validation(0.2, 0.39)
    assert score(before, before) == 1.0
    assert score(validation(0.1, 0.39), before) == pytest.approx(math.sqrt(2))
    assert score(validation(0.2, 0.79), before) == pytest.approx(math.sqrt(2))
    assert score(validation(0.4, 0.79), before) == pytest.approx(1.0)
    assert score(validation(0.2, 0.03), validation(0.2, 0.0)) == pytest.approx(2.0)


def test_the_best_weights_are_kept_and_patience_counts_what_is_no_better() -> None:
    best = EarlyStop()
    now = torch.zeros(1)
    seen = [(0, 0.2), (20, 0.18), (40, 0.19), (60, 0.1801), (80, 0.17), (100, 0.1699), (120, math.nan)]
    stale = []
    for step, noise in seen:
        now.fill_(step)
        best.observe(step, validation(noise, 0.4), lambda: {"w": now})
        stale.append(best.stale)
    assert stale == [0, 0, 1, 2, 0, 1, 2]
    assert (best.best_step, float(best.weights["w"])) == (80, 80.0)
    assert best.before == validation(0.2, 0.4)
    assert best.after == validation(0.17, 0.4)
    best.observe(130, validation(0.5, 0.4), lambda: {"w": now}, extra=True)
    assert best.over(2) and not best.over(3) and not best.over(0)
    again = EarlyStop()
    again.restore(best.state())
    assert vars(again) == vars(best)


# The training


def test_it_begins_as_the_parent_with_its_teaching(volumes: list[PreparedVolume], tmp_path: Path) -> None:
    run = tuner(volumes, tmp_path / "run")
    with pytest.raises(Cancelled):
        run.fit(talk=Talk(cancelled=lambda: True))
    first = run.run_folder.entries()[0]
    assert first["step"] == 0
    assert first["lambda"] == 0.3
    begun = tuner(volumes, tmp_path / "run")
    assert begun.parent is not None
    begun.learner.begin_from(begun.parent)
    wanted = begun.parent.network.state_dict()
    for student in (begun.student, begun.learner.average.module):
        assert all(torch.equal(v, wanted[k]) for k, v in student.network.state_dict().items())
    assert torch.equal(begun.learner.descriptor_mean, torch.full((34,), 0.5))
    # After one step the averaged weights are half the parent's and half the student's.
    moved, student = (m.network.state_dict() for m in (run.learner.average.module, run.student))
    assert any(not torch.equal(value, wanted[name]) for name, value in moved.items())
    for name, value in moved.items():
        torch.testing.assert_close(value, 0.5 * (wanted[name] + student[name]))


def test_a_teacher_is_fitted_to_what_the_student_knows(
    volumes: list[PreparedVolume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped model knows something, so a teacher fitted to it finds its way among blocks never seen."""
    monkeypatch.undo()
    run = tuner(volumes, tmp_path / "run", replace(TUNED, base=32, attention_heads=4, timesteps=250))
    run.learner.begin_from(load_model("built-in"))
    before = run.validate()
    student = copy.deepcopy(run.student.state_dict())
    run.learner.teacher.load_state_dict(run._teacher())
    after = run.validate()
    assert after["retrieval_top1"] > 2 * before["retrieval_top1"]
    assert after["retrieval_top1"] > 10 * after["retrieval_chance"]
    assert after["retrieval_top5"] > before["retrieval_top5"] + 0.15
    assert after["validation_noise"] == before["validation_noise"]
    assert all(torch.equal(value, student[name]) for name, value in run.student.state_dict().items())


def test_an_interrupted_fine_tuning_ends_like_the_unbroken_one(
    volumes: list[PreparedVolume], tmp_path: Path
) -> None:
    settings = replace(TUNED, steps=20)
    unbroken = tuner(volumes, tmp_path / "unbroken", settings)
    unbroken.fit()
    for stop_at in (0, 13):
        asked = iter([False] * stop_at + [True])
        with pytest.raises(Cancelled):
            broken = tuner(volumes, tmp_path / "broken", settings)
            broken.fit(talk=Talk(cancelled=lambda asked=asked: next(asked, True)))
    resumed = tuner(volumes, tmp_path / "broken", settings)
    resumed.fit()
    curves = [
        [{k: v for k, v in e.items() if k != "seconds"} for e in t.run_folder.entries()]
        for t in (unbroken, resumed)
    ]
    assert [e["step"] for e in curves[0]] == [0, 10, 20]
    assert curves[0] == curves[1]
    assert unbroken.best.best_step > 0
    assert unbroken.best.best_step == resumed.best.best_step
    one, other = (t.bundle({}).network.state_dict() for t in (unbroken, resumed))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert all(torch.equal(value, unbroken.best.weights[f"network.{name}"]) for name, value in one.items()), (
        "the bundle holds the best weights"
    )


def test_patience_ends_a_training_that_gets_no_better_and_is_remembered(
    volumes: list[PreparedVolume], tmp_path: Path
) -> None:
    settings = replace(TUNED, learning_rate=1e-9, steps=400, patience=2)
    for _ in range(2):
        run = tuner(volumes, tmp_path / "run", settings)
        run.fit()
        assert (run.ended_by, run.step, run.best.best_step) == ("patience", 20, 0)
    longer = tuner(volumes, tmp_path / "run", replace(settings, patience=3))
    longer.fit()
    assert (longer.ended_by, longer.step) == ("patience", 30)


def test_time_that_is_over_is_not_lost(volumes: list[PreparedVolume], tmp_path: Path) -> None:
    run = tuner(volumes, tmp_path / "run", replace(TUNED, steps=400))
    run.fit(minutes=1e-6)
    assert run.ended_by == "minutes"
    assert [e["step"] for e in run.run_folder.entries()] == [0, 1]
    assert run.run_folder.entries()[-1]["validation_noise"] > 0
    assert run.best.stale == 0


def test_one_patient_alone_is_trained_on_and_not_judged(
    volumes: list[PreparedVolume], tmp_path: Path
) -> None:
    alone = [replace(v, patient="p") for v in volumes]
    run = tuner(alone, tmp_path / "run", replace(TUNED, steps=10, patience=1))
    run.fit()
    assert (run.ended_by, run.best.before, run.best.weights) == ("steps", {}, {})


def test_a_patient_is_always_left_to_learn_from(volumes: list[PreparedVolume]) -> None:
    for share in (0.01, 0.5, 0.99):
        train, held_out = split_by_patient(volumes, share, 0)
        assert train and held_out


def test_few_cells_get_few_components() -> None:
    assert [components_for(n) for n in (100, 3000, 19_200, 60_000)] == [2, 5, 32, 32]


# Settings


def test_the_parent_decides_the_form_and_the_user_the_rest(tmp_path: Path) -> None:
    shipped, _ = finetune.choose_parent("built-in")
    settings = finetune.settings_for(shipped, {"steps": 77, "base": 32})
    assert (settings.base, settings.patch, settings.block) == (32, (16, 64, 64), (2, 2, 2))
    assert (settings.steps, settings.learning_rate, settings.patience) == (77, 1e-4, 5)
    assert settings.contrast_weight_at(0) == 0.3
    for wish in ({"base": 64}, {"patch": (32, 96, 96)}, {"dense": False}):
        error = refused(lambda wish=wish: finetune.settings_for(shipped, wish))
        assert error.code == "parent-differs"
    odd = make(tmp_path / "odd")
    whole = json.loads((odd / "card.json").read_text())
    for block in (7, [3, 3, 3], [0, 2, 2], [8, 8, 8]):
        change_card(odd, training={"settings": {"block": block}})
        assert refused(lambda: finetune.choose_parent(str(odd))).code == "bundle-broken"
    change_card(odd, training={"settings": {"temperature": "warm"}})
    parent, _ = finetune.choose_parent(str(odd))
    assert refused(lambda: finetune.settings_for(parent, {})).code == "bundle-broken"
    for form in ({"base": math.inf, "attention_heads": 1, "timesteps": 250}, [], {"base": 8}):
        change_card(odd, **whole | {"architecture": form})
        parent, _ = finetune.choose_parent(str(odd))
        assert refused(lambda parent=parent: finetune.settings_for(parent, {})).code == "bundle-broken"


# The command


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three small CT, one broken one, a patients.csv; and a run that has prepared them."""
    place = tmp_path_factory.mktemp("cohort")
    (place / "ct").mkdir()
    for i in range(3):
        save(image(chest(seed=i), spacing=(3.0, 3.0, 3.0)), place / "ct" / f"Miller{i}.nii.gz")
    (place / "ct" / "broken.nii.gz").write_bytes(b"no CT")
    assert main(["train", str(place / "ct"), "--out", str(place / "run"), "--check", "--quiet"]) == 0
    return place


@pytest.fixture
def run(cohort: Path, tmp_path: Path) -> Path:
    """A folder for a run in which the CT are prepared already."""
    shutil.copytree(cohort / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def parent(library: Library, tmp_path: Path) -> str:
    """A small installed model."""
    blind_bundle(id="own", version="1", patch=[8, 32, 32]).save(tmp_path / "small")
    library.install(tmp_path / "small")
    return "own"


@dataclass(frozen=True)
class Finished:
    """A fine-tuning that has ended: its run, the models there are then, and what it said."""

    run: Path
    models: Path
    said: str


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = tmp_path_factory.mktemp("finished")
    blind_bundle(id="own", version="1", patch=[8, 32, 32]).save(place / "small")
    shutil.copytree(cohort / "run", place / "run")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        hurry(patch)
        patch.setenv("DIFFSEGLUNG_MODELS", str(place / "models"))
        Library().install(place / "small")
        command = ["train", str(cohort / "ct"), "--out", str(place / "run"), "--from", "own", *LIVELY]
        assert main(command) == 0
    return Finished(place / "run", place / "models", said.getvalue())


@pytest.fixture
def tuned(finished: Finished, library: Library, tmp_path: Path) -> Path:
    """The run of a fine-tuning that has ended, and a library with its parent and the new model."""
    shutil.copytree(finished.models, library.folder)
    return shutil.copytree(finished.run, tmp_path / "tuned")


def told(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "result.json").read_text()))


def test_check_says_which_ct_are_usable_by_name_alone(cohort: Path) -> None:
    lines = json.loads((cohort / "run" / "cohort.json").read_text())
    assert [line["file"] for line in lines] == [
        "Miller0.nii.gz",
        "Miller1.nii.gz",
        "Miller2.nii.gz",
        "broken.nii.gz",
    ]
    assert [line["usable"] for line in lines] == [True, True, True, False]
    assert lines[3]["reason"].endswith(".") and lines[3]["lung_ml"] is None
    assert 300 < lines[0]["lung_ml"] < 350
    assert len({line["patient"] for line in lines}) == 4
    assert str(cohort) not in json.dumps(lines)
    assert sorted(p.name for p in (cohort / "run").iterdir()) == ["cohort.json", "owner.json", "store"]


def test_a_tuned_model_is_installed_with_its_story_and_no_names(
    cohort: Path, finished: Finished, tuned: Path, library: Library
) -> None:
    assert "3 CT are few" in finished.said
    assert "Only 3 of the 4 CT found can be trained on (broken.nii.gz" in finished.said
    result = told(tuned)
    assert result["model"] == "own-tuned 1"
    assert (result["parent"], result["steps"], result["stopped"]) == ("own 1", 10, "steps")
    assert result["best_step"] == 10
    assert score(result["after"], result["before"]) > 1.01  # type: ignore[arg-type]
    card = load_model("own-tuned").card
    grandparent = library.read("own 1").card
    assert card["parent"] == {"id": "own", "version": "1", "sha256": grandparent["sha256"]}
    assert card["training"]["curve"][0]["step"] == 0
    assert len(card["data"]["training_fingerprints"]) == 2 and len(card["data"]["held_out_fingerprints"]) == 1
    assert "Miller" not in json.dumps(card) and str(cohort) not in json.dumps(card)
    assert load_model("own-tuned").mixture.keys() >= {"hybrid.means", "diffusion.means", "statistics.means"}

    # The same again is no second model, other weights are; --resume needs nothing else, not even the CT.
    shutil.move(cohort / "ct", cohort / "gone")
    try:
        assert main(["train", "--resume", str(tuned), "--minutes", "5"]) == 0
        assert told(tuned) == result
        assert RunFolder(tuned).request()["minutes"] is None, "what is asked of one call is not remembered"
        assert [m.name for m in library.models()[1:]] == ["own 1", "own-tuned 1"]
    finally:
        shutil.move(cohort / "gone", cohort / "ct")
    other = tuned.parent / "other"
    blind_bundle(id="own-tuned", version="1").save(other)
    assert finetune.register(other).name == "own-tuned 2"


def test_nothing_better_than_the_parent_makes_no_model(
    cohort: Path, run: Path, parent: str, library: Library, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(cohort / "ct"), "--out", str(run), "--from", parent, *QUICK]
    assert main([*command, "--learning-rate", "1e-9", "--patience", "1"]) == 0
    assert "No model was made" in capfd.readouterr().out
    result = told(run)
    assert (result["model"], result["best_step"], result["stopped"]) == ("own 1", 0, "patience")
    assert result["before"] == result["after"]
    assert [m.name for m in library.models()[1:]] == ["own 1"]
    assert not (run / "bundle").exists()


def test_a_run_killed_after_its_model_was_installed_does_not_install_it_twice(
    tuned: Path, library: Library
) -> None:
    (tuned / "result.json").unlink()
    assert main(["train", "--resume", str(tuned)]) == 0
    assert [m.name for m in library.models()[1:]] == ["own 1", "own-tuned 1"]
    library.delete("own-tuned")
    assert finetune.register(tuned / "bundle").name == "own-tuned 1"


def refusal(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, str]:
    """Run ``train`` with what must be refused; its error."""
    capfd.readouterr()
    assert main(["train", *map(str, arguments), "--json-progress"]) == 2
    error = json.loads(capfd.readouterr().out.splitlines()[-1])["error"]
    assert error["message"].endswith(".")
    assert "\n" not in error["message"] + error["hint"]
    return dict(error)


def test_what_cannot_be_fine_tuned_is_refused_in_one_sentence(
    cohort: Path, run: Path, parent: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ct, out = cohort / "ct", ["--out", tmp_path / "new"]
    for arguments, code in (
        ([ct, *out, "--from", "nothing"], "no-bundle"),
        ([ct, *out, "--from", parent, "--size", "large"], "parent-differs"),
        ([ct, *out, "--from", parent, "--name", "a/b"], "bundle-name"),
        ([ct, *out, "--from", parent, "--name", "diffseglung-ct"], "model-exists"),
        ([ct, *out, "--name", "../x"], "bundle-name"),
        ([ct, *out, "--patience", "3"], "bad-arguments"),
        ([ct, *out, "--from", parent, "--minutes", "0"], "bad-setting"),
        ([ct, "--from", parent], "bad-arguments"),
        (["--resume", tmp_path / "nowhere"], "no-run"),
        (["--resume", tmp_path], "no-run"),
        (["--resume", tmp_path, ct], "bad-arguments"),
        (["--resume", tmp_path, "--from", parent], "bad-arguments"),
        (["--resume", tmp_path, "--learning-rate", "1"], "bad-arguments"),
    ):
        assert refusal(capfd, *arguments)["code"] == code, arguments
        assert not (tmp_path / "new").exists()

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "slice.png").write_bytes(b"\x89PNG")
    assert "no CT in pictures" in refusal(capfd, pictures, *out, "--from", parent)["message"]
    few = [ct / "Miller0.nii.gz", ct / "Miller1.nii.gz", ct / "broken.nii.gz"]
    error = refusal(capfd, *few, "--out", run, "--from", parent)
    assert error["code"] == "too-few-volumes"
    assert error["message"].startswith("Only 2 of the 3 CT found can be trained on (broken.nii.gz")


def test_a_parent_that_is_of_no_use_is_refused_before_any_ct_is_prepared(
    cohort: Path, library: Library, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parent = make(tmp_path / "parent", shift=math.nan)
    error = refusal(capfd, cohort / "ct", "--out", tmp_path / "new", "--from", parent)
    assert "not numbers" in error["message"]
    assert not list(tmp_path.glob("new/store/*"))


def test_a_run_is_not_mixed_with_another(
    cohort: Path, tuned: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, other = tuned, [cohort / "ct" / f"Miller{i}.nii.gz" for i in range(3)]
    assert "other CT" in refusal(capfd, *other, "--out", run, "--from", "own", *LIVELY)["message"]
    assert refusal(capfd, cohort / "ct", "--out", run, "--check")["code"] == "run-begun"
    unlike = ["--patch", "8", "32", "32", "--size", "small"]
    assert "another parent" in refusal(capfd, cohort / "ct", "--out", run, *unlike)["message"]
    assert told(run)["model"] == "own-tuned 1"
