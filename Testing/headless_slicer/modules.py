"""`slicer.modules`: the real module logics by name, and scripted modules loaded from their file."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import slicer


class LogicModule:
    """A C++ module of which only the logic exists here: `slicer.modules.segmentations.logic()`."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = self.title = name
        self.path = ""
        self._logic = logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        return None


class ScriptedModule:
    """`slicer.qSlicerScriptedLoadableModule`: the `parent` that a scripted module fills in, and its panel."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.name = path.stem
        self.title, self.helpText, self.acknowledgementText = self.name, "", ""
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.hidden = False
        self.icon = None
        self.index = -1
        self.instance: Any = None
        self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._representation: Any = None

    def logic(self) -> Any:
        return self._logic

    def setLogic(self, logic: Any) -> None:
        self._logic = logic

    def widgetRepresentation(self) -> Any:
        """The one panel, made on first use."""
        if self._representation is None:
            self._representation = self.createNewWidgetRepresentation()
        return self._representation

    def createNewWidgetRepresentation(self) -> Any:
        panel = slicer.qSlicerScriptedLoadableModuleWidget(self.name)
        panel.reload()
        return panel

    def unload(self) -> None:
        """Host only: the end of the panel as at application exit; `cleanup` runs by the manager's signal."""
        if self._representation is None:
            return
        slicer.app.moduleManager().emit("moduleAboutToBeUnloaded", self.name)
        self._representation.deleteLater()
        self._representation = None
        delattr(slicer.modules, f"{self.name}Widget")


class Modules:
    """`slicer.modules`: attributes by lower-case name, and `<Name>Instance`, `<Name>Widget` of scripted
    modules.
    """

    def __init__(self, logics: dict[str, Any]) -> None:
        self._modules: dict[str, LogicModule | ScriptedModule] = {}
        for name, logic in logics.items():
            self._add(name, LogicModule(name, logic))

    def _add(self, name: str, module: LogicModule | ScriptedModule) -> None:
        self._modules[name] = module
        setattr(self, name.lower(), module)

    def find(self, name: str) -> Any:
        """The module of this name (as Slicer: any case), or None."""
        return getattr(self, name.lower(), None) if name.lower() in map(str.lower, self._modules) else None

    def names(self) -> list[str]:
        return list(self._modules)

    def load(self, path: Path) -> ScriptedModule:
        """Imports a scripted module as Slicer does at start and tells it that the start is complete."""
        path = Path(path).resolve()
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        module = ScriptedModule(path)
        source = importlib.import_module(module.name)  # not executed again where a test has imported it
        self._add(module.name, module)
        module.instance = getattr(source, module.name)(module)
        setattr(self, f"{module.name}Instance", module.instance)
        slicer.app.moduleManager().emit("moduleLoaded", module.name)
        slicer.app.emit("startupCompleted")
        slicer.app.forget_listeners("startupCompleted")
        return module

    def scripted(self) -> list[ScriptedModule]:
        return [module for module in self._modules.values() if isinstance(module, ScriptedModule)]
