"""Validators of `slicer.parameterNodeWrapper`: what a value must fulfil before it is stored.

Written from the public developer guide; names, arguments and exception types are Slicer's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


class Validator:
    """Base of all validators; `validate` raises (ValueError by custom) where the value does not do."""

    def validate(self, value: Any) -> None:
        raise NotImplementedError


class NotNone(Validator):
    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    """Of the given type, or None (NotNone forbids that)."""

    def __init__(self, classtype: type | tuple[type, ...]) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type {self.classtype}, is {value!r} of type {type(value)}")


class Minimum(Validator):
    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Maximum(Validator):
    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class WithinRange(Validator):
    """minimum <= value <= maximum."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within [{self.minimum}, {self.maximum}], is {value}")


class Choice(Validator):
    def __init__(self, choices: Sequence[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, is {value!r}")


class Exclude(Validator):
    def __init__(self, excludedValues: Sequence[Any]) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Value must not be one of {self.excludedValues}, is {value!r}")


class RangeBounds(Validator):
    """A FloatRange that lies within [minimum, maximum]."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value: FloatRange) -> None:
        if not self.minimum <= value.minimum <= value.maximum <= self.maximum:
            raise ValueError(f"Range must be within [{self.minimum}, {self.maximum}], is {value}")


@dataclasses.dataclass
class FloatRange:
    """A pair minimum <= maximum, as a range slider holds it."""

    minimum: float = 0.0
    maximum: float = 0.0

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {self.minimum} > {self.maximum}")


class Default:
    """Annotation that gives a parameter its default: a value, or a function that makes one."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value = value
        self._generator = generator

    @property
    def value(self) -> Any:
        return self._generator() if self._generator else self._value


def split_annotations(annotations: Sequence[Any]) -> tuple[list[Validator], Default | None, list[Any]]:
    """Sorts the extras of an `Annotated` type into validators, default and what is left over."""
    validators = [extra for extra in annotations if isinstance(extra, Validator)]
    defaults = [extra for extra in annotations if isinstance(extra, Default)]
    if len(defaults) > 1:
        raise ValueError("A parameter can have one Default only")
    rest = [extra for extra in annotations if not isinstance(extra, Validator | Default)]
    return validators, defaults[0] if defaults else None, rest
