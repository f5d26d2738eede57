"""`jobd list`: the most used command, so nothing that costs is imported here, click included."""

from collections.abc import Iterator

from jobd.cli.context import Context
from jobd.cli.show import Cell, moment, print_array, print_table
from jobd.cli.state import BAD_OUTCOMES, STATE_STYLES, error_of, next_due, planned, state_of
from jobd.job import SUCCEEDED
from jobd.store.reads import Listed

HEADER = ("NAME", "STATE", "NEXT", "SCHEDULE", "LAST")


def print_jobs(context: Context, pattern: str | None, everything: bool, as_json: bool) -> None:
    """Print the jobs whose name matches `pattern`; with `everything`, deleted ones too."""
    now, zone = context.now(), context.zone
    listed = (planned(item, now, zone) for item in _matching(context, pattern, everything))
    if as_json:
        from jobd.cli.documents import job_documents

        print_array(job_documents(listed, zone))
        return
    rows = [_row(item, now, zone) for item in listed]
    if rows:
        print_table(HEADER, rows)
    elif pattern is None:
        print("no jobs yet; `jobd add NAME --every 10s` adds one")  # noqa: T201
    else:
        print(f"no job's name matches {pattern!r}")  # noqa: T201


def _matching(context: Context, pattern: str | None, everything: bool) -> Iterator[Listed]:
    jobs = context.reader.jobs(deleted=everything)
    if pattern is None:
        return jobs
    if not any(char in pattern for char in "*?["):
        return (item for item in jobs if pattern in item.job.name)
    from fnmatch import fnmatchcase

    return (item for item in jobs if fnmatchcase(item.job.name, pattern))


def _row(listed: Listed, now: int, zone: str) -> list[Cell]:
    job, state, error = listed.job, state_of(listed), error_of(listed)
    plan = listed.plan
    soon = plan.ready if state == "retrying" and plan is not None else next_due(listed, zone)
    when = "now" if soon is not None and soon <= now else moment(soon, now)
    return [
        Cell(job.name),
        Cell(state, STATE_STYLES[state]),
        Cell(error, "bad") if error and state in ("invalid", "blocked") else Cell(when),
        Cell(schedule_text(listed)),
        last_cell(listed, now),
    ]


def schedule_text(listed: Listed) -> str:
    """The schedule in the words of the column `interval`."""
    job = listed.job
    text = job.interval if job.interval is not None else ("at once" if job.runonce else "-")
    if job.options.after_jobs:
        return f"after {', '.join(one.text for one in job.options.after_jobs)}"
    return f"{text}, once" if job.runonce and job.interval is not None else text


def last_cell(listed: Listed, now: int) -> Cell:
    """When the last run ended, and how."""
    if listed.last is None:
        return Cell(moment(listed.job.last_finished, now))
    return Cell(
        f"{moment(listed.last.finished or None, now)} {listed.last.outcome}", outcome_style(listed.last.outcome)
    )


def outcome_style(outcome: str) -> str:
    """The colour of an outcome."""
    return "good" if outcome == SUCCEEDED else "bad" if outcome in BAD_OUTCOMES else "wait"
