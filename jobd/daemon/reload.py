"""Reload: new settings and plugin code take effect together, or are refused together and the old go on.

A reload reads jobd.toml and loads every plugin in a process of its own. It is refused when a plugin, or a task, fails
that did not fail before: what runs goes on running. What fails and never did otherwise stands in nobody's way: the
rest takes effect, and it is named with the reason, each time.
"""

from collections.abc import Callable, Iterable

from jobd import logs
from jobd.config import Settings
from jobd.daemon.background import Background
from jobd.daemon.control import Document, Reply
from jobd.daemon.notify import notify, reloading
from jobd.daemon.plugins import tasks_of
from jobd.daemon.prepare import check_plugins
from jobd.errors import JobdError
from jobd.runner.listing import Listing, TaskInfo

FIXED = ("database", "state_dir")


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
        self._good: frozenset[tuple[str, str]] = frozenset()
        self._asking: list[Reply] = []
        self._planned = False

    def look(self) -> None:
        """Find out, after a start, which plugins fail to load, and say so."""
        self._background.do(lambda: tasks_of(self._settings), self._looked)

    def request(self, reply: Reply) -> None:
        """Reload; `reply` hears what came of it. Requests that come before it has begun share it."""
        self._asking.append(reply)
        if not self._planned:
            self._planned = True
            self._background.do(self._prepare, self._finish)

    def _looked(self, found: Listing | Exception) -> None:
        if isinstance(found, Exception):
            logs.log("error", f"the plugins cannot be listed: {found}")
            return
        self._good = _good(found)
        _told(found.tasks)

    def _prepare(self) -> tuple[Settings, Listing]:
        reloading()
        settings = self._read()
        for key in FIXED:
            if getattr(settings, key) != getattr(self._settings, key):
                raise JobdError(f"a reload cannot change {key}", "restart the daemon")
        check_plugins(settings)
        return settings, tasks_of(settings)

    def _finish(self, outcome: tuple[Settings, Listing] | Exception) -> None:
        asking, self._asking, self._planned = self._asking, [], False
        try:
            if isinstance(outcome, Exception):
                raise outcome if isinstance(outcome, JobdError) else JobdError(f"{type(outcome).__name__}: {outcome}")
            settings, found = outcome
            if lost := [one for one in found.tasks if one.error and (one.name, one.source) in self._good]:
                raise JobdError.of_lines(f"{_label(one)} does not load any more: {one.error}" for one in lost)
            self._apply(settings)
            self._settings, self._good = settings, _good(found)
        except JobdError as error:
            answer: Document = {"error": str(error), "hint": error.hint}
            text = str(error).replace("\n", "; ")
            logs.log("error", f"the reload was refused and nothing has changed: {text}")
        else:
            answer = {"broken": _told(found.tasks)}
            logs.log("info", "reloaded")
        notify("READY=1")
        for reply in asking:
            reply(answer)


def _told(tasks: Iterable[TaskInfo]) -> list[str]:
    """What does not load, said in the log."""
    lines = [f"{_label(one)} does not load: {one.error}" for one in tasks if one.error is not None]
    for line in lines:
        logs.log("error", line)
    return lines


def _label(task: TaskInfo) -> str:
    return f"the task {task.name} of {task.origin}" if task.name else task.origin


def _good(found: Listing) -> frozenset[tuple[str, str]]:
    """(name, plugin) of the tasks that can be run, and ("", plugin) of the plugins that load."""
    plugins = {("", source) for source in found.loaded}
    return frozenset(plugins | {(one.name, one.source) for one in found.tasks if one.error is None})
