"""Everything a run can be told, in one frozen dataclass that goes to JSON and back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from .errors import InputError

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
        timesteps: noise levels at which the encoder runs, 1..T (5).
        overlap: share of a patch that its neighbours also see, 0..0.5 (5).
        components: number of mixture components; 0 chooses by BIC in 2..32 (5).
        mode: mixture fitted to this volume alone, or the bundle's population mixture adapted to it (5).
        alpha: weight of the cell posterior in the voxel posterior (6).
        beta: weight of the voxel's HU likelihood (6).
        kappa: edge scale of the diffusion, HU/mm (6).
        tau: time step of the explicit diffusion, at most 1/6 (6).
        diffusion_steps: number of explicit diffusion steps; 0 switches it off (6).
        island_ml: connected islands below this volume join their surroundings, ml (6).
        seed: seed of the noise and of the mixture's starts.
        device: where the network runs.
    """

    preset: str = "balanced"
    correct_air: bool = True
    descriptor: Descriptor = "hybrid"
    timesteps: tuple[int, ...] = (50, 100, 150)
    overlap: float = 0.25
    components: int = 24
    mode: Mode = "adapted"
    alpha: float = 1.0
    beta: float = 1.0
    kappa: float = 100.0
    tau: float = 1.0 / 6.0
    diffusion_steps: int = 8
    island_ml: float = 0.1
    seed: int = 0
    device: Device = "auto"

    def to_json(self) -> str:
        """The configuration as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what :meth:`to_json` wrote; unknown or wrongly typed entries are refused by name."""
        return cls.from_mapping(json.loads(text))

    @classmethod
    def from_mapping(cls, entries: dict[str, Any]) -> Config:
        """A configuration from plain values; missing entries keep their default."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(entries) - known)
        if unknown:
            raise InputError(
                "unknown-setting",
                f"The configuration has unknown settings: {', '.join(unknown)}.",
                f"Known settings are {', '.join(sorted(known))}.",
            )
        values = dict(entries)
        if "timesteps" in values:
            values["timesteps"] = tuple(int(t) for t in values["timesteps"])
        return cls(**values)


PRESETS: dict[str, Config] = {
    "fast": Config(preset="fast", timesteps=(100,), overlap=0.0),
    "balanced": Config(preset="balanced"),
    "best": Config(preset="best", overlap=0.5),
}
