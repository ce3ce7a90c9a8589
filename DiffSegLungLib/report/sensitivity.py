"""Volumes of the diseases as a function of the sensitivity: numbers, and the report's chart of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..classes import BY_KEY, TissueClass

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 640, 250, 46, 34, 8
_TOLD = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class BySensitivity:
    """What other sensitivities give.

    Attributes:
        sensitivities: from 0 to 1.
        volumes_ml: class key -> ml at each of them; islands of any size count.
        present: the sensitivity of the result.
    """

    sensitivities: Sequence[float]
    volumes_ml: Mapping[str, Sequence[float]]
    present: float

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON: ``sensitivities``, and ``volumes_ml`` by class key."""
        return {
            "sensitivities": list(self.sensitivities),
            "volumes_ml": {key: list(volumes) for key, volumes in self.volumes_ml.items()},
        }


@dataclass(frozen=True)
class Curves:
    """Curves in the units of their picture, y growing downwards.

    Attributes:
        width, height: of the picture.
        left, right, top, floor: where the axes lie.
        ticks: x and sensitivity of each mark of the horizontal axis.
        levels: y and ml of each line of the vertical axis.
        lines: every disease that occurs and the corners of its line, as SVG writes them.
        present: x of the result's own sensitivity.
        rows: every disease that occurs and its ml at the sensitivities of ``ticks``.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    floor: int
    ticks: tuple[tuple[float, float], ...]
    levels: tuple[tuple[float, float], ...]
    lines: tuple[tuple[TissueClass, str], ...]
    present: float
    rows: tuple[tuple[TissueClass, tuple[float, ...]], ...]


def sensitivity_curves(found: BySensitivity) -> Curves:
    """Curves of ml over sensitivity, one a disease that occurs at any."""
    right, floor = _WIDTH - _EDGE, _HEIGHT - _BOTTOM
    drawn = {BY_KEY[key]: volumes for key, volumes in found.volumes_ml.items() if max(volumes) > 0}
    highest = max((max(volumes) for volumes in drawn.values()), default=1.0)

    def x(sensitivity: float) -> float:
        return round(_LEFT + sensitivity * (right - _LEFT), 1)

    def y(ml: float) -> float:
        return round(_EDGE + (1 - ml / (highest * 1.05)) * (floor - _EDGE), 1)

    lines = [
        (tissue, " ".join(f"{x(s)},{y(v)}" for s, v in zip(found.sensitivities, volumes, strict=True)))
        for tissue, volumes in drawn.items()
    ]
    places = [list(found.sensitivities).index(s) for s in _TOLD]
    return Curves(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=right,
        top=_EDGE,
        floor=floor,
        ticks=tuple((x(s), s) for s in _TOLD),
        levels=tuple((y(ml), ml) for ml in (highest / 2, highest)),
        lines=tuple(lines),
        present=x(found.present),
        rows=tuple((tissue, tuple(volumes[p] for p in places)) for tissue, volumes in drawn.items()),
    )
