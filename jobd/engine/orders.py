"""The order for a run, and which worker may execute it: pure functions.

    isolation   the run is                        its worker process has had
    warm        a call in the worker              anything before
    fork        a child process of the worker     no call of a task in itself
    fresh       the worker's only run             no run at all, and is replaced afterwards

A program (`command`) is a child process under each isolation, so it needs no worker without calls under `fork`.
"""

from jobd.claim import Claim
from jobd.clock import MILLISECOND, SECOND
from jobd.wire import Order

PREFETCH_WORK = 2 * MILLISECOND  # the expected duration of all orders that a worker has, including the current one
MAX_PREFETCH = 32  # orders per worker, including the current one


def order_of(claim: Claim, serial: int, monotonic: int) -> Order:
    """The order to run a claim, sent at `monotonic` µs. Its deadline counts from then, even if it is prefetched."""
    job, state = claim
    options = job.options
    return Order(
        serial,
        job.name,
        state.number,
        None if options.command else job.task,
        options.command,
        options.args,
        state.due or 0,
        state.attempt + 1,
        (monotonic + options.timeout) / SECOND if options.timeout else None,
        state.token,
        forks(claim),
    )


def forks(claim: Claim) -> bool:
    """Whether the run is a child process of its worker. No task may have been called in that worker's own process."""
    return claim.job.options.isolation == "fork" and claim.job.options.command is None


def needs_fresh(claim: Claim) -> bool:
    """Whether the run needs a worker process for itself alone."""
    return claim.job.options.isolation == "fresh"


def fits(claim: Claim, runs: int, touched: bool) -> bool:
    """Whether a worker process that has had `runs` runs is new enough; `touched`: a task was called in it."""
    return not ((touched and forks(claim)) or (runs and needs_fresh(claim)))


def may_prefetch(claim: Claim) -> bool:
    """Whether this claim may be prefetched. Programs, fresh processes and guarded runs may not.

    Programs and fresh processes take long. A guarded run must not be started needlessly.
    """
    return claim.job.options.command is None and not needs_fresh(claim) and not claim.state.guarded


def prefetch_limit(pace: int) -> int:
    """How many orders a worker may have behind the current one, if runs take `pace` µs; 0 or less: none."""
    return min(PREFETCH_WORK // max(pace, 1), MAX_PREFETCH) - 1
