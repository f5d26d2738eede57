"""The values that the dispatch loop, the keeper and the store pass to each other: a claim, its outcome, its output."""

from typing import NamedTuple

from jobd.job import Job, JobState, Run

DROPPED_NOTICE = "[jobd: {:,} bytes of output were dropped here: too much waited for the database]\n"


class Claim(NamedTuple):
    """A claimed job: its definition at the time of the claim, and the state to run."""

    job: Job
    state: JobState


class OutputPart(NamedTuple):
    """One part of the output of an attempt."""

    job_id: int
    number: int
    attempt: int
    part: int
    text: str  # empty: nothing is stored for this part, unless `dropped` is set
    keep_from: int = 0  # parts of the attempt before this number are deleted, to keep its output within the limit
    token: int = 0  # fencing token of the claim under which the attempt ran
    dropped: int = 0  # bytes of output before the text that were dropped because the buffers were full

    def shown(self) -> str:
        """The text, preceded by a notice of the dropped bytes if there are any."""
        return DROPPED_NOTICE.format(self.dropped) + self.text if self.dropped else self.text


class ClaimUpdate(NamedTuple):
    """The result of a claim: the new state of the job (`node` 0: unclaimed), the finished run, and its output.

    `node` and `token` identify the claim.
    """

    node: int
    token: int
    state: JobState
    run: Run | None
    output: tuple[OutputPart, ...]
