"""The outcomes that wait to be written, one a job, and what runs in progress have printed.

What the database cannot take yet is kept in the spool. When that is more than the memory is for, outcomes that nothing
follows any more are in the spool alone until their turn comes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from jobd import logs
from jobd.claim import ClaimUpdate, OutputPart
from jobd.clock import SECOND
from jobd.engine.buffers import MAX_RUN_WAITING, OUTCOME_OVERHEAD, Budget, weight, weight_of
from jobd.engine.spool import Place, Spool
from jobd.store.output import bounded, kept_beside, without_text

MAX_TRANSACTION = 4 * 2**20  # bytes of outcomes, and of output, in a transaction: servers end one that takes long
MAX_SPOOLED_OUTPUT = 256 * 2**20  # bytes; beyond these the spool takes outcomes without their output
SPOOL_SLACK = 8 * 2**20  # bytes of the spool that may be of no more use
SPOOL_RATE = 8 * 2**20  # bytes a second, on average: retries without end wear the disk out


class Spooled(NamedTuple):
    """An outcome that is in the spool alone."""

    place: Place
    token: int
    started: int | None


class Outcomes:
    """What is to be settled, oldest first."""

    def __init__(self, spool: Spool, budget: Budget) -> None:
        self.unreadable: dict[int, Spooled] = {}  # by job: they were in the spool, and are not any more
        self._waiting: dict[int, ClaimUpdate | Spooled] = {}  # by job
        self._weights: dict[int, int] = {}  # by job, of what is in memory
        self._printed: dict[int, list[OutputPart]] = {}  # by job, of runs in progress
        self._budget = budget
        self._spool = spool
        self._places: dict[int, Place] = {}  # where in the spool these are, by job
        self._written = 0  # bytes of the spool
        self._keep_at = 0
        self._trouble = False  # with the spool

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._waiting

    def add(self, one: ClaimUpdate) -> None:
        """This is to be written too, with what its run printed before: that shares its fate. It has been counted."""
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
        if isinstance(before, ClaimUpdate) and before.token == one.token:  # else the older claim had passed on
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
        """The oldest ones: `most` of them at most, and about so many bytes as a transaction should have."""
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
        """Of these jobs nothing is to be written any more."""
        freed = 0
        for one in updates:
            job_id = one.state.job_id
            self._waiting.pop(job_id, None)
            self._places.pop(job_id, None)
            freed += self._weights.pop(job_id, 0)
        self._budget.add_waiting(-freed)

    def clear(self) -> None:
        """Nothing at all is to be written any more."""
        self._budget.add_waiting(-sum(self._weights.values()) - sum(map(weight_of, self._printed.values())))
        for one in (self._waiting, self._weights, self._places, self._printed):
            one.clear()

    # What runs in progress print

    def add_printed(self, part: OutputPart) -> None:
        """More of what a run in progress prints. It has been counted."""
        before = self._printed.get(part.job_id, [])
        kept = kept_beside(part, before)
        if len(kept) < len(before):
            self._budget.add_waiting(weight_of(kept) - weight_of(before))
        self._printed[part.job_id] = [*kept, part]

    def printed(self) -> list[OutputPart]:
        """Of what runs in progress have printed, as much as a transaction should have."""
        found: list[OutputPart] = []
        size = 0
        for part in chain.from_iterable(self._printed.values()):
            size += weight_of([part])
            if found and size > MAX_TRANSACTION:
                break
            found.append(part)
        return found

    def drop_printed(self, parts: Sequence[OutputPart]) -> bool:
        """These, which `printed` has given, are not to be written any more; whether there are more."""
        for part in parts:
            waiting = self._printed[part.job_id]
            del waiting[0]
            if not waiting:
                del self._printed[part.job_id]
        self._budget.add_waiting(-weight_of(parts))
        return bool(self._printed)

    # The spool

    def keep(self, now: int, hurry: bool = False) -> None:
        """The database is away: have what waits survive this process. `now` is monotonic."""
        if hurry or now >= self._keep_at:
            try:
                self._write(now)
            except OSError as error:
                if not self._trouble:
                    logs.log("error", f"outcomes cannot be kept in the state directory, only in memory: {error}")
                self._trouble = True
            else:
                self._trouble = False
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
        """An outcome of whose output this is left."""
        self._budget.drop(sum(part.lost for part in left) - sum(part.lost for part in one.output))
        return one._replace(output=left)

    def _make_room(self) -> None:
        """Have outcomes in the spool alone, when too much is in memory. The last words of claims: nothing follows."""
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
            self.unreadable[job_id] = one
            return None

    def kept(self) -> bool:
        """Whether anything is in the spool."""
        return self._written > 0

    def load_spooled(self) -> Iterator[list[ClaimUpdate]]:
        """What a daemon before this one has left in the spool, one a job, in groups as a transaction should have."""
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
        """Nothing in the spool is of any more use."""
        self._spool.clear()
        self._places.clear()
        self._written = 0


def merge(before: ClaimUpdate, after: ClaimUpdate) -> ClaimUpdate:
    """Two things that happened to one claim, as one: a retry at once may end before its predecessor is written."""
    return after._replace(run=after.run or before.run, output=before.output + after.output)
