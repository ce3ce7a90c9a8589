"""`slicer.app.layoutManager()`: views on real view nodes and logics, without windows.

The layout itself is the real vtkMRMLLayoutNode, the slice views have real vtkMRMLSliceLogics. A view is only
drawn where a picture is asked for (views.py); `forceRender` and the like do nothing.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .scene import RealScene


class View:
    """A view widget of any kind: its MRML view node, and nothing on a screen."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def mrmlViewNode(self) -> Any:
        return self._node

    def forceRender(self) -> None:
        """Nothing is on a screen."""

    scheduleRender = repaint = resetFocalPoint = forceRender

    def setVisible(self, visible: bool) -> None:
        """Controllers of views have no widget here."""


class SliceWidget:
    """`layoutManager().sliceWidget("Red")`."""

    def __init__(self, name: str, logic: Any) -> None:
        self.sliceViewName = name
        self._logic = logic

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> View:
        return View(self._logic.GetSliceNode())

    sliceController = sliceView

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


class ThreeDWidget:
    """`layoutManager().threeDWidget(0)`."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def mrmlViewNode(self) -> Any:
        return self._node

    def threeDView(self) -> View:
        return View(self._node)

    threeDController = threeDView


class TableWidget:
    """`layoutManager().tableWidget(0)`."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def mrmlTableViewNode(self) -> Any:
        return self._node

    def tableView(self) -> View:
        return View(self._node)

    tableController = tableView


class PlotWidget:
    """`layoutManager().plotWidget(0)`."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def plotView(self) -> View:
        return View(self._node)

    plotController = plotView


class LayoutManager:
    """Method names are qSlicerLayoutManager's; counts and `layout` are properties there, and so here."""

    def __init__(self, real: RealScene) -> None:
        self._real = real

    @property
    def layout(self) -> int:
        """The layout's number, vtkMRMLLayoutNode.SlicerLayout…View."""
        return self._real.layout_node.GetViewArrangement()

    @layout.setter
    def layout(self, number: int) -> None:
        self.setLayout(number)

    def setLayout(self, number: int) -> None:
        self._real.layout_node.SetViewArrangement(number)

    def layoutLogic(self) -> Any:
        return self._real.layout_logic

    def mrmlScene(self) -> Any:
        return self._real.scene

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._real.slice_logics)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        logic = self._real.slice_logics.get(name)
        return SliceWidget(name, logic) if logic is not None else None

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        return self._real.application_logic.GetSliceLogics()

    def _nodes(self, class_name: str) -> list[Any]:
        return slicer.util.getNodesByClass(class_name)

    @property
    def threeDViewCount(self) -> int:
        return len(self._nodes("vtkMRMLViewNode"))

    @property
    def tableViewCount(self) -> int:
        return len(self._nodes("vtkMRMLTableViewNode"))

    @property
    def plotViewCount(self) -> int:
        return len(self._nodes("vtkMRMLPlotViewNode"))

    def threeDWidget(self, index: int) -> ThreeDWidget:
        return ThreeDWidget(self._nodes("vtkMRMLViewNode")[index])

    def tableWidget(self, index: int) -> TableWidget:
        return TableWidget(self._nodes("vtkMRMLTableViewNode")[index])

    def plotWidget(self, index: int) -> PlotWidget:
        return PlotWidget(self._nodes("vtkMRMLPlotViewNode")[index])

    def resetSliceViews(self) -> None:
        for logic in self._real.slice_logics.values():
            logic.FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """A 3D picture is fitted to the scene when it is drawn."""
