"""A due claim waits for the commit of its start, for the previous run of its job, or for a new worker."""

from jobd.claim import Claim
from jobd.engine.waiting import WaitingClaims
from jobd.job import Job, JobState


def claim(job_id: int, token: int = 1) -> Claim:
    return Claim(Job(f"job{job_id}", id=job_id), JobState(job_id, token=token))


def test_each_waiting_claim_is_counted_and_removed_once() -> None:
    waiting = WaitingClaims()
    waiting.wait_for_start(claim(1))
    waiting.wait_for_previous(claim(2))
    waiting.wait_for_worker(claim(3))
    assert len(waiting) == 3
    assert [waiting.remove(job_id) for job_id in (3, 2, 1, 1)] == [claim(3), claim(2), claim(1), None]
    assert len(waiting) == 0


def test_all_claims_are_removed_together() -> None:
    waiting = WaitingClaims()
    waiting.wait_for_worker(claim(3))
    waiting.wait_for_start(claim(1))
    waiting.wait_for_previous(claim(2))
    assert waiting.remove_all() == [claim(1), claim(2), claim(3)]
    assert (len(waiting), waiting.remove_all()) == (0, [])


def test_a_guarded_run_starts_once_and_only_with_the_token_whose_start_was_committed() -> None:
    waiting = WaitingClaims()
    waiting.wait_for_start(claim(1, token=5))
    assert waiting.start_recorded(1, token=4) is None
    assert waiting.start_recorded(2, token=5) is None
    assert waiting.start_recorded(1, token=5) == claim(1, token=5)
    assert waiting.start_recorded(1, token=5) is None


def test_a_claim_waits_until_its_job_is_no_longer_in_flight() -> None:
    waiting = WaitingClaims()
    waiting.wait_for_previous(claim(1))
    waiting.wait_for_previous(claim(2))
    assert not waiting.previous_ended({1, 2, 3})
    assert waiting.remove_startable({1, 2, 3}) == []
    assert waiting.previous_ended({2, 3})
    assert waiting.remove_startable({2, 3}) == [claim(1)]
    assert not waiting.previous_ended({2, 3})
    assert waiting.remove_startable(set()) == [claim(2)]
    assert not waiting.previous_ended(set())


def test_new_workers_are_given_in_order_of_arrival_and_a_newer_claim_replaces_an_older_one() -> None:
    waiting = WaitingClaims()
    for one in (claim(2), claim(1), claim(3), claim(2, token=2)):
        waiting.wait_for_worker(one)
    waiting.remove_for_worker(3)
    waiting.remove_for_worker(9)
    assert [*waiting.for_worker()] == [claim(2, token=2), claim(1)]


def test_a_claim_that_waits_for_the_record_of_its_start_is_no_newer_one() -> None:
    waiting = WaitingClaims()
    waiting.wait_for_start(claim(1))
    waiting.wait_for_previous(claim(2))
    waiting.wait_for_worker(claim(3))
    assert [waiting.has_newer(job_id) for job_id in (1, 2, 3, 4)] == [False, True, True, False]
