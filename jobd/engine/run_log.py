"""Logs runs: one line for each attempt that did not succeed, and the output of tasks."""

from jobd import lifecycle, logs
from jobd.claim import Claim
from jobd.clock import SECOND
from jobd.engine.output import Lines
from jobd.job import LOST, SUCCEEDED
from jobd.schedule.duration import format_duration
from jobd.wire import UNRESOLVED, Done


def log_run(level: str, claim: Claim, message: str) -> None:
    """Log a message with the job and the run number of a claim."""
    logs.log(level, message, claim.job.name, claim.state.number)


def log_output(claim: Claim, lines: Lines) -> None:
    """Log the output of a run."""
    for level, line in lines:
        log_run(level, claim, line)


def _span(wait: int) -> str:
    return f"{wait / SECOND:.3g} s" if wait < 100 * SECOND else format_duration(wait - wait % SECOND)


def log_attempt(claim: Claim, decision: lifecycle.Decision, done: Done, wall: int) -> None:
    """Log the result of an attempt and what follows, unless it succeeded. `wall` is the time of its end in µs."""
    if done.outcome == SUCCEEDED:
        return
    name, attempt, attempts = claim.job.name, claim.state.attempt + 1, claim.job.retry_times + 1
    what = done.outcome.replace("_", " ")
    error = f": {done.error}" if done.error else ""
    if done.outcome == UNRESOLVED:
        if decision.state.error != claim.state.error:  # the job is claimed repeatedly, but logged once
            log_run("error", claim, f"{name} cannot run{error}")
    elif decision.run is None and decision.state.ready is not None and done.outcome != LOST:
        wait = decision.state.ready - wall
        when = "now" if wait <= 0 else f"in {_span(wait)}"
        log_run("warning", claim, f"{name} {what} (attempt {attempt} of {attempts}), retrying {when}{error}")
    else:
        log_run("error", claim, f"{name} {what} after {attempt} attempt{'s'[: attempt > 1]}{error}")
