"""Settings of a training run: one frozen dataclass, written beside the weights."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError, require_within

Precision = Literal["auto", "bf16", "fp32"]

FREE_SETTINGS = frozenset(
    {"steps", "cooldown", "workers", "precision", "checkpoint_minutes", "validate_every", "patience"}
)
"""Settings that may change when a run is resumed: how far it goes, and how the work is done."""

SIZES = {"small": 16, "medium": 32, "large": 64}
"""What users call the widths of the network's finest level."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides how a training run goes.

    Attributes:
        steps: optimiser steps in all; a finished run is continued by asking for more.
        base: channels of the network's finest level, see :class:`~..model.network.Architecture`.
        attention_heads: heads of the bottleneck's self-attention.
        timesteps: T of the noise schedule.
        timestep_power: timesteps are drawn as ⌊T·uᵖ⌋; 1 is uniform as in the paper, 2 favours the low noise
            at which features are taken.
        patch: (z, y, x) canonical voxels.
        batch: patches a step.
        learning_rate: of Adam.
        cooldown: last share of the steps, over which the learning rate falls linearly to 0; 0 keeps it.
        ema: decay of the averaged weights, 0..1.
        clip: largest norm of the gradient.
        stage_two: step at which distillation begins (λ leaves 0).
        full_weight: step at which λ reaches ``contrast_weight``.
        contrast_weight: λ_max, weight of InfoNCE.
        temperature: τ of InfoNCE.
        dense: one descriptor a block of ``block`` cells; False gives the paper's one a patch.
        block: block size in cells (z, y, x).
        soft_bandwidth: width of the soft positives in cohort standard deviations; 0 makes them hard.
        detach: cut the gradient between InfoNCE and the encoder, as the reference code does; for ablations.
        lesion_probability: share of patches with generated disease.
        validation_share: share of the patients held out.
        validate_every: steps between validations.
        seed: seed of weights, patches, noise and timesteps.
        precision: arithmetic of the network; ``auto`` takes bfloat16 where the hardware is fast at it.
        workers: processes that prepare patches.
        checkpoint_minutes: minutes between checkpoints.
        patience: validations without a better score that end a fine-tuning; 0 never does.
    """

    steps: int = 20_000
    base: int = 64
    attention_heads: int = 4
    timesteps: int = 250
    timestep_power: float = 2.0
    patch: tuple[int, int, int] = (32, 96, 96)
    batch: int = 4
    learning_rate: float = 1e-4
    cooldown: float = 0.0
    ema: float = 0.995
    clip: float = 1.0
    stage_two: int = 5000
    full_weight: int = 7000
    contrast_weight: float = 0.3
    temperature: float = 0.07
    dense: bool = True
    block: tuple[int, int, int] = (2, 2, 2)
    soft_bandwidth: float = 0.3
    detach: bool = False
    lesion_probability: float = 0.5
    validation_share: float = 0.12
    validate_every: int = 500
    seed: int = 0
    precision: Precision = "auto"
    workers: int = 1
    checkpoint_minutes: float = 3.0
    patience: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not abs(value) < 2**63:
                raise InputError(
                    "bad-setting",
                    f"The setting {name} is {str(value)[:40]}.",
                    "It must be a number below 2^63.",
                )
        positive = (
            "steps",
            "batch",
            "learning_rate",
            "clip",
            "temperature",
            "timestep_power",
            "validate_every",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise InputError(
                    "bad-setting", f"The setting {name} is {getattr(self, name)}.", "It must be above 0."
                )
        if not 0 <= self.stage_two <= self.full_weight:
            raise InputError(
                "bad-setting",
                f"Distillation begins at step {self.stage_two} and is full at step {self.full_weight}.",
                "It must begin before it is full.",
            )
        for name in (
            "contrast_weight",
            "soft_bandwidth",
            "seed",
            "workers",
            "checkpoint_minutes",
            "patience",
        ):
            require_within(f"setting {name}", getattr(self, name), 0, math.inf)
        for name in ("lesion_probability", "cooldown"):
            require_within(f"setting {name}", getattr(self, name), 0, 1)
        if not 0.0 <= self.validation_share < 1.0:
            raise InputError(
                "bad-setting",
                f"The share of patients held out is {self.validation_share}.",
                "It must be in 0..1, 1 excluded.",
            )
        if not 0.0 <= self.ema < 1.0:
            raise InputError(
                "bad-setting", f"The averaging decay is {self.ema}.", "It must be in 0..1, 1 excluded."
            )

    def contrast_weight_at(self, step: int) -> float:
        """λ at a step: 0 until ``stage_two``, then linear to ``contrast_weight`` at ``full_weight``."""
        if step >= self.full_weight:
            return self.contrast_weight
        rise = (step - self.stage_two) / max(1, self.full_weight - self.stage_two)
        return self.contrast_weight * max(0.0, rise)

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step: constant, then linear to 0 where there is a cooldown."""
        cooling = self.cooldown * self.steps
        return self.learning_rate * (min(1.0, max(0, self.steps - step) / cooling) if cooling else 1.0)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_mapping(cls, entries: dict[str, Any]) -> TrainingSettings:
        """Read what :meth:`to_mapping` wrote.

        Raises:
            InputError: an entry that is no setting, or has another type, or is out of range.
        """
        plain = cls().to_mapping()
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
        for name, value in values.items():
            if name not in plain or not _is_like(value, plain[name]):
                raise InputError(
                    "bad-setting",
                    f"The settings of the training hold {name[:80]!r} as {str(value)[:80]!r}.",
                    "This version of DiffSegLung cannot have written that.",
                )
        return cls(**values)


def _is_like(value: Any, plain: Any) -> bool:
    """Whether a value has the type of a setting."""
    if isinstance(plain, tuple):
        return isinstance(value, tuple) and len(value) == len(plain) and all(type(v) is int for v in value)
    return type(value) is type(plain) or (type(plain) is float and type(value) is int)
