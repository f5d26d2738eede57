"""Defining jobs: `add` and `set`. Each is one transaction, and prints the resulting schedule in words."""

from itertools import islice
from typing import Any

import click

from jobd.cli import print_remark
from jobd.cli.context import Context
from jobd.cli.date_files import read_days
from jobd.cli.edit import WHEN, WHEN_OPTIONS, edited
from jobd.cli.job_table import schedule_text
from jobd.cli.options import EXISTING, NAME, Cleared, definition_options, json_option
from jobd.cli.programs import warn_of_program
from jobd.cli.taskcheck import check_arguments, check_task
from jobd.cli.terminal import print_json
from jobd.definition import check, schedule_of
from jobd.errors import BadValue, DatabaseUnavailable
from jobd.job import Job, without_zone
from jobd.printable import escape
from jobd.schedule import Schedule
from jobd.store.reads import JobOverview
from jobd.view.documents import job_document
from jobd.view.state import NEXT_TIMES, next_due_times
from jobd.view.text import moment


class WithCommand(click.Command):
    """A command that takes a program's words after `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["command"] = None
        if "--" in args:
            cut = args.index("--")
            ctx.params["command"] = tuple(args[cut + 1 :])
            args = args[:cut]
        options, _, given = self.make_parser(ctx).parse_args(args=list(args))
        command, named = ctx.params["command"], isinstance(options.get("name"), str)
        if self.name == "set" and command and command[0].startswith("-") and not named:
            # The name follows `--`, because it begins with `-`; a command may follow another `--`.
            cut = command.index("--") if "--" in command else len(command)
            args = [*args, "--", *command[:cut]]
            ctx.params["command"] = command[cut + 1 :] if cut < len(command) else None
        for option in given:
            once = isinstance(option, click.Option) and not option.multiple and not option.is_flag
            if once and given.count(option) > 1:
                raise BadValue(f"{option.opts[0]} is given twice", "give it once")
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- PROGRAM [ARG]...]"]


@click.command(cls=WithCommand)
@click.argument("name", type=NAME)
@definition_options
@click.option("--paused", is_flag=True, help="Add it paused; `jobd resume` starts it.")
@click.option("--if-not-exists", is_flag=True, help="If a job of this name exists, leave it unchanged and succeed.")
@json_option
@click.pass_obj
def add(
    context: Context,
    /,
    name: str,
    command: tuple[str, ...] | None,
    paused: bool,
    if_not_exists: bool,
    as_json: bool,
    force: bool,
    **given: Any,
) -> None:
    """Add a job. It runs the task of its own name, the task given by --task, or the program after `--`.

    A deleted job of the same name is restored with the new definition and keeps its history.
    The value `default` leaves an option unset: [defaults] in jobd.toml applies, or else the built-in value.

    \b
      jobd add report --cron '30 2 * * *' --tz Europe/Berlin --retry 3 --backoff 10s
      jobd add ping --every 10s --timeout 5s
      jobd add mail-bob --task mail --in 20m --arg to=bob --arg copies=2
      jobd add backup --every 1d -- /usr/local/bin/backup --full
    """
    from jobd.store import definitions

    now = context.now()
    given["skip_dates"] = read_days(context, given["skip_dates"])
    given["retry_times"] = _retries(context, given["retry_times"])
    job = edited(Job(name, retry_times=context.settings.retry_times), given, command, now, context.zone)
    job = job._replace(options=job.options._replace(paused=paused))
    if not job.has_schedule:
        raise BadValue(f"the job {escape(name)!r} has no schedule", f"give {WHEN_OPTIONS}")
    schedule = check(job, context.zone)
    if not force:
        _check_future(job, schedule, now)
        check_task(context, job)
    _warn_of_unknown_pool(context, given["pool"])
    added = definitions.add(context.store, [job], now, context.zone, if_not_exists=if_not_exists)
    if added:
        context.notify_daemon()
        warn_of_program(context, job)
    _echo(context, "added" if added else "unchanged:", name, as_json)


@click.command("set", cls=WithCommand)
@click.argument("name", type=EXISTING)
@definition_options
@click.option("--no-arg", "no_args", metavar="K", multiple=True, help="Remove an argument.")
@json_option
@click.pass_obj
def set_(
    context: Context, /, name: str, command: tuple[str, ...] | None, as_json: bool, force: bool, **given: Any
) -> None:
    """Change a job. Options that are not given stay as they are.

    The value `default` makes an option unset: [defaults] in jobd.toml applies, or else the built-in value.
    A new schedule starts now. A run in progress keeps the definition that it started with.

    \b
      jobd set report --cron '0 3 * * *' --retry 5
      jobd set ping --timeout none --backoff default
      jobd set mail-bob --arg to=alice --no-arg copies
    """
    from jobd.store import definitions

    if command is None and all(value is None or value is False or value == () for value in given.values()):
        raise BadValue("nothing to change was given", "see `jobd set --help`")
    given["skip_dates"] = read_days(context, given["skip_dates"])
    given["retry_times"] = _retries(context, given["retry_times"])
    now = context.now()

    def edit(job: Job) -> Job:
        flaw = _flaw(job, context.zone)
        job = edited(job, given, command, now, context.zone)
        if flaw is not None and flaw == _flaw(job, context.zone):
            return job  # an error that it had before does not prevent other changes
        schedule = check(job, context.zone)
        if not force and any(given[name] is not None for name in WHEN):
            _check_future(job, schedule, now)
        return job

    if not force and given["task"] is not None:
        check_task(context, edit(context.reader.job(name).job))
    elif not force and any(given[key] for key in ("args", "secret_args", "no_args")):
        check_arguments(context, edit(context.reader.job(name).job))
    _warn_of_unknown_pool(context, given["pool"])
    definitions.change(context.store, name, edit, now, context.zone)
    context.notify_daemon()
    if command is not None:
        warn_of_program(context, edit(context.reader.job(name).job))
    _echo(context, "changed", name, as_json)


def _retries(context: Context, given: int | Cleared | None) -> int | None:
    """The value of --retry; None if it is not given. `default` means that of [defaults], which the job then has."""
    return context.settings.retry_times if isinstance(given, Cleared) else given


def _flaw(job: Job, zone: str) -> str | None:
    """The error in a definition; None if it is valid."""
    try:
        check(job, zone)
    except BadValue as error:
        return str(error)
    return None


def _check_future(job: Job, schedule: Schedule, now: int) -> None:
    """Raise BadValue for a schedule that will never be due, or whose first due time has passed."""
    first = schedule.first(now)
    if first is None and not schedule.on_event:
        raise BadValue(f"{job.interval!r} will never be due", "--force stores it anyway")
    if first is not None and first < now:
        raise BadValue(f"{job.interval!r} is in the past", "--force stores it anyway; it is due at once then")


def _warn_of_unknown_pool(context: Context, pool: Any) -> None:
    """Print a warning if this configuration has no such pool; another node may have it."""
    if isinstance(pool, str) and pool not in context.settings.pools:
        known = ", ".join(context.settings.pools)
        missing = f"no pool {pool!r} is configured here, so no daemon with this jobd.toml runs it"
        print_remark(f"warning: {missing}; configured pools: {known}")


def _echo(context: Context, done: str, name: str, as_json: bool) -> None:
    """Print the result: the name, the schedule in words, and the next due times."""
    try:
        overview = context.reader.job(name)
    except DatabaseUnavailable as error:
        print_remark(f"warning: it is stored, but cannot be shown: {error}")
        click.echo(f"{done} {escape(name)}")
        return
    if as_json:
        print_json(job_document(overview, context.zone))
        return
    job = overview.job
    problem = overview.problem or _flaw(job, context.zone)
    if problem is not None:
        print_remark(f"warning: {name!r} is still invalid: {problem}")
        click.echo(f"{done} {escape(name)}")
        return
    words = schedule_of(job, context.zone).describe()
    once = ", the first time only" if job.runonce and job.interval is not None else ""
    when = "paused" if job.options.paused else _when(overview, context)
    click.echo(f"{done} {escape(name)}: {escape(words)}{once} ({escape(schedule_text(overview))}); {when}")


def _when(overview: JobOverview, context: Context) -> str:
    """The next due times, as text. A due time that has come and is claimed is a run in progress."""
    now, state = context.now(), overview.state
    if state is not None and state.node and without_zone(state.fingerprint) != overview.job.fingerprint:
        return "the new schedule starts when the run in progress has ended"
    times = [due for due, _ in islice(next_due_times(overview, context.zone), NEXT_TIMES)]
    if state is not None and state.node and times and (state.started or times[0] <= now):
        following = f", next due {', '.join(map(moment, times[1:]))}" if times[1:] else ""
        return f"a run is in progress{following}"
    if not times:
        return "due when that happens" if schedule_of(overview.job, context.zone).on_event else "no due time"
    first = "due at once" if times[0] <= now else f"next due {moment(times[0])}"
    return ", ".join([first, *map(moment, times[1:])])
