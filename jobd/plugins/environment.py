"""The environment and the command line of processes that import plugins."""

import os
import sys
from collections.abc import Collection, Mapping

# The service manager sets these for the daemon alone: with the first ones, a task could send messages as the daemon,
# and the folder of credentials contains the database's password.
OF_THE_MANAGER = (
    "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "JOURNAL_STREAM",
    "CREDENTIALS_DIRECTORY",
)  # fmt: skip


def without(environ: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """`environ` without the service manager's variables and those that hold jobd's own `secrets`."""
    return {name: value for name, value in environ.items() if name not in OF_THE_MANAGER and name not in secrets}


def command_line(package: str) -> list[str]:
    """The command line that runs `jobd` or `jobd.runner` with this Python.

    It contains the path of a source tree instead of using PYTHONPATH, which all child processes would inherit. (-P: the
    working directory must not come before the standard library.)
    """
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.basename(home) in ("site-packages", "dist-packages"):
        return [sys.executable, "-P", "-m", package]
    found = f"import sys; sys.path.insert(0, {home!a}); import jobd; sys.path.append(sys.path.pop(0))"
    return [sys.executable, "-P", "-c", f"{found}; from {package}.__main__ import main; main()"]
