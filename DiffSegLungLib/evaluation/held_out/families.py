"""Which painters draw the lesions of a family."""

from __future__ import annotations

from ...lesions.painters import PAINTERS
from ...lesions.patterns import Family, Painters
from .patterns_c import PAINTERS_C
from .patterns_d import PAINTERS_D


def painters_of(family: Family) -> Painters:
    """Painters of a family's lesions, by kind: those that training may see, or those held out from it."""
    return {"a": PAINTERS, "c": PAINTERS_C, "d": PAINTERS_D}[family]
