"""Every task that the plugins offer, and what failed to load: found out in a child process, so that a plugin that
hangs, exits or crashes when it is imported is only told as broken.
"""

import json
import os
import select
import stat
import subprocess
import sys
import time
from collections import Counter
from typing import NamedTuple

from jobd.errors import ConfigError, JobdError
from jobd.runner.environment import without_secrets

LIMIT = 10.0  # seconds that a plugin may take to load


class TaskInfo(NamedTuple):
    """A task, or (with `error`) something that should have offered one. `name` is empty when it is not known."""

    name: str
    origin: str
    kind: str
    error: str | None = None


def list_tasks(plugins: str, limit: float = LIMIT) -> list[TaskInfo]:
    """All tasks, by name; what is broken comes last. Each plugin may take `limit` seconds to load.

    Raises JobdError when the folder cannot be read, or this user had better not import what is there.
    """
    try:
        os.scandir(plugins).close()
    except OSError as error:
        hint = "change `plugins` in jobd.toml, or make the folder"
        raise JobdError(f"the plugins folder {plugins} cannot be read: {error.strerror}", hint) from None
    check_writers(plugins)
    broken: dict[str, TaskInfo] = {}
    while True:
        tasks, culprit, why = _attempt(plugins, limit, list(broken))
        if culprit is None:
            break
        broken[culprit] = TaskInfo("", culprit, "plugin", why)
    names = Counter(task.name for task in tasks if task.name)
    listed = []
    for task in tasks:
        if names[task.name] > 1:
            others = " and ".join(other.origin for other in tasks if other.name == task.name and other != task)
            task = task._replace(error=f"the name is taken twice, also by {others}")
        listed.append(task)
    return sorted([*listed, *broken.values()], key=lambda task: (not task.name, task.name, task.origin))


def check_writers(plugins: str) -> None:
    """Raise ConfigError if jobd runs as root and anybody can write the plugins folder or something in it."""
    if os.geteuid() != 0:
        return
    for folder, _, files in os.walk(plugins):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            try:
                mode = os.stat(path).st_mode
            except OSError:  # removed meanwhile, or a link that leads nowhere
                continue
            if mode & stat.S_IWOTH:
                what = "into the plugins folder" if path == plugins else "the plugin"
                raise ConfigError(f"anybody can write {what} {path}", f"jobd runs as root: chmod o-w {path}")


def _attempt(plugins: str, limit: float, skipped: list[str]) -> tuple[list[TaskInfo], str | None, str]:
    """(tasks, the plugin that brought the listing down, how); the plugin is None when it went through."""
    told, tell = os.pipe()
    command = [sys.executable, "-P", "-m", "jobd.runner", "--plugins", plugins, "--list", str(tell)]
    for origin in skipped:
        command += ["--skip", origin]
    process = subprocess.Popen(
        command,
        pass_fds=(tell,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=without_secrets(os.environ),
    )
    os.close(tell)
    try:
        tasks, loading = _listen(told, limit)
    finally:
        os.close(told)
        ended = process.poll()
        process.kill()
        process.wait()
    if loading is None:
        return tasks, None, ""
    if not loading:
        raise RuntimeError(f"the tasks cannot be listed: {' '.join(command)} ended with {ended}")
    return (
        tasks,
        loading,
        f"it did not load within {limit:g} s" if ended is None else "it ended the process when imported",
    )


def _listen(told: int, limit: float) -> tuple[list[TaskInfo], str | None]:
    """(tasks so far, the plugin that was being loaded when it went silent); None: it went through to the end."""
    tasks: list[TaskInfo] = []
    loading, received = "", b""
    deadline = time.monotonic() + limit
    while select.select([told], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(told, 65_536)
        if not data:
            break
        *lines, received = (received + data).split(b"\n")
        for line in lines:
            match json.loads(line):
                case ["loading", origin]:
                    loading, deadline = origin, time.monotonic() + limit
                case ["task", name, origin, kind]:
                    tasks.append(TaskInfo(name, origin, kind))
                case ["broken", origin, error]:
                    tasks.append(TaskInfo("", origin, "plugin", error))
                case ["end"]:
                    return tasks, None
    return tasks, loading
