"""Judges commands: an acknowledged request takes effect by its deadline, and each answer is true."""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from tests.combine.case import DEADLINE, Case
from tests.combine.errand import NEVER
from tests.combine.record import Command

OUTCOMES_OF_PROGRAMS = {
    "exit 0": ("succeeded", ""),
    "exit 3": ("failed", "exit code 3"),
    "kill -9 $$": ("failed", "killed by SIGKILL"),
    "kill -s 35 $$": ("failed", "killed by SIGRTMIN+1"),
    "kill -s 34 $$": ("failed", "killed by SIGRTMIN"),
}
OVERTAKEN = 4  # runs of another job for which a requested run may wait at most
LATER = 30.0  # seconds; no requested run waits for so long


def _answers(case: Case) -> Iterator[str]:
    """No command ends with a traceback, and each ends."""
    for one in case.record.commands:
        words = f"`{' '.join((one.what, one.job, *one.words))[:100]}`"
        if "bug in jobd" in one.errors or "Traceback" in one.errors:
            yield f"{words} answers {one.errors[-300:]!r}"
        elif one.code == NEVER and one.what != "run":
            yield f"{words} has not ended"
        elif (
            one.what == "look" and one.words[0] in ("list", "next", "status", "export") and one.code not in (0, 1, 3, 4)
        ):
            yield f"{words} ends with {one.code}: {one.errors[-300:]!r}"


def _waits(case: Case) -> Iterator[str]:
    """`run --wait` ends when there is nothing to wait for, and prints how the run ended."""
    for one in case.given("run"):
        if "--wait" not in one.words:
            continue
        documents = [json.loads(line) for line in one.output.splitlines()] if one.output.startswith("{") else []
        if one.code == NEVER:
            gone = [
                begin for begin, end, what in case.resting.get(one.job, ()) if what != "pause" and end >= one.answered
            ]
            if any(case.in_effect_by(begin) + DEADLINE < one.answered for begin in gone):
                yield f"`run {one.job} --wait` still waits, {one.answered - max(gone):.1f} s after the job was removed"
        elif documents and one.code in (0, 1):
            last = documents[-1]
            kept = case.finished.get((one.job, last["run"]))
            if (last["outcome"] == "succeeded") != (one.code == 0):
                yield f"`run {one.job} --wait` ends with {one.code} for a run that is {last['outcome']}"
            if kept is not None and kept["outcome"] != last["outcome"]:
                yield f"`run {one.job} --wait` says {last['outcome']}, the history {kept['outcome']}"


def _cancelled(case: Case) -> Iterator[str]:
    """No further attempt of a cancelled run starts."""
    for one in case.given("cancel"):
        before = [attempt for attempt in case.by_job.get(one.job, ()) if attempt.began < one.asked]
        if one.code != 0 or not before:
            continue
        key = before[-1].key
        for attempt in case.by_job[one.job]:
            if attempt.key == key and attempt.began > case.in_effect_by(one.answered):
                late = attempt.began - one.answered
                yield f"attempt {attempt.number} of run {key[1]} of {one.job} began {late:.2f} s after it was cancelled"
                break


def _requests(case: Case) -> Iterator[str]:
    """An acknowledged run takes place, unless its job was removed, and its due time is that of the request."""
    unfinished = set(case.record.unfinished.items())
    removed = {job for job, rests in case.resting.items() if any(what != "pause" for _, _, what in rests)}
    begun = {one.key for one in case.attempts}
    for (job, run), one in case.asked_for.items():
        plan = case.plans[job]
        if job in removed or not plan.witnessed:
            continue
        kept = case.finished.get((job, run))
        if kept is None:
            waited = case.in_effect_by(one.answered) < case.record.stopped and not _starved(case, job, one)
            if (job, run) not in unfinished and (job, run) not in begun and waited:
                yield f"run {run} of {job} was acknowledged and never happened"
        elif case.moment(kept["due_time"]) > case.in_effect_by(one.answered) + max(
            map(abs, case.record.scenario.clocks)
        ):
            late = case.moment(kept["due_time"]) - one.answered
            yield f"run {run} of {job} was acknowledged; that number is of a due time {late:.1f} s later"


def _starved(case: Case, job: str, asked: Command) -> bool:
    """Whether workers were busy since the request, and no job of the same or lower rank got over OVERTAKEN runs."""
    since, plan = asked.answered, case.plans[job]
    if case.record.stopped - since > LATER or not case.busy(since, case.record.stopped):
        return False
    begun: dict[str, set[int]] = defaultdict(set)
    for one in case.attempts:
        other = case.plans.get(one.job)
        if one.began > since and other is not None and other.option("--pool") == plan.option("--pool"):
            begun[one.job].add(one.run)
    rank = int(plan.option("--priority") or 0)
    return not any(
        len(runs) > OVERTAKEN and int(case.plans[other].option("--priority") or 0) <= rank
        for other, runs in begun.items()
    )


def _out_of_service(case: Case) -> Iterator[str]:
    """A paused or removed job does not start; a run that a user requests while it is paused does."""
    for job, rests in case.resting.items():
        for begin, end, what in rests:
            by = case.in_effect_by(begin)
            for attempt in case.by_job.get(job, ()):
                if by < attempt.began < end and not (what == "pause" and _asked_meanwhile(case, job, begin, end)):
                    late = attempt.began - begin
                    yield f"run {attempt.run} of {job} began {late:.2f} s after it was taken out of service ({what})"
                    break


def _asked_meanwhile(case: Case, job: str, begin: float, end: float) -> bool:
    """Whether a user requested a run while the job was paused, or just before, so that the run is still to come."""
    return any(begin - LATER < one.answered and one.asked < end for one in case.given("run", job=job))


def _in_force(case: Case) -> Iterator[str]:
    """An attempt that starts some time after a change was acknowledged has the changed definition."""
    for one in case.given("set", "add", "apply"):
        if not one.mark or one.code != 0:
            continue
        by = case.in_effect_by(one.answered)
        for attempt in case.by_job.get(one.job, ()):
            if attempt.began > by and attempt.begin["mark"] < one.mark:
                late = attempt.began - one.answered
                yield (
                    f"attempt {attempt.number} of run {attempt.run} of {one.job} began {late:.2f} s after version"
                    f" {one.mark} with version {attempt.begin['mark']}"
                )
                break


def _inserted(case: Case) -> Iterator[str]:
    """A row that another program has inserted becomes a job that runs."""
    for one in case.given("sql insert")[:1]:
        until = case.record.stopped
        if (
            not case.by_job.get("plain")
            and case.in_effect_by(one.answered) < until
            and not case.busy(one.answered, until)
        ):
            yield "the job that a program has inserted never ran"


def _zones(case: Case) -> Iterator[str]:
    """A clock time is in the daemons' time zone, not in that of the shell."""
    for job in case.record.jobs:
        plan = case.plans.get(job["name"])
        if plan is None or not plan.name.startswith("daily") or not job["next_due"]:
            continue
        minute, hour = (plan.option("--cron") or "").split()[:2]
        due = datetime.fromisoformat(job["next_due"]).astimezone(ZoneInfo("Europe/Berlin"))
        if (due.hour, due.minute) != (int(hour), int(minute)):
            yield f"{plan.name} is due at {due}, its schedule says {hour}:{minute}"


def _programs(case: Case) -> Iterator[str]:
    """The outcome of a program's run agrees with the program's exit."""
    for job in case.record.scenario.jobs:
        if "--" not in job.words:
            continue
        outcome, error = OUTCOMES_OF_PROGRAMS.get(job.words[-1], ("failed", "'ppp"))
        for run in case.runs.get(job.name, ()):
            if run["outcome"] in ("lost", "cancelled", "skipped"):
                continue
            if run["outcome"] != outcome or not (run["error"] or "").startswith(error):
                kept = f"is {run['outcome']} ({run['error']})"
                yield f"run {run['run']} of {job.name} {kept}, its program: {outcome} {error}"
                break


CHECKS = (
    _answers,
    _waits,
    _cancelled,
    _requests,
    _out_of_service,
    _in_force,
    _inserted,
    _zones,
    _programs,
)
