"""The claims that this node holds, from the commit of the claim until the commit that gives it up."""

from collections.abc import Collection

NONE = 0, ""  # no claim has the token 0


class HeldClaims:
    """For each claimed job, its fencing token and its pool."""

    def __init__(self) -> None:
        self._claims: dict[int, tuple[int, str]] = {}

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._claims

    def add(self, job_id: int, token: int, pool: str) -> None:
        """Note a new claim. It replaces an older one of the same job."""
        self._claims[job_id] = token, pool

    def token(self, job_id: int) -> int:
        """The fencing token of the job's claim; 0: there is none."""
        return self._claims.get(job_id, NONE)[0]

    def tokens(self) -> dict[int, int]:
        """The fencing token of each claimed job."""
        return {job_id: token for job_id, (token, _) in self._claims.items()}

    def release(self, job_id: int, token: int) -> bool:
        """Remove the job's claim if it has this token; return whether it had. A newer claim stays."""
        if self.token(job_id) != token:
            return False
        del self._claims[job_id]
        return True

    def count(self, pool: str) -> int:
        """The number of claims of a pool."""
        return sum(name == pool for _, name in self._claims.values())

    def count_of(self, job_ids: Collection[int], pool: str) -> int:
        """How many of these jobs have a claim of the pool."""
        return sum(self._claims.get(job_id, NONE)[1] == pool for job_id in job_ids)

    def clear(self) -> None:
        """Remove all claims."""
        self._claims.clear()
