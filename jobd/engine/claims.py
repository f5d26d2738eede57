"""The claims that this node holds, from the commit of the claim until the commit that gives it up."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple


class _Held(NamedTuple):
    token: int
    pool: str


_NONE = _Held(0, "")  # no claim has the token 0


class HeldClaims:
    """The claim of each claimed job.

    `known_starts` are the starts (wall-clock µs, by job id and fencing token) of runs that are not recorded although
    their claims are no longer held: this node, or the previous daemon, knows that these runs have begun.
    """

    def __init__(self, known_starts: Mapping[tuple[int, int], int]) -> None:
        self.known_starts = dict(known_starts)
        self.uncertain = False  # they may differ from this node's claims in the table
        self._claims: dict[int, _Held] = {}
        self._counts = Counter[str]()  # of claims, by pool

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._claims

    def add(self, job_id: int, token: int, pool: str) -> None:
        """Note a new claim. It replaces an older one of the same job."""
        self._remove(job_id)
        self._claims[job_id] = _Held(token, pool)
        self._counts[pool] += 1

    def token(self, job_id: int) -> int:
        """The fencing token of the job's claim; 0: there is none."""
        return self._claims.get(job_id, _NONE).token

    def tokens(self) -> dict[int, int]:
        """The fencing token of each claimed job."""
        return {job_id: held.token for job_id, held in self._claims.items()}

    def release(self, job_id: int, token: int) -> None:
        """Remove the job's claim if it has this token. A newer claim stays."""
        if self.token(job_id) == token:
            self._remove(job_id)

    def lose(self, job_id: int, token: int, started: int | None) -> None:
        """Release a claim whose run this node cannot record. The next comparison with the table records it as lost.

        `started` is when its run started (wall-clock µs); None: it has not.
        """
        self.release(job_id, token)
        if started is not None:
            self.known_starts[job_id, token] = started
        self.uncertain = True

    def doubt(self) -> None:
        """Note that the table may have other claims of this node. The next cycle compares them."""
        self.uncertain = True

    def compared(self) -> None:
        """Note that the claims have been compared with the table."""
        self.uncertain = False
        self.known_starts.clear()

    def count(self, pool: str) -> int:
        """The number of claims of a pool."""
        return self._counts[pool]

    def count_of(self, job_ids: Collection[int], pool: str) -> int:
        """How many of these jobs have a claim of the pool."""
        return sum(self._claims.get(job_id, _NONE).pool == pool for job_id in job_ids)

    def clear(self) -> None:
        """Remove all claims. The table may still have them."""
        self._claims.clear()
        self._counts.clear()
        self.uncertain = True

    def _remove(self, job_id: int) -> None:
        if (held := self._claims.pop(job_id, None)) is not None:
            self._counts[held.pool] -= 1
