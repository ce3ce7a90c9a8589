"""The radiomic teacher: 34 classical texture numbers of a masked piece of lung, in batched torch."""

from .descriptor import HU_MAX, HU_MIN, NAMES, describe

__all__ = ["HU_MAX", "HU_MIN", "NAMES", "describe"]
