"""The plugins as the daemon sees them: with its environment, its user and its working directory."""

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
    """The environment of a process that imports plugins: it lacks the database's URL and password."""
    target = parse_url(settings.database, settings.password)
    # If jobd.toml has no password, PostgreSQL's client library reads it from PGPASSWORD, so that is a secret of jobd.
    asked = target.kind == "postgresql" and target.password is None
    return without(os.environ, ("JOBD_DATABASE", "PGPASSWORD") if asked else ("JOBD_DATABASE",))


def tasks_of(settings: Settings, asked: str | None = None) -> Listing:
    """The tasks that the plugins offer (see `list_tasks`), loaded in the state directory if it exists."""
    directory = settings.state_dir if os.path.isdir(settings.state_dir) else "."
    return list_tasks(settings.plugins, environment(settings), directory, asked)


def tasks_in(code: Snapshot, settings: Settings, asked: str | None = None) -> Listing:
    """The tasks that a snapshot of the plugins offers, in the daemon's working directory."""
    return list_tasks(code.plugins, environment(settings), ".", asked, copy=code.copy)


class Offered(NamedTuple):
    """The tasks that the daemon offers, and whether the plugins folder contains code that is not in effect."""

    tasks: list[TaskInfo]
    outdated: bool


def read_tasks(answer: Document) -> Offered:
    """The tasks in the daemon's answer to a command. Raises JobdError if the answer is an error."""
    if "error" in answer:
        raise JobdError(answer["error"], answer["hint"])
    rows = (TaskInfo(*row) for row in answer["tasks"])
    tasks = [row._replace(arguments=Arguments(*row.arguments) if row.arguments else None) for row in rows]
    return Offered(tasks, answer.get("outdated", False))


def has_program(settings: Settings, word: str) -> bool:
    """Whether the program `word` exists for this process's user and PATH; a path is relative to the state directory."""
    folders = [settings.state_dir] if os.sep in word else os.get_exec_path()
    paths = (os.path.join(folder, word) for folder in folders)
    return any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths)
