"""Adding, changing, deleting and restoring jobs: the same on every database."""

import contextlib
import threading
from collections.abc import Callable
from functools import partial

import pytest

from jobd.clock import SECOND
from jobd.engine.changes import ChangeApplier
from jobd.errors import JobdError
from jobd.job import PLAIN, Job, Options, Run
from jobd.store import apply, definitions
from jobd.store.reads import Reader
from jobd.store.rows import RUN, run_row
from jobd.store.store import Store
from jobd.store.url import parse_url
from tests.store.test_dependencies import beside

NOW = 1_800_000_000 * SECOND
STRANGE = [
    "job", "Job", "JOB", "jöb", "jòb", "joß", "joss", "job😀", "ﬁ", "a b", "it's", 'say "x"', "back\\slash",
    "per%cent", "under_score", "`tick`", "null", "x" * 255, "日" * 255, "ğ", "ı", "i", "ss", "$1", "?", ":name", "%s",
]  # fmt: skip


def add(store: Store, *jobs: Job) -> list[int]:
    return definitions.add(store, jobs, NOW, "UTC")


def stored(store: Store) -> dict[str, Job]:
    return {job.name: job for job in apply.all_jobs(store) if not job.deleted}


def count(store: Store, table: str) -> int:
    return int(store.transact(lambda session: session.rows(f"SELECT count(*) FROM {table}"))[0][0])


def test_strange_names_are_all_different_jobs_and_come_back_as_they_were(store: Store) -> None:
    add(store, *(Job(name, "10s") for name in STRANGE))
    assert sorted(stored(store)) == sorted(STRANGE)
    for name in STRANGE:
        definitions.change(store, name, lambda job: job._replace(interval=f"{len(job.name)}s"), NOW, "UTC")
    assert {job.interval for job in stored(store).values()} == {f"{len(name)}s" for name in STRANGE}


def test_every_option_comes_back_as_it_was(store: Store) -> None:
    options = Options(
        task="other",
        args={"text": "q'\"\\%_😀\n\x00", "deep": {"list": [1, 2.5, None, True]}, "big": 2**80},
        secrets=("text",),
        timezone="Europe/Berlin",
        timeout=1,
        backoff=2**47,
        backoff_max=2**48,
        catch_up="all",
        grace=3,
        pool="reports",
        priority=-7,
        on_lost="fail",
        isolation="fresh",
        paused=True,
    )
    add(store, Job("a", "10s", retry_times=2**63 - 1, options=options), Job("b", None, True))
    add(store, Job("c", "10s", options=Options(command=("echo", "", "a b", "'\"\\", "😀"))))
    found = stored(store)
    assert found["a"].options == options
    assert found["a"].retry_times == 2**63 - 1
    assert found["b"].runonce
    assert found["c"].options.command == ("echo", "", "a b", "'\"\\", "😀")
    assert count(store, "job_options") == 2  # what is at its default needs no row


def test_a_taken_name_is_refused_and_nothing_of_the_rest_is_stored(store: Store) -> None:
    add(store, Job("a", "10s"))
    with pytest.raises(JobdError, match="'a' exists already"):
        add(store, Job("b", "10s"), Job("a", "20s"))
    assert {name: job.interval for name, job in stored(store).items()} == {"a": "10s"}
    definitions.add(store, [Job("a", "20s"), Job("b", "10s")], NOW, "UTC", if_not_exists=True)
    assert {name: job.interval for name, job in stored(store).items()} == {"a": "10s", "b": "10s"}


def test_a_deleted_job_that_is_added_again_keeps_its_id_and_its_history(store: Store, database: str) -> None:
    (job_id,) = add(store, Job("a", "10s", options=Options(timeout=5)))
    run = Run(job_id, 1, NOW, NOW, NOW, 1, "succeeded", 1)
    store.transact(lambda session: session.write_rows("run", RUN, [run_row(run)]))
    definitions.delete(store, ["a"], NOW, "UTC")
    assert stored(store) == {}
    assert add(store, Job("a", "20s")) == [job_id]
    assert (stored(store)["a"].interval, stored(store)["a"].options) == ("20s", Options())
    reader = Reader(parse_url(database))
    assert [one.run for one in reader.runs(job_id)] == [run]
    reader.close()


def test_restore_brings_a_job_back_as_it_was(store: Store) -> None:
    add(store, Job("a", "10s", retry_times=3, options=Options(timeout=5)))
    before = stored(store)["a"]
    definitions.delete(store, ["a"], NOW, "UTC")
    definitions.restore(store, ["a"], NOW, "UTC")
    assert stored(store)["a"]._replace(updated=0) == before._replace(updated=0)
    with pytest.raises(JobdError, match="not deleted"):
        definitions.restore(store, ["a"], NOW, "UTC")


def test_several_names_are_all_changed_or_none(store: Store) -> None:
    add(store, Job("a", "10s"), Job("bee", "10s"))
    with pytest.raises(JobdError, match=r"no job named 'bea'") as refused:
        definitions.delete(store, ["a", "bea"], NOW, "UTC")
    assert refused.value.hint == "did you mean 'bee'?"
    assert sorted(stored(store)) == ["a", "bee"]


def test_only_changed_columns_are_written(store: Store) -> None:
    add(store, Job("a", "10s"), Job("b", "10s"))
    before = stored(store)
    wanted = [Job("a", "10s"), Job("b", "10s", retry_times=1)]
    difference = apply.apply(store, wanted, False, NOW + SECOND, "UTC")
    assert [new.name for _, new in difference.changed] == ["b"]
    assert stored(store)["a"] == before["a"]
    assert stored(store)["b"].retry_times == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("others", [0, 3])
def test_one_of_many_who_add_one_name_wins(
    store: Store, database: str, open_store: Callable[[str], Store], others: int
) -> None:
    """Each with a connection of its own, all at once."""
    stores = [store, *(open_store(database) for _ in range(others + 1))]
    ready = threading.Barrier(len(stores))
    results: list[str] = []

    def enter(one: Store, number: int) -> None:
        ready.wait()
        try:
            definitions.add(one, [Job("same", f"{number}h")], NOW, "UTC")
            results.append("added")
        except JobdError as error:
            results.append(str(error))
        finally:
            one.close()  # this thread's connection

    threads = [threading.Thread(target=enter, args=(one, number)) for number, one in enumerate(stores, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["a job named 'same' exists already"] * (len(stores) - 1) + ["added"]


@pytest.mark.usefixtures("patient")
def test_no_concurrent_change_of_a_job_is_lost(store: Store, database: str, open_store: Callable[[str], Store]) -> None:
    add(store, Job("a", "10s"))
    stores = [open_store(database) for _ in range(4)]
    for one in stores:  # the first statement of a fresh connection is slow
        apply.all_jobs(one)

    def grow(one: Store) -> None:
        with contextlib.closing(one):  # this thread's connection
            for _ in range(10):
                definitions.change(one, "a", lambda job: job._replace(retry_times=job.retry_times + 1), NOW, "UTC")

    threads = [threading.Thread(target=grow, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored(store)["a"].retry_times == 40


def test_a_pause_beside_a_change_of_a_job_that_no_node_has_seen_stays(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    """The first locks its row, for there is no state yet that it could lock."""
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    store.transact(lambda session: session.execute("INSERT INTO job (name, \"interval\") VALUES ('new', '1h')"))
    pause = partial(definitions.set_paused, names=["new"], paused=True, now=NOW, zone="UTC")
    with beside(open_store(database), pause) as meanwhile:

        def edit(job: Job) -> Job:
            meanwhile()
            return job._replace(retry_times=3)

        definitions.change(store, "new", edit, NOW, "UTC")
    (job,) = apply.all_jobs(store)
    assert job.options.paused
    assert job.retry_times == 3
    assert store.transact(lambda session: session.rows("SELECT ready_time FROM schedule")) == [(None,)]


def test_a_change_of_a_job_that_a_node_plans_meanwhile_is_planned_too(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    """The change has read its state as absent, so it is repeated."""
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    store.transact(lambda session: session.execute("INSERT INTO job (name, \"interval\") VALUES ('new', '1h')"))
    tries = []

    def plan(other: Store) -> None:
        other.transact(ChangeApplier(1, NOW, "UTC", PLAIN).apply)

    with beside(open_store(database), plan) as meanwhile:

        def edit(job: Job) -> Job:
            tries.append(job)
            meanwhile()
            return job._replace(interval="5m")

        definitions.change(store, "new", edit, NOW, "UTC")
    sealed = getattr(store.dialect, "sealed", False)  # then the node leaves a job alone whose row is locked
    assert len(tries) == (1 if sealed else 2)
    assert store.transact(lambda session: session.rows("SELECT basis FROM schedule")) == [("0||5m",)]
