"""The outcomes that wait to be written, one per job, and the output of runs in progress.

Outcomes that the database cannot take yet are also kept in the spool. If they exceed the memory budget, final outcomes
of claims are kept in the spool only, until they are written.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from jobd import logs
from jobd.claim import ClaimUpdate, OutputPart
from jobd.clock import SECOND
from jobd.engine.budget import MAX_RUN_WAITING, OUTCOME_OVERHEAD, Budget, weight, weight_of
from jobd.engine.spool import Place, Spool
from jobd.store.output import bounded, kept_beside, without_text

MAX_TRANSACTION = 4 * 2**20  # bytes of outcomes, and of output, per transaction, because servers abort long ones
MAX_SPOOLED_OUTPUT = 256 * 2**20  # bytes; beyond this, outcomes are spooled without their output
SPOOL_SLACK = 8 * 2**20  # bytes of outdated entries that are tolerated before the spool is rewritten
SPOOL_RATE = 8 * 2**20  # bytes per second on average, so that endless retries do not wear out the disk


class Spooled(NamedTuple):
    """An outcome that is in the spool only, not in memory."""

    place: Place
    token: int
    started: int | None


class PendingUpdates:
    """The outcomes that are not recorded yet, oldest first."""

    def __init__(self, spool: Spool, budget: Budget) -> None:
        self._unreadable: dict[int, Spooled] = {}  # by job id: they could not be read back from the spool
        self._waiting: dict[int, ClaimUpdate | Spooled] = {}  # by job id
        self._weights: dict[int, int] = {}  # bytes by job id, of outcomes in memory
        self._printed: dict[int, list[OutputPart]] = {}  # by job id, of runs in progress
        self._budget = budget
        self._spool = spool
        self._places: dict[int, Place] = {}  # by job id, of waiting outcomes that are in the spool
        self._written = 0  # bytes in the spool
        self._keep_at = 0  # monotonic µs: the next write to the spool
        self._write_failed = False  # the last write to the spool failed

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._waiting

    def add(self, one: ClaimUpdate) -> None:
        """Add an outcome, together with the waiting output of its run. Its weight is already in the budget."""
        job_id = one.state.job_id
        if self._printed and (printed := self._printed.pop(job_id, None)):
            one = one._replace(output=(*printed, *one.output))
        size = weight(one)
        if job_id not in self._waiting:
            self._waiting[job_id] = one
            self._weights[job_id] = size
            return
        before = self._waiting.pop(job_id)
        counted = size + self._weights.pop(job_id, 0)
        if isinstance(before, ClaimUpdate) and before.token == one.token:  # else the older claim is no longer valid
            one, size = merge(before, one), counted - OUTCOME_OVERHEAD
            if size > MAX_RUN_WAITING:
                one = self._without(one, bounded(one.output, MAX_RUN_WAITING // 2))
                size = weight(one)
        if size != counted:
            self._budget.add_waiting(size - counted)
        if self._places:
            self._places.pop(job_id, None)
        self._waiting[job_id] = one
        self._weights[job_id] = size

    def first(self, most: int) -> list[ClaimUpdate]:
        """The oldest outcomes: at most `most`, and about MAX_TRANSACTION bytes."""
        found: list[ClaimUpdate] = []
        size = 0
        for job_id, one in [*islice(self._waiting.items(), most)]:
            if isinstance(one, Spooled) and found and size + one.place.size > MAX_TRANSACTION:
                break
            update = one if isinstance(one, ClaimUpdate) else self._read(job_id, one)
            if update is None:
                continue
            size += self._weights.get(job_id) or weight(update)
            if found and size > MAX_TRANSACTION:
                break
            found.append(update)
        return found

    def drop(self, updates: Iterable[ClaimUpdate]) -> None:
        """Forget the outcomes of these jobs."""
        freed = 0
        for one in updates:
            job_id = one.state.job_id
            self._waiting.pop(job_id, None)
            self._places.pop(job_id, None)
            freed += self._weights.pop(job_id, 0)
        self._budget.add_waiting(-freed)

    def clear(self) -> None:
        """Forget all outcomes and all output."""
        self._budget.add_waiting(-sum(self._weights.values()) - sum(map(weight_of, self._printed.values())))
        for one in (self._waiting, self._weights, self._places, self._printed):
            one.clear()

    # Output of runs in progress

    def add_printed(self, part: OutputPart) -> None:
        """Add output of a run in progress. Its weight is already in the budget."""
        before = self._printed.get(part.job_id, [])
        kept = kept_beside(part, before)
        if len(kept) < len(before):
            self._budget.add_waiting(weight_of(kept) - weight_of(before))
        self._printed[part.job_id] = [*kept, part]

    def printed(self) -> list[OutputPart]:
        """Output of runs in progress, up to about MAX_TRANSACTION bytes."""
        found: list[OutputPart] = []
        size = 0
        for part in chain.from_iterable(self._printed.values()):
            size += weight_of([part])
            if found and size > MAX_TRANSACTION:
                break
            found.append(part)
        return found

    def drop_printed(self, parts: Sequence[OutputPart]) -> bool:
        """Forget parts that `printed` returned. Returns whether any are left."""
        for part in parts:
            waiting = self._printed[part.job_id]
            del waiting[0]
            if not waiting:
                del self._printed[part.job_id]
        self._budget.add_waiting(-weight_of(parts))
        return bool(self._printed)

    # The spool

    def keep(self, now: int, hurry: bool = False) -> None:
        """Write waiting outcomes to the spool during an outage, so that they survive this process.

        `now` is monotonic µs. With `hurry`, SPOOL_RATE does not delay the write. Errors are logged.
        """
        if hurry or now >= self._keep_at:
            try:
                self._write(now)
            except OSError as error:
                if not self._write_failed:
                    logs.log("error", f"outcomes cannot be kept in the state directory, only in memory: {error}")
                self._write_failed = True
            else:
                self._write_failed = False
        self._make_room()

    def _write(self, now: int) -> None:
        waiting = self._waiting.items()
        fresh = [one for job_id, one in waiting if isinstance(one, ClaimUpdate) and job_id not in self._places]
        if not fresh:
            return
        live = sum(place.size for place in self._places.values())
        if live > MAX_SPOOLED_OUTPUT:
            places = self._spool.add([one._replace(output=without_text(one.output)) for one in fresh])
            for one in fresh:
                self._strip(one)
        else:
            places = self._spool.add(fresh)
        self._places.update(zip((one.state.job_id for one in fresh), places, strict=True))
        written = moved = sum(place.size for place in places)
        self._written += written
        if self._written > 2 * (live + written) + SPOOL_SLACK:
            places = self._spool.rewrite(self._places.values())
            self._places = dict(zip(self._places, places, strict=True))
            self._written = live + written
            moved += self._written
        self._keep_at = now + moved * SECOND // SPOOL_RATE

    def _strip(self, one: ClaimUpdate) -> None:
        job_id, left = one.state.job_id, self._without(one, without_text(one.output))
        self._waiting[job_id], before = left, self._weights[job_id]
        self._weights[job_id] = weight(left)
        self._budget.add_waiting(self._weights[job_id] - before)

    def _without(self, one: ClaimUpdate, left: tuple[OutputPart, ...]) -> ClaimUpdate:
        """Replace the output of an outcome by `left`, and count the bytes dropped since."""
        self._budget.count_dropped(sum(part.dropped for part in left) - sum(part.dropped for part in one.output))
        return one._replace(output=left)

    def _make_room(self) -> None:
        """Keep outcomes in the spool only, while too much is in memory.

        Only final outcomes qualify: later updates of the same claim would have to be merged with them.
        """
        for job_id, one in self._waiting.items():
            if self._budget.calm and not self._budget.crowded:
                return
            if isinstance(one, ClaimUpdate) and not one.state.node and job_id in self._places:
                self._waiting[job_id] = Spooled(self._places[job_id], one.token, one.run.started if one.run else None)
                self._budget.add_waiting(-self._weights.pop(job_id))

    def _read(self, job_id: int, one: Spooled) -> ClaimUpdate | None:
        try:
            found = self._spool.read(one.place)
            if (found.state.job_id, found.token) != (job_id, one.token):
                raise ValueError("another outcome is in its place")
            return found
        except (OSError, ValueError, TypeError, KeyError) as error:
            logs.log("error", f"an outcome of job {job_id} cannot be read back from the state directory: {error}")
            del self._waiting[job_id]
            self._unreadable[job_id] = one
            return None

    def take_unreadable(self) -> dict[int, Spooled]:
        """Remove and return the outcomes, by job id, that could not be read back from the spool."""
        unreadable, self._unreadable = self._unreadable, {}
        return unreadable

    def kept(self) -> bool:
        """Whether the spool contains outcomes."""
        return self._written > 0

    def load_spooled(self) -> Iterator[list[ClaimUpdate]]:
        """The outcomes that the previous daemon left in the spool, one per job, in groups for one transaction each."""
        group: list[ClaimUpdate] = []
        size = 0
        for place in self._spool.load():
            one = self._spool.read(place)
            if group and size + weight(one) > MAX_TRANSACTION:
                yield group
                group, size = [], 0
            group.append(one)
            size += weight(one)
        if group:
            yield group

    def empty_spool(self) -> None:
        """Delete the contents of the spool."""
        self._spool.clear()
        self._places.clear()
        self._written = 0


def merge(before: ClaimUpdate, after: ClaimUpdate) -> ClaimUpdate:
    """Merge two updates of one claim: a retry without back-off may end before the previous attempt is written."""
    return after._replace(run=after.run or before.run, output=before.output + after.output)
