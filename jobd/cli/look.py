"""Looking at jobs: `list`, `show`, `next`, `tasks`. They read the database and change nothing."""

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Any

import click

from jobd.cli.context import Context
from jobd.cli.documents import HIDDEN, job_document, options_of, run_document
from jobd.cli.listing import outcome_style, print_jobs, schedule_text
from jobd.cli.options import NAME, json_option
from jobd.cli.show import Cell, escape, moment, print_array, print_json, print_table, span
from jobd.cli.state import planned, reason, state_of
from jobd.clock import iso
from jobd.errors import BadValue
from jobd.lifecycle import schedule_of
from jobd.store.reads import History, Listed

LAST_RUNS = 5
NEXT_TIMES = 3


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--all", "-a", "everything", is_flag=True, help="Deleted jobs too.")
@json_option
@click.pass_obj
def list_(context: Context, pattern: str | None, everything: bool, as_json: bool) -> None:
    """List the jobs: all, or those whose name matches PATTERN (`*` and `?`; without them, a part of the name).

    \b
      jobd list
      jobd list 'mail-*' --json
    """
    print_jobs(context, pattern, everything, as_json)


@click.command()
@click.argument("name", type=NAME)
@json_option
@click.pass_obj
def show(context: Context, name: str, as_json: bool) -> None:
    """Show one job in full: definition, next due times, last runs, why it is not running.

    \b
      jobd show backup
    """
    now, zone = context.now(), context.zone
    listed = planned(context.reader.job(name), now, zone)
    runs = list(islice(context.reader.runs(listed.job.id), LAST_RUNS))
    if as_json:
        print_json(job_document(listed, zone) | {"runs": [run_document(row) for row in runs]})
        return
    for label, value in _facts(context, listed, now, zone):
        click.echo(f"{label:<10} {value}")
    if runs:
        click.echo()
        print_runs(runs, now)


@click.command("next")
@click.argument("name", type=NAME, required=False)
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many.")
@json_option
@click.pass_obj
def next_(context: Context, name: str | None, count: int, as_json: bool) -> None:
    """Show the coming due times, of one job or of all. They are computed; nothing is run.

    \b
      jobd next
      jobd next backup -n 3
    """
    now, zone = context.now(), context.zone
    chosen = [context.reader.job(name)] if name is not None else context.reader.jobs(deleted=False)
    times = (coming(planned(listed, now, zone), zone) for listed in chosen)
    soonest = list(islice(merge(*times), count))
    if as_json:
        print_array({"job": job, "due": iso(due)} for due, job in soonest)
    elif soonest:
        print_table(("DUE", "JOB"), ([Cell(moment(due)), Cell(job)] for due, job in soonest))
    else:
        click.echo("nothing is due")


@click.command()
@json_option
@click.pass_obj
def tasks(context: Context, as_json: bool) -> None:
    """List the tasks that the plugins offer, where each comes from, and what failed to load.

    \b
      jobd tasks
    """
    from jobd.runner.listing import list_tasks

    found = list_tasks(context.settings.plugins)
    if as_json:
        print_array({"name": t.name, "origin": t.origin, "kind": t.kind, "error": t.error} for t in found)
    elif found:
        rows = ([Cell(t.name), Cell(t.kind), Cell(t.origin), Cell(t.error or "", "bad")] for t in found)
        print_table(("NAME", "KIND", "ORIGIN", "ERROR"), rows)
    else:
        click.echo(f"no tasks in {escape(context.settings.plugins)}")


def coming(listed: Listed, zone: str) -> Iterator[tuple[int, str]]:
    """The due times of a job from the one in hand on."""
    job, plan = listed.job, listed.plan
    if state_of(listed) not in ("waiting", "queued", "running", "retrying") or plan is None:
        return
    due: int | None = plan.due
    if plan.manual and due is not None:
        yield due, job.name
        due = plan.resume
    try:
        schedule = schedule_of(job, zone)
    except BadValue:
        return
    while due is not None:
        yield due, job.name
        due = None if job.runonce or schedule.from_finish else schedule.after(due, plan.anchor or due)


def _facts(context: Context, listed: Listed, now: int, zone: str) -> Iterator[tuple[str, str]]:
    """What `show` says of a job, line by line."""
    job, why = listed.job, reason(listed, context.reader.nodes(), now)
    yield "job", escape(job.name)
    yield "state", state_of(listed) + (f": {escape(why)}" if why else "")
    yield "schedule", _schedule(listed, zone)
    yield ("runs", escape(" ".join(job.options.command))) if job.options.command else ("task", escape(job.task))
    options = options_of(job)
    secrets = dict.fromkeys(job.options.secrets, HIDDEN)
    for key, value in (options.pop("args", {}) | secrets).items():
        yield "argument", escape(f"{key}={value!r}" if key not in secrets else f"{key}={HIDDEN}")
    yield "retries", str(job.retry_times)
    for word, value in options.items():
        if word not in ("task", "command", "secrets", "paused"):
            yield word, escape(str(value))
    due = [moment(due) for due, _ in islice(coming(listed, zone), NEXT_TIMES)]
    if due:
        yield "next", ", ".join(due)
    if listed.plan is not None and listed.plan.missed:
        yield "missed", f"{listed.plan.missed} due times were not run"
    yield "created", moment(job.created)
    yield "updated", moment(job.updated)


def _schedule(listed: Listed, zone: str) -> str:
    try:
        words = schedule_of(listed.job, zone).describe()
    except BadValue:
        words = "not understood"
    return f"{escape(words)}  ({escape(schedule_text(listed))})"


def print_runs(runs: list[History], now: int, named: bool = False) -> None:
    """The table of runs that `show` and `history` print; `named`: of more than one job."""
    header = ("JOB",) * named + ("RUN", "DUE", "STARTED", "TOOK", "TRIES", "OUTCOME", "NODE", "ERROR")
    print_table(header, ([Cell(row.job)] * named + _run_cells(row, now) for row in runs))


def _run_cells(row: History, now: int) -> list[Cell]:
    run: Any = row.run
    return [
        Cell(str(run.number)),
        Cell(moment(run.due, now)),
        Cell(moment(run.started, now)),
        Cell("-" if run.started is None else span(run.finished - run.started)),
        Cell(str(run.attempts)),
        Cell(run.outcome, outcome_style(run.outcome)),
        Cell(row.node),
        Cell(run.error or "", "bad"),
    ]
