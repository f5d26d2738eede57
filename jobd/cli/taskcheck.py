"""Checks the task of a job when the job is entered, so that a mistake is found then and not at its first run.

The daemon lists the tasks, with its own environment, folder and user. Without a daemon, the command loads the plugins
itself, which may give another result.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from jobd.cli.context import Context
from jobd.errors import BadValue, JobdError
from jobd.job import Job

if TYPE_CHECKING:
    from jobd.plugins.task_list import TaskInfo

LOAD_TIMEOUT = 120.0  # seconds; every plugin is loaded meanwhile
MAX_BROKEN = 3  # plugins named as the possible reason
HERE = "no daemon answers, so the plugins were loaded here, with this shell's environment and user"
OUTDATED = "the plugins have changed since they were loaded: `jobd reload` puts that into effect"


def offered_tasks(context: Context, asked: str | None = None) -> "tuple[list[TaskInfo], str]":
    """The tasks, including the full name `asked`, and a note on how they were found. Raises JobdError."""
    from jobd.daemon.plugins import read_tasks, tasks_of

    answer = context.ask_daemon({"do": "tasks", "asked": asked}, LOAD_TIMEOUT)
    if answer is None:
        return tasks_of(context.settings, asked).tasks, HERE
    tasks, outdated = read_tasks(answer)
    return tasks, OUTDATED if outdated else ""


def check_task(context: Context, job: Job) -> None:
    """Raise BadValue, with similar names, if no plugin offers the job's task, or it takes other arguments.

    A job that runs a program passes.
    """
    if job.options.command is not None:
        return
    try:
        found, note, task = _find(context, job)
    except JobdError as error:
        raise BadValue(
            f"whether there is a task {job.task!r} cannot be found out: {error}", "--force stores the job anyway"
        ) from None
    where = f" ({note})" if note else ""
    if task is None:
        names = [one.name for one in found if one.error is None]
        broken = [f"{one.origin} did not load: {one.error}" for one in found if not one.name]
        raise BadValue(
            f"no plugin in {context.settings.plugins} offers the task {job.task!r}{where}",
            _nearest(job.task, names, "; ".join(broken[:MAX_BROKEN]) or "`jobd tasks` lists them"),
        )
    if task.error is not None:
        raise BadValue(f"the task {job.task!r} did not load: {task.error}{where}", "see `jobd tasks`; or --force")
    _check_arguments(task, job.options.args)


def _find(context: Context, job: Job) -> "tuple[list[TaskInfo], str, TaskInfo | None]":
    """The tasks, a note on how they were found, and the task that the job runs. Raises JobdError."""
    found, note = offered_tasks(context, job.task if ":" in job.task else None)
    return found, note, next((one for one in found if job.task in (one.name, one.origin)), None)


def check_arguments(context: Context, job: Job) -> None:
    """Raise BadValue if the job's task takes other arguments. A task that is unknown here passes."""
    if job.options.command is not None:
        return
    try:
        _, _, task = _find(context, job)
    except JobdError:
        return
    if task is not None and task.error is None:
        _check_arguments(task, job.options.args)


def _check_arguments(task: "TaskInfo", given: Collection[str]) -> None:
    if task.arguments is None:
        return
    required, optional, others = task.arguments
    known = [*required, *optional]
    wrong = next((name for name in given if name not in known and not others), None)
    if wrong is not None:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise BadValue(f"the task {task.name!r} takes no argument {wrong!r}", _nearest(wrong, known, takes))
    missing = next((name for name in required if name not in given), None)
    if missing is not None:
        raise BadValue(f"the task {task.name!r} needs the argument {missing!r}", f"give --arg {missing}=… (or --force)")


def _nearest(word: str, known: list[str], otherwise: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, 3)
    return (f"did you mean {', '.join(near)}?" if near else otherwise) + " (or --force)"
