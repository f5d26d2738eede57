"""The due claims of a pool that wait for something other than a free worker.

A guarded run waits until its start has been committed; a new claim of a job waits until the job's previous run can no
longer be going on here; a run whose isolation needs a new worker process waits until one is ready.
"""

from collections.abc import Collection, Set

from jobd.claim import Claim


class WaitingClaims:
    """These claims, at most one of a job for each reason."""

    def __init__(self) -> None:
        self._for_start: dict[int, Claim] = {}  # by job id, like the others
        self._for_previous: dict[int, Claim] = {}
        self._for_worker: dict[int, Claim] = {}

    def __len__(self) -> int:
        """The number of claims. Any thread may call this."""
        return len(self._for_start) + len(self._for_previous) + len(self._for_worker)

    def remove(self, job_id: int) -> Claim | None:
        """Remove and return the claim of a job; None: there is none."""
        return next((claims.pop(job_id) for claims in self._all() if job_id in claims), None)

    def remove_all(self) -> list[Claim]:
        """Remove and return all claims."""
        removed = [claim for claims in self._all() for claim in claims.values()]
        for claims in self._all():
            claims.clear()
        return removed

    def has_newer(self, job_id: int) -> bool:
        """Whether a claim of this job has come while another one was in flight or was waiting for a new worker."""
        return job_id in self._for_previous or job_id in self._for_worker

    def _all(self) -> tuple[dict[int, Claim], ...]:
        return self._for_start, self._for_previous, self._for_worker

    # The start of a guarded run

    def wait_for_start(self, claim: Claim) -> None:
        """Keep a guarded claim until its start has been committed."""
        self._for_start[claim.job.id] = claim

    def start_recorded(self, job_id: int, token: int) -> Claim | None:
        """Remove and return the claim whose start has been committed; None: it does not wait any more."""
        claim = self._for_start.get(job_id)
        return self._for_start.pop(job_id) if claim is not None and claim.state.token == token else None

    # The previous run of the job

    def wait_for_previous(self, claim: Claim) -> None:
        """Keep a claim until no process can be running its job."""
        self._for_previous[claim.job.id] = claim

    def previous_ended(self, in_flight: Set[int]) -> bool:
        """Whether a claim waits here whose job is not among those in flight."""
        return not in_flight >= self._for_previous.keys()

    def remove_startable(self, in_flight: Set[int]) -> list[Claim]:
        """Remove and return the claims that wait for no job in flight any more."""
        if not self._for_previous:
            return []
        return [self._for_previous.pop(job_id) for job_id in self._for_previous.keys() - in_flight]

    # A new worker process

    def wait_for_worker(self, claim: Claim) -> None:
        """Keep a claim until a new worker is ready."""
        self._for_worker[claim.job.id] = claim

    def for_worker(self) -> Collection[Claim]:
        """The claims that wait for a new worker, in order of arrival."""
        return self._for_worker.values()

    def remove_for_worker(self, job_id: int) -> None:
        """Remove the claim of a job that waits for a new worker, if there is one."""
        self._for_worker.pop(job_id, None)
