"""Reload: new settings and plugin code take effect together, or are refused together and the old go on.

A reload reads jobd.toml and loads every plugin in a process of its own. It is refused when a plugin, or a task, fails
that did not fail before: what runs goes on running. What fails and never did otherwise stands in nobody's way: the
rest takes effect, and it is named with the reason, each time.

What is new in the plugins folder, or has never loaded, needs no reload: it is looked at when a command asks for the
tasks, and when a run's task is unknown. What has loaded stays as it was accepted.
"""

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from jobd import logs
from jobd.config import Settings
from jobd.daemon.background import Background
from jobd.daemon.control import Document, Reply
from jobd.daemon.notify import notify, reloading
from jobd.daemon.plugins import tasks_in
from jobd.daemon.prepare import check_plugins
from jobd.daemon.snapshots import Snapshots, code_in, is_current, top_of
from jobd.errors import JobdError
from jobd.runner.listing import Listing, TaskInfo
from jobd.runner.snapshot import Snapshot

FIXED = ("database", "state_dir")


class Effect(NamedTuple):
    """The settings and the plugins' code that are in effect, or are to be."""

    settings: Settings
    code: Snapshot


class _Candidate(NamedTuple):
    effect: Effect
    found: Listing
    outdated: bool = False  # the plugins folder holds more than this


class Reloader:
    """`start` is in effect; `read` reads new settings, `apply` puts a new effect in place of the old one.

    `old_in_use` says whether there still is a worker with code of before the last `apply`.
    """

    def __init__(
        self,
        start: Effect,
        snapshots: Snapshots,
        background: Background,
        read: Callable[[], Settings],
        apply: Callable[[Effect], None],
        old_in_use: Callable[[], bool],
    ) -> None:
        self._effect = start
        self._snapshots = snapshots
        self._background = background
        self._read = read
        self._apply = apply
        self._old_in_use = old_in_use
        self._good: frozenset[tuple[str, str]] = frozenset()
        self._loaded: frozenset[str] = frozenset()  # what a look for new plugins leaves as it is
        self._seen: Snapshot | None = None  # by the last look for new plugins
        self._asking: list[Reply] = []
        self._planned = False

    def look(self) -> None:
        """Find out, after a start, which plugins fail to load, and say so."""
        self._background.do(lambda: tasks_in(self._effect.code, self._effect.settings), self._looked)

    def request(self, reply: Reply) -> None:
        """Reload; `reply` hears what came of it. Requests that come before it has begun share it."""
        self._asking.append(reply)
        if not self._planned:
            self._planned = True
            self._background.do(self._prepare, self._finish)

    def tasks(self, asked: str | None, reply: Reply) -> None:
        """Tell `reply` what the plugins offer, also the task `asked` for in full, new plugins among them."""

        def answer(outcome: _Candidate | Exception | None) -> None:
            self._take_up(outcome)
            match outcome:
                case _Candidate(found=found, outdated=outdated):
                    reply({"tasks": found.tasks, "outdated": outdated})
                case JobdError():
                    reply({"error": str(outcome), "hint": outcome.hint})
                case _:
                    reply({"error": f"{type(outcome).__name__}: {outcome}", "hint": ""})

        self._background.do(lambda: self._look_for_new(asked), answer)

    def look_again(self) -> None:
        """A worker did not know a task: see whether the plugins folder has it by now."""
        self._background.do(self._look_if_changed, self._take_up)

    # In the background

    def _prepare(self) -> _Candidate:
        reloading()
        settings = self._read()
        for key in FIXED:
            if getattr(settings, key) != getattr(self._effect.settings, key):
                raise JobdError(f"a reload cannot change {key}", "restart the daemon")
        check_plugins(settings)
        code = self._snapshots.take(settings.plugins)
        return _Candidate(Effect(settings, code), tasks_in(code, settings))

    def _look_for_new(self, asked: str | None = None) -> _Candidate:
        settings, code = self._effect
        self._seen = self._snapshots.take(code.plugins, code, self._loaded)
        found = tasks_in(self._seen, settings, asked)
        return _Candidate(Effect(settings, self._seen), found, not is_current(self._seen))

    def _look_if_changed(self) -> _Candidate | None:
        code = self._effect.code
        seen = self._snapshots.would_take(code.plugins, code, self._loaded) in (code, self._seen)
        return None if seen else self._look_for_new()

    # In the daemon's loop

    def _looked(self, found: Listing | Exception) -> None:
        if isinstance(found, Exception):
            logs.log("error", f"the plugins cannot be listed: {found}")
            return
        self._note(found)
        _told(found.tasks)

    def _finish(self, outcome: _Candidate | Exception) -> None:
        asking, self._asking, self._planned = self._asking, [], False
        try:
            if isinstance(outcome, Exception):
                raise outcome if isinstance(outcome, JobdError) else JobdError(f"{type(outcome).__name__}: {outcome}")
            if lost := self._lost(outcome.found):
                raise JobdError.of_lines(f"{_label(one)} does not load any more: {one.error}" for one in lost)
            self._put_into_effect(outcome)
        except JobdError as error:
            answer: Document = {"error": str(error), "hint": error.hint}
            text = str(error).replace("\n", "; ")
            logs.log("error", f"the reload was refused and nothing has changed: {text}")
            self._forget_all_but(self._effect.code)
        else:
            answer = {"broken": _told(outcome.found.tasks)}
            logs.log("info", "reloaded")
        notify("READY=1")
        for reply in asking:
            reply(answer)

    def _take_up(self, outcome: _Candidate | Exception | None) -> None:
        """Put new plugins into effect, unless they are in the way of one that works."""
        if not isinstance(outcome, _Candidate) or outcome.effect.code == self._effect.code:
            return
        new = _good(outcome.found) - self._good
        if new and not self._lost(outcome.found):
            self._put_into_effect(outcome)
            logs.log("info", f"new plugins are in effect: {', '.join(sorted({source for _, source in new}))}")
        else:
            self._forget_all_but(self._effect.code)

    def _forget_all_but(self, *codes: Snapshot) -> None:
        """Remove other snapshots, unless there may be a worker that still imports from one."""
        if not self._old_in_use():
            self._snapshots.keep_only(*codes)

    def _put_into_effect(self, candidate: _Candidate) -> None:
        """Raises JobdError, and nothing has changed."""
        self._forget_all_but(self._effect.code, candidate.effect.code)
        self._apply(candidate.effect)
        self._effect = candidate.effect
        self._note(candidate.found)

    def _note(self, found: Listing) -> None:
        self._good = _good(found)
        self._loaded = _loaded(self._effect.code, found)

    def _lost(self, found: Listing) -> list[TaskInfo]:
        """What would not load any more."""
        return [one for one in found.tasks if one.error and (one.name, one.source) in self._good]


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


def _loaded(code: Snapshot, found: Listing) -> frozenset[str]:
    """The files and folders at the top of a snapshot, without the plugins that have an error."""
    files = [one.source for one in found.tasks if one.error and one.source.endswith(".py")]
    broken = {file.split(os.sep)[1] for file in files if os.sep in file}
    return frozenset(top_of(code_in(code.copy)) - broken)
