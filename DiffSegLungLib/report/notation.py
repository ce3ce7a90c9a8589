"""How regions, colours and numbers are written for people."""

from __future__ import annotations

from ..classes import TissueClass


def region_name(name: str) -> str:
    """A region as a reader names it; thirds are called so, because a lobe may be called the same."""
    side, _, third = name.partition(" ")
    if third:
        return f"Both lungs, {third} third" if side == "lungs" else f"{side.capitalize()} {third} third"
    return {"lungs": "Both lungs", "right": "Right lung", "left": "Left lung"}.get(name, name.capitalize())


def colour(tissue: TissueClass) -> str:
    """A class's colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*tissue.colour)


def number(value: float | None, digits: int) -> str:
    """A number with a narrow space between thousands and a true minus; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return text.replace("-", "\u2212")
