"""Urgent jobs start before other due jobs, also when those are claimed in many cycles."""

import json
from pathlib import Path

import pytest

from jobd.clock import HOUR, MILLISECOND, MINUTE, SECOND
from jobd.engine.spool import FORMAT
from jobd.job import DEFAULT_POOL, Job, Options
from jobd.store import definitions, requests
from jobd.store import schedule_table as table
from jobd.wire import Order
from tests.engine.harness import NodeHarness

LATER = "1 0 1 1 *"  # a minute after the start of these worlds
PLAIN = 400


class Narrow(NodeHarness):
    """A world with few workers, whose node claims no more than they can use."""

    def __init__(self, folder: Path, length: int) -> None:
        super().__init__(folder, workers=2, poll=SECOND)
        self._keeper._demands = {DEFAULT_POOL: self._processor.demand}
        self.begun: list[str] = []  # the jobs, without what follows a blank of their names
        self._length = length
        self.takes = self._begin

    def _begin(self, order: Order) -> int:
        self.begun.append(order.job.split()[0])
        return self._length

    def priority(self, job_id: int) -> int:
        """Of a job, in its state."""
        return self.store.transact(lambda session: table.states_for_update(session, [job_id]))[job_id].priority


def jobs(kind: str, count: int, priority: int, interval: str = LATER) -> list[Job]:
    return [Job(f"{kind} {number}", interval, options=Options(priority=priority)) for number in range(count)]


@pytest.mark.parametrize("length", [100, 10 * MILLISECOND, SECOND])
def test_of_jobs_due_together_the_urgent_start_first_and_the_unimportant_last(tmp_path: Path, length: int) -> None:
    harness = Narrow(tmp_path, length)
    harness.add(*jobs("unimportant", 10, -5), *jobs("plain", PLAIN, 0), *jobs("urgent", 20, 5))
    harness.pass_time(MINUTE + (PLAIN + 50) * (length + MILLISECOND))
    assert harness.begun == ["urgent"] * 20 + ["plain"] * PLAIN + ["unimportant"] * 10


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "beside other nodes"])
def test_a_job_that_becomes_urgent_overtakes_waiting_and_claimed_jobs(tmp_path: Path, shared: bool) -> None:
    harness = Narrow(tmp_path, 40 * MILLISECOND if shared else SECOND)
    harness.add(*jobs("plain", 50, 0))
    harness.pass_time(MINUTE + 100 * MILLISECOND)
    harness._processor.shared = shared
    before = len(harness.begun)
    assert before < 10
    harness.add(*jobs("urgent", 2, 1, interval="1h"))
    harness.pass_time(2 * SECOND)
    assert harness.begun[before : before + 2] == ["urgent"] * 2


def test_an_urgent_job_that_becomes_due_while_all_workers_are_busy_is_next(tmp_path: Path) -> None:
    harness = Narrow(tmp_path, 10 * MINUTE)
    harness.add(*jobs("plain", 50, 0), *jobs("urgent", 1, 5, "30 1 0 1 1 *"))
    harness.pass_time(12 * MINUTE)
    assert len(harness.begun) == 4
    assert "urgent" in harness.begun[2:4]


@pytest.mark.parametrize("phase", range(0, 1_000, 50))
def test_an_urgent_job_due_soon_delays_no_job_due_sooner(tmp_path: Path, phase: int) -> None:
    harness = Narrow(tmp_path, HOUR)
    harness.shift_wall(-phase * MILLISECOND)
    harness.add(*jobs("urgent", 4, 5, "1 1 0 1 1 *"), *jobs("plain", 1, 0, "0 1 0 1 1 *"))
    harness.pass_time(MINUTE + SECOND // 2 + phase * MILLISECOND)
    assert harness.begun == ["plain"]
    harness.pass_time(SECOND)
    assert harness.begun == ["plain", "urgent"]


def test_a_job_whose_priority_is_changed_while_it_waits_is_claimed_by_the_new_one(tmp_path: Path) -> None:
    harness = Narrow(tmp_path, SECOND)
    harness.add(*jobs("plain", 50, 0), *jobs("late", 1, -1))
    harness.pass_time(MINUTE + 5 * SECOND)
    change = Options(priority=1)
    definitions.change(harness.store, "late 0", lambda job: job._replace(options=change), harness.clock.wall(), "UTC")
    harness.look()
    before = len(harness.begun)
    harness.pass_time(3 * SECOND)
    assert "late" in harness.begun[before : before + 2]


def test_a_job_that_was_paused_and_resumed_while_it_waited_keeps_its_priority(tmp_path: Path) -> None:
    harness = Narrow(tmp_path, SECOND)
    harness.add(*jobs("plain", 50, 0), *jobs("urgent", 1, 5, "2 1 0 1 1 *"))
    harness.pass_time(MINUTE + SECOND)

    def change(paused: bool) -> None:
        definitions.change(
            harness.store,
            "urgent 0",
            lambda job: job._replace(options=job.options._replace(paused=paused)),
            harness.clock.wall(),
            "UTC",
        )
        harness.look()

    change(paused=True)
    harness.pass_time(3 * SECOND)
    assert "urgent" not in harness.begun
    change(paused=False)
    requests.request_run(harness.store, "urgent 0", harness.clock.wall(), "UTC")
    harness.look()
    before = len(harness.begun)
    harness.pass_time(3 * SECOND)
    assert "urgent" in harness.begun[before : before + 3]
    assert harness.priority(51) == 5


def test_rows_whose_priority_was_changed_with_sql_are_not_hoarded(tmp_path: Path) -> None:
    harness = Narrow(tmp_path, MINUTE)
    harness.add(*jobs("plain", 500, 0))
    harness.pass_time(SECOND)
    harness.store.transact(lambda session: session.execute("UPDATE job_options SET priority = -3") and None)
    harness.store.transact(lambda session: session.execute("UPDATE schedule SET priority = 3") and None)
    harness.pass_time(MINUTE + 30 * SECOND)
    assert len(harness._processor.queue) < 150, "what a node takes that does not know yet how long runs are"


def test_an_outcome_that_an_older_jobd_could_not_write_costs_no_job_its_priority(tmp_path: Path) -> None:
    harness = Narrow(tmp_path, HOUR)
    harness.add(*jobs("urgent", 1, 50, interval="1h"))
    state = harness.store.transact(lambda session: table.states_for_update(session, [1]))[1]
    assert state.node, "it runs"
    harness.stop()
    again = state._replace(node=0, attempt=1, ready=harness.clock.wall() + HOUR, started=None)
    line = json.dumps([FORMAT, state.node, state.token, again[:-1], None, []])  # without the priority, as it was
    Path(harness._spool._path).write_text(line + "\n")
    harness.start()
    harness.pass_time(SECOND)
    assert (harness.priority(1), harness.store.transact(lambda s: table.states_for_update(s, [1]))[1].attempt) == (
        50,
        1,
    )
