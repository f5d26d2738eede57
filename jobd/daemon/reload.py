"""Reload: new settings and plugin code take effect together, or are refused together and the old go on.

A reload reads jobd.toml and loads every plugin in a process of its own. It is refused when a plugin, or a task, fails
that did not fail before: what runs goes on running. What fails and never did otherwise stands in nobody's way: the
rest takes effect, and it is named with the reason, each time.

What is new in the plugins folder, or has never loaded, needs no reload: it is looked at when a command asks for the
tasks, and when a run's task is unknown. What has loaded stays as it was accepted, and no task is taken away.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from jobd import logs
from jobd.config import Settings
from jobd.daemon.background import Background
from jobd.daemon.code import contents_of, contents_of_copy, first_part, last_change, top_of
from jobd.daemon.control import Document, Reply
from jobd.daemon.notify import notify, reloading
from jobd.daemon.plugins import tasks_in
from jobd.daemon.prepare import check_plugins
from jobd.daemon.snapshots import Snapshots, is_current, would_be
from jobd.errors import JobdError
from jobd.runner.catalogue import file_of
from jobd.runner.listing import Listing, TaskInfo
from jobd.runner.snapshot import Snapshot

FIXED = ("database", "state_dir")
PAUSE = 5.0  # seconds between two looks for an unknown task
QUIET = 2.0  # seconds without a change: before, a package is perhaps being copied
TRY_AGAIN = 60.0  # seconds: what did not load may depend on something outside of the plugins folder


class Effect(NamedTuple):
    """The settings and the plugins' code that are in effect, or are to be."""

    settings: Settings
    code: Snapshot


class _Candidate(NamedTuple):
    effect: Effect
    found: Listing
    good: frozenset[tuple[str, str]]  # the tasks and plugins of it that load
    loaded: frozenset[str]  # the files and folders of it that a look for new plugins leaves as they are
    outdated: bool = False  # the plugins folder holds other code


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
        self._good: frozenset[tuple[str, str]] = frozenset()
        self._loaded: frozenset[str] = frozenset()
        self._seen = ""  # the digest of what the last look for an unknown task saw
        self._look_at = self._try_at = 0.0
        self._looking = False
        self._has_old = False  # snapshots of before, to be removed
        self._said = ""
        self._asking: list[Reply] = []
        self._planned = False

    def look(self) -> None:
        """Find out, after a start, which plugins fail to load, and say so."""
        self._background.do(self._look_first, self._looked)

    def request(self, reply: Reply) -> None:
        """Reload; `reply` hears what came of it. Requests that come before it has begun share it."""
        self._asking.append(reply)
        if not self._planned:
            self._planned = True
            self._background.do(self._prepare, self._finish)

    def tasks(self, asked: str | None, reply: Reply) -> None:
        """Tell `reply` what the plugins offer, also the task `asked` for in full, new plugins among them."""

        def answer(outcome: _Candidate | Exception) -> None:
            try:
                found = self._take_up(outcome)
                reply({"tasks": found.found.tasks, "outdated": found.outdated})
            except JobdError as error:
                reply({"error": str(error), "hint": error.hint})

        self._background.do(lambda: self._look_for_new(asked), answer)

    def look_again(self) -> None:
        """A worker did not know a task: see whether the plugins folder has it by now."""
        now = time.monotonic()
        if not self._looking and now >= self._look_at:
            self._looking = True
            self._look_at = now + PAUSE
            self._background.do(self._look_if_changed, self._looked_again)

    def look_after(self) -> None:
        """To be called now and then: remove the old snapshots whose last worker has ended meanwhile."""
        if self._has_old:
            self._tidy()

    # In the background

    def _look_first(self) -> _Candidate:
        self._loaded = frozenset(top_of(contents_of_copy(self._effect.code.copy).code))
        return _candidate(self._effect, tasks_in(self._effect.code, self._effect.settings))

    def _prepare(self) -> _Candidate:
        reloading()
        settings = self._read()
        for key in FIXED:
            if getattr(settings, key) != getattr(self._effect.settings, key):
                raise JobdError(f"a reload cannot change {key}", "restart the daemon")
        check_plugins(settings)
        code = self._snapshots.take(settings.plugins)
        return _candidate(Effect(settings, code), tasks_in(code, settings))

    def _look_for_new(self, asked: str | None = None) -> _Candidate:
        """What is in effect, with the new plugins if that brings a task and takes none away."""
        settings, code = self._effect
        new = self._snapshots.take(code.plugins, code, self._loaded)
        found = tasks_in(new, settings, asked)
        good = _good(found, asked)
        if lost := self._good - good:
            self._say(f"new plugins stay out, because {_named(lost)} would not load any more: see `jobd reload`")
            new, found = code, tasks_in(code, settings, asked)
        elif good == self._good and not _is_new(asked, found, code):
            new = code
        return _candidate(Effect(settings, new), found, asked)._replace(outdated=not is_current(new))

    def _look_if_changed(self) -> _Candidate | None:
        code, now = self._effect.code, time.monotonic()
        seen = would_be(code.plugins, code, self._loaded)
        if seen == os.path.basename(code.copy) or (seen == self._seen and now < self._try_at):
            return None
        names = contents_of(code.plugins).code.items()
        changed = last_change(path for name, path in names if first_part(name) not in self._loaded)
        time.sleep(min(QUIET, max(0.0, changed + QUIET - time.time())))  # noqa: TID251 - nothing waits for this thread
        self._seen, self._try_at = seen, now + TRY_AGAIN
        return self._look_for_new()

    def _remove_old(self) -> bool:
        """Remove the snapshots that nobody needs; whether there are others, which workers of before still need."""
        needed = {self._effect.code, *self._in_use()}
        self._snapshots.keep_only(needed)
        return len(needed) > 1

    # In the daemon's loop

    def _looked(self, outcome: _Candidate | Exception) -> None:
        if isinstance(outcome, Exception):
            logs.log("error", f"the plugins cannot be listed: {outcome}")
            return
        self._note(outcome)
        _told(outcome.found.tasks)

    def _finish(self, outcome: _Candidate | Exception) -> None:
        asking, self._asking, self._planned = self._asking, [], False
        try:
            candidate = _result(outcome)
            if lost := [one for one in candidate.found.tasks if one.error and (one.name, one.source) in self._good]:
                raise JobdError.of_lines(f"{_label(one)} does not load any more: {one.error}" for one in lost)
            self._put_into_effect(candidate)
        except JobdError as error:
            answer: Document = {"error": str(error), "hint": error.hint}
            text = str(error).replace("\n", "; ")
            logs.log("error", f"the reload was refused and nothing has changed: {text}")
        else:
            answer = {"broken": _told(candidate.found.tasks)}
            logs.log("info", "reloaded")
        self._tidy()
        notify("READY=1")
        for reply in asking:
            reply(answer)

    def _looked_again(self, outcome: _Candidate | Exception | None) -> None:
        self._looking = False
        if outcome is not None:
            try:
                self._take_up(outcome)
            except JobdError as error:
                self._say(f"new plugins cannot be looked at: {error}")

    def _take_up(self, outcome: _Candidate | Exception) -> _Candidate:
        """Put what a look for new plugins has found into effect. Raises JobdError."""
        candidate = _result(outcome)
        new = sorted({source for _, source in candidate.good - self._good})
        candidate = candidate._replace(good=candidate.good | self._good, loaded=candidate.loaded | self._loaded)
        if candidate.effect.code != self._effect.code:
            self._put_into_effect(candidate)
            logs.log("info", f"new plugins are in effect: {', '.join(new) or candidate.effect.code.plugins}")
        self._note(candidate)
        self._tidy()
        return candidate

    def _put_into_effect(self, candidate: _Candidate) -> None:
        """Raises JobdError, and nothing has changed."""
        self._apply(candidate.effect)
        self._effect = candidate.effect
        self._note(candidate)

    def _tidy(self) -> None:
        self._has_old = False
        self._background.do(self._remove_old, self._tidied)

    def _tidied(self, has_old: bool | Exception) -> None:
        self._has_old = bool(has_old)

    def _note(self, candidate: _Candidate) -> None:
        self._good, self._loaded = candidate.good, candidate.loaded

    def _say(self, text: str) -> None:
        """Log an error, once as long as it stays the same."""
        if text != self._said:
            self._said = text
            logs.log("error", text)


def _result(outcome: _Candidate | Exception) -> _Candidate:
    if isinstance(outcome, Exception):
        raise outcome if isinstance(outcome, JobdError) else JobdError(f"{type(outcome).__name__}: {outcome}")
    return outcome


def _candidate(effect: Effect, found: Listing, asked: str | None = None) -> _Candidate:
    return _Candidate(effect, found, _good(found, asked), _loaded(effect.code, found))


def _told(tasks: Iterable[TaskInfo]) -> list[str]:
    """What does not load, said in the log."""
    lines = [f"{_label(one)} does not load: {one.error}" for one in tasks if one.error is not None]
    for line in lines:
        logs.log("error", line)
    return lines


def _label(task: TaskInfo) -> str:
    return f"the task {task.name} of {task.origin}" if task.name else task.origin


def _named(good: Iterable[tuple[str, str]]) -> str:
    return ", ".join(sorted({f"the task {name} of {source}" if name else source for name, source in good}))


def _good(found: Listing, asked: str | None = None) -> frozenset[tuple[str, str]]:
    """(name, plugin) of the tasks that can be run, and ("", plugin) of the plugins that load; not what was `asked` for,
    which is listed this time only."""
    good = {("", source) for source in found.loaded}
    good |= {(one.name, one.source) for one in found.tasks if one.error is None}
    return frozenset(one for one in good if one[1] != asked)


def _is_new(asked: str | None, found: Listing, code: Snapshot) -> bool:
    """Whether a task that was asked for in full is offered, and is not in this code."""
    offered = any(one.name == asked and one.error is None for one in found.tasks)
    return asked is not None and offered and ":" in asked and file_of(code.copy, asked) is None


def _loaded(code: Snapshot, found: Listing) -> frozenset[str]:
    """The files and folders at the top of a snapshot, without the plugins that have nothing but errors."""
    working = {one.source for one in found.tasks if one.error is None}
    files = {one.source for one in found.tasks if one.error and one.source.endswith(".py")} - working
    broken = {file.split(os.sep)[1] for file in files if os.sep in file}
    return frozenset(top_of(contents_of_copy(code.copy).code) - broken)
