"""Estimates agree with what was measured, follow what they depend on, and learn."""

import sys

import psutil
import pytest
from DiffSegLungPanel.steps import estimate as module
from DiffSegLungPanel.steps.estimate import Estimate, estimate, updatedScale

MEASURED = [  # docs/measurements.md: million voxels, preset, seconds, GB on two cores
    (34.9, "balanced", 19, 1.59),
    (34.9, "fast", 16, 1.57),
    (34.9, "best", 22, 1.59),
    (18.1, "balanced", 19, 1.40),
    (37.1, "balanced", 19, 1.54),
    (2.3, "balanced", 11, 1.14),
    (5.1, "balanced", 10, 0.95),
    (104.9, "balanced", 27, 2.78),
]


@pytest.mark.parametrize(("megavoxels", "preset", "seconds", "gigabytes"), MEASURED)
def test_it_agrees_with_the_published_measurements(megavoxels, preset, seconds, gigabytes):
    found = estimate(round(megavoxels * 1e6), preset, "cpu", cores=2)
    assert found.seconds == pytest.approx(seconds, rel=0.25)
    assert found.gigabytes == pytest.approx(gigabytes, rel=0.15)


def test_it_follows_size_preset_cores_and_device():
    def seconds(voxels=35_000_000, preset="balanced", device="cpu", cores=2):
        return estimate(voxels, preset, device, cores=cores).seconds

    assert seconds(preset="fast") < seconds() < seconds(preset="best")
    assert seconds(voxels=10_000_000) < seconds() < seconds(voxels=100_000_000)
    assert seconds(cores=16) < seconds(cores=4) < seconds() < seconds(cores=1)
    assert seconds(device="cuda") < seconds()
    on_gpu = estimate(35_000_000, "balanced", "cuda").gigabytes
    assert on_gpu > estimate(35_000_000, "balanced", "cpu").gigabytes


def test_auto_is_what_the_computer_seems_to_have(monkeypatch):
    monkeypatch.setattr(module, "_likelyDevice", lambda: "cuda")
    assert estimate(10, "best", "auto") == estimate(10, "best", "cuda")
    monkeypatch.setattr(module, "_likelyDevice", lambda: "cpu")
    assert estimate(10, "best", "auto").seconds == estimate(10, "best", "cpu").seconds


@pytest.mark.parametrize(
    ("platform", "machine", "device"),
    [("darwin", "arm64", "mps"), ("darwin", "x86_64", "cpu"), ("win32", "AMD64", "cpu")],
)
def test_the_likely_device_of_a_system(platform, machine, device, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(module.platform, "machine", lambda: machine)
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    assert module._likelyDevice() == device


def test_a_windows_driver_is_seen(monkeypatch, tmp_path):
    (tmp_path / "System32").mkdir()
    (tmp_path / "System32" / "nvcuda.dll").touch()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    assert module._likelyDevice() == "cuda"


def test_estimates_meet_measurements_after_a_few_runs():
    scale = 1.0
    for _run in range(8):
        guess = estimate(35_000_000, "balanced", "cpu", cores=2, scale=scale).seconds
        scale = updatedScale(scale, guess, 100.0)
    assert estimate(35_000_000, "balanced", "cpu", cores=2, scale=scale).seconds == pytest.approx(
        100, rel=0.02
    )


def test_one_run_moves_the_scale_half_way_and_no_further_than_sense_allows():
    assert updatedScale(1.0, 10.0, 40.0) == pytest.approx(2.0)
    assert updatedScale(2.0, 10.0, 10.0) == pytest.approx(2.0)
    assert updatedScale(1.0, 10.0, 1e9) == pytest.approx(10**0.5)
    assert updatedScale(50.0, 10.0, 40.0) == 50.0


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_make_no_sense_change_nothing(wrong):
    assert updatedScale(1.5, wrong, 10.0) == 1.5
    assert updatedScale(1.5, 10.0, wrong) == 1.5
    assert updatedScale(wrong, 10.0, 10.0) == 1.0


def test_too_little_memory_is_warned_of_with_both_numbers():
    text = Estimate(30.0, 2.5, 1.25).warning
    assert "2.5 GB" in text
    assert "1.2 GB" in text
    assert Estimate(30.0, 2.5, 8.0).warning == ""
    assert Estimate(30.0, 2.5, None).warning == ""


def test_free_memory_is_asked_where_psutil_is_there(monkeypatch):
    assert estimate(10, "fast", "cpu").availableGigabytes == pytest.approx(
        psutil.virtual_memory().available / 1e9, rel=0.2
    )
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert estimate(10, "fast", "cpu").availableGigabytes is None
