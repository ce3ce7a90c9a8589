"""Where nodes stand in the subject hierarchy: results beside the CT they came from."""

from __future__ import annotations

import slicer


def placeBeside(
    scene: slicer.vtkMRMLScene, volumeNode: slicer.vtkMRMLNode, *nodes: slicer.vtkMRMLNode
) -> None:
    """Put nodes under the parent (usually the DICOM study) of a volume in the subject hierarchy.

    Items are made where they are missing: the application makes them by itself, a scene without it does not.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    parent = hierarchy.GetItemParent(_itemOf(hierarchy, volumeNode))
    for node in nodes:
        hierarchy.SetItemParent(_itemOf(hierarchy, node), parent)


def removeNode(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    """Remove a node and its item in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if item:
        hierarchy.RemoveItem(item, False, False)
    scene.RemoveNode(node)


def _itemOf(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, node: slicer.vtkMRMLNode) -> int:
    item = hierarchy.GetItemByDataNode(node)
    if item == slicer.vtkMRMLSubjectHierarchyNode.GetInvalidItemID():
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    return item
