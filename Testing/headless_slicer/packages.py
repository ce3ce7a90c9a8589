"""`slicer.packaging` and the PyTorch extension's `PyTorchUtils`: recorded, nothing is installed.

A test says which requirements count as missing, whether the user refuses, and whether the installation fails:
`host.packages.missing = {"torch", "psutil"}`, `host.packages.refuse = True`, `host.packages.fail = "no
network"`.
"""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement

Wish = str | Requirement | list[str | Requirement]


@dataclass
class Packages:
    """What is missing, how an installation ends, and what was asked for.

    `installed` lists what pip would have been given, `asked` the requesters of prompts, `removed` what was
    uninstalled.
    """

    missing: set[str] = field(default_factory=set)
    refuse: bool = False
    fail: str = ""
    installed: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def reset(self) -> None:
        self.__dict__.update(Packages().__dict__)

    def check(self, wish: Wish) -> bool:
        """slicer.packaging.pip_check: whether all requirements are there."""
        return all(requirement.name.lower() not in self.missing for requirement in _requirements(wish))

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
        """slicer.packaging.pip_ensure. Raises RuntimeError where the user refuses, CalledProcessError where
        pip fails.
        """
        wanted = [req for req in _requirements(requirements) if not self.check(req)]
        if not wanted or (skip_in_testing and slicer.app.testingEnabled()):
            return
        if prompt_install:
            self.asked.append(requester or "")
            if self.refuse:
                raise RuntimeError("User declined package installation")
        self.install([str(requirement) for requirement in wanted])

    def install(self, wish: str | list[str], **_: Any) -> None:
        """slicer.packaging.pip_install and slicer.util.pip_install."""
        words = wish.split() if isinstance(wish, str) else [str(word) for word in wish]
        self.installed += words
        if self.fail:
            raise subprocess.CalledProcessError(
                1, [sys.executable, "-m", "pip", "install", *words], output=self.fail
            )
        self.missing -= {Requirement(word).name.lower() for word in words if not word.startswith("-")}

    def uninstall(self, wish: str | list[str], **_: Any) -> None:
        self.removed += wish.split() if isinstance(wish, str) else list(wish)

    def make_module(self) -> types.ModuleType:
        """The module that `import slicer.packaging` finds."""
        module = types.ModuleType("slicer.packaging", __doc__)
        module.pip_check, module.pip_ensure = self.check, self.ensure
        module.pip_install, module.pip_uninstall = self.install, self.uninstall
        module.load_requirements = load_requirements
        module.isPipInstallInProgress = lambda: False
        return module

    def make_torch_module(self) -> types.ModuleType:
        """The module PyTorchUtils of the extension SlicerPyTorch."""
        packages = self

        class PyTorchUtilsLogic:
            """torch counts as there unless "torch" is among the missing."""

            def torchInstalled(self) -> bool:
                return packages.check("torch")

            def installTorch(
                self,
                askConfirmation: bool = False,
                forceComputationBackend: str | None = None,
                torchVersionRequirement: str | None = None,
                torchvisionVersionRequirement: str | None = None,
            ) -> Any:
                """The torch module, or None where the user refuses or the installation fails."""
                if askConfirmation:
                    packages.asked.append("PyTorch")
                    if packages.refuse:
                        return None
                try:
                    packages.install(f"torch{torchVersionRequirement or ''}")
                except subprocess.CalledProcessError:
                    return None
                return self.importTorch()

            def uninstallTorch(self, askConfirmation: bool = False) -> bool:
                packages.uninstall("torch")
                return True

            def importTorch(self) -> Any:
                return self.torch

            @property
            def torch(self) -> Any:
                """The torch module (imported lazily); ImportError where it counts as missing."""
                if not self.torchInstalled():
                    raise ImportError("No module named 'torch'")
                import torch

                return torch

        module = types.ModuleType("PyTorchUtils", __doc__)
        module.PyTorchUtilsLogic = PyTorchUtilsLogic
        return module


def load_requirements(path: str | Path) -> list[Requirement]:
    """slicer.packaging.load_requirements: the requirements of a file, without comments and pip options."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def _requirements(wish: Wish) -> Iterable[Requirement]:
    if isinstance(wish, Requirement):
        return [wish]
    words = wish.split() if isinstance(wish, str) else wish
    return [word if isinstance(word, Requirement) else Requirement(word) for word in words]
