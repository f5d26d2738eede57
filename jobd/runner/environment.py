"""The environment of every process that imports plugins: the daemon's, without what is the daemon's own."""

import os
from collections.abc import Mapping

_PRIVATE = ("JOBD_", "NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY", "LISTEN_", "JOURNAL_STREAM", "MYSQL_", "PG")


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without configuration and passwords."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_PRIVATE)}
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.basename(home) not in ("site-packages", "dist-packages"):  # run from a source tree
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [home, environ.get("PYTHONPATH")]))
    return kept
