"""Stored values as text for display: quoted for a shell, local times, durations.

This file imports nothing slow, because `jobd list` uses it.
"""

from collections.abc import Iterable

from jobd.clock import SECOND, to_datetime
from jobd.printable import escape_code


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
    return f"\\u{ord(char):04x}" if "\x7f" < char < "\u0100" else escape_code(char)


def moment(value: int | None, now: int | None = None) -> str:
    """A time (µs) for display: local, with its offset. With `now`, the date is omitted if it is today's."""
    if value is None:
        return "-"
    local = to_datetime(value).astimezone()
    if now is not None and local.date() == to_datetime(now).astimezone().date():
        return local.timetz().isoformat("seconds")
    return local.isoformat(" ", "seconds")


def span(duration: int) -> str:
    """A measured duration (µs) for display, with about three significant digits."""
    if duration < SECOND:
        return f"{max(0, duration) / 1000:.3g} ms"
    if duration < 100 * SECOND:
        return f"{duration / SECOND:.3g} s"
    minutes, seconds = divmod(duration // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"
