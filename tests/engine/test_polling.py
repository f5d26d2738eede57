"""When the keeper polls and asks the database for changes, and which jobs cannot wait for the next poll."""

import pytest

from jobd.clock import SECOND
from jobd.engine.cycle_timer import CLAIM_AHEAD
from jobd.engine.polling import Polling

NOW, WALL, PAUSE = 100 * SECOND, 1_000_000 * SECOND, SECOND


def quiet() -> Polling:
    """A keeper whose last cycle has left nothing to do."""
    polling = Polling()
    polling.cycle_ended({}, {}, changes_left=False)
    return polling


def no_question() -> bool:
    raise AssertionError("the database was asked")


def find(polling: Polling, now: int = NOW, alone: bool = True, changed: bool = False) -> bool:
    return polling.finds_work(now, PAUSE, WALL, alone, lambda: changed)


def test_a_poll_comes_after_its_pause_and_not_before() -> None:
    polling = quiet()
    assert find(polling, changed=True)
    assert not polling.finds_work(NOW + PAUSE - 1, PAUSE, WALL, False, no_question)
    assert find(polling, NOW + PAUSE, changed=True)
    assert polling.next_at == NOW + 2 * PAUSE


@pytest.mark.parametrize("changed", [False, True])
def test_a_quiet_node_that_is_alone_runs_a_cycle_only_if_the_database_has_changed(changed: bool) -> None:
    assert find(quiet(), changed=changed) == changed


def test_the_database_is_not_asked_if_there_is_work_anyway() -> None:
    assert Polling().finds_work(NOW, PAUSE, WALL, True, no_question), "the first poll"
    assert quiet().finds_work(NOW, PAUSE, WALL, False, no_question), "other nodes"
    polling = quiet()
    polling.cycle_failed()
    assert polling.finds_work(NOW, PAUSE, WALL, True, no_question), "a cycle has failed"
    polling = quiet()
    polling.cycle_ended({"a": None, "b": WALL}, {}, changes_left=False)
    assert polling.finds_work(NOW, PAUSE, WALL, True, no_question), "a job is ready"


def test_a_job_that_is_ready_later_and_a_pool_without_jobs_are_no_work() -> None:
    polling = quiet()
    polling.cycle_ended({"a": None, "b": WALL + 1}, {}, changes_left=False)
    assert not find(polling)


def test_what_a_cycle_has_not_read_stays_as_it_was() -> None:
    polling = quiet()
    polling.cycle_ended({"a": WALL, "b": None}, {"a": (5, 0)}, changes_left=False)
    polling.cycle_ended({"b": None}, {"b": (1,)}, changes_left=False)
    assert find(polling)
    assert polling.priorities == {"a": (5, 0), "b": (1,)}


def test_jobs_that_are_ready_shortly_after_the_next_poll_cannot_wait_for_it() -> None:
    polling = quiet()
    find(polling)
    assert polling.urgent_by(NOW + PAUSE // 4, WALL) == WALL + PAUSE * 3 // 4 + CLAIM_AHEAD
    assert polling.urgent_by(NOW + 5 * PAUSE, WALL) == WALL + CLAIM_AHEAD


def test_a_look_at_the_other_nodes_counts_as_a_poll_and_comes_with_the_next_one() -> None:
    polling = quiet()
    assert polling.peers_due(NOW)
    polling.peers_read(NOW, PAUSE)
    assert not polling.peers_due(NOW + PAUSE - 1)
    assert not find(polling, NOW + PAUSE - 1, changed=True)
    assert polling.peers_due(NOW + PAUSE)
    assert find(polling, NOW + PAUSE, changed=True)


def test_an_ended_neighbour_is_looked_at_in_the_next_cycle() -> None:
    polling = quiet()
    polling.peers_read(NOW, PAUSE)
    polling.check_peers(NOW + 1)
    assert polling.peers_due(NOW + 1)
    assert polling.next_at == NOW + PAUSE
