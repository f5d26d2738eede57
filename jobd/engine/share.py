"""How many jobs of a pool a node claims while other nodes serve the pool too: pure arithmetic.

       now            last call                                horizon
    ────┼─────────────────┼───────────────────────────────────────┼────▶  ready time of an unclaimed job
        ◀──  any node   ──▶◀──  a node, up to its fair share    ──▶

The jobs in play (all claimed jobs, and those ready within the horizon) are divided among the nodes in proportion to
their workers. A node that has its share leaves the rest; the others, which poll, claim it before it is due. Jobs still
unclaimed at the last call are for any node: the first to poll then claims as many as its workers have room for. So no
job is late because it was left to a node that is busy, is dead, or lacks its task.

Runs that are longer than expected may keep a node from running jobs that it has claimed. It then gives back the ready
jobs that wait for a worker, and claims only as many as idle workers can start at once. So a job that was given back is
claimed where a worker is idle, and jobs do not move between nodes that have none.
"""

from collections.abc import Collection
from typing import NamedTuple

from jobd.clock import MILLISECOND

CALL_MIN, CALL_MAX = 20 * MILLISECOND, 200 * MILLISECOND  # from the last call for a job to its ready time
CALL_CYCLES = 4  # within these limits, that time is 4 times as long as a cycle takes, so that one fits in
CALL_AT = 3, 4  # a node checks the jobs it left when 3/4 of that time remain, to claim jobs ready together in one cycle
# A node below its share polls again after POLL_MIN, then ever more rarely while it finds no jobs, up to a fraction of
# the normal poll. Both factors are golden ratios, so that its polls do not synchronise with other periodic work.
POLL_MIN, POLL_GROWTH, POLL_MAX_SHARE = 30 * MILLISECOND, 1.618, 0.382
MAX_READY_WAIT = 100 * MILLISECOND  # a ready claim that waits longer for a worker is given back to other nodes
SHORT_RUN = MAX_READY_WAIT // 2  # if recent runs took at most this long, a worker becomes free soon enough
MAX_WAITING_WORK = 250 * MILLISECOND  # then this much work per worker may wait: enough until more has been claimed


class Share(NamedTuple):
    """This node's share of a pool's jobs in play: the exact share rounded down (`least`) and up (`most`).

    A node that has `most` keeps it, so that jobs do not move to and fro. Others claim up to `now`, which equals the
    exact share on average. If every node rounded up, the last one would get nothing when few jobs are in play.
    """

    least: int
    most: int
    now: int
    credit: int  # the fractions carried over from earlier shares, in units of 1 / number of all workers


def share_of(in_play: int, own: int, others: Collection[int], before: Share | None) -> Share | None:
    """The share of a node with `own` workers beside nodes with `others`; None: no other node serves the pool.

    `before` is its previous share.
    """
    workers = own + sum(others)
    if workers == own:
        return None
    least, rest = divmod(in_play * own, workers)
    more, credit = divmod((before.credit if before is not None else 0) + rest, workers)
    return Share(least, least + bool(rest), least + min(more, 1), credit % workers)


def claims_to_add(share: Share, before: int, holding: int) -> int:
    """How many claims a node may add that had `before` claims and holds `holding` of them after its releases."""
    return max(0, (share.most if before >= share.most else share.now) - holding)


def max_waiting(workers: int, pace: int, still: int) -> int:
    """How many ready jobs may wait here for one of `workers`, all of them busy, while other nodes serve the pool.

    `pace` is the recent duration of runs, `still` the time since the last start, both in µs. If runs take long, or the
    current ones do, none may wait: this node cannot know when a worker becomes free.
    """
    return workers * MAX_WAITING_WORK // max(pace, 1) if pace <= SHORT_RUN and still <= MAX_READY_WAIT else 0


def last_call(cycle: int) -> int:
    """How many µs before its ready time any node may claim a job, if a cycle takes `cycle` µs."""
    return max(CALL_MIN, min(CALL_CYCLES * cycle, CALL_MAX))


def recheck_at(left: int, call: int) -> int:
    """When a node checks a job again that it left to other nodes and that is ready at `left`; `call` is in µs."""
    part, whole = CALL_AT
    return left - call * part // whole


def eager_poll(poll: int, polls: int) -> int:
    """The µs until the next poll of a node that is below its share, after `polls` polls without a claim."""
    return round(min(POLL_MIN * POLL_GROWTH ** min(polls, 20), POLL_MAX_SHARE * poll))
