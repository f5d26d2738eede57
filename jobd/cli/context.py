"""What the commands share: settings and database, each opened when first asked for."""

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jobd.cli import print_remark
from jobd.clock import SystemClock
from jobd.errors import JobdError

if TYPE_CHECKING:
    from jobd.settings import Settings
    from jobd.store.reads import NodeRow, Reader
    from jobd.store.store import Store

ANSWER_TIMEOUT = 2.0  # seconds that a command waits for the daemon to say that a change is in effect
NOTIFY_TIMEOUT = 0.5  # seconds that it waits for what the daemon knows without looking


class Context:
    """One call of the command line. `config` is the file given with --config, or None to look for one."""

    def __init__(self, config: str | None = None) -> None:
        self.config = config

    @cached_property
    def settings(self) -> "Settings":
        from jobd.config import load

        return load(self.config)

    @cached_property
    def store(self) -> "Store":
        """The database for writing; it is created when there is none."""
        from jobd.store.store import open_store

        return open_store(self.settings)

    @cached_property
    def reader(self) -> "Reader":
        """The database for looking: no ORM, and nothing is created."""
        from jobd.store.reads import open_reader

        return open_reader(self.settings)

    @cached_property
    def zone(self) -> str:
        """The time zone of schedules that name none: what the daemons go by, wherever the command runs.

        Where none has run yet, that of jobd.toml or of this machine. Raises ConfigError when that is not known.
        """
        try:
            found = self.reader.zone()
        except JobdError:
            found = None  # whether the database can be reached is said where it is needed
        if found or self.settings.timezone:
            return found or self.settings.timezone
        from jobd.localzone import machine_zone

        return machine_zone()

    def now(self) -> int:
        """The moment it is."""
        return SystemClock().wall()

    def nodes(self) -> "list[NodeRow]":
        """The nodes that live, as far as can be known from here: not those of a daemon of this folder that has died."""
        found = self.reader.nodes()
        mine = self._instance
        return [node for node in found if node.instance != mine] if mine is not None and self._is_down() else found

    @cached_property
    def _instance(self) -> str | None:
        """What the nodes of this state directory are known by in the database."""
        try:
            with open(os.path.join(self.settings.state_dir, "instance"), encoding="ascii") as file:
                return file.read().strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def _is_down(self) -> bool:
        """Whether it is certain that no daemon of this state directory runs: its lock is free."""
        from jobd.daemon.pidfile import is_free

        try:
            return is_free(self.settings.state_dir)
        except OSError:
            return False

    def changed(self) -> None:
        """Tell the daemon of this machine that the database has changed. Without one, others notice within a poll.

        The change is stored: a daemon that does not answer finds it at its next poll. One that cannot use its database
        would not, so then the person is told.
        """
        answer = self._ask({"do": "changed"}, ANSWER_TIMEOUT)
        trouble = self.trouble() if answer is None else _trouble(answer)
        if trouble is not None:
            print_remark(
                f"warning: it is stored, but the daemon on this machine cannot use its database yet: {trouble}"
            )

    def trouble(self) -> str | None:
        """Why the daemon of this machine cannot use its database; None: it can, or there is no daemon to ask."""
        return _trouble(self._ask({"do": "status"}, NOTIFY_TIMEOUT))

    def _ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any] | None:
        if not os.path.exists(os.path.join(self.settings.state_dir, "jobd.sock")):
            return None
        from jobd.daemon.control import ask

        try:
            return ask(self.settings.state_dir, request, timeout)
        except (JobdError, OSError):
            return None

    def ask_daemon(self, request: dict[str, Any], within: float) -> dict[str, Any] | None:
        """What the daemon of this machine answers within so many seconds.

        None: it is not running, another user's, of a version that does not know the request, or does not answer at all.
        """
        if self._ask({"do": "status"}, ANSWER_TIMEOUT) is None:
            return None
        answer = self._ask(request, within)
        return None if answer is None or ("error" in answer and "hint" not in answer) else answer

    def close(self) -> None:
        """Close what was opened."""
        for name in ("store", "reader"):
            if name in self.__dict__:
                self.__dict__[name].close()


def _trouble(answer: dict[str, Any] | None) -> str | None:
    state = (answer or {}).get("database", "ok")
    return None if state == "ok" else str(state)
