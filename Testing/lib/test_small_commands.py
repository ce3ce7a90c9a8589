"""``phantom`` and ``device``: what they write and say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tinymodel import tiny_bundle

from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.io.geometry import Geometry
from DiffSegLungLib.model.trial import try_device


def said(capfd: pytest.CaptureFixture[str]) -> dict:
    return dict(json.loads(capfd.readouterr().out.splitlines()[-1]))


@pytest.mark.usefixtures("small_phantom")
def test_the_phantom_is_written_with_its_truth_and_never_over_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "chest"
    assert main(["phantom", "-o", str(target), "--json-progress"]) == 0
    assert said(capfd) == {"result": str(target / "phantom.nii.gz")}
    ct = sitk.ReadImage(str(target / "phantom.nii.gz"))
    truth = sitk.ReadImage(str(target / "truth.seg.nrrd"))
    assert truth.GetSize() == ct.GetSize()
    assert truth.GetOrigin() == pytest.approx(ct.GetOrigin())
    assert set(np.unique(sitk.GetArrayViewFromImage(truth))) == set(range(8))
    assert {p.name for p in target.iterdir()} == {"phantom.nii.gz", "truth.seg.nrrd"}
    assert main(["phantom", "-o", str(target), "--json-progress"]) == 2
    assert said(capfd)["error"]["code"] == "output-exists"


@pytest.mark.usefixtures("small_phantom")
def test_a_raw_phantom_is_the_same_ct_uncompressed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw, packed = tmp_path / "raw", tmp_path / "packed"
    assert main(["phantom", "--raw", "-o", str(raw), "--json-progress"]) == 0
    assert said(capfd) == {"result": str(raw / "phantom.mhd")}
    assert main(["phantom", "-o", str(packed)]) == 0
    assert {p.name for p in raw.iterdir()} == {"phantom.mhd", "phantom.raw", "truth.seg.nrrd"}
    own, other = (sitk.ReadImage(str(p)) for p in (raw / "phantom.mhd", packed / "phantom.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(own), sitk.GetArrayFromImage(other))
    assert Geometry.of(own).same_grid(Geometry.of(other), 1e-4)
    assert (raw / "phantom.raw").stat().st_size == own.GetNumberOfPixels() * 2


def test_a_wrong_seed_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", "-o", str(tmp_path / "chest"), "--seed", "-1", "--json-progress"]) == 2
    assert said(capfd)["error"]["code"] == "bad-setting"
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_named_with_its_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "--device", "cpu", "--json-progress"]) == 0
    sentence = said(capfd)["result"]
    found = re.fullmatch(
        r"The CPU \(.+ threads\) runs (.+) in (bfloat16|float32): (\d+\.\d{3}) s a patch\.", sentence
    )
    assert found is not None
    assert found[1].startswith("diffseglung-ct")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a computer without CUDA")
def test_a_device_that_is_not_there_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "--device", "cuda", "--json-progress"]) == 2
    error = said(capfd)["error"]
    assert error["code"] == "no-device"
    assert "cpu" in error["hint"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_is_named() -> None:
    assert torch.cuda.get_device_name() in try_device(tiny_bundle(), "cuda")


def test_any_model_can_be_tried() -> None:
    assert "tiny 1" in try_device(tiny_bundle(), "cpu")
