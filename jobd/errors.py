"""The errors that users can cause or resolve, each with the exit code of a command that fails with it.

They are raised where the cause is understood. They are shown in one place (the top of the command line) and logged in
one place (the daemon's loop). Any other exception is a bug in jobd.
"""

import errno
import os
from collections.abc import Iterable
from typing import Self

MAX_ERROR = 2_000  # characters of the error that is kept with a run


class JobdError(Exception):
    """An operation failed. `str()` is one line with the problem and its place; `hint` says what to do."""

    exit_code = 1

    picture = ""  # lines to show below the message
    several = False  # the message has one line for each of several mistakes

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @classmethod
    def of_lines(cls, lines: Iterable[str], hint: str = "") -> Self:
        """An error with several lines. Line breaks inside a line are escaped."""
        error = cls("\n".join(line.replace("\n", "\\n") for line in lines), hint)
        error.several = True
        return error


class BadValue(JobdError):
    """A value from a user is not allowed."""

    exit_code = 2


class NotRunning(JobdError):
    """The daemon is not running."""

    exit_code = 3


class DatabaseUnavailable(JobdError):
    """The database cannot be reached or written; nothing was changed."""

    exit_code = 4
    stored = "nothing was changed"  # the part of the command's work that is in the database


class StatementRefused(DatabaseUnavailable):
    """The database refused this statement because of a trigger, a constraint or a limit. Others may succeed."""


class DatabaseAltered(DatabaseUnavailable):
    """A table or a column of jobd is missing. A restart does not help."""

    exit_code = os.EX_CONFIG


class OutcomeUnknown(JobdError):
    """The connection broke during the commit, so the transaction may or may not be committed."""

    exit_code = os.EX_TEMPFAIL


class ConfigError(JobdError):
    """The configuration, the schema version or permissions are wrong. A restart does not help."""

    exit_code = os.EX_CONFIG


def cannot(do: str, error: OSError) -> JobdError:
    """The error to raise when the system does not let jobd `do` something with one of its files.

    A full disk gives no ConfigError, because it may have space later: systemd then restarts the daemon.
    """
    kind = JobdError if error.errno in (errno.ENOSPC, errno.EDQUOT) else ConfigError
    return kind(f"cannot {do}: {error.strerror or error}")


def spelt(name: str) -> str:
    """`name` quoted for a shell, for a command that users may copy."""
    from shlex import quote

    return quote(name)
