"""Cards of models that hold nothing, for tests that only read cards."""

from __future__ import annotations

import hashlib
from typing import Any


def tiny_card(weights: bytes, **entries: Any) -> dict[str, Any]:
    """A card with all that one must say, for these weights; ``entries`` come on top."""
    return {
        "id": "mine",
        "version": "2",
        "format": 1,
        "architecture": {},
        "schedule": {"timesteps": 100},
        "patch": [8, 16, 16],
        "sha256": hashlib.sha256(weights).hexdigest(),
        **entries,
    }
