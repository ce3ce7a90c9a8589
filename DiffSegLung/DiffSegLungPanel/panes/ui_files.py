"""Sections of the panel with a .ui file of their own, which is only loaded when they are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

_FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "UI"


def loadInto(section: Any, name: str, scene: slicer.vtkMRMLScene) -> Any:
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
