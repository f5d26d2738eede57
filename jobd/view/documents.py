"""The JSON documents, and the form of a definition that JSON, `export` and `apply` share.

A definition is a table of the options that differ from their defaults, with durations as text. Secret arguments are
named, and their values are never shown.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from jobd.clock import iso
from jobd.job import PLAIN, Job, Run, options_set
from jobd.store.reads import JobOverview, RecordedRun
from jobd.view.state import error_of, next_due, state_of

HIDDEN = "***"


def options_of(job: Job) -> dict[str, Any]:
    """The options that are set, with the keys of a job file. Secret arguments are left out of `args`."""
    options = job.options
    if options == PLAIN:
        return {}
    if options.secrets:
        shown = {key: value for key, value in options.args.items() if key not in options.secrets}
        options = options._replace(args=shown)
    return {option.name: option.kind.shown(value) for option, value in options_set(options)}


def job_document(overview: JobOverview, zone: str) -> dict[str, Any]:
    """A job: the nine columns by their names, the options that are set, and its state."""
    return _job_document(overview, _shown_options(overview.job), zone)


def job_documents(many: Iterable[JobOverview], zone: str) -> Iterator[dict[str, Any]]:
    """The documents of many jobs. If successive jobs have the same options, these are formatted once."""
    options, shown = PLAIN, dict[str, Any]()
    for overview in many:
        if overview.job.options is not options:
            options, shown = overview.job.options, _shown_options(overview.job)
        yield _job_document(overview, shown, zone)


def _shown_options(job: Job) -> dict[str, Any]:
    options = options_of(job)
    if job.options.secrets:
        options["args"] = options.get("args", {}) | dict.fromkeys(job.options.secrets, HIDDEN)
    return options


def _job_document(overview: JobOverview, options: dict[str, Any], zone: str) -> dict[str, Any]:
    job, due, error = overview.job, next_due(overview, zone), error_of(overview)
    document = {
        "id": job.id,
        "name": job.name,
        "retry_times": job.retry_times,
        "runonce": int(job.runonce),
        "interval": job.interval,
        "created_time": _time(job.created),
        "updated_time": _time(job.updated),
        "lastFinished_time": _time(job.last_finished),
        "is_delete": int(job.deleted),
        **options,
        "state": state_of(overview),
        "next_due": _time(due),
    }
    return document if error is None else document | {"error": error}


def run_document(row: RecordedRun) -> dict[str, Any]:
    """A run, as `history` and `show` print it."""
    run: Run = row.run
    return {
        "run": run.number,
        "job": row.job,
        "due_time": _time(run.due),
        "started_time": _time(run.started),
        "finished_time": _time(run.finished),
        "attempts": run.attempts,
        "outcome": run.outcome,
        "node": row.node,
        "error": run.error,
        "missed": run.missed,
        "result": _result(run),
    }


def _result(run: Run) -> Any:
    """The return value of the task, decoded from JSON; None if there is none."""
    import json

    try:
        return None if run.result is None else json.loads(run.result)
    except ValueError:  # another program wrote it
        return run.result


@lru_cache(maxsize=256)  # a long list repeats the same times
def _time(moment: int | None) -> str | None:
    """A time in ISO 8601. A row without a valid time has 0, which gives None."""
    return iso(moment) if moment else None
