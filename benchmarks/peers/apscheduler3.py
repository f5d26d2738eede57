"""APScheduler 3 with its SQLAlchemy store and ten threads. A late run is run (misfire_grace_time=None)."""

import pickle
import time
from datetime import UTC, datetime
from typing import Any

import harness
from apscheduler.events import EVENT_JOB_EXECUTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.job import Job
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

started: dict[str, float] = {}
pairs: harness.Pairs = []


def noop(key: str) -> None:
    """What every job does: note when it began."""
    started[key] = time.time()


def scheduler(url: str) -> BackgroundScheduler:
    """A paused scheduler; STORE is the URL of SQLAlchemy."""
    made = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=url)},
        executors={"default": ThreadPoolExecutor(10)},
        job_defaults={"misfire_grace_time": None, "coalesce": True},
        timezone=UTC,
    )
    made.start(paused=True)
    return made


def store(made: BackgroundScheduler, triggers: dict[str, tuple[Any, datetime]]) -> None:
    """Write jobs straight into the table, since one by one takes longer than the drain."""
    table = made._jobstores["default"]
    rows = []
    for key, (trigger, due) in triggers.items():
        values: dict[str, Any] = {"id": key, "name": key, "func": "__main__:noop", "args": (), "kwargs": {"key": key}}
        values |= {"executor": "default", "misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        job = Job(made, trigger=trigger, next_run_time=due, **values)
        rows.append({"id": key, "next_run_time": due.timestamp(), "job_state": pickle.dumps(job.__getstate__(), 4)})
    with table.engine.begin() as connection:
        connection.execute(table.jobs_t.insert(), rows)


def drain(jobs: int, url: str, patience: float) -> dict[str, float]:
    made, now = scheduler(url), datetime.now(UTC)
    store(made, {f"job{number}": (DateTrigger(now, UTC), now) for number in range(jobs)})
    made.resume()
    return harness.drained(*harness.wait(lambda: len(started), jobs, patience))


def every(jobs: int, seconds: float, window: float, url: str) -> dict[str, float]:
    made, dues = scheduler(url), harness.due_times(jobs, seconds)
    triggers = {}
    for number, moment in enumerate(dues):
        due = datetime.fromtimestamp(moment, UTC)
        triggers[f"job{number}"] = (IntervalTrigger(seconds=int(seconds), start_date=due, timezone=UTC), due)
    store(made, triggers)
    made.add_listener(
        lambda event: pairs.append((event.scheduled_run_time.timestamp(), started[event.job_id])), EVENT_JOB_EXECUTED
    )
    made.resume()
    return harness.observed(dues, seconds, window, pairs)


harness.main(drain, every)
