"""The command line: what a person types, and the one place where errors are shown.

Every command ends here, with the exit codes that docs/cli.md lists: an error is one line on stderr that says what,
where and what to do, never a traceback. Nothing in this file imports click, so that `jobd list` need not.
"""

import os
import sys
from collections.abc import Callable

from jobd.cli.show import escape
from jobd.errors import JobdError

FAILED, INTERRUPTED, READER_GONE = 1, 130, 141


def finish(work: Callable[[], int]) -> int:
    """Do `work`, show what goes wrong with it, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not when it was closed before we began
            stream.reconfigure(errors="backslashreplace")
    try:
        code = work()
        if sys.stdout is not None:
            sys.stdout.flush()
    except JobdError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return READER_GONE
    except OSError as error:
        _forget_output()
        what = f"cannot use {error.filename}" if error.filename else "cannot write the output"
        return _refuse(JobdError(f"{what}: {error.strerror}"))
    except Exception as error:
        if os.environ.get("JOBD_DEBUG"):
            raise
        return _refuse(
            JobdError(f"a bug in jobd: {type(error).__name__}: {error}", "JOBD_DEBUG=1 shows where; please report it")
        )
    return code


def say(text: str) -> None:
    """A remark to the person: on stderr, so that it is never taken for data."""
    if sys.stderr is not None:
        print(f"jobd: {escape(text)}", file=sys.stderr)  # noqa: T201


def _refuse(error: JobdError) -> int:
    first, *others = str(error).splitlines() or [type(error).__name__]
    say(f"error: {first}" + (f"; {error.hint}" if error.hint and not others else ""))
    if error.picture and sys.stderr is not None:
        for line in error.picture.splitlines():
            print(f"  {line}", file=sys.stderr)  # noqa: T201
    for line in others:
        say(line)
    if others and error.hint:
        say(error.hint)
    return error.exit_code


def _forget_output() -> None:
    """Python writes what is left in the buffer when it ends, and would complain about a reader that has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
