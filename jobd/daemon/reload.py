"""Reload: new settings and plugin code take effect together, or are refused together and the old go on.

A reload reads jobd.toml and loads every plugin in a process of its own. It is refused when a plugin, or a task, fails
that did not fail before: what runs goes on running. What fails and never did otherwise stands in nobody's way: the
rest takes effect, and it is named with the reason, each time.

What is new at the top of the plugins folder needs no reload: a command that asks for the tasks, or a run whose task is
unknown, has the daemon look for it. What was accepted stays as it was, and no task is taken away.
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
SEARCH_PAUSE = 2.0  # seconds between two looks for an unknown task
QUIET_TIME = 2.0  # seconds without a change: before, a package is perhaps being copied
MAX_QUIET_WAIT = 30.0  # seconds to wait for that
RETRY_INTERVAL = 60.0  # seconds: what did not load may depend on something outside of the plugins folder
Loaded = frozenset[tuple[str, str]]  # (name, plugin) of tasks that load, ("", plugin) of plugins that do


class Effect(NamedTuple):
    """The settings and the plugins' code that are in effect, or are to be."""

    settings: Settings
    code: Snapshot


class _Candidate(NamedTuple):
    effect: Effect
    found: Listing
    outdated: bool = False  # the plugins folder holds other code
    new: tuple[str, ...] = ()  # what it has at the top that was not there before


class Reloader:
    """`start` is in effect; `read` reads new settings, `apply` puts a new effect in place of the old one.

    `in_use` names the snapshots that a worker imports from.
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
        self._loaded: Loaded | None = None  # None: what is in effect could not be listed yet
        self._next_search_at = self._try_at = 0.0
        self._patient_until = 0.0  # new plugins may still be being copied until then; 0: there are none
        self._seen: object = None  # by the last look for an unknown task
        self._searching = self._removing_old = False
        self._has_old = False  # snapshots of before, to be removed
        self._last_error = ""
        self._reload_replies: list[Reply] = []
        self._reload_pending = False
        self._task_replies: dict[str | None, list[Reply]] = {}  # by the task that is asked for in full
        self._replies: list[Reply] = []  # by the work in progress

    def list_plugins(self) -> None:
        """Find out, after a start, which plugins fail to load, and say so."""
        self._background.do(self._list_accepted, self._log_listing)

    def request(self, reply: Reply) -> None:
        """Reload; `reply` hears what came of it. Requests that come before it has begun share it."""
        self._reload_replies.append(reply)
        if not self._reload_pending:
            self._reload_pending = True
            self._background.do(self._prepare, self._finish)

    def tasks(self, asked: str | None, reply: Reply) -> None:
        """Tell `reply` what the plugins offer, also the task `asked` for in full, new plugins among them."""
        waiting = self._task_replies.setdefault(asked, [])
        waiting.append(reply)
        if len(waiting) == 1:
            self._background.do(lambda: self._list(asked), self._answer)

    def search_again(self) -> None:
        """A worker did not know a task: see whether the plugins folder has it by now."""
        now = time.monotonic()
        if not self._searching and now >= self._next_search_at:
            self._searching = True
            self._next_search_at = now + SEARCH_PAUSE
            self._background.do(self._search_if_changed, self._finish_search)

    def check(self) -> None:
        """To be called now and then: do what had to wait.

        That is to look at new plugins, and to remove the old snapshots whose last worker has ended meanwhile.
        """
        if self._patient_until:
            self.search_again()
        if self._has_old:
            self._remove_old_later()

    # In the background

    def _list_accepted(self) -> Listing:
        found = tasks_in(self._effect.code, self._effect.settings)
        self._loaded = _loaded(found)
        return found

    def _prepare(self) -> _Candidate:
        self._reload_pending = False  # a request that comes from now on needs a reload of its own
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
            with contextlib.suppress(JobdError):  # what was accepted is gone
                self._list_accepted()
        return _Candidate(Effect(settings, code), found)

    def _list(self, asked: str | None) -> _Candidate:
        self._replies = self._task_replies.pop(asked)
        return self._search(asked)

    def _search(self, asked: str | None = None) -> _Candidate:
        """What is in effect, with the new plugins that load, unless they take a task away."""
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
        """Remove the snapshots that nobody needs; whether there are others, which workers of before still need."""
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
                self._log_error_once(f"new plugins cannot be looked at: {error}")

    def _take_up(self, outcome: _Candidate | Exception) -> _Candidate:
        """Put what a look for new plugins has found into effect. Raises JobdError."""
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
        """Raises JobdError, and nothing has changed."""
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
        """Log an error, once as long as it stays the same."""
        if text != self._last_error:
            self._last_error = text
            logs.log("error", text)


def _result(outcome: _Candidate | Exception) -> _Candidate:
    if isinstance(outcome, Exception):
        raise outcome if isinstance(outcome, JobdError) else JobdError(f"{type(outcome).__name__}: {outcome}")
    return outcome


def _log_broken(tasks: Iterable[TaskInfo]) -> list[str]:
    """What does not load, said in the log."""
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
    """What loaded before and does not any more, with the reasons."""
    lost = [one for one in found.tasks if one.error and (one.name, one.source) in good]
    return [f"{_label(one)} does not load any more: {one.error}" for one in lost]


def _broken(found: Listing) -> set[str]:
    """The files and folders at the top of the plugins folder that do not load. (In a folder that is no package, tasks
    can be named in full.)"""
    sources = [one.source for one in found.tasks if one.error and not one.name and one.source.endswith(".py")]
    return {source.split(os.sep)[1] for source in sources if os.sep in source}
