"""Which serializer keeps a type hint of a parameter."""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer

from .serializer_containers import Dict, List, Tuple, Union
from .serializers import Node, NoValue, Range, Serializer, Text
from .validators import FloatRange, split_annotations

PATHS = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)


def split_type(annotated: Any) -> tuple[Any, tuple[Any, ...]]:
    """(type, extras) of a type hint that may be `Annotated`."""
    if typing.get_origin(annotated) is typing.Annotated:
        base, *extras = typing.get_args(annotated)
        return base, tuple(extras)
    return annotated, ()


def serializer_for(annotated: Any) -> Serializer:
    """The serializer of a type hint, with its validators. Raises TypeError for a type Slicer cannot store."""
    kind, extras = split_type(annotated)
    validators, _, _ = split_annotations(extras)
    serializer = _scalar(kind) or _compound(kind)
    if serializer is None:
        raise TypeError(f"Unable to create serializer for type {kind}")
    serializer.validators.extend(validators)
    return serializer


def _scalar(kind: Any) -> Serializer | None:
    if not isinstance(kind, type):
        return None
    simple: dict[type, Callable[[], Serializer]] = {
        str: lambda: Text(str, "", str, str),
        bool: lambda: Text(bool, False, str, lambda text: text == "True"),
        int: lambda: Text(int, 0, str, int),
        float: lambda: Text((int, float), 0.0, str, float),
        type(None): NoValue,
        FloatRange: Range,
    }
    if kind in simple:
        return simple[kind]()
    if kind in PATHS:
        return Text(kind, kind(), str, kind)
    if issubclass(kind, enum.Enum):
        return Text(kind, next(iter(kind)), lambda member: member.name, lambda name: kind[name])
    if issubclass(kind, slicer.vtkMRMLNode):
        return Node(kind)
    if hasattr(kind, "pack_serializer"):
        return kind.pack_serializer()
    return None


def _compound(kind: Any) -> Serializer | None:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Union:  # not types.UnionType: `int | None` is refused, as by Slicer 5.10
        return Union([serializer_for(argument) for argument in arguments])
    if origin is list:
        return List(serializer_for(arguments[0]))
    if origin is tuple:
        return Tuple([serializer_for(argument) for argument in arguments])
    if origin is dict:
        return Dict(serializer_for(arguments[0]), serializer_for(arguments[1]))
    return None
