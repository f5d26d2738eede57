"""The values that the dispatch loop, the keeper and the store pass to each other: a claim, its outcome, its output."""

from typing import NamedTuple

from jobd.job import Job, JobState, Run

DROPPED_NOTICE = "[jobd: {:,} bytes of output were dropped here: too much waited for the database]\n"


class Claim(NamedTuple):
    """A claimed job: its definition as it was at the claim, and the state to run by."""

    job: Job
    state: JobState


class OutputPart(NamedTuple):
    """What one attempt of a run printed, or so far."""

    job_id: int
    number: int
    attempt: int
    part: int
    text: str  # empty: there is no such part, unless something was lost
    keep_from: int = 0  # parts before this one are dropped, so that all together stay within the limit
    token: int = 0  # fencing token of the claim under which it ran
    lost: int = 0  # bytes of output before the text, dropped for want of room

    def shown(self) -> str:
        """The text, headed by a line that says what is missing."""
        return DROPPED_NOTICE.format(self.lost) + self.text if self.lost else self.text


class ClaimUpdate(NamedTuple):
    """What became of a claim: the state as it is now (`node` 0: the job is free again), and what is to be kept."""

    node: int
    token: int
    state: JobState
    run: Run | None
    output: tuple[OutputPart, ...]
