"""Pictures of slice and 3D views, drawn off-screen by Slicer's own displayable managers.

A slice picture is what the view shows in Slicer: the slice logic's blend of background, foreground and label
layer, with segmentations, models and markups on top; axial slices have the patient's right on the left,
anterior up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

from .scene import RealScene

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
# direction from the centre to the camera, in RAS
SIDES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


class _OffscreenView:
    """A render window in memory, with the displayable managers that put a view node's scene into it."""

    def __init__(
        self, real: RealScene, factory: Any, managers: tuple[str, ...], renderer: Any, node: Any
    ) -> None:
        self.renderer = renderer
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.AddRenderer(renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        factory.SetMRMLApplicationLogic(real.application_logic)
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, renderer)
        self.group.SetMRMLDisplayableNode(node)

    def save(self, path: Path, size: tuple[int, int]) -> Path:
        self.window.SetSize(*size)
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.SetInputBufferTypeToRGB()
        grab.ReadFrontBufferOff()
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(str(path))
        writer.SetInputConnection(grab.GetOutputPort())
        writer.Write()
        return path


class Views:
    """Makes the views on first use and draws them when a picture is asked for."""

    def __init__(self, real: RealScene) -> None:
        self._real = real
        self._slices: dict[str, _OffscreenView] = {}
        self._images: dict[str, Any] = {}
        self._three_d: _OffscreenView | None = None

    def slice_picture(self, name: str, path: Path, size: tuple[int, int]) -> Path:
        """Writes the slice view "Red", "Yellow" or "Green" as it stands to a PNG."""
        logic = self._real.slice_logics[name]
        if name not in self._slices:
            self._slices[name], self._images[name] = self._slice_view(logic)
        logic.ResizeSliceNode(*size)
        logic.UpdatePipeline()
        # The logic makes a new pipeline when layers come and go; without any layer there is no image.
        self._images[name].SetInputConnection(logic.GetImageDataConnection())
        return self._slices[name].save(path, size)

    def three_d_picture(self, path: Path, size: tuple[int, int], direction: str | None) -> Path:
        """Writes the 3D view to a PNG, seen from the side `direction` (None: the camera as it is)."""
        if self._three_d is None:
            node = self._real.scene.GetFirstNodeByClass("vtkMRMLViewNode")
            factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
            self._three_d = _OffscreenView(self._real, factory, THREE_D_MANAGERS, vtk.vtkRenderer(), node)
        view = self._three_d
        view.window.SetSize(*size)
        view.window.Render()
        if direction is not None:
            self.look_from(direction)
        return view.save(path, size)

    def look_from(self, direction: str) -> None:
        """Turns the 3D camera to one of R L A P S I and moves it so that everything is in view."""
        bounds = self._three_d.renderer.ComputeVisiblePropBounds()
        centre = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
        camera = self._three_d.renderer.GetActiveCamera()
        camera.SetFocalPoint(*centre)
        camera.SetPosition(*(c + 1000 * n for c, n in zip(centre, SIDES[direction], strict=True)))
        camera.SetViewUp(*((0, 1, 0) if direction in "SI" else (0, 0, 1)))
        self._three_d.renderer.ResetCamera(bounds)
        camera.Dolly(1.3)  # the bounds' sphere leaves wide margins
        self._three_d.renderer.ResetCameraClippingRange()

    def _slice_view(self, logic: Any) -> tuple[_OffscreenView, Any]:
        renderer = vtk.vtkRenderer()
        renderer.GetActiveCamera().ParallelProjectionOn()
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        image = vtk.vtkActor2D()
        image.SetMapper(mapper)
        image.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(image)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        return _OffscreenView(self._real, factory, SLICE_MANAGERS, renderer, logic.GetSliceNode()), mapper
