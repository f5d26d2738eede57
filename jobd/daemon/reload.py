"""Reload: new settings and plugin code take effect together, or are refused together and the old go on.

A reload reads jobd.toml, loads every plugin in a process of its own, and is refused when something fails to load
that did not fail before. Only what an operator could not have meant is refused: a task that was broken all along
stands in nobody's way.
"""

from collections.abc import Callable, Sequence

from jobd import logs
from jobd.config import Settings
from jobd.daemon.background import Background
from jobd.daemon.control import Document, Reply
from jobd.daemon.notify import notify, reloading
from jobd.daemon.plugins import tasks_of
from jobd.daemon.prepare import check_plugins
from jobd.errors import JobdError
from jobd.runner.listing import TaskInfo

FIXED = ("database", "password", "state_dir")


class Reloader:
    """`settings` are those in effect; `read` reads new ones, `apply` puts them into effect."""

    def __init__(
        self,
        settings: Settings,
        background: Background,
        read: Callable[[], Settings],
        apply: Callable[[Settings], None],
    ) -> None:
        self._settings = settings
        self._background = background
        self._read = read
        self._apply = apply
        self._broken: frozenset[tuple[str, str]] = frozenset()
        self._asking: list[Reply] = []
        self._planned = False

    def look(self) -> None:
        """Find out, after a start, which plugins fail to load, and say so."""
        self._background.do(lambda: tasks_of(self._settings).tasks, self._looked)

    def request(self, reply: Reply) -> None:
        """Reload; `reply` hears what came of it. Requests that come before it has begun share it."""
        self._asking.append(reply)
        if not self._planned:
            self._planned = True
            self._background.do(self._prepare, self._finish)

    def _looked(self, found: Sequence[TaskInfo] | Exception) -> None:
        if isinstance(found, Exception):
            logs.log("error", f"the plugins cannot be listed: {found}")
            return
        self._broken = _broken(found)
        for task in found:
            if task.error is not None:
                logs.log("error", f"{_label(task)} does not load: {task.error}")

    def _prepare(self) -> tuple[Settings, Sequence[TaskInfo]]:
        reloading()
        settings = self._read()
        for key in FIXED:
            if getattr(settings, key) != getattr(self._settings, key):
                raise JobdError(f"a reload cannot change {key}", "restart the daemon")
        check_plugins(settings)
        return settings, tasks_of(settings).tasks

    def _finish(self, outcome: tuple[Settings, Sequence[TaskInfo]] | Exception) -> None:
        asking, self._asking, self._planned = self._asking, [], False
        try:
            if isinstance(outcome, Exception):
                raise outcome if isinstance(outcome, JobdError) else JobdError(f"{type(outcome).__name__}: {outcome}")
            settings, found = outcome
            for task in found:
                if task.error is not None and (task.name, task.origin) not in self._broken:
                    raise JobdError(f"{_label(task)} does not load any more: {task.error}")
            self._apply(settings)
            self._settings, self._broken = settings, _broken(found)
        except JobdError as error:
            answer: Document = {"error": str(error), "hint": error.hint}
            text = str(error).replace("\n", "; ")
            logs.log("error", f"the reload was refused and nothing has changed: {text}")
        else:
            answer = {}
            logs.log("info", "reloaded")
        notify("READY=1")
        for reply in asking:
            reply(answer)


def _label(task: TaskInfo) -> str:
    return f"the task {task.name} of {task.origin}" if task.name else task.origin


def _broken(found: Sequence[TaskInfo]) -> frozenset[tuple[str, str]]:
    return frozenset((one.name, one.origin) for one in found if one.error is not None)
