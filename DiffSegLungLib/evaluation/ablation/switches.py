"""The choices of the method at inference, each with what it is compared with."""

from __future__ import annotations

from typing import Any

from .bench import Switch

DEFAULT = "default"

OFFSET_HU = -30
"""A scanner whose air reads -1030 HU, as one of the development volumes does."""

ALONE: dict[str, Any] = {"descriptor": "diffusion", "mode": "per-volume", "component_weight": 1.0}
"""The mixture on the network's features alone, where a difference between features shows the most."""

_OWN: dict[str, Any] = {"mode": "per-volume"}
_PAPER = (50, 100, 150)

SWITCHES: tuple[Switch, ...] = (
    Switch(DEFAULT, "the method as it ships"),
    Switch("diffusion", "descriptor: diffusion features only", DEFAULT, {"descriptor": "diffusion"}),
    Switch("statistics", "descriptor: local statistics only", DEFAULT, {"descriptor": "statistics"}),
    Switch("per_volume", "mixture of this volume alone, K = 24", DEFAULT, _OWN | {"components": 24}),
    Switch("k_5", "… and K = 5 (paper)", "per_volume", _OWN | {"components": 5}),
    Switch("bic", "… and K by BIC (reference code)", "per_volume", _OWN | {"components": 0}),
    Switch("weight_0", "component weight 0: every cell by itself", DEFAULT, {"component_weight": 0.0}),
    Switch("weight_1", "component weight 1: pure mixture (paper)", DEFAULT, {"component_weight": 1.0}),
    Switch("beta_0", "no voxel HU likelihood (beta 0)", DEFAULT, {"beta": 0.0}),
    Switch("no_diffusion", "no Sobel-Diffusion Fusion (0 steps)", DEFAULT, {"diffusion_steps": 0}),
    Switch("no_vessels", "vessels not excluded", DEFAULT, vessels=False),
    Switch("no_cavities", "cavities not looked for", DEFAULT, cavities=False),
    Switch("z_scored", "not HU-preserving: HU z-scored over each lung", DEFAULT, normalisation="z-scored"),
    Switch("offset", f"scanner offset of {OFFSET_HU} HU, corrected", DEFAULT, offset_hu=OFFSET_HU),
    Switch("uncorrected", "… and not corrected", "offset", {"correct_air": False}, offset_hu=OFFSET_HU),
    Switch("paper", "the paper's form: features alone (below), K = 5, timesteps 50, 100, 150",
           DEFAULT, {**ALONE, "components": 5, "timesteps": _PAPER}),
    Switch("alone", "**features alone**: diffusion features, this volume, pure mixture, K = 24",
           DEFAULT, {**ALONE, "components": 24}),
    Switch("alone_t_3", "… three timesteps, 3, 10, 30", "alone",
           {**ALONE, "components": 24, "timesteps": (3, 10, 30)}),
    Switch("alone_t_paper", "… timesteps 50, 100, 150 (paper)", "alone",
           {**ALONE, "components": 24, "timesteps": _PAPER}),
    Switch("alone_k_5", "… K = 5 (paper)", "alone", {**ALONE, "components": 5}),
    Switch("alone_bic", "… K by BIC (reference code)", "alone", {**ALONE, "components": 0}),
    Switch("alone_beta_0", "… no voxel HU likelihood (beta 0)", "alone",
           {**ALONE, "components": 24, "beta": 0.0}),
    Switch("alone_no_head", "… bottleneck features, without the student's head", "alone",
           {**ALONE, "components": 24}, encoder=True),
    Switch("alone_z_scored", "… the network's input not HU-preserving", "alone",
           {**ALONE, "components": 24}, "z-scored for the network"),
)  # fmt: skip
"""In the order of the table; what is compared comes after what it is compared with."""
