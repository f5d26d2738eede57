"""The keeper, with a node's other parts and injected clocks."""

from pathlib import Path
from typing import Any

import pytest

from jobd.clock import MILLISECOND, SECOND, iso
from jobd.job import Job
from jobd.store import schedule_table as table
from tests.engine.harness import SHORT, NodeHarness


def test_many_rows_that_another_program_inserts_are_planned_within_a_poll(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, poll=SECOND)
    rows = [(f"job{number}", "0 0 1 1 *") for number in range(1_700)]
    harness.store.transact(lambda session: session.write_rows("job", ("name", "interval"), rows))
    harness.pass_time(SECOND + 10 * MILLISECOND)
    counted = harness.store.transact(lambda session: session.rows("SELECT count(*) FROM schedule WHERE due_time > 0"))
    assert counted == [(1_700,)]


def test_the_outcome_of_a_job_that_is_soon_due_again_is_written_soon_in_every_batch(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, poll=SECOND)
    harness.add(Job("often", "20ms"), *(Job(f"calm{n}", f"{60_000 + 7 * n}ms") for n in range(200)))
    harness.pass_time(2 * SECOND)
    harness.ran.clear()
    harness.pass_time(SECOND)
    assert sum(one.job == "often" for one in harness.ran) == 50


def test_rare_due_times_are_claimed_in_few_batches_and_start_on_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = NodeHarness(tmp_path, poll=SECOND)
    start = harness.clock.wall() // SECOND * SECOND + 2 * SECOND
    harness.add(*(Job(f"job{n}", f"at {iso(start + n * 20 * MILLISECOND)}") for n in range(500)))
    claims: list[int] = []
    real = table.claim

    def counted(*arguments: Any) -> list[table.Claimed]:
        claims.append(harness.clock.wall())
        return real(*arguments)

    monkeypatch.setattr(table, "claim", counted)
    harness.pass_time(13 * SECOND)
    assert len(harness.ran) == 500
    assert [one.wall for one in harness.ran] == [start + n * 20 * MILLISECOND + SHORT for n in range(500)]
    assert len(claims) <= 14, "about one a poll"


def test_a_heartbeat_between_two_polls_makes_no_job_late(tmp_path: Path) -> None:
    """A cycle that reads the other nodes counts as a poll, so it claims as far ahead as one."""
    harness = NodeHarness(tmp_path, poll=SECOND, lease=30 * SECOND)
    harness.pass_time(3 * SECOND)
    harness.add(Job("often", "7s"))
    harness.pass_time(2 * SECOND + 330 * MILLISECOND)
    harness.add(Job("seldom", "11s"))
    harness.pass_time(5 * SECOND)
    harness.ran.clear()  # the first runs are "at once"
    harness.pass_time(300 * SECOND)
    assert len(harness.ran) > 60
    late = {(one.job, one.due): iso(one.wall - SHORT) for one in harness.ran if iso(one.wall - SHORT) != one.due}
    assert late == {}
