"""Reload: new settings and new plugin code take effect together, or the reload is refused and nothing changes.

A reload reads jobd.toml and loads every plugin in a child process. It is refused if a plugin or a task that loaded
before fails to load now. A plugin or task that has never loaded does not block the reload: the rest takes effect, and
each reload reports the failure with its reason.

A new file or folder at the top of the plugins folder needs no reload: the daemon looks for it when a command requests
the tasks, or when the task of a run is unknown. The accepted code stays as it was, and no task is removed.
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from jobd import logs
from jobd.clock import SECOND, SystemClock
from jobd.daemon.background import Background
from jobd.daemon.code import last_change, top_name
from jobd.daemon.control import Document, Reply
from jobd.daemon.plugins import tasks_in
from jobd.daemon.prepare import check_plugins
from jobd.daemon.snapshots import Snapshots
from jobd.daemon.systemd import notify, reloading
from jobd.errors import JobdError
from jobd.plugins.snapshot import Snapshot
from jobd.plugins.task_list import Listing, TaskInfo
from jobd.settings import Settings

FIXED = ("database", "state_dir")
SEARCH_PAUSE = 2.0  # seconds between two searches for an unknown task
QUIET_TIME = 2.0  # seconds: new files that changed less long ago may still be being copied
MAX_QUIET_WAIT = 30.0  # seconds after which they are loaded although they still change
RETRY_INTERVAL = 60.0  # seconds: a failure to load may have a cause outside of the plugins folder
Loaded = frozenset[tuple[str, str]]  # (name, plugin) of each task that loads, ("", plugin) of each plugin that loads


class Effect(NamedTuple):
    """Settings and plugin code that are in effect, or will be."""

    settings: Settings
    code: Snapshot


class _Candidate(NamedTuple):
    effect: Effect
    found: Listing
    outdated: bool = False  # the plugins folder contains other code
    new: tuple[str, ...] = ()  # new files and folders at its top


class Reloader:
    """Reloads settings and plugins, and answers requests for the tasks.

    `start` is in effect first. `read` reads new settings. `apply` replaces the effect or raises JobdError.
    `in_use` returns the snapshots that workers import from.
    """

    def __init__(
        self,
        start: Effect,
        snapshots: Snapshots,
        background: Background,
        read: Callable[[], Settings],
        apply: Callable[[Effect], None],
        in_use: Callable[[], Collection[Snapshot]],
    ) -> None:
        self._effect = start
        self._snapshots = snapshots
        self._background = background
        self._read = read
        self._apply = apply
        self._in_use = in_use
        self._loaded: Loaded | None = None  # None: the accepted plugins have not been listed yet
        self._next_search_at = self._try_at = 0.0
        self._patient_until = 0.0  # monotonic seconds; new plugins may be being copied until then; 0: none are new
        self._seen: object = None  # the new files at the previous search
        self._searching = self._removing_old = False
        self._has_old = False  # older snapshots are still in use
        self._last_error = ""
        self._reload_replies: list[Reply] = []
        self._reload_pending = False
        self._task_replies: dict[str | None, list[Reply]] = {}  # by the requested full name
        self._replies: list[Reply] = []  # of the work in progress

    def list_plugins(self) -> None:
        """After a start, list the plugins in the background and log those that fail to load."""
        self._background.do(self._list_accepted, self._log_listing)

    def request(self, reply: Reply) -> None:
        """Reload in the background and send the result to `reply`. Requests that come before it starts share it."""
        self._reload_replies.append(reply)
        if not self._reload_pending:
            self._reload_pending = True
            self._background.do(self._prepare, self._finish)

    def tasks(self, asked: str | None, reply: Reply) -> None:
        """Send `reply` the tasks of all plugins, including new ones, and the task with the full name `asked`."""
        waiting = self._task_replies.setdefault(asked, [])
        waiting.append(reply)
        if len(waiting) == 1:
            self._background.do(lambda: self._list(asked), self._answer)

    def search_again(self) -> None:
        """Look for new plugins, because a worker did not know a task; at most once per SEARCH_PAUSE."""
        now = time.monotonic()
        if not self._searching and now >= self._next_search_at:
            self._searching = True
            self._next_search_at = now + SEARCH_PAUSE
            self._background.do(self._search_if_changed, self._finish_search)

    def check(self) -> None:
        """Do postponed work; to be called regularly.

        Look at new plugins again, and remove old snapshots whose last worker has ended.
        """
        if self._patient_until:
            self.search_again()
        if self._has_old:
            self._remove_old_later()

    # In the background thread
    def _list_accepted(self) -> Listing:
        found = tasks_in(self._effect.code, self._effect.settings)
        self._loaded = _loaded(found)
        return found

    def _prepare(self) -> _Candidate:
        self._reload_pending = False  # a later request needs another reload
        self._replies, self._reload_replies = self._reload_replies, []
        reloading()
        settings = self._read()
        for key in FIXED:
            if getattr(settings, key) != getattr(self._effect.settings, key):
                raise JobdError(f"a reload cannot change {key}", "restart the daemon")
        check_plugins(settings)
        code = self._snapshots.take(settings.plugins)
        found = tasks_in(code, settings)
        if self._loaded is None:
            with contextlib.suppress(JobdError):  # the accepted snapshot has been removed
                self._list_accepted()
        return _Candidate(Effect(settings, code), found)

    def _list(self, asked: str | None) -> _Candidate:
        self._replies = self._task_replies.pop(asked)
        return self._search(asked)

    def _search(self, asked: str | None = None) -> _Candidate:
        """The present effect and the new plugins that load; without them if they would remove a task."""
        settings, code = self._effect
        if not os.path.isdir(code.copy):
            raise JobdError("the accepted copy of the plugins is gone", "`jobd reload` makes it again")
        good = self._loaded if self._loaded is not None else _loaded(self._list_accepted())
        new = self._snapshots.new_in(code.plugins, code)
        if not new.code:
            return self._accepted(asked)
        everything = self._snapshots.add(code, new)
        found = tasks_in(everything, settings, asked)
        if lost := _no_longer_loaded(good, found):
            self._log_error_once(f"new plugins stay out: {'; '.join(lost)}")
            return self._accepted(asked)
        there = {top_name(name) for name in new.code}
        broken = there & _broken(found)
        names = there - broken
        effect = self._effect._replace(code=self._snapshots.without(everything, broken)) if names else self._effect
        return _Candidate(effect, found, self._snapshots.is_outdated(effect.code), tuple(sorted(names)))

    def _accepted(self, asked: str | None) -> _Candidate:
        settings, code = self._effect
        return _Candidate(self._effect, tasks_in(code, settings, asked), self._snapshots.is_outdated(code))

    def _search_if_changed(self) -> _Candidate | None:
        code, now = self._effect.code, time.monotonic()
        new = self._snapshots.new_in(code.plugins, code).code
        seen = sorted(new), last_change(new)
        if not new or (seen == self._seen and now < self._try_at):
            self._patient_until = 0.0
            return None
        self._patient_until = self._patient_until or now + MAX_QUIET_WAIT
        if SystemClock().wall() / SECOND < last_change(new) + QUIET_TIME and now < self._patient_until:
            return None
        self._patient_until = 0.0
        self._seen, self._try_at = seen, now + RETRY_INTERVAL
        return self._search()

    def _remove_old(self) -> bool:
        """Remove unused snapshots. Return whether workers still use older ones."""
        needed = {self._effect.code, *self._in_use()}
        self._snapshots.keep_only(needed)
        return len(needed) > 1

    # In the daemon's loop

    def _log_listing(self, found: Listing | Exception) -> None:
        if isinstance(found, Exception):
            logs.log("error", f"the plugins cannot be listed: {found}")
        else:
            _log_broken(found.tasks)

    def _finish(self, outcome: _Candidate | Exception) -> None:
        try:
            candidate = _result(outcome)
            if lost := _no_longer_loaded(self._loaded or frozenset(), candidate.found):
                raise JobdError.of_lines(lost)
            self._put_into_effect(candidate)
        except JobdError as error:
            answer: Document = {"error": str(error), "hint": error.hint}
            text = str(error).replace("\n", "; ")
            logs.log("error", f"the reload was refused and nothing has changed: {text}")
        else:
            answer = {"broken": _log_broken(candidate.found.tasks)}
            logs.log("info", "reloaded")
        self._remove_old_later()
        notify("READY=1")
        for reply in self._replies:
            reply(answer)

    def _answer(self, outcome: _Candidate | Exception) -> None:
        try:
            candidate = self._take_up(outcome)
            answer: Document = {"tasks": candidate.found.tasks, "outdated": candidate.outdated}
        except JobdError as error:
            answer = {"error": str(error), "hint": error.hint}
        for reply in self._replies:
            reply(answer)

    def _finish_search(self, outcome: _Candidate | Exception | None) -> None:
        self._searching = False
        if outcome is not None:
            try:
                self._take_up(outcome)
            except JobdError as error:
                self._log_error_once(f"new plugins cannot be checked: {error}")

    def _take_up(self, outcome: _Candidate | Exception) -> _Candidate:
        """Put the new plugins that a search found into effect. Raises JobdError."""
        candidate = _result(outcome)
        if candidate.new:
            self._put_into_effect(candidate)
            names = ", ".join(
                os.path.join(os.path.basename(candidate.effect.code.plugins), one) for one in candidate.new
            )
            logs.log("info", f"new plugins are in effect: {names}")
        self._remove_old_later()
        return candidate

    def _put_into_effect(self, candidate: _Candidate) -> None:
        """Apply a candidate. If this raises JobdError, nothing has changed."""
        self._apply(candidate.effect)
        self._effect = candidate.effect
        self._loaded = _loaded(candidate.found)

    def _remove_old_later(self) -> None:
        if not self._removing_old:
            self._removing_old = True
            self._background.do(self._remove_old, self._old_removed)

    def _old_removed(self, has_old: bool | Exception) -> None:
        self._removing_old = False
        self._has_old = bool(has_old)

    def _log_error_once(self, text: str) -> None:
        """Log an error, unless it is the same as the previous one."""
        if text != self._last_error:
            self._last_error = text
            logs.log("error", text)


def _result(outcome: _Candidate | Exception) -> _Candidate:
    if isinstance(outcome, Exception):
        raise outcome if isinstance(outcome, JobdError) else JobdError(f"{type(outcome).__name__}: {outcome}")
    return outcome


def _log_broken(tasks: Iterable[TaskInfo]) -> list[str]:
    """Log the plugins and tasks that fail to load. Return the lines."""
    lines = [f"{_label(one)} does not load: {one.error}" for one in tasks if one.error is not None]
    for line in lines:
        logs.log("error", line)
    return lines


def _label(task: TaskInfo) -> str:
    return f"the task {task.name} of {task.origin}" if task.name else task.origin


def _loaded(found: Listing) -> Loaded:
    plugins = {("", source) for source in found.loaded}
    return frozenset(plugins | {(one.name, one.source) for one in found.tasks if one.error is None})


def _no_longer_loaded(good: Loaded, found: Listing) -> list[str]:
    """A line for each plugin and task that loaded before and fails now, with the reason."""
    lost = [one for one in found.tasks if one.error and (one.name, one.source) in good]
    return [f"{_label(one)} does not load any more: {one.error}" for one in lost]


def _broken(found: Listing) -> set[str]:
    """The files and folders at the top of the plugins folder that fail to load.

    A folder that is not a package is not among them: its tasks can be given by their full names.
    """
    sources = [one.source for one in found.tasks if one.error and not one.name and one.source.endswith(".py")]
    return {source.split(os.sep)[1] for source in sources if os.sep in source}
