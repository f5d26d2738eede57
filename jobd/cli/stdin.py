"""Standard input in non-blocking mode, which another process may have set: it is waited for.

The mode is not changed, because it is also that of the other processes that share the input.
"""

import io
import os
import sys
from select import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Patient(io.RawIOBase):
    """Descriptor 0, read as if it blocked. It has no `fileno`, because input() would then read that itself."""

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(0)

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        while True:
            try:
                return os.readv(0, [view])
            except BlockingIOError:
                select([0], [], [])


class _PatientText(io.TextIOWrapper):
    """Descriptor 0 as text. It may have read more than was asked for, so there is only one."""


def be_patient() -> None:
    """Have reads of `sys.stdin` wait for input. A command calls this before each time that it reads or asks."""
    if not os.get_blocking(0) and not isinstance(sys.stdin, _PatientText):
        sys.stdin = _PatientText(io.BufferedReader(_Patient()), encoding=sys.stdin.encoding)
