"""DiffSegLung: annotation-free segmentation of lung pathology in chest CT.

``from DiffSegLungLib import CT, Segmenter`` is all that most scripts need. Nothing heavy is imported here:
numpy, SimpleITK and torch load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "CT": "io.ct",
    "Geometry": "io.ct",
    "Config": "config",
    "Segmenter": "segmentation.pipeline",
    "Result": "segmentation.pipeline",
    "Bundle": "model.bundle",
    "load_model": "model.library",
    "DiffSegLungError": "errors",
    "CLASSES": "classes",
}

__all__ = [
    "CLASSES",
    "CT",
    "Bundle",
    "Config",
    "DiffSegLungError",
    "Geometry",
    "Result",
    "Segmenter",
    "__version__",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
