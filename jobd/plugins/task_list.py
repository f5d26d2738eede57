"""Lists every task that the plugins offer, and the plugins that fail to load.

A child process imports the plugins, so a plugin that hangs, exits or crashes at its import is only listed as broken.
"""

import json
import os
import select
import stat
import subprocess
import time
from collections.abc import Mapping
from typing import NamedTuple

from jobd import umask
from jobd.errors import ConfigError, JobdError
from jobd.plugins.environment import command_line
from jobd.plugins.function import Arguments

LIMIT = 10.0  # seconds that a plugin may take to load
EXIT_TIMEOUT = 0.2  # seconds between the end of the list and the exit of the child process


class TaskInfo(NamedTuple):
    """A task, or (with `error`) a broken task or plugin. `name` is empty if it is unknown."""

    name: str
    origin: str
    kind: str
    error: str | None = None
    arguments: Arguments | None = None  # None: unknown
    source: str = ""  # the plugin that offers it


class Listing(NamedTuple):
    """The tasks of all plugins."""

    tasks: list[TaskInfo]  # by name; broken plugins come last
    loaded: list[str]  # the plugins that load, with or without tasks


def list_tasks(
    plugins: str,
    environ: Mapping[str, str] = os.environ,
    directory: str = ".",
    asked: str | None = None,
    limit: float = LIMIT,
    copy: str | None = None,
) -> Listing:
    """List all tasks, and the task `asked` if it is a full name. Each plugin may take `limit` seconds to load.

    Plugins are loaded with this environment and working directory, from a `copy` of the folder's code if one is given.

    Raises JobdError if the folder cannot be read, or if jobd runs as root and something in it is world-writable.
    """
    try:
        os.scandir(copy or plugins).close()
    except OSError as error:
        hint = "change `plugins` in jobd.toml, or make the folder"
        raise JobdError(f"the plugins folder {plugins} cannot be read: {error.strerror}", hint) from None
    check_writers(plugins)
    command = [*command_line("jobd.runner"), "--plugins", plugins]
    for word, value in (("--copy", copy), ("--asked", asked)):
        command += [word, value] if value else []
    broken: dict[str, TaskInfo] = {}
    while True:
        listing, culprit, why = _attempt(command, environ, directory, list(broken), limit)
        if culprit is None:
            break
        broken[culprit] = TaskInfo("", culprit, "plugin", why, source=culprit)
    tasks = [_judged(number, listing.tasks) for number in range(len(listing.tasks))]
    ordered = sorted([*tasks, *broken.values()], key=lambda task: (not task.name, task.name, task.origin))
    return Listing(ordered, listing.loaded)


def _judged(number: int, tasks: list[TaskInfo]) -> TaskInfo:
    """The task with this number; with an error if other tasks have the same name, because no job can run it then."""
    task = tasks[number]
    others = [one.origin for n, one in enumerate(tasks) if n != number and task.name and one.name == task.name]
    if not others:
        return task
    error = f"the name is taken twice, also by {' and by '.join(others)}; @jobd.task(name=...) gives another"
    return task._replace(error=error)


def check_writers(plugins: str) -> None:
    """Raise ConfigError if jobd runs as root and the plugins folder or something in it is world-writable."""
    if os.geteuid() != 0:
        return
    for folder, _, files in os.walk(plugins):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            try:
                mode = os.stat(path).st_mode
            except OSError:  # removed meanwhile, or a broken link
                continue
            if mode & stat.S_IWOTH:
                what = "the plugins folder" if path == plugins else "the plugin"
                raise ConfigError(f"{what} {path} is world-writable", f"jobd runs as root: chmod o-w {path}")


def _attempt(
    command: list[str], environ: Mapping[str, str], directory: str, skipped: list[str], limit: float
) -> tuple[Listing, str | None, str]:
    """(the list, the plugin that stopped the listing, how); the plugin is None if the list is complete."""
    receiver, sender = os.pipe()
    command = [*command, "--list", str(sender), *(word for source in skipped for word in ("--skip", source))]
    process = subprocess.Popen(
        command,
        pass_fds=(sender,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=directory,
        env=environ,
        umask=umask.given(),
    )
    os.close(sender)
    try:
        listing, loading = _read_messages(receiver, limit)
    finally:
        os.close(receiver)
        ended = _ended(process)
        process.kill()
        process.wait()
    if loading is None:
        return listing, None, ""
    if not loading:
        raise RuntimeError(f"the tasks cannot be listed: {' '.join(command)} ended with {ended}")
    return (
        listing,
        loading,
        f"it did not load within {limit:g} s" if ended is None else "it ended the process when imported",
    )


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """The exit status, or None if the process still runs after EXIT_TIMEOUT. It closes its pipe shortly before."""
    try:
        return process.wait(EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        return None


def _read_messages(receiver: int, limit: float) -> tuple[Listing, str | None]:
    """(the list, the plugin that was being loaded when the messages stopped); None if the list is complete."""
    listing = Listing([], [])
    loading, received = "", b""
    deadline = time.monotonic() + limit
    while select.select([receiver], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(receiver, 65_536)
        if not data:
            break
        *lines, received = (received + data).split(b"\n")
        for line in lines:
            match json.loads(line):
                case ["loading", source]:
                    loading, deadline = source, time.monotonic() + limit
                case ["task", name, origin, kind, arguments, error]:
                    takes = Arguments(*arguments) if arguments else None
                    listing.tasks.append(TaskInfo(name, origin, kind, error, takes, loading))
                case ["broken", error]:
                    listing.tasks.append(TaskInfo("", loading, "plugin", error, source=loading))
                case ["loaded"]:
                    listing.loaded.append(loading)
                case ["end"]:
                    return listing, None
    return listing, loading
