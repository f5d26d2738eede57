"""The command line: its entry point, and the one place where errors are shown.

Every command ends here, with the exit codes that docs/operations.md lists. An error is one line on stderr with the
problem, its place and a remedy, never a traceback. This file does not import click, so `jobd list` starts without it.
"""

import os
import sys
from collections.abc import Callable

from jobd.errors import DatabaseUnavailable, JobdError
from jobd.printable import escape

INTERRUPTED, READER_GONE = 130, 141


def finish(work: Callable[[], int]) -> int:
    """Run `work`, show its error if there is one, and return the exit code."""
    _open_closed_streams()
    try:
        code = work()
        sys.stdout.flush()
    except JobdError as error:
        return _print_error(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _replace_by_null(1)
        return READER_GONE
    except OSError as error:
        _replace_by_null(1)
        what = f"cannot use {error.filename}" if error.filename else "cannot write the output"
        if isinstance(error, FileNotFoundError) and not error.filename:
            what = "the current folder cannot be used"
        return _print_error(JobdError(f"{what}: {error.strerror}"))
    except Exception as error:
        if os.environ.get("JOBD_DEBUG"):
            raise
        return _print_error(
            JobdError(f"a bug in jobd: {type(error).__name__}: {error}", "JOBD_DEBUG=1 shows where; please report it")
        )
    return code


def print_remark(text: str) -> None:
    """Print a remark for the user on stderr, so that it does not mix with data on stdout."""
    _print(f"jobd: {escape(text)}")


def print_done(text: str) -> None:
    """Print on stdout what has been done. If stdout cannot be written, that is not an error, because it is done."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        _replace_by_null(1)


def _print(line: str) -> None:
    try:
        print(line, file=sys.stderr)  # noqa: T201
    except OSError:
        _replace_by_null(2)  # stderr cannot be written; the exit code still reports the error


def _print_error(error: JobdError) -> int:
    first, *others = (str(error).split("\n") if error.several else [str(error)]) or [type(error).__name__]
    if isinstance(error, DatabaseUnavailable):
        first += f"; {error.stored}"
    print_remark(f"error: {first}" + (f"; {error.hint}" if error.hint and not others else ""))
    for line in error.picture.splitlines():
        _print(f"  {line}")
    for line in others:
        print_remark(line)
    if others and error.hint:
        print_remark(error.hint)
    return error.exit_code


def _open_closed_streams() -> None:
    """Open /dev/null in place of closed standard streams, so that no other file gets their descriptors.

    Output that cannot be written is an error, so stdout is opened for reading only.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _replace_by_null(descriptor, os.O_RDONLY if descriptor == 1 else os.O_RDWR)
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a replacement by a test may have no such method
            stream.reconfigure(errors="backslashreplace")


def _replace_by_null(descriptor: int, mode: int = os.O_RDWR) -> None:
    """Replace a descriptor by /dev/null: Python flushes its buffers at exit, and would report a closed pipe."""
    nowhere = os.open(os.devnull, mode)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
