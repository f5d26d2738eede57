"""The objects that commands share: settings and database connections, each opened at its first use."""

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jobd.cli import print_remark
from jobd.clock import SystemClock
from jobd.errors import JobdError
from jobd.settings import INSTANCE_FILE, SOCKET_FILE

if TYPE_CHECKING:
    from jobd.settings import Settings
    from jobd.store.reads import NodeSummary, Reader
    from jobd.store.store import Store

ANSWER_TIMEOUT = 2.0  # seconds that a command waits for an answer, such as that a change is in effect
STATUS_TIMEOUT = 0.5  # seconds for a warning about the database: a slow daemon must not delay the command further


class Context:
    """One call of the command line. `config` is the file given with --config, or None to search for jobd.toml."""

    def __init__(self, config: str | None = None) -> None:
        self.config = config

    @cached_property
    def settings(self) -> "Settings":
        from jobd.config import load

        return load(self.config)

    @cached_property
    def store(self) -> "Store":
        """The database for writing; it is created if there is none. Raises JobdError."""
        from jobd.store.store import open_store

        return open_store(self.settings)

    @cached_property
    def reader(self) -> "Reader":
        """The database for reading: without the ORM, and nothing is created. Raises JobdError."""
        from jobd.store.reads import open_reader

        return open_reader(self.settings)

    @cached_property
    def zone(self) -> str:
        """The time zone of jobs that name none: the one that the nodes use, on every machine.

        If no node has run yet, it is that of jobd.toml or of this machine. Raises ConfigError if that is unknown.
        """
        try:
            found = self.reader.zone()
        except JobdError:
            found = None  # commands that need the database report the error themselves
        if found or self.settings.timezone:
            return found or self.settings.timezone
        from jobd.localzone import machine_zone

        return machine_zone()

    def now(self) -> int:
        """The wall clock, in µs since 1970 UTC."""
        return SystemClock().wall()

    def nodes(self) -> "list[NodeSummary]":
        """The nodes in the database, without those of a dead daemon of this state directory. Raises JobdError."""
        found = self.reader.nodes()
        mine = self._instance
        return [node for node in found if node.instance != mine] if mine is not None and self._is_down() else found

    @cached_property
    def _instance(self) -> str | None:
        """The permanent id of the daemons of this state directory, which the database stores with each node."""
        try:
            with open(os.path.join(self.settings.state_dir, INSTANCE_FILE), encoding="ascii") as file:
                return file.read().strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def _is_down(self) -> bool:
        """Whether it is certain that no daemon of this state directory runs, because its lock is free."""
        from jobd.daemon.pidfile import is_free

        try:
            return is_free(self.settings.state_dir)
        except OSError:
            return False

    def notify_daemon(self) -> None:
        """Notify the daemon of this machine that the database has changed. Other nodes find that at their next poll.

        The change is stored, so a daemon that does not answer also finds it then. A daemon that cannot use
        its database does not, so the user gets a warning.
        """
        answer = self._ask({"do": "changed"}, ANSWER_TIMEOUT)
        trouble = self.trouble() if answer is None else _trouble(answer)
        if trouble is not None:
            print_remark(
                f"warning: it is stored, but the daemon on this machine cannot use its database yet: {trouble}"
            )

    def trouble(self) -> str | None:
        """The reason why the daemon of this machine cannot use its database; None: it can, or no daemon answers."""
        return _trouble(self._ask({"do": "status"}, STATUS_TIMEOUT))

    def _ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any] | None:
        if not os.path.exists(os.path.join(self.settings.state_dir, SOCKET_FILE)):
            return None
        from jobd.daemon.control import ask

        try:
            return ask(self.settings.state_dir, request, timeout)
        except (JobdError, OSError):
            return None

    def ask_daemon(self, request: dict[str, Any], within: float) -> dict[str, Any] | None:
        """Send a request to the daemon of this machine, and return its answer if it comes `within` so many seconds.

        None: no daemon runs, it belongs to another user, it does not know the request, or it does not answer.
        """
        if self._ask({"do": "status"}, ANSWER_TIMEOUT) is None:
            return None
        answer = self._ask(request, within)
        return None if answer is None or ("error" in answer and "hint" not in answer) else answer

    def close(self) -> None:
        """Close the open database connections."""
        for name in ("store", "reader"):
            if name in self.__dict__:
                self.__dict__[name].close()


def _trouble(answer: dict[str, Any] | None) -> str | None:
    state = (answer or {}).get("database", "ok")
    return None if state == "ok" else str(state)
