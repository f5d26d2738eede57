"""A task's output: descriptors 1 and 2 are one pipe to the daemon, so the order of the output is kept.

A print is a plain line. A log record travels in the same pipe with its level (see jobd.wire), so that the daemon logs
it at that level, in order with the prints.
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
_PIECE = MAX_RECORD_PIECE - 64  # characters of a record's JSON text; markers and a key are added to each piece
_random = os.urandom  # kept, because a task can replace os.urandom


def _stream(descriptor: int) -> TextIOWrapper:
    binary = os.fdopen(descriptor, "wb", closefd=False)
    return TextIOWrapper(binary, **_MANNERS)


class Output:
    """Standard output and error of this worker."""

    def __init__(self) -> None:
        self._streams = (_stream(1), _stream(2))
        self.restore()

    def restore(self) -> None:
        """Restore sys.stdout and sys.stderr and flush all buffers. Raises OSError if a descriptor is closed."""
        linux.flush_c_output()
        output, errors = self._streams
        if sys.stdout is not output or sys.stderr is not errors:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # an object of the task; its buffer may not be empty
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
        """Set all options of the streams, including the one that cannot be read (newline)."""
        for stream in self._streams:
            stream.reconfigure(**_MANNERS)

    def record(self, level: str, message: str) -> None:
        """Send a record of a logging library, or jobd's own record about this run."""
        for stream in self._streams:
            stream.flush()
        for start in range(0, len(message) or 1, MAX_RECORD):
            text = json.dumps(message[start : start + MAX_RECORD])
            if len(text) <= _PIECE:
                _write(f"{LEVEL_MARK}{level} {text}\n".encode())
            else:
                _write_pieces(level, text)

    def mark_end(self, secret: str) -> None:
        """Mark the end of this run's output, after all its processes have ended. Raises OSError."""
        _write(end_mark(secret))


def draw_secret() -> str:
    """A new secret for an end mark. It is drawn after the run, so the run cannot print it."""
    return _random(SECRET // 2).hex()


def _write_pieces(level: str, text: str) -> None:
    """Send pieces that are short enough for an atomic `write`, because other threads or processes may be printing."""
    key = threading.get_native_id()
    for start in range(0, len(text), _PIECE):
        sign = "+" if start + _PIECE < len(text) else "="
        _write(f"{LEVEL_MARK}{level}{sign}{key} {text[start : start + _PIECE]}\n".encode())


def _write(data: bytes) -> None:
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:  # a process that shares the pipe has set O_NONBLOCK
            os.set_blocking(1, True)
