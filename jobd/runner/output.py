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
from io import TextIOWrapper
from typing import Any

from jobd.wire import LEVEL_MARK, end_mark

_NO_BYTES = bytes(4)
_LEVELS = ((40, "error"), (30, "warning"), (20, "info"), (0, "debug"))


def _stream(descriptor: int) -> TextIOWrapper:
    binary = os.fdopen(descriptor, "wb", closefd=False)
    return TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class Output:
    """Standard output and error of this worker, and the logging libraries that a plugin has brought in."""

    def __init__(self) -> None:
        self._streams = (_stream(1), _stream(2))
        self._caught: set[str] = set()
        self.restore()

    def restore(self) -> None:
        """Put sys.stdout and sys.stderr back and send what is held. ValueError or OSError: they are closed."""
        sys.stdout, sys.stderr = self._streams
        sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc]
        for stream in self._streams:
            stream.flush()

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

    def catch_libraries(self) -> None:
        """Have logging and loguru, once somebody has imported them, hand their records to `record`."""
        if "logging" in sys.modules and "logging" not in self._caught:
            self._caught.add("logging")
            self._catch_logging()
        if "loguru" in sys.modules and "loguru" not in self._caught:
            self._caught.add("loguru")
            self._catch_loguru()

    def _catch_logging(self) -> None:
        import logging

        record = self.record

        class Handler(logging.Handler):
            def emit(self, entry: logging.LogRecord) -> None:
                try:
                    record(_level(entry.levelno), self.format(entry))
                except Exception:  # noqa: BLE001 - a record that cannot be formatted must not fail the task
                    self.handleError(entry)

        root = logging.getLogger()
        if not root.handlers:
            root.addHandler(Handler())
            if root.level == logging.WARNING:
                root.setLevel(logging.INFO)

    def _catch_loguru(self) -> None:
        from loguru import logger

        def sink(message: Any) -> None:
            self.record(_level(message.record["level"].no), str(message).rstrip("\n"))

        try:
            logger.remove(0)
        except ValueError:
            return  # the plugin has set loguru up by itself
        logger.add(sink, format="{message}", diagnose=False, backtrace=False)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _level(number: int) -> str:
    return next(name for least, name in _LEVELS if number >= least)
