"""Numbers and lists as people say them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slicer.i18n import tr as _


def durationText(seconds: float) -> str:
    """About how long, no more precise than anybody can know: ``"40 s"``, ``"3 min"``, ``"1.5 h"``."""
    if seconds < 10:
        return _("{count} s").format(count=max(1, round(seconds)))
    if seconds < 95:
        return _("{count} s").format(count=5 * round(seconds / 5))
    if seconds < 5400:
        return _("{count} min").format(count=round(seconds / 60))
    return _("{count} h").format(count=f"{seconds / 3600:.1f}")


def memoryText(gigabytes: float) -> str:
    """Gigabytes with one digit after the point."""
    return _("{count} GB").format(count=f"{gigabytes:.1f}")


def listText(names: Sequence[str]) -> str:
    """``"a"``, ``"a and b"``, ``"a, b and c"``."""
    if len(names) < 2:
        return "".join(names)
    return _("{first} and {last}").format(first=", ".join(names[:-1]), last=names[-1])


def numberText(value: float, digits: int = 0) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if math.isnan(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−")
