"""`slicer.qSlicerScriptedLoadableModuleWidget`: the container that a module's Python widget fills."""

from __future__ import annotations

import sys
from typing import Any

import slicer
from PySide6 import QtWidgets

from .qt.members import invokable
from .qt.wrapper import wrap
from .widgets.mrml import qMRMLWidget


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """Has a layout and the scene before the module's widget class is made with it as `parent`."""

    def __init__(self, module_name: str = "") -> None:
        super().__init__()
        self._module_name = module_name
        self._python: Any = None
        self.setObjectName(f"{module_name}ModuleWidget")
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setMRMLScene(slicer.mrmlScene)

    @invokable
    def reload(self) -> None:
        """Makes the module's Python widget from its class as it is now, and sets it up."""
        widget_class = getattr(sys.modules[self._module_name], f"{self._module_name}Widget")
        self._python = widget_class(wrap(self))
        setattr(slicer.modules, f"{self._module_name}Widget", self._python)
        self._python.setup()

    @invokable
    def self(panel) -> Any:
        """The Python widget; Slicer's name for it."""
        return panel._python

    @invokable
    def enter(self) -> None:
        """Host only: the user selects the module."""
        getattr(self._python, "enter", lambda: None)()

    @invokable
    def exit(self) -> None:
        """Host only: the user leaves the module."""
        getattr(self._python, "exit", lambda: None)()
