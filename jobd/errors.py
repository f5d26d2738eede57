"""What can go wrong, in words a person can act on, with the exit code of the command that meets it.

Every error that somebody outside can cause is raised as one of these, where it is understood, and shown in one
place (the top of the command line) or logged in one place (the daemon's loop). Anything else is a bug in jobd.
"""

import errno
from collections.abc import Iterable
from typing import Self


class JobdError(Exception):
    """It could not be done. `str()` is one line: what went wrong and where; `hint` says what to do."""

    exit_code = 1

    picture = ""  # lines to show below the message
    several = False  # the message has a line for each of several mistakes

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @classmethod
    def of_lines(cls, lines: Iterable[str], hint: str = "") -> Self:
        """An error of which each of `lines` is shown as a line of its own, whatever it quotes."""
        error = cls("\n".join(line.replace("\n", "\\n") for line in lines), hint)
        error.several = True
        return error


class BadValue(JobdError):
    """A value that a person gave is not allowed."""

    exit_code = 2


class NotRunning(JobdError):
    """The daemon is not running."""

    exit_code = 3


class DatabaseUnavailable(JobdError):
    """The database cannot be reached or written; nothing was changed."""

    exit_code = 4
    stored = "nothing was changed"  # what of the command's work is in the database


class StatementRefused(DatabaseUnavailable):
    """The database takes other things, but not this: a trigger, a constraint or a limit of its forbids it."""


class DatabaseAltered(DatabaseUnavailable):
    """A table or a column that jobd made is missing; starting again will not help."""

    exit_code = 78


class OutcomeUnknown(JobdError):
    """The connection broke during the commit and what happened could not be read back."""

    exit_code = 75


class ConfigError(JobdError):
    """Configuration, schema version or permissions are wrong; starting again will not help."""

    exit_code = 78


def cannot(do: str, error: OSError) -> JobdError:
    """What to raise when the system does not let jobd `do` something with a file of its own.

    A disk that is full is emptied some day, so that is no ConfigError: whoever starts the daemon may try again.
    """
    kind = JobdError if error.errno in (errno.ENOSPC, errno.EDQUOT) else ConfigError
    return kind(f"cannot {do}: {error.strerror or error}")


def spelt(name: str) -> str:
    """`name` as a shell reads it, for a command that is shown to be copied."""
    from shlex import quote

    return quote(name)
