"""The host: puts everything in its place so that a scripted module imports and runs as inside Slicer.

```python
from headless_slicer import start
host = start()                       # before `import DiffSegLung`
module = host.load("DiffSegLung/DiffSegLung.py")
widget = slicer.util.getModuleWidget("DiffSegLung")
```
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")

import slicer
from PySide6 import QtCore

from . import qt_facade, sample_data, scripted_module, translation
from .application import Application
from .layout_manager import LayoutManager
from .messages import Messages
from .module_panel import qSlicerScriptedLoadableModuleWidget
from .modules import Modules, ScriptedModule
from .packages import Packages
from .parameters import parameter_node
from .qt.wrapper import wrapper_class
from .scene import RealScene, build, errors_hidden
from .views import Views


class Host:
    """The running host; `messages`, `packages`, `samples` record what a module did and set what it meets."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headless_slicer_"))
        qt_facade.ensure_application()
        self.packages = Packages()
        self.messages = Messages()
        self.samples = sample_data.Samples()
        self._install_modules()
        self.real: RealScene = build(self.folder)
        slicer.mrmlScene = self.real.scene
        self.modules = Modules(self.real.module_logics)
        slicer.modules = self.modules
        self.views = Views(self.real)
        layout = LayoutManager(self.real)
        self.app = slicer.app = Application(self.real, self.modules, layout, self.folder)
        slicer.qSlicerScriptedLoadableModule = ScriptedModule
        slicer.qSlicerScriptedLoadableModuleWidget = wrapper_class(qSlicerScriptedLoadableModuleWidget)
        qt_facade.install()
        self.messages.install()
        atexit.register(self.end)

    def _install_modules(self) -> None:
        for name, module in {
            "ScriptedLoadableModule": scripted_module.make_module(),
            "parameterNodeWrapper": parameter_node.make_module(),
            "i18n": translation.make_module(),
        }.items():
            setattr(slicer, name, module)
            sys.modules[f"slicer.{name}"] = module
        self.packages.install_modules()
        sys.modules["SampleData"] = self.samples.make_module()

    def load(self, path: str | Path) -> ScriptedModule:
        """Loads a scripted module from its .py file as Slicer does at start; once per file name."""
        known = self.modules.find(Path(path).stem)
        return known if known is not None else self.modules.load(Path(path))

    def answer(self, *answers: bool) -> None:
        """The user's answers to the next questions of slicer.util.confirm…Display."""
        self.messages.answer(*answers)

    @property
    def testing(self) -> bool:
        """slicer.app.testingEnabled(); True from the start. Set it False to meet what a user meets."""
        return self.app.testing

    @testing.setter
    def testing(self, enabled: bool) -> None:
        self.app.testing = enabled

    def process_events(self, milliseconds: int = 0) -> None:
        """Runs Qt's event loop once, or for a while."""
        qt_facade.process_events(milliseconds)

    def render_slice(self, name: str, path: str | Path, size: tuple[int, int] = (600, 600)) -> Path:
        """A PNG of the slice view "Red", "Yellow" or "Green" as it stands."""
        return self.views.slice_picture(name, Path(path), size)

    def render_3d(
        self, path: str | Path, size: tuple[int, int] = (600, 600), direction: str | None = "A"
    ) -> Path:
        """A PNG of the 3D view, seen from `direction` (one of R L A P S I; None: the camera as it is)."""
        return self.views.three_d_picture(Path(path), size, direction)

    def grab(self, widget: Any, path: str | Path, width: int = 400, height: int | None = None) -> Path:
        """A PNG of a widget laid out `width` pixels wide."""
        return qt_facade.grab(widget, path, width, height)

    def close_scene(self) -> None:
        """File / Close Scene."""
        self.real.scene.Clear(False)

    def quit(self) -> None:
        """What modules see when the application ends: aboutToQuit, then each is unloaded."""
        self.app.emit("aboutToQuit")
        self.unload_panels()

    def unload_panels(self) -> None:
        """Ends the panels of scripted modules (`cleanup` runs); getModuleWidget makes new ones."""
        for module in self.modules.scripted():
            module.unload()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)

    def end(self) -> None:
        """Last of all: at the process's end, or before it in a process that ends without clean-up."""
        shutil.rmtree(self.folder, ignore_errors=True)
        # At its end Python frees scene and logics in any order; a logic observing a freed scene crashes.
        real = self.real
        logics = [*real.module_logics.values(), *real.slice_logics.values()]
        logics += [real.layout_logic, real.remote_io]
        with errors_hidden():
            for logic in (*logics, real.application_logic):
                logic.SetMRMLScene(None)

    def reset(self) -> None:
        """No panel, an empty scene, testing mode, nothing recorded, no settings: the state between tests."""
        self.unload_panels()
        qt_facade.reset()
        self.real.scene.Clear(False)
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            self.real.scene.RemoveNode(node)  # parameter nodes are singletons and outlive a scene close
        self.real.layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.messages.reset()
        self.packages.reset()
        self.testing = True
        self.app.userSettings().clear()
        self.process_events()


def start() -> Host:
    """The one host of this process; made on the first call."""
    global _host  # noqa: PLW0603 - one process, one application
    if _host is None:
        _host = Host()
    return _host


_host: Host | None = None
