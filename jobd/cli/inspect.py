"""Inspecting jobs: `list`, `show`, `next`, `tasks`. They read the database and change nothing."""

from collections.abc import Iterator
from heapq import merge
from itertools import dropwhile, islice
from typing import Any

import click

from jobd.cli import print_remark
from jobd.cli.context import Context
from jobd.cli.date_files import read_days
from jobd.cli.edit import NONE_GIVEN, WHEN_OPTIONS, edited, moment_given
from jobd.cli.job_table import outcome_style, print_jobs, schedule_text
from jobd.cli.options import EXISTING, json_option, schedule_options
from jobd.cli.terminal import Cell, print_array, print_json, print_table
from jobd.clock import DAY, iso
from jobd.definition import schedule_of
from jobd.errors import BadValue
from jobd.job import Job
from jobd.lifecycle import after_change
from jobd.printable import escape
from jobd.schedule.base import COUNT_LIMIT
from jobd.schedule.follows import Follows
from jobd.store.reads import JobOverview, RecordedRun
from jobd.view.documents import HIDDEN, job_document, options_of, run_document
from jobd.view.state import NEXT_TIMES, error_of, next_due_times, reason, state_of, with_state
from jobd.view.text import moment, quoted, span

LAST_RUNS = 5
A_YEAR = 366 * DAY
MAX_NOTES = 5


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--all", "-a", "everything", is_flag=True, help="Include deleted jobs.")
@json_option
@click.pass_obj
def list_(context: Context, pattern: str | None, everything: bool, as_json: bool) -> None:
    """List all jobs, or those whose name matches PATTERN (with `*` and `?`, or a part of the name).

    \b
      jobd list
      jobd list 'mail-*' --json
    """
    print_jobs(context, pattern, everything, as_json)


@click.command()
@click.argument("name", type=EXISTING)
@json_option
@click.pass_obj
def show(context: Context, name: str, as_json: bool) -> None:
    """Show one job in full: its definition, next due times, last runs, and why it does not run.

    \b
      jobd show backup
    """
    now, zone = context.now(), context.zone
    overview = with_state(context.reader.job(name), now, zone)
    runs = list(islice(context.reader.runs(overview.job.id), LAST_RUNS))
    if as_json:
        print_json(job_document(overview, zone) | {"runs": [run_document(row) for row in runs]})
        return
    for label, value in _facts(context, overview, now, zone):
        click.echo(f"{label:<10} {value}")
    if runs:
        click.echo()
        print_runs(runs, now)


@click.command("next")
@click.argument("name", type=EXISTING, required=False)
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many.")
@click.option("--from", "start", metavar="TIME", help="Start at TIME; default: now.")
@schedule_options
@json_option
@click.pass_obj
def next_(context: Context, /, name: str | None, count: int, start: str | None, as_json: bool, **given: Any) -> None:
    """Show the next due times of one job, of all jobs, or of a schedule given by options. This runs nothing.

    \b
      jobd next
      jobd next backup -n 3
      jobd next --cron '30 2 * * *' --tz Europe/Berlin --from 2027-03-27T00:00
      jobd next --every 'last friday of the month at 17:00'
    """
    zone = context.zone
    now = context.now() if start is None else moment_given(start, context.now(), zone)
    if any(value not in (None, False, ()) for value in given.values()):
        if name is not None:
            raise BadValue("a job and a schedule are given", "leave one of them out")
        _print_schedule(context, given, now, count, as_json)
        return
    chosen = [context.reader.job(name)] if name is not None else context.reader.jobs(deleted=False)
    times = (next_due_times(with_state(overview, now, zone), zone) for overview in chosen)
    soonest = list(islice(dropwhile(lambda one: start is not None and one[0] < now, merge(*times)), count))
    if as_json:
        print_array({"job": job, "due": iso(due)} for due, job in soonest)
    elif not soonest and name is not None and (overview := context.reader.job(name)).job.options.after_jobs:
        never = f"{error_of(overview)}, so it is never due" if overview.missing else None
        click.echo(escape(never or f"it is due {Follows(overview.job.options.after_jobs).describe()}"))
    elif soonest:
        print_table(("DUE", "JOB"), ([Cell(moment(due)), Cell(job)] for due, job in soonest))
    else:
        click.echo("nothing is due")


def _print_schedule(context: Context, given: dict[str, Any], now: int, count: int, as_json: bool) -> None:
    """Print the due times of a schedule that is given by options and not stored."""
    zone = context.zone
    given["skip_dates"] = read_days(context, given["skip_dates"])
    job = edited(Job(""), {**NONE_GIVEN, **given}, None, now, zone)
    if not job.has_schedule:
        raise BadValue("no schedule is given", f"give {WHEN_OPTIONS}")
    schedule = schedule_of(job, zone)
    overview = JobOverview(job, after_change(job, None, now, zone))
    times = [due for due, _ in islice(next_due_times(overview, zone), count)]
    if as_json:
        print_array({"job": None, "due": iso(due)} for due in times)
        return
    text = f"  ({escape(job.interval)})" if job.interval is not None else ""
    click.echo(escape(schedule.describe()) + text)
    for due in times:
        click.echo(moment(due))
    if not times and not schedule.on_event:
        click.echo("it is never due")
    for note in _notes(job, now, zone):
        click.echo(f"note: {escape(note)}")


@click.command()
@json_option
@click.pass_obj
def tasks(context: Context, as_json: bool) -> None:
    """List the tasks that the plugins offer, where each comes from, and what failed to load.

    \b
      jobd tasks
    """
    from jobd.cli.taskcheck import offered_tasks

    found, note = offered_tasks(context)
    if as_json:
        print_array({"name": t.name, "origin": t.origin, "kind": t.kind, "error": t.error} for t in found)
    elif found:
        rows = ([Cell(t.name), Cell(t.kind), Cell(t.origin), Cell(t.error or "", "bad")] for t in found)
        print_table(("NAME", "KIND", "ORIGIN", "ERROR"), rows)
    else:
        click.echo(f"no tasks in {escape(context.settings.plugins)}")
    if note:
        (print_remark if as_json else click.echo)(note)


def _facts(context: Context, overview: JobOverview, now: int, zone: str) -> Iterator[tuple[str, str]]:
    """(label, text) of each line that `show` prints about a job."""
    job, why = overview.job, reason(overview, context.nodes(), now)
    yield "job", escape(job.name)
    yield "state", state_of(overview) + (f": {escape(why.text)}" if why else "")
    if trouble := context.trouble():
        yield (
            "daemon",
            f"the daemon on this machine cannot use its database, so it starts no new runs: {escape(trouble)}",
        )
    yield "schedule", _schedule(overview, zone)
    yield ("runs", quoted(job.options.command)) if job.options.command else ("task", escape(job.task))
    options = options_of(job)
    secrets = dict.fromkeys(job.options.secrets, HIDDEN)
    for key, value in (options.pop("args", {}) | secrets).items():
        yield "argument", escape(f"{key}={HIDDEN if key in secrets else _json(value)}")
    yield "retries", str(job.retry_times)
    for word, value in options.items():
        if word not in ("task", "command", "secrets", "paused", "after_jobs"):
            yield word, escape(value if isinstance(value, str) else _json(value))
    due = [moment(due) for due, _ in islice(next_due_times(overview, zone), NEXT_TIMES)]
    if due:
        yield "next", ", ".join(due)
    for note in _notes(job, now, zone):
        yield "note", escape(note)
    if overview.state is not None and overview.state.missed:
        yield "missed", f"{overview.state.missed} due times were not run"
    yield "created", moment(job.created or None)
    yield "updated", moment(job.updated or None)


def _json(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _notes(job: Job, now: int, zone: str) -> list[str]:
    """Remarks on due times in the coming year that a user may not expect."""
    try:
        notes = schedule_of(job, zone).notes(now, now + A_YEAR)
    except BadValue:
        return []
    return notes if len(notes) <= MAX_NOTES else [*notes[:MAX_NOTES], f"and {len(notes) - MAX_NOTES} more like these"]


def _schedule(overview: JobOverview, zone: str) -> str:
    try:
        words = schedule_of(overview.job, zone).describe()
    except BadValue:
        words = "not understood"
    return f"{escape(words)}  ({escape(schedule_text(overview))})"


def print_runs(runs: list[RecordedRun], now: int, named: bool = False) -> None:
    """Print the table of runs of `show` and `history`; `named`: with the names of the jobs."""
    header = ("JOB",) * named + ("RUN", "DUE", "STARTED", "TOOK", "TRIES", "OUTCOME", "NODE", "RESULT OR ERROR")
    print_table(header, ([Cell(row.job)] * named + _run_cells(row, now) for row in runs))


def _missed(count: int) -> str:
    """The number of missed due times, as text. If they must be counted one by one, the count is limited."""
    return f"{f'more than {count - 1}' if count == COUNT_LIMIT else count} due times missed"


def _run_cells(row: RecordedRun, now: int) -> list[Cell]:
    run: Any = row.run
    return [
        Cell(str(run.number)),
        Cell(moment(run.due or None, now)),
        Cell(moment(run.started, now)),
        Cell("-" if run.started is None else span(run.finished - run.started)),
        Cell(str(run.attempts)),
        Cell(run.outcome, outcome_style(run.outcome)),
        Cell(row.node),
        Cell(run.error, "bad")
        if run.error
        else Cell(_missed(run.missed), "wait")
        if run.missed
        else Cell(run.result or ""),
    ]
