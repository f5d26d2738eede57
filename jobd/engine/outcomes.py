"""The outcomes that wait to be written, one a job; what the database cannot take yet is kept in the spool."""

from collections.abc import Iterable
from itertools import islice

from jobd import logs
from jobd.engine.spool import Spool
from jobd.store.output import bounded
from jobd.store.schedule_table import Settlement

MOST_OUTPUT = 1_000_000  # characters, of all attempts of a run that wait together


class Outcomes:
    """What is to be settled, oldest first."""

    def __init__(self, spool: Spool) -> None:
        self._waiting: dict[int, Settlement] = {}  # by job
        self._spool = spool
        self._kept: dict[int, Settlement] = {}  # what of these is in the spool, by job
        self._trouble = False  # with the spool

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._waiting

    def add(self, one: Settlement) -> None:
        """This is to be written too."""
        before = self._waiting.pop(one.plan.job_id, None)
        same = before is not None and before.token == one.token  # else the older claim had passed on
        self._waiting[one.plan.job_id] = merge(before, one) if before and same else one

    def first(self, most: int) -> list[Settlement]:
        """The oldest ones, `most` at most."""
        return list(islice(self._waiting.values(), most))

    def drop(self, settlements: Iterable[Settlement]) -> None:
        """Of these jobs nothing is to be written any more."""
        for one in settlements:
            self._waiting.pop(one.plan.job_id, None)

    def clear(self) -> None:
        """Nothing at all is to be written any more."""
        self._waiting.clear()

    def keep(self) -> None:
        """The database is away: have what waits survive this process."""
        fresh = [one for job_id, one in self._waiting.items() if self._kept.get(job_id) is not one]
        if not fresh:
            return
        try:
            self._spool.add(fresh)
        except OSError as error:
            if not self._trouble:
                logs.log("error", f"outcomes cannot be kept in the state directory, only in memory: {error}")
            self._trouble = True
        else:
            self._trouble = False
            self._kept.update((one.plan.job_id, one) for one in fresh)

    def kept(self) -> int:
        """How many are in the spool."""
        return len(self._kept)

    def left_behind(self) -> list[Settlement]:
        """What a daemon before this one has left in the spool, one a job."""
        return list({one.plan.job_id: one for one in self._spool.load()}.values())

    def empty_spool(self) -> None:
        """Nothing in the spool is of any more use."""
        self._spool.clear()
        self._kept.clear()


def merge(before: Settlement, after: Settlement) -> Settlement:
    """Two things that happened to one claim, as one: a retry at once may end before its predecessor is written."""
    return after._replace(run=after.run or before.run, output=bounded(before.output + after.output, MOST_OUTPUT))
