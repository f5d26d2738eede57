"""Output for a terminal: tables that fit its width, colours, JSON.

This file imports nothing slow, because `jobd list` uses it.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TextIO

from jobd.printable import escape

STYLES = {"good": "32", "bad": "31", "busy": "36", "wait": "33", "dim": "2", "head": "1"}
GAP = "  "
NARROWEST = 6  # columns: the least width to which a table's column is cut


class Cell(NamedTuple):
    """One field of a table. `style` is a key of STYLES."""

    text: str
    style: str = ""


def width_of(text: str) -> int:
    """The terminal columns that `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def terminal_width(stream: TextIO) -> int | None:
    """The width of the terminal behind `stream`, or None if it is not a terminal: then nothing is cut."""
    if not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def coloured(stream: TextIO) -> bool:
    """Whether colours are wanted on `stream`."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], width: int | None, colour: bool) -> list[str]:
    """The lines of a table, cut to `width` columns, without blanks at their ends."""
    cells = [[Cell(name, "head") for name in header]]
    cells += [[Cell(escape(text), style) for text, style in row] for row in rows]
    widths = [max(width_of(row[column].text) for row in cells) for column in range(len(header))]
    if width is not None:
        widths = _shrink(widths, width - len(GAP) * (len(header) - 1))
    return [_line(row, widths, colour) for row in cells]


def _shrink(widths: list[int], room: int) -> list[int]:
    """Take from the widest column until all fit in `room`, or none can give any more."""
    widths = list(widths)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _line(row: Sequence[Cell], widths: Sequence[int], colour: bool) -> str:
    parts = []
    for (text, style), width in zip(row, widths, strict=True):
        text = _cut(text, width)
        filled = text + " " * (width - width_of(text))
        parts.append(f"\x1b[{STYLES[style]}m{text}\x1b[0m{filled[len(text) :]}" if colour and style else filled)
    return GAP.join(parts).rstrip()


def _cut(text: str, width: int) -> str:
    if width_of(text) <= width:
        return text
    while width_of(text) > width - 1:
        text = text[:-1]
    return text + "…"


def print_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table on standard output."""
    for line in table(header, rows, terminal_width(sys.stdout), coloured(sys.stdout)):
        sys.stdout.write(line + "\n")


def print_array(items: Iterable[object]) -> None:
    """Print one JSON array, element by element, so that memory does not grow with its length."""
    from json import dumps

    write, before = sys.stdout.write, "["
    for item in items:
        write(before + dumps(item))
        before = ",\n "
    write("[]\n" if before == "[" else "]\n")


def print_json(value: object) -> None:
    """Print one JSON document."""
    import json

    sys.stdout.write(json.dumps(value) + "\n")
