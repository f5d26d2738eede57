"""`jobd list`. It is the most used command, so this file imports nothing slow, such as click."""

from collections.abc import Iterator

from jobd.cli.context import Context
from jobd.cli.terminal import Cell, print_array, print_table
from jobd.job import SUCCEEDED
from jobd.store.reads import JobOverview
from jobd.view.state import BAD_OUTCOMES, STATE_STYLES, error_of, next_due, state_of, with_state
from jobd.view.text import moment

HEADER = ("NAME", "STATE", "NEXT", "SCHEDULE", "LAST")


def print_jobs(context: Context, pattern: str | None, everything: bool, as_json: bool) -> None:
    """Print the jobs whose name matches `pattern`; with `everything`, deleted ones too."""
    now, zone = context.now(), context.zone
    overviews = (with_state(item, now, zone) for item in _matching(context, pattern, everything))
    if as_json:
        from jobd.view.documents import job_documents

        print_array(job_documents(overviews, zone))
        return
    rows = [_row(item, now, zone) for item in overviews]
    if rows:
        print_table(HEADER, rows)
    elif pattern is None:
        print("no jobs yet; `jobd add NAME --every 10s` adds one")  # noqa: T201
    else:
        print(f"no job's name matches {pattern!r}")  # noqa: T201


def _matching(context: Context, pattern: str | None, everything: bool) -> Iterator[JobOverview]:
    jobs = context.reader.jobs(deleted=everything)
    if pattern is None:
        return jobs
    if not any(char in pattern for char in "*?["):
        return (item for item in jobs if pattern in item.job.name)
    from fnmatch import fnmatchcase

    return (item for item in jobs if fnmatchcase(item.job.name, pattern))


def _row(overview: JobOverview, now: int, zone: str) -> list[Cell]:
    job, word, error = overview.job, state_of(overview), error_of(overview)
    state = overview.state
    soon = state.ready if word == "retrying" and state is not None else next_due(overview, zone)
    when = "now" if soon is not None and soon <= now else moment(soon, now)
    return [
        Cell(job.name),
        Cell(word, STATE_STYLES[word]),
        Cell(error, "bad") if error and word in ("invalid", "blocked") else Cell(when),
        Cell(schedule_text(overview)),
        last_cell(overview, now),
    ]


def schedule_text(overview: JobOverview) -> str:
    """The schedule, as the column `interval` contains it."""
    job = overview.job
    text = job.interval if job.interval is not None else ("at once" if job.runonce else "-")
    if job.options.after_jobs:
        return f"after {', '.join(one.text for one in job.options.after_jobs)}"
    return f"{text}, once" if job.runonce and job.interval is not None else text


def last_cell(overview: JobOverview, now: int) -> Cell:
    """The outcome of the last run, and the time of its end."""
    if overview.last is None:
        return Cell(moment(overview.job.last_finished, now))
    return Cell(
        f"{moment(overview.last.finished or None, now)} {overview.last.outcome}", outcome_style(overview.last.outcome)
    )


def outcome_style(outcome: str) -> str:
    """The colour of an outcome."""
    return "good" if outcome == SUCCEEDED else "bad" if outcome in BAD_OUTCOMES else "wait"
