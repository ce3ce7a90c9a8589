"""The terminology of the classes in Slicer's JSON format, made from the library's one table of classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer

from DiffSegLungLib.classes import CLASSES, Code, TissueClass

CONTEXT = CLASSES[0].terminology.split("~", 1)[0]
"""Name of the context, as every segment's terminology entry names it."""

FILE = Path(__file__).parents[2] / "Resources" / "DiffSegLung.term.json"

_SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"


def terminology() -> dict[str, Any]:
    """The content of :data:`FILE`: the categories that occur, each with its classes and their colours."""
    categories: dict[Code, list[TissueClass]] = {}
    for tissue in CLASSES:
        categories.setdefault(tissue.category, []).append(tissue)
    return {
        "SegmentationCategoryTypeContextName": CONTEXT,
        "@schema": _SCHEMA,
        "SegmentationCodes": {
            "Category": [
                {**_code(category), "showAnatomy": True, "Type": [_type(tissue) for tissue in members]}
                for category, members in categories.items()
            ]
        },
    }


def writeTerminology(path: Path = FILE) -> None:
    """Write the file anew after a change of the classes; a test compares the two."""
    path.write_text(json.dumps(terminology(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def loadTerminology(logic: slicer.vtkSlicerTerminologiesModuleLogic) -> bool:
    """Make the classes known to Slicer's terminology selector, once; returns whether they are."""
    if not logic.IsTerminologyContextLoaded(CONTEXT):
        logic.LoadTerminologyFromFile(str(FILE))
    return bool(logic.IsTerminologyContextLoaded(CONTEXT))


def _code(code: Code) -> dict[str, str]:
    return {
        "CodingSchemeDesignator": code.scheme,
        "CodeValue": code.value,
        "CodeMeaning": code.meaning,
    }


def _type(tissue: TissueClass) -> dict[str, Any]:
    return {
        "recommendedDisplayRGBValue": list(tissue.colour),
        **_code(tissue.type),
        "3dSlicerLabel": tissue.key,
    }
