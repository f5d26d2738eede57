"""What the daemon's log says of runs: a line about each attempt that did not go well, and what tasks print."""

from jobd import lifecycle, logs
from jobd.claim import Claim
from jobd.clock import SECOND
from jobd.engine.output import Lines
from jobd.job import LOST, SUCCEEDED
from jobd.schedule.duration import format_duration
from jobd.wire import UNRESOLVED, Done


def log_run(level: str, claim: Claim, message: str) -> None:
    """Log a line about a run."""
    logs.log(level, message, claim.job.name, claim.state.number)


def log_output(claim: Claim, lines: Lines) -> None:
    """Log what a run printed."""
    for level, line in lines:
        log_run(level, claim, line)


def _span(wait: int) -> str:
    return f"{wait / SECOND:.3g} s" if wait < 100 * SECOND else format_duration(wait - wait % SECOND)


def log_attempt(claim: Claim, decision: lifecycle.Decision, done: Done, wall: int) -> None:
    """Say in one line how an attempt ended and what follows, unless all went well."""
    if done.outcome == SUCCEEDED:
        return
    name, attempt, attempts = claim.job.name, claim.state.attempt + 1, claim.job.retry_times + 1
    what = done.outcome.replace("_", " ")
    error = f": {done.error}" if done.error else ""
    if done.outcome == UNRESOLVED:
        if decision.state.error != claim.state.error:  # it is offered again and again, and told once
            log_run("error", claim, f"{name} cannot run{error}")
    elif decision.run is None and decision.state.ready is not None and done.outcome != LOST:
        wait = decision.state.ready - wall
        when = "now" if wait <= 0 else f"in {_span(wait)}"
        log_run("warning", claim, f"{name} {what}, attempt {attempt} of {attempts}, next {when}{error}")
    else:
        log_run("error", claim, f"{name} {what} after {attempt} attempt{'s'[: attempt > 1]}{error}")
