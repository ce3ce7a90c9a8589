"""What the worker's Python lacks, and how to get it: asked first, package by package, cancellable in between.

The worker is a process of its own that starts afterwards, so that no restart is needed: what Slicer's own
process has imported before does not matter.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import slicer
from slicer.i18n import tr as _

from DiffSegLungLib.errors import DiffSegLungError

from ..work.tasks import Steps, TaskProgress

TORCH = "torch>=2.4"
REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"


class Installer:
    """The Python packages the worker needs.

    Args:
        requirements: the file that lists them; torch is known to be needed beside those.
    """

    def __init__(self, requirements: Path = REQUIREMENTS) -> None:
        self._file = requirements

    def missing(self) -> list[str]:
        """Requirements that are not met, torch first; reads metadata only, imports nothing."""
        importlib.invalidate_caches()
        packaging = _slicerPackaging()
        isMet = _isMet if packaging is None else packaging.pip_check
        return [text for text in (TORCH, *_lines(self._file)) if not isMet(text)]

    def question(self, missing: list[str]) -> str:
        """What to ask before anything is downloaded."""
        names = ", ".join(_name(text) for text in missing)
        size = _(" (about 1 GB, with CUDA 3 GB)") if TORCH in missing else ""
        return _(
            "DiffSegLung needs Python packages that are not installed yet: {names}{size}.\n\n"
            "They are downloaded from the internet once and installed into Slicer's Python. "
            "Images stay on this computer. Install them now?"
        ).format(names=names, size=size)

    def steps(self, missing: list[str]) -> Steps:
        """Install package after package: the steps of a task that can be cancelled between two packages.

        Raises:
            DiffSegLungError: a package could not be installed; the hint says what to do next.
        """
        for number, text in enumerate(missing):
            stage = _("Installing {name} ({number} of {count})").format(
                name=_name(text), number=number + 1, count=len(missing)
            )
            yield TaskProgress(stage, number / len(missing))
            yield f"{stage}\n"
            _installTorch() if _name(text) == "torch" else _installPackage(text, self._file)
        left = self.missing()
        if left:
            raise DiffSegLungError(
                "install-failed",
                _("{names} could not be installed.").format(names=", ".join(_name(text) for text in left)),
                _("The Python console shows why; then press Apply again."),
            )


def _installTorch() -> None:
    """The PyTorch extension picks the build that fits the computer's GPU and driver."""
    try:
        import PyTorchUtils
    except ImportError as error:
        raise DiffSegLungError(
            "no-pytorch-extension",
            _("The PyTorch extension is not installed."),
            _("Install “PyTorch” in the Extensions Manager, restart Slicer and press Apply again."),
        ) from error
    try:
        requirement = _requirement(TORCH)
        installed = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=str(requirement.specifier)
        )
    except Exception as error:
        raise _failed("torch", error, _("Open the module PyTorch Utils to choose another build.")) from error
    if installed is None:
        raise _failed("torch", None, _("Open the module PyTorch Utils to see why."))


def _installPackage(text: str, requirements: Path) -> None:
    name = _name(text)
    try:
        packaging = _slicerPackaging()
        if packaging is None:  # Slicer 5.10
            slicer.util.pip_install(text)
            return
        wanted = [r for r in packaging.load_requirements(requirements) if r.name == name]
        packaging.pip_ensure(
            wanted, prompt_install=False, prompt_restart=False, requester="DiffSegLung", show_progress=False
        )
    except (CalledProcessError, RuntimeError, OSError) as error:
        hint = _("Check the internet connection or proxy, then press Apply again.")
        raise _failed(name, error, hint) from error


def _failed(name: str, error: Exception | None, hint: str) -> DiffSegLungError:
    reason = f" ({error})" if error is not None and str(error) else ""
    return DiffSegLungError(
        "install-failed", _("{name} could not be installed{reason}.").format(name=name, reason=reason), hint
    )


def _slicerPackaging() -> Any:
    """Slicer's own package installer, None before Slicer 5.11."""
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        return None
    return packaging if hasattr(packaging, "pip_ensure") else None


def _lines(file: Path) -> list[str]:
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def _requirement(text: str) -> Any:
    from packaging.requirements import Requirement

    return Requirement(text)


def _name(text: str) -> str:
    return str(_requirement(text).name)


def _isMet(text: str) -> bool:
    requirement = _requirement(text)
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return bool(requirement.specifier.contains(version, prereleases=True))
