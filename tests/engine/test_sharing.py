"""What a node leaves to the others that serve its pools, and how soon it looks again: pure."""

from types import SimpleNamespace
from typing import Any

from jobd.claim import ClaimUpdate
from jobd.clock import MILLISECOND, SECOND
from jobd.engine.claims import HeldClaims
from jobd.engine.share import CALL_MIN, POLL_MIN, Share
from jobd.engine.sharing import MAX_UNKNOWN_TASKS, Sharing
from jobd.job import JobState
from jobd.lifecycle import UNRESOLVED_PAUSE

WALL, AHEAD = 1_000 * SECOND, 900 * SECOND
SHARE = Share(least=2, most=3, now=2, credit=0)


def work() -> Any:
    return SimpleNamespace(last_call_by=WALL + CALL_MIN, claim_by=WALL + SECOND)


def result(shares: Any = None, claims: int = 0, more: tuple[str, ...] = (), next_ready: Any = None) -> Any:
    return SimpleNamespace(shares=shares, claims=[None] * claims, more={*more}, next_ready=next_ready or {})


def held(count: int) -> HeldClaims:
    claims = HeldClaims({})
    for job_id in range(count):
        claims.add(job_id, 1, "default")
    return claims


def after(sharing: Sharing, outcome: Any, count: int = 0) -> Sharing:
    sharing.cycle_ended(work(), outcome, held(count), 0, AHEAD)
    return sharing


def test_a_node_below_its_share_polls_sooner_and_then_ever_more_rarely() -> None:
    sharing = after(Sharing(), result({"default": SHARE}), count=1)
    pauses = [
        sharing.pause(SECOND),
        *(after(sharing, result({"default": SHARE}), count=1).pause(SECOND) for _ in range(6)),
    ]
    assert pauses[0] == POLL_MIN
    assert pauses == sorted(pauses)
    assert pauses[-1] < SECOND
    assert after(sharing, result({"default": SHARE}, claims=1), count=1).pause(SECOND) == POLL_MIN
    assert after(sharing, result({"default": SHARE}), count=2).pause(SECOND) == SECOND, "it has its share"


def test_a_node_that_could_claim_more_is_not_below_its_share() -> None:
    assert after(Sharing(), result({"default": SHARE}, more=("default",)), count=0).pause(SECOND) == SECOND


def test_the_pools_are_those_that_other_nodes_serve_too() -> None:
    sharing = after(Sharing(), result({"default": SHARE, "reports": None}))
    assert sharing.pools() == {"default"}
    assert after(sharing, result(None)).pools() == {"default"}, "a cycle that has not read the peers"
    assert after(sharing, result({"default": None, "reports": None})).pools() == frozenset()


def test_jobs_left_to_others_are_checked_shortly_before_they_are_due() -> None:
    left = WALL + 100 * MILLISECOND
    sharing = after(Sharing(), result({"default": SHARE}, next_ready={"default": left}), count=3)
    assert sharing.last_call_at == left - CALL_MIN * 3 // 4 - AHEAD
    assert after(sharing, result(next_ready={"default": WALL + CALL_MIN}), count=3).last_call_at is None
    assert after(sharing, result(next_ready={"default": WALL + 2 * SECOND}), count=3).last_call_at is None
    alone = after(Sharing(), result({"default": None}, next_ready={"default": left}))
    assert alone.last_call_at is None, "there is no node to leave them to"


def unresolved(job_id: int = 1) -> ClaimUpdate:
    return ClaimUpdate(7, 5, JobState(job_id, due=WALL, ready=WALL + UNRESOLVED_PAUSE, pool="default"), None, ())


def test_a_job_whose_task_is_unknown_here_is_ready_for_the_others_at_once() -> None:
    sharing = after(Sharing(), result({"default": SHARE}))
    assert sharing.release_unresolved(unresolved(), WALL).state.ready == WALL
    assert sharing.unknown_tasks == {1: 5}
    assert sharing.without_unknown(WALL).jobs == {1: 5}
    sharing.drop_unknown({1, 2})
    assert sharing.unknown_tasks == {}


def test_a_job_whose_task_is_unknown_waits_if_no_other_node_could_run_it() -> None:
    assert Sharing().release_unresolved(unresolved(), WALL) == unresolved()


def test_the_memory_of_unknown_tasks_is_bounded() -> None:
    sharing = after(Sharing(), result({"default": SHARE}))
    for job_id in range(MAX_UNKNOWN_TASKS):
        sharing.release_unresolved(unresolved(job_id), WALL)
    assert sharing.release_unresolved(unresolved(MAX_UNKNOWN_TASKS), WALL) == unresolved(MAX_UNKNOWN_TASKS)
    assert len(sharing.unknown_tasks) == MAX_UNKNOWN_TASKS
