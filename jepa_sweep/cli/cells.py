"""Cells and columns of what commands print about runs."""

from typing import Any

from jepa_sweep.errors import on_one_line


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Cells in columns, two blanks apart, behind two blanks."""
    rows = [tuple(map(on_one_line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [f"  {line}".rstrip() for line in lines]


def writer_row(writer: dict[str, Any]) -> tuple[str, ...]:
    """What a writer has done, and does now."""
    done = f"{writer['points']:,} points in {writer['chunks']:,} chunks"
    now = f"computing {writer['computing']:,} now" if writer["computing"] else f"last wrote {written_at(writer)}"
    return writer["writer"], done, now


def written_at(facts: dict[str, Any]) -> str:
    """When something was last written, to the minute, in UTC by the clock of who wrote it."""
    return facts["last_commit"][:16].replace("T", " ") if facts["last_commit"] else "never"
