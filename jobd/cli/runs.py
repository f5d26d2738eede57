"""Runs: `run`, `cancel`, `history`, `logs`. They use the database, so they work from any machine that reaches it."""

import shlex
import sys
import time
from itertools import islice

import click

from jobd.cli import print_remark
from jobd.cli.context import Context
from jobd.cli.inspect import print_runs
from jobd.cli.options import EXISTING, json_option
from jobd.cli.taskcheck import check_task
from jobd.cli.terminal import print_array, print_json
from jobd.cli.waiting import Waiter
from jobd.errors import BadValue, JobdError, spelt
from jobd.job import MAX_BIGINT, OUTCOMES, SUCCEEDED
from jobd.printable import escape, escape_lines
from jobd.store.reads import JobOverview, Reader, RecordedRun
from jobd.view.documents import run_document
from jobd.view.state import reason
from jobd.view.text import span

POLL = 0.3  # seconds between reads of the database with --follow
SHOWN = 20


@click.command()
@click.argument("name", type=EXISTING)
@click.option(
    "--wait", is_flag=True, help="Wait for the end of the run and print its output; exit code 1 unless it succeeded."
)
@json_option
@click.pass_obj
def run(context: Context, name: str, wait: bool, as_json: bool) -> int:
    """Run a job now, regardless of its schedule. Its regular due times stay as they are.

    \b
      jobd run backup
      jobd run backup --wait && echo it worked
    """
    from jobd.store import requests

    before = context.reader.job(name)
    if wait and not context.nodes():
        raise JobdError("no node is running, so there is nothing to wait for", "start one with `jobd start`")
    number = requests.request_run(context.store, name, context.now(), context.zone)
    context.notify_daemon()
    if wait:
        return _wait(context, before.job.id, number, as_json)
    if as_json:
        print_json({"job": name, "run": number})
    else:
        click.echo(f"requested run {number} of {escape(name)}")
    _warn(context, before)
    return 0


def _warn(context: Context, before: JobOverview) -> None:
    """Print a warning if no node will run the job. The request has cleared the error that the job had `before`."""
    now = context.now()
    why = reason(context.reader.job(before.job.name), context.nodes(), now)
    if why is not None and why.stuck:
        print_remark(f"warning: {before.job.name} does not run: {why.text}")
    elif before.state is not None and before.state.error:
        print_remark(f"warning: {before.job.name} did not run before: {before.state.error}")
    elif before.last is None or before.last.outcome != SUCCEEDED:
        try:
            check_task(context, before.job)
        except BadValue as error:
            print_remark(f"warning: {error}; {error.hint}")


@click.command()
@click.argument("name", type=EXISTING)
@click.pass_obj
def cancel(context: Context, name: str) -> None:
    """Cancel the run in progress and its retries. The job continues with its next due time.

    \b
      jobd cancel backup
    """
    from jobd.store import requests

    requests.request_cancel(context.store, name, context.now())
    context.notify_daemon()
    click.echo(f"{escape(name)} is being cancelled")


@click.command()
@click.argument("name", type=EXISTING, required=False)
@click.option(
    "-n", "count", type=click.IntRange(1, MAX_BIGINT), help=f"How many, newest first.  [default: {SHOWN}; JSON: all]"
)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Show only runs with this outcome.")
@json_option
@click.pass_obj
def history(context: Context, name: str | None, count: int | None, outcome: str | None, as_json: bool) -> None:
    """Show past runs of one job or of all jobs, newest first.

    \b
      jobd history
      jobd history backup -n 100
      jobd history --outcome failed --json
    """
    job_id = context.reader.job(name).job.id if name is not None else None
    runs = (row for row in context.reader.runs(job_id) if outcome is None or row.run.outcome == outcome)
    if as_json:
        print_array(run_document(row) for row in islice(runs, count))
        return
    shown = list(islice(runs, count or SHOWN))
    if shown:
        print_runs(shown, context.now(), named=name is None)
    else:
        click.echo("no runs yet")


@click.command()
@click.argument("name", type=EXISTING)
@click.option("-f", "--follow", is_flag=True, help="Keep printing, through later runs, until interrupted.")
@click.option(
    "--run", "number", type=click.IntRange(1, MAX_BIGINT), help="The number of the run; default: the last one."
)
@json_option
@click.pass_obj
def logs(context: Context, name: str, follow: bool, number: int | None, as_json: bool) -> None:
    """Show what the last run of a job printed and logged. With --json, one object per piece.

    \b
      jobd logs backup
      jobd logs backup --run 17
      jobd logs backup -f
    """
    reader = context.reader
    overview = reader.job(name)
    job_id, last = overview.job.id, reader.last_output(overview.job.id)
    newest = overview.last
    if number is None and newest is not None and newest.outcome != SUCCEEDED and newest.number > (last or 0):
        number = newest.number  # it printed nothing, but its outcome must be shown
    number = number or last
    if number is not None and number != last and reader.run(job_id, number) is None:
        raise JobdError(f"{name!r} has no run {number}", f"see `jobd history {spelt(name)}`")
    seen = (number or 0, 0, -1)
    while True:
        for run_number, attempt, part, text in reader.output(job_id, seen, None if follow else number):
            seen = (run_number, attempt, part)
            if as_json:
                print_json({"run": run_number, "attempt": attempt, "text": text})
            else:
                sys.stdout.write(escape_lines(text))
        sys.stdout.flush()
        if not follow:
            _print_outcome(reader.run(job_id, number) if number is not None else None)
            return
        time.sleep(POLL)  # noqa: TID251 - a command, not the daemon


def _print_outcome(ended: RecordedRun | None) -> None:
    """Print the outcome of the shown run unless it succeeded, because its output may not contain the reason."""
    if ended is not None and ended.run.outcome != SUCCEEDED:
        why = f": {ended.run.error}" if ended.run.error else ""
        print_remark(f"run {ended.run.number} of {ended.job} {ended.run.outcome}{why}")


def _wait(context: Context, job_id: int, number: int, as_json: bool) -> int:
    """Wait for the run, print how it ended, and return the exit code."""

    def show(ended: RecordedRun) -> None:
        if as_json:
            print_json(run_document(ended))
        else:
            _print_end(context.reader, ended)

    ended = Waiter(context, job_id, number, time.sleep).run(show)  # noqa: TID251 - a command, not the daemon
    return 0 if ended.run.outcome == SUCCEEDED else 1


def _print_end(reader: Reader, ended: RecordedRun) -> None:
    """Print a run's output and outcome and, if it failed, the error and the command that shows more."""
    run = ended.run
    for *_, text in reader.output(run.job_id, (run.number, 0, -1), run.number):
        sys.stdout.write(escape_lines(text))
    sys.stdout.flush()
    took = f" after {span(run.finished - run.started)}" if run.started is not None else ""
    why = f": {run.error.splitlines()[0]}" if run.error else ""
    click.echo(escape(f"run {run.number} of {ended.job} {run.outcome}{took}{why}"), err=True)
    if run.outcome != SUCCEEDED:
        command = shlex.join(["jobd", "logs", ended.job, "--run", str(run.number)])
        click.echo(escape(f"its log: {command}"), err=True)
