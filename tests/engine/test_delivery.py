"""Outcomes that are written outside of a cycle, into a real SQLite file from a real spool."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd import logs
from jobd.claim import ClaimUpdate
from jobd.engine.budget import Budget, weight
from jobd.engine.delivery import deliver_spool, may_be_one_outcome, record_one_by_one
from jobd.engine.pending_updates import PendingUpdates
from jobd.engine.spool import FileSpool
from jobd.errors import DatabaseUnavailable, JobdError, StatementRefused
from jobd.job import JobState, Run
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests import servers

JOBS = (1, 2, 3)


class Delivery:
    """Three claimed jobs, and what was noted about the outcomes written."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(parse_url(servers.sqlite_url(folder)))
        self.spool = folder / "spool"
        self.pending = self.read_again()
        self.recorded: list[tuple[int, bool]] = []
        self.refused: list[int] = []
        self.node, self.states = self.store.transact(self._claim)

    def _claim(self, session: Session) -> tuple[int, dict[int, JobState]]:
        node = nodes.register(session, "host", 1, "1", "here", 1)
        for job in JOBS:
            session.execute(f"INSERT INTO job (name, runonce) VALUES ('job{job}', 1)")
        table.save_states(session, [JobState(job, due=10, ready=10, anchor=10) for job in JOBS])
        session.execute("DELETE FROM job_change")
        return node, {one.state.job_id: one.state for one in table.claim(session, node, "default", 20, 9)}

    def read_again(self) -> PendingUpdates:
        """The pending outcomes of a new daemon."""
        return PendingUpdates(FileSpool(str(self.spool)), Budget())

    def ended(self, job: int, **wrong: Any) -> ClaimUpdate:
        """The outcome of a job, with values that are `wrong`, and added to the pending ones."""
        state = self.states[job]
        run = Run(job, 1, 10, 20, 30, 1, "succeeded", self.node)._replace(**wrong)
        one = ClaimUpdate(self.node, state.token, state._replace(node=0, ready=None, number=2), run, ())
        self.pending._budget.add_waiting(weight(one))
        self.pending.add(one)
        return one

    def note(self, one: ClaimUpdate, accepted: bool) -> None:
        self.recorded.append((one.state.job_id, accepted))

    def refuse(self, one: ClaimUpdate) -> None:
        self.refused.append(one.state.job_id)

    def record(self, updates: list[ClaimUpdate]) -> bool:
        return record_one_by_one(self.store, self.pending, updates, 40, self.note, self.refuse)

    def deliver(self) -> None:
        self.pending = self.read_again()
        deliver_spool(self.store, self.pending, 40, self.note, self.refuse)

    def rows(self, sql: str) -> list[Any]:
        return self.store.transact(lambda session: session.rows(sql))

    def runs(self) -> list[int]:
        return [job for (job,) in self.rows("SELECT job_id FROM run ORDER BY job_id")]


@pytest.fixture
def delivery(tmp_path: Path) -> Iterator[Delivery]:
    delivery = Delivery(tmp_path)
    yield delivery
    delivery.store.close()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(logs, "log", lambda level, message, *about: said.append(f"{level}: {message}"))
    return said


@pytest.mark.parametrize("wrong", [{"attempts": "many"}, {"error": object()}], ids=["refused", "a bug"])
def test_an_outcome_that_cannot_be_written_stops_its_job_and_no_other(
    delivery: Delivery, said: list[str], wrong: dict[str, Any]
) -> None:
    updates = [delivery.ended(1), delivery.ended(2, **wrong), delivery.ended(3)]
    assert delivery.record(updates)
    assert (delivery.recorded, delivery.refused, delivery.runs()) == ([(1, True), (3, True)], [2], [1, 3])
    assert len(delivery.pending) == 0
    ((node, ready, error),) = delivery.rows("SELECT node_id, ready_time, error FROM schedule WHERE job_id = 2")
    assert (node, ready) == (0, None)
    assert error.startswith("its outcome could not be written")
    assert [line for line in said if line.startswith("error: job 2 is stopped")]


def test_an_outcome_of_a_claim_that_is_no_longer_valid_is_dropped_and_noted(delivery: Delivery) -> None:
    late = delivery.ended(1)._replace(token=delivery.states[1].token + 1)
    assert not delivery.record([late, delivery.ended(2)])
    assert (delivery.recorded, delivery.runs(), len(delivery.pending)) == ([(1, False), (2, True)], [2], 0)


def test_an_unavailable_database_stops_no_job(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = [delivery.ended(1), delivery.ended(2)]

    def away(work: Any) -> Any:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(delivery.store, "transact", away)
        with pytest.raises(DatabaseUnavailable):
            delivery.record(updates)
    assert (delivery.recorded, delivery.refused, len(delivery.pending)) == ([], [], 2)
    delivery.record(updates)
    assert delivery.runs() == [1, 2]


def test_the_next_daemon_writes_what_is_in_the_spool_and_empties_it(delivery: Delivery, said: list[str]) -> None:
    delivery.ended(1)
    delivery.ended(2)
    delivery.pending.keep(0)
    delivery.deliver()
    assert delivery.runs() == [1, 2]
    assert said == ["info: recovered 2 of 2 outcomes from the spool"]
    assert not [*delivery.read_again().load_spooled()]


def test_jobs_of_spooled_outcomes_are_planned_again(delivery: Delivery) -> None:
    delivery.ended(1)
    delivery.pending.keep(0)
    delivery.deliver()
    assert delivery.rows("SELECT job_id, what FROM job_change") == [(1, "changed")]


def test_spooled_outcomes_of_claims_that_were_taken_over_are_not_recorded(delivery: Delivery, said: list[str]) -> None:
    delivery.ended(1)
    delivery.ended(2)
    delivery.pending.keep(0)
    delivery.store.transact(lambda session: session.execute("UPDATE schedule SET token = token + 1 WHERE job_id = 1"))
    delivery.deliver()
    assert delivery.runs() == [2]
    assert said == ["info: recovered 1 of 2 outcomes from the spool"]
    assert not [*delivery.read_again().load_spooled()]


def test_a_bad_outcome_in_the_spool_does_not_keep_the_daemon_from_starting(delivery: Delivery) -> None:
    delivery.ended(1)
    delivery.ended(2, attempts="many")
    delivery.pending.keep(0)
    delivery.deliver()
    assert (delivery.runs(), delivery.refused) == ([1], [2])


def test_only_a_refused_statement_and_a_bug_may_be_the_fault_of_one_outcome() -> None:
    causes = StatementRefused("no"), TypeError("a bug"), DatabaseUnavailable("away"), JobdError("other")
    assert [may_be_one_outcome(error) for error in causes] == [True, True, False, False]
