"""`slicer.packaging` and the PyTorch extension's `PyTorchUtils`: recorded, nothing is installed.

A test says what is missing and how an installation ends:
`host.packages.missing = {"torch"}`, `host.packages.refuse = True`, `host.packages.fail = "no network"`.
What is missing is also hidden from importlib.metadata, where Slicer and modules look.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement

Wish = str | Requirement | list[str | Requirement]


@dataclass
class Packages:
    """`missing`, `refuse`, `fail` are set by the test; the other fields say what was asked for.

    `installed` is what pip would have been given, `asked` who asked the user, `removed` what was uninstalled.
    """

    missing: set[str] = field(default_factory=set)
    refuse: bool = False
    fail: str = ""
    installed: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def reset(self) -> None:
        self.__dict__.update(Packages().__dict__)

    def install_modules(self) -> None:
        """Makes slicer.packaging and PyTorchUtils importable; hides missing packages from the metadata."""
        module = types.ModuleType("slicer.packaging", __doc__)
        module.pip_check, module.pip_ensure = self.check, self.ensure
        module.pip_install, module.pip_uninstall = self.install, self.uninstall
        module.load_requirements = load_requirements
        module.isPipInstallInProgress = lambda: False
        slicer.packaging = sys.modules["slicer.packaging"] = module
        torch_utils = types.ModuleType("PyTorchUtils", "Of the extension SlicerPyTorch.")
        torch_utils.PyTorchUtilsLogic = type("PyTorchUtilsLogic", (_TorchLogic,), {"packages": self})
        sys.modules["PyTorchUtils"] = torch_utils
        real_version = importlib.metadata.version

        def version(name: str) -> str:
            if name.lower() in self.missing:
                raise importlib.metadata.PackageNotFoundError(name)
            return real_version(name)

        importlib.metadata.version = version

    def check(self, wish: Wish) -> bool:
        """slicer.packaging.pip_check: whether all requirements are there, in a version that will do."""
        return all(_is_met(requirement) for requirement in _requirements(wish))

    def ensure(
        self,
        requirements: Wish,
        constraints: str | Path | None = None,
        skip_packages: list[str] | None = None,
        prompt_install: bool = True,
        prompt_restart: bool = True,
        requester: str | None = None,
        skip_in_testing: bool = True,
        show_progress: bool = True,
    ) -> None:
        """slicer.packaging.pip_ensure.

        Raises RuntimeError where the user refuses, CalledProcessError where pip fails.
        """
        wanted = [requirement for requirement in _requirements(requirements) if not _is_met(requirement)]
        if not wanted or (skip_in_testing and slicer.app.testingEnabled()):
            return
        if prompt_install and not self._confirmed(requester or "", f"Install {len(wanted)} Python packages?"):
            raise RuntimeError("User declined package installation")
        self.install([str(requirement) for requirement in wanted])

    def install(self, wish: str | list[str], *_: Any, **__: Any) -> None:
        """slicer.packaging.pip_install, also slicer.util's. Raises CalledProcessError where pip fails."""
        words = wish.split() if isinstance(wish, str) else [str(word) for word in wish]
        self.installed += words
        if self.fail:
            command = [sys.executable, "-m", "pip", "install", *words]
            raise subprocess.CalledProcessError(1, command, output=self.fail)
        self.missing -= {Requirement(word).name.lower() for word in words if not word.startswith("-")}

    def uninstall(self, wish: str | list[str], *_: Any, **__: Any) -> None:
        self.removed += wish.split() if isinstance(wish, str) else list(wish)

    def _confirmed(self, requester: str, question: str) -> bool:
        self.asked.append(requester)
        return not self.refuse and slicer.util.confirmOkCancelDisplay(question, requester)


class _TorchLogic:
    """PyTorchUtilsLogic; torch counts as there unless "torch" is among the missing packages."""

    packages: Packages

    @classmethod
    def torchInstalled(cls) -> bool:
        return cls.packages.check("torch")

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        """The torch module; None where the user refuses. Raises CalledProcessError where pip fails."""
        ask = askConfirmation and not slicer.app.commandOptions().testingEnabled
        if ask and not self.packages._confirmed("PyTorch", "PyTorch will be downloaded and installed"):
            return None
        self.packages.install(f"torch{torchVersionRequirement or ''}")
        return self.importTorch()

    def uninstallTorch(
        self, askConfirmation: bool = False, forceComputationBackend: str | None = None
    ) -> None:
        self.packages.uninstall("torch torchvision")

    def importTorch(self) -> Any:
        """The torch module, installed without asking where it is missing."""
        if not self.torchInstalled():
            return self.installTorch()
        import torch

        return torch

    @property
    def torch(self) -> Any:
        return self.importTorch()

    def getDevice(self) -> Any:
        return self.torch.device("cuda") if self.torch.cuda.is_available() else "cpu"

    @property
    def cuda(self) -> bool:
        return self.getDevice() != "cpu"


def load_requirements(path: str | Path) -> list[Requirement]:
    """slicer.packaging.load_requirements: the requirements of a file, without comments and pip options."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def _requirements(wish: Wish) -> list[Requirement]:
    if isinstance(wish, Requirement):
        return [wish]
    words = wish.split() if isinstance(wish, str) else wish
    return [word if isinstance(word, Requirement) else Requirement(word) for word in words]


def _is_met(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False
