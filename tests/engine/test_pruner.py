"""Pruning keeps up in small batches, with an injected clock and a store whose batches take any time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobd.clock import MILLISECOND, MINUTE, SECOND
from jobd.engine.pruner import MAX_BATCH, PAUSE_FACTOR, TARGET_BATCH_TIME, Pruner
from jobd.job import Run
from jobd.settings import HistorySettings
from jobd.store.rows import RUN, run_row
from jobd.store.store import Store
from jobd.store.url import Target
from tests.engine.harness import START, ManualClock

HISTORY = HistorySettings(keep=1_000 * SECOND, keep_per_job=100, output=1024)


class SlowStore:
    """A store in which a batch takes as long as its rows do."""

    def __init__(self, store: Store, clock: ManualClock, each: int) -> None:
        self.batches: list[int] = []
        self.each = each
        self._store, self._clock = store, clock

    def transact(self, work: Callable[[Any], int]) -> int:
        rows = self._store.transact(work)
        self._clock.passed += MILLISECOND // 2 + rows * self.each
        self.batches.append(rows)
        return rows


class Rig:
    def __init__(self, folder: Path, each: int = 10) -> None:
        self.clock = ManualClock(START)
        self.store = Store(Target("sqlite", str(folder / "jobd.db")))
        self.store._database.connection().execute("PRAGMA synchronous = OFF")
        self.slow: Any = SlowStore(self.store, self.clock, each)
        self.pruner = Pruner(self.clock)

    def record(self, job: int, numbers: range, ago: int) -> list[Run]:
        moment = self.clock.wall() - ago
        runs = [Run(job, n, moment, moment, moment, 1, "succeeded", 1) for n in numbers]
        self.store.transact(lambda session: session.write_rows("run", RUN, [run_row(run) for run in runs]))
        return runs

    def pass_time(self, duration: int) -> None:
        until = self.clock.passed + duration
        while self.pruner.next_at <= until:
            self.clock.passed = max(self.clock.passed, self.pruner.next_at)
            self.pruner.step(self.slow, HISTORY)
        self.clock.passed = max(until, self.clock.passed)

    def left(self, job: int) -> int:
        sql = "SELECT count(*) FROM run WHERE job_id = ?"
        return int(self.store.transact(lambda session: session.rows(sql, (job,)))[0][0])


def test_old_runs_are_pruned_within_seconds_and_then_no_query_is_sent_for_a_minute(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.record(1, range(1, 10_001), 2_000 * SECOND)
    rig.record(2, range(1, 51), 10 * SECOND)
    rig.pass_time(3 * SECOND)
    assert (rig.left(1), rig.left(2)) == (0, 50)
    asked = len(rig.slow.batches)
    rig.pass_time(MINUTE // 2)
    assert len(rig.slow.batches) == asked


def test_a_batch_takes_milliseconds_however_slow_the_database_and_most_of_the_time_is_left_to_others(
    tmp_path: Path,
) -> None:
    for each in (2, 50, 400):
        (tmp_path / str(each)).mkdir()
        rig = Rig(tmp_path / str(each), each)
        rig.record(1, range(1, 5_001), 2_000 * SECOND)
        rig.pass_time(2 * SECOND)
        took = [MILLISECOND // 2 + rows * each for rows in rig.slow.batches if rows]
        assert max(took[1:]) <= 2 * TARGET_BATCH_TIME
        assert max(rig.slow.batches) <= MAX_BATCH
        assert sum(took) * (1 + PAUSE_FACTOR) <= 2 * SECOND


def test_every_job_that_has_grown_too_many_runs_is_found_whenever_it_ran(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for job in range(1, 31):
        runs = rig.record(job, range(1, 151), 30 * SECOND)
        rig.pruner.runs_ended(runs[-1:], HISTORY)
    rig.record(31, range(1, 151), 0)  # these are the latest of all
    rig.pass_time(3 * SECOND)
    assert {rig.left(job) for job in range(1, 31)} == {100}


def test_pruning_by_number_keeps_up_with_a_thousand_runs_a_second(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for job in range(1, 1_001):
        rig.record(job, range(1, 101), 10 * SECOND)
    for second in range(1, 4):
        for job in range(1, 1_001):
            rig.pruner.runs_ended(rig.record(job, range(100 + second, 101 + second), 0), HISTORY)
        rig.pass_time(2 * SECOND)
        assert {rig.left(job) for job in range(1, 1_001, 97)} == {100}
