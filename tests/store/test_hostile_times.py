"""Invalid times and runs are left out or shown with the reason, and keep no job from running."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from jobd.clock import LATEST
from jobd.job import Job
from jobd.store import apply, definitions, nodes
from jobd.store import schedule_table as table
from jobd.store.reads import Reader
from jobd.store.store import Store
from jobd.store.url import parse_url
from jobd.view.documents import job_document, run_document
from jobd.view.state import state_of, with_state
from tests.store.test_hostile_rows import NOW, look
from tests.store.test_removed import write

TIMES = {
    "the first year": ["0001-01-01 00:00:00"],
    "the last year": ["9999-12-31 23:59:59"],
    "infinity": ["infinity", "-infinity"],
    "before Christ": ["0044-03-15 00:00:00 BC"],
    "beyond the years": ["12345-01-01 00:00:00"],
}
COLUMNS = ("created_time", "updated_time", "lastFinished_time")


@pytest.fixture
def reader(database: str) -> Iterator[Callable[[], Reader]]:
    """Opens readers, which are closed at the end."""
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(contextlib.closing(Reader(parse_url(database))))


@pytest.mark.parametrize("what", TIMES)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_time_that_cannot_be_shown_is_left_out_and_the_job_runs(
    store: Store, reader: Callable[[], Reader], what: str, column: str
) -> None:
    if what in ("infinity", "before Christ", "beyond the years") and store.dialect.name != "postgresql":
        pytest.skip("only PostgreSQL has such times")
    for time in TIMES[what]:
        names = [f"{word} {time}" for word in ("bad", "good")]
        definitions.add(store, [Job(name, "10s") for name in names], NOW, "UTC")
        write(store, f"UPDATE job SET \"{column}\" = '{time}' WHERE name = '{names[0]}'")
        look(store)
        overview = {one.job.name: with_state(one, NOW, "UTC") for one in reader().jobs(deleted=False)}
        assert {state_of(overview[name]) for name in names} == {"waiting"}
        if column == "updated_time" and getattr(store.dialect, "sealed", False):
            assert job_document(overview[names[0]], "UTC")[column] > "2026"  # put right when it was looked at
        else:
            assert job_document(overview[names[0]], "UTC")[column] is None
        claimed = store.transact(lambda session: table.claim(session, 1, "default", NOW, 10))
        assert sorted(one.job.name for one in claimed if one.job and not one.problem) == sorted(names)
        assert [one.name for one in apply.all_jobs(store) if one.name in names] == sorted(names)


RUNS = {
    "finished_time": [4 * 10**18, LATEST + 1, -1, -(2**63), 2**63 - 1],
    "started_time": [4 * 10**18, -1],
    "due_time": [4 * 10**18, -1],
    "number": [0, 2**63 - 1],
    "attempts": [-1],
    "missed": [-5],
}
GOOD = {"job_id": 1, "number": 5, "due_time": 7, "started_time": 8, "finished_time": 9, "attempts": 1, "node_id": 1}


def insert(store: Store, **values: int) -> None:
    row = GOOD | {"missed": 0} | values
    columns = f"{', '.join(row)}, outcome"
    write(store, f"INSERT INTO run ({columns}) VALUES ({', '.join(map(str, row.values()))}, 'succeeded')")


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, values in RUNS.items() for value in values])
def test_an_invalid_run_hides_no_other(store: Store, reader: Callable[[], Reader], column: str, value: int) -> None:
    definitions.add(store, [Job("bad", "10s")], NOW, "UTC")
    node = store.transact(lambda session: nodes.register(session, "host", 1, "1", "here", NOW))
    for number in (1, 2, 3):
        insert(store, number=number, node_id=node)
    insert(store, **{"node_id": node, column: value})
    for runs in (reader().runs(None), reader().runs(1)):
        documents = [run_document(row) for row in runs]
        assert [one["run"] for one in documents if one["run"] in (1, 2, 3)] in ([3, 2, 1], [1, 2, 3])
        (bad,) = (one for one in documents if one["run"] not in (1, 2, 3))
        if column == "number":
            assert bad["outcome"] == "succeeded"
        else:
            assert (bad["outcome"], bad["run"]) == ("unsound", 5)
            assert f"{column} is {value}" in bad["error"]
    assert store.transact(lambda session: table.last_finished(session, "here", 0)) == 9


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1])
def test_an_invalid_state_hides_no_other(store: Store, reader: Callable[[], Reader], number: int) -> None:
    definitions.add(store, [Job("bad", "10s"), Job("good", "10s")], NOW, "UTC")
    write(store, f"UPDATE schedule SET number = {number} WHERE job_id = 1")
    overview = {one.job.name: state_of(with_state(one, NOW, "UTC")) for one in reader().jobs(deleted=False)}
    assert overview == {"bad": "invalid", "good": "waiting"}


def test_only_the_value_1_means_deleted(store: Store, reader: Callable[[], Reader]) -> None:
    definitions.add(store, [Job("two", "10s"), Job("one", "10s")], NOW, "UTC")
    write(store, "UPDATE job SET is_delete = 2 WHERE name = 'two'", "UPDATE job SET is_delete = 1 WHERE name = 'one'")
    (overview,) = reader().jobs(deleted=False)
    assert (overview.job.name, state_of(with_state(overview, NOW, "UTC"))) == ("two", "invalid")
    assert overview.problem == "is_delete is 2, not 0 or 1"
