"""Small CT, lungs and worker output in a scene, for tests of what the module does with MRML."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from scipy.ndimage import gaussian_filter

from DiffSegLungLib.anatomy.regions import side_of, third_of
from DiffSegLungLib.classes import CONSOLIDATION, EMPHYSEMA, FIBROSIS, GROUND_GLASS, HEALTHY, VESSEL
from DiffSegLungLib.io.geometry import Geometry
from DiffSegLungLib.io.raw_image import write_raw
from DiffSegLungLib.report.quantify import Tally
from DiffSegLungLib.segmentation.evidence import (
    OR_HEALTHY,
    OR_VESSEL,
    SPAN,
    draw_labels,
    encode,
    least_voxels,
)

SHAPE = (24, 40, 44)
"""Slices, rows, columns: no two alike, so that swapped axes are seen."""

ISLAND_ML = 0.02
"""Less than the smallest lesion of :func:`lung_labels`."""

HU = {HEALTHY: -850, EMPHYSEMA: -970, GROUND_GLASS: -600, FIBROSIS: -500, CONSOLIDATION: 0, VESSEL: 30}


def finish(steps: Generator[Any, None, Any]) -> Any:
    """Takes all steps; what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def lung_labels(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Class ids: two boxes of healthy lung with lesions that break every symmetry."""
    nk, nj, ni = shape
    labels = np.zeros(shape, np.uint8)
    labels[2 : nk - 2, 6 : nj - 6, 3 : ni // 2 - 2] = HEALTHY
    labels[2 : nk - 2, 6 : nj - 6, ni // 2 + 2 : ni - 3] = HEALTHY
    labels[nk - 7 : nk - 3, 8:14, 5:12] = EMPHYSEMA
    labels[4:9, 10:20, ni // 2 + 4 : ni // 2 + 10] = GROUND_GLASS
    labels[10:14, 9:13, 6:9] = FIBROSIS
    labels[3:6, nj - 12 : nj - 8, ni - 12 : ni - 6] = CONSOLIDATION
    labels[8 : nk - 4, 22, 10] = VESSEL
    return labels


def lung_regions(labels: np.ndarray) -> np.ndarray:
    """1..3 thirds of the right lung (low columns) from the top down, 4..6 of the left."""
    nk, _nj, ni = labels.shape
    third = 3 - (np.arange(nk) * 3 // nk)
    side = np.where(np.arange(ni) < ni // 2, 0, 3)
    regions = third[:, None, None] + side[None, None, :]
    return np.where(labels > 0, regions, 0).astype(np.uint8)


def lung_hu(labels: np.ndarray) -> np.ndarray:
    """int16 HU: soft tissue of 40 around, every class at one value with a little noise."""
    table = np.full(256, 40, np.int16)
    for number, hu in HU.items():
        table[number] = hu
    noise = np.random.default_rng(1).integers(-9, 10, labels.shape).astype(np.int16)
    return table[labels] + noise


def add_ct(
    scene: slicer.vtkMRMLScene,
    values: np.ndarray,
    *,
    directions: np.ndarray | None = None,
    spacing: tuple[float, float, float] = (0.7, 0.9, 2.0),
    origin: tuple[float, float, float] = (12.0, -30.0, 55.0),
    name: str = "CT",
) -> slicer.vtkMRMLScalarVolumeNode:
    """A volume node; ``directions`` (3, 3) has the axes i, j, k in RAS as columns."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, values)
    node.SetIJKToRASDirections(*np.ravel(np.diag([-1.0, -1.0, 1.0]) if directions is None else directions))
    node.SetSpacing(*spacing)
    node.SetOrigin(*origin)
    node.CreateDefaultDisplayNodes()
    return node


def put_under(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLTransformableNode, matrix: np.ndarray
) -> slicer.vtkMRMLLinearTransformNode:
    """Puts a node under a new linear transform (4, 4)."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """(3, 3) rotation about x, y and z, one after the other."""
    transform = vtk.vtkTransform()
    for turn, angle in zip((transform.RotateX, transform.RotateY, transform.RotateZ), degrees, strict=True):
        turn(angle)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())[:3, :3]


def geometry_of(node: slicer.vtkMRMLScalarVolumeNode) -> Geometry:
    """The library's geometry (LPS) of a volume in its own coordinates, by its own arithmetic."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ slicer.util.arrayFromVTKMatrix(matrix)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return Geometry(
        node.GetImageData().GetDimensions(),
        tuple(float(s) for s in spacing),
        tuple(float(v) for v in lps[:3, 3]),
        tuple(float(v) for v in (lps[:3, :3] / spacing).ravel()),
    )


def evidence_of(labels: np.ndarray) -> np.ndarray:
    """uint16 evidence that draws these labels at 0.5: odds that differ from place to place, up to ± SPAN."""
    field = gaussian_filter(np.random.default_rng(2).normal(size=labels.shape), 1.5)
    lean = (0.1 + (SPAN - 0.1) * (field - field.min()) / np.ptp(field)).astype(np.float32)
    sick = (labels >= EMPHYSEMA) & (labels <= CONSOLIDATION)
    disease = np.where(sick, labels, GROUND_GLASS).astype(np.uint8)
    otherwise = np.where(labels == VESSEL, OR_VESSEL, OR_HEALTHY).astype(np.uint8)
    return encode(np.where(sick, lean, -lean), disease, otherwise) * (labels > 0)


def write_worker_output(
    folder: Path,
    node: slicer.vtkMRMLScalarVolumeNode,
    labels: np.ndarray,
    shift_hu: float = 0.0,
    sensitivity: float = 0.5,
) -> Path:
    """What the worker leaves for a CT: the library's own files with the library's own numbers.

    ``labels`` are those at a sensitivity of 0.5; at another one the evidence says what they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    geometry, regions, evidence = geometry_of(node), lung_regions(labels), evidence_of(labels)
    k, j, i = (int(v) for v in np.argwhere(labels == GROUND_GLASS)[7])
    if sensitivity != 0.5:
        labels = draw_labels(evidence, sensitivity, least_voxels(ISLAND_ML, geometry))
    entropy = (labels == GROUND_GLASS).astype(np.float32) * np.float32(0.7)
    _write(folder / "labels.mhd", labels, geometry)
    _write(folder / "regions.mhd", regions, geometry)
    _write(folder / "entropy.mhd", entropy, geometry)
    _write(folder / "evidence.mhd", evidence, geometry)
    hu = slicer.util.arrayFromVolume(node)
    tally = Tally(geometry.voxel_ml, shift_hu=shift_hu)
    tally.add(hu, labels, side_of(regions), third_of(regions))
    content = {
        "format": 1,
        "source": "patient-name.nii.gz",
        "grid": "small",
        "created": "2026-11-22 05:00:00 UTC",
        "notes": ["A note."],
        "air": {"measured_hu": -1000.0 - shift_hu, "shift_hu": shift_hu, "source": "trachea"},
        "model": {"name": "diffseglung-ct 1"},
        "config": {"preset": "balanced", "sensitivity": sensitivity, "island_ml": ISLAND_ML},
        "timings_s": {},
        "run": {"device": "cpu"},
        "tables": tally.result().to_mapping(),
        "components": [],
        "uncertain_regions": [
            {
                "index": [i, j, k],
                "volume_ml": 0.6,
                "entropy": 0.7,
                "class": "ground_glass",
                "second": "fibrosis",
            }
        ],
    }
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _write(path: Path, values: np.ndarray, geometry: Geometry) -> None:
    for _fraction in write_raw(path, geometry, values.dtype, [values]):
        pass
