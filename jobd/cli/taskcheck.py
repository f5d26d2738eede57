"""Is there such a task? Asked when a job is entered, so that a misspelt name is refused and not found out at night."""

from jobd.cli.context import Context
from jobd.errors import BadValue, JobdError
from jobd.job import Job


def check_task(context: Context, job: Job) -> None:
    """Raise BadValue, with near names, when no plugin offers the job's task. Programs pass.

    Of module:function only the module is looked for.
    """
    if job.options.command is not None:
        return
    if ":" in job.task:
        from jobd.runner.catalogue import file_of

        if file_of(context.settings.plugins, job.task) is None:
            module = job.task.partition(":")[0]
            raise BadValue(
                f"there is no module {module!r} in {context.settings.plugins}", "see `jobd tasks` (or --force)"
            )
        return
    from jobd.daemon.plugins import tasks_of

    try:
        found = tasks_of(context.settings).tasks
    except JobdError as error:
        raise BadValue(
            f"whether there is a task {job.task!r} cannot be found out: {error}", "--force stores the job all the same"
        ) from None
    names = [one.name for one in found if one.error is None]
    if job.task in names:
        return
    broken = next((one for one in found if one.name == job.task), None)
    if broken is not None:
        raise BadValue(f"the task {job.task!r} did not load: {broken.error}", "see `jobd tasks`; or --force")
    from difflib import get_close_matches

    near = get_close_matches(job.task, names, 3)
    offer = f"did you mean {', '.join(near)}?" if near else "`jobd tasks` lists them"
    raise BadValue(f"no plugin in {context.settings.plugins} offers the task {job.task!r}", f"{offer} (or --force)")
