"""Everything a run can be told, in one frozen dataclass that goes to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .errors import InputError

Preset = Literal["fast", "balanced", "best"]
Descriptor = Literal["diffusion", "statistics", "hybrid"]
Mode = Literal["per-volume", "adapted"]
Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Config:
    """Settings of one segmentation (method.md stages 1, 5, 6, 7 in brackets).

    Attributes:
        preset: name of the preset this configuration started from.
        correct_air: shift HU so that air reads -1000, at most 60 HU (1).
        descriptor: what describes a cell: student features, local statistics, or both (5).
        timesteps: noise levels of the student's features, 1..T; a model's tissue head has its own (5).
        overlap: share of a patch that its neighbours also see, 0..0.5 (5).
        components: number of mixture components; 0 chooses by BIC in 2..32 (5).
        mode: mixture fitted to this volume alone, or the bundle's population mixture adapted to it (5).
        component_weight: how much the name of a cell's component counts beside what the cell itself looks
            like, 0..1; 1 is the pure mixture (5).
        alpha: weight of the cell posterior in the voxel posterior (6).
        beta: weight of the voxel's HU likelihood (6).
        kappa: edge scale of the diffusion, HU/mm (6).
        tau: time step of the explicit diffusion, at most 1/6 (6).
        diffusion_steps: number of explicit diffusion steps; 0 switches it off (6).
        sensitivity: how readily lung is called diseased, 0..1; 0.5 is the calibrated operating point (6).
        island_ml: connected islands below this volume join their surroundings, ml (6).
        seed: seed of the noise and of the mixture's starts.
        device: where the network runs.

    Raises:
        InputError: a value outside its range; the message names the setting and what it accepts.
    """

    preset: Preset = "balanced"
    correct_air: bool = True
    descriptor: Descriptor = "hybrid"
    timesteps: tuple[int, ...] = (10,)
    overlap: float = 0.125
    components: int = 24
    mode: Mode = "adapted"
    component_weight: float = 0.5
    alpha: float = 1.0
    beta: float = 1.0
    kappa: float = 50.0
    tau: float = 1.0 / 6.0
    diffusion_steps: int = 8
    sensitivity: float = 0.5
    island_ml: float = 0.1
    seed: int = 0
    device: Device = "auto"

    def __post_init__(self) -> None:
        for name, (ok, needed) in _LIMITS.items():
            value = getattr(self, name)
            try:
                accepted = ok(value)
            except (TypeError, OverflowError):
                accepted = False
            if not accepted:
                raise InputError(
                    "bad-setting",
                    f"The setting {name.replace('_', ' ')} cannot be {_shown(value)}.",
                    f"It must be {needed}.",
                )

    def to_json(self) -> str:
        """The configuration as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what :meth:`to_json` wrote; unknown or wrongly typed entries are refused by name."""
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                "bad-config",
                f"The configuration is not valid JSON ({error}).",
                'An object such as {"preset": "fast", "seed": 1} is needed.',
            ) from error
        if not isinstance(entries, dict):
            raise InputError(
                "bad-config",
                f"The configuration is a JSON {type(entries).__name__}.",
                'An object such as {"preset": "fast", "seed": 1} is needed.',
            )
        return cls.from_mapping(entries)

    @classmethod
    def from_mapping(cls, entries: dict[str, Any]) -> Config:
        """A configuration from plain values; missing entries keep those of the preset that it names."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(entries) - known)
        if unknown:
            raise InputError(
                "unknown-setting",
                f"The configuration has unknown settings: {', '.join(unknown)}.",
                f"Known settings are {', '.join(sorted(known))}.",
            )
        values = dict(entries)
        if isinstance(values.get("timesteps"), list):
            values["timesteps"] = tuple(values["timesteps"])
        start = PRESETS.get(values["preset"]) if isinstance(values.get("preset"), str) else None
        return dataclasses.replace(start, **values) if start else cls(**values)


def _shown(value: Any) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, tuple) and value else repr(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(choices: Any) -> tuple[Callable[[Any], bool], str]:
    names = get_args(choices)
    return (lambda v: v in names), f"one of {', '.join(names)}"


_LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "preset": _one_of(Preset),
    "correct_air": (lambda v: isinstance(v, bool), "true or false"),
    "descriptor": _one_of(Descriptor),
    "timesteps": (
        lambda v: isinstance(v, tuple) and len(set(v)) == len(v) > 0 and all(_whole(t) and t >= 1 for t in v),
        "one or more different whole numbers from 1 on, e.g. 3, 10, 30",
    ),
    "overlap": (lambda v: _number(v) and 0 <= v <= 0.5, "a number from 0 to 0.5"),
    "components": (
        lambda v: _whole(v) and (v == 0 or 2 <= v <= 64),
        "a whole number from 2 to 64, or 0 (BIC)",
    ),
    "mode": _one_of(Mode),
    "component_weight": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "alpha": (lambda v: _number(v) and v >= 0, "a number from 0 on"),
    "beta": (lambda v: _number(v) and v >= 0, "a number from 0 on"),
    "kappa": (lambda v: _number(v) and v > 0, "a number above 0, in HU/mm"),
    "tau": (lambda v: _number(v) and 0 < v <= 1 / 6, "a number above 0 and at most 1/6"),
    "diffusion_steps": (lambda v: _whole(v) and 0 <= v <= 1000, "a whole number from 0 to 1000"),
    "sensitivity": (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "island_ml": (lambda v: _number(v) and 0 <= v <= 1e6, "a number from 0 to a million, in ml"),
    "seed": (lambda v: _whole(v) and 0 <= v < 2**32, "a whole number from 0 to 4294967295"),
    "device": _one_of(Device),
}


PRESETS: dict[str, Config] = {
    "fast": Config(preset="fast", overlap=0.0),
    "balanced": Config(preset="balanced"),
    "best": Config(preset="best", overlap=0.5),
}
