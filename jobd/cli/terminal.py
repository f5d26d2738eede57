"""How things look: escaped text, local times, tables that fit the terminal, colours where somebody sees them.

Everything stored passes through `escape`, so that no value can move a terminal's cursor or forge a line.
Imports nothing that costs: `jobd list` is made of this.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TextIO

from jobd.clock import SECOND, to_datetime

STYLES = {"good": "32", "bad": "31", "busy": "36", "wait": "33", "dim": "2", "head": "1"}
GAP = "  "
NARROWEST = 6  # characters that are left of a column which is cut


class Cell(NamedTuple):
    """One field of a table. `style` is a key of STYLES."""

    text: str
    style: str = ""


def escape(text: str) -> str:
    """`text` on one line, with everything that is not plainly visible written as an escape sequence."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(char) for char in text)


def escape_lines(text: str) -> str:
    """Like `escape`, for what a task printed: line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else _code(char) for char in text)


def _code(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def quoted(words: Iterable[str]) -> str:
    """`words` as bash reads them back, on one line."""
    from shlex import quote

    return " ".join(quote(word) if word.isprintable() else _ansi_quoted(word) for word in words)


def _ansi_quoted(word: str) -> str:
    """A word with control characters in bash's own form, $'...'."""
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(char if char.isprintable() else _ansi_code(char) for char in plain) + "'"


def _ansi_code(char: str) -> str:
    """A character as an escape sequence of bash's, where \\x80 to \\xff would be bytes and not characters."""
    return f"\\u{ord(char):04x}" if "\x7f" < char < "\u0100" else _code(char)


def moment(value: int | None, now: int | None = None) -> str:
    """A time for people: local, with its offset. With `now`, the date is left out when it is today's."""
    if value is None:
        return "-"
    local = to_datetime(value).astimezone()
    if now is not None and local.date() == to_datetime(now).astimezone().date():
        return local.timetz().isoformat("seconds")
    return local.isoformat(" ", "seconds")


def span(duration: int) -> str:
    """A measured duration for people, to three figures or so."""
    if duration < SECOND:
        return f"{max(0, duration) / 1000:.3g} ms"
    if duration < 100 * SECOND:
        return f"{duration / SECOND:.3g} s"
    minutes, seconds = divmod(duration // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def width_of(text: str) -> int:
    """The terminal columns that `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def terminal_width(stream: TextIO) -> int | None:
    """The columns of the terminal that `stream` is, or None when it is none: nothing is cut then."""
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
    """Print one JSON array, element by element: memory stays flat however long it is."""
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
