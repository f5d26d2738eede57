"""The judge of a combination: compares what a user can see with what the tasks themselves wrote down.

Pure: a Record goes in, findings come out. The witness and the answers of commands are trusted, jobd is not.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from jobd.clock import from_datetime
from jobd.schedule.duration import parse_duration
from tests.combine.play import Command, Record

DEADLINE = 3.0  # seconds within which an acknowledged change is in effect on every node: some polls on a busy machine
OVERLAP = 0.02  # seconds; a begin is written down a little after the run began
MEMORY = 90 * 1024  # KiB of a daemon
DESCRIPTORS = 200
TAG = re.compile(r"<([^<>|]+)\|(\d+)\|(\d+)\|(\d+)>")
INTERNAL = ("\x1e",)  # what jobd writes into a pipe beside what tasks print
STOPS = ("kill", "restart", "stop")


class Attempt(NamedTuple):
    """What the witness wrote down of one attempt."""

    job: str
    run: int
    number: int
    begin: dict[str, Any]
    said: int
    end: dict[str, Any] | None

    @property
    def began(self) -> float:
        """When, in monotonic seconds."""
        return float(self.begin["at"])

    @property
    def last(self) -> float:
        """When it was last heard of."""
        return float(self.end["at"]) if self.end is not None else self.began


def judge(record: Record) -> list[str]:
    """What is wrong, in words; empty when nothing is."""
    attempts = read_attempts(record.witness)
    found: list[str] = []
    for check in CHECKS:
        found += [f"{check.__name__.strip('_')}: {text}" for text in check(record, attempts)]
    return found


def read_attempts(witness: list[dict[str, Any]]) -> list[Attempt]:
    """The attempts in the order in which they began."""
    found: list[Attempt] = []
    open_ones: dict[tuple[str, int, int, int], int] = {}
    for line in witness:
        key = (line["job"], line["run"], line["attempt"], line["pid"])
        if line["what"] == "begin":
            open_ones[key] = len(found)
            found.append(Attempt(line["job"], line["run"], line["attempt"], line, 0, None))
        elif key in open_ones:
            at = open_ones[key]
            if line["what"] == "said":
                found[at] = found[at]._replace(said=line["lines"])
            else:
                found[at] = found[at]._replace(end=line)
    return found


def _disturbed(record: Record, since: float, until: float) -> bool:
    """Whether a daemon was ended between two moments."""
    return any(one.what in STOPS and one.asked <= until and one.answered >= since - 1 for one in record.commands)


def _once_each(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """A run number serves one due time; each of its attempts begins once, one after the other."""
    runs: dict[tuple[str, int], list[Attempt]] = defaultdict(list)
    for one in attempts:
        runs[one.job, one.run].append(one)
    for (job, run), its in runs.items():
        dues = {one.begin["due"] for one in its}
        if len(dues) > 1 and not _disturbed(record, its[0].began, its[-1].began):
            yield f"run {run} of {job} serves {len(dues)} due times: {sorted(dues)}"
        numbers = [one.number for one in its]
        if numbers != sorted(set(numbers)) and not _disturbed(record, its[0].began, its[-1].began):
            yield f"run {run} of {job} has the attempts {numbers}"


def _no_overlap(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    before: dict[str, Attempt] = {}
    for one in attempts:
        last = before.get(one.job)
        if last is not None and last.last > one.began + OVERLAP:
            yield f"{one.job} overlaps itself: run {last.run} until {last.last:.3f}, run {one.run} from {one.began:.3f}"
        before[one.job] = one


def _due_times(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """No due time is finished twice; regular due times grow with the run's number."""
    by_job: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in reversed(record.history):
        by_job[run["job"]].append(run)
    asked_for = _asked_for(record)
    for job, runs in by_job.items():
        runs.sort(key=lambda run: run["run"])
        seen: dict[str, int] = {}
        highest = ""
        for run in runs:
            due = run["due_time"]
            if run["outcome"] != "lost":
                if due in seen:
                    yield f"{job} is finished twice for {due}: runs {seen[due]} and {run['run']}"
                seen[due] = run["run"]
            if (job, run["run"]) not in asked_for:
                if due < highest:
                    yield f"run {run['run']} of {job} is due {due}, before an earlier run, due {highest}"
                highest = max(highest, due)


def _grid(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """The due times of an interval that nobody touched are on its grid, and those that were passed over are counted."""
    if any(one.what in ("kill", "restart") for one in record.commands):
        return
    touched = {one.job for one in record.commands}
    for job in record.scenario.jobs:
        if job.words[:1] != ("--every",) or job.name in touched:
            continue
        step = parse_duration(job.words[1])
        runs = sorted((run for run in record.history if run["job"] == job.name), key=lambda run: int(run["run"]))
        for one, following in pairwise(runs):
            apart = _microseconds(following["due_time"]) - _microseconds(one["due_time"])
            if apart % step or apart // step - 1 != one["missed"]:
                where = f"run {following['run']} of {job.name} (every {job.words[1]})"
                yield f"{where} is due {apart / 1e6:g} s after the last, which counts {one['missed']} missed due times"


def _microseconds(time: str) -> int:
    return from_datetime(datetime.fromisoformat(time))


def _asked_for(record: Record) -> set[tuple[str, int]]:
    """The runs that a person asked for."""
    found = set()
    for one in record.commands:
        if one.what == "run" and one.code in (0, 1) and one.output.startswith("{"):
            for line in one.output.splitlines():
                found.add((one.job, json.loads(line)["run"]))
    return found


def _recorded(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """What has begun is in the history, unless its daemon died in that moment."""
    known = {(run["job"], run["run"]) for run in record.history} | set(record.unfinished.items())
    for one in attempts:
        if (one.job, one.run) not in known and not _disturbed(record, one.began - 1, one.last + 1):
            yield f"run {one.run} of {one.job} began and is not in the history"
    for run in record.history:
        if run["started_time"] and run["finished_time"] < run["started_time"]:
            yield f"run {run['run']} of {run['job']} ended before it began"


def _outcomes(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """Outcome, number of attempts and result are what the last attempt itself wrote down."""
    last = {(one.job, one.run): one for one in attempts}
    for run in record.history:
        where = f"run {run['run']} of {run['job']}"
        one = last.get((run["job"], run["run"]))
        outcome = run["outcome"]
        if one is None:
            if outcome in ("succeeded", "failed", "timed_out"):
                yield f"{where} is {outcome}, and no attempt of it has begun"
            continue
        returned = one.end is not None and one.end["ended"] == "return"
        if outcome == "succeeded":
            if not returned:
                yield f"{where} is succeeded, but attempt {one.number} did not return"
            elif one.end is not None and run["result"] != one.end["value"]:
                yield f"{where} has the result {run['result']!r}, its task returned {one.end['value']!r}"
        elif outcome == "failed" and returned:
            yield f"{where} is failed ({run['error']}), but attempt {one.number} returned"
        elif outcome == "failed" and one.end is None and not _disturbed(record, one.began - 1, record.ended):
            yield f"{where} is failed ({run['error']}), but attempt {one.number} never ended"
        elif outcome == "lost" and not _disturbed(record, one.began - 8, one.last + 20):
            yield f"{where} is lost ({run['error']}), and no daemon was ended"
        elif outcome == "cancelled" and not _given(record, "cancel", run["job"]):
            yield f"{where} is cancelled, and nobody asked for that"
        if outcome in ("succeeded", "failed", "timed_out") and run["attempts"] != one.number:
            yield f"{where} has {run['attempts']} attempts, its task began {one.number}"


def _given(record: Record, what: str, job: str) -> bool:
    return any(one.what == what and one.job == job for one in record.commands)


def _output(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """Each attempt has exactly the lines that it printed, in order, and nothing internal is shown."""
    said = {(one.job, one.run, one.number): one for one in attempts}
    shown: dict[tuple[str, int, int], str] = defaultdict(str)
    for (job, run), parts in record.output.items():
        for attempt, text in parts:
            shown[job, run, attempt] += text
    for key, text in shown.items():
        where = f"attempt {key[2]} of run {key[1]} of {key[0]}"
        for job, run, attempt, line in TAG.findall(text):
            if (job, int(run), int(attempt)) != key:
                yield f"{where} shows line {line} of attempt {attempt} of run {run} of {job}"
                break
        for mark in INTERNAL:
            if mark in text:
                yield f"{where} shows something internal: {text[:200]!r}"
    finished = {(run["job"], run["run"]) for run in record.history}
    for key, one in said.items():
        if key[:2] not in finished or _disturbed(record, one.began - 1, one.last + 1):
            continue
        numbers = [int(found[3]) for found in TAG.findall(shown.get(key, ""))]
        if numbers != list(range(one.said)) and (one.said or one.end is not None):
            where = f"attempt {key[2]} of run {key[1]} of {key[0]}"
            yield f"{where} printed {one.said} lines, its log shows {numbers[:60]}"


def _commands(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """What was acknowledged happens, by its deadline."""
    finished = {(run["job"], run["run"]): run for run in record.history}
    for one in record.commands:
        if "bug in jobd" in one.errors or "Traceback" in one.errors:
            yield f"`{one.what} {one.job}` answers {one.errors[:300]!r}"
        if one.code == 0 and one.what == "cancel":
            yield from _cancelled(one, attempts)
    gone = _resting(record)
    for job, run in _asked_for(record):
        if (job, run) not in finished and job not in gone:
            yield f"run {run} of {job} was acknowledged and never happened"
    for job, intervals in gone.items():
        for begin, end in intervals:
            for attempt in attempts:
                if attempt.job == job and begin + DEADLINE < attempt.began < end:
                    late = attempt.began - begin
                    yield f"run {attempt.run} of {job} began {late:.2f} s after it was taken out of service"


def _cancelled(one: Command, attempts: list[Attempt]) -> Iterator[str]:
    """No further attempt of a run that was cancelled begins."""
    before = [attempt for attempt in attempts if attempt.job == one.job and attempt.began < one.asked]
    if not before:
        return
    run = before[-1].run
    for attempt in attempts:
        if (attempt.job, attempt.run) == (one.job, run) and attempt.began > one.answered + DEADLINE:
            yield f"attempt {attempt.number} of run {run} of {one.job} began after it was cancelled"


def _resting(record: Record) -> dict[str, list[tuple[float, float]]]:
    """When each job was paused or removed: from the answer on, until the next request that ends it was made."""
    begins = {"pause": "resume", "rm": "restore", "sql delete": "sql undelete"}
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, one in enumerate(record.commands):
        if one.what in begins and one.code == 0:
            ends = [
                other.asked
                for other in record.commands[number + 1 :]
                if other.job == one.job and other.what in ("resume", "restore", "sql undelete", "add")
            ]
            found[one.job].append((one.answered, min(ends, default=record.ended)))
    return found


def _in_force(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """An attempt that begins some time after a change was acknowledged has the changed definition."""
    for one in record.commands:
        if one.what != "set" or one.code != 0:
            continue
        for attempt in attempts:
            late = attempt.began - one.answered
            if attempt.job != one.job or attempt.number > 1 or late <= DEADLINE:
                continue
            if attempt.begin["mark"] < one.mark:
                yield f"run {attempt.run} of {one.job} began {late:.2f} s after version {one.mark} with an older one"
                break


def _quiet(record: Record, attempts: list[Attempt]) -> Iterator[str]:
    """No bug is logged, nothing is left running, and a daemon stays small."""
    for line in record.logs.splitlines():
        if "a bug in jobd" in line or "Traceback" in line or "talked nonsense" in line:
            yield f"the log says {line[:300]}"
    if record.left:
        yield f"the processes {record.left} outlived their daemon"
    if record.memory > MEMORY:
        yield f"a daemon had {record.memory} KiB"
    if record.descriptors > DESCRIPTORS:
        yield f"a daemon had {record.descriptors} descriptors"


CHECKS = (
    _once_each,
    _no_overlap,
    _due_times,
    _grid,
    _recorded,
    _outcomes,
    _output,
    _commands,
    _in_force,
    _quiet,
)
