"""The measures of fidelity against closed forms, and a whole report on two very small chests."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from modelfiles import change_card
from smallchest import chest, image, save
from tinymodel import tiny_bundle

from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.evaluation.fidelity.distances import (
    Patches,
    Reference,
    frechet_distance,
    similarity,
    tissue_ranges,
)
from DiffSegLungLib.evaluation.fidelity.run import FidelityRequest, measure
from DiffSegLungLib.io.ct import CT
from DiffSegLungLib.phantom import phantom
from DiffSegLungLib.running.session import Session


def some_patches(seed: int, mean: float = -850.0, sd: float = 60.0, count: int = 60) -> Patches:
    """Lung of smoothed noise, with the given mean and about the given spread, HU."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    hu = gaussian_filter(rng.standard_normal((count, 8, 32, 32)), (0, 0.5, 1, 1))
    hu = mean + rng.normal(0, 10, (count, 1, 1, 1)) + sd * hu / hu.std()
    lungs = np.ones(hu.shape, bool)
    lungs[:, :, :, :6] = False
    return Patches(hu.astype(np.float32), lungs)


def test_frechet_distance_is_that_of_two_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20_000, 3)) * [1.0, 2.0, 3.0]
    b = rng.standard_normal((20_000, 3)) * [2.0, 2.0, 1.0] + [1.0, 0.0, 2.0]
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    # |(1, 0, 2)|² + (2 - 1)² + 0 + (3 - 1)² for axis-aligned covariances.
    assert frechet_distance(a, b) == pytest.approx(5.0 + 1.0 + 4.0, rel=0.03)


def test_distances_grow_from_the_same_distribution_to_others() -> None:
    reference = Reference(some_patches(0))
    same = reference.distances(some_patches(1))
    denser = reference.distances(some_patches(1, mean=-700))
    assert denser.hu == pytest.approx(150, abs=10)
    assert same.hu < 15
    noise = some_patches(1)
    white = np.random.default_rng(2).normal(-850, 60, noise.hu.shape).astype(np.float32)
    rough = reference.distances(Patches(white, noise.lungs))
    for other in (denser, rough):
        assert other.radiomic > 3 * same.radiomic
        assert other.random > 3 * same.random


def test_distances_see_the_lungs_alone() -> None:
    reference, patches = Reference(some_patches(0)), some_patches(1)
    elsewhere = Patches(np.where(patches.lungs, patches.hu, np.float32(300)), patches.lungs)
    assert reference.distances(elsewhere) == reference.distances(patches)


def test_tissues_say_how_much_lies_within_the_real_range() -> None:
    real = some_patches(0)
    own, denser = (tissue_ranges(real, p)[0] for p in (some_patches(1), some_patches(1, mean=-500)))
    assert own.tissue == "parenchyma"
    assert own.within == pytest.approx(0.98, abs=0.02)
    assert denser.within < 0.1


def test_similarity_has_the_psnr_of_its_error() -> None:
    pytest.importorskip("monai")
    truth = some_patches(0).hu
    ssim, psnr = similarity(truth + 14, truth)
    assert psnr == pytest.approx(20 * np.log10(1400 / 14), abs=0.1)
    noisy = truth + np.random.default_rng(0).normal(0, 200, truth.shape).astype(np.float32)
    assert similarity(noisy, truth)[0] < ssim <= 1.0


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two patients, a tiny model, and small chests in place of the generated ones."""
    pytest.importorskip("monai")
    (tmp_path / "ct").mkdir()
    for seed, name in enumerate(("first", "second")):
        save(image(chest(seed=seed)), tmp_path / "ct" / f"{name}.nii.gz")
    tiny_bundle().save(tmp_path / "bundle")

    def small_phantom(seed: int, _size: str) -> SimpleNamespace:
        ct = CT.read(save(image(chest(seed=seed)), tmp_path / "phantom.nii.gz"))
        lungs = chest(seed=seed) < -500
        lungs[:, :12], lungs[:, -12:], lungs[:, :, :8], lungs[:, :, -8:] = False, False, False, False
        return SimpleNamespace(ct=ct, lungs=lungs)

    monkeypatch.setattr(phantom, "generate_phantom", small_phantom)
    return tmp_path


def test_a_report_holds_floor_samples_and_baselines(cohort: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["fidelity", str(cohort / "ct"), "--bundle", str(cohort / "bundle"), "-n", "4", "--steps", "2"]
    assert main([*command, "-o", str(cohort / "out"), "--json-progress", "--device", "cpu"]) == 0
    said = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert said == {"result": str(cohort / "out" / "fidelity.md")}
    assert {p.name for p in (cohort / "out").iterdir()} == {"fidelity.md", "fidelity.json", "samples.png"}
    found = json.loads((cohort / "out" / "fidelity.json").read_text())
    assert found["patients"] == [1, 1]
    assert found["trained_on"] == [0, 2]
    distances = found["distances"]
    assert list(distances)[:4] == [
        "real, other patients",
        "real, same patients",
        "drawn",
        "drawn from pure noise",
    ]
    assert distances["flat CT"]["radiomic"] > distances["real, other patients"]["radiomic"]
    text = (cohort / "out" / "fidelity.md").read_text()
    assert "Squared Fréchet distance over the 34 radiomic descriptors" in text
    assert "4 patches of each kind" in text


def test_a_model_of_no_use_is_refused_before_any_ct_is_prepared(
    cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change_card(cohort / "bundle", data={"training_fingerprints": None})
    command = ["fidelity", str(cohort / "ct"), "--bundle", str(cohort / "bundle"), "--json-progress"]
    assert main([*command, "-o", str(cohort / "out"), "--store", str(cohort / "store")]) == 2
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["error"]["code"] == "bundle-broken"
    assert not (cohort / "store").exists()


@pytest.mark.parametrize("store", [None, "store"])
def test_only_a_store_that_was_named_is_said_to_be_kept(store: str | None, cohort: Path) -> None:
    hints: list[str] = []

    def nobody_listens(*_: object) -> None:
        raise OSError

    display = SimpleNamespace(
        progress=nobody_listens, note=print, error=lambda error: hints.append(error.hint)
    )
    session, kept = Session(display), cohort / store if store else None
    session.grace_s = 60
    request = FidelityRequest((cohort / "ct",), cohort / "out", store=kept, bundle=str(cohort / "bundle"))
    assert session.run(lambda own: measure(request, own)) == 3
    (hint,) = hints
    assert hint.endswith(f"are kept in {kept}.") if kept else hint == "No output was written."


@pytest.mark.parametrize(
    ("wrong", "code"),
    [(["-n", "1"], "bad-setting"), (["--start", "0"], "bad-setting"), ([], "too-few-patients")],
)
def test_what_cannot_be_compared_is_refused(
    wrong: list[str], code: str, cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["fidelity", str(cohort / "ct" / "first.nii.gz"), "--bundle", str(cohort / "bundle")]
    assert main([*command, "-o", str(cohort / "out"), "--json-progress", *wrong]) == 2
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["error"]["code"] == code
    assert not (cohort / "out").exists()
    assert not list(cohort.glob(".diffseglung-partial*"))
