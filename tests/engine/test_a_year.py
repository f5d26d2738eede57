"""A year of a thousand mixed jobs, and due times after jumps of the clock and downtimes of the daemon."""

import heapq
import random
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from jobd import lifecycle
from jobd.claim import Claim, ClaimUpdate
from jobd.clock import DAY, HOUR, MINUTE, SECOND, from_datetime, iso
from jobd.definition import with_defaults
from jobd.engine.budget import Budget, weight
from jobd.engine.processor import Processor, RunSettings
from jobd.job import PLAIN, Job, JobState, Options
from jobd.schedule import parse
from tests.engine.harness import (
    SHORT,
    START,
    FakeSpawner,
    FakeWorker,
    ManualClock,
    NodeHarness,
    Ran,
    ignore_start,
    read_workers,
)

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")


def mixed(rng: random.Random) -> str:
    minute, hour = rng.randrange(60), rng.randrange(4)
    return rng.choice(
        [
            f"{minute} {hour} * * TUE",
            f"{minute} {hour} * * MON,THU",
            f"{minute} {hour} L * *",
            f"{minute} {hour} 13 * FRI",
            f"*/{rng.choice([20, 30])} {hour} * * SUN",
            f"{rng.randrange(2, 9)}d{hour}h{minute}m",
            f"calendar Sat *-*-* {hour}:{minute:02}",
            f"{minute} {hour} 1 * *; {minute} 12 15 * *",
            f"at 2027-0{rng.randrange(1, 10)}-15T{hour:02}:{minute:02}",
            "H H * * H",
        ]
    )


class Calendar:
    """A year in memory: plans in a heap instead of a table, run through the real WorkQueue and Processor."""

    def __init__(self, jobs: list[Job]) -> None:
        self.clock = ManualClock(START)
        self.ran: list[Ran] = []
        self.fake_workers: list[FakeWorker] = []
        self._jobs = {job.id: with_defaults(job, PLAIN) for job in jobs}
        self._waiting = [
            (state.ready, state) for job in jobs if (state := lifecycle.after_change(job, None, START, "UTC")).ready
        ]
        heapq.heapify(self._waiting)
        self._budget = Budget()
        run_settings, spawner, report = RunSettings("UTC", 1024), FakeSpawner(self), self._report
        self._processor = Processor(
            8, run_settings, spawner, self.clock, lambda: 0.5, report, ignore_start, budget=self._budget
        )

    def takes(self, order: object) -> int:
        return SHORT

    def pass_time(self, until: int) -> None:
        """Until that moment of the wall clock, from event to event."""
        while (now := self.clock.wall()) <= until:
            while self._claimable():
                state = heapq.heappop(self._waiting)[1]
                decision = lifecycle.after_claim(
                    self._jobs[state.job_id], state._replace(node=1, token=state.token + 1), now, "UTC"
                )
                assert decision.run is None
                self._processor.queue.put(Claim(self._jobs[state.job_id], decision.state), decision.state.ready or 0)
            for fake_worker in self.fake_workers:
                if fake_worker.done_at is not None and fake_worker.done_at <= self.clock.passed:
                    fake_worker.finish()
            read_workers(self._processor)
            self._processor.step()
            busy = [
                fake_worker.done_at - self.clock.passed
                for fake_worker in self.fake_workers
                if fake_worker.done_at is not None
            ]
            timeout = self._processor.wait_us()
            at_once = any(fake_worker.speaks for fake_worker in self.fake_workers) or self._claimable()
            soon = 0 if at_once else HOUR
            self.clock.passed += max(1, min(*busy, soon, HOUR if timeout is None else timeout))

    def _claimable(self) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= self.clock.wall() + HOUR

    def _report(self, message: object) -> None:
        assert isinstance(message, ClaimUpdate)
        self._budget.add_waiting(-weight(message))
        if message.state.ready is not None:
            heapq.heappush(self._waiting, (message.state.ready, message.state))


@pytest.mark.timeout(600)  # seconds: it only computes, 10 of them on a quiet machine
def test_a_year_of_a_thousand_jobs_runs_exactly_the_due_times() -> None:
    rng = random.Random(2027)
    jobs = [
        Job(f"job{number}", mixed(rng), options=Options(timezone=rng.choice(ZONES), catch_up="all"), id=number)
        for number in range(1, 1001)
    ]
    end = START + 365 * DAY
    expected: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        schedule = parse(job.interval, False, job.options.timezone or "UTC", job.name)
        due = anchor = schedule.first(START)
        while due is not None and due <= end:
            expected[job.name, iso(due)] += 1
            due = schedule.after(due, anchor or due)
    calendar = Calendar(jobs)
    calendar.pass_time(end + MINUTE)
    ran = Counter((one.job, one.due) for one in calendar.ran if one.due <= iso(end))
    assert ran == expected
    assert sum(ran.values()) > 50_000
    latest = max(one.wall - from_datetime(datetime.fromisoformat(one.due)) for one in calendar.ran)
    assert latest < SECOND  # a hundred jobs may be due in one minute, and there are eight workers


def due_times(harness: NodeHarness, job: str) -> list[str]:
    """The due times of the runs of a job, without the seconds."""
    return [one.due[:16] for one in harness.ran if one.job == job]


def missed(harness: NodeHarness, job: str) -> int:
    sql = "SELECT missed FROM schedule JOIN job ON job.id = job_id WHERE name = ?"
    return int(harness.store.transact(lambda session: session.rows(sql, (job,)))[0][0])


def days(*numbers: int) -> list[str]:
    return [f"2027-01-{number:02}T12:00" for number in numbers]


NOON = "0 12 * * *"


@pytest.mark.parametrize(
    ("catch_up", "expected", "not_run"),
    [("once", days(1, 2, 3, 8), 4), ("none", days(1, 2, 8), 5), ("all", days(1, 2, 3, 4, 5, 6, 7, 8), 0)],
)
def test_due_times_without_a_daemon_are_caught_up(
    tmp_path: Path, catch_up: str, expected: list[str], not_run: int
) -> None:
    harness = NodeHarness(tmp_path)
    harness.add(Job("noon", NOON, options=Options(catch_up=catch_up)))
    harness.pass_time(2 * DAY)
    harness.stop()
    harness.clock.passed += 5 * DAY
    harness.start()
    harness.pass_time(DAY)
    assert due_times(harness, "noon") == expected
    assert missed(harness, "noon") == not_run
    sql = "SELECT sum(missed) + sum(outcome = 'skipped') FROM run"
    assert harness.store.transact(lambda session: session.rows(sql)) == [(not_run,)]  # and the history knows of each


def test_a_due_time_older_than_the_grace_is_skipped(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path)
    harness.add(
        Job("strict", NOON, options=Options(grace=HOUR)), Job("lenient", NOON, options=Options(grace=20 * HOUR))
    )
    harness.stop()
    harness.clock.passed += DAY
    harness.start()
    harness.pass_time(DAY)
    assert due_times(harness, "strict") == days(2)
    assert due_times(harness, "lenient") == days(1, 2)
    assert missed(harness, "strict") == 1


def test_an_interval_keeps_its_grid_through_restarts_and_long_runs(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, poll=SECOND)
    harness.takes = lambda order: 25 * SECOND if order.number == 3 else SHORT
    harness.add(Job("often", "10s"))
    harness.pass_time(55 * SECOND)
    harness.stop()
    harness.clock.passed += 33 * SECOND
    harness.start()
    harness.pass_time(30 * SECOND)
    seconds = [one.due[14:19] for one in harness.ran]
    assert seconds == ["00:00", "00:10", "00:20", "00:50", "01:00", "01:30", "01:40", "01:50"]


def test_a_clock_set_forward_misses_the_due_times_between(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path)
    harness.add(Job("noon", NOON), Job("hourly", "1h"))
    harness.pass_time(90 * MINUTE)
    harness.shift_wall(2 * DAY)
    harness.pass_time(DAY)
    assert due_times(harness, "noon") == days(1, 3)
    assert due_times(harness, "hourly")[:5] == [
        f"2027-01-0{day}" for day in ("1T00:00", "1T01:00", "1T02:00", "3T02:00", "3T03:00")
    ]


@pytest.mark.parametrize("by", [2 * SECOND, 10 * MINUTE, 2 * HOUR])
def test_a_clock_put_back_a_little_makes_no_clock_time_due_twice(tmp_path: Path, by: int) -> None:
    harness = NodeHarness(tmp_path)
    harness.add(Job("noon", NOON))
    harness.pass_time(12 * HOUR + SECOND)
    assert due_times(harness, "noon") == days(1)
    harness.shift_wall(-by)
    harness.pass_time(DAY + by)
    assert due_times(harness, "noon") == days(1, 2)


@pytest.mark.parametrize("by", [2 * HOUR, 400 * DAY])
def test_an_interval_does_not_wait_for_a_past_clock_to_come_round_again(tmp_path: Path, by: int) -> None:
    harness = NodeHarness(tmp_path, poll=SECOND)
    harness.add(Job("often", "10s"), Job("later", "after 10s"))
    harness.pass_time(60 * SECOND)
    for job in ("often", "later"):
        assert len(due_times(harness, job)) >= 6
    before = Counter(one.job for one in harness.ran)
    harness.shift_wall(-by)
    harness.pass_time(60 * SECOND)
    after = Counter(one.job for one in harness.ran)
    for job in ("often", "later"):
        assert after[job] - before[job] >= 5
    gaps = [later.monotonic - earlier.monotonic for earlier, later in pairwise(harness.ran)]
    assert max(gaps) <= 11 * SECOND


def test_a_clock_that_was_wrong_by_years_is_followed_by_everything(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path)
    harness.add(Job("noon", NOON))
    harness.pass_time(DAY)
    harness.shift_wall(-365 * DAY)
    harness.pass_time(2 * DAY)
    assert due_times(harness, "noon") == [*days(1), "2026-01-02T12:00", "2026-01-03T12:00"]


def test_a_clock_put_back_while_no_daemon_ran_is_noticed_at_the_start(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path)
    harness.add(Job("noon", NOON))
    harness.pass_time(DAY)
    harness.stop()
    harness.shift_wall(-365 * DAY)
    harness.start()
    harness.pass_time(DAY)
    assert due_times(harness, "noon") == [*days(1), "2026-01-02T12:00"]


def test_a_back_off_does_not_wait_for_a_past_clock(tmp_path: Path) -> None:
    job, now = Job("a", NOON, options=Options(backoff_max=HOUR)), START
    waiting = JobState(1, due=now, ready=now + 400 * DAY, attempt=1)
    assert lifecycle.after_clock_set_back(job, waiting, now, "UTC", far=True).ready == now + HOUR


@pytest.mark.parametrize("frozen", [25 * SECOND, 3 * HOUR])
def test_a_daemon_that_was_frozen_goes_on_where_it_is(tmp_path: Path, frozen: int) -> None:
    """SIGSTOP, or a machine that stood still: time passes, and nobody turns the loop."""
    harness = NodeHarness(tmp_path, poll=SECOND)
    harness.add(Job("often", "10s"), Job("strict", "10s", options=Options(catch_up="none")))
    harness.pass_time(5 * SECOND)
    harness.clock.passed += frozen
    harness.pass_time(26 * SECOND)
    for job in ("often", "strict"):
        assert len(due_times(harness, job)) == len({one.due for one in harness.ran if one.job == job})
    ends = [one.monotonic for one in harness.ran if one.job == "often"]
    assert ends[1] - (5 * SECOND + frozen) < 2 * SECOND  # one run at once
    assert {end // SECOND % 10 for end in ends[2:]} == {0}  # then on the grid
    assert missed(harness, "often") == (5 * SECOND + frozen) // (10 * SECOND) - 1
