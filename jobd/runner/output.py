"""Where a task's words go: descriptors 1 and 2 are one pipe to the daemon, so their order is kept.

A print is a plain line. What a logging library logs travels in the same pipe as a record with its level (see
jobd.wire), so that the daemon's log has it at its own level, in order with the prints.
"""

import json
import os
import sys
import threading
from contextlib import suppress
from io import TextIOWrapper
from operator import attrgetter
from typing import Any

from jobd import linux
from jobd.wire import LEVEL_MARK, MAX_RECORD, MAX_RECORD_PIECE, SECRET, end_mark

_MANNERS: dict[str, Any] = {
    "encoding": "utf-8",
    "errors": "backslashreplace",
    "newline": None,
    "line_buffering": True,
    "write_through": False,
}
_seen = attrgetter("encoding", "errors", "line_buffering", "write_through")
_MADE = ("utf-8", "backslashreplace", True, False)
_PIECE = MAX_RECORD_PIECE - 64  # letters of a record's JSON text; around it stand marks and a key
_random = os.urandom  # as it was before any task could put another in its place


def _stream(descriptor: int) -> TextIOWrapper:
    binary = os.fdopen(descriptor, "wb", closefd=False)
    return TextIOWrapper(binary, **_MANNERS)


class Output:
    """Standard output and error of this worker."""

    def __init__(self) -> None:
        self._streams = (_stream(1), _stream(2))
        self.restore()

    def restore(self) -> None:
        """Put sys.stdout and sys.stderr back, as they were, and send what is held. OSError: descriptors are closed."""
        linux.flush_c_output()
        output, errors = self._streams
        if sys.stdout is not output or sys.stderr is not errors:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # of the task's own; it may hold something
                    stream.flush()
        try:
            if not _seen(output) == _seen(errors) == _MADE:
                self.reconfigure()
            output.flush()
            errors.flush()
        except ValueError:  # closed, or detached
            self._streams = (_stream(1), _stream(2))
        sys.stdout, sys.stderr = self._streams
        sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc]

    def reconfigure(self) -> None:
        """Have the streams as they were, also in what cannot be seen (the end of a line)."""
        for stream in self._streams:
            stream.reconfigure(**_MANNERS)

    def record(self, level: str, message: str) -> None:
        """Send a record of a logging library, or of jobd's own about this run."""
        for stream in self._streams:
            stream.flush()
        for start in range(0, len(message) or 1, MAX_RECORD):
            text = json.dumps(message[start : start + MAX_RECORD])
            if len(text) <= _PIECE:
                _write(f"{LEVEL_MARK}{level} {text}\n".encode())
            else:
                _write_pieces(level, text)

    def mark_end(self, secret: str) -> None:
        """Mark where the output of this run ends, when nothing of it can print any more. Raises OSError."""
        _write(end_mark(secret))


def draw_secret() -> str:
    """The secret of a mark, unknown while the run that it ends could print."""
    return _random(SECRET // 2).hex()


def _write_pieces(level: str, text: str) -> None:
    """One `write` each, since the kernel mixes nothing into so few bytes: others may be printing at the same time."""
    key = threading.get_native_id()
    for start in range(0, len(text), _PIECE):
        sign = "+" if start + _PIECE < len(text) else "="
        _write(f"{LEVEL_MARK}{level}{sign}{key} {text[start : start + _PIECE]}\n".encode())


def _write(data: bytes) -> None:
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:  # something that shares the pipe has made it so for all
            os.set_blocking(1, True)
