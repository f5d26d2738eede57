"""How much of a pool's work a node takes while others serve that pool too: pure arithmetic.

       now            last call                                horizon
    ────┼─────────────────┼───────────────────────────────────────┼────▶  when a free job is ready
        ◀──  anybody's  ──▶◀──  a node's, up to its fair share  ──▶

What is in play (all that nodes have claimed, and what is ready within the horizon) is divided by the number of their
workers. A node that has its share leaves the rest free, and the others, which look once a poll, take it before it is
due. What none has taken by the last call is anybody's: the first to look then takes all that its workers have room for.
So no job is late because it was left to a node that is busy, is dead, or lacks its task.

A node that has claimed a job may be kept from running it by runs that are longer than expected. What waits for a
worker here although it is ready, the node then gives back, and claims only what a free worker begins at once. So a job
that was given back is claimed again where a worker is free, and nothing is handed round among nodes that have none.
"""

from collections.abc import Collection
from typing import NamedTuple

from jobd.clock import MILLISECOND

CALL_MIN, CALL_MAX = 20 * MILLISECOND, 200 * MILLISECOND  # before a job is ready comes its last call
CALL_CYCLES = 4  # or so many times as long as a cycle takes, so that there is time for one
CALL_AT = 3, 4  # a node that has left something looks again at this part of it: what is ready together goes together
# A node that has too little looks again after so long, then more and more rarely while that brings nothing, up to a
# part of the poll. Both grow by the golden section, so that it falls in step with nothing.
POLL_MIN, POLL_GROWTH, POLL_MAX_SHARE = 30 * MILLISECOND, 1.618, 0.382
MAX_READY_WAIT = 100 * MILLISECOND  # a claimed job that is ready waits so long for a worker; then others may have it
SHORT_RUN = MAX_READY_WAIT // 2  # runs that take no longer by the pace of late free a worker soon enough
MAX_WAITING_WORK = 250 * MILLISECOND  # with those, so much work may wait: enough to last until more has been claimed


class Share(NamedTuple):
    """Of a pool's jobs that are in play, what is this node's: `least`, or one more if they cannot be divided (`most`).

    Who has `most` keeps it, so that nothing goes to and fro. Others take up to `now`, which is on the average what is
    fair: where few jobs are in play, to have each node round up would leave nothing to the last.
    """

    least: int
    most: int
    now: int
    credit: int  # what is left of the fractions of the looks before, in parts of all workers


def share_of(in_play: int, own: int, others: Collection[int], before: Share | None) -> Share | None:
    """The share of a node with `own` workers beside nodes with `others`; None: nobody else serves the pool.

    `before` is its share at the look before this one.
    """
    workers = own + sum(others)
    if workers == own:
        return None
    least, rest = divmod(in_play * own, workers)
    more, credit = divmod((before.credit if before is not None else 0) + rest, workers)
    return Share(least, least + bool(rest), least + min(more, 1), credit % workers)


def claims_to_add(share: Share, before: int, holding: int) -> int:
    """How many claims a node may add to the `holding` that it has left of the `before` that it had."""
    return max(0, (share.most if before >= share.most else share.now) - holding)


def may_wait(workers: int, pace: int, still: int) -> int:
    """How many jobs that are ready may wait here for one of `workers`, all of them busy, while others serve the pool.

    `pace` is how long a run takes of late, `still` how long no run has begun, both in µs. Where runs take long, or have
    turned out to, none may: this node cannot know when one of its workers will be free.
    """
    return workers * MAX_WAITING_WORK // max(pace, 1) if pace <= SHORT_RUN and still <= MAX_READY_WAIT else 0


def last_call(cycle: int) -> int:
    """How long before a job is ready it is anybody's, where a cycle takes `cycle` µs."""
    return max(CALL_MIN, min(CALL_CYCLES * cycle, CALL_MAX))


def recheck_at(left: int, call: int) -> int:
    """When a node looks again that has left a job to others which is ready at `left`."""
    part, whole = CALL_AT
    return left - call * part // whole


def eager_poll(poll: int, looks: int) -> int:
    """How long a node that has too little waits for its next look, when `looks` of them have brought nothing."""
    return round(min(POLL_MIN * POLL_GROWTH ** min(looks, 20), POLL_MAX_SHARE * poll))
