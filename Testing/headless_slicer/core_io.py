"""`slicer.app.coreIOManager()`: Slicer's file types and properties, read and written by the real logics.

Covers what slicer.util's load… and save… functions need for volumes, label maps, segmentations, transforms,
models, markups, tables, texts, colour tables and scenes (.mrml, .mrb, folder).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vtk
from slicer.util import toBool

from .scene import RealScene

# file type: (node class, extensions) for those that a storage node reads without a logic
STORABLE = {
    "TransformFile": ("vtkMRMLTransformNode", (".h5", ".tfm", ".mat", ".txt")),
    "ModelFile": ("vtkMRMLModelNode", (".vtk", ".vtp", ".stl", ".obj", ".ply")),
    "TableFile": ("vtkMRMLTableNode", (".tsv", ".csv", ".schema.tsv")),
    "TextFile": ("vtkMRMLTextNode", (".text", ".json", ".xml", ".dat")),
    "MarkupsFile": ("vtkMRMLMarkupsFiducialNode", (".mrk.json", ".fcsv")),
    "ColorTableFile": ("vtkMRMLColorTableNode", (".ctbl", ".cxml")),
}
SCENE_SUFFIXES = (".mrb", ".mrml")
SEGMENTATION_SUFFIXES = (".seg.nrrd", ".seg.nhdr", ".seg.vtm")
VOLUME_SUFFIXES = (
    ".nrrd",
    ".nhdr",
    ".nii",
    ".nii.gz",
    ".mha",
    ".mhd",
    ".hdr",
    ".img",
    ".dcm",
    ".tif",
    ".png",
)


class CoreIOManager:
    """Method names and arguments are qSlicerCoreIOManager's; messages go into a vtkMRMLMessageCollection."""

    def __init__(self, real: RealScene) -> None:
        self._real = real
        self._scene = real.scene

    def fileType(self, fileName: str) -> str:
        """The file type that reads this name; "NoFile" where none does."""
        name = Path(fileName).name.lower()
        for kind, suffixes in (
            ("SceneFile", SCENE_SUFFIXES),
            ("SegmentationFile", SEGMENTATION_SUFFIXES),
            *((kind, suffixes) for kind, (_, suffixes) in STORABLE.items()),
            ("VolumeFile", VOLUME_SUFFIXES),
        ):
            if name.endswith(suffixes):
                return kind
        return "NoFile"

    def fileWriterFileType(self, node: Any) -> str:
        if node.IsA("vtkMRMLSegmentationNode"):
            return "SegmentationFile"
        kinds = (kind for kind, (node_class, _) in STORABLE.items() if node.IsA(node_class))
        return next(kinds, "VolumeFile")

    def loadNodes(
        self, fileType: str, properties: dict[str, Any], loadedNodes: Any, userMessages: Any
    ) -> bool:
        """Reads one file into the scene; appends its nodes to `loadedNodes`. False where it could not."""
        path = str(properties["fileName"])
        if not Path(path).exists():
            userMessages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File not found: {path}")
            return False
        readers: dict[str, Callable[..., Any]] = {
            "VolumeFile": self._read_volume,
            "SegmentationFile": self._read_segmentation,
        }
        if fileType == "SceneFile":
            return self._read_scene(path, properties, userMessages)
        reader = readers.get(
            fileType, lambda *_: self._read_storable(fileType, path, properties, userMessages)
        )
        node = reader(path, properties, userMessages)
        if node is None:
            return False
        loadedNodes.AddItem(node)
        return True

    def saveNodes(self, fileType: str, properties: dict[str, Any], userMessages: Any) -> bool:
        """Writes a node, or the scene, to properties["fileName"]."""
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self._write_scene(path, userMessages)
        node = self._scene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None:
            node.AddDefaultStorageNode(path)
            storage = node.GetStorageNode()
        if storage is None:  # a short text, for example, is kept in the scene file
            userMessages.AddMessage(vtk.vtkCommand.ErrorEvent, f"{node.GetName()} has no file of its own")
            return False
        storage.SetFileName(path)
        storage.SetUseCompression(int(properties.get("useCompression", True)))
        return bool(storage.WriteData(node))

    def exportNodes(
        self, ids: list[str], names: list[str], properties: dict[str, Any], harden: bool, _: Any
    ) -> bool:
        """Writes nodes without touching their storage nodes; hardened into world coordinates where asked."""
        done = True
        for node_id, name in zip(ids, names, strict=True):
            node = self._scene.GetNodeByID(node_id)
            if harden:
                node = self._hardened_copy(node)
            with self._temporary_storage(node) as storage:
                storage.SetFileName(str(name))
                storage.SetUseCompression(int(properties.get("useCompression", True)))
                done = bool(storage.WriteData(node)) and done
            if harden:
                self._scene.RemoveNode(node)
        return done

    def extractKnownExtension(self, fileName: str, node: Any) -> str:
        with self._temporary_storage(node) as storage:
            return storage.GetSupportedFileExtension(str(fileName), False, True)

    def fileWriterExtensions(self, node: Any) -> list[str]:
        with self._temporary_storage(node) as storage:
            types = storage.GetSupportedWriteFileTypes()
            return [types.GetValue(index) for index in range(types.GetNumberOfValues())]

    @contextmanager
    def _temporary_storage(self, node: Any) -> Iterator[Any]:
        """A storage node as the node's class likes it; in the scene, without which it knows no file types."""
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        self._scene.AddNode(storage)
        try:
            yield storage
        finally:
            self._scene.RemoveNode(storage)

    def _read_volume(self, path: str, properties: dict[str, Any], messages: Any) -> Any:
        logic = self._real.module_logics["Volumes"]
        options = logic.LabelMap if toBool(properties.get("labelmap", False)) else 0
        options |= logic.SingleFile if toBool(properties.get("singleFile", False)) else 0
        options |= logic.CenterImage if toBool(properties.get("center", False)) else 0
        options |= logic.DiscardOrientation if toBool(properties.get("discardOrientation", False)) else 0
        options |= logic.AutoWindowLevel if toBool(properties.get("autoWindowLevel", True)) else 0
        name = properties.get("name") or self._bare_name(path)
        volume = logic.AddArchetypeVolume(path, name, options)
        if volume is not None and toBool(properties.get("show", True)):
            self._show_volume(volume)
        return volume

    def _show_volume(self, volume: Any) -> None:
        selection = self._real.application_logic.GetSelectionNode()
        if volume.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(volume.GetID())
        else:
            selection.SetActiveVolumeID(volume.GetID())
        self._real.application_logic.PropagateVolumeSelection()

    def _read_segmentation(self, path: str, properties: dict[str, Any], messages: Any) -> Any:
        logic = self._real.module_logics["Segmentations"]
        name = properties.get("name") or self._bare_name(path)
        node = logic.LoadSegmentationFromFile(path, toBool(properties.get("autoOpacities", True)), name)
        if node is not None:
            node.CreateDefaultDisplayNodes()
        return node

    def _read_storable(self, kind: str, path: str, properties: dict[str, Any], messages: Any) -> Any:
        if kind not in STORABLE:
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"No reader for file type {kind}")
            return None
        node = self._scene.AddNewNodeByClass(
            STORABLE[kind][0], properties.get("name") or self._bare_name(path)
        )
        node.AddDefaultStorageNode(path)
        if not node.GetStorageNode().ReadData(node):
            self._scene.RemoveNode(node)
            return None
        if node.IsA("vtkMRMLDisplayableNode"):
            node.CreateDefaultDisplayNodes()
        return node

    def _read_scene(self, path: str, properties: dict[str, Any], messages: Any) -> bool:
        clear = toBool(properties.get("clear", True))
        if path.endswith(".mrb"):
            return bool(self._scene.ReadFromMRB(path, clear, messages))
        self._scene.SetURL(path)
        return bool(self._scene.Connect(messages) if clear else self._scene.Import(messages))

    def _write_scene(self, path: str, messages: Any) -> bool:
        if path.endswith(".mrb"):
            return bool(self._scene.WriteToMRB(path, None, messages))
        if path.endswith(".mrml"):
            self._scene.SetRootDirectory(str(Path(path).parent))
            return bool(self._scene.Commit(path, messages))
        Path(path).mkdir(parents=True, exist_ok=True)
        return bool(self._real.application_logic.SaveSceneToSlicerDataBundleDirectory(path, None, messages))

    def _hardened_copy(self, node: Any) -> Any:
        copy = self._scene.AddNewNodeByClass(node.GetClassName())
        copy.CopyContent(node)
        copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
        copy.HardenTransform()
        return copy

    def _bare_name(self, path: str) -> str:
        name = Path(path).name
        for suffix in sorted((*SEGMENTATION_SUFFIXES, *VOLUME_SUFFIXES, ".mrk.json"), key=len, reverse=True):
            if name.lower().endswith(suffix):
                return name[: -len(suffix)]
        return Path(name).stem
