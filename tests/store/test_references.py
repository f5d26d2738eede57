"""A job that runs after another refers to its id, also after a rename or removal, on every database."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobd.cli import job_format
from jobd.cli.edit import NONE_GIVEN, edited
from jobd.cli.portable import portable
from jobd.clock import HOUR, SECOND
from jobd.dependency import parse_dependencies, parse_dependency, read_dependency
from jobd.errors import BadValue, JobdError
from jobd.job import Job, Options, check_name
from jobd.store import apply, definitions, requests, schema
from jobd.store.reads import Reader
from jobd.store.rename import rename
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from jobd.view.state import reason, state_of, with_state
from tests import servers
from tests.store.test_dependencies import add, after, due, ids, run

NOW = 1_800_000_000 * SECOND


def sql(store: Store, statement: str, *values: object) -> list[tuple[object, ...]]:
    def work(session: Session) -> list[tuple[object, ...]]:
        cursor = session.execute(statement, values)
        return list(cursor.fetchall()) if cursor.description else []

    return store.transact(work)


def exported(store: Store) -> str:
    with contextlib.closing(Reader(store.target)) as reader:
        return job_format.dump(portable(reader.jobs(deleted=True)).jobs, "UTC")


def applied(store: Store, text: str) -> apply.Difference:
    stored = {job.name: job for job in apply.all_jobs(store)}
    return apply.apply(store, job_format.load(text, "file", "UTC", stored), False, NOW, "UTC")


def seen(store: Store, name: str) -> tuple[str, tuple[str, ...], str]:
    """The job's state, the jobs that it runs after, and why it is not running."""
    with contextlib.closing(Reader(store.target)) as reader:
        listed = with_state(reader.job(name), NOW, "UTC")
        why = reason(listed, [], NOW)
        return state_of(listed), tuple(one.text for one in listed.job.options.after_jobs), why.text if why else ""


def delete_and_restore(store: Store) -> None:
    definitions.delete(store, ["p"], NOW, "UTC")
    definitions.restore(store, ["p"], NOW, "UTC")


FATES: dict[str, Callable[[Store], object]] = {
    "deleted": lambda store: definitions.delete(store, ["p"], NOW, "UTC"),
    "deleted by SQL": lambda store: sql(store, "UPDATE job SET is_delete = 1 WHERE name = 'p'"),
    "its row removed": lambda store: sql(store, "DELETE FROM job WHERE name = 'p'"),
    "renamed": lambda store: rename(store, "p", "other", NOW, "UTC"),
    "renamed by SQL": lambda store: sql(store, "UPDATE job SET name = 'other' WHERE name = 'p'"),
    "invalid": lambda store: sql(store, "UPDATE job SET \"interval\" = 'nonsense' WHERE name = 'p'"),
    "deleted and restored": delete_and_restore,
}


@pytest.mark.parametrize("fate", FATES)
def test_after_any_change_of_a_job_those_that_run_after_it_can_be_changed(store: Store, fate: str) -> None:
    add(store, Job("p", "1h"), Job("q", "1h"), after("c", "p", "q:finished"), Job("d", "1h"))
    FATES[fate](store)
    definitions.set_paused(store, ["c", "d"], True, NOW, "UTC")
    assert seen(store, "c")[0] == "paused"
    definitions.set_paused(store, ["c", "d"], False, NOW, "UTC")
    definitions.change(store, "c", lambda job: job._replace(retry_times=3), NOW, "UTC")
    rename(store, "c", "e", NOW, "UTC")
    name = "other" if fate.startswith("renamed") else "p"
    assert seen(store, "e")[1] == (name, "q:finished")
    is_gone = fate in ("deleted", "deleted by SQL", "its row removed")
    assert seen(store, "e")[0] == ("blocked" if is_gone else "waiting")
    assert (f"{name!r}, which is deleted, so it never runs by itself" in seen(store, "e")[2]) == is_gone
    definitions.delete(store, ["d", "e"], NOW, "UTC")
    definitions.restore(store, ["e"], NOW, "UTC")
    assert requests.request_run(store, "e", NOW, "UTC") == 1


@pytest.mark.parametrize("fate", ["renamed", "renamed by SQL", "deleted and restored"])
def test_an_existing_job_with_any_name_is_followed(store: Store, fate: str) -> None:
    add(store, Job("p", "1h"), after("c", "p"))
    FATES[fate](store)
    run(store, "other" if "other" in ids(store) else "p")
    assert "c" in due(store)


def test_the_last_known_name_of_a_job_without_a_row_is_shown(store: Store) -> None:
    add(store, Job("p", "1h"), after("c", "p"))
    rename(store, "p", "later", NOW, "UTC")
    sql(store, "DELETE FROM job WHERE name = 'later'")
    assert seen(store, "c")[:2] == ("blocked", ("later",))
    add(store, Job("later", "1h"))
    assert seen(store, "c")[0] == "blocked", "a new row is a new job"
    with pytest.raises(BadValue, match="would wait for itself"):
        definitions.change(store, "later", lambda job: after("later", "later"), NOW, "UTC")


def test_a_new_reference_must_be_to_an_existing_job(store: Store) -> None:
    add(store, Job("p", "1h"))
    definitions.delete(store, ["p"], NOW, "UTC")
    with pytest.raises(BadValue, match="'p', which is deleted"):
        add(store, after("c", "p"))
    with pytest.raises(BadValue, match="no such job"):
        add(store, after("c", "nobody"))


def test_those_left_behind_are_named_before_a_job_is_deleted(store: Store) -> None:
    add(store, Job("p", "1h"), after("a", "p"), after("b", "p:finished"), after("gone", "p"))
    definitions.delete(store, ["gone"], NOW, "UTC")
    with pytest.raises(definitions.HasDependants, match="'a', 'b' run after a job that is to be deleted"):
        definitions.delete(store, ["p"], NOW, "UTC", agreed=())
    with pytest.raises(definitions.HasDependants) as refused:
        definitions.delete(store, ["p", "a"], NOW, "UTC", agreed=())
    assert refused.value.names == ["b"]
    definitions.delete(store, ["b", "p", "a"], NOW, "UTC", agreed=())
    assert [job for job in apply.all_jobs(store) if not job.deleted] == []


INVALID = {
    "an interval": "UPDATE job SET \"interval\" = 'nonsense' WHERE name = 'c'",
    "retries": "UPDATE job SET retry_times = -1 WHERE name = 'c'",
    "runonce": "UPDATE job SET runonce = 7 WHERE name = 'c'",
    "arguments": "UPDATE job_options SET args = '{' WHERE job_id = (SELECT id FROM job WHERE name = 'c')",
    "a reference": "UPDATE job_options SET after_jobs = '[\"p\"]' WHERE job_id = (SELECT id FROM job WHERE name = 'c')",
    "both": "UPDATE job_options SET after_jobs = '[\"1 p\"]' WHERE job_id = (SELECT id FROM job WHERE name = 'c')",
}


@pytest.mark.parametrize("what", INVALID)
def test_an_invalid_job_can_be_paused_removed_renamed_and_set(store: Store, what: str) -> None:
    options = Options(timeout=HOUR, args={"to": "bob"}, task="t", pool="x")
    add(store, Job("p", "1h"), Job("c", "1h", options=options))
    sql(store, INVALID[what])
    before = sql(store, "SELECT args, after_jobs, pool FROM job_options WHERE task = 't'")
    assert seen(store, "c")[0] == "invalid"
    definitions.set_paused(store, ["c"], True, NOW, "UTC")
    definitions.delete(store, ["c"], NOW, "UTC")
    definitions.restore(store, ["c"], NOW, "UTC")
    rename(store, "c", "d", NOW, "UTC")
    given = {**NONE_GIVEN, "timeout": SECOND}
    definitions.change(store, "d", lambda job: edited(job, given, None, NOW, "UTC"), NOW, "UTC")
    assert seen(store, "d")[0] == "invalid"
    assert sql(store, "SELECT args, after_jobs, pool FROM job_options WHERE task = 't'") == before
    assert sql(store, "SELECT timeout, paused FROM job_options WHERE task = 't'") == [(SECOND, 1)]


def test_everything_follows_a_rename(store: Store) -> None:
    options = Options(args={"key": "secret"}, secrets=("key",), timeout=HOUR)
    add(store, Job("old", "1h", options=options), after("c", "old"), Job("other", "1h"))
    run(store, "old", "failed")
    before = sql(store, "SELECT due_time, number, basis FROM schedule WHERE job_id = ?", ids(store)["old"])
    sql(store, "DELETE FROM job_change")
    job = rename(store, "old", "new", NOW + HOUR, "UTC")
    assert (job.name, job.task, job.options._replace(task=None)) == ("new", "old", options)
    assert sql(store, "SELECT due_time, number, basis FROM schedule WHERE job_id = ?", job.id) == before
    with contextlib.closing(Reader(store.target)) as reader:
        assert [(one.job, one.run.outcome) for one in reader.runs(job.id)] == [("new", "failed")]
    assert rename(store, "new", "old", NOW + HOUR, "UTC").options.task is None
    with pytest.raises(JobdError, match="exists already"):
        rename(store, "old", "other", NOW, "UTC")
    definitions.delete(store, ["other"], NOW, "UTC")
    with pytest.raises(JobdError) as refused:
        rename(store, "old", "other", NOW, "UTC")
    assert "`jobd rename other OTHER` frees it" in refused.value.hint
    rename(store, "other", "free", NOW, "UTC")
    rename(store, "old", "other", NOW, "UTC")
    assert seen(store, "c")[1] == ("other",)


def test_an_upstream_run_that_ends_during_a_pause_counts_after_it(store: Store) -> None:
    add(store, Job("a", "1h"), Job("b", "1h"), after("one", "a"), after("two", "a", "b"), after("gone", "a"))
    definitions.set_paused(store, ["one", "two"], True, NOW, "UTC")
    definitions.delete(store, ["gone"], NOW, "UTC")
    run(store, "a")
    run(store, "a")
    definitions.set_paused(store, ["one", "two"], False, NOW, "UTC")
    definitions.restore(store, ["gone"], NOW, "UTC")
    assert due(store) - {"a", "b"} == {"one", "gone"}
    run(store, "b")
    run(store, "one")
    assert due(store) - {"a", "b"} == {"two", "gone"}, "both successes of `a` made one run of each"


# Export and apply

NAMES = st.one_of(
    st.sampled_from(
        ["a", "a:finished", "a:succeeded", "a:finished:finished", ":finished", "5 a", "[x]", "ü.\"'\\", "#"]
    ),
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12),
)


def _is_name(text: str) -> bool:
    try:
        return check_name(text) == text
    except BadValue:
        return False


@st.composite
def worlds(draw: st.DrawFn) -> list[tuple[Job, str]]:
    """Jobs, each after some of those before it, and what becomes of each."""
    names = draw(st.lists(NAMES.filter(_is_name), min_size=1, max_size=7, unique=True))
    jobs: list[tuple[Job, str]] = []
    for name in names:
        parents = draw(st.lists(st.sampled_from([job.name for job, _ in jobs]), unique=True)) if jobs else []
        texts = [f"{one}{draw(st.sampled_from([':finished', ':succeeded']))}" for one in parents]
        options = Options(after_jobs=parse_dependencies(texts), paused=draw(st.booleans()))
        job = Job(name, None if texts else "1h", options=options)
        jobs.append((job, draw(st.sampled_from(["", "", "", "delete", "remove", "rename", "spoil"]))))
    return jobs


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
def test_an_applied_export_gives_the_same_jobs(
    world: list[tuple[Job, str]], tmp_path_factory: pytest.TempPathFactory, store: Store
) -> None:
    sql(store, "DELETE FROM job")
    sql(store, "DELETE FROM job_dependency")
    first = Store(parse_url(servers.sqlite_url(tmp_path_factory.mktemp("first"))))
    with contextlib.closing(first):
        add(first, *(job for job, _ in world))
        for job, fate in world:
            if fate == "delete":
                definitions.delete(first, [job.name], NOW, "UTC")
            elif fate == "remove":
                sql(first, "DELETE FROM job WHERE name = ?", job.name)
            elif fate == "rename":
                rename(first, job.name, f"{job.name} renamed", NOW, "UTC")
            elif fate == "spoil" and not job.options.after_jobs:
                sql(first, "UPDATE job SET \"interval\" = 'nonsense' WHERE name = ?", job.name)
        text = exported(first)
        applied(store, text)
        assert exported(store) == text
        live = {job.name for job in apply.all_jobs(first) if not job.deleted}
        assert {job.name for job in apply.all_jobs(store) if not job.deleted} == live
        assert {name: seen(store, name)[:2] for name in live} == {name: seen(first, name)[:2] for name in live}
        assert not any(applied(store, text))
        assert not any(applied(first, text)._replace(added=[]))  # added: a deleted job for a row that is gone


def test_a_job_that_cannot_be_written_is_left_out_with_all_that_run_after_it(store: Store) -> None:
    add(store, Job("p", "1h"), after("c", "p"), after("d", "c"), Job("good", "1h"))
    sql(store, "UPDATE job SET retry_times = -1 WHERE name = 'p'")
    with contextlib.closing(Reader(store.target)) as reader:
        chosen = portable(reader.jobs(deleted=True))
    assert [job.name for job in chosen.jobs] == ["good"]
    assert [name for name, _ in chosen.left_out] == ["c", "d", "p"]


def test_a_file_whose_job_runs_after_one_that_prune_deletes_is_refused(store: Store) -> None:
    add(store, Job("p", "1h"), after("c", "p"))
    text = '[job.c]\nafter_jobs = ["p"]\n'
    wanted = job_format.load(text, "file", "UTC", {})
    with pytest.raises(BadValue, match="'c' runs after 'p', which --prune would delete"):
        apply.apply(store, wanted, True, NOW, "UTC")
    assert apply.apply(store, [], True, NOW, "UTC").deleted
    assert not [job for job in apply.all_jobs(store) if not job.deleted]


def test_a_reference_is_written_so_that_it_is_read_as_it_was_meant() -> None:
    for name in ("a", "a:finished", "a:succeeded", ":finished", "a:finished:succeeded"):
        for any_outcome in (False, True):
            one = parse_dependency("x")._replace(name=name, any_outcome=any_outcome)
            assert parse_dependency(one.text) == one
            assert read_dependency(one._replace(job_id=7).stored) == one._replace(job_id=7)
    for nonsense in ("p", "", " p", "x p", "-1 p", "1", "1 ", "1:done p", "9" * 20 + " p"):
        with pytest.raises(BadValue):
            read_dependency(nonsense)


def test_an_older_database_has_its_references_by_id_after_the_upgrade(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "VERSION", 4)
        with contextlib.closing(Store(parse_url(database))) as store:
            for name in ("p", "q", "moved", "c", "d"):
                sql(store, "INSERT INTO job (name) VALUES (?)", name)
            known = ids(store)
            for child, on, how in (("c", "p", 0), ("c", "q", 1), ("c", "moved", 0), ("d", "moved", 1)):
                statement = "INSERT INTO job_dependency (job_id, on_job_id, any_outcome, met) VALUES (?, ?, ?, 1)"
                sql(store, statement, known[child], known[on], how)
            for child, names in (("c", ["q:finished", "p", "old"]), ("d", ["old:finished"])):
                statement = "INSERT INTO job_options (job_id, after_jobs) VALUES (?, ?)"
                sql(store, statement, known[child], json.dumps(names))
    with contextlib.closing(Store(parse_url(database))) as store:
        assert seen(store, "c")[:2] == ("waiting", ("q:finished", "p", "moved"))
        assert seen(store, "d")[:2] == ("waiting", ("moved:finished",))


def test_a_deleted_job_of_a_file_keeps_its_place(tmp_path: Path) -> None:
    with contextlib.closing(Store(parse_url(servers.sqlite_url(tmp_path)))) as store:
        applied(store, '[job.p]\ndeleted = true\n[job.c]\nafter_jobs = ["p"]\n')
        assert seen(store, "c")[:2] == ("blocked", ("p",))
        add(store, Job("p", "1h"))
        assert seen(store, "c")[0] == "waiting"
