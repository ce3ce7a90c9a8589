"""Sections of the panel with a .ui file of their own, which is only loaded when they are opened."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer

from .contract import Widgets

_FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "UI"


def loadInto(section: qt.QWidget, name: str, scene: slicer.vtkMRMLScene) -> Widgets:
    """Fill a section of the panel.

    Args:
        section: the collapsible button; it has a layout.
        name: of the .ui file.
        scene: given to the widgets that show nodes.

    Returns:
        The file's widgets by name.
    """
    root = slicer.util.loadUI(str(_FOLDER / name))
    section.layout().addWidget(root)
    root.setMRMLScene(scene)
    return slicer.util.childWidgetVariables(root)
