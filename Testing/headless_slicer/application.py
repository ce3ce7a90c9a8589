"""`slicer.app` and its managers: the part of qSlicerApplication that a scripted module asks for.

Attributes that are Qt properties in Slicer are attributes here; signals connect as PythonQt's do
(qt/signals.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from PySide6 import QtCore

from .core_io import CoreIOManager
from .qt.wrapper import wrap

if TYPE_CHECKING:
    from .layout_manager import LayoutManager
    from .modules import Modules
    from .scene import RealScene


class _ApplicationSignals(QtCore.QObject):
    startupCompleted = QtCore.Signal()
    aboutToQuit = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)


class _ManagerSignals(QtCore.QObject):
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)


class Signals:
    """`connect("name(Type)", f)`, `disconnect(...)`, `object.name.connect(f)`: by a real QObject inside."""

    def __init__(self, signals: QtCore.QObject) -> None:
        self._qobject = signals
        self._signals = wrap(signals)
        for name, attribute in vars(type(signals)).items():
            if isinstance(attribute, QtCore.Signal):
                setattr(self, name, getattr(self._signals, name))

    def connect(self, signal: str, target: Any) -> bool:
        return self._signals.connect(signal, target)

    def disconnect(self, signal: str, target: Any = None) -> bool:
        return self._signals.disconnect(signal, target)

    def emit(self, name: str, *arguments: Any) -> None:
        """Host only: what Slicer's C++ side would emit."""
        getattr(self._qobject, name).emit(*arguments)

    def forget_listeners(self, name: str) -> None:
        """Host only: drops all connections to a signal without arguments."""
        self._signals.disconnect(f"{name}()")


class ModuleManager(Signals):
    """`slicer.app.moduleManager()`."""

    def __init__(self, modules: Modules) -> None:
        super().__init__(_ManagerSignals())
        self._modules = modules

    def module(self, name: str) -> Any:
        """The module object, or None."""
        return self._modules.find(name)

    def modulesNames(self) -> list[str]:
        return self._modules.names()

    def factoryManager(self) -> ModuleManager:
        return self

    def loadedModuleNames(self) -> list[str]:
        return self._modules.names()


class CommandOptions:
    """`slicer.app.commandOptions()`."""

    runPythonAndExit = False
    noMainWindow = True

    @property
    def testingEnabled(self) -> bool:
        return slicer.app.testingEnabled()


class Application(Signals):
    """`slicer.app`."""

    applicationName = "Slicer"
    applicationVersion = "5.12.4"
    majorVersion, minorVersion, patchVersion = 5, 12, 4
    revision = "headless"
    releaseType = "Stable"
    os = {"linux": "linux", "darwin": "macosx", "win32": "win"}.get(sys.platform, sys.platform)
    platform = f"{os}-amd64"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, real: RealScene, modules: Modules, layout: LayoutManager, folder: Path) -> None:
        super().__init__(_ApplicationSignals())
        self._real, self._modules, self._layout = real, modules, layout
        self._manager = ModuleManager(modules)
        self._io = CoreIOManager(real)
        self._options = CommandOptions()
        self.slicerHome = str(folder)
        self.temporaryPath = str(folder / "temporary")
        self.cachePath = str(folder / "cache")
        self.defaultScenePath = str(folder)
        self.testing = True
        self.renders_paused = 0
        self._settings: Any = None

    def applicationLogic(self) -> Any:
        return self._real.application_logic

    def mrmlScene(self) -> Any:
        return self._real.scene

    def layoutManager(self) -> LayoutManager:
        return self._layout

    def moduleManager(self) -> ModuleManager:
        return self._manager

    def coreIOManager(self) -> CoreIOManager:
        return self._io

    ioManager = coreIOManager

    def commandOptions(self) -> CommandOptions:
        return self._options

    def testingEnabled(self) -> bool:
        return self.testing

    def userSettings(self) -> Any:
        import qt

        if self._settings is None:  # one for all, as Slicer's: each that goes writes the file
            self._settings = qt.QSettings()
        return self._settings

    settings = userSettings
    revisionUserSettings = userSettings

    @property
    def slicerUserSettingsFilePath(self) -> str:
        return str(self.userSettings().fileName())

    def processEvents(self, *_: Any) -> None:
        QtCore.QCoreApplication.processEvents()

    def pauseRender(self) -> None:
        self.renders_paused += 1
        self._real.application_logic.PauseRender()

    def resumeRender(self) -> None:
        self.renders_paused -= 1
        self._real.application_logic.ResumeRender()

    def setOverrideCursor(self, cursor: Any) -> None:
        import qt

        qt.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        import qt

        qt.QApplication.restoreOverrideCursor()

    def mainWindow(self) -> None:
        return None

    def topLevelWidgets(self) -> list[Any]:
        import qt

        return list(qt.QApplication.topLevelWidgets())

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def startupEnvironment(self) -> Environment:
        return Environment()

    def isInstalled(self) -> bool:
        return True


class Environment:
    """What `slicer.util.startupEnvironment()` reads: a QProcessEnvironment."""

    def keys(self) -> list[str]:
        return list(os.environ)

    def value(self, name: str) -> str:
        return os.environ[name]
