"""A table in Markdown, as the evaluation's documents hold them."""

from __future__ import annotations

from collections.abc import Sequence

Row = Sequence[str]


def markdown_table(head: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
