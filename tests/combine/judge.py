"""The judge of a combination: compares the results that a user can see with the records of the tasks themselves.

Pure: a Record goes in, findings come out. The witness and the answers of commands are trusted, jobd is not.
This file judges runs, judge_commands.py the effects of commands, judge_processes.py processes.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from jobd.lifecycle import MAX_CATCH_UP
from jobd.schedule.duration import parse_duration
from tests.combine import judge_commands, judge_processes
from tests.combine.case import DEADLINE, Attempt, Case, Key, microseconds
from tests.combine.record import Record

OVERLAP = 0.02  # seconds; a start is recorded shortly after the run has started
MANY = 2  # runs that may have been claimed or prefetched already
STALLS = ("away", "kill", "restart", "down", "reload")  # for a while no run starts, or only claimed ones
EXACT = 0.05  # seconds between an event and its record


def judge(record: Record) -> list[str]:
    """The findings, in words."""
    case = Case(record)
    return [f"{check.__name__.strip('_')}: {text}" for check in CHECKS for text in check(case)]


def _once_each(case: Case) -> Iterator[str]:
    """A run number serves one due time; each of its attempts starts once, one after the other."""
    runs: dict[Key, list[Attempt]] = defaultdict(list)
    for one in case.attempts:
        runs[one.key].append(one)
    for (job, run), its in runs.items():
        dues = {one.begin["due"] for one in its}
        calm = not case.disturbed(its[0].began, its[-1].last + 1)
        if len(dues) > 1 and calm:
            yield f"run {run} of {job} serves {len(dues)} due times: {sorted(dues)}"
        numbers = [one.number for one in its]
        if numbers != sorted(set(numbers)) and calm:
            yield f"run {run} of {job} has the attempts {numbers}"
        recorded = case.finished.get((job, run))
        if recorded is not None and recorded["due_time"] != its[-1].begin["due"] and calm:
            yield f"run {run} of {job} is recorded for {recorded['due_time']}, its task ran for {its[-1].begin['due']}"


def _no_overlap(case: Case) -> Iterator[str]:
    for job, attempts in case.by_job.items():
        for last, one in pairwise(attempts):
            if last.last > one.began + OVERLAP:
                yield f"{job} overlaps itself: run {last.run} until {last.last:.3f}, run {one.run} from {one.began:.3f}"


def _due_times(case: Case) -> Iterator[str]:
    """No due time is finished twice; regular due times grow with the run's number."""
    for job, runs in case.runs.items():
        seen: dict[str, int] = {}
        highest: dict[str, Any] = {"due_time": "", "run": 0}
        for run in runs:
            due = run["due_time"]
            if run["outcome"] != "lost":
                if due in seen:
                    yield f"{job} is finished twice for {due}: runs {seen[due]} and {run['run']}"
                seen[due] = run["run"]
            if _by_hand(case, run):
                continue
            if due < highest["due_time"]:
                yield f"run {run['run']} of {job} is due {due}, before run {highest['run']}, due {highest['due_time']}"
            else:
                highest = run


def _by_hand(case: Case, run: dict[str, Any]) -> bool:
    """Whether a user requested this run: it has the requested number, or was due when the request took effect.

    A user who requests a run while a node starts the job by itself gets that run, and one more after it.
    """
    if (run["job"], run["run"]) in case.asked_for:
        return True
    due = case.moment(run["due_time"])
    behind = max(0.0, -min(case.record.scenario.clocks))
    return any(
        one.asked - EXACT - behind <= due <= case.in_effect_by(one.answered) + _longest(case, run["job"])
        for one in case.given("run", job=run["job"])
    )


def _longest(case: Case, job: str) -> float:
    """The longest duration of an attempt of a job, in seconds."""
    return max((one.last - one.began for one in case.by_job.get(job, ())), default=0.0)


def _grid(case: Case) -> Iterator[str]:
    """The due times of an unchanged interval are on its grid, and missed ones are counted."""
    ended = case.given("kill", "restart", "down")
    touched = {one.job for one in case.record.commands if one.what != "add" or one.mark}
    for job in case.record.scenario.jobs:
        if job.words[:1] != ("--every",) or job.name in touched or job.option("--start"):
            continue
        step = parse_duration(job.words[1])
        for one, following in pairwise(case.runs.get(job.name, ())):
            if ended and "lost" in (one["outcome"], following["outcome"]):
                continue
            apart = microseconds(following["due_time"]) - microseconds(one["due_time"])
            where = f"run {following['run']} of {job.name} (every {job.words[1]})"
            if apart % step or apart // step - 1 != one["missed"]:
                yield f"{where} is due {apart / 1e6:g} s after the last, which counts {one['missed']} missed due times"
            elif one["outcome"] == "skipped" and f"more than {MAX_CATCH_UP:d}" in (one["error"] or ""):
                first = microseconds(following["due_time"])
                reached = (microseconds(one["finished_time"]) - first) // step + 1
                if reached != MAX_CATCH_UP:
                    yield f"{where} is the first of {reached} due times that are caught up, instead of {MAX_CATCH_UP}"


def _recorded(case: Case) -> Iterator[str]:
    """Every started run is in the history, unless its daemon died at that moment."""
    known = {*case.finished, *case.record.unfinished.items()}
    for one in case.attempts:
        if one.key not in known and not case.disturbed(one.began - 1, one.last + 1):
            yield f"run {one.run} of {one.job} began and is not in the history"
    for run in case.record.history:
        if run["started_time"] and run["finished_time"] < run["started_time"]:
            yield f"run {run['run']} of {run['job']} ended before it began"


def _outcomes(case: Case) -> Iterator[str]:
    """Outcome, number of attempts and result agree with the record of the last attempt."""
    last = {one.key: one for one in case.attempts}
    for run in case.record.history:
        plan = case.plans.get(run["job"])
        if plan is not None and not plan.witnessed:
            continue
        for text in _of_one(case, run, last.get((run["job"], run["run"]))):
            yield f"run {run['run']} of {run['job']} {text}"


def _of_one(case: Case, run: dict[str, Any], one: Attempt | None) -> Iterator[str]:
    outcome = run["outcome"]
    if one is None:
        given_up = outcome == "failed" and "it was lost" in (run["error"] or "")  # its daemons died before each start
        if outcome in ("succeeded", "failed", "timed_out") and not given_up:
            yield f"is {outcome}, and no attempt of it has begun"
        return
    returned = one.end is not None and one.end["ended"] == "return"
    if outcome == "succeeded":
        if not returned:
            yield f"is succeeded, but attempt {one.number} did not return"
        elif one.end is not None and run["result"] != one.end["value"]:
            yield f"has the result {run['result']!r}, its task returned {one.end['value']!r}"
    elif outcome == "failed" and returned:
        yield f"is failed ({run['error']}), but attempt {one.number} returned"
    elif outcome == "failed" and one.end is None and not case.disturbed(one.began - 1, case.record.ended):
        yield f"is failed ({run['error']}), but attempt {one.number} never ended"
    elif outcome == "lost" and not case.disturbed(one.began - 8, one.last + 20):
        yield f"is lost ({run['error']}), and no daemon was ended"
    elif outcome == "cancelled" and not case.given("cancel", job=run["job"]):
        yield "is cancelled, and nobody asked for that"
    elif outcome == "superseded" and not case.given("set", "sql interval", "add", "apply", job=run["job"]):
        yield "is superseded, and nobody changed its job"
    counts = outcome in ("succeeded", "failed", "timed_out", "superseded")
    if counts and run["attempts"] != one.number and not case.disturbed(one.began - 1, one.last + 1):
        yield f"has {run['attempts']} attempts, its task began {one.number}"
    if counts and run["started_time"] and outcome != "superseded" and not case.disturbed(one.began - 1, one.last + 1):
        yield from _begun(case, run)


def _begun(case: Case, run: dict[str, Any]) -> Iterator[str]:
    """The recorded start of a run is that of its first attempt or, after a back-off, of a later one."""
    its = [one for one in case.by_job[run["job"]] if one.key == (run["job"], run["run"])]
    started = case.moment(run["started_time"])
    apart = [one.began - started + case.record.scenario.clocks[one.begin["node"]] for one in its]
    if not any(-EXACT < seconds < DEADLINE for seconds in apart):
        yield f"is recorded as begun {', '.join(f'{seconds:.3f}' for seconds in apart)} s before its attempts"


def _after_others(case: Case) -> Iterator[str]:
    """A job that runs after others is due when all have succeeded since it was last due, even while it was paused."""
    if case.given("away", "kill", "down"):
        return
    for job in case.record.scenario.jobs:
        if job.parents() and not case.is_rescheduled(job.name) and not case.given("run", job=job.name):
            ends = {name: _successes(case, name) for name in job.parents()}
            yield from _due_without(case, job.name, ends)
            yield from _not_due(case, job.name, ends)


def _due_without(case: Case, job: str, ends: dict[str, list[float]]) -> Iterator[str]:
    dues = [case.moment(run["due_time"]) for run in case.runs.get(job, ())]
    for before, due in pairwise([case.record.started, *dues]):
        for name, its in ends.items():
            if not any(before - DEADLINE < end <= due + EXACT for end in its):
                yield f"{job} is due at {due:.3f}, and {name} has not succeeded since {before:.3f}"


def _not_due(case: Case, job: str, ends: dict[str, list[float]]) -> Iterator[str]:
    attempts = case.by_job.get(job, [])
    dues = [run["due_time"] for run in case.runs.get(job, ())] + [one.begin["due"] for one in attempts]
    added = [one.answered for one in case.given("add", job=job)]
    last = max([case.record.started, *added, *map(case.moment, dues)])
    since = [[end for end in its if end > last + EXACT] for its in ends.values()]
    if not all(since):
        return
    rests = [end for _, end, _ in case.resting.get(job, ())]
    ready = max([*map(min, since), *rests, *(one.last for one in attempts)])
    if case.in_effect_by(ready) + DEADLINE < case.record.stopped and not case.busy(ready, case.record.stopped):
        yield f"{job} was last due at {last:.3f}; all that it runs after has succeeded since, by {ready:.3f}"


def _successes(case: Case, job: str) -> list[float]:
    return [case.moment(run["finished_time"]) for run in case.runs.get(job, ()) if run["outcome"] == "succeeded"]


def _priorities(case: Case) -> Iterator[str]:
    """On one node, no job starts before one of a higher priority that has been due for some polls."""
    if case.record.scenario.nodes > 1 or case.given(*STALLS):
        return
    touched = {one.job for one in case.record.commands if one.what not in ("add", "apply")}
    for job in case.record.scenario.jobs:
        priority = int(job.option("--priority") or 0)
        if job.name in touched or job.option("--isolation") or job.option("--on-lost"):
            continue
        before = max((one.answered for one in case.given("add", "apply") if one.job in ("", job.name)), default=0.0)
        for one in case.by_job.get(job.name, ()):
            since = max(case.moment(one.begin["due"]), before) + DEADLINE
            before = one.last
            if one.number > 1 or since > one.began:
                continue
            earlier = [
                other
                for other in case.attempts
                if since < other.began < one.began
                and other.number == 1
                and other.job not in touched
                and _rank(case, other.job, job.option("--pool")) < priority
            ]
            if len(earlier) > MANY:
                late = f"was due at {since - DEADLINE:.3f} and began at {one.began:.3f}"
                yield f"run {one.run} of {job.name} {late}, after {len(earlier)} of lower priorities"
                break


def _rank(case: Case, job: str, pool: str | None) -> int:
    """The priority of a job in this pool; for jobs of other pools, the highest."""
    plan = case.plans.get(job)
    if plan is None or plan.option("--pool") != pool:
        return 1000
    return int(plan.option("--priority") or 0)


CHECKS = (
    _once_each,
    _no_overlap,
    _due_times,
    _grid,
    _recorded,
    _outcomes,
    _after_others,
    _priorities,
    *judge_commands.CHECKS,
    *judge_processes.CHECKS,
)
