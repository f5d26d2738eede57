"""Runs: `run`, `cancel`, `history`, `logs`. All of it through the database, so it works from any machine."""

import sys
import time
from collections.abc import Iterator
from itertools import islice

import click

from jobd.cli.context import Context
from jobd.cli.documents import run_document
from jobd.cli.look import print_runs
from jobd.cli.options import NAME, json_option
from jobd.cli.show import escape, escape_lines, print_array, print_json, span
from jobd.errors import JobdError
from jobd.job import LOST, MAX_BIGINT, OUTCOMES, SUCCEEDED
from jobd.store.reads import History, Reader

POLL = 0.3  # seconds between looks at the database while following or waiting
WAIT_POLL = 0.05
SHOWN = 20


@click.command()
@click.argument("name", type=NAME)
@click.option("--wait", is_flag=True, help="Wait for its end, print what it printed; exit 1 unless it succeeded.")
@json_option
@click.pass_obj
def run(context: Context, name: str, wait: bool, as_json: bool) -> int:
    """Run a job now, whatever its schedule says. Its regular due times stay as they are.

    \b
      jobd run backup
      jobd run backup --wait && echo it worked
    """
    from jobd.store import definitions

    if wait and not context.reader.nodes():
        raise JobdError("no node is running, so there is nothing to wait for", "start one with `jobd start`")
    number = definitions.request_run(context.store, name, context.now(), context.zone)
    context.changed()
    if not wait:
        if as_json:
            print_json({"job": name, "run": number})
        else:
            click.echo(f"run {number} of {escape(name)} is asked for")
        return 0
    return _wait(context.reader, name, number, as_json)


@click.command()
@click.argument("name", type=NAME)
@click.pass_obj
def cancel(context: Context, name: str) -> None:
    """End the run in progress, its retries included. The job itself goes on with its next due time.

    \b
      jobd cancel backup
    """
    from jobd.store import definitions

    definitions.request_cancel(context.store, name, context.now(), context.zone)
    context.changed()
    click.echo(f"{escape(name)} is being cancelled")


@click.command()
@click.argument("name", type=NAME, required=False)
@click.option(
    "-n", "count", type=click.IntRange(1, MAX_BIGINT), help=f"How many, newest first.  [default: {SHOWN}; JSON: all]"
)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only runs that ended so.")
@json_option
@click.pass_obj
def history(context: Context, name: str | None, count: int | None, outcome: str | None, as_json: bool) -> None:
    """Show what happened: the runs of one job or of all, newest first.

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
@click.argument("name", type=NAME)
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted, through the runs to come.")
@click.option("--run", "number", type=click.IntRange(1, MAX_BIGINT), help="This run; default: the last one.")
@json_option
@click.pass_obj
def logs(context: Context, name: str, follow: bool, number: int | None, as_json: bool) -> None:
    """Show what the last run of a job printed and logged; with JSON, one object per piece.

    \b
      jobd logs backup
      jobd logs backup --run 17
      jobd logs backup -f
    """
    reader = context.reader
    job_id = reader.job(name).job.id
    last = reader.last_output(job_id)
    number = number or last
    if number is not None and number != last and reader.run(job_id, number) is None:
        raise JobdError(f"{name!r} has no run {number}", f"see `jobd history {name}`")
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
            return
        time.sleep(POLL)  # noqa: TID251 - a command, not the daemon


def _wait(reader: Reader, name: str, number: int, as_json: bool) -> int:
    """Wait for run `number`, and for the run that takes its place if it is lost; say how it ended."""
    job_id = reader.job(name).job.id
    for ended in _ends(reader, job_id, number):
        run = ended.run
        if as_json:
            print_json(run_document(ended))
        else:
            for *_, text in reader.output(job_id, (run.number, 0, -1), run.number):
                sys.stdout.write(escape_lines(text))
            sys.stdout.flush()
            took = f" after {span(run.finished - run.started)}" if run.started is not None else ""
            click.echo(f"run {run.number} of {escape(name)} {run.outcome}{took}", err=True)
        if run.outcome == SUCCEEDED:
            return 0
        if run.outcome != LOST or reader.job(name).plan is None:
            break
    return 1


def _ends(reader: Reader, job_id: int, number: int) -> Iterator[History]:
    while True:
        ended = reader.run(job_id, number)
        if ended is not None:
            yield ended
            number += 1
        elif not reader.nodes():
            raise JobdError("the last node has stopped; the run is still asked for", "start one with `jobd start`")
        else:
            time.sleep(WAIT_POLL)  # noqa: TID251 - a command, not the daemon
