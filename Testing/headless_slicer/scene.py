"""The real half of the host: Slicer's compiled scene, its logics, and the nodes of its views.

Everything here comes from slicer-core; nothing is imitated. What the application's Qt side does at start
(create the logics in order, name the views, put default nodes back after a scene close) is done in plain
calls.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

# view name: (orientation, label, colour), as in Slicer's default layouts
SLICE_VIEWS = {
    "Red": ("Axial", "R", (0.953, 0.290, 0.200)),
    "Yellow": ("Sagittal", "Y", (0.929, 0.835, 0.298)),
    "Green": ("Coronal", "G", (0.431, 0.690, 0.294)),
}

# module name: its real logic, in an order in which each finds what it needs
MODULE_LOGICS = {
    "Units": "vtkSlicerUnitsLogic",
    "Colors": "vtkSlicerColorLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Models": "vtkSlicerModelsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Reformat": "vtkSlicerReformatLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "Data": "vtkSlicerDataModuleLogic",
}


GENERAL_ANATOMY = "Segmentation category and type - 3D Slicer General Anatomy list"


@dataclass
class RealScene:
    """The scene and what works on it. `module_logics` is {module name: logic}, `slice_logics` {view name:
    logic}.
    """

    scene: Any
    application_logic: Any
    layout_logic: Any
    remote_io: Any
    module_logics: dict[str, Any]
    slice_logics: dict[str, Any]

    @property
    def layout_node(self) -> Any:
        return self.layout_logic.GetLayoutNode()


def build(folder: Path) -> RealScene:
    """Makes scene and logics; `folder` becomes Slicer's home and temporary folder (nothing is written
    elsewhere).
    """
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    share = _share_folder(folder)
    for sub in ("temporary", "cache"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    application.SetTemporaryPath(str(folder / "temporary"))
    application.SetHomeDirectory(str(folder))
    application.SetShareDirectory(share.name)
    application.SetMRMLScene(scene)
    remote_io = slicer.vtkMRMLRemoteIOLogic()
    remote_io.SetMRMLApplicationLogic(application)
    remote_io.SetMRMLScene(scene)
    remote_io.AddDataIOToScene()
    scene.GetCacheManager().SetRemoteCacheDirectory(str(folder / "cache"))
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)

    logics = {}
    with errors_hidden():  # the wheel lacks Slicer's colour and terminology files, and the logics say so
        for name, class_name in MODULE_LOGICS.items():
            logics[name] = _module_logic(name, class_name, application, scene, share)
    layout_logic = slicer.vtkMRMLLayoutLogic()
    layout_logic.SetMRMLApplicationLogic(application)
    layout_logic.SetMRMLScene(scene)
    layout_logic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    slice_logics = {name: _slice_logic(name, application, scene) for name in SLICE_VIEWS}
    collection = vtk.vtkCollection()
    for logic in slice_logics.values():
        collection.AddItem(logic)
    application.SetSliceLogics(collection)
    real = RealScene(scene, application, layout_logic, remote_io, logics, slice_logics)
    _default_nodes(real)
    scene.AddObserver(scene.EndCloseEvent, lambda *_: _default_nodes(real))
    scene.AddObserver(scene.EndImportEvent, lambda *_: _default_nodes(real))
    return real


@contextmanager
def errors_hidden() -> Iterator[None]:
    """VTK's and MRML's messages go nowhere inside; for errors that the host knows and cannot mend."""
    before = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtk.vtkLogger.SetStderrVerbosity(before)


def _module_logic(name: str, class_name: str, application: Any, scene: Any, share: Path) -> Any:
    logic = getattr(slicer, class_name)()
    logic.SetMRMLApplicationLogic(application)
    if isinstance(logic, slicer.vtkSlicerModuleLogic):
        logic.SetModuleShareDirectory(str(share))
    application.SetModuleLogic(name, logic)
    if name == "Colors":
        application.SetColorLogic(logic)
    logic.SetMRMLScene(scene)
    return logic


def _slice_logic(name: str, application: Any, scene: Any) -> Any:
    orientation, label, colour = SLICE_VIEWS[name]
    node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
    node.SetLayoutLabel(label)
    node.SetLayoutColor(*colour)
    node.SetOrientation(orientation)
    node.SetDefaultOrientation(orientation)
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetSliceNode(node)
    logic.SetMRMLScene(scene)
    return logic


def _default_nodes(real: RealScene) -> None:
    """What must always be in the scene, in the state in which Slicer leaves it after a scene close."""
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(real.scene)  # makes one where there is none
    if real.layout_node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutInitialView:
        real.layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    for name, (orientation, _, _) in SLICE_VIEWS.items():
        node = real.scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        logic = real.slice_logics[name]
        if node is not None and logic.GetSliceNode() is not node:
            logic.SetSliceNode(node)
        if node is not None and node.GetOrientation() == "Reformat":
            node.SetOrientation(orientation)
    view = real.scene.GetFirstNodeByClass("vtkMRMLViewNode")
    camera = real.module_logics["Cameras"].GetViewActiveCameraNode(view) if view else None
    if view and camera is None:
        camera = real.scene.AddNewNodeByClass("vtkMRMLCameraNode", "Camera")
        camera.SetLayoutName(view.GetLayoutName())


def _share_folder(folder: Path) -> Path:
    """What the wheel lacks of Slicer's share folder and nodes refer to by default, small and generated.

    The terminology entry that every new segment starts with ("Tissue"), and the colour table of label maps.
    """
    share = folder / "share"
    share.mkdir(parents=True, exist_ok=True)

    def code(value: str, meaning: str) -> dict[str, str]:
        return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning}

    tissue = {**code("85756007", "Tissue"), "recommendedDisplayRGBValue": [128, 174, 128]}
    category = {**code("85756007", "Tissue"), "showAnatomy": True, "Type": [tissue]}
    general = {
        "SegmentationCategoryTypeContextName": GENERAL_ANATOMY,
        "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#",
        "SegmentationCodes": {"Category": [category]},
    }
    region = {
        "AnatomicContextName": "Anatomic codes - DICOM master list",
        "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/anatomic-context-schema.json#",
        "AnatomicCodes": {"AnatomicRegion": [code("39607008", "Lung")]},
    }
    for name, content in {
        "SegmentationCategoryTypeModifier-SlicerGeneralAnatomy": general,
        "AnatomicRegionAndModifier-DICOM-Master": region,
    }.items():
        (share / f"{name}.term.json").write_text(json.dumps(content), encoding="utf-8")
    colours = ["0 Background 0 0 0 0"]
    for label in range(1, 64):
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.6, 0.9))
        colours.append(f"{label} Label_{label} {red} {green} {blue} 255")
    (share / "ColorFiles").mkdir(exist_ok=True)
    (share / "ColorFiles" / "GenericColors.txt").write_text("\n".join(colours) + "\n", encoding="utf-8")
    return share
