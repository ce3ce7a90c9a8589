"""The node selectors of the panel: what nobody chose is not chosen in them, and what is chosen stays."""

from __future__ import annotations

import qt
import slicer


class Selectors:
    """All node selectors below a widget, those of sections opened later and the editor's own included.

    Args:
        root: the widget.
    """

    def __init__(self, root: qt.QWidget) -> None:
        self._root = root
        self._chosen: list[tuple[slicer.qMRMLNodeComboBox, slicer.vtkMRMLNode | None]] = []

    def release(self, node: slicer.vtkMRMLNode) -> None:
        """Choose nothing where a node is chosen that is about to leave the scene.

        By itself a selector would take the neighbour: a CT, or an output to write into, that nobody chose.
        """
        for selector in self._all():
            if selector.currentNode() is node:
                selector.setCurrentNode(None)

    def remember(self) -> None:
        """Note what is chosen, before an import empties the selectors and fills them in its own way."""
        self._chosen = [(selector, selector.currentNode()) for selector in self._all()]

    def restore(self, scene: slicer.vtkMRMLScene) -> None:
        """Choose what was noted, as far as it is still in the scene."""
        for selector, node in self._chosen:
            if node is not None and scene.IsNodePresent(node):
                selector.setCurrentNode(node)
        self._chosen = []

    def _all(self) -> list[slicer.qMRMLNodeComboBox]:
        widgets = self._root.findChildren(qt.QWidget)
        return [widget for widget in widgets if widget.className() == "qMRMLNodeComboBox"]
