"""What is missing, and how it is installed: package by package, cancellable, failures with a next step."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
import slicer
from DiffSegLungPanel.steps.install import REQUIREMENTS, TORCH, Installer
from DiffSegLungPanel.work.tasks import Task

from DiffSegLungLib.errors import DiffSegLungError

CHECKOUT = Path(__file__).resolve().parents[2]


def named(requirements: list[str]) -> list[str]:
    return [requirement.split(">")[0] for requirement in requirements]


@pytest.fixture
def installer(host) -> Installer:
    host.testing = False  # in testing mode Slicer installs nothing at all
    return Installer()


def test_nothing_is_missing_where_everything_is(installer):
    assert installer.missing() == []


def test_what_is_missing_is_found_torch_first(host, installer):
    host.packages.missing = {"psutil", "torch"}
    assert named(installer.missing()) == ["torch", "psutil"]


def test_an_older_slicer_is_asked_by_its_metadata(host, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "slicer.packaging", types.ModuleType("slicer.packaging"))
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("# comment\n\nno-such-package-anywhere>=1\nnumpy>=1.26\nscipy>=999\n")
    assert named(Installer(wanted).missing()) == ["no-such-package-anywhere", "scipy"]


def test_the_requirements_leave_slicers_own_packages_alone():
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    names = {line.split(">")[0].lower() for line in lines}
    assert not names & {"torch", "numpy", "scipy", "simpleitk", "vtk", "qt"}
    assert all(">=" in line and "==" not in line for line in lines)


def test_the_requirements_are_those_of_the_library():
    import tomllib

    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    ours = {line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")}
    bundled = {"numpy", "scipy", "SimpleITK", "pydicom"}  # with Slicer
    assert ours | {TORCH} == {line for line in project if line.split(">")[0] not in bundled}


def test_the_question_names_the_packages_and_their_size(installer):
    question = installer.question([TORCH, "psutil>=5.9"])
    assert "torch, psutil" in question and "GB" in question
    assert "GB" not in installer.question(["psutil>=5.9"])


def test_installed_one_after_the_other_then_all_is_there(host, installer):
    host.packages.missing = {"torch", "psutil", "scikit-learn"}
    task = Task(installer.steps(installer.missing()))
    shown = []
    task.progressed.connect(lambda progress: shown.append((progress.stage, progress.fraction)))
    task.wait()
    assert named(host.packages.installed) == ["torch", "scikit-learn", "psutil"]
    assert [fraction for _stage, fraction in shown] == pytest.approx([0, 1 / 3, 2 / 3])
    assert shown[1][0] == "Installing scikit-learn (2 of 3)"
    assert host.packages.asked == []  # asked once, by the panel
    assert installer.missing() == []


def test_cancelled_between_two_packages(host, installer):
    host.packages.missing = {"safetensors", "psutil"}
    task = Task(installer.steps(installer.missing()))
    task.progressed.connect(lambda progress: task.cancel() if progress.fraction > 0 else None)
    with pytest.raises(DiffSegLungError):
        task.wait()
    assert task.wasCancelled
    assert named(host.packages.installed) == ["safetensors"]


def test_a_failure_names_the_package_and_the_next_step(host, installer):
    host.packages.missing, host.packages.fail = {"psutil"}, "no network"
    with pytest.raises(DiffSegLungError) as failure:
        Task(installer.steps(installer.missing())).wait()
    assert failure.value.message.startswith("psutil could not be installed")
    assert "connection" in failure.value.hint


def test_a_failure_of_torch_leads_to_pytorch_utils(host, installer):
    host.packages.missing, host.packages.fail = {"torch"}, "no build fits"
    with pytest.raises(DiffSegLungError) as failure:
        Task(installer.steps(installer.missing())).wait()
    assert "PyTorch Utils" in failure.value.hint


def test_without_the_pytorch_extension_it_is_named(host, installer, monkeypatch):
    host.packages.missing = {"torch"}
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(DiffSegLungError) as failure:
        Task(installer.steps(installer.missing())).wait()
    assert failure.value.code == "no-pytorch-extension"
    assert "Extensions Manager" in failure.value.hint


def test_what_still_is_missing_afterwards_is_said(host):
    installer = Installer()
    host.packages.missing = {"psutil"}
    with pytest.raises(DiffSegLungError, match="psutil could not be installed"):
        Task(installer.steps(installer.missing())).wait()  # in testing mode Slicer skips the installation


def test_slicer_5_10_installs_with_its_older_function(host, monkeypatch, tmp_path):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("no-such-package-anywhere>=1\n")
    monkeypatch.setitem(sys.modules, "slicer.packaging", types.ModuleType("slicer.packaging"))
    asked = []
    monkeypatch.setattr(slicer.util, "pip_install", asked.append)
    with pytest.raises(DiffSegLungError):  # it is recorded, not installed, so that it still is missing
        Task(Installer(wanted).steps(["no-such-package-anywhere>=1"])).wait()
    assert asked == ["no-such-package-anywhere>=1"]


def test_no_restart_is_needed(host, monkeypatch, tmp_path):
    """A package that appears while Slicer runs is seen by the check and by a process started afterwards."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setitem(sys.modules, "slicer.packaging", types.ModuleType("slicer.packaging"))
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("appeared-just-now>=1\n")
    installer = Installer(wanted)
    assert named(installer.missing()) == ["appeared-just-now"]
    (site / "appeared_just_now.py").write_text("VALUE = 1\n")
    info = site / "appeared_just_now-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: appeared-just-now\nVersion: 1.0\n")
    assert installer.missing() == []
    code = f"import sys; sys.path.insert(0, {str(site)!r}); import appeared_just_now"
    subprocess.run([sys.executable, "-c", code], check=True)
