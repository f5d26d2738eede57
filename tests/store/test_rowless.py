"""A live job without a row of `schedule` is found, and planned when its row has been missing for a while."""

from jobd.clock import SECOND
from jobd.engine.changes import Looker
from jobd.job import PLAIN, Job
from jobd.store import definitions, slices
from jobd.store import schedule_table as table
from jobd.store.store import Store
from tests.store.test_hostile_rows import NOW
from tests.store.test_removed import write


def missing(store: Store, after: int, until: int) -> list[int]:
    return store.transact(lambda session: slices.rowless(session, after, until))


def test_live_jobs_without_a_row_are_found_in_their_slice(store: Store) -> None:
    names = [f"job{number}" for number in range(6)]
    ids = definitions.add(store, [Job(name, "1h") for name in names], NOW, "UTC")
    definitions.delete(store, ["job1"], NOW, "UTC")
    assert missing(store, 0, ids[-1]) == []
    write(store, "DELETE FROM schedule WHERE job_id <> 1")
    assert missing(store, 0, ids[-1]) == [ids[2], ids[3], ids[4], ids[5]]
    assert missing(store, ids[2], ids[4]) == [ids[3], ids[4]]
    store.transact(lambda session: table.note_changes(session, [ids[3]], "changed"))
    store.transact(Looker(1, NOW + SECOND, "UTC", PLAIN).look)
    assert missing(store, 0, ids[-1]) == [ids[2], ids[4], ids[5]]
    assert len(store.transact(lambda session: table.claim(session, 1, "default", NOW + SECOND, 10))) == 2
