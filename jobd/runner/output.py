"""Where a task's words go: descriptors 1 and 2 are one pipe to the daemon, so their order is kept.

A print is a plain line. What a logging library logs travels in the same pipe as a record with its level (see
jobd.wire), so that the daemon's log has it at its own level, in order with the prints.
"""

import fcntl
import json
import os
import struct
import sys
import termios
from contextlib import suppress
from io import TextIOWrapper
from operator import attrgetter
from typing import Any

from jobd.wire import LEVEL_MARK, end_mark

_MANNERS: dict[str, Any] = {
    "encoding": "utf-8",
    "errors": "backslashreplace",
    "newline": None,
    "line_buffering": True,
    "write_through": False,
}
_seen = attrgetter("encoding", "errors", "line_buffering", "write_through")
_MADE = ("utf-8", "backslashreplace", True, False)
_NO_BYTES = bytes(4)


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
        _write(f"{LEVEL_MARK}{level} {json.dumps(message)}\n".encode())

    def mark_end(self, serial: int) -> bool:
        """Mark where the output of this run ends, unless the daemon has read all of it; whether that was needed."""
        if not struct.unpack("i", fcntl.ioctl(1, termios.FIONREAD, _NO_BYTES))[0]:
            return False
        _write(end_mark(serial))
        return True


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
