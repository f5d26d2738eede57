"""The plugins as the daemon sees them: with its environment, as its user, from its working directory."""

import os
from typing import NamedTuple

from jobd.daemon.control import Document
from jobd.errors import JobdError
from jobd.plugins.environment import without
from jobd.plugins.function import Arguments
from jobd.plugins.snapshot import Snapshot
from jobd.plugins.task_list import Listing, TaskInfo, list_tasks
from jobd.settings import Settings
from jobd.store.url import parse_url


def environment(settings: Settings) -> dict[str, str]:
    """What a process that imports plugins finds in its environment."""
    target = parse_url(settings.database, settings.password)
    # PostgreSQL's client library takes a password that jobd was not given from the environment.
    asked = target.kind == "postgresql" and target.password is None
    return without(os.environ, ("JOBD_DATABASE", "PGPASSWORD") if asked else ("JOBD_DATABASE",))


def tasks_of(settings: Settings, asked: str | None = None) -> Listing:
    """What the plugins offer (see `list_tasks`); the working directory is the state folder, when there is one."""
    directory = settings.state_dir if os.path.isdir(settings.state_dir) else "."
    return list_tasks(settings.plugins, environment(settings), directory, asked)


def tasks_in(code: Snapshot, settings: Settings, asked: str | None = None) -> Listing:
    """What a snapshot of the plugins offers, seen from the daemon's working directory."""
    return list_tasks(code.plugins, environment(settings), ".", asked, copy=code.copy)


class Offered(NamedTuple):
    """What the daemon offers, and whether the plugins folder holds something that is not in effect."""

    tasks: list[TaskInfo]
    outdated: bool


def read_tasks(answer: Document) -> Offered:
    """What a command that asked for the tasks was told. Raises JobdError."""
    if "error" in answer:
        raise JobdError(answer["error"], answer["hint"])
    rows = (TaskInfo(*row) for row in answer["tasks"])
    tasks = [row._replace(arguments=Arguments(*row.arguments) if row.arguments else None) for row in rows]
    return Offered(tasks, answer.get("outdated", False))


def has_program(settings: Settings, word: str) -> bool:
    """Whether there is such a program, for the user, the PATH and the working directory of this process's jobs."""
    folders = [settings.state_dir] if os.sep in word else os.get_exec_path()
    paths = (os.path.join(folder, word) for folder in folders)
    return any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths)
