"""What the processes that import plugins are started with: the environment of the daemon, without what is its own."""

import os
import sys
from collections.abc import Collection, Mapping

# Of the service manager, for the daemon alone: what speaks through the first few would speak for it, and the folder of
# credentials holds the database's password.
OF_THE_MANAGER = (
    "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "JOURNAL_STREAM",
    "CREDENTIALS_DIRECTORY",
)  # fmt: skip


def without(environ: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """`environ` without the service manager's variables and those that hold jobd's own `secrets`."""
    return {name: value for name, value in environ.items() if name not in OF_THE_MANAGER and name not in secrets}


def python(package: str) -> list[str]:
    """The words that run `jobd` or `jobd.runner` with this Python.

    From a source tree it is told where that is without a PYTHONPATH, which all that it starts would have too. (-P: the
    working directory must not come before the standard library.)
    """
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.basename(home) in ("site-packages", "dist-packages"):
        return [sys.executable, "-P", "-m", package]
    found = f"import sys; sys.path.insert(0, {home!a}); import jobd; sys.path.append(sys.path.pop(0))"
    return [sys.executable, "-P", "-c", f"{found}; from {package}.__main__ import main; main()"]
