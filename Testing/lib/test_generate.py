"""Samples of whole lungs: deterministic, on the mask's grid, in HU, without seams or debris."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from grids import rotation
from smallchest import chest, image, save
from tinymodel import tiny_bundle

from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.errors import Cancelled
from DiffSegLungLib.generation import sampling
from DiffSegLungLib.generation.sampling import (
    LUNG_HU,
    Sampling,
    flat_ct,
    reconstruct_patches,
    sample_lungs,
    sample_patches,
)
from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.library import load_model
from DiffSegLungLib.talk import Talk

QUICK = Sampling(steps=3)


def lively_bundle() -> Bundle:
    """A tiny model whose prediction is not the zero with which training begins."""
    bundle = tiny_bundle()
    torch.manual_seed(1)
    torch.nn.init.normal_(bundle.network.out.weight, std=0.05)
    bundle.card["sha256"] = ""
    return bundle


def ellipsoid(shape: tuple[int, int, int]) -> np.ndarray:
    """A lung that leaves a margin of one cell."""
    axes = [np.linspace(-1.15, 1.15, n) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.asarray(z**2 + y**2 + x**2 < 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lively_bundle().save(tmp_path / "bundle")
    return tmp_path


def lung_mask(path: Path, **grid: Any) -> Path:
    """The lungs of the small chest, 64 × 64 × 24 voxels of 3 mm."""
    return save(scaled((chest() < -500).astype(np.uint8) * inner_lungs(), **grid), path)


def scaled(values: np.ndarray, **grid: Any) -> sitk.Image:
    """A volume of 3 mm voxels, few enough for a network."""
    return image(values, spacing=(3.0, 3.0, 3.0), **grid)


def inner_lungs() -> np.ndarray:
    """1 inside the body of the small chest, where air is lung."""
    _, y, x = np.mgrid[:24, :64, :64]
    return ((x - 32) ** 2 / 28**2 + (y - 32) ** 2 / 22**2 < 1).astype(np.uint8)


def test_patches_are_in_hu_and_depend_on_their_seed_and_number_alone() -> None:
    bundle, lungs = lively_bundle(), np.stack([ellipsoid((16, 64, 64))] * 3)
    drawn = sample_patches(bundle, lungs, QUICK)
    assert drawn.shape == lungs.shape
    assert drawn.min() >= -1000
    assert drawn.max() <= 400
    np.testing.assert_array_equal(sample_patches(bundle, lungs, QUICK), drawn)
    alone = sample_patches(bundle, lungs[:1], QUICK)
    np.testing.assert_allclose(alone[0], drawn[0], atol=15)  # bfloat16 sums a batch in another order
    assert np.abs(drawn[0] - drawn[1]).mean() > 20
    other = sample_patches(bundle, lungs, Sampling(steps=3, seed=1))
    assert np.abs(drawn[0] - other[0]).mean() > 20


def test_lungs_of_the_shipped_model_keep_the_density_they_begin_with() -> None:
    lungs = np.stack([ellipsoid((16, 64, 64))] * 4)
    begun = flat_ct(lungs, seed=3)
    drawn = sample_patches(load_model("default"), lungs, Sampling(steps=12, seed=3))
    starts, ends = (np.array([hu[i][lungs[i]].mean() for i in range(4)]) for hu in (begun, drawn))
    assert LUNG_HU - 90 <= starts.min() < starts.max() - 30 <= LUNG_HU + 60
    np.testing.assert_allclose(ends, starts, atol=100)
    assert abs((ends - starts).mean()) < 40
    assert all(np.median(hu[inside]) < mean - 20 for hu, inside, mean in zip(drawn, lungs, ends, strict=True))


def test_a_sample_begins_the_same_whoever_is_drawn_beside_it() -> None:
    lungs = np.stack([ellipsoid((16, 64, 64))] * 3)
    np.testing.assert_array_equal(flat_ct(lungs, 7)[2], flat_ct(lungs[:1], 7, 2)[0])


def test_a_little_noise_is_taken_back_to_nearly_the_same_ct() -> None:
    bundle, lungs = tiny_bundle(), np.ones((1, 16, 64, 64), bool)
    hu = np.random.default_rng(0).normal(-850, 60, lungs.shape).astype(np.float32).clip(-1000, 400)
    little, much = (reconstruct_patches(bundle, hu, lungs, t, QUICK) for t in (2, 100))
    assert np.abs(little - hu).mean() < 80
    assert np.abs(much - hu).mean() > 2 * np.abs(little - hu).mean()


def test_whole_lungs_have_no_seams_where_tiles_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that disagree by a constant, the worst case, pass into each other over the voxels they share."""
    monkeypatch.setattr(sampling, "noise_field", lambda shape, *_: np.zeros(shape, np.float32))
    bundle, lungs = lively_bundle(), np.ones((16, 64, 160), bool)  # tiles at 0, 48 and 96 along x

    def biased(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        signs = 1.0 - 2.0 * (torch.arange(len(x)) % 2)
        return 0.02 * signs.reshape(-1, 1, 1, 1, 1).expand(-1, 1, *x.shape[2:]), x

    bundle.network.forward = biased  # type: ignore[assignment,method-assign]
    levels = sample_lungs(bundle, lungs, QUICK).mean(axis=(0, 1))
    apart = abs(levels[75] - levels[20])
    assert apart > 50
    assert np.abs(np.diff(levels)).max() < 0.15 * apart


def test_whole_lungs_keep_a_given_ct_around_them() -> None:
    bundle, lungs = lively_bundle(), ellipsoid((24, 96, 96))
    around = np.full(lungs.shape, 60, np.float32)
    around[:, :20] = -990
    drawn = sample_lungs(bundle, lungs, QUICK, around=around)
    np.testing.assert_allclose(drawn[~lungs], around[~lungs], atol=1)
    assert drawn[lungs].std() > 20
    np.testing.assert_array_equal(drawn, sample_lungs(bundle, lungs, QUICK, around=around))


def test_sampling_stops_when_asked() -> None:
    asked = iter([False, True, True])
    with pytest.raises(Cancelled):
        sample_lungs(
            lively_bundle(),
            ellipsoid((24, 96, 96)),
            Sampling(steps=3, talk=Talk(cancelled=lambda: next(asked))),
        )
    with pytest.raises(Cancelled):
        sample_patches(
            lively_bundle(), np.ones((1, 16, 64, 64), bool), Sampling(talk=Talk(cancelled=lambda: True))
        )


def test_sigterm_leaves_nothing(folder: Path) -> None:
    mask = lung_mask(folder / "lungs.nii.gz")
    before = sorted(folder.iterdir())
    command = [sys.executable, "-m", "DiffSegLungLib", "generate", "--lungs", str(mask), "-n", "99"]
    command += ["--bundle", str(folder / "bundle"), "-o", str(folder / "deep" / "out"), "--json-progress"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("stage") == "sample":
                break
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(timeout=10) == 3
    assert sorted(folder.iterdir()) == before


def test_a_full_disk_is_said_so(folder: Path, tiny_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tiny_disk / "other").write_bytes(bytes(56 << 10))
    mask, out = lung_mask(folder / "lungs.nii.gz"), tiny_disk / "samples"
    command = ["generate", "--lungs", str(mask), "--steps", "1", "--bundle", str(folder / "bundle")]
    assert main([*command, "-o", str(out), "--json-progress"]) == 2
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["error"]["code"] == "not-written"
    assert [path.name for path in tiny_disk.iterdir()] == ["other"]


def test_samples_lie_on_the_grid_of_an_oblique_mask(folder: Path) -> None:
    mask = lung_mask(folder / "lungs.nii.gz", direction=rotation(20, 15), origin=(11.0, -7.0, 3.0))
    command = ["generate", "--lungs", str(mask), "--steps", "2", "--seed", "3"]
    command += ["--bundle", str(folder / "bundle"), "--device", "cpu", "-q"]
    assert main([*command, "-n", "2", "-o", str(folder / "a")]) == 0
    assert main([*command, "-n", "1", "-o", str(folder / "b")]) == 0
    given = sitk.ReadImage(str(mask))
    inside = sitk.GetArrayFromImage(given) > 0
    first, second = (sitk.ReadImage(str(folder / "a" / f"sample-00{i}.nii.gz")) for i in (1, 2))
    assert first.GetSize() == given.GetSize()
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(first, what)() == pytest.approx(getattr(given, what)(), abs=1e-4)
    hu, other = sitk.GetArrayFromImage(first), sitk.GetArrayFromImage(second)
    assert hu.dtype == np.int16
    assert np.all(hu[~inside] == -1024)
    assert hu[inside].min() >= -1000
    assert hu[inside].max() <= 400
    assert np.any(hu != other)
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "b" / "sample-001.nii.gz")))
    np.testing.assert_array_equal(again, hu)
    card = json.loads((folder / "a" / "samples.json").read_text())
    assert card["seed"] == 3
    assert card["steps"] == 2
    assert card["bundle"] == "tiny 1"
    assert len(card["bundle_sha256"]) == 64
    assert card["samples"] == ["sample-001.nii.gz", "sample-002.nii.gz"]
    assert main([*command, "-n", "1", "--raw", "-o", str(folder / "c")]) == 0
    raw = sitk.ReadImage(str(folder / "c" / "sample-001.mhd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(raw), hu)
    assert json.loads((folder / "c" / "samples.json").read_text())["samples"] == ["sample-001.mhd"]


def test_a_sample_fills_the_lungs_of_a_given_ct(folder: Path) -> None:
    mask, ct = lung_mask(folder / "lungs.nii.gz"), save(scaled(chest()), folder / "ct.nii.gz")
    command = [
        "generate",
        "--lungs",
        str(mask),
        "--ct",
        str(ct),
        "--steps",
        "2",
        "-q",
        "-o",
        str(folder / "a"),
    ]
    assert main([*command, "--bundle", str(folder / "bundle")]) == 0
    inside = sitk.GetArrayFromImage(sitk.ReadImage(str(mask))) > 0
    hu = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "a" / "sample-001.nii.gz")))
    np.testing.assert_array_equal(hu[~inside], chest()[~inside])
    assert np.any(hu[inside] != chest()[inside])


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (["-n", "0"], "bad-setting"),
        (["--steps", "0"], "bad-setting"),
        (["--start", "1.5"], "bad-setting"),
        (["--lungs", "absent.nii.gz"], "no-such-file"),
        (["--lungs", "ct.nii.gz"], "not-a-mask"),
        (["--lungs", "empty.nii.gz"], "empty-mask"),
        (["--lungs", "tiny.nii.gz"], "not-lungs"),
        (["--ct", "shifted.nii.gz"], "mask-elsewhere"),
        (["--bundle", "absent"], "no-bundle"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(
    wrong: list[str],
    code: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    lung_mask(folder / "lungs.nii.gz")
    save(scaled(chest()), folder / "ct.nii.gz")
    save(scaled(chest(), origin=(0, 0, 0)), folder / "shifted.nii.gz")
    empty = np.zeros((24, 64, 64), np.uint8)
    save(scaled(empty), folder / "empty.nii.gz")
    empty[10:12, 30:33, 30:33] = 1
    save(scaled(empty), folder / "tiny.nii.gz")
    before = sorted(p.name for p in folder.iterdir())
    command = [
        "generate",
        "--lungs",
        "lungs.nii.gz",
        "-o",
        "deep/out",
        "--json-progress",
        "--bundle",
        "bundle",
    ]
    assert main([*command, *wrong]) == 2
    error = json.loads(capfd.readouterr().out.splitlines()[-1])["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")
    assert sorted(p.name for p in folder.iterdir()) == before
