"""A record in the form for the judge: the attempts that the witness recorded, and the effects of commands on them."""

import json
from collections import defaultdict
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from jobd.clock import SECOND, from_datetime
from tests.combine.record import Command, Record
from tests.combine.scenario import JobPlan

DEADLINE = 3.0  # seconds within which an acknowledged change is in effect on every node: some polls on a busy machine
ENDS = ("kill", "restart", "down", "stop")  # steps that end a daemon; after a stop it does not start again
RESTS = {
    "pause": ("resume", "add", "restore", "sql undelete"),
    "rm": ("restore", "add", "sql undelete"),
    "sql delete": ("restore", "add", "sql undelete"),
}
RESCHEDULES = ("--every", "--after", "--cron", "--at")
Key = tuple[str, int]  # a job and the number of a run


class Attempt(NamedTuple):
    """The witness's record of one attempt."""

    job: str
    run: int
    number: int
    begin: dict[str, Any]
    said: int
    end: dict[str, Any] | None

    @property
    def key(self) -> Key:
        """The job and the number of its run."""
        return self.job, self.run

    @property
    def began(self) -> float:
        """The start, in monotonic seconds."""
        return float(self.begin["at"])

    @property
    def last(self) -> float:
        """The time of its last line, in monotonic seconds."""
        return float(self.end["at"]) if self.end is not None else self.began

    @property
    def process(self) -> tuple[int, int]:
        """The identity of its process."""
        return self.begin["pid"], self.begin["born"]


def read_attempts(witness: list[dict[str, Any]]) -> list[Attempt]:
    """The attempts in the order of their starts."""
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
    return sorted(found, key=lambda one: one.began)


def microseconds(time: str) -> int:
    """A time in jobd's JSON, in µs."""
    return from_datetime(datetime.fromisoformat(time))


class Case:
    """A record, and facts derived from it. Moments are monotonic seconds."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.attempts = read_attempts(record.witness)
        self.plans: dict[str, JobPlan] = {job.name: job for job in record.scenario.jobs}
        self.finished: dict[Key, dict[str, Any]] = {(run["job"], run["run"]): run for run in record.history}

    @cached_property
    def by_job(self) -> dict[str, list[Attempt]]:
        """The attempts of each job, in the order of their starts."""
        found: dict[str, list[Attempt]] = defaultdict(list)
        for one in self.attempts:
            found[one.job].append(one)
        return found

    @cached_property
    def by_process(self) -> dict[tuple[int, int], list[Attempt]]:
        """The attempts of each process, in the order of their starts."""
        found: dict[tuple[int, int], list[Attempt]] = defaultdict(list)
        for one in self.attempts:
            found[one.process].append(one)
        return found

    @cached_property
    def runs(self) -> dict[str, list[dict[str, Any]]]:
        """The history of each job, by number."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for run in sorted(self.record.history, key=lambda run: int(run["run"])):
            found[run["job"]].append(run)
        return found

    @cached_property
    def asked_for(self) -> dict[Key, Command]:
        """The runs that a user requested."""
        found: dict[Key, Command] = {}
        for one in self.record.commands:
            if one.what == "run" and one.code in (0, 1) and one.output.startswith("{"):
                for line in one.output.splitlines():
                    found.setdefault((one.job, json.loads(line)["run"]), one)
        return found

    @cached_property
    def resting(self) -> dict[str, list[tuple[float, float, str]]]:
        """(from, until, how) a job was out of service: from the answer until the request that ends it."""
        found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
        for number, one in enumerate(self.record.commands):
            if one.what in RESTS and one.code == 0:
                ends = [
                    other.asked
                    for other in self.record.commands[number + 1 :]
                    if other.job == one.job and other.what in RESTS[one.what]
                ]
                found[one.job].append((one.answered, min(ends, default=self.record.ended), one.what))
        return found

    def moment(self, time: str) -> float:
        """The monotonic moment of a time in jobd's JSON."""
        return microseconds(time) / SECOND - self.record.ahead

    def given(self, *what: str, job: str | None = None) -> list[Command]:
        """The commands of some kinds, of one job or of all."""
        return [one for one in self.record.commands if one.what in what and (job is None or one.job == job)]

    def disturbed(self, since: float, until: float) -> bool:
        """Whether a daemon was ended between two moments."""
        return any(one.asked <= until and one.answered >= since - 1 for one in self.given(*ENDS))

    def in_effect_by(self, moment: float) -> float:
        """The moment by which an acknowledged change must be in effect: later if database or daemon is unavailable."""
        end = moment + DEADLINE
        for one in self.given("away", *ENDS[:-1]):
            if one.asked <= end and one.answered >= moment - 1:
                end = max(end, one.answered + DEADLINE)
        return end

    def is_rescheduled(self, job: str) -> bool:
        """Whether a user has changed its schedule."""
        for one in self.given("set", "sql interval", "add", "apply", job=job):
            if one.what == "sql interval" or (one.what == "set" and any(word in RESCHEDULES for word in one.words)):
                return True
            if one.what == "add" and one.mark:
                return True
        return False

    def busy(self, since: float, until: float) -> bool:
        """Whether the workers were in runs for most of the time between two moments."""
        if until <= since:
            return False
        spent = sum(
            max(0.0, min(one.last, until) - max(one.began, since))
            for one in self.attempts
            if one.began < until and one.last > since
        )
        return spent > 0.7 * (until - since) * self.record.scenario.nodes * self.record.scenario.workers
